// --- naming: clicks that give labels, the classes in the panel, the file -------------------------------------------

const hex = (color) => "#" + color.map((value) => value.toString(16).padStart(2, "0")).join("");
const rgb = (text) => [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));
const quoted = (text) => (/^[\w.+-]+$/.test(text) && !text.startsWith("-") ? text : `'${text.replaceAll("'", "'\\''")}'`);
const stemOf = (title) => title.replace(/\.[^.\s]{1,12}$/, "") || "scan";

class Naming {
  // `painted` is called when colours have changed, `said` when there is something to read.
  constructor(meta, cloud, stage, features, painted, said) {
    Object.assign(this, { meta, cloud, stage, painted, said });
    this.preview = new Preview(features);
    this.message = "";
    this.radius = 0;
    this.show = "preview";
    this.busy = false;
    this.colors = new Map(); // id to colour
    this.points = []; // of the page that have a label
    this.given = meta.given ? Object.entries(meta.given) : null;
    this.came = this.given ? JSON.stringify(meta.given) : "";
    this.labels = new Labels({ name: meta.title, ...meta.scan }, meta.palette, () => this.changed());
    this.controls();
    this.begin();
  }

  say(message) { this.message = message; this.said(); }
  attempt(action) { try { action(); } catch (error) { this.say(error.message); } }

  // The labels that the browser kept, then those that the page came with, unless the kept ones go on from them.
  begin() {
    const { labels, given } = this;
    this.quiet = true; // what was kept stays until something changes
    const from = labels.restore(), kept = labels.of.size;
    labels.past = [];
    if (given && from !== this.came) {
      labels.replace(given);
      if (kept) this.message = "These are the labels of the file; Undo takes back those that this browser had kept.";
      else labels.past = [];
    } else if (!labels.classes.length) {
      const named = this.meta.labels.filter(({ name }) => name !== "not labelled" && !/^label -?\d+$/.test(name)).slice(0, 40);
      labels.classes = named.map(({ name, color }) => ({ id: labels.next++, name, color }));
    } else if (kept) this.message = `This browser had kept ${thousands(kept)} labels of this scan.`;
    labels.chosen = labels.classes.length ? labels.classes[0].id : null;
    labels.kept = true;
    this.changed();
    this.quiet = false;
  }

  // Everything that follows from labels: what is kept, marks, the list, the preview.
  changed() {
    const { labels, cloud, stage } = this;
    if (this.quiet) labels.kept = true;
    else if (!labels.kept) labels.keep(this.came);
    this.colors = new Map(labels.classes.map(({ id, color }) => [id, color]));
    this.points = [];
    const cells = new Map(labels.classes.filter(({ id }) => labels.counts.get(id)).map(({ id }) => [id, []]));
    for (let i = 0; labels.of.size && i < cloud.n; i++) {
      const id = labels.of.get(cloud.row[i]);
      if (!id) continue;
      this.points.push(i);
      const mine = cells.get(id);
      if (mine[mine.length - 1] !== cloud.owner[i]) mine.push(cloud.owner[i]); // cells rise with points
    }
    const tint = new Uint8Array(4 * this.points.length).fill(255);
    this.points.forEach((point, i) => tint.set(this.colors.get(labels.of.get(cloud.row[point])), 4 * i));
    stage.mark(this.points, tint);
    this.list();
    this.busy = true;
    this.painted();
    this.preview.follow(new Map([...cells].filter(([, mine]) => mine.length))).then((whole) => {
      if (!whole) return;
      this.busy = false;
      this.summary();
      this.painted();
    });
  }

  click(point) {
    const { labels, cloud } = this;
    if (labels.chosen === null) { byId("new-name").focus(); return this.say("Type the name of a class and add it; then click points that are of it."); }
    const points = this.radius ? this.stage.around(point, this.radius) : [point];
    const given = labels.give(points.map((i) => cloud.row[i]), labels.chosen);
    const one = labels.find(labels.chosen), points_of = (n) => `${thousands(n)} point${n === 1 ? "" : "s"}`;
    if (!given) this.say(one ? `It is labelled ${one.name} already.` : "There is no label to erase.");
    else this.say(one ? `${one.name}: ${points_of(labels.counts.get(one.id))}` : `Erased the label of ${points_of(given)}.`);
    if (!labels.kept) this.say(`${this.message} This browser keeps nothing: save before you close the page.`);
  }
  choose(at) { // 0 erases
    const { labels } = this;
    if (at > labels.classes.length) return;
    labels.chosen = at ? labels.classes[at - 1].id : 0;
    this.pressed();
    this.say(at ? `Clicks are ${labels.classes[at - 1].name}.` : "Clicks erase labels.");
  }
  undo() { this.say(this.labels.undo() ? "Undone." : "There is nothing to undo."); }
  redo() { this.say(this.labels.redo() ? "Done again." : "There is nothing to do again."); }
  save() {
    const { labels } = this;
    if (!labels.of.size) return this.say("There are no labels to save yet.");
    saved(this.fileName, new Blob([labels.file()], { type: "application/json" }));
    labels.kept = true;
    byId("after").open = true;
    this.say(`Saved ${thousands(labels.of.size)} labels as ${this.fileName}.`);
  }
  async open(file) {
    const text = await file.text();
    this.attempt(() => {
      this.labels.replace(this.labels.checked(text, nameOf(file.name)));
      this.say(`Opened ${thousands(this.labels.of.size)} labels; Undo takes back what was here.`);
    });
  }
  get fileName() { return `${stemOf(this.meta.title)}-labels.json`; }

