"""Every format against files that other programs' libraries, or a few lines here, write; and files that are wrong."""

import io as streams
import re
import struct
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import laspy
import numpy as np
import plyfile
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from msm3d.errors import DependencyError, FileError, InputError, Msm3dWarning
from msm3d.io import KINDS, as_cloud, read
from msm3d.io.pcd import _unpacked
from msm3d.reading import ReadOptions

SCANS = Path(__file__).parents[2] / "shared" / "scans"
RNG = np.random.default_rng(0)
XYZ = RNG.random((40, 3)).astype(np.float32)
RGB = RNG.integers(0, 256, (40, 3)).astype(np.uint8)
NORMAL = np.tile(np.array([0, 0.6, 0.8], dtype=np.float32), (40, 1))
LABEL = RNG.integers(0, 20, 40).astype(np.uint8)
HUGE = 10**15


def refused(file, message):
    return pytest.raises(FileError, match="^" + re.escape(f"{file}: {message}") + "$")


def same(cloud, color=RGB, normal=NORMAL, segment=LABEL, atol=0.0):
    np.testing.assert_allclose(cloud.coord, XYZ, rtol=0, atol=atol)
    for ours, exact in ((cloud.color, color), (cloud.normal, normal), (cloud.segment, segment)):
        if exact is None:
            assert ours is None
        else:
            np.testing.assert_allclose(ours, exact, rtol=1e-6)
    assert cloud.rows is None


def columns(names):
    """The points as one record each, with these names for x y z, rgb, normal and label."""
    names = names.split()
    kinds = ["f4"] * 3 + ["u1"] * 3 + ["f4"] * 3 + ["u1"]
    table = np.empty(40, dtype=list(zip(names, kinds, strict=True)))
    for i, name in enumerate(names):
        table[name] = np.column_stack([XYZ, RGB, NORMAL, LABEL])[:, i]
    return table


NAMES = "x y z red green blue nx ny nz label"

# PLY


@pytest.mark.parametrize("encoding", ["ascii", "<", ">"])
@pytest.mark.parametrize(
    "names", [NAMES, "x y z r g b normal_x normal_y normal_z segment", "X Y Z R G B NX NY NZ class"]
)
def test_ply(tmp_path, encoding, names):
    vertex = plyfile.PlyElement.describe(columns(names), "vertex", comments=["made here"])
    faces = np.array([([0, 1, 2],), ([2, 3, 4],)], dtype=[("vertex_indices", "i4", (3,))])
    file = tmp_path / "scan.ply"
    elements = [vertex, plyfile.PlyElement.describe(faces, "face")]
    plyfile.PlyData(elements, text=encoding == "ascii", byte_order="=" if encoding == "ascii" else encoding).write(file)
    same(read(file))
    same(read(str(file)))


@pytest.mark.parametrize("text", [True, False])
def test_ply_with_another_element_before_its_vertices(tmp_path, text):
    camera = plyfile.PlyElement.describe(np.array([(1.0, 2)], dtype=[("view", "f8"), ("id", "i2")]), "camera")
    vertex = plyfile.PlyElement.describe(columns(NAMES), "vertex")
    plyfile.PlyData([camera, vertex], text=text).write(tmp_path / "scan.ply")
    same(read(tmp_path / "scan.ply"))


def test_ply_with_float_colours(tmp_path):
    table = np.zeros(2, dtype=[(name, "f8") for name in ("x", "y", "z", "red", "green", "blue")])
    table["red"] = [0.5, 1.0]
    plyfile.PlyData([plyfile.PlyElement.describe(table, "vertex")]).write(tmp_path / "scan.ply")
    assert read(tmp_path / "scan.ply").color.tolist() == [[127.5, 0, 0], [255, 0, 0]]


def ply(file, header, body=b""):
    file.write_bytes(b"ply\n" + header.encode() + b"end_header\n" + body)
    return file


LITTLE = "format binary_little_endian 1.0\n"
VERTEX = "property float x\nproperty float y\nproperty float z\n"


