"""What is true of the readers of every format."""

import re
import subprocess
import sys
import warnings
from pathlib import Path

import laspy
import numpy as np
import plyfile
import pyarrow as pa
import pyarrow.parquet as pq
import pye57
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from msm3d.errors import DependencyError, FileError, InputError
from msm3d.io import KINDS, as_cloud, read
from msm3d.scan.options import ReadOptions
from tests.files import NAMES, NORMAL, RGB, SCANS, XYZ, columns, pcd, refused, same


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 60), seed=st.integers(0, 2**32), kind=st.sampled_from(["ply", "npz", "csv", "pth"]))
def test_what_is_written_is_read(tmp_path_factory, n, seed, kind):
    rng = np.random.default_rng(seed)
    coord, color = rng.normal(size=(n, 3)) * 1e5, rng.integers(0, 256, (n, 3)).astype(np.uint8)
    file = tmp_path_factory.mktemp("written") / f"scan.{kind}"
    if kind == "ply":
        table = np.empty(n, dtype=[(c, "f8") for c in "xyz"] + [(c, "u1") for c in ("red", "green", "blue")])
        for i, name in enumerate(table.dtype.names):
            table[name] = np.column_stack([coord, color])[:, i]
        plyfile.PlyData([plyfile.PlyElement.describe(table, "vertex")]).write(file)
    elif kind == "npz":
        np.savez(file, coord=coord, color=color)
    elif kind == "csv":
        lines = [",".join(map(repr, [*p, *c])) for p, c in zip(coord.tolist(), color.tolist(), strict=True)]
        file.write_text("x,y,z,r,g,b\n" + "\n".join(lines))
    else:
        torch.save({"coord": coord, "color": color}, file)
    cloud = as_cloud(read(file)) if n < 100 else read(file)
    assert np.array_equal(cloud.coord, coord)
    scale = 255 if kind == "csv" and color.max() <= 1 else 1  # text does not say that 1 is an integer
    assert np.array_equal(cloud.color, color * np.float32(scale))


@settings(max_examples=150, deadline=None)
@given(
    cut=st.integers(1, 2000),
    flips=st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 255)), max_size=4),
    kind=st.sampled_from(KINDS),
)
def test_damaged_files_are_read_or_refused_by_name(tmp_path_factory, examples, cut, flips, kind):
    data = bytearray(examples[kind][:-cut] or examples[kind][:1])
    for at, bits in flips:
        data[at % len(data)] ^= bits
    file = tmp_path_factory.mktemp("damaged") / f"scan{kind}"
    file.write_bytes(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # whatever survives may look odd
            assert len(read(file)) > 0
    except FileError as error:
        assert str(file) in str(error)  # noqa: PT017


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    """A small good file of every kind, as bytes."""
    folder = tmp_path_factory.mktemp("good")
    plyfile.PlyData([plyfile.PlyElement.describe(columns(NAMES), "vertex")]).write(folder / "a.ply")
    pcd(folder / "a.pcd", "binary_compressed")
    las = laspy.LasData(laspy.LasHeader(point_format=3, version="1.2"))
    las.x, las.y, las.z = XYZ.T
    las.write(folder / "a.las")
    las.write(folder / "a.laz")
    with pye57.E57(str(folder / "a.e57"), mode="w") as out:
        out.write_scan_raw(
            {f"cartesian{axis}": values.astype(float) for axis, values in zip("XYZ", XYZ.T, strict=True)}
        )
    head = "8\n5\n0 0 0\n1 0 0\n0 1 0\n0 0 1\n1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n"
    (folder / "a.ptx").write_text(head + "".join(f"{x} {y} {z} 0.5\n" for x, y, z in XYZ))
    np.savez(folder / "a.npz", coord=XYZ, color=RGB)
    np.save(folder / "a.npy", XYZ)
    pq.write_table(pa.table(dict(zip("xyz", XYZ.T, strict=True))), folder / "a.parquet")
    for kind in ("pth", "pt"):
        torch.save({"coord": XYZ, "color": RGB}, folder / f"a.{kind}")
    for kind in ("txt", "xyz", "pts"):
        np.savetxt(folder / f"a.{kind}", XYZ)
    np.savetxt(folder / "a.csv", XYZ, delimiter=",")
    box = trimesh.creation.box()
    for kind in ("obj", "glb", "stl", "off"):
        box.export(folder / f"a.{kind}")
    (folder / "a.gltf").write_bytes(trimesh.exchange.gltf.export_gltf(trimesh.Scene(box))["model.gltf"])
    return {kind: (folder / f"a{kind}").read_bytes() for kind in KINDS}


def test_paths_that_are_refused(tmp_path):
    kinds = (
        ".ply, .pcd, .las, .laz, .e57, .ptx, .npz, .npy, .pth, .pt, .parquet, .txt, .xyz, .pts, .csv, .obj, .glb, .gltf"
    )
    kinds += ", .stl, .off"
    with refused(tmp_path / "scan.ply", "does not exist; check the path."):
        read(tmp_path / "scan.ply")
    with refused(tmp_path, f"is a directory; give one file: {kinds}."):
        read(tmp_path)
    with refused(tmp_path / "scan.abc", f"is of a kind that msm3d does not read; give one of {kinds}."):
        read(tmp_path / "scan.abc")
    for kind in KINDS:
        file = tmp_path / f"scan{kind}"
        file.touch()
        with refused(file, "is empty (0 bytes); export it again."):
            read(file)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "a.spz",
            "is a compressed Gaussian splat (SPZ); export it as PLY in the program that trained the splats, "
            "or convert it with SuperSplat.",
        ),
        (
            "000001.bin",
            "is bare numbers (BIN), whose columns it does not name; read them with "
            "np.fromfile(path, np.float32).reshape(-1, columns), with 4 columns for KITTI and 5 for nuScenes, "
            "and save or pass [:, :3].",
        ),
        ("a.ply.gz", "is compressed with gzip; unpack it first: gunzip a.ply.gz."),
        ("a.fbx", "is of the kind FBX; export it as GLB, OBJ or PLY."),
    ],
)
def test_files_of_known_kinds_that_are_not_read_are_told_what_to_do(tmp_path, name, message):
    with refused(tmp_path / name, message):
        read(tmp_path / name)


