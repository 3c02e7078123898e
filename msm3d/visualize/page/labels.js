// --- labels: which rows of the scan are of which class, with undo, kept by the browser and as a file ---------------

const FORMAT = "msm3d-labels";
const nameOf = (text) => [...text.replace(/[\p{Z}\s]+/gu, " ").replace(/\p{C}/gu, "").trim()].slice(0, 80).join("").trim();

class Labels {
  // `scan` is { name, points, hash }; `changed` is called after every change.
  constructor(scan, palette, changed) {
    Object.assign(this, { scan, palette, changed });
    this.classes = []; // of { id, name, color }; ids are never used twice
    this.of = new Map(); // row of the scan's file to id
    this.counts = new Map(); // id to how many rows
    this.past = [];
    this.future = [];
    this.chosen = null; // an id; 0 takes labels away
    this.next = 1;
    this.kept = true; // by the browser, or in a file
  }

  find(id) { return this.classes.find((one) => one.id === id); }

  // A step: the classes before and after, and rows with their ids before and after, 0 for none.
  step(classes, rows = [], to = []) {
    const from = Array.from(rows, (row) => this.of.get(row) || 0);
    const made = { classes: [this.classes, classes], rows, ids: [from, to] };
    this.past.push(made);
    this.future = [];
    this.go(made, 1);
  }
  go({ classes, rows, ids }, way) {
    this.classes = classes[way];
    const count = (id, by) => this.counts.set(id, (this.counts.get(id) || 0) + by);
    for (let i = 0; i < rows.length; i++) {
      const before = this.of.get(rows[i]), after = ids[way][i];
      if (before) count(before, -1);
      if (after) { this.of.set(rows[i], after); count(after, 1); } else this.of.delete(rows[i]);
    }
    if (this.chosen !== 0 && !this.find(this.chosen)) this.chosen = this.classes.length ? this.classes[this.classes.length - 1].id : null;
    this.kept = false;
    this.changed();
  }
  undo() { const step = this.past.pop(); if (step) { this.future.push(step); this.go(step, 0); } return Boolean(step); }
  redo() { const step = this.future.pop(); if (step) { this.past.push(step); this.go(step, 1); } return Boolean(step); }

  // The first colour that no class has yet.
  free() {
    const taken = new Set(this.classes.map(({ color }) => String(color)));
    return this.palette.find((color) => !taken.has(String(color))) || this.palette[this.classes.length % this.palette.length];
  }
  unused(text, but) {
    const name = nameOf(text);
    if (!name) throw new Error("Type the name of the class first.");
    if (this.classes.some((one) => one.name === name && one.id !== but)) throw new Error(`There is a class ${name} already; give it another name.`);
    return name;
  }
  add(text, color = this.free()) {
    const one = { id: this.next, name: this.unused(text), color };
    this.chosen = this.next++;
    this.step([...this.classes, one]);
  }
  change(id, { name, color }) {
    const now = this.find(id), made = { id, name: name === undefined ? now.name : this.unused(name, id), color: color || now.color };
    if (made.name !== now.name || String(made.color) !== String(now.color)) this.step(this.classes.map((one) => (one.id === id ? made : one)));
  }
  remove(id) {
    const rows = [...this.of].filter(([, of]) => of === id).map(([row]) => row);
    this.step(this.classes.filter((one) => one.id !== id), rows, rows.map(() => 0));
  }
  // Give rows to a class, or with 0 to none; how many were not there yet.
  give(rows, id) {
    const other = rows.filter((row) => (this.of.get(row) || 0) !== id);
    if (other.length) this.step(this.classes, other, other.map(() => id));
    return other.length;
  }