@pytest.mark.parametrize(
    ("header", "body", "message"),
    [
        (
            f"{LITTLE}element vertex {HUGE}\n{VERTEX}",
            bytes(24),
            f"declares {HUGE} points of 12 bytes but holds 24 bytes of them; it is truncated, export it again.",
        ),
        (
            f"format ascii 1.0\nelement vertex {HUGE}\n{VERTEX}",
            b"0 0 0\n",
            f"declares {HUGE} points but holds 6 bytes of them; it is truncated, export it again.",
        ),
        (
            f"{LITTLE}element camera {HUGE}\nproperty double view\nelement vertex 2\n{VERTEX}",
            bytes(24),
            "declares 2 points of 12 bytes but holds 0 bytes of them; it is truncated, export it again.",
        ),
        (
            f"format ascii 1.0\nelement vertex 3\n{VERTEX}",
            b"0 0 0\n1.0000 1.00000 1.00000\n",
            "declares 3 points but holds 2; it is truncated, export it again.",
        ),
        (
            f"format ascii 1.0\nelement vertex 2\n{VERTEX}",
            b"0.000 0.000\n1.000 1.000\n",
            "has lines of 2 values where 3 are declared; export it again.",
        ),
        (f"{LITTLE}element vertex 0\n{VERTEX}", b"", "declares 0 points; there is nothing to read."),
        (
            f"{LITTLE}element vertex -5\n{VERTEX}",
            b"",
            "has the header line 'element vertex -5', which PLY does not know.",
        ),
        (
            f"{LITTLE}element vertex {'9' * 5000}\n{VERTEX}",
            b"",
            f"has the header line 'element vertex {'9' * 65}', which PLY does not know.",
        ),
        (f"{LITTLE}property float x\n", b"", "has the header line 'property float x', which PLY does not know."),
        ("format ternary 1.0\n", b"", "has the header line 'format ternary 1.0', which PLY does not know."),
        (
            f"element vertex 1\n{VERTEX}",
            bytes(12),
            "names no format; one of ascii, binary_little_endian, binary_big_endian is needed.",
        ),
        (
            f"{LITTLE}element face 1\nproperty float x\n",
            bytes(4),
            "has the elements face; a 'vertex' element is needed.",
        ),
        (
            f"{LITTLE}element vertex 1\nproperty float x\nproperty float v\n",
            bytes(8),
            "has the columns x, v; x, y and z are needed.",
        ),
        (
            f"{LITTLE}element face 1\nproperty list uchar int i\nelement vertex 1\n{VERTEX}",
            bytes(99),
            "has the lists of 'face' before its vertices; export it with the vertices first.",
        ),
        (
            f"{LITTLE}element vertex 1\n{VERTEX}property list uchar int i\n",
            bytes(99),
            "has a list among its vertex properties; export it with plain vertex properties.",
        ),
    ],
)
def test_ply_that_is_refused(tmp_path, header, body, message):
    file = ply(tmp_path / "scan.ply", header, body)
    with refused(file, message):
        read(file)


def test_ply_that_is_none(tmp_path):
    file = tmp_path / "scan.ply"
    file.write_bytes(b"PK\x03\x04 something else\n")
    with refused(file, "does not start with 'ply'; it is not a PLY file."):
        read(file)
    file.write_bytes(b"ply\n" + LITTLE.encode() + b"comment " + b"x" * 3_000_000)
    with refused(file, "has no 'end_header'; it is truncated or not a PLY file."):
        read(file)


# PCD


def literal(data):
    """The LZF of `data`, without any compression."""
    return b"".join(bytes([len(data[i : i + 32]) - 1]) + data[i : i + 32] for i in range(0, len(data), 32))