def test_units_and_up_are_those_of_the_file(tmp_path):
    file = tmp_path / "SCAN.XYZ"
    file.write_text("1000 2000 3000 0 0 -1\n")
    cloud = read(file, units="mm", up="y")
    assert cloud.coord.tolist() == [[1, -3, 2]]
    assert cloud.normal.tolist() == [[0, 1, 0]]
    with pytest.raises(InputError, match=r"^up is 'x'; choose one of z, y, -y\.$"):
        read(file, up="x")


def test_as_cloud_takes_paths_and_points(tmp_path):
    file = tmp_path / "scan.npz"
    np.savez(file, coord=XYZ, color=RGB)
    for points in (file, str(file), {"coord": XYZ, "color": RGB}, np.hstack([XYZ, RGB])):
        same(as_cloud(points, normal=NORMAL), segment=None)
    gray = np.full((40, 3), 128.0)
    for points in (file, XYZ):
        cloud = as_cloud(points, color=gray, normal=NORMAL, options=ReadOptions(up="y", units="cm"))
        assert (cloud.color == 128).all()
        np.testing.assert_allclose(cloud.normal, NORMAL[:, [0, 2, 1]] * [1, -1, 1], rtol=1e-6)
    with refused(file, "color has 2 rows, coord has 40; give one row per point."):
        as_cloud(file, color=gray[:2])


@pytest.mark.parametrize(
    ("package", "name", "extra"),
    [
        ("laspy", "scan.las", "las"),
        ("laspy", "scan.laz", "las"),
        ("pye57", "scan.e57", "e57"),
        ("pyarrow", "a.parquet", "parquet"),
    ],
)
def test_missing_packages_are_named(tmp_path, monkeypatch, package, name, extra):
    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / name).write_bytes(b"anything")
    with pytest.raises(DependencyError, match=re.escape(f'; type: pip install "msm3d[{extra}]".') + "$"):
        read(tmp_path / name)


def test_reading_imports_no_optional_package():
    code = "import sys, msm3d.io; sys.exit(bool({'laspy', 'trimesh', 'plyfile'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1]).returncode == 0


@pytest.mark.skipif(not SCANS.exists(), reason="the real scans are not beside this checkout")
@pytest.mark.parametrize(
    ("name", "up", "points", "other"),
    [
        ("workshop.ply", "z", 926_544, None),
        ("desk_rgbd.ply", "z", 303_137, None),
        ("chair_lidar.ply", "y", 279_485, "z"),
        ("office_kinect.pcd", "-y", 254_456, "z"),
    ],
)
def test_real_scans(name, up, points, other, recwarn):
    cloud = read(SCANS / name, up=up)
    assert len(cloud) == points
    assert cloud.color.std() > 20
    said = [str(warning.message) for warning in recwarn]
    if name.endswith(".pcd"):
        assert said.pop(0).startswith(
            "52,744 of 307,200 points have no position (NaN) and are dropped, which leaves 254,456 in their order."
        )
        assert (len(cloud.rows), cloud.rows.max() < 307_200) == (points, True)
    assert said == []
    if other:
        read(SCANS / name, up=other)
        said = [str(warning.message) for warning in recwarn]
        assert said[-1] == f"the points look as if {up} were up, not {other}; if so, pass up={up!r}."
    if name == "workshop.ply":
        assert np.unique(cloud.segment).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 255]
