#!/usr/bin/env bash
# torch 2.13.0 imports sympy when a module on the meta device gets its memory.
# Seen: nn.Linear under torch.device("meta"), then to_empty(device="cpu"): sympy and torch.fx.experimental.symbolic_shapes, neither
# of them loaded by `import torch`, are in sys.modules after. It took 7 s on two busy cores.
# A good guess: an allocation and no import, as when torch.empty makes the same parameters one by one.
# Only the first call in a process pays, so a command that loads one model pays every time.
# Exits non-zero if that changes.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
v/bin/python - <<'PYTHON'
import sys
import time

import torch

names = ("sympy", "torch.fx.experimental.symbolic_shapes")
with torch.device("meta"):
    layer = torch.nn.Linear(2, 2)
by_hand = {name: torch.empty(value.shape, device="cpu") for name, value in layer.named_parameters()}
assert len(by_hand) == 2
assert not any(name in sys.modules for name in names)
start = time.perf_counter()
layer.to_empty(device="cpu")
print(f"{time.perf_counter() - start:.2f} s", [name in sys.modules for name in names])
assert all(name in sys.modules for name in names)
PYTHON