def pcd(file, encoding, packed="F", count=None, compress=literal):
    """Write the points with packed colours, a label and padding."""
    bits = (RGB.astype(np.uint32) << np.array([16, 8, 0], dtype=np.uint32)).sum(1).astype(np.uint32)
    fields = [*XYZ.T, bits.view(np.float32) if packed == "F" else bits, *NORMAL.T, LABEL, np.zeros(40, dtype="u1")]
    header = (
        "# made here\nVERSION 0.7\nFIELDS x y z rgb normal_x normal_y normal_z label _\nSIZE 4 4 4 4 4 4 4 1 1\n"
        f"TYPE F F F {packed} F F F U U\nCOUNT 1 1 1 1 1 1 1 1 1\nWIDTH 40\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\n"
        f"POINTS {count or 40}\nDATA {encoding}\n"
    ).encode()
    if encoding == "ascii":
        lines = [" ".join(repr(field[i].item()) for field in fields) for i in range(40)]
        body = ("\n".join(lines) + "\n").encode()
    elif encoding == "binary":
        record = np.dtype([(f"{i}", field.dtype) for i, field in enumerate(fields)])
        table = np.empty(40, dtype=record)
        for i, field in enumerate(fields):
            table[f"{i}"] = field
        body = table.tobytes()
    else:
        plain = b"".join(field.tobytes() for field in fields)
        body = struct.pack("<II", len(compress(plain)), len(plain)) + compress(plain)
    file.write_bytes(header + body)
    return file


@pytest.mark.parametrize("encoding", ["ascii", "binary", "binary_compressed"])
@pytest.mark.parametrize("packed", ["F", "U"])
def test_pcd(tmp_path, encoding, packed):
    same(read(pcd(tmp_path / "scan.pcd", encoding, packed)))


def test_pcd_without_a_position_for_every_point(tmp_path):
    file = tmp_path / "scan.pcd"
    file.write_text(
        "VERSION .7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nWIDTH 2\nHEIGHT 2\n"
        "DATA ascii\nnan nan nan\n1 2 3\n4 5 nan\n7 8 9\n"
    )
    message = "2 of 4 points have no position (NaN) and are dropped, which leaves 2 in their order. "
    message += "To keep a row for every point, pass invalid='nan'."
    with pytest.warns(Msm3dWarning, match="^" + re.escape(message) + "$"):
        cloud = read(file)
    assert cloud.coord.tolist() == [[1, 2, 3], [7, 8, 9]]
    assert cloud.rows.tolist() == [1, 3]
    file.write_text(file.read_text().replace("1 2 3", "1 2 nan").replace("7 8 9", "inf 8 9"))
    with refused(file, "none of the 4 points has a position (all are NaN); check how they were made."):
        read(file)


@pytest.mark.parametrize("encoding", ["ascii", "binary"])
def test_pcd_with_a_hostile_count(tmp_path, encoding):
    file = pcd(tmp_path / "scan.pcd", encoding, count=HUGE)
    size = {"ascii": "", "binary": " of 30 bytes"}[encoding]
    there = len(file.read_bytes().split(f"DATA {encoding}\n".encode())[1])
    truncated = f"declares {HUGE} points{size} but holds {there} bytes of them; it is truncated, export it again."
    with refused(file, truncated):
        read(file)


def test_pcd_with_hostile_compression(tmp_path):
    file = pcd(tmp_path / "scan.pcd", "binary_compressed", count=HUGE)
    with refused(file, f"declares {HUGE} points of 30 bytes but 1200 uncompressed bytes; export it again."):
        read(file)
    pcd(file, "binary_compressed")
    file.write_bytes(file.read_bytes()[:-300])
    with refused(file, "declares 1238 compressed bytes but holds 938; it is truncated, export it again."):
        read(file)
    for broken in (b"\xff\xff\xff" * 300, b"\x1f\x00" * 99):  # a reference to before the start; runs cut short
        pcd(file, "binary_compressed", compress=lambda _, broken=broken: broken)
        with refused(file, "has compressed data that does not unpack to its declared size; export it again."):
            read(file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("DATA ascii", "DATA zipped"), "has DATA zipped; one of ascii, binary, binary_compressed is needed."),
        (("DATA ascii", "# ascii"), "has no DATA line; it is truncated or not a PCD file."),
        (("FIELDS", "#"), "has no FIELDS line; it is not a PCD file."),
        (
            ("FIELDS x y", "FIELDS x w"),
            "has the columns x, w, z, rgb, normal_x, normal_y, normal_z, label, _8; x, y and z are needed.",
        ),
        (
            ("POINTS 40", "POINTS -1"),
            "has FIELDS, SIZE, TYPE, COUNT or POINTS that do not fit together; export it again.",
        ),
        (("SIZE 4", "SIZE 4 4"), "has FIELDS, SIZE, TYPE, COUNT or POINTS that do not fit together; export it again."),
        (
            ("SIZE 4", "SIZE 3"),
            "has the field x of type F and size 3; one of F4, F8, I1, I2, I4, I8, U1, U2, U4, U8 is needed.",
        ),
        (("POINTS 40", "POINTS 0"), "declares 0 points; there is nothing to read."),
    ],
)
def test_pcd_that_is_refused(tmp_path, change, message):
    file = pcd(tmp_path / "scan.pcd", "ascii")
    file.write_text(file.read_text().replace(*change, 1))
    with refused(file, message):
        read(file)


