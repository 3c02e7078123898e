"""PLY, as plyfile and a few lines here write it; and what is none."""


import numpy as np
import plyfile
import pytest
from files import HUGE, NAMES, columns, refused, same

from msm3d.io import read


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
