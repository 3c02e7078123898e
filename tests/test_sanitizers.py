"""The C++ code under the address and undefined-behaviour sanitizers, called by a driver on random shapes."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the sanitizers are run on Linux"),
    pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake: pip install cmake"),
    pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler"),
]


@pytest.mark.parametrize("width", [4, 16])
def test_the_driver_runs_clean(tmp_path, width):
    build = ["cmake", "-S", str(ROOT), "-B", str(tmp_path), "-DMSM3D_SANITIZE=address,undefined"]
    subprocess.run([*build, f"-DMSM3D_WIDTH={width}", "-DCMAKE_BUILD_TYPE=Debug"], check=True, capture_output=True)
    subprocess.run(["cmake", "--build", str(tmp_path), "-j2"], check=True, capture_output=True)
    done = subprocess.run([str(tmp_path / "msm3d_driver"), "20"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("20 rounds: clean\n")