  // --- text: the file, which `msm3d teach` reads, too ---
  rows() {
    const rows = new Map(this.classes.map(({ id }) => [id, []]));
    for (const [row, id] of this.of) rows.get(id).push(row);
    return this.classes.map((one) => [one, rows.get(one.id).sort((a, b) => a - b)]);
  }
  file() {
    const labels = Object.create(null), { name, points, hash } = this.scan;
    for (const [one, rows] of this.rows()) if (rows.length) labels[one.name] = rows;
    return JSON.stringify({ format: FORMAT, version: 1, scan: name, points, input_hash: hash, labels }) + "\n";
  }
  // What a file says of this scan: rows by name; or an Error whose message is one sentence.
  checked(text, called) {
    let data;
    try { data = JSON.parse(text); } catch { throw new Error(`${called} is not JSON; open a file that was saved here.`); }
    if (data === null || typeof data !== "object" || data.format !== FORMAT) throw new Error(`${called} holds no labels of msm3d; open a file that was saved here.`);
    if (data.version !== 1) throw new Error(`${called} is of another version of msm3d; write this page anew with the newest one.`);
    const { points, hash } = this.scan;
    if (typeof data.input_hash === "string" ? data.input_hash !== hash : data.points !== points) {
      const whose = typeof data.scan === "string" && data.scan ? ` (${nameOf(data.scan)})` : "";
      throw new Error(`${called} is of another scan${whose}; open the labels of this one.`);
    }
    if (!data.labels || typeof data.labels !== "object" || Array.isArray(data.labels)) throw new Error(`${called} has no rows by name; open a file that was saved here.`);
    const seen = new Set();
    for (const [name, rows] of Object.entries(data.labels)) {
      if (nameOf(name) !== name || !name || !Array.isArray(rows)) throw new Error(`${called} has no rows for a class that it names; open a file that was saved here.`);
      for (const row of rows) {
        if (!Number.isInteger(row) || row < 0 || row >= points) throw new Error(`${called} has the row ${nameOf(String(row))} of ${name}, where rows are 0 to ${points - 1}; open the labels of this scan.`);
        if (seen.has(row)) throw new Error(`${called} names the row ${row} twice; leave it with one class.`);
        seen.add(row);
      }
    }
    return Object.entries(data.labels);
  }
  // Put labels in the place of those that are here, as one step; classes keep their colours.
  replace(labels, colors = new Map()) {
    const classes = labels.map(([name]) => {
      const same = this.classes.find((one) => one.name === name);
      return { id: same ? same.id : this.next++, name, color: colors.get(name) || (same ? same.color : null) };
    });
    const taken = new Set(classes.map(({ color }) => String(color)));
    const left = this.palette.filter((color) => !taken.has(String(color)));
    for (const [i, one] of classes.filter(({ color }) => !color).entries()) one.color = left[i] || this.palette[i % this.palette.length];
    const to = new Map();
    labels.forEach(([, rows], k) => { for (const row of rows) to.set(row, classes[k].id); });
    for (const row of this.of.keys()) if (!to.has(row)) to.set(row, 0);
    this.step(classes, [...to.keys()], [...to.values()]);
  }

  // --- what the browser keeps from visit to visit ---
  get key() { return `msm3d-labels-${this.scan.hash}`; }
  // `of` says which labels the page came with, so that those of a page that was made anew are seen.
  keep(of) {
    try {
      const labels = this.rows().map(([{ name, color }, rows]) => [name, color, rows]);
      localStorage.setItem(this.key, JSON.stringify({ of, points: this.scan.points, labels }));
      this.kept = true;
    } catch { /* forbidden, or full: `kept` says so */ }
    return this.kept;
  }
  // Take what was kept, as one step, or nothing; which labels that page had come with.
  restore(text = null) {
    try {
      const { of, points, labels } = JSON.parse(text === null ? localStorage.getItem(this.key) : text);
      const good = points === this.scan.points && labels.every(([name, color, rows]) => typeof name === "string" && color.length === 3 && Array.isArray(rows));
      if (good) this.replace(labels.map(([name, , rows]) => [name, rows]), new Map(labels.map(([name, color]) => [name, color])));
      return good ? of : null;
    } catch { return null; } // nothing there, or not ours
  }
}
