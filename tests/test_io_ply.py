"""PLY, as plyfile and a few lines here write it; and what is none."""

import numpy as np
import plyfile
import pytest

from msm3d.errors import Msm3dWarning
from msm3d.io import read
from msm3d.io.reading import opened
from msm3d.scan.options import ReadOptions
from tests.files import HUGE, NAMES, columns, refused, same


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
            "has the header line 'element vertex -5', which PLY does not know; export it again.",
        ),
        (
            f"{LITTLE}element vertex {'9' * 5000}\n{VERTEX}",
            b"",
            f"has the header line 'element vertex {'9' * 65}', which PLY does not know; export it again.",
        ),
        (
            f"{LITTLE}property float x\n",
            b"",
            "has the header line 'property float x', which PLY does not know; export it again.",
        ),
        (
            "format ternary 1.0\n",
            b"",
            "has the header line 'format ternary 1.0', which PLY does not know; export it again.",
        ),
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
    with refused(file, "has no 'end_header', so it is truncated or not a PLY file; export it again."):
        read(file)


@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("name", ["rgb", "rgba"])
@pytest.mark.parametrize("kind", ["u4", "i4", "f4"])
def test_ply_with_packed_colours(tmp_path, text, name, kind):
    bits = np.array([0x966946, 0x0000FF], dtype=np.uint32)
    table = np.zeros(2, dtype=[(axis, "f4") for axis in "xyz"] + [(name, kind)])
    table["x"], table[name] = [0, 1], bits.view(kind)
    file = tmp_path / "scan.ply"
    plyfile.PlyData([plyfile.PlyElement.describe(table, "vertex")], text=text).write(file)
    assert read(file).color.tolist() == [[150, 105, 70], [0, 0, 255]]


def splats(file, n=4):
    names = [*"xyz", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"]
    table = np.zeros(n, dtype=[(name, "f4") for name in names])
    table["x"] = range(n)
    table["f_dc_0"] = (np.array([0.2, 1.2, -0.2, 1]) - 0.5) / 0.28209479177387814
    table["opacity"] = [-2.2, 0, 2.2, 9]  # 0.1, 0.5, 0.9 and 1 behind the sigmoid
    plyfile.PlyData([plyfile.PlyElement.describe(table, "vertex")]).write(file)
    return file


def test_gaussian_splats(tmp_path):
    file = splats(tmp_path / "scan.ply")
    found = opened(file, ReadOptions())
    gray = [127.5, 127.5]
    np.testing.assert_allclose(found["color"], [[51, *gray], [255, *gray], [0, *gray], [255, *gray]], rtol=1e-6)
    assert (found["normal"] == 0).all()  # as the file says: PointCloud knows that this is none
    found = opened(file, ReadOptions(min_opacity=0.4))
    assert found["coord"][:, 0].tolist() == [1, 2, 3]
    assert (found["rows"].tolist(), found["total"]) == ([1, 2, 3], 4)
    assert "rows" not in opened(file, ReadOptions(min_opacity=0.05))
    with refused(file, "has no splat as opaque as 1; pass a smaller min_opacity=."):
        read(file, min_opacity=1)


def test_rows_of_opaque_splats_without_a_position(tmp_path):
    file = tmp_path / "scan.ply"
    head = f"format ascii 1.0\nelement vertex 4\n{VERTEX}property float opacity\n"
    ply(file, head, b"0 0 1 -9\n1 0 0 9\nnan 0 0 9\n3 0 0 9\n")
    with pytest.warns(Msm3dWarning, match="1 of 3 points has no position"):
        assert read(file, min_opacity=0.5).rows.tolist() == [1, 3]


def test_an_opacity_that_is_not_there(tmp_path):
    (tmp_path / "scan.xyz").write_text("0 0 0\n")
    ply(tmp_path / "scan.ply", f"format ascii 1.0\nelement vertex 1\n{VERTEX}", b"0 0 0\n")
    for name in ("scan.xyz", "scan.ply"):
        with refused(tmp_path / name, "has no opacity; leave min_opacity= out."):
            read(tmp_path / name, min_opacity=0.1)


CORNERS = [(x, y, z) for x in (0, 6) for y in (0, 4) for z in (0, 2.5)]
SIDES = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]


