// --- preview: every cell as its most similar labelled one, at once ---------------------------------------------------

const LEAST = 0.5; // similarity below which nothing is like any label
const TIE = 0.8; // of the distances to the nearest class and to the next: above it, they tie
const MOST = 256; // labelled cells of a class, evenly spaced, that are compared
const SLICE = 25; // milliseconds of work before the page may draw

class Preview {
  constructor(features) {
    this.features = features;
    this.known = new Map(); // class to the cells that were compared, and the highest similarity of each cell to them
    this.owner = null; // class of each cell, 0 where it is unsure
    this.turn = 0;
  }

  // Follow labelled cells, a list in rising order for each class; whether it came to its end before the next call.
  async follow(labelled) {
    const turn = ++this.turn, { features, known } = this;
    for (const id of known.keys()) if (!labelled.has(id)) known.delete(id);
    let since = performance.now();
    for (const [id, all] of labelled) {
      const cells = all.length <= MOST ? all : Array.from({ length: MOST }, (_, i) => all[Math.floor((i * all.length) / MOST)]);
      const wanted = new Set(cells);
      if (![...(known.get(id)?.cells || [-1])].every((cell) => wanted.has(cell))) {
        known.set(id, { cells: new Set(), best: new Float32Array(features.cells).fill(-1) });
      }
      const { cells: done, best } = known.get(id);
      for (const cell of cells) {
        if (done.has(cell)) continue;
        const similar = features.similarity(cell, null);
        for (let i = 0; i < best.length; i++) if (similar[i] > best[i]) best[i] = similar[i];
        done.add(cell);
        if (performance.now() - since < SLICE) continue;
        await new Promise((done) => setTimeout(done, 0));
        if (turn !== this.turn) return false;
        since = performance.now();
      }
    }
    this.judge();
    return true;
  }

  judge() {
    if (!this.known.size) { this.owner = null; return; }
    const n = this.features.cells, owner = new Int32Array(n);
    const first = new Float32Array(n).fill(-1), second = new Float32Array(n).fill(-1);
    for (const [id, { best }] of this.known) {
      for (let i = 0; i < n; i++) {
        if (best[i] > first[i]) { second[i] = first[i]; first[i] = best[i]; owner[i] = id; }
        else if (best[i] > second[i]) second[i] = best[i];
      }
    }
    const alone = this.known.size < 2;
    for (let i = 0; i < n; i++) if (first[i] < LEAST || (!alone && 1 - first[i] > TIE * (1 - second[i]) + 1e-4)) owner[i] = 0;
    this.owner = owner;
  }
}
