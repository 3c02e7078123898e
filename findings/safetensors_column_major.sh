#!/usr/bin/env bash
# safetensors 0.8.0 stores other values for a numpy array in column-major order.
# Seen: save_file of np.asfortranarray([[0, 1, 2], [3, 4, 5]]) and load_file give [[0, 3, 1], [4, 2, 5]], without a word.
# A good guess: the same array, as np.save gives; or an error, as safetensors.torch raises for a tensor that is not contiguous.
# Exits non-zero if that changes.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.4.6
v/bin/python - <<'PYTHON'
import numpy as np
from safetensors.numpy import load_file, save_file

array = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
save_file({"feat": array}, "a.safetensors")
found = load_file("a.safetensors")["feat"].tolist()
print(array.tolist(), "->", found)
assert found == [[0, 3, 1], [4, 2, 5]], found
PYTHON