@settings(max_examples=100, deadline=None)
@given(
    data=st.binary(min_size=1, max_size=200),
    runs=st.lists(st.tuples(st.integers(1, 300), st.integers(1, 264)), max_size=9),
)
def test_lzf_references(data, runs):
    plain, packed = bytearray(data), bytearray(literal(data))
    for distance, length in runs:  # an encoder of references, byte by byte
        distance, length = min(distance, len(plain)), max(length, 3)
        high = (distance - 1) >> 8
        packed += bytes([(length - 2) << 5 | high] if length < 9 else [7 << 5 | high, length - 9])
        packed += bytes([(distance - 1) & 255])
        for _ in range(length):
            plain.append(plain[-distance])
    assert _unpacked(bytes(packed), len(plain)) == plain


# LAS


@pytest.mark.parametrize("kind", ["las", "laz"])
@pytest.mark.parametrize("factor", [1, 257])
def test_las_keeps_large_coordinates_and_both_colour_scales(tmp_path, kind, factor):
    origin = np.array([682244.65, 3444317.77, 31.0])
    header = laspy.LasHeader(point_format=3, version="1.2")
    header.offsets, header.scales = origin, [0.0001] * 3
    las = laspy.LasData(header)
    las.x, las.y, las.z = (XYZ + origin).T
    las.red, las.green, las.blue = RGB.T.astype(np.uint16) * factor
    las.classification = LABEL
    file = tmp_path / f"scan.{kind}"
    las.write(file)
    cloud = read(file)
    np.testing.assert_allclose(cloud.coord - origin, XYZ, atol=0.0001)
    np.testing.assert_allclose(cloud.color, RGB, rtol=1e-6)
    assert cloud.segment.tolist() == LABEL.tolist()
    data = bytearray(file.read_bytes())
    data[107:111] = struct.pack("<I", 2**31)
    file.write_bytes(data)
    if kind == "las":
        message = f"declares {2**31} points of 34 bytes but holds 1360 bytes of them; it is truncated, export it again."
        with refused(file, message):
            read(file)
    else:
        with pytest.raises(FileError, match=re.escape(str(file))):
            read(file)


def test_las_without_colour_and_las_that_is_none(tmp_path):
    las = laspy.LasData(laspy.LasHeader(point_format=6, version="1.4"))
    las.x, las.y, las.z = XYZ.T
    las.write(tmp_path / "scan.las")
    assert read(tmp_path / "scan.las").color is None
    file = tmp_path / "other.las"
    file.write_bytes(b"no point cloud at all")
    with refused(file, "does not start with 'LASF' and a header; it is not a LAS file."):
        read(file)
    data = bytearray((tmp_path / "scan.las").read_bytes())
    data[100:104] = struct.pack("<I", 2**31)  # records before the points
    file.write_bytes(data)
    with refused(file, "has a header that declares more than the file holds; it is truncated, export it again."):
        read(file)


# Arrays


