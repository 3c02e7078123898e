// --- text to arrays: the inverse of page.py -------------------------------------------------------------------------

async function unpacked(id) {
  const element = document.getElementById(id);
  const text = element.textContent.trim();
  element.remove(); // tens of megabytes that are not needed twice
  let bytes;
  if (Uint8Array.fromBase64) {
    bytes = Uint8Array.fromBase64(text);
  } else {
    const raw = atob(text);
    bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  }
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const data = await new Response(stream).arrayBuffer();
  const length = Number(new DataView(data).getBigUint64(0, true));
  const sizes = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 8, length)));
  const arrays = {};
  let at = 8 + length;
  for (const [name, size] of Object.entries(sizes)) {
    arrays[name] = new Uint8Array(data, at, size);
    at += size;
  }
  return arrays;
}

// Four planes of bytes to whole numbers of either sign.
function integers(planes) {
  const n = planes.length / 4;
  const result = new Int32Array(n);
  for (let i = 0; i < n; i++) {
    const folded = (planes[i] | (planes[i + n] << 8) | (planes[i + 2 * n] << 16) | (planes[i + 3 * n] << 24)) >>> 0;
    result[i] = folded & 1 ? -((folded + 1) / 2) : folded / 2;
  }
  return result;
}

// Differences, modulo the array's own type, to values; in place.
function summed(differences) {
  for (let i = 1; i < differences.length; i++) differences[i] += differences[i - 1];
  return differences;
}

// Positions in metres relative to `origin`, colours, the cell and the row in the scan of each point, what faces outward.
function points(meta, arrays, origin) {
  const n = meta.points;
  const counts = integers(arrays["count"]);
  const owner = new Uint32Array(n);
  for (let cell = 0, i = 0; cell < counts.length; cell++) for (let k = counts[cell]; k > 0; k--) owner[i++] = cell;
  const position = new Float32Array(3 * n);
  const color = new Uint8Array(4 * n).fill(255);
  const outer = new Int8Array(4 * n);
  ["x", "y", "z"].forEach((axis, a) => {
    const cells = summed(integers(arrays["cell." + axis]));
    const offsets = arrays["offset." + axis];
    const shift = meta.corner[a] - origin[a];
    for (let i = 0; i < n; i++) position[3 * i + a] = shift + (cells[owner[i]] + (offsets[i] + 0.5) / 256) * meta.edge;
    if (arrays["outer." + axis]) {
      const values = new Int8Array(arrays["outer." + axis]);
      for (let i = 0; i < n; i++) outer[4 * i + a] = values[owner[i]];
    }
  });
  ["r", "g", "b"].forEach((name, a) => {
    const values = summed(arrays["color." + name]);
    for (let i = 0; i < n; i++) color[4 * i + a] = values[i];
  });
  const row = summed(integers(arrays["row"]));
  return { n, owner, row, position, color, outer, label: arrays["label"] || null, cluster: arrays["cluster"] || null, confidence: arrays["confidence"] || null, walls: "outer.x" in arrays };
}
