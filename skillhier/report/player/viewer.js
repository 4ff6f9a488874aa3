"use strict";
/* Draws a scene with WebGL 2: shapes on bodies, one light with a shadow, checkers, haze, and an orbiting camera. */

const Matrix = { // 4 x 4, column by column
  times(a, b) {
    const out = new Float32Array(16);
    for (let c = 0; c < 4; c++) {
      for (let r = 0; r < 4; r++) {
        out[4 * c + r] = a[r] * b[4 * c] + a[4 + r] * b[4 * c + 1] + a[8 + r] * b[4 * c + 2] + a[12 + r] * b[4 * c + 3];
      }
    }
    return out;
  },
  /** A rotation by the quaternion w x y z and a translation, from the seven numbers at index `at`. */
  pose(p, at) {
    const w = p[at + 3], x = p[at + 4], y = p[at + 5], z = p[at + 6], s = 2 / (w * w + x * x + y * y + z * z);
    return new Float32Array([
      1 - s * (y * y + z * z), s * (x * y + w * z), s * (x * z - w * y), 0,
      s * (x * y - w * z), 1 - s * (x * x + z * z), s * (y * z + w * x), 0,
      s * (x * z + w * y), s * (y * z - w * x), 1 - s * (x * x + y * y), 0,
      p[at], p[at + 1], p[at + 2], 1,
    ]);
  },
  perspective(fovy, aspect, near, far) {
    const f = 1 / Math.tan(fovy / 2);
    return new Float32Array([f / aspect, 0, 0, 0, 0, f, 0, 0, 0, 0, (far + near) / (near - far), -1, 0, 0, 2 * far * near / (near - far), 0]);
  },
  box(half, depth) { // an orthographic projection of a box
    return new Float32Array([1 / half, 0, 0, 0, 0, 1 / half, 0, 0, 0, 0, -1 / depth, 0, 0, 0, 0, 1]);
  },
  look(eye, target) {
    const z = unit(minus(eye, target)), side = cross([0, 0, 1], z);
    const x = Math.hypot(...side) > 1e-6 ? unit(side) : [1, 0, 0], y = cross(z, x);
    return new Float32Array([x[0], y[0], z[0], 0, x[1], y[1], z[1], 0, x[2], y[2], z[2], 0, -dot(x, eye), -dot(y, eye), -dot(z, eye), 1]);
  },
};
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const minus = (a, b) => [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
const plus = (a, b, s = 1) => [a[0] + s * b[0], a[1] + s * b[1], a[2] + s * b[2]];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const unit = (a) => { const length = Math.hypot(...a); return a.map((x) => x / length); };

const VERTEX = `#version 300 es
layout(location=0) in vec3 point; layout(location=1) in vec3 normal;
uniform mat4 world, view, sunward;
out vec3 local, place, facing; out vec4 lit;
void main() {
  vec4 p = world * vec4(point, 1.0);
  local = point; place = p.xyz; facing = mat3(world) * normalize(normal);
  lit = sunward * p; gl_Position = view * p;
}`;
const FRAGMENT = `#version 300 es
precision highp float; precision highp sampler2DShadow;
in vec3 local, place, facing; in vec4 lit;
uniform vec4 paint; uniform vec3 other, eye, sun, haze; uniform vec2 cell, fade; uniform float shine;
uniform sampler2DShadow depth;
out vec4 colour;
float open() {
  vec3 p = lit.xyz * 0.5 + 0.5;
  if (any(lessThan(p, vec3(0.0))) || any(greaterThan(p, vec3(1.0)))) return 1.0;
  float sum = 0.0;
  for (int i = -2; i <= 2; i++) for (int j = -2; j <= 2; j++)
    sum += texture(depth, vec3(p.xy + vec2(i, j) / 2048.0, p.z - 0.0012));
  float edge = max(abs(lit.x), abs(lit.y));
  return mix(sum / 25.0, 1.0, smoothstep(0.85, 1.0, edge));
}
void main() {
  vec3 base = paint.rgb;
  if (cell.x > 0.0) { // a checkerboard, averaged over the pixel
    vec2 p = local.xy / cell, w = max(fwidth(p), 1e-4);
    vec2 i = 2.0 * (abs(fract((p - 0.5 * w) * 0.5) - 0.5) - abs(fract((p + 0.5 * w) * 0.5) - 0.5)) / w;
    base = mix(paint.rgb, other, 0.5 - 0.5 * i.x * i.y);
  }
  base = pow(base, vec3(2.2));
  vec3 n = normalize(facing), v = normalize(eye - place), h = normalize(v + sun);
  float bright = max(dot(n, sun), 0.0);
  if (bright > 0.0) bright *= open();
  vec3 around = mix(vec3(0.20, 0.19, 0.18), vec3(0.52, 0.55, 0.60), n.z * 0.5 + 0.5);
  vec3 c = base * (around + 0.78 * bright * vec3(1.0, 0.97, 0.92) + 0.14 * max(dot(n, v), 0.0));
  c += shine * bright * pow(max(dot(n, h), 0.0), 40.0);
  c = pow(c, vec3(1.0 / 2.2));
  float far = smoothstep(fade.x, fade.y, distance(eye, place));
  colour = vec4(mix(c, haze, far), paint.a);
}`;
const SHADE_VERTEX = `#version 300 es
layout(location=0) in vec3 point; uniform mat4 world, view;
void main() { gl_Position = view * (world * vec4(point, 1.0)); }`;
const SHADE_FRAGMENT = `#version 300 es
precision highp float; void main() {}`;
const SKY_VERTEX = `#version 300 es
out vec2 at; void main() { at = vec2((gl_VertexID << 1) & 2, gl_VertexID & 2) * 2.0 - 1.0; gl_Position = vec4(at, 1.0, 1.0); }`;
const SKY_FRAGMENT = `#version 300 es
precision highp float; in vec2 at; uniform vec3 forward, right, up, above, haze; uniform vec2 open; out vec4 colour;
void main() {
  float z = normalize(forward + at.x * open.x * right + at.y * open.y * up).z;
  colour = vec4(mix(haze, above, smoothstep(-0.02, 0.7, z)), 1.0);
}`;
const SHADOW = 2048, FAR_PLANE = 400; // pixels a side; m, half the side of an infinite plane

class Viewer {
  /** Raises an Error where the browser has no WebGL 2. */
  constructor(canvas, scene) {
    this.canvas = canvas;
    this.gl = canvas.getContext("webgl2", { antialias: true, preserveDrawingBuffer: true });
    if (!this.gl) throw new Error("no WebGL 2");
    this.sky = scene.sky;
    const gl = this.gl;
    this.main = this.program(VERTEX, FRAGMENT);
    this.shade = this.program(SHADE_VERTEX, SHADE_FRAGMENT);
    this.back = this.program(SKY_VERTEX, SKY_FRAGMENT);
    this.bare = gl.createVertexArray();
    this.shapes = scene.shapes.map((shape) => this.upload(shape, scene.meshes));
    this.shapes.sort((a, b) => (a.paint[3] < 1) - (b.paint[3] < 1)); // transparent shapes are drawn last
    this.depth = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, this.depth);
    gl.texStorage2D(gl.TEXTURE_2D, 1, gl.DEPTH_COMPONENT24, SHADOW, SHADOW);
    for (const [name, value] of [["MIN_FILTER", gl.LINEAR], ["MAG_FILTER", gl.LINEAR], ["WRAP_S", gl.CLAMP_TO_EDGE], ["WRAP_T", gl.CLAMP_TO_EDGE], ["COMPARE_MODE", gl.COMPARE_REF_TO_TEXTURE]]) {
      gl.texParameteri(gl.TEXTURE_2D, gl[`TEXTURE_${name}`], value);
    }
    this.buffer = gl.createFramebuffer();
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.buffer);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.DEPTH_ATTACHMENT, gl.TEXTURE_2D, this.depth, 0);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.enable(gl.DEPTH_TEST);
    gl.depthFunc(gl.LEQUAL); // the sky is drawn at the far plane
    gl.enable(gl.CULL_FACE);
  }

  program(vertex, fragment) {
    const gl = this.gl, program = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
    const locations = { program };
    for (let i = 0; i < gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS); i++) {
      const { name } = gl.getActiveUniform(program, i);
      locations[name] = gl.getUniformLocation(program, name);
    }
    return locations;
  }

  upload(shape, meshes) {
    const gl = this.gl, flat = shape.kind === "plane";
    const size = flat ? shape.size.map((half) => half || FAR_PLANE) : shape.size;
    const { points, normals, faces } = Shapes({ ...shape, size }, meshes), array = gl.createVertexArray();
    gl.bindVertexArray(array);
    [points, normals].forEach((values, place) => {
      gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
      gl.bufferData(gl.ARRAY_BUFFER, new Float32Array(values), gl.STATIC_DRAW);
      gl.enableVertexAttribArray(place);
      gl.vertexAttribPointer(place, 3, gl.FLOAT, false, 0, 0);
    });
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, new Uint32Array(faces), gl.STATIC_DRAW);
    gl.bindVertexArray(null);
    const checker = shape.checker || { other: [0, 0, 0], cell: [0, 0] };
    return {
      array, count: faces.length, body: shape.body, local: Matrix.pose(shape.pose, 0), paint: shape.rgba,
      other: checker.other, cell: checker.cell, casts: !flat && shape.rgba[3] >= 1, shine: flat ? 0.02 : 0.16,
    };
  }

  /** Draws one frame. bodies: Float32Array [n, 7], poses; look: {eye, target, fovy (radians)}; reach: m of what matters. */
  draw(bodies, look, reach) {
    const gl = this.gl, { canvas } = this;
    const turned = [], sun = unit([0.45, -0.35, 1.0]);
    for (let i = 0; i < bodies.length; i += 7) turned.push(Matrix.pose(bodies, i));
    for (const shape of this.shapes) shape.world = Matrix.times(turned[shape.body], shape.local);

    const sunward = Matrix.times(Matrix.box(reach, 4 * reach), Matrix.look(plus(look.target, sun), look.target));
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.buffer);
    gl.viewport(0, 0, SHADOW, SHADOW);
    gl.clear(gl.DEPTH_BUFFER_BIT);
    gl.useProgram(this.shade.program);
    gl.uniformMatrix4fv(this.shade.view, false, sunward);
    gl.cullFace(gl.FRONT); // back faces cast the shadow, so that lit faces do not shadow themselves
    for (const shape of this.shapes) if (shape.casts) this.triangles(this.shade, shape);
    gl.cullFace(gl.BACK);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);

    const aspect = canvas.width / canvas.height, away = Math.hypot(...minus(look.eye, look.target));
    const near = Math.max(0.002, 0.02 * away), far = 60 * away + 20;
    const view = Matrix.look(look.eye, look.target);
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clear(gl.DEPTH_BUFFER_BIT | gl.COLOR_BUFFER_BIT);
    gl.useProgram(this.back.program);
    gl.depthMask(false);
    gl.uniform3f(this.back.right, view[0], view[4], view[8]);
    gl.uniform3f(this.back.up, view[1], view[5], view[9]);
    gl.uniform3f(this.back.forward, -view[2], -view[6], -view[10]);
    gl.uniform2f(this.back.open, aspect * Math.tan(look.fovy / 2), Math.tan(look.fovy / 2));
    gl.uniform3fv(this.back.above, this.sky.above);
    gl.uniform3fv(this.back.haze, this.sky.haze);
    gl.bindVertexArray(this.bare);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    gl.depthMask(true);

    const main = this.main;
    gl.useProgram(main.program);
    gl.uniformMatrix4fv(main.view, false, Matrix.times(Matrix.perspective(look.fovy, aspect, near, far), view));
    gl.uniformMatrix4fv(main.sunward, false, sunward);
    gl.uniform3fv(main.eye, look.eye);
    gl.uniform3fv(main.sun, sun);
    gl.uniform3fv(main.haze, this.sky.haze);
    gl.uniform2f(main.fade, 6 * away, 24 * away);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, this.depth);
    gl.uniform1i(main.depth, 0);
    gl.blendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA);
    for (const shape of this.shapes) {
      const through = shape.paint[3] < 1;
      gl[through ? "enable" : "disable"](gl.BLEND);
      gl.depthMask(!through);
      gl.uniform4fv(main.paint, shape.paint);
      gl.uniform3fv(main.other, shape.other);
      gl.uniform2fv(main.cell, shape.cell);
      gl.uniform1f(main.shine, shape.shine);
      this.triangles(main, shape);
    }
    gl.depthMask(true);
  }

  triangles(program, shape) {
    const gl = this.gl;
    gl.uniformMatrix4fv(program.world, false, shape.world);
    gl.bindVertexArray(shape.array);
    gl.drawElements(gl.TRIANGLES, shape.count, gl.UNSIGNED_INT, 0);
  }
}

