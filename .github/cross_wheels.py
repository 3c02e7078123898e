"""Wheels for every system from one Linux machine, with Zig's compiler: `python .github/cross_wheels.py -o wheels`.

Each is built from the source distribution and then looked into: it needs only what its tag promises, exports what abi.h
does, and names no folder of this machine. With `--twice` each is built again elsewhere and must be the same bytes. The
hosted workflow builds on the systems themselves and tries what it built; this is for looking before pushing a tag.
"""

import argparse
import hashlib
import os
import re
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from release_check import TOOLS, built, said, unpacked

ZIG = "ziglang==0.17.1", "lief==1.0.0", "wheel==0.45.1"
LINUX = r"libc\.so\.6|libm\.so\.6|libdl\.so\.2|libpthread\.so\.0|ld-linux-.*"
MACOS = r"/usr/lib/libSystem\.B\.dylib"


@dataclass(frozen=True)
class Target:
    """A system to build for."""

    tag: str
    triple: str
    system: str
    needs: str
    """What the library may need, as a regular expression."""

    @property
    def processor(self) -> str:
        """The processor, as CMake names it."""
        return self.triple.partition("-")[0]


TARGETS = [
    Target("manylinux_2_28_x86_64", "x86_64-linux-gnu.2.28", "Linux", LINUX),
    Target("manylinux_2_28_aarch64", "aarch64-linux-gnu.2.28", "Linux", LINUX),
    Target("musllinux_1_2_x86_64", "x86_64-linux-musl", "Linux", r"libc\.so"),
    Target("musllinux_1_2_aarch64", "aarch64-linux-musl", "Linux", r"libc\.so"),
    Target("macosx_11_0_arm64", "aarch64-macos.11.0", "Darwin", MACOS),
    Target("macosx_11_0_x86_64", "x86_64-macos.11.0", "Darwin", MACOS),
    Target("win_amd64", "x86_64-windows-gnu", "Windows", r"(?i)kernel32\.dll|ntdll\.dll|api-ms-win-crt-.*\.dll"),
]
TOOLCHAIN = """\
set(CMAKE_SYSTEM_NAME {target.system})
set(CMAKE_SYSTEM_PROCESSOR {target.processor})
set(CMAKE_CXX_COMPILER {zig} c++ -target {target.triple} -O2 -s)  # Zig builds a libc++ for each way to compile
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
set(CMAKE_INSTALL_NAME_TOOL true)
set(CMAKE_OSX_ARCHITECTURES "")
"""


def wheel_for(target: Target, sdist: Path, folder: Path) -> Path:
    """Return the wheel of a source distribution for a target."""
    import ziglang

    folder.mkdir(parents=True)
    toolchain = folder / "toolchain.cmake"
    toolchain.write_text(TOOLCHAIN.format(target=target, zig=Path(ziglang.__file__).with_name("zig")))
    os.environ["CMAKE_TOOLCHAIN_FILE"] = str(toolchain)
    wheel = built(unpacked(sdist, folder / "source"), "wheel", folder / "wheel")
    name = said(sys.executable, "-m", "wheel", "tags", "--remove", "--platform-tag", target.tag, wheel, dated=True)
    return wheel.with_name(name.splitlines()[-1])


def wrong_with(wheel: Path, target: Target, folder: Path) -> Iterator[str]:
    """Yield a sentence for each thing in a wheel that should not be so."""
    import lief

    with zipfile.ZipFile(wheel) as file:
        [name] = [name for name in file.namelist() if name.startswith("msm3d/_native")]
        data = file.read(name)
    library = lief.parse(list(data))
    if isinstance(library, lief.PE.Binary):
        needed = [entry.name for entry in library.imports]
        exported = [entry.name for entry in library.get_export().entries]
    elif isinstance(library, lief.MachO.Binary):
        own = lief.MachO.LoadCommand.TYPE.ID_DYLIB
        needed = [entry.name for entry in library.libraries if entry.command != own]
        exported = [entry.name.removeprefix("_") for entry in library.exported_symbols]
    else:
        needed = list(library.libraries)
        exported = [entry.name for entry in library.exported_symbols]
        uses = [part.name for one in library.symbols_version_requirement for part in one.get_auxiliary_symbols()]
        newest = max((tuple(map(int, use[6:].split("."))) for use in uses if use.startswith("GLIBC_")), default=())
        if newest > (2, 28):
            yield f"needs glibc {'.'.join(map(str, newest))}"
    if others := [name for name in needed if not re.fullmatch(target.needs, name)]:
        yield f"needs {', '.join(others)}"
    header = (next(folder.glob("source/*")) / "msm3d/csrc/abi.h").read_text()
    promised = set(re.findall(r"^MSM3D_EXPORT [^(]*?(msm3d_\w+)\(", header, re.MULTILINE))
    if lacking := promised - set(exported):
        yield f"does not export {', '.join(sorted(lacking))}"
    linkers = re.compile("_mh_dylib_header|__dso_handle|_Z(n|d)[aw]P?.*|_Zd[al]P.*")  # Zig's for macOS: of C++'s memory
    if more := {name for name in exported if name not in promised and not linkers.fullmatch(name)}:
        yield f"exports {', '.join(sorted(more))}"
    for path in (folder, Path.home()):
        if str(path).encode() in data:
            yield f"names {path}"
    print(f"{wheel.name}: {name}, {len(data):,} bytes, needs {', '.join(sorted(needed)) or 'nothing'}", flush=True)


def main() -> None:
    """Build all, and end with a sentence where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for the wheels")
    tags = [target.tag for target in TARGETS]
    parser.add_argument("--only", nargs="+", choices=tags, default=tags, metavar="TAG", help=f"of {', '.join(tags)}")
    parser.add_argument("--twice", action="store_true", help="build each twice and compare")
    options = parser.parse_args()
    said(sys.executable, "-m", "pip", "install", "--quiet", *TOOLS, *ZIG)
    options.out.mkdir(parents=True, exist_ok=True)
    faults = []
    with TemporaryDirectory() as scratch:
        sdist = built(Path(__file__).resolve().parents[1], "sdist", Path(scratch) / "sdist")
        for target in TARGETS:
            if target.tag not in options.only:
                continue
            sums = []
            for again in range(1 + options.twice):
                folder = Path(scratch) / f"{target.tag} {again}"
                wheel = wheel_for(target, sdist, folder)
                sums.append(hashlib.sha256(wheel.read_bytes()).hexdigest())
            faults += [f"{wheel.name} {fault}." for fault in wrong_with(wheel, target, folder)]
            print(f"  sha256 {sums[0]}", flush=True)
            if len(set(sums)) != 1:
                faults.append(f"{wheel.name} differs from one build to the next.")
            wheel.replace(options.out / wheel.name)
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main()