def test_npz_and_npy(tmp_path):
    np.savez(tmp_path / "a.npz", coord=XYZ, color=RGB, normal=NORMAL, segment=LABEL, other=np.zeros(3))
    same(read(tmp_path / "a.npz"))
    np.savez_compressed(tmp_path / "b.npz", xyz=np.asfortranarray(XYZ), colors=RGB)
    same(read(tmp_path / "b.npz"), normal=None, segment=None)
    np.save(tmp_path / "c.npy", np.hstack([XYZ, RGB, NORMAL]))
    same(read(tmp_path / "c.npy"), segment=None)
    np.save(tmp_path / "d.npy", columns(NAMES))
    same(read(tmp_path / "d.npy"))


def npy(header):
    text = repr(header).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def test_arrays_with_hostile_sizes(tmp_path):
    data = npy({"descr": "<f8", "fortran_order": False, "shape": (HUGE, 3)}) + bytes(48)
    message = (
        f"declares an array of shape ({HUGE}, 3), {HUGE * 24} bytes, but holds 48; it is truncated, save it again."
    )
    (tmp_path / "a.npy").write_bytes(data)
    with refused(tmp_path / "a.npy", message):
        read(tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("coord.npy", data)
    with refused(tmp_path / "b.npz", message):
        read(tmp_path / "b.npz")
    raw = (tmp_path / "b.npz").read_bytes()
    at = raw.index(b"PK\x01\x02") + 24  # the size that the archive's directory declares
    (tmp_path / "b.npz").write_bytes(raw[:at] + struct.pack("<I", 2**31) + raw[at + 4 :])
    with refused(tmp_path / "b.npz", f"declares {2**31} bytes for 'coord', more than it can hold; export it again."):
        read(tmp_path / "b.npz")


class Trap:
    """What a pickle could do on being read."""

    def __reduce__(self):
        return exec, ("raise SystemExit('unpickled')",)


def test_nothing_is_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([Trap()], dtype=object))
    np.savez(tmp_path / "b.npz", coord=np.array([Trap()], dtype=object))
    for name in ("a.npy", "b.npz"):
        with refused(tmp_path / name, "holds Python objects, which are never unpickled; save plain arrays of numbers."):
            read(tmp_path / name)
    torch.save({"coord": XYZ, "trap": Trap()}, tmp_path / "c.pth")
    with pytest.raises(
        FileError, match=r"c\.pth: is not a dictionary of plain arrays .*; save its arrays with np\.savez\("
    ):
        read(tmp_path / "c.pth")


def test_npz_without_points(tmp_path):
    np.savez(tmp_path / "a.npz", feat=XYZ)
    with refused(tmp_path / "a.npz", "holds 'feat'; an array named 'coord' or 'coords' or 'xyz' is needed."):
        read(tmp_path / "a.npz")


