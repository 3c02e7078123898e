"""The command line: what is refused before any work, what a batch does, and its words."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

import msm3d
from msm3d.io import read
from tests.corpus import NORMAL, RGB, XYZ, Case, Law, Place, Refused, Typed, contains, environment, snapshot
from tests.corpus.files import SCAN, axes, colours, npz, ply, raw, several

GOOD = ply(axes(XYZ) + colours(RGB) + [(c, "f4", NORMAL[:, i]) for i, c in enumerate(("nx", "ny", "nz"))])
TWO = several(npz("a.npz", coord=XYZ, color=RGB, normal=NORMAL), npz("b.npz", coord=XYZ + 1, color=RGB, normal=NORMAL))
SIDEWAYS = XYZ[:, [0, 2, 1]] * [1, 1, -1]
"""The scan lying on its side: y up."""
NO_WORK = (r"Model\(",)
"""A check before any work comes before the model is loaded."""


def in_folder(maker, folder: str):
    """Return what writes the files into a folder of that name."""

    def write(place: Path) -> Path:
        (place / folder).mkdir()
        return maker(place / folder)

    return write


def linked(place: Path) -> Path:
    """Write a scan with a symbolic link, a hard link, and a link to its folder."""
    (place / "real").mkdir()
    scan = SCAN(place / "real")
    (place / "link.npz").symlink_to(scan)
    os.link(scan, place / "hard.npz")
    (place / "door").symlink_to(place / "real")
    return scan


def overwritten(line: str, given=GOOD) -> Typed:
    return Typed(
        f"1.01 {line.replace('{}/', '')}",
        given,
        line,
        2,
        (r"scan|\.npz|\.ply", "input|itself|replace|among the scans"),
        NO_WORK,
    )


def a_batch(place: Place) -> None:
    """A batch goes on after a bad file, names it at the end, and a second call does only what is missing."""
    several(TWO, raw("bad.ply", "no scan"))(place.folder)
    code, out, err = place.run("extract {}/a.npz {}/bad.ply {}/b.npz -o {}/out --format npy")
    assert code == 1
    contains(out + err, (r"bad\.ply: does not start with 'ply'", "1 of 3|1 scan"))
    assert {path.name for path in (place.folder / "out").iterdir()} == {"a.npy", "b.npy"}
    kept = (place.folder / "out" / "a.npy").stat().st_mtime_ns
    (place.folder / "bad.ply").unlink()
    GOOD(place.folder).rename(place.folder / "bad.ply")
    code, out, err = place.run("extract {}/a.npz {}/bad.ply {}/b.npz -o {}/out --format npy")
    assert code == 0, err
    assert {path.name for path in (place.folder / "out").iterdir()} == {"a.npy", "bad.npy", "b.npy"}
    assert (place.folder / "out" / "a.npy").stat().st_mtime_ns == kept


def a_folder(place: Place) -> None:
    """A folder of scans is walked."""
    (place.folder / "scans" / "deep").mkdir(parents=True)
    TWO(place.folder / "scans")
    GOOD(place.folder / "scans" / "deep")
    (place.folder / "scans" / "notes.md").write_text("mine")
    code, _, err = place.run("extract {}/scans -o {}/out")
    assert code == 0, err
    assert {path.stem for path in (place.folder / "out").rglob("*.npz")} == {"a", "b", "scan"}


def each_named(place: Place) -> None:
    """Every warning names its scan, for every scan."""
    bare = several(npz("a.npz", coord=XYZ, normal=NORMAL), npz("b.npz", coord=XYZ + 1, normal=NORMAL))
    bare(place.folder)
    code, _, err = place.run("extract {}/a.npz {}/b.npz -o {}/out")
    warned = [line for line in err.splitlines() if line.startswith("warning: ") or "no colour" in line]
    assert code == 0
    for name in ("a.npz", "b.npz"):
        assert any(name in line and "no colour" in line for line in warned), err


def up_typed(place: Place) -> None:
    """`--up -y` can be typed, as the warning says it."""
    (turned := npz("turned.npz", coord=SIDEWAYS * [1, -1, -1], color=RGB, normal=NORMAL))(place.folder)
    code, _, err = place.run("extract {}/turned.npz -o {}/f.npz --up -y")
    assert code == 0, err
    with np.load(place.folder / "f.npz") as file:
        right = place.model.extract(turned(place.folder), up="-y")
        assert np.allclose(file["feat"], right, atol=1e-4)
    assert place.run("pca {}/turned.npz -o {}/p.ply --up -y")[0] == 0
    assert place.run("view {}/turned.npz -o {}/v.html --up -y")[0] == 0


def kept_columns(place: Place) -> None:
    """A PLY of features keeps colour, normals and labels of its source."""
    columns = axes(XYZ) + [(c, "f4", NORMAL[:, i]) for i, c in enumerate(("nx", "ny", "nz"))] + colours(RGB)
    ply([*columns, ("label", "u1", np.arange(len(XYZ)) % 20)])(place.folder)
    assert place.run("extract {}/scan.ply -o {}/f.ply")[0] == 0
    back = read(place.folder / "f.ply")
    assert back.color is not None
    assert back.normal is not None
    assert back.segment is not None
    assert np.array_equal(back.color, RGB)
    assert np.allclose(back.normal, NORMAL)
    assert np.array_equal(back.segment, np.arange(len(XYZ)) % 20)


def without_pillow(place: Place) -> None:
    """A picture is written without Pillow, or refused before any work."""
    import pytest

    SCAN(place.folder)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in sys.modules if name.split(".")[0] == "PIL"]:
            patch.delitem(sys.modules, name)
        patch.setitem(sys.modules, "PIL", None)  # type: ignore[arg-type]
        code, out, err = place.run("pca {}/scan.npz -o {}/p.png --size 320x240")
    if code:
        contains(err, ("pip install",))
        assert "Model(" not in err + out
    else:
        assert (place.folder / "p.png").read_bytes().startswith(b"\x89PNG")


def program(source: str, place: Place, *arguments: str, limit: float = 60) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", source, *arguments]
    return subprocess.run(command, cwd=place.folder, env=environment(), capture_output=True, text=True, timeout=limit)


def no_torch(place: Place) -> None:
    """Help, the version and typos need no torch."""
    for line in ("['--help']", "['extract', '--help']", "['extrct']", "['--version']"):
        source = f"import sys, msm3d.cli\ntry: msm3d.cli.main({line})\nexcept SystemExit: pass\n"
        done = program(source + "print('torch' in sys.modules, file=sys.stderr)", place)
        assert done.stderr.splitlines()[-1] == "False", done.stderr


FULL = """
import resource, signal, sys, torch
from msm3d import cli
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
torch.set_num_threads(1)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
for kind in ("npz", "npy", "safetensors", "ply"):
    print(kind, cli.main(["extract", "scan.npz", "-o", "f." + kind, "--model", sys.argv[1]]))
