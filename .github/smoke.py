"""Try an installed msm3d: `python .github/smoke.py` in a folder that is not a checkout.

The package is complete, the C++ backend is in use, and it agrees with plain PyTorch on a scan.
"""

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

import msm3d
from msm3d.ops import library

root = Path(msm3d.__file__).parent
needed = ["py.typed", "visualize/page/three.min.js", "weights/bundled/rooms/model.safetensors", "weights/releases.json"]
missing = [name for name in needed if not (root / name).is_file()]
assert not missing, f"{root} lacks {', '.join(missing)}"
assert not (root / "csrc").exists(), "C++ sources are of no use to whoever installs"
assert msm3d.__version__ == version("msm3d")

scan = msm3d.rooms.make(0, points=4000)
native = msm3d.load(device="cpu", backend="native")  # fails with a sentence where there is no library
features = native.extract(scan)
expected = msm3d.load(device="cpu", backend="reference").extract(scan)
error = np.linalg.norm(features - expected) / np.linalg.norm(expected)
assert features.shape == (4000, 400)
assert error < 1e-4, error
assert np.array_equal(native.extract(scan), features), "two calls differ"

threads = library.runtime()
assert threads, "the library found no OpenMP runtime in the process, though torch has one"
maps = Path("/proc/self/maps")
if maps.exists():  # two copies of OpenMP's runtime in a process take each other's cores
    copies = {line.split()[-1] for line in maps.read_text().splitlines() if re.search("lib(gomp|omp|iomp5)[.-]", line)}
    assert {Path(copy).resolve() for copy in copies} == {Path(threads).resolve()}, copies
done = subprocess.run([sys.executable, "-m", "msm3d", "check"], capture_output=True, text=True, check=True)
print(done.stdout, f"{native}, {error:.1e} from reference", sep="\n")