@pytest.mark.parametrize("zipped", [True, False])
def test_the_authors_scenes(tmp_path, zipped):
    scene = {"coord": XYZ, "color": RGB, "normal": NORMAL, "segment20": LABEL.astype(np.int64), "name": "scene0000_00"}
    torch.save(scene, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    same(read(tmp_path / "a.pth"))
    torch.save({"coord": torch.from_numpy(XYZ), "color": torch.from_numpy(RGB)}, tmp_path / "b.pt")
    same(read(tmp_path / "b.pt"), normal=None, segment=None)
    raw = streams.BytesIO()
    torch.save(scene, raw, _use_new_zipfile_serialization=False)
    older = raw.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")  # as numpy 1 wrote it
    (tmp_path / "c.pth").write_bytes(older)
    same(read(tmp_path / "c.pth"))


def test_torch_files_that_are_no_scene(tmp_path):
    torch.save([1, 2], tmp_path / "a.pth")
    with refused(tmp_path / "a.pth", "holds a list; a dictionary with 'coord', 'color' and 'normal' is needed."):
        read(tmp_path / "a.pth")
    torch.save({"state_dict": torch.zeros(3)}, tmp_path / "b.pth")
    message = "the points have 'state_dict'; give 'coord' (n, 3), and 'color' and 'normal' where you have them."
    with refused(tmp_path / "b.pth", message):
        read(tmp_path / "b.pth")


# Text


@pytest.mark.parametrize(
    ("name", "text", "color", "normal"),
    [
        ("a.xyz", "0 0 0\n1 2 3\n", None, None),
        ("a.xyz", "\ufeff0 0 0 255 0 0\r\n1 2 3 0 9 0\r\n\r\n", [[255, 0, 0], [0, 9, 0]], None),
        ("a.txt", "# a scan\n0\t0\t0\t255\t0\t0\n  1\t2\t3\t0\t9\t0", [[255, 0, 0], [0, 9, 0]], None),
        ("a.txt", "// X Y Z R G B\n0 0 0 255 0 0\n1 2 3 0 9 0\n", [[255, 0, 0], [0, 9, 0]], None),
        ("a.csv", '"x","y","z","nx","ny","nz"\n0,0,0,0,0,2\n1,2,3,1,0,0\n', None, [[0, 0, 1], [1, 0, 0]]),
        ("a.csv", "b,x,y,z,r,g\n0, 0, 0, 0, 255, 0\n0, 1, 2, 3, 0, 9\n", [[255, 0, 0], [0, 9, 0]], None),
        ("a.csv", "0;0;0\n1;2;3\n", None, None),
        ("a.pts", "2\n0 0 0 -900\n1 2 3 20\n", None, None),
        ("a.pts", "2\n0 0 0 -900 255 0 0\n1 2 3 20 0 9 0\n", [[255, 0, 0], [0, 9, 0]], None),
        ("a.xyz", "0 0 0 0 0 -1\n1 2 3 1 0 0\n", None, [[0, 0, -1], [1, 0, 0]]),
        ("a.xyz", "0 0 0 255 0 0 0 0 1\n1 2 3 0 9 0 1 0 0\n", [[255, 0, 0], [0, 9, 0]], [[0, 0, 1], [1, 0, 0]]),
    ],
)
def test_text(tmp_path, name, text, color, normal):
    file = tmp_path / name
    file.write_bytes(text.encode())
    cloud = read(file)
    assert cloud.coord.tolist() == [[0, 0, 0], [1, 2, 3]]
    assert (cloud.color if cloud.color is None else cloud.color.tolist()) == color
    assert (cloud.normal if cloud.normal is None else cloud.normal.tolist()) == normal


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.xyz", "a b c\n", "has the line 'a b c'; give numbers, after at most one line of column names."),
        (
            "a.xyz",
            "# nothing\n\n",
            "holds no line of numbers; give one point per line: x y z, or x y z red green blue.",
        ),
        (
            "a.xyz",
            "0 0\n1 1\n",
            "has 2 columns; give 3 (xyz), 4 (xyz, intensity), 6 (xyz, rgb), 7 (xyz, intensity, rgb), "
            "9 (xyz, rgb, normal), or a first line with their names.",
        ),
        ("a.csv", "x,y,z,r\n0,0,0\n", "names 4 columns but its lines have 3; give one name per column."),
        (
            "a.pts",
            f"{HUGE}\n0 0 0\n",
            f"declares {HUGE} points but holds 6 bytes of them; it is truncated, export it again.",
        ),
        (
            "a.xyz",
            "0 0 0\n1 2 x\n",
            "has a line that is not 3 numbers (could not convert string 'x' to float64 at row 1, column 3); "
            "correct or remove it.",
        ),
        (
            "a.xyz",
            "0 0 0 70000 0 0\n0 0 0 9 9 9",
            "color has 1 row outside 0 to 65535 (first: row 0, 70000, 0, 0); "
            "give 0-255, or floats within 0-1, for example 255 * color / color.max().",
        ),
    ],
)
def test_text_that_is_refused(tmp_path, name, text, message):
    file = tmp_path / name
    file.write_text(text)
    with refused(file, message):
        read(file)


# Meshes


