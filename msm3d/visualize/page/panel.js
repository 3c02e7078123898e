// --- panel: what is drawn as controls -------------------------------------------------------------------------------

const byId = (id) => document.getElementById(id);
const thousands = (n) => n.toLocaleString("en-US");
const metres = (value) => (Math.round(value * 100) / 100 || 0).toFixed(2); // never -0.00
const length = (metres) => (metres < 1 ? `${+(metres * 100).toPrecision(2)} cm` : `${+metres.toPrecision(2)} m`);

// A row of exclusive choices as radio buttons: [value, text, title].
function choices(id, options, chosen, changed) {
  const row = document.createElement("div");
  row.className = "row";
  for (const [value, text, title] of options) {
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type: "radio", name: id, value, checked: value === chosen });
    const span = document.createElement("span");
    span.textContent = text;
    if (title) label.title = title;
    input.addEventListener("change", () => changed(value));
    label.append(input, span);
    row.append(label);
  }
  byId(id).append(row);
  return (value) => { for (const input of row.querySelectorAll("input")) input.checked = input.value === value; };
}

// The classes of something as buttons that hide and show them; `hidden` is a set of their places in `labels`.
function legend(labels, total, hidden, changed) {
  byId("legend").replaceChildren(...[...labels.entries()].sort(([, a], [, b]) => b.points - a.points).map(([i, { name, color, points }]) => {
    const item = document.createElement("li"), button = document.createElement("button");
    const dot = document.createElement("i"), share = document.createElement("b");
    dot.style.background = `rgb(${color})`;
    share.textContent = percent(points / total);
    button.type = "button";
    button.append(dot, name, share);
    const show = () => { button.setAttribute("aria-pressed", String(!hidden.has(i))); button.title = `${hidden.has(i) ? "Show" : "Hide"} ${name}`; };
    button.addEventListener("click", () => { if (!hidden.delete(i)) hidden.add(i); show(); changed(); });
    show();
    item.append(button);
    return item;
  }));
}

// The directions of x, y and z, as `camera` sees them.
function axes(camera) {
  const turn = camera.quaternion.clone().invert();
  [..."xyz"].map((name, a) => {
    const part = byId("axes").querySelector(`.${name}`);
    const way = new THREE.Vector3().setComponent(a, 1).applyQuaternion(turn), [x, y] = [36 + 24 * way.x, 36 - 24 * way.y];
    const line = part.querySelector("line"), text = part.querySelector("text");
    [["x2", x], ["y2", y]].forEach(([end, value]) => line.setAttribute(end, value.toFixed(1)));
    [["x", 36 + 31 * way.x], ["y", 36 - 31 * way.y]].forEach(([end, value]) => text.setAttribute(end, value.toFixed(1)));
    return [way.z, part];
  }).sort(([a], [b]) => a - b).forEach(([, part]) => byId("axes").append(part)); // the nearest over the others
}

const percent = (part) => (part >= 0.0995 ? `${Math.round(part * 100)} %` : part >= 0.00095 ? `${(part * 100).toFixed(1)} %` : part > 0 ? "< 0.1 %" : "0 %");

// How far it is from one end of the ruler to the other.
function rulerText([from, to]) {
  if (!from) return "";
  if (!to) return "Click where the ruler ends.";
  const [x, y, z] = from.map((value, a) => to[a] - value);
  return `${metres(Math.hypot(x, y, z))} m: ${metres(Math.hypot(x, y))} m across, ${metres(Math.abs(z))} m in height`;
}

// How many points are how similar, over the range of the slider below it.
function histogram(counts, low, threshold) {
  const canvas = byId("histogram");
  if (!canvas.clientHeight) return;
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  const w = (canvas.width = Math.max(canvas.clientWidth, 1) * ratio), h = (canvas.height = canvas.clientHeight * ratio);
  const context = canvas.getContext("2d");
  const most = Math.max(...counts, 1), inset = 8 * ratio; // the slider's thumb does not reach its ends
  const bar = getComputedStyle(document.documentElement).getPropertyValue("--bar");
  counts.forEach((count, i) => {
    const from = low + ((1 - low) * i) / counts.length;
    const high = count ? Math.max(Math.sqrt(count / most) * (h - 2), ratio) : 0;
    context.fillStyle = from + (1 - low) / counts.length > threshold ? `rgb(${heat((from - threshold) / Math.max(1 - threshold, 1e-6))})` : bar;
    const each = (w - 2 * inset) / counts.length;
    context.fillRect(inset + i * each, h - high, Math.max(each - ratio * 0.5, 1), high);
  });
}

// The bar of a round length, at most 120 pixels long, where a pixel is so many metres.
function scaleBar(pixel) {
  const most = 120 * pixel, power = 10 ** Math.floor(Math.log10(most));
  const shown = [5, 2, 1].map((k) => k * power).find((value) => value <= most) || most;
  byId("bar").style.width = `${shown / pixel}px`;
  byId("bar-length").textContent = length(shown);
}

// Give the browser's user a file.
function saved(name, blob) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function lossText(meta, level) {
  const [mean, most] = meta.loss[level === null ? 0 : level + 1];
  const kept = meta.kept.reduce((a, b) => a + b, 0);
  return `${meta.channels} channels are packed into ${kept} bytes for each of ${thousands(meta.cells)} cells of ${length(meta.edge)}: ` +
    `a similarity is off by ${mean.toFixed(3)} on average, by less than ${Math.max(most, 0.001).toFixed(3)} in 95 of 100 cases.`;
}