/** An orbiting camera: drag to turn, drag with the right button or two fingers to move, wheel or pinch to zoom. */
class Orbit {
  constructor(canvas, changed) {
    Object.assign(this, { azimuth: 0, elevation: 0.5, distance: 3, target: [0, 0, 0], fovy: 0.8, changed, fingers: new Map() });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(Math.max(-0.4, Math.min(0.4, 0.0012 * event.deltaY * (event.deltaMode ? 30 : 1)))));
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.fingers.set(event.pointerId, [event.clientX, event.clientY]);
    });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.fingers.delete(event.pointerId));
    canvas.addEventListener("pointermove", (event) => {
      const before = this.fingers.get(event.pointerId);
      if (!before) return;
      const [dx, dy] = [event.clientX - before[0], event.clientY - before[1]];
      if (this.fingers.size === 2) {
        const [other] = [...this.fingers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
        const apart = (at) => Math.hypot(at[0] - other[0], at[1] - other[1]) || 1;
        this.distance *= apart(before) / apart([event.clientX, event.clientY]);
        this.pan(dx / 2, dy / 2, canvas.clientHeight);
      } else if (event.buttons & 6 || event.shiftKey || event.ctrlKey) this.pan(dx, dy, canvas.clientHeight);
      else this.turn(-0.008 * dx, 0.008 * dy);
      this.fingers.set(event.pointerId, [event.clientX, event.clientY]);
    });
  }

  turn(azimuth, elevation) {
    this.azimuth += azimuth;
    this.elevation = Math.max(-1.5, Math.min(1.55, this.elevation + elevation));
    this.changed();
  }

  zoom(factor) {
    this.distance = Math.max(0.02, Math.min(500, this.distance * factor));
    this.changed();
  }

  pan(dx, dy, height) {
    const scale = 2 * this.distance * Math.tan(this.fovy / 2) / height, ca = Math.cos(this.azimuth), sa = Math.sin(this.azimuth);
    const up = [-Math.sin(this.elevation) * ca, -Math.sin(this.elevation) * sa, Math.cos(this.elevation)];
    this.target = plus(plus(this.target, [-sa, ca, 0], -dx * scale), up, dy * scale);
    this.changed();
  }

  /** Moves to a camera of the model, or so far behind it that everything it follows is in view. */
  set({ eye, target, fovy, reach = 0 }) {
    const back = minus(eye, target), away = Math.hypot(...back);
    this.distance = Math.max(away, reach / Math.sin(fovy / 2));
    this.azimuth = Math.atan2(back[1], back[0]);
    this.elevation = Math.max(-1.5, Math.min(1.55, Math.asin(back[2] / away)));
    Object.assign(this, { target: [...target], fovy });
    this.changed();
  }

  /** The `look` of `Viewer.draw`, moved by `shift`. */
  look(shift) {
    const target = plus(this.target, shift), c = Math.cos(this.elevation);
    const back = [c * Math.cos(this.azimuth), c * Math.sin(this.azimuth), Math.sin(this.elevation)];
    return { eye: plus(target, back, this.distance), target, fovy: this.fovy };
  }
}
