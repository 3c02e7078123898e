// --- camera: one state for orbit and fly, so that switching does not jump -------------------------------------------

class Rig {
  constructor(camera, view, origin) {
    this.camera = camera;
    this.up = new THREE.Vector3(0, 0, 1);
    this.first = { eye: view.eye.map((v, a) => v - origin[a]), target: view.target.map((v, a) => v - origin[a]) };
    this.fly = false;
    this.held = new Set();
    this.reset();
  }

  // Move the first view so that `points` just fit into angles with these tangents, as `automatic_view` does for a
  // picture of 4 : 3; a camera that nobody has moved yet goes along.
  fit(points, wide, tall) {
    const target = new THREE.Vector3(...this.first.target), eye = new THREE.Vector3(...this.first.eye);
    const away = target.clone().sub(eye).normalize(), right = new THREE.Vector3(away.y, -away.x, 0).normalize();
    const up = right.clone().cross(away), from = new THREE.Vector3();
    const most = { right: -Infinity, left: -Infinity, top: -Infinity, bottom: -Infinity };
    for (let i = 0; i < points.length; i += 3) {
      from.fromArray(points, i).sub(target);
      const x = from.dot(right) / wide, y = from.dot(up) / tall, z = from.dot(away);
      most.right = Math.max(most.right, x - z);
      most.left = Math.max(most.left, -x - z);
      most.top = Math.max(most.top, y - z);
      most.bottom = Math.max(most.bottom, -y - z);
    }
    target.addScaledVector(right, (wide * (most.right - most.left)) / 2).addScaledVector(up, (tall * (most.top - most.bottom)) / 2);
    const far = Math.max((most.right + most.left) / 2, (most.top + most.bottom) / 2, 1e-3);
    this.first = { target: target.toArray(), eye: target.clone().addScaledVector(away, -far).toArray() };
    if (!this.touched) this.reset();
  }

  reset() {
    const eye = new THREE.Vector3(...this.first.eye);
    this.target = new THREE.Vector3(...this.first.target);
    const away = this.target.clone().sub(eye);
    this.distance = this.reach = away.length();
    this.yaw = Math.atan2(away.y, away.x);
    this.pitch = Math.asin(away.z / this.reach);
    this.changed = true;
    this.touched = false;
  }

  get away() {
    const c = Math.cos(this.pitch);
    return new THREE.Vector3(c * Math.cos(this.yaw), c * Math.sin(this.yaw), Math.sin(this.pitch));
  }

  get eye() { return this.target.clone().addScaledVector(this.away, -this.distance); }

  get right() { return new THREE.Vector3(Math.sin(this.yaw), -Math.cos(this.yaw), 0); }

  // Angles in radians: around the target in orbit, around the eye in flight.
  turn(left, up) {
    this.touched = true;
    const eye = this.eye;
    this.yaw += left;
    this.pitch = Math.min(Math.max(this.pitch + up, -1.55), 1.55);
    if (this.fly) this.target = eye.addScaledVector(this.away, this.distance);
    this.changed = true;
  }

  // Parts of the picture's height.
  pan(x, y) {
    this.touched = true;
    const scale = (2 * this.distance * Math.tan((this.camera.fov * Math.PI) / 360)) / this.camera.zoom;
    this.target.addScaledVector(this.right, -x * scale);
    this.target.addScaledVector(this.right.cross(this.away), y * scale);
    this.changed = true;
  }

  zoom(factor) {
    this.touched = true;
    if (this.fly) return this.move(0, (factor < 1 ? 1 : -1) * Math.abs(Math.log(factor)), 0);
    this.distance = Math.min(Math.max(this.distance * factor, this.reach * 0.004), this.reach * 20);
    this.changed = true;
  }

  // Parts of the first view's distance.
  move(right, forward, up) {
    this.touched = true;
    const way = this.fly ? this.away : this.away.setZ(0).normalize();
    const step = this.reach * 0.6;
    this.target.addScaledVector(this.right, right * step).addScaledVector(way, forward * step).addScaledVector(this.up, up * step);
    this.changed = true;
  }

