// --- drawing: points into a buffer, then eye-dome lighting onto the screen ------------------------------------------

const POINT_VERTEX = `
uniform float size, scale, cut, least, nearer; uniform vec3 eye; uniform bool hide;
attribute vec4 tint, outer; varying vec3 shown;
void main() {
  shown = tint.rgb;
  vec4 seen = modelViewMatrix * vec4(position, 1.0);
  seen.xyz *= nearer; // towards the eye: at the same place of the picture
  gl_Position = projectionMatrix * seen;
  gl_PointSize = clamp(size * scale / max(-seen.z, 1e-4), least, 40.0);
  bool behind = hide && dot(outer.xyz, outer.xyz) > 0.1 && dot(outer.xyz, eye - position) < 0.0;
  if (position.z > cut || behind || tint.a < 0.5) gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
}`;
const POINT_FRAGMENT = `
precision mediump float; varying vec3 shown; uniform bool ring;
void main() {
  vec2 from = gl_PointCoord * 2.0 - 1.0;
  if (dot(from, from) > 1.0) discard;
  gl_FragColor = vec4(ring && dot(from, from) > 0.5 ? vec3(1.0) : shown, 1.0);
}`;
const LIGHT_VERTEX = `varying vec2 place; void main() { place = uv; gl_Position = vec4(position.xy, 0.0, 1.0); }`;
const LIGHT_FRAGMENT = `
precision highp float;
uniform sampler2D colors, depths; uniform vec2 pixel; uniform float near, far, strength; uniform vec3 ground; uniform bool draft;
varying vec2 place;
float raw(vec2 at) { return texture2D(depths, at).x; }
float deep(float d) { return d >= 1.0 ? 64.0 : log2(near * far / (far - d * (far - near))); }
void main() {
  float seen = raw(place);
  vec2 from = place;
  for (int ring = 1; ring <= 2 && seen >= 1.0 && !draft; ring++) { // gaps inside of surfaces, not their borders
    float full = 0.0, most = 0.0;
    for (int i = 0; i < 8; i++) {
      float angle = float(i) * 0.785398;
      vec2 at = place + vec2(cos(angle), sin(angle)) * pixel * (float(ring) * 1.3);
      float there = raw(at);
      if (there < 1.0) { full += 1.0; if (there > most) { most = there; from = at; } }
    }
    if (full > 4.5) seen = most;
  }
  if (seen >= 1.0) { gl_FragColor = vec4(ground, 1.0); return; }
  float here = deep(seen);
  float hidden = 0.0;
  for (int i = 0; i < 8; i++) {
    float angle = float(i) * 0.785398;
    vec2 way = vec2(cos(angle), sin(angle)) * pixel;
    hidden += (draft ? 1.0 : 0.6) * clamp(here - deep(raw(place + 1.5 * way)) - 0.003, 0.0, 0.06);
    if (!draft) hidden += 0.4 * clamp(here - deep(raw(place + 4.0 * way)) - 0.003, 0.0, 0.06);
  }
  gl_FragColor = vec4(texture2D(colors, from).rgb * exp2(-strength * hidden / 8.0), 1.0);
}`;

const RINGS = 300; // marks that have a rim; of a brush there may be many more

