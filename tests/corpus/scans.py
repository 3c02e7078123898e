"""Scans: what is present but empty, single values that decide, a format's own rules."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from msm3d.errors import Msm3dError
from tests.corpus import ABSENT, NORMAL, RGB, XYZ, Alike, Case, Law, Place, Read, Refused, contains, heard, refusal
from tests.corpus.files import SCAN, axes, colours, las, las_of, npz, pcd, ply, raw

N = len(XYZ)
PACKED = RGB.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
FLOATS = RGB / 255
UTM = XYZ + [682244.65, 3444317.77, 12]
BLACK, DARK = np.zeros_like(RGB), RGB // 8

some = np.random.default_rng(1)
MISSING = XYZ + [5, 4, 1.5]
MISSING[some.random(N) < 0.4] = 0
PRESENT = np.flatnonzero(MISSING.any(1))
HOLES = XYZ.copy()
HOLES[some.random(N) < 0.1] = np.nan
WHOLE = np.flatnonzero(np.isfinite(HOLES).all(1))


def with_one(value: float) -> np.ndarray:
    changed = FLOATS.copy()
    changed[0, 0] = value
    return changed


def splats(opacity: np.ndarray) -> list:
    dc = (RGB / 255 - 0.5) / 0.28209479177387814
    columns = axes(XYZ) + [(name, "f4", np.zeros(N)) for name in ("nx", "ny", "nz")]
    return columns + [(f"f_dc_{i}", "f4", dc[:, i]) for i in range(3)] + [("opacity", "f4", opacity)]


OPACITY = some.normal(0, 2, N).astype(np.float32)
SEEN = np.flatnonzero(1 / (1 + np.exp(-OPACITY.astype(np.float64))) >= 0.5)
LABEL = np.zeros(N)
LABEL[3] = np.nan

SEVEN = [" ".join(f"{v:.3f}" for v in row) for row in XYZ[:300]]
TINTS = [" ".join(map(str, row)) for row in RGB[:300]]
PTS = "300\n" + "".join(f"{x * 0.01:.3f} 0 0 0 9 9 9\n" for x in range(300))
PTS_2 = "300\n" + "".join(f"{x * 0.01:.3f} 1 0 0 9 9 9\n" for x in range(300))

RECORDS = np.zeros(
    N, np.dtype({"names": ["x", "y", "z", "rgb"], "formats": ["f4"] * 4, "offsets": [0, 4, 8, 16], "itemsize": 32})
)
for _i, _name in enumerate("xyz"):
    RECORDS[_name] = XYZ[:, _i]
RECORDS["rgb"] = PACKED.view(np.float32)


def two_rooms(place: Place) -> None:
    """Rooms that were put into one dictionary are either told apart or refused, never overlaid."""
    normal = np.r_[NORMAL, NORMAL]
    both = {"coord": np.r_[XYZ, XYZ * 0.8], "color": np.r_[RGB, RGB], "normal": normal}
    singles = [{key: value[part] for key, value in both.items()} for part in (slice(N), slice(N, None))]
    right = np.concatenate(place.model.extract(singles))
    for more in ({"offset": [N, 2 * N]}, {"batch": np.arange(2 * N) // N}, {"offset": torch.tensor([N, 2 * N])}):
        try:
            rows, _ = heard(lambda more=more: place.model.extract(both | more))
        except Msm3dError as error:
            contains(str(error), (next(iter(more)), "list"))
        else:
            assert np.array_equal(np.concatenate(rows) if isinstance(rows, list) else rows, right)
    alone, _ = heard(lambda: place.model.extract(singles[0] | {"offset": [N]}))
    assert np.array_equal(alone[0] if isinstance(alone, list) else alone, right[:N])


def two_rooms_in_a_file(place: Place) -> None:
    file = npz(coord=np.r_[XYZ, XYZ * 0.8], color=np.r_[RGB, RGB], normal=np.r_[NORMAL, NORMAL], offset=[N, 2 * N])
    path = file(place.folder)
    contains(refusal(lambda: place.model.extract(path)), ("offset",))


def millimetres(place: Place) -> None:
    """Coordinates in whole millimetres give the same bits wherever the scan lies."""
    whole = np.rint(XYZ * 1000)
    scan = {"color": RGB, "normal": NORMAL}
    here = place.model.extract(scan | {"coord": whole / 1000})
    for by in ([7, -3, 1], [500_000, 4_600_000, 100], [-12, 0, 0]):
        there = place.model.extract(scan | {"coord": (whole + np.array(by) * 1000) / 1000})
        assert np.array_equal(here, there), f"moved by {by}: {(here != there).any(1).mean():.1%} of the rows differ"


def stray(place: Place) -> None:
    """One point outside of the scan moves no other row, with our own weights."""
    import msm3d
    from msm3d import rooms

    scan = rooms.make(7_000_003, points=5000)
    model = msm3d.load(device="cpu")
    parts = (scan.coord, scan.color, scan.normal)
    clean = model.extract(dict(zip(("coord", "color", "normal"), parts, strict=True)))
    low, high = scan.coord.min(0), scan.coord.max(0)
    middle = (low + high) / 2
    for point in ([middle[0], middle[1], low[2] - 0.3], [low[0] - 0.3, middle[1], middle[2]], low - 1.1, high + 1.9):
        more = [np.r_[part, [row]] for part, row in zip(parts, (point, [90, 90, 90], [0, 0, 1]), strict=True)]
        rows = model.extract(dict(zip(("coord", "color", "normal"), more, strict=True)))[:-1]
        cosine = (rows * clean).sum(1) / np.linalg.norm(rows, axis=1) / np.linalg.norm(clean, axis=1)
        assert cosine.mean() >= 0.999, (point, cosine.mean())
        assert np.quantile(cosine, 0.05) >= 0.99, (point, np.quantile(cosine, 0.05))


def rows_of_nan(place: Place) -> None:
    """`invalid="nan"` keeps a row for each point of the source, of files, arrays and dictionaries alike."""
    scan = {"coord": HOLES, "color": RGB, "normal": NORMAL}
    array = np.column_stack([HOLES, FLOATS, NORMAL])
    right, _ = heard(lambda: place.model.extract({key: value[WHOLE] for key, value in scan.items()}))
    for given in (scan, array, npz(**scan)(place.folder), torch.from_numpy(array)):
        dropped, said = heard(lambda given=given: place.model.extract(given))
        np.testing.assert_allclose(np.asarray(dropped), right, atol=1e-4)
        contains("\n".join(said), (str(N - len(WHOLE)), "position|NaN"))
        kept = np.asarray(heard(lambda given=given: place.model.extract(given, invalid="nan"))[0])
        assert len(kept) == N
        assert np.array_equal(np.isnan(kept).all(1), np.isnan(HOLES).any(1))
        np.testing.assert_allclose(kept[WHOLE], right, atol=1e-4)


def pointing(place: Place) -> None:
    """A warning points at the line of the caller's, not into the package."""
    import warnings

    for call in (lambda: place.model.extract(XYZ), lambda: place.model.extract(ply(axes(XYZ))(place.folder))):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
        assert caught
        assert {Path(w.filename).name for w in caught} == {"scans.py"}


