"use strict";
/* Triangles of every kind of shape in a scene: {points, normals: Float32Array [n, 3], faces: Uint32Array}.
   `size` is MuJoCo's: half extents of a box, radius and half length of a capsule or cylinder, ... (m). */

const Shapes = (() => {
  const AROUND = 40, ARC = 12; // segments around the axis, and along a quarter circle

  /** A surface of revolution about z from points [r, z, normal r, normal z], bottom to top. */
  function revolve(profile) {
    const points = [], normals = [], faces = [];
    for (const [r, z, nr, nz] of profile) {
      for (let i = 0; i <= AROUND; i++) {
        const c = Math.cos(2 * Math.PI * i / AROUND), s = Math.sin(2 * Math.PI * i / AROUND);
        points.push(r * c, r * s, z);
        normals.push(nr * c, nr * s, nz);
      }
    }
    const row = AROUND + 1;
    for (let j = 0; j + 1 < profile.length; j++) {
      for (let i = 0; i < AROUND; i++) {
        const a = j * row + i;
        faces.push(a, a + 1, a + row + 1, a, a + row + 1, a + row);
      }
    }
    return { points, normals, faces };
  }

  function arc(radius, z, from, to) {
    const points = [];
    for (let k = 0; k <= ARC; k++) {
      const angle = from + (to - from) * k / ARC, c = Math.cos(angle), s = Math.sin(angle);
      points.push([radius * c, z + radius * s, c, s]);
    }
    return points;
  }

  const quarter = Math.PI / 2;
  const sphere = ([r]) => revolve([...arc(r, 0, -quarter, 0), ...arc(r, 0, 0, quarter).slice(1)]);
  const capsule = ([r, h]) => revolve([...arc(r, -h, -quarter, 0), ...arc(r, h, 0, quarter)]);
  const cylinder = ([r, h]) => revolve([[0, -h, 0, -1], [r, -h, 0, -1], [r, -h, 1, 0], [r, h, 1, 0], [r, h, 0, 1], [0, h, 0, 1]]);

  function ellipsoid(size) {
    const shape = sphere([1]);
    for (let i = 0; i < shape.points.length; i++) {
      shape.points[i] *= size[i % 3];
      shape.normals[i] /= size[i % 3]; // not of unit length; the shader normalises it
    }
    return shape;
  }

  function box(size) {
    const points = [], normals = [], faces = [];
    for (let axis = 0; axis < 3; axis++) {
      for (const side of [-1, 1]) {
        const first = points.length / 3, u = (axis + 1) % 3, v = (axis + 2) % 3;
        for (const [a, b] of [[-1, -1], [1, -1], [1, 1], [-1, 1]]) {
          const point = [0, 0, 0], normal = [0, 0, 0];
          point[axis] = side * size[axis];
          point[u] = a * size[u];
          point[v] = b * side * size[v]; // so that both sides are counterclockwise from outside
          normal[axis] = side;
          points.push(...point);
          normals.push(...normal);
        }
        faces.push(first, first + 1, first + 2, first, first + 2, first + 3);
      }
    }
    return { points, normals, faces };
  }

  const plane = ([x, y]) => ({
    points: [-x, -y, 0, x, -y, 0, x, y, 0, -x, y, 0],
    normals: [0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1],
    faces: [0, 1, 2, 0, 2, 3],
  });

  /** A mesh from its corners; edges flatter than 40 degrees are shaded smoothly. */
  function mesh(corners, triangles) {
    const points = [], normals = [], faces = [], flat = [], at = new Map();
    const name = (i) => [0, 1, 2].map((k) => corners[3 * i + k].toFixed(6)).join();
    for (let f = 0; f < triangles.length; f += 3) {
      const [a, b, c] = [0, 1, 2].map((k) => [0, 1, 2].map((d) => corners[3 * triangles[f + k] + d]));
      const u = b.map((x, d) => x - a[d]), v = c.map((x, d) => x - a[d]);
      const normal = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
      flat.push(normal);
      for (let k = 0; k < 3; k++) {
        const corner = name(triangles[f + k]);
        if (!at.has(corner)) at.set(corner, []);
        at.get(corner).push(normal);
      }
    }
    const crease = Math.cos(40 * Math.PI / 180);
    for (let f = 0; f < triangles.length; f++) {
      const own = flat[Math.floor(f / 3)], sum = [0, 0, 0], length = Math.hypot(...own);
      for (const other of at.get(name(triangles[f]))) {
        const dot = own[0] * other[0] + own[1] * other[1] + own[2] * other[2];
        if (dot >= crease * length * Math.hypot(...other)) for (let d = 0; d < 3; d++) sum[d] += other[d];
      }
      for (let d = 0; d < 3; d++) points.push(corners[3 * triangles[f] + d]);
      normals.push(...sum);
      faces.push(f);
    }
    return { points, normals, faces };
  }

  const kinds = { sphere, capsule, cylinder, ellipsoid, box, plane };
  /** The triangles of one shape of a scene; `meshes` are the scene's. */
  return (shape, meshes) => (shape.kind === "mesh" ? mesh(meshes[shape.mesh].corners, meshes[shape.mesh].faces) : kinds[shape.kind](shape.size));
})();
