"""All of a release that needs no credentials: `make release-check`, or `python .github/release_check.py --tag v0.1.0`.

The version is one and the changelog has it, the checkout is clean, the source distribution and the wheel built from it
are the same bytes twice, their metadata are right, and the wheel works in an empty environment. It takes some minutes,
most of them for compiling twice. With `--tag` the version must be that of the tag, and released in the changelog.
"""

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tarfile
import venv
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
TOOLS = "build==1.3.0", "twine==6.2.0"


def said(*command: object, dated: bool = False, **options: object) -> str:
    """Run a command in the checkout and return what it prints; what is `dated` has the time of the last commit."""
    if dated:
        options["env"] = os.environ | {"SOURCE_DATE_EPOCH": said("git", "log", "-1", "--format=%ct")}
    options = {"cwd": ROOT, "check": True, "text": True, "capture_output": True} | options
    return subprocess.run([str(word) for word in command], **options).stdout.strip()  # type: ignore[call-overload]


def wrong_with_the_version(tag: str | None) -> Iterator[str]:
    """Yield a sentence for each thing that does not fit the version."""
    found = re.search(r'^__version__ = "(.+)"$', (ROOT / "msm3d/__init__.py").read_text(), re.MULTILINE)
    version = found[1] if found else "none"
    heading = re.search(r"^## (\S+) \((.+)\)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    first = heading[1] if heading else "no version"
    if first != version:
        yield f"CHANGELOG.md begins with {first}, and msm3d/__init__.py has {version}."
    if tag is None:
        return
    if tag != f"v{version}":
        yield f"the tag is {tag}, and msm3d/__init__.py has {version}."
    if heading is not None and not re.fullmatch(r"\d{4}-\d{2}-\d{2}", heading[2]):
        yield f"CHANGELOG.md says '{heading[2]}' of {heading[1]}; give the day of the release."


def built(source: Path, kind: str, folder: Path) -> Path:
    """Return the wheel or source distribution of a folder, dated by the last commit."""
    said(sys.executable, "-m", "build", f"--{kind}", "--outdir", folder, source, dated=True)
    [path] = folder.iterdir()
    return path


def unpacked(sdist: Path, folder: Path) -> Path:
    """Return the folder of sources in a source distribution, unpacked."""
    with tarfile.open(sdist) as file:
        file.extractall(folder, filter="data")
    [source] = folder.iterdir()
    return source


def twice(kind: str, folder: Path, source: Path = ROOT) -> Path:
    """Return what is built from `source`; fail where a second copy, unpacked elsewhere, gives other bytes."""
    sums, path = [], folder
    for again in ("first", "second"):
        place = source if source == ROOT else unpacked(source, folder / f"{again} {kind}")
        path = built(place, kind, folder / f"{again} built {kind}")
        sums.append(hashlib.sha256(path.read_bytes()).hexdigest())
        print(f"{path.name}: {path.stat().st_size:,} bytes, sha256 {sums[-1]}", flush=True)
    if len(set(sums)) != 1:
        sys.exit(f"{path.name} differs from one build to the next; compare {folder}.")
    return path


def main() -> None:
    """Check, and end with a sentence where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tag", help="of the release, such as v0.1.0")
    parser.add_argument("--dirty", action="store_true", help="check a checkout with changes that are not committed")
    options = parser.parse_args()
    if faults := list(wrong_with_the_version(options.tag)):
        sys.exit("\n".join(faults))
    if not options.dirty and (changed := said("git", "status", "--porcelain")):
        sys.exit(f"the checkout has changes; commit them, or give --dirty:\n{changed}")
    said(sys.executable, "-m", "pip", "install", "--quiet", *TOOLS)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        sdist = twice("sdist", folder)
        wheel = twice("wheel", folder, sdist)
        print(said(sys.executable, "-m", "twine", "check", "--strict", sdist, wheel))
        venv.create(folder / "empty", with_pip=True)
        python = folder / "empty" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        # torch as this environment has it: what is tried is the wheel
        have = said(sys.executable, "-c", "import torch; print(torch.__version__.split('+')[0])")
        said(python, "-m", "pip", "install", "--quiet", f"torch=={have}", wheel)
        print(said(python, ROOT / ".github/smoke.py", cwd=folder))
    print("ready; `git push --tags` publishes it")


if __name__ == "__main__":
    main()
