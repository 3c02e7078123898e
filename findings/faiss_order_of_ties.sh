#!/usr/bin/env bash
# faiss-cpu 1.15.1 orders equal neighbours upwards by L2 and downwards by inner product.
# Seen: five equal rows of length 1, k = 3: IndexFlatL2 answers 0, 1, 2 and IndexFlatIP 2, 1, 0. For k = 1 both answer 0.
# A good guess: one order for both, as rows of length 1 rank the same either way: which points come first shouldn't hang on the metric.
# So the first of three neighbours is not the neighbour that k = 1 finds.
# Exits non-zero if that changes.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check faiss-cpu==1.15.1 numpy==2.4.6
v/bin/python - <<'PYTHON'
import faiss
import numpy as np

rows = np.tile(np.array([[1, 0]], np.float32), (5, 1))
for index, wanted in ((faiss.IndexFlatL2(2), [0, 1, 2]), (faiss.IndexFlatIP(2), [2, 1, 0])):
    index.add(rows)
    three = index.search(rows[:1], 3)[1][0].tolist()
    one = index.search(rows[:1], 1)[1][0].tolist()
    print(type(index).__name__, three, one)
    assert three == wanted, three
    assert one == [0], one
PYTHON
