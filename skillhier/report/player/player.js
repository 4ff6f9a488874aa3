"use strict";
/* Plays the episodes of the page: time, controls, readouts. Text from outside is set as textContent. */

(() => {
  const at = (id) => document.getElementById(id);
  const { title, subtitle, scene, episodes } = JSON.parse(at("data").textContent);
  const unpack = (text) => new Float32Array(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const paint = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`);
  const skillPaint = (skill) => paint(skill < 0 ? "dim" : `s${skill % 10}`);
  const bodies = scene.bodies.length, canvas = at("picture"), scrub = at("scrub");
  const now = { episode: null, time: 0, playing: false, speed: 1, follow: -1, stamp: 0, dirty: true };

  at("title").textContent = document.title = title;
  at("subtitle").textContent = subtitle;
  const option = (select, text, value) => {
    const element = document.createElement("option");
    element.textContent = text;
    element.value = value;
    at(select).append(element);
  };
  episodes.forEach((episode, i) => option("episode", episode.name, i));
  at("episodes").hidden = episodes.length < 2;
  scene.views.forEach((view, i) => option("view", view.name, i));
  scene.bodies.forEach((name, i) => { if (scene.moving.includes(i)) option("follow", name, i); });

  let viewer;
  try {
    viewer = new Viewer(canvas, scene);
  } catch (error) {
    at("trouble").hidden = false;
    at("trouble").textContent = `This page draws with WebGL 2, which this browser does not give (${error.message}). The film beside it shows the same.`;
  }
  const orbit = new Orbit(canvas, () => { now.dirty = true; });
  let anchor = [0, 0, 0]; // position of the followed body when following began; the view moves by its displacement since

  function open(i) {
    const episode = episodes[i];
    episode.unpacked = episode.unpacked || unpack(episode.poses);
    let sum = 0;
    episode.returns = episode.returns || episode.reward.map((reward) => (sum += reward));
    now.episode = episode;
    now.end = (episode.reward.length - 1) * episode.interval;
    scrub.max = now.end;
    at("skillrow").hidden = !episode.skill;
    go(Math.min(now.time, now.end));
    strip();
  }

  /** The bodies' poses at a time, interpolated between rows. */
  function poses(time) {
    const { unpacked, reward, interval } = now.episode, size = 7 * bodies, x = Math.min(time / interval, reward.length - 1);
    const row = Math.min(Math.floor(x + 1e-6), Math.max(reward.length - 2, 0)), share = Math.max(0, x - row);
    const from = unpacked.subarray(row * size, (row + 1) * size);
    const to = row + 1 < reward.length ? unpacked.subarray((row + 1) * size, (row + 2) * size) : from;
    const mixed = new Float32Array(size);
    for (let b = 0; b < size; b += 7) {
      let near = 0;
      for (let k = 3; k < 7; k++) near += from[b + k] * to[b + k];
      for (let k = 0; k < 7; k++) mixed[b + k] = (1 - share) * from[b + k] + share * (k > 2 && near < 0 ? -to[b + k] : to[b + k]);
    }
    return mixed;
  }

  const place = (where, body) => (body < 0 ? [0, 0, 0] : [...where.subarray(7 * body, 7 * body + 3)]);

  function follow(body) {
    const where = poses(now.time), shift = minus(place(where, now.follow), anchor);
    if (now.follow >= 0) orbit.target = plus(orbit.target, shift); // stay where the eye is
    now.follow = body;
    anchor = place(where, body);
    at("follow").value = body;
    now.dirty = true;
  }

  function stand(i) {
    const view = scene.views[i], where = poses(now.time);
    now.follow = -1;
    orbit.set(view);
    if (view.follow >= 0) orbit.target = plus(orbit.target, minus(place(where, view.follow), view.base));
    follow(view.follow);
    at("view").value = i;
  }

  function go(time) {
    now.time = Math.max(0, Math.min(time, now.end));
    scrub.value = now.time;
    now.dirty = true;
  }

  function play(on) {
    if (on && now.time >= now.end) go(0);
    now.playing = on;
    now.stamp = 0;
    at("play").textContent = on ? "❚❚" : "▶";
    at("play").setAttribute("aria-label", on ? "pause" : "play");
  }

  const row = () => Math.min(Math.floor(now.time / now.episode.interval + 1e-6), now.episode.reward.length - 1);

  function tell() {
    const { reward, returns, skill } = now.episode, i = row();
    at("time").textContent = `${now.time.toFixed(2)} / ${now.end.toFixed(2)} s`;
    at("reward").textContent = reward[i].toFixed(3);
    at("return").textContent = returns[i].toFixed(2);
    scrub.setAttribute("aria-valuetext", `${now.time.toFixed(2)} seconds, reward ${reward[i].toFixed(3)}`);
    if (!skill) return;
    const chip = document.createElement("span");
    chip.className = "chip";
    chip.style.background = skillPaint(skill[i]);
    at("skill").replaceChildren(chip, skill[i] < 0 ? "none" : String(skill[i]));
  }

  /** The strip above the slider: the active skill as a band, the reward as a curve. */
  function strip() {
    const line = at("timeline"), ratio = Math.min(devicePixelRatio || 1, 2), pen = line.getContext("2d");
    const wide = line.width = line.clientWidth * ratio, tall = line.height = line.clientHeight * ratio;
    const { reward, skill } = now.episode, n = reward.length, x = (i) => (n > 1 ? i / (n - 1) : 0) * wide;
    const floor = skill ? tall - 7 * ratio : tall, low = Math.min(0, ...reward), high = Math.max(low + 1e-9, ...reward);
    const y = (value) => floor - 2 * ratio - (value - low) / (high - low) * (floor - 5 * ratio);
    if (skill) {
      for (let i = 0, from = 0; i < n; i++) {
        if (i + 1 < n && skill[i + 1] === skill[from]) continue;
        pen.fillStyle = skillPaint(skill[from]);
        pen.fillRect(x(from), tall - 5 * ratio, Math.max(x(Math.min(i + 1, n - 1)) - x(from), 1), 5 * ratio);
        from = i + 1;
      }
    }
    pen.beginPath();
    pen.moveTo(0, y(Math.max(low, 0)));
    reward.forEach((value, i) => pen.lineTo(x(i), y(value)));
    pen.lineTo(wide, y(Math.max(low, 0)));
    pen.globalAlpha = 0.18;
    pen.fillStyle = pen.strokeStyle = paint("main");
    pen.fill();
    pen.globalAlpha = 1;
    pen.lineWidth = 1.4 * ratio;
    pen.beginPath();
    reward.forEach((value, i) => pen.lineTo(x(i), y(value)));
    pen.stroke();
  }

  function draw() {
    const where = poses(now.time);
    const shift = now.follow < 0 ? [0, 0, 0] : minus(place(where, now.follow), anchor);
    const look = orbit.look(shift), aspect = canvas.width / canvas.height;
    if (aspect < 1) look.fovy = 2 * Math.atan(Math.tan(look.fovy / 2) / aspect); // tall windows see as far to the sides
    if (viewer) viewer.draw(where, look, Math.max(0.5, Math.min(1.4 * orbit.distance, scene.extent * 1.5)));
    tell();
  }

  function fit() {
    const ratio = Math.min(devicePixelRatio || 1, 2);
    canvas.width = Math.max(1, Math.round(canvas.clientWidth * ratio));
    canvas.height = Math.max(1, Math.round(canvas.clientHeight * ratio));
    strip();
    now.dirty = true;
  }

  function tick(stamp) {
    if (now.playing) {
      if (now.stamp) go(now.time + now.speed * Math.min(stamp - now.stamp, 250) / 1000);
      now.stamp = stamp;
      if (now.time >= now.end) play(false);
    }
    if (now.dirty) {
      now.dirty = false;
      draw();
    }
    requestAnimationFrame(tick);
  }

  const step = (rows) => { play(false); go((row() + rows) * now.episode.interval); };
  function hurry(steps) {
    const select = at("speed");
    select.selectedIndex = Math.max(0, Math.min(select.length - 1, select.selectedIndex + steps));
    now.speed = Number(select.value);
  }
  const usual = () => (scene.views.some((view) => view.follow >= 0) ? scene.views.find((view) => view.follow >= 0).follow : scene.moving[0] ?? -1);
  const keys = {
    " ": () => play(!now.playing), ArrowLeft: () => step(-1), ArrowRight: () => step(1), Home: () => go(0), End: () => go(now.end),
    PageUp: () => step(-10), PageDown: () => step(10), ",": () => hurry(-1), ".": () => hurry(1),
    f: () => follow(now.follow < 0 ? usual() : -1), r: () => stand(Number(at("view").value)),
    "+": () => orbit.zoom(0.87), "=": () => orbit.zoom(0.87), "-": () => orbit.zoom(1.15),
    a: () => orbit.turn(-0.1, 0), d: () => orbit.turn(0.1, 0), w: () => orbit.turn(0, 0.08), s: () => orbit.turn(0, -0.08),
  };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
    if (event.target.tagName === "BUTTON" && event.key === " ") return; // presses the button
    const action = keys[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
  at("play").addEventListener("click", () => play(!now.playing));
  at("back").addEventListener("click", () => step(-1));
  at("on").addEventListener("click", () => step(1));
  scrub.addEventListener("input", () => { play(false); go(Number(scrub.value)); });
  at("speed").addEventListener("change", () => hurry(0));
  at("episode").addEventListener("change", (event) => open(Number(event.target.value)));
  at("view").addEventListener("change", (event) => stand(Number(event.target.value)));
  at("follow").addEventListener("change", (event) => follow(Number(event.target.value)));
  addEventListener("resize", fit);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", strip);

  const query = new URLSearchParams(location.hash.slice(1)); // page.html#time=3&episode=1&view=0 opens there, paused
  const wanted = (name, many) => Math.max(0, Math.min(many - 1, Number.parseInt(query.get(name), 10) || 0));
  at("episode").value = wanted("episode", episodes.length);
  open(Number(at("episode").value));
  stand(wanted("view", scene.views.length));
  fit();
  if (query.has("time")) go(Number.parseFloat(query.get("time")) || 0);
  else if (!calm && viewer) play(true);
  requestAnimationFrame(tick);
})();
