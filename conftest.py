"""Every test, doctests too, gets a home and a Hub cache of its own: nothing of the user's is read or written."""

import atexit
import os
import shutil
import tempfile
from itertools import count
from pathlib import Path

import pytest

_OWN = Path(tempfile.mkdtemp(prefix="msm3d-")).resolve()
"""Where the homes of this process's tests lie; short, as sockets in it may have names of 107 characters at most."""
_HOMES = count(1)
_REAL = Path.home()


def _environment(home: Path) -> dict[str, str]:
    """Return the variables by which programs find what is the user's."""
    folders = {"HOME": home, "USERPROFILE": home, "HF_HOME": home / "hf", "HF_HUB_CACHE": home / "hf" / "hub"}
    folders |= {f"XDG_{kind}_HOME": home / kind.lower() for kind in ("CACHE", "CONFIG", "DATA", "STATE")}
    folders |= {name: home / "tmp" for name in ("TMPDIR", "TEMP", "TMP")}
    return {name: str(folder) for name, folder in folders.items()} | {"HF_HUB_OFFLINE": "1"}


def _isolated(home: Path) -> dict[str, str | None]:
    """Return what `home` needs in the environment; None is a variable that must not be there."""
    (home / "tmp").mkdir(parents=True)
    foreign = [name for name in os.environ if name.startswith(("HF_", "HUGGING", "HUGGINGFACE_", "MSM3D_"))]
    return dict.fromkeys(foreign) | _environment(home)


os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())  # of tmp_path, which is kept after a failure
# Before anything is imported: the Hub's client reads the environment once. Browsers and compiled kernels are no
# inputs of a test, so they stay where they are or are shared by all tests.
_browsers = _REAL / ".cache" / "ms-playwright"
if _browsers.is_dir():
    os.environ.setdefault("PLAYWRIGHT_BROWSERS_PATH", str(_browsers))
for _name, _value in _isolated(_OWN / "0").items():
    if _value is None:
        del os.environ[_name]
    else:
        os.environ[_name] = _value
os.environ["TRITON_CACHE_DIR"] = str(_OWN / "triton")
os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(_OWN / "inductor")
tempfile.tempdir = None
atexit.register(shutil.rmtree, _OWN, ignore_errors=True)


@pytest.fixture(autouse=True)
def own_home(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test an empty home, a Hub cache and a folder for temporary files of its own, and no token."""
    from huggingface_hub import constants

    home = _OWN / str(next(_HOMES))
    for name, value in _isolated(home).items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(tempfile, "tempdir", str(home / "tmp"))
    shared = str(_OWN / "0")
    for name, value in vars(constants).items():  # what the client took from the environment when it was imported
        if isinstance(value, str) and value.startswith(shared):
            monkeypatch.setattr(constants, name, str(home) + value.removeprefix(shared))
    return home