class Stage {
  constructor(canvas, cloud, meta, camera) {
    this.canvas = canvas;
    this.camera = camera;
    this.cloud = cloud;
    this.renderer = new THREE.WebGLRenderer({ canvas, antialias: false, powerPreference: "high-performance" });
    const geometry = new THREE.BufferGeometry();
    this.tint = new THREE.BufferAttribute(cloud.color.slice(), 4, true);
    geometry.setAttribute("position", new THREE.BufferAttribute(cloud.position, 3));
    geometry.setAttribute("tint", this.tint);
    geometry.setAttribute("outer", new THREE.BufferAttribute(cloud.outer, 4, true));
    geometry.setIndex(new THREE.BufferAttribute(spread(cloud.n), 1));
    geometry.boundingSphere = new THREE.Sphere(new THREE.Vector3(), Infinity);
    this.geometry = geometry;
    this.usual = meta.size * 1.8;
    this.uniforms = {
      size: { value: 1 }, scale: { value: 1 }, cut: { value: 1e9 }, eye: { value: new THREE.Vector3() }, hide: { value: true },
      least: { value: 1.5 }, nearer: { value: 1 }, ring: { value: false },
    };
    const material = new THREE.ShaderMaterial({ uniforms: this.uniforms, vertexShader: POINT_VERTEX, fragmentShader: POINT_FRAGMENT });
    const drawn = new THREE.Points(geometry, material);
    drawn.frustumCulled = false;
    this.scene = new THREE.Scene();
    this.scene.add(drawn);
    this.marks = this.marked(); // labelled points, larger and in front of what is around them
    this.scene.add(this.marks);
    this.target = new THREE.WebGLRenderTarget(1, 1, { minFilter: THREE.NearestFilter, magFilter: THREE.NearestFilter });
    this.target.depthTexture = new THREE.DepthTexture(1, 1, THREE.UnsignedIntType);
    this.light = {
      colors: { value: this.target.texture }, depths: { value: this.target.depthTexture }, pixel: { value: new THREE.Vector2() },
      near: { value: 1 }, far: { value: 1 }, strength: { value: 38 }, ground: { value: new THREE.Vector3(1, 1, 1) },
      draft: { value: false },
    };
    const quad = new THREE.Mesh(
      new THREE.PlaneGeometry(2, 2),
      new THREE.ShaderMaterial({ uniforms: this.light, vertexShader: LIGHT_VERTEX, fragmentShader: LIGHT_FRAGMENT, depthTest: false, depthWrite: false }),
    );
    quad.frustumCulled = false;
    this.screen = new THREE.Scene();
    this.screen.add(quad);
    this.flat = new THREE.OrthographicCamera(-1, 1, 1, -1, 0, 1);
    this.pointSize = 1;
    this.draft = false;
    this.resize();
  }

  marked() {
    const uniforms = { ...this.uniforms, least: { value: 11 }, nearer: { value: 0.985 }, ring: { value: true } };
    const made = new THREE.Points(new THREE.BufferGeometry(), new THREE.ShaderMaterial({ uniforms, vertexShader: POINT_VERTEX, fragmentShader: POINT_FRAGMENT }));
    made.frustumCulled = made.visible = false;
    return made;
  }

  // Mark these points, in colours of four bytes each.
  mark(points, tint) {
    const { cloud, marks } = this, position = new Float32Array(3 * points.length), outer = new Int8Array(4 * points.length);
    points.forEach((point, i) => {
      position.set(cloud.position.subarray(3 * point, 3 * point + 3), 3 * i);
      outer.set(cloud.outer.subarray(4 * point, 4 * point + 4), 4 * i);
    });
    marks.geometry.dispose();
    marks.geometry = new THREE.BufferGeometry();
    marks.geometry.setAttribute("position", new THREE.BufferAttribute(position, 3));
    marks.geometry.setAttribute("tint", new THREE.BufferAttribute(tint, 4, true));
    marks.geometry.setAttribute("outer", new THREE.BufferAttribute(outer, 4, true));
    marks.geometry.boundingSphere = new THREE.Sphere(new THREE.Vector3(), Infinity);
    marks.material.uniforms.ring.value = points.length <= RINGS;
  }

  // A draft has fewer pixels and less lighting: for machines that are slow with all of them, while the picture moves.
  resize(draft = this.draft) {
    const { clientWidth: w, clientHeight: h } = this.canvas;
    this.draft = draft;
    const best = Math.min(window.devicePixelRatio || 1, 2);
    const ratio = draft ? Math.min(best, Math.max(Math.sqrt(200000 / (w * h)), 0.3)) : best;
    this.renderer.setPixelRatio(ratio);
    this.renderer.setSize(w, h, false);
    this.target.setSize(Math.round(w * ratio), Math.round(h * ratio));
    this.light.pixel.value.set(ratio / this.target.width, ratio / this.target.height);
    this.camera.aspect = w / h;
  }

  // Put the middle of the picture into that of what panel and messages leave free, and return the tangents of the
  // angles from there to its sides and to its top; pixels at the left, the top and the bottom are not free.
  room(left, top, bottom) {
    const { clientWidth: w, clientHeight: h } = this.canvas;
    const wide = Math.max(w - left, 1), tall = Math.max(h - top - bottom, 1);
    this.camera.zoom = Math.max(Math.min(tall, wide * 0.75) / h, 0.1);
    this.camera.setViewOffset(w, h, -left / 2, (bottom - top) / 2, w, h);
    const tangent = Math.tan((this.camera.fov * Math.PI) / 360) / this.camera.zoom / h;
    return [wide * tangent, tall * tangent];
  }