def box(file, faces=SIDES, encoding="ascii", more=""):
    """Write a box with a label, and a number behind each face."""
    vertex = np.array([(*corner, 7) for corner in CORNERS], dtype=[(axis, "f4") for axis in "xyz"] + [("label", "u1")])
    face = np.empty(len(faces), dtype=[("vertex_indices", "O"), ("flags", "i4")])
    face["vertex_indices"] = [np.array(corners, dtype="i4") for corners in faces]
    face["flags"] = 5
    elements = [plyfile.PlyElement.describe(vertex, "vertex"), plyfile.PlyElement.describe(face, "face")]
    order = "=" if encoding == "ascii" else encoding
    plyfile.PlyData(elements, text=encoding == "ascii", byte_order=order).write(file)
    return file


TRIANGLES = [[a, b, c] for a, b, c, d in SIDES] + [[a, c, d] for a, b, c, d in SIDES]
MIXED = [SIDES[0], *[[a, b, c] for a, b, c, d in SIDES[1:]], *[[a, c, d] for a, b, c, d in SIDES[1:]]]


@pytest.mark.parametrize("encoding", ["ascii", "<", ">"])
@pytest.mark.parametrize("faces", [SIDES, TRIANGLES, MIXED])
def test_ply_with_faces(tmp_path, encoding, faces):
    file = box(tmp_path / "scan.ply", faces, encoding)
    assert read(file, mesh="vertices").coord.tolist() == [list(map(float, corner)) for corner in CORNERS]
    with pytest.warns(
        Msm3dWarning, match=r"scan\.ply: its 8 vertices are far apart \(\d\.\d m\), so [\d,]+ points were spread"
    ):
        cloud = read(file, spacing=0.1)
    assert len(cloud) == pytest.approx(2 * (24 + 15 + 10) / 0.05**2, abs=1)
    assert (cloud.segment == 7).all()
    out = (cloud.coord - [3, 2, 1.25]) * cloud.normal
    np.testing.assert_allclose(out.sum(1), np.abs(cloud.normal) @ [3, 2, 1.25], atol=1e-5)


def test_ply_with_faces_that_are_wrong(tmp_path):
    file = box(tmp_path / "scan.ply", encoding="<")
    whole = file.read_bytes()
    file.write_bytes(whole[:-7])
    cure = "or pass mesh='vertices' to read its vertices alone."
    with refused(file, f"has faces that are not whole; it is truncated, export it again, {cure}"):
        read(file)
    assert len(read(file, mesh="vertices")) == 8
    file.write_bytes(whole.replace(b"element face 6", f"element face {HUGE}".encode()))
    there = 6 * (1 + 16 + 4)
    message = f"declares {HUGE} faces but holds {there} bytes of them; it is truncated, export it again, {cure}"
    with refused(file, message):
        read(file)
    box(file, [[0, 1, 8]])
    with refused(file, f"has faces with vertices that are none of its 8; export it again, {cure}"):
        read(file)
    ply(file, f"format ascii 1.0\nelement vertex 1\n{VERTEX}", b"0 0 0\n")
    with refused(file, "has no faces to sample; leave mesh= out to take its vertices."):
        read(file, mesh="surface")


def test_text_may_have_a_property_twice(tmp_path):
    names = "".join(f"property float {name}\n" for name in ("x", "y", "z", "more", "more"))
    file = tmp_path / "scan.ply"
    file.write_text(f"ply\nformat ascii 1.0\nelement vertex 2\n{names}end_header\n1 2 3 4 5\n6 7 8 9 0\n")
    assert read(file).coord.tolist() == [[1, 2, 3], [6, 7, 8]]
