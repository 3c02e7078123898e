// --- the page -------------------------------------------------------------------------------------------------------

const meta = JSON.parse(byId("meta").textContent);
const canvas = byId("scene");
const root = document.documentElement;
const BINS = 60;
const RANKS = 20000;
const HEATS = Uint8Array.from({ length: 3 * 256 }, (_, i) => heat(Math.floor(i / 3) / 255)[i % 3]);

async function main() {
  if (!window.DecompressionStream) throw new Error("This browser is too old for the page: it cannot unpack the scan.");
  const origin = meta.view.target.slice();
  const cloud = points(meta, await unpacked("points"), origin);
  const camera = new THREE.PerspectiveCamera(meta.view.fov, 1, 0.1, 100);
  const rig = new Rig(camera, meta.view, origin);
  let stage;
  try {
    stage = new Stage(canvas, cloud, meta, camera);
  } catch {
    throw new Error("This browser has no WebGL 2, which the page draws with; switch on hardware acceleration.");
  }
  const state = { mode: meta.mode, level: null, selected: -1, threshold: 0.8, own: false, similar: null, low: 0, counts: [], ruler: [], hidden: { label: new Set(), cluster: new Set() } };
  let features = null, naming = null;
  const gives = () => naming && (state.mode === "name" || state.mode === "unsure"); // whether clicks give labels
  const sorts = () => ({ label: "label", unsure: "label", cluster: "cluster" })[state.mode]; // which legend there is

  // --- frames: drawn when something changed; while it moves, as much as the machine draws thirty times a second ---
  const speed = { budget: cloud.n, draft: false, moved: -1e9, last: 0, moving: false, full: false };
  const moving = () => { speed.moved = performance.now(); };
  function adapt(spent) {
    if (spent > 60 && !speed.draft) speed.draft = true;
    else if (spent > 40) speed.budget = Math.max(Math.round(speed.budget * Math.max(33 / spent, 0.3)), Math.min(30000, cloud.n));
    else if (spent < 25 && speed.budget < cloud.n) speed.budget = Math.min(Math.round(speed.budget * 1.1), cloud.n);
    else if (spent < 12) speed.draft = false;
  }
  function frame(now) {
    requestAnimationFrame(frame);
    const spent = now - speed.last;
    speed.last = now;
    if (rig.held.size) moving();
    rig.step(Math.min(spent, 100) / 1000);
    const inMotion = now - speed.moved < (speed.draft ? 350 : 160);
    if (inMotion && speed.moving) adapt(spent);
    if (rig.changed || state.dirty || (!inMotion && !speed.full)) {
      rig.apply();
      stage.draw(inMotion ? speed.budget : cloud.n, inMotion && speed.draft);
      speed.full = !inMotion || (speed.budget === cloud.n && !speed.draft);
      rig.changed = state.dirty = false;
      mark();
    }
    speed.moving = inMotion;
  }

  // Where a point is on the screen, or null where it is behind the camera.
  function seen(point) {
    const at = new THREE.Vector3().fromArray(cloud.position, 3 * point).project(camera);
    return Math.abs(at.z) > 1 ? null : [((at.x + 1) / 2) * canvas.clientWidth, ((1 - at.y) / 2) * canvas.clientHeight];
  }
  // What lies over the picture: the asked point, the ruler, the bar of a length at the depth of the middle.
  function mark() {
    const ring = byId("ring"), at = state.selected < 0 || state.mode !== "similarity" ? null : seen(state.selected);
    ring.hidden = !at;
    if (at) ring.style.transform = `translate(${at[0]}px, ${at[1]}px)`;
    const ends = state.ruler.map(seen), [a, b = a] = ends;
    byId("ruler").toggleAttribute("hidden", !ends.length || ends.includes(null));
    if (ends.length && !ends.includes(null)) {
      for (const line of byId("ruler").querySelectorAll("line")) {
        [["x1", a[0]], ["y1", a[1]], ["x2", b[0]], ["y2", b[1]]].forEach(([name, value]) => line.setAttribute(name, value));
      }
      const text = byId("ruler").querySelector("text");
      text.textContent = ends.length > 1 ? rulerText(state.ruler.map(place)).split(":")[0] : "";
      text.setAttribute("x", (a[0] + b[0]) / 2);
      text.setAttribute("y", (a[1] + b[1]) / 2 - 12);
    }
    byId("scale").hidden = rig.fly; // there is no middle to be at the depth of
    axes(camera);
    scaleBar((2 * rig.distance * Math.tan((camera.fov * Math.PI) / 360)) / camera.zoom / canvas.clientHeight);
  }

  // --- colours ---
  function paint() {
    const { tint } = stage, { owner, color, n } = cloud;
    const out = tint.array;
    const [share, rest] = root.dataset.theme === "dark" ? [0.22, 26] : [0.3, 158]; // what is not meant steps back
    const plain = state.mode === "name" && !meta.colored ? "pca" : state.mode;
    if ((plain === "pca" || plain === "rest") && features) {
      const [r, g, b] = plain === "rest" ? features.rest : features.colors[state.level === null || plain !== state.mode ? 0 : state.level + 1];
      for (let i = 0, k = 0; i < n; i++, k += 4) { const c = owner[i]; out[k] = r[c]; out[k + 1] = g[c]; out[k + 2] = b[c]; }
    } else if (state.mode === "label" || state.mode === "cluster") {
      const table = sorted[state.mode].map((label) => label.color), of = cloud[state.mode];
      for (let i = 0, k = 0; i < n; i++, k += 4) { const c = table[of[i]]; out[k] = c[0]; out[k + 1] = c[1]; out[k + 2] = c[2]; }
    } else if (state.mode === "unsure") { // the less sure, the brighter
      for (let i = 0, k = 0; i < n; i++, k += 4) { const at = 3 * (255 - cloud.confidence[i]); out[k] = HEATS[at]; out[k + 1] = HEATS[at + 1]; out[k + 2] = HEATS[at + 2]; }
    } else if (state.mode === "similarity" && state.similar) {
      const table = HEATS, { similar, threshold } = state, scale = 255 / Math.max(1 - threshold, 1e-6);
      for (let i = 0, k = 0; i < n; i++, k += 4) {
        const value = similar[owner[i]];
        if (value >= threshold) {
          const at = 3 * Math.min(Math.floor((value - threshold) * scale), 255);
          out[k] = table[at]; out[k + 1] = table[at + 1]; out[k + 2] = table[at + 2];
        } else {
          out[k] = out[k + 1] = out[k + 2] = rest + share * (0.3 * color[k] + 0.59 * color[k + 1] + 0.11 * color[k + 2]);
        }
      }
    } else {
      out.set(color);
    }
    const of = sorts() && cloud[sorts()], hidden = sorts() && state.hidden[sorts()];
    for (let i = 0; i < n; i++) out[4 * i + 3] = hidden && hidden.has(of[i]) ? 0 : 255;
    if (gives()) naming.paint(out, (light) => rest + share * light, state.mode === "name");
    stage.marks.visible = Boolean(gives()) && naming.points.length > 0;
    tint.needsUpdate = true;
    state.dirty = true;
  }

  // --- similarity ---
  function measure() {
    if (state.selected < 0 || !features) return;
    state.similar = features.similarity(cloud.owner[state.selected], state.level);
    const some = new Float32Array(Math.min(cloud.n, RANKS)).map((_, i, { length: n }) => state.similar[cloud.owner[Math.floor((i * cloud.n) / n)]]).sort();
    const sorted = new Float32Array(RANKS).map((_, i) => some[Math.floor((i * some.length) / RANKS)]);
    state.low = Math.max(Math.min(Math.floor(sorted[200] * 20) / 20, 0.9), -1);
    if (!state.own) state.threshold = Math.min(Math.max(Math.round(widestGap(sorted) * 200) / 200, state.low), 0.995);
    state.threshold = Math.max(state.threshold, state.low);
    state.counts = new Array(BINS).fill(0);
    for (const value of sorted) state.counts[Math.min(Math.max(Math.floor(((value - state.low) / (1 - state.low)) * BINS), 0), BINS - 1)]++;
    const slider = byId("threshold");
    slider.min = state.low.toFixed(2);
    slider.value = state.threshold;
  }

  const place = (point) => [0, 1, 2].map((a) => cloud.position[3 * point + a] + origin[a]);
  function report() {
    const { similar, threshold } = state;
    const has = state.mode === "similarity" && similar;
    byId("ask").hidden = Boolean(has);
    byId("chart").hidden = !has;
    byId("status").textContent = rulerText(state.ruler.map(place)) || (gives() ? naming.message : "");
    if (!has) return;
    let above = 0;
    for (let i = 0; i < cloud.n; i++) if (similar[cloud.owner[i]] >= threshold) above++;
    const least = String(+threshold.toFixed(3));
    byId("above").textContent = least;
    byId("threshold").setAttribute("aria-valuetext", `${threshold.toFixed(3)}, ${percent(above / cloud.n)} of the points`);
    histogram(state.counts, state.low, threshold);
    const label = cloud.label ? meta.labels[cloud.label[state.selected]].name : "the point";
    if (state.ruler.length) return;
    const at = place(state.selected).map(metres).join(", ");
    byId("status").textContent = `${percent(above / cloud.n)} of the points are at least ${least} similar to ${label} at ${at} m`;
  }

  function update() {
    byId("levels").hidden = !meta.levels.length || !["pca", "similarity"].includes(state.mode);
    byId("similar").hidden = state.mode !== "similarity";
    byId("naming").hidden = !gives();
    byId("shows").hidden = byId("sure").hidden = state.mode !== "name";
    byId("confident").hidden = state.mode !== "unsure";
    byId("legend").hidden = !sorts();
    if (sorts()) legend(sorted[sorts()], cloud.n, state.hidden[sorts()], paint);
    byId("loss").textContent = lossText(meta, state.level);
    paint();
    report();
  }

  function setMode(mode) { state.mode = mode; showMode(mode); update(); }
  function setLevel(level) { state.level = level; showLevel(String(level)); measure(); update(); }
  function rule(ends) { state.ruler = ends; state.dirty = true; report(); }
  function ask(x, y, { twice = false, finger = false, shift = false } = {}) {
    rig.apply();
    const point = stage.pick(x, y, finger ? 14 : 6);
    if (point < 0) return;
    if (shift || byId("measure").checked) return rule(state.ruler.length === 1 ? [...state.ruler, point] : [point]);
    state.ruler = [];
    if (gives()) return naming.click(point);
    if (twice) { rig.around(new THREE.Vector3().fromArray(cloud.position, 3 * point)); moving(); return; }
    if (!features) return;
    state.selected = point;
    state.own = false;
    measure();
    setMode("similarity");
  }

  // --- controls ---
  const sorted = { label: meta.labels, cluster: meta.clusters };
  const needed = { rest: meta.flattened, cluster: cloud.cluster, label: cloud.label, unsure: cloud.confidence && cloud.label };
  if (state.mode in needed && !needed[state.mode]) state.mode = "color"; // such as of more labels than colours
  const modes = [
    ["color", "Colour", "Colours of the scan"], ["pca", "PCA", "Principal components of the features as red, green and blue"],
    ["rest", "No height", "Principal components of what height does not explain"], ["similarity", "Similarity", "Click a point to see what is similar to it"],
    ["cluster", "Clusters", "Groups of similar features"], ["label", "Labels", "Classes of the scan"],
    ["unsure", "Unsure", "How sure the labels are: click where they are not"], ["name", "Name", "Click points to name them (N)"],
  ].filter(([mode]) => !(mode in needed) || needed[mode])
    .map(([mode, text, title], i) => [mode, text, mode === "name" ? title : `${title} (${i + 1})`]);
  const showMode = choices("modes", modes, state.mode, setMode);
  const levels = [["null", "All", "All levels, as in a descriptor"], ...meta.levels.map(({ level, size, channels }, k) => [String(k), length(size).replace(" ", "\u00a0"), `Level ${level}: ${channels} channels at voxels of ${length(size)}`])];
  const showLevel = choices("levels", levels, "null", (value) => setLevel(value === "null" ? null : Number(value)));
  const setFly = (fly) => { rig.fly = fly; showCamera(fly ? "fly" : "orbit"); };
  const showCamera = choices("cameras", [["orbit", "Orbit", "Turn around the scan (F)"], ["fly", "Fly", "Look around from where you are (F)"]], "orbit", (value) => setFly(value === "fly"));
  byId("title").textContent = meta.title;
  const share = meta.total > meta.points ? `${thousands(meta.points)} of ${thousands(meta.total)} points` : `${thousands(meta.points)} points`;
  byId("about").textContent = meta.model ? `${share} · ${meta.model}` : share;
  byId("threshold").addEventListener("input", (event) => {
    state.threshold = Number(event.target.value);
    state.own = true;
    paint();
    report();
  });
  byId("size").addEventListener("input", (event) => { stage.pointSize = Number(event.target.value); state.dirty = true; });
  let low = Infinity, high = -Infinity;
  for (let i = 2; i < cloud.position.length; i += 3) { low = Math.min(low, cloud.position[i]); high = Math.max(high, cloud.position[i]); }
  const cut = (part) => {
    stage.uniforms.cut.value = part >= 1 ? 1e9 : low + part * (high - low);
    byId("cut-at").textContent = part >= 1 ? "nothing" : `${metres(low + part * (high - low) + origin[2])} m`;
    state.dirty = true;
  };
  const firstCut = meta.view.below === null ? 1 : (meta.view.below - origin[2] - low) / (high - low);
  byId("cut").value = firstCut;
  cut(firstCut);
  byId("cut").addEventListener("input", (event) => cut(Number(event.target.value)));
  byId("measure").addEventListener("change", () => rule([]));
  byId("front-line").hidden = !cloud.walls;
  byId("front").addEventListener("change", (event) => { stage.uniforms.hide.value = event.target.checked; state.dirty = true; });

  function setTheme(theme) {
    root.dataset.theme = theme;
    const [r, g, b] = getComputedStyle(root).getPropertyValue("--ground").match(/[0-9a-f]{2}/gi).map((v) => parseInt(v, 16) / 255);
    stage.light.ground.value.set(r, g, b);
    paint();
    report();
  }
  const preferred = matchMedia("(prefers-color-scheme: dark)");
  preferred.addEventListener("change", () => setTheme(preferred.matches ? "dark" : "light"));
  const actions = {
    reset: () => { rig.reset(); moving(); },
    theme: () => setTheme(root.dataset.theme === "dark" ? "light" : "dark"),
    help: () => byId("keys").showModal(),
    photo: () => {
      stage.draw(cloud.n);
      canvas.toBlob((blob) => saved(`${meta.title}.png`, blob));
    },
    export: () => { // rows of the scan, so that whoever has it can go on with them
      const lines = ["row,x,y,z,similarity"];
      for (let i = 0; i < cloud.n; i++) {
        const value = state.similar[cloud.owner[i]];
        if (value >= state.threshold) lines.push([cloud.row[i], ...place(i).map((v) => v.toFixed(3)), value.toFixed(3)].join(","));
      }
      saved(`${meta.title}-similar.csv`, new Blob([lines.join("\n") + "\n"], { type: "text/csv" }));
    },
  };
  for (const [id, action] of Object.entries(actions)) byId(id).addEventListener("click", action);
  const fold = (folded) => {
    byId("panel").classList.toggle("folded", folded);
    byId("fold").setAttribute("aria-expanded", String(!folded));
    byId("fold").setAttribute("aria-label", folded ? "Show the settings" : "Hide the settings");
  };
  byId("fold").addEventListener("click", () => fold(!byId("panel").classList.contains("folded")));
  fold(matchMedia("(max-width: 640px)").matches);

  const frames = framed(cloud, meta.view.below === null ? Infinity : meta.view.below - origin[2]);
  function free() { // of the panel, and of the places of the message and the scale
    const box = byId("panel").getBoundingClientRect();
    const narrow = box.width > 0.7 * canvas.clientWidth;
    const panel = narrow ? canvas.clientHeight - box.top : 0;
    root.style.setProperty("--below", `${panel}px`);
    root.style.setProperty("--beside", `${narrow ? 0 : box.right}px`);
    const [wide, tall] = stage.room(narrow ? 0 : box.right, narrow ? 72 : 0, narrow ? panel + 40 : 56);
    rig.fit(frames, 0.95 * wide, 0.95 * tall); // a margin of 5 %
  }

  // --- keys ---
  const HELD = new Set(["w", "a", "s", "d", "q", "e", "+", "=", "-", "arrowleft", "arrowright", "arrowup", "arrowdown"]);
  const step = (by) => {
    const next = Math.min((state.level ?? -1) + by, meta.levels.length - 1);
    if (meta.levels.length) setLevel(next < 0 ? null : next);
  };
  window.addEventListener("keydown", (event) => {
    const key = event.key.toLowerCase();
    if (byId("keys").open || event.altKey || event.target.matches("input[type=text]")) return;
    if ((event.ctrlKey || event.metaKey) && gives() && (key === "z" || key === "y")) {
      event.preventDefault();
      return key === "y" || event.shiftKey ? naming.redo() : naming.undo();
    }
    if (event.ctrlKey || event.metaKey) return;
    const typing = event.target.matches("input, button");
    if (HELD.has(key) && !(typing && key.startsWith("arrow"))) {
      rig.held.add(key);
      if (!event.repeat) { rig.step(0.1); moving(); }
      event.preventDefault();
      return;
    }
    if (gives() && /^[0-9]$/.test(key)) return naming.choose(Number(key));
    const at = "1234567".indexOf(key);
    if (at >= 0 && at < modes.length - 1 && !typing) return setMode(modes[at][0]);
    if (key === "enter" && event.target === canvas) return ask(canvas.clientWidth / 2, canvas.clientHeight / 2, { finger: true });
    const short = {
      r: actions.reset, t: actions.theme, p: actions.photo, "?": actions.help, f: () => setFly(!rig.fly), "[": () => step(-1), "]": () => step(1),
      h: () => { if (cloud.walls) byId("front").click(); }, m: () => byId("measure").click(), escape: () => rule([]),
      n: () => setMode(state.mode === "name" ? modes[0][0] : "name"),
    }[key];
    if (short) short();
  });
  window.addEventListener("keyup", (event) => rig.held.delete(event.key.toLowerCase()));
  window.addEventListener("blur", () => rig.held.clear());
  gestures(canvas, rig, ask, moving);
  const resized = new ResizeObserver(() => { stage.resize(); free(); state.dirty = true; });
  resized.observe(canvas);
  resized.observe(byId("panel"));
  new ResizeObserver(report).observe(byId("histogram")); // it has no size while the panel is folded

  // --- start ---
  setTheme(preferred.matches ? "dark" : "light");
  free();
  requestAnimationFrame(frame);
  byId("wait").textContent = "Unpacking the features …";
  await new Promise((done) => setTimeout(done, 0)); // the colours are drawn meanwhile
  features = new Features(meta, await unpacked("features"));
  byId("wait").textContent = "";
  naming = new Naming(meta, cloud, stage, features, () => paint(), () => report());
  setMode(state.mode);
  window.msm3d = { meta, state, rig, stage, speed, features, cloud, naming };
  root.dataset.ready = "yes";
}

main().catch((error) => {
  byId("wait").textContent = error.message;
  root.dataset.ready = "no";
  throw error;
});