  around(point) {
    this.touched = true;
    const eye = this.eye;
    const away = point.clone().sub(eye);
    this.distance = Math.max(away.length(), 1e-3);
    this.target = point.clone();
    this.yaw = Math.atan2(away.y, away.x);
    this.pitch = Math.min(Math.max(Math.asin(away.z / this.distance), -1.55), 1.55);
    this.changed = true;
  }

  // Keys that are held down: once a frame, and once when one goes down, so that a tap is a step that is seen.
  step(seconds) {
    if (!this.held.size) return;
    const on = (key) => (this.held.has(key) ? 1 : 0);
    const turn = 1.4 * seconds, go = 0.9 * seconds;
    const sign = this.fly ? 1 : -1;
    const left = sign * (on("arrowleft") - on("arrowright")), up = sign * (on("arrowup") - on("arrowdown"));
    if (left || up) this.turn(left * turn, up * turn);
    const right = on("d") - on("a"), forward = on("w") - on("s"), rise = on("e") - on("q");
    if (right || forward || rise) this.move(right * go, forward * go, rise * go);
    const closer = on("+") + on("=") - on("-");
    if (closer) this.zoom(Math.exp(-closer * 1.6 * seconds));
  }

  apply() {
    const eye = this.eye;
    this.camera.position.copy(eye);
    this.camera.up.copy(this.up);
    this.camera.lookAt(eye.clone().add(this.away));
    this.camera.near = this.reach * 0.002;
    this.camera.far = this.reach * 40;
    this.camera.updateProjectionMatrix();
    this.camera.updateMatrixWorld();
  }
}

// Mouse, pen and fingers on the canvas; `asked(x, y, how)` is a click or a tap.
function gestures(canvas, rig, asked, moving) {
  const down = new Map();
  let start = null, before = null, tapped = { time: 0, x: 0, y: 0 };
  const middle = () => {
    const all = [...down.values()];
    const x = all.reduce((sum, p) => sum + p.x, 0) / all.length, y = all.reduce((sum, p) => sum + p.y, 0) / all.length;
    return { x, y, apart: all.length > 1 ? Math.hypot(all[0].x - all[1].x, all[0].y - all[1].y) : 0 };
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    down.set(event.pointerId, { x: event.clientX, y: event.clientY });
    before = middle();
    start = down.size === 1 ? { x: event.clientX, y: event.clientY, time: event.timeStamp, button: event.button } : null;
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!down.has(event.pointerId)) return;
    down.set(event.pointerId, { x: event.clientX, y: event.clientY });
    const now = middle(), height = canvas.clientHeight;
    const x = (now.x - before.x) / height, y = (now.y - before.y) / height;
    if (start && Math.hypot(now.x - start.x, now.y - start.y) < 5) return;
    start = null;
    canvas.classList.add("dragging");
    if (down.size > 1 || event.buttons & 6 || event.shiftKey) rig.pan(x, y);
    else rig.turn((rig.fly ? 1.6 : -3.2) * x, (rig.fly ? 1.6 : -3.2) * y);
    if (down.size > 1 && before.apart && now.apart) rig.zoom(before.apart / now.apart);
    before = now;
    moving();
  });
  const up = (event) => {
    if (!down.delete(event.pointerId)) return;
    canvas.classList.remove("dragging");
    if (down.size) before = middle();
    if (event.type === "pointerup" && start && start.button === 0 && event.timeStamp - start.time < 700) {
      const twice = event.timeStamp - tapped.time < 350 && Math.hypot(start.x - tapped.x, start.y - tapped.y) < 12;
      tapped = { time: event.timeStamp, x: start.x, y: start.y };
      asked(start.x, start.y, { twice, finger: event.pointerType !== "mouse", shift: event.shiftKey });
    }
    start = null;
  };
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 33 : 1;
    rig.zoom(Math.exp(Math.min(Math.max(event.deltaY * lines, -240), 240) * 0.0012));
    moving();
  }, { passive: false });
}