@pytest.mark.parametrize("kind", ["obj", "glb", "stl", "gltf"])
def test_mesh_vertices(tmp_path, kind):
    box = trimesh.creation.box()
    if kind != "stl":
        box.visual.vertex_colors = np.tile([10, 20, 30, 255], (8, 1)).astype(np.uint8)
    if kind == "gltf":
        for name, data in trimesh.exchange.gltf.export_gltf(trimesh.Scene(box)).items():
            (tmp_path / name.replace("model", "scan")).write_bytes(data)
    else:
        box.export(tmp_path / f"scan.{kind}")
    cloud = read(tmp_path / f"scan.{kind}")
    assert sorted(cloud.coord.tolist()) == sorted(box.vertices.tolist())
    if kind == "stl":
        assert cloud.color is None
    else:
        np.testing.assert_allclose(cloud.color, [[10, 20, 30]] * 8, atol=0.01)
    np.testing.assert_allclose(np.sign(cloud.normal), np.sign(cloud.coord))


def test_meshes_of_several_parts_keep_their_places(tmp_path):
    scene = trimesh.Scene()
    scene.add_geometry(trimesh.creation.box())
    scene.add_geometry(trimesh.creation.box(), transform=trimesh.transformations.translation_matrix([5, 0, 0]))
    scene.export(tmp_path / "scan.glb")
    cloud = read(tmp_path / "scan.glb")
    assert len(cloud) == 16
    assert (cloud.coord[:, 0].min(), cloud.coord[:, 0].max()) == (-0.5, 5.5)


def test_meshes_that_are_none(tmp_path):
    for kind in ("glb", "stl", "gltf"):
        file = tmp_path / f"scan.{kind}"
        file.write_bytes(b"no mesh at all, but long enough to look for a header in it" * 4)
        with pytest.raises(FileError, match=re.escape(str(file))):
            read(file)


# What is true of all


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
    np.savez(folder / "a.npz", coord=XYZ, color=RGB)
    np.save(folder / "a.npy", XYZ)
    for kind in ("pth", "pt"):
        torch.save({"coord": XYZ, "color": RGB}, folder / f"a.{kind}")
    for kind in ("txt", "xyz", "pts"):
        np.savetxt(folder / f"a.{kind}", XYZ)
    np.savetxt(folder / "a.csv", XYZ, delimiter=",")
    box = trimesh.creation.box()
    for kind in ("obj", "glb", "stl"):
        box.export(folder / f"a.{kind}")
    (folder / "a.gltf").write_bytes(trimesh.exchange.gltf.export_gltf(trimesh.Scene(box))["model.gltf"])
    return {kind: (folder / f"a{kind}").read_bytes() for kind in KINDS}


def test_paths_that_are_refused(tmp_path):
    kinds = ".ply, .pcd, .las, .laz, .npz, .npy, .pth, .pt, .txt, .xyz, .pts, .csv, .obj, .glb, .gltf, .stl"
    with refused(tmp_path / "scan.ply", "does not exist; check the path."):
        read(tmp_path / "scan.ply")
    with refused(tmp_path, f"is a directory; give one file: {kinds}."):
        read(tmp_path)
    with refused(tmp_path / "scan.e57", f"is of a kind that msm3d does not read; give one of {kinds}."):
        read(tmp_path / "scan.e57")
    for kind in KINDS:
        file = tmp_path / f"scan{kind}"
        file.touch()
        with refused(file, "is empty (0 bytes); export it again."):
            read(file)


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
    [("laspy", "scan.las", "las"), ("laspy", "scan.laz", "las"), ("trimesh", "scan.glb", "mesh")],
)
def test_missing_packages_are_named(tmp_path, monkeypatch, package, name, extra):
    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / name).write_bytes(b"anything")
    with pytest.raises(DependencyError, match=re.escape(f'; type: pip install "msm3d[{extra}]".') + "$"):
        read(tmp_path / name)


def test_reading_imports_no_optional_package():
    code = "import sys, msm3d.io; sys.exit(bool({'laspy', 'trimesh', 'plyfile'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1]).returncode == 0


# Real scans


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