  // Draw the first `count` points of the spread order: a sample of all of them.
  draw(count, draft = false) {
    const { camera, uniforms, light } = this;
    if (draft !== this.draft) this.resize(draft);
    const n = this.cloud.n;
    this.geometry.setDrawRange(0, count);
    uniforms.size.value = this.usual * this.pointSize * Math.min(Math.sqrt(n / count), 4);
    uniforms.scale.value = (camera.zoom * this.target.height) / 2 / Math.tan((camera.fov * Math.PI) / 360);
    uniforms.eye.value.copy(camera.position);
    this.marks.material.uniforms.least.value = 11 * (this.target.height / this.canvas.clientHeight);
    light.near.value = camera.near;
    light.far.value = camera.far;
    light.draft.value = draft;
    this.renderer.setRenderTarget(this.target);
    this.renderer.setClearColor(0, 0);
    this.renderer.clear();
    this.renderer.render(this.scene, camera);
    this.renderer.setRenderTarget(null);
    this.renderer.render(this.screen, this.flat);
  }

  // Whether a point is drawn: not cut off, of no class that is hidden, and on no wall in front.
  shown(i) {
    const { cloud, uniforms } = this, p = cloud.position, eye = this.camera.position, k = 3 * i, o = 4 * i;
    if (p[k + 2] > uniforms.cut.value || !this.tint.array[o + 3]) return false;
    if (!uniforms.hide.value) return true;
    const [a, b, c] = [cloud.outer[o], cloud.outer[o + 1], cloud.outer[o + 2]];
    return !((a || b || c) && a * (eye.x - p[k]) + b * (eye.y - p[k + 1]) + c * (eye.z - p[k + 2]) < 0);
  }

  // Points that are drawn within `radius` metres of one.
  around(point, radius) {
    const p = this.cloud.position, found = [], [x, y, z] = p.subarray(3 * point, 3 * point + 3);
    for (let i = 0, k = 0; i < this.cloud.n; i++, k += 3) {
      if ((p[k] - x) ** 2 + (p[k + 1] - y) ** 2 + (p[k + 2] - z) ** 2 <= radius * radius && this.shown(i)) found.push(i);
    }
    return found;
  }

  // The point under a place on the canvas, or -1: of those within `radius` pixels, the nearest surface's closest.
  pick(x, y, radius) {
    const { camera, cloud, uniforms } = this;
    const { clientWidth: w, clientHeight: h } = this.canvas;
    const m = camera.projectionMatrix.clone().multiply(camera.matrixWorldInverse).elements;
    const p = cloud.position;
    const near = [];
    let front = Infinity;
    for (let i = 0, k = 0; i < cloud.n; i++, k += 3) {
      const px = p[k], py = p[k + 1], pz = p[k + 2];
      const deep = m[3] * px + m[7] * py + m[11] * pz + m[15];
      if (deep < camera.near) continue;
      const dx = ((m[0] * px + m[4] * py + m[8] * pz + m[12]) / deep + 1) * 0.5 * w - x;
      const dy = (1 - (m[1] * px + m[5] * py + m[9] * pz + m[13]) / deep) * 0.5 * h - y;
      const reach = Math.max(radius, 0.5 * this.usual * this.pointSize * (uniforms.scale.value / (this.target.height / h)) / deep);
      if (dx * dx + dy * dy > reach * reach) continue;
      if (!this.shown(i)) continue;
      near.push([i, deep, dx * dx + dy * dy]);
      if (deep < front) front = deep;
    }
    let best = -1, least = Infinity;
    for (const [i, deep, away] of near) if (deep < front * 1.01 + this.usual && away < least) [best, least] = [i, away];
    return best;
  }
}

// At most 5,000 of the points that the first view is made for: without the ceiling, and without strays.
function framed(cloud, below) {
  const step = Math.max(Math.floor(cloud.n / 5000), 1), some = [];
  for (let i = 0; i < cloud.n; i += step) if (cloud.position[3 * i + 2] < below) some.push(cloud.position.subarray(3 * i, 3 * i + 3));
  const ends = [0, 1, 2].map((a) => {
    const sorted = Float32Array.from(some, (p) => p[a]).sort();
    return [sorted[Math.floor(0.001 * sorted.length)], sorted[Math.ceil(0.999 * sorted.length) - 1]];
  });
  const good = some.filter((p) => ends.every(([low, high], a) => p[a] >= low && p[a] <= high));
  return Float32Array.from((good.length ? good : some).flatMap((p) => [...p]));
}

// An order of the points in which every beginning is an even sample of all of them.
function spread(n) {
  const gcd = (a, b) => (b ? gcd(b, a % b) : a);
  let step = Math.max(Math.round(n * 0.6180339887), 1);
  while (gcd(step, n) !== 1) step++;
  const order = new Uint32Array(n);
  for (let i = 0, at = 0; i < n; i++, at = (at + step) % n) order[i] = at;
  return order;
}