CASES: list[Case] = [
    Read("1.00 plain", ply(axes(XYZ) + colours(RGB)), right={"coord": XYZ, "color": RGB}, hushed=(".",)),
    Read(
        "1.00 green first",
        ply(axes(XYZ) + [colours(RGB)[i] for i in (1, 2, 0)]),
        right={"color": RGB},
    ),
    Read(
        "1.00 float colours as text", ply(axes(XYZ) + colours(FLOATS, "f4"), text=True), right={"color": RGB}, atol=1e-3
    ),
    Read(
        "1.03 LAS whose colours are all black",
        las(BLACK.astype("u2")),
        right={"color": ABSENT},
        extracted=True,
        says=("no colour",),
    ),
    Alike("1.03 black is as no colour", las(BLACK.astype("u2")), las(None)),
    Read("1.03 PLY whose colours are all black", ply(axes(XYZ) + colours(BLACK)), right={"color": ABSENT}),
    Read("1.03 black in a dictionary", lambda _: {"coord": XYZ, "color": BLACK}, right={"color": ABSENT}),
    Read("1.03 a dark scan stays dark", ply(axes(XYZ) + colours(DARK)), right={"color": DARK}, hushed=("colou?r",)),
    Read(
        "1.04 one float colour above 1",
        ply(axes(XYZ) + colours(with_one(1.02), "f4")),
        right={"color": with_one(1) * 255},
        atol=1e-3,
    ),
    Read(
        "1.04 one float colour below 0",
        ply(axes(XYZ) + colours(with_one(-0.01), "f4")),
        right={"color": with_one(0) * 255},
        atol=1e-3,
    ),
    Read("1.04 whole numbers as floats stay 0-255", ply(axes(XYZ) + colours(RGB, "f4")), right={"color": RGB}),
    Read("1.05 UTM as float32", ply(axes(UTM) + colours(RGB)), says=(r"0\.25", "float32|single|precision")),
    Read(
        "1.05 UTM as float64",
        ply(axes(UTM, "f8") + colours(RGB)),
        right={"coord": UTM},
        hushed=("float32", "precision"),
    ),
    Law("1.06 two rooms in one dictionary", two_rooms),
    Law("1.06 two rooms in one file", two_rooms_in_a_file),
    Read(
        "1.08 missing points as zeros",
        ply(axes(MISSING) + colours(RGB)),
        right={"coord": MISSING[PRESENT].astype("f4"), "color": RGB[PRESENT], "rows": PRESENT},
        says=(str(N - len(PRESENT)), r"0, 0, 0|origin"),
    ),
    Read(
        "1.08 one point at the origin stays",
        lambda _: {"coord": np.r_[[[0, 0, 0]], XYZ]},
        right={"rows": ABSENT, "coord": np.r_[[[0, 0, 0]], XYZ]},
    ),
    Law("1.09 one stray point", stray),
    Read(
        "1.11 a label that is NaN",
        ply(axes(XYZ) + colours(RGB) + [("scalar_Label", "f4", LABEL)]),
        right={"coord": XYZ, "color": RGB},
        says=("label|segment",),
        extracted=True,
    ),
    Read(
        "1.11 a column class of probabilities",
        ply(axes(XYZ) + colours(RGB) + [("class", "f4", some.random(N))]),
        right={"coord": XYZ, "color": RGB, "segment": ABSENT},
        extracted=True,
    ),
    Read(
        "1.12 x y z r g b label",
        raw("scan.txt", "\n".join(f"{a} {b} 2" for a, b in zip(SEVEN, TINTS, strict=True))),
        right={"color": RGB[:300]},
    ),
    Read(
        "1.12 x y z r g b scalar, as CloudCompare writes",
        raw(
            "scan.txt", "\n".join(f"{a} {b} {i % 5}.000000" for i, (a, b) in enumerate(zip(SEVEN, TINTS, strict=True)))
        ),
        right={"color": RGB[:300]},
    ),
    Read(
        "1.12 x y z intensity r g b",
        raw("scan.txt", "\n".join(f"{a} {400 + 3 * i} {b}" for i, (a, b) in enumerate(zip(SEVEN, TINTS, strict=True)))),
        right={"color": RGB[:300]},
    ),
    Read(
        "1.13 PTS of two scans",
        raw("scan.pts", PTS + PTS_2),
        right={"coord": [[i % 300 * 0.01, i // 300, 0] for i in range(600)]},
    ),
    Read(
        "1.14 splats",
        ply(splats(OPACITY)),
        right={"color": RGB, "normal": ABSENT},
        atol=1e-3,
        extracted=True,
        says=("normals",),
    ),
    Read(
        "1.14 splats without floaters",
        ply(splats(OPACITY)),
        {"min_opacity": 0.5},
        {"coord": XYZ[SEEN], "color": RGB[SEEN], "rows": SEEN},
        atol=1e-3,
    ),
    Read(
        "3.09 normals that are all zero",
        ply(axes(XYZ) + colours(RGB) + [(c, "f4", np.zeros(N)) for c in ("nx", "ny", "nz")]),
        right={"normal": ABSENT},
        extracted=True,
        says=("normals",),
    ),
    Read(
        "3.09 normals that are all NaN",
        lambda _: {"coord": XYZ, "normal": XYZ * np.nan},
        right={"normal": ABSENT},
        extracted=True,
        says=("normals",),
    ),
    Read(
        "1.15 packed colours as whole numbers of text",
        pcd("x y z rgb", "4 4 4 4", "F F F F", ["0 0 0 4734297", "1 1 1 9857350"], 2),
        right={"color": [[72, 61, 89], [150, 105, 70]]},
    ),
    Read(
        "1.15 packed colours that are all nan",
        pcd("x y z rgb", "4 4 4 4", "F F F F", ["0 0 0 nan", "1 1 1 nan"], 2),
        right={"color": ABSENT},
        extracted=True,
        says=("colour",),
    ),
    Read(
        "1.15 packed colours of which one is nan",
        pcd("x y z rgb", "4 4 4 4", "F F F F", ["0 0 0 nan", "1 1 1 9857350"], 2),
        right={"color": [[127.5] * 3, [150, 105, 70]]},
        says=("colour",),
        atol=0.5,
    ),
    Read(
        "1.16 16-bit colours in PLY's int",
        ply(axes(XYZ) + colours(RGB.astype(int) * 257, "i4")),
        right={"color": RGB},
        atol=1e-3,
    ),
    Read(
        "1.16 16-bit colours in PCD's F8",
        pcd(
            "x y z Red Green Blue",
            "8 8 8 8 8 8",
            "F F F F F F",
            np.ascontiguousarray(np.c_[XYZ, RGB * 257.0]).tobytes(),
            N,
        ),
        right={"color": RGB},
        atol=1e-3,
    ),
    Read("1.16 16-bit colours in LAS", las(RGB.astype("u2") * 257), right={"color": RGB}, atol=1e-3),
    Read("1.17 packed rgb in PLY", ply(axes(XYZ) + [("rgb", "u4", PACKED)]), right={"color": RGB}),
    Read(
        "1.17 packed rgba in PLY",
        ply(axes(XYZ) + [("rgba", "u4", PACKED | np.uint32(0xFF000000))]),
        right={"color": RGB},
    ),
    Read(
        "1.18 laspy's object", lambda _: las_of(RGB.astype("u2") * 257), right={"coord": XYZ, "color": RGB}, atol=6e-4
    ),
    Read("1.19 a structured array with padding", lambda _: RECORDS, right={"coord": XYZ, "color": RGB}),
    Refused("1.19 an organised array", lambda _: np.zeros((40, 50, 3)), ("reshape", r"\(40, 50, 3\)")),
    Read(
        "1.20 a header with spaces",
        raw("scan.csv", "//X,Y,Z,R,G,B,C2C absolute distances\n" + "1,2,3,9,19,29,0.5\n" * 9),
        right={"coord": [[1, 2, 3]] * 9, "color": [[9, 19, 29]] * 9},
    ),
    Read(
        "1.21 decimal commas",
        raw("scan.csv", "0,548;1,234;0,000\n1,5;2,25;3\n" * 9),
        right={"coord": [[0.548, 1.234, 0], [1.5, 2.25, 3]] * 9},
    ),
    Refused("1.22 a kind that is not read", raw("scan.spz", b"x" * 99), (r"\bply", "spz")),
    Law("2.02 whole millimetres, moved", millimetres),
    Alike(
        "2.09 a tensor with a lazy negation",
        lambda _: torch._neg_view(torch.from_numpy(-np.column_stack([XYZ, FLOATS, NORMAL]))),
        lambda _: torch.from_numpy(np.column_stack([XYZ, FLOATS, NORMAL])),
    ),
    Refused("2.14 a sparse tensor", lambda _: torch.zeros(5, 3).to_sparse(), ("sparse|dense",)),
    Law("3.13 points without a position", rows_of_nan),
    Law("3.24 where a warning points", pointing),
    Read(
        "3.27 xyz and intensity",
        lambda _: np.c_[XYZ, np.ones(N)],
        right={"coord": XYZ, "color": ABSENT},
        says=("intensity",),
    ),
    Read("3.28 a list of rows", lambda _: {"coord": XYZ[:9].tolist()}, right={"coord": XYZ[:9]}),
    Read("3.29 one point", lambda _: np.array([[1.0, 2, 3]]), says=("1 point",), extracted=True),
    Read("3.29 a room in feet", lambda _: XYZ / 0.3048, says=("ft|feet",)),
    Read("3.29 a unit cube", lambda _: (XYZ - XYZ.min(0)) / np.ptp(XYZ, axis=0).max(), says=("scale",)),
    Alike("3.29 millimetres, said", lambda _: XYZ * 1000, lambda _: XYZ, options={"units": "mm"}, atol=1e-4),
    Read("4.01 colours divided by 255 twice", ply(axes(XYZ) + colours(FLOATS / 255, "f4")), says=("colou?r",)),
    Read(
        "4.02 Open3D's tensor cloud",
        lambda _: SimpleNamespace(
            point={"positions": torch.from_numpy(XYZ.astype("f4")), "colors": torch.from_numpy(RGB)}
        ),
        right={"coord": XYZ, "color": RGB},
    ),
    Read(
        "4.03 pyvista's object",
        lambda _: SimpleNamespace(points=XYZ.astype("f4"), point_data={"RGB": RGB}),
        right={"coord": XYZ, "color": RGB},
    ),
    Alike(
        "0.00 a file is as its arrays",
        SCAN,
        lambda _: {"coord": XYZ, "color": RGB, "normal": np.tile([0.0, 0, 1], (N, 1))},
    ),
]