  // Colours of the points: of the preview, if it is asked for, and of the labels.
  paint(out, muted, previewed) {
    const { cloud, labels, colors, points, preview } = this, { owner } = preview, scan = cloud.color;
    if (previewed && this.show === "preview" && owner) {
      const table = new Map([...colors].map(([id, color]) => [id, color.map((value) => 0.72 * value)]));
      for (let i = 0, k = 0; i < cloud.n; i++, k += 4) {
        const light = 0.3 * scan[k] + 0.59 * scan[k + 1] + 0.11 * scan[k + 2];
        const color = table.get(owner[cloud.owner[i]]);
        if (color) for (let a = 0; a < 3; a++) out[k + a] = color[a] + 0.28 * light;
        else out[k] = out[k + 1] = out[k + 2] = muted(light);
      }
    }
    for (const point of points) out.set(colors.get(labels.of.get(cloud.row[point])), 4 * point);
  }

  // --- the panel ---
  controls() {
    const on = (id, event, action) => byId(id).addEventListener(event, action);
    on("new", "submit", (event) => {
      event.preventDefault();
      this.attempt(() => {
        this.labels.add(byId("new-name").value, rgb(byId("new-color").value));
        byId("new-name").value = "";
        this.say(`Click points that are ${this.labels.find(this.labels.chosen).name}.`);
      });
    });
    on("undo", "click", () => this.undo());
    on("redo", "click", () => this.redo());
    on("save", "click", () => this.save());
    on("open", "click", () => byId("file").click());
    on("file", "change", (event) => { if (event.target.files.length) this.open(event.target.files[0]); event.target.value = ""; });
    on("brush", "input", (event) => {
      this.radius = Number(event.target.value);
      byId("brush-at").textContent = this.radius ? length(this.radius) : "one point";
    });
    choices("shows", [["scan", "Scan"], ["preview", "Preview", "Every point as the labelled one that it is most similar to"]], this.show, (show) => { this.show = show; this.painted(); });
    window.addEventListener("storage", (event) => {
      if (event.key !== this.labels.key || !event.newValue) return;
      this.quiet = true; // the other window keeps them
      if (this.labels.restore(event.newValue) !== null) this.say("The labels were changed in another window; Undo takes that back.");
      this.quiet = false;
    });
    window.addEventListener("beforeunload", (event) => { if (!this.labels.kept && this.labels.of.size) event.preventDefault(); });
    const scan = quoted(this.meta.title), out = quoted(`${stemOf(this.meta.title)}-segmented.ply`);
    byId("next").textContent = `msm3d teach ${scan} ${quoted(this.fileName)} -o head\nmsm3d segment ${scan} --head head -o ${out}`;
  }

  list() {
    const { labels } = this, list = byId("classes");
    const held = list.contains(document.activeElement) ? [document.activeElement.closest("li").dataset.id, document.activeElement.className] : null;
    list.replaceChildren(...labels.classes.map((one, i) => this.item(one, i)), this.item({ id: 0, name: "Erase" }, -1));
    if (held) list.querySelector(`li[data-id="${held[0]}"] .${held[1]}`)?.focus();
    byId("new-color").value = hex(labels.free());
    byId("undo").disabled = !labels.past.length;
    byId("redo").disabled = !labels.future.length;
    byId("save").disabled = !labels.of.size;
    this.pressed();
  }
  pressed() {
    for (const item of byId("classes").children) {
      const on = String(this.labels.chosen) === item.dataset.id;
      item.classList.toggle("chosen", on);
      item.querySelector(".pick").setAttribute("aria-pressed", String(on));
    }
  }
  item({ id, name, color }, i) {
    const { labels } = this, item = document.createElement("li");
    const made = (tag, className, given) => { const one = Object.assign(document.createElement(tag), { className, ...given }); item.append(one); return one; };
    item.dataset.id = id;
    const pick = made("button", "pick", { type: "button", textContent: i < 9 ? String(i + 1) : "·", title: `Clicks ${id ? `are ${name}` : "erase labels"}${i < 9 ? ` (${i + 1})` : ""}` });
    pick.addEventListener("click", () => this.choose(i + 1));
    if (!id) { made("span", "name", { textContent: name }).addEventListener("click", () => this.choose(0)); return item; }
    made("input", "color", { type: "color", value: hex(color), title: `Colour of ${name}` }).addEventListener("change", (event) => labels.change(id, { color: rgb(event.target.value) }));
    const field = made("input", "name", { type: "text", value: name, maxLength: 80, title: "Change it to rename the class", spellcheck: false, autocomplete: "off" });
    field.setAttribute("aria-label", `Name of class ${i + 1}`);
    field.addEventListener("focus", () => { if (labels.chosen !== id) this.choose(i + 1); });
    field.addEventListener("change", () => this.attempt(() => { try { labels.change(id, { name: field.value }); } catch (error) { field.value = name; throw error; } }));
    made("b", "count", { textContent: thousands(labels.counts.get(id) || 0) });
    made("button", "drop", { type: "button", textContent: "×", title: `Remove ${name} and its labels` }).addEventListener("click", () => { labels.remove(id); this.say(`Removed ${name}; Undo takes it back.`); });
    return item;
  }

  // What share of the page's points the preview is sure of.
  summary() {
    const { owner } = this.preview, { cloud } = this;
    let sure = 0;
    if (owner) for (let i = 0; i < cloud.n; i++) if (owner[cloud.owner[i]]) sure++;
    byId("sure").textContent = owner ? `Sure of ${percent(sure / cloud.n)} of the points; the rest is grey: click there.` : "";
  }
}
