// --- similarity of every cell to one, from int8 numbers: the same as Packed.similarity ------------------------------

class Features {
  constructor(meta, arrays) {
    this.cells = meta.cells;
    this.levels = meta.kept.map((count, k) => {
      const first = meta.kept.slice(0, k).reduce((a, b) => a + b, 0);
      const values = [], squares = [];
      for (let c = first; c < first + count; c++) {
        values.push(new Int8Array(arrays["value." + c]));
        squares.push(meta.scales[c] * meta.scales[c]);
      }
      return { values, squares, inverse: this.inverse(values, squares), weight: arrays["weight." + k] };
    });
    this.share = new Float32Array(this.cells);
    for (const { weight } of this.levels) for (let i = 0; i < this.cells; i++) this.share[i] += weight[i] * weight[i];
    for (let i = 0; i < this.cells; i++) this.share[i] = 1 / Math.max(Math.sqrt(this.share[i]), 1e-9);
    this.colors = [];
    for (let k = 0; "pca." + k + ".r" in arrays; k++) {
      this.colors.push(["r", "g", "b"].map((name) => summed(arrays[`pca.${k}.${name}`])));
    }
    this.rest = "rest.r" in arrays ? ["r", "g", "b"].map((name) => summed(arrays[`rest.${name}`])) : null;
  }

  inverse(values, squares) {
    const length = new Float32Array(this.cells);
    values.forEach((column, c) => {
      for (let i = 0; i < this.cells; i++) length[i] += squares[c] * column[i] * column[i];
    });
    for (let i = 0; i < this.cells; i++) length[i] = 1 / Math.max(Math.sqrt(length[i]), 1e-9);
    return length;
  }

  // Cosines (cells) with a cell, over all levels (null) or one.
  similarity(cell, level) {
    const total = new Float32Array(this.cells);
    const dot = new Float32Array(this.cells);
    this.levels.forEach(({ values, squares, inverse, weight }, k) => {
      if (level !== null && level !== k) return;
      dot.fill(0);
      values.forEach((column, c) => {
        const query = column[cell] * squares[c];
        if (query) for (let i = 0; i < this.cells; i++) dot[i] += query * column[i];
      });
      const own = inverse[cell] * (level === null ? weight[cell] * this.share[cell] : 1);
      for (let i = 0; i < this.cells; i++) {
        total[i] += dot[i] * inverse[i] * own * (level === null ? weight[i] * this.share[i] : 1);
      }
    });
    return total;
  }
}

// From where on points are similar, of similarities in rising order: the same as `threshold` in colors.py.
function widestGap(rank) {
  const n = rank.length, wide = Math.floor(n / 100), last = Math.floor((n * 997) / 1000) - wide;
  let at = Math.floor(n / 2), most = -1;
  for (let i = at; i < last; i++) {
    const width = (rank[i + wide] - rank[i]) * (1 - (i + wide / 2) / n) ** 0.25;
    if (width > most) [at, most] = [i, width];
  }
  return (rank[at] + rank[at + wide]) / 2;
}

// Steps of plasma, from magenta to yellow: readable on dark and on light, and by the colour-blind.
const HEAT = [[126, 3, 168], [156, 23, 158], [182, 48, 139], [203, 70, 121], [221, 94, 102], [236, 120, 83], [247, 149, 64], [253, 180, 47], [251, 213, 36], [240, 249, 33]];

function heat(part) {
  const place = Math.min(Math.max(part, 0), 1) * (HEAT.length - 1);
  const step = Math.min(Math.floor(place), HEAT.length - 2);
  return HEAT[step].map((value, a) => Math.round(value + (HEAT[step + 1][a] - value) * (place - step)));
}