print("view", cli.main(["view", "scan.npz", "-o", "f.html", "--model", sys.argv[1]]))
"""


def no_room(place: Place) -> None:
    """Where a file cannot grow: a sentence and exit code 2 for every format, nothing left, the older file whole."""
    SCAN(place.folder)
    for kind in ("npz", "npy", "safetensors", "ply", "html"):
        (place.folder / f"f.{kind}").write_bytes(b"older")
    before = snapshot(place.folder)
    done = program(FULL, place, str(place.weights))
    assert done.returncode == 0, done.stderr[-2000:]
    codes = [line for line in done.stdout.splitlines() if line.endswith(" 2")]
    assert codes == [f"{kind} 2" for kind in ("npz", "npy", "safetensors", "ply", "view")], done.stdout
    assert snapshot(place.folder) == before


def two_writers(place: Place) -> None:
    """Two writers of one file in one process do not share a partial."""
    from msm3d._util.atomic import replacing

    path = place.folder / "f.txt"
    with replacing(path) as first:
        first.write_text("first")
        with replacing(path) as second:
            assert second != first
            second.write_text("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first"
    assert snapshot(place.folder) == {"f.txt": b"first"}


def newcomers(place: Place) -> None:
    """What `dir` and `repr` show."""
    shown = [name for name in dir(msm3d) if not name.startswith("_")]
    assert {"read", "load", "list_models", "info", "Model", "PointCloud"} <= set(shown)
    assert not {"copies", "plausible", "unet", "store", "curves", "hierarchy"} & set(shown)
    cloud = msm3d.PointCloud.of({"coord": XYZ, "color": RGB})
    assert len(repr(cloud)) < 200
    contains(repr(cloud), ("2,?000 points", "colour"))
    assert "array(" not in repr(cloud)
    assert np.array_equal(msm3d.read(GOOD(place.folder)).color, RGB)


CASES: list[Case] = [
    overwritten("extract {}/scan.ply -o {}/scan.ply"),
    overwritten("extract {}/s/a.npz {}/s/b.npz -o {}/s", in_folder(TWO, "s")),
    overwritten("extract {}/s/a.npz -o {}/s/", in_folder(TWO, "s")),
    overwritten("extract {}/s -o {}/s", in_folder(TWO, "s")),
    overwritten("pca {}/scan.ply -o {}/scan.ply"),
    overwritten("pca {}/a.npz -o {}/p.ply --save-basis {}/a.npz", TWO),
    overwritten("extract {}/link.npz -o {}/real/scan.npz", linked),
    overwritten("extract {}/real/scan.npz -o {}/hard.npz", linked),
    overwritten("extract {}/real/scan.npz -o {}/door/scan.npz", linked),
    overwritten("extract {}/real/scan.npz -o {}/real/../real/scan.npz", linked),
    Law("2.01 no room for the result", no_room),
    Typed(
        "2.05 a long name",
        SCAN,
        "extract {}/scan.npz -o {}/" + 250 * "f" + ".npy",
        makes=(250 * "f" + ".npy",),
    ),
    Typed("2.05 too long a name", SCAN, "extract {}/scan.npz -o {}/" + 300 * "f" + ".npy", 2, ("long|cannot",)),
    Law("2.07 two writers of one file", two_writers),
    Law("3.01 --up -y", up_typed),
    Law("3.03 a batch with a bad file", a_batch),
    Law("3.03 a folder of scans", a_folder),
    Law("3.04 each warning names its scan", each_named),
    Law("3.05 a picture without Pillow", without_pillow),
    Typed(
        "3.10 the command line speaks of options",
        npz(coord=SIDEWAYS[: len(SIDEWAYS) * 5 // 8]),  # the floor, and little of the wall
        "extract {}/scan.npz -o {}/f.npy",
        says=("--up y",),
        hushed=("up='", "color=", "normal="),
        makes=("f.npy",),
    ),
    Law("3.12 a PLY keeps the columns of its source", kept_columns),
    Typed(
        "3.14 the last line says how large",
        SCAN,
        "extract {}/scan.npz -o {}/f.npy",
        says=(r"\d (kB|MB)",),
        makes=("f.npy",),
    ),
    Typed(
        "3.22 a Hub model offline is one sentence",
        SCAN,
        "extract {}/scan.npz -o {}/f.npy --model ana/nowhere",
        2,
        ("ana/nowhere", "offline|cache"),
    ),
    Refused("3.23 at= with points", lambda _: XYZ, ("at is", "points|voxels"), {"at": XYZ[:5]}),
    Typed(
        "3.25 the file is looked for first",
        lambda _: None,
        "extract {}/none.ply -o {}/f.npz",
        2,
        (r"none\.ply",),
        NO_WORK,
    ),
    Typed(
        "3.25 --max-memory lots", SCAN, "extract {}/scan.npz -o {}/f.npz --max-memory lots", 2, ("lots", "4GB"), NO_WORK
    ),
    Typed("3.25 --up x", SCAN, "extract {}/scan.npz -o {}/f.npz --up x", 2, ("x", "z, y"), NO_WORK),
    Typed("3.26 no folder is left", SCAN, "extract {}/scan.npz {}/scan.npz -o {}/new", 2, ("scan",), NO_WORK),
    Typed("3.26 no rooms", lambda _: None, "rooms -n 0 -o {}/rooms", 2, ("0",)),
    Typed("3.30 a typo of a verb", lambda _: None, "extrct {}/a.ply", 2, ("did you mean", "extract")),
    Typed(
        "3.30 a typo of a model", SCAN, "extract {}/scan.npz -o {}/f.npz --model scannt", 2, ("did you mean 'scannet'",)
    ),
    Law(
        "3.30 no arguments at all",
        lambda place: contains("".join(map(str, run_bare(place))), ("usage: msm3d", "extract")),
    ),
    Law("3.31 help needs no torch", no_torch),
    Law("3.32 what a newcomer sees", newcomers),
]

if not torch.cuda.is_available():
    CASES += [
        Typed(
            "3.02 --device cuda without CUDA",
            SCAN,
            "extract {}/scan.npz -o {}/f.npz --device cuda",
            2,
            ("cuda",),
            NO_WORK,
        ),
        Law("3.02 load(device='cuda') without CUDA", lambda place: refused_cuda(place)),
    ]


def run_bare(place: Place) -> tuple[int, str, str]:
    from msm3d import cli

    try:
        code = cli.main([])
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    said = place.capsys.readouterr()
    return code, said.out, said.err


def refused_cuda(place: Place) -> None:
    from tests.corpus import refusal

    contains(refusal(lambda: msm3d.load(place.weights, device="cuda")), ("cuda",))
