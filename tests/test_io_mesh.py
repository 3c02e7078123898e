"""Meshes: their vertices, or their surface."""

import json
import re
import struct

import numpy as np
import pytest
import trimesh
from PIL import Image

from msm3d.errors import DependencyError, FileError, Msm3dWarning
from msm3d.io import read, surface
from msm3d.io.reading import opened
from msm3d.scan.options import ReadOptions
from tests.files import refused

CORNERS = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
FACES = [[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]  # a tetrahedron, seen from outside


def content(file, **options):
    return opened(file, ReadOptions(**options))


def vertices(file, **options):
    return read(file, mesh="vertices", **options)


def linear(color):
    """What glTF stores for a colour that a picture shows: the definition of sRGB."""
    value = np.asarray(color) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


# Every format


@pytest.mark.parametrize("kind", ["obj", "glb", "stl", "gltf", "off"])
def test_mesh_vertices(tmp_path, kind):
    box = trimesh.creation.box()
    if kind not in ("stl", "off"):
        box.visual.vertex_colors = np.tile([10, 20, 30, 255], (8, 1)).astype(np.uint8)
    if kind == "gltf":
        for name, data in trimesh.exchange.gltf.export_gltf(trimesh.Scene(box)).items():
            (tmp_path / name.replace("model", "scan")).write_bytes(data)
    else:
        box.export(tmp_path / f"scan.{kind}")
    cloud = vertices(tmp_path / f"scan.{kind}", up="z")
    assert sorted(cloud.coord.tolist()) == sorted(box.vertices.tolist())
    if kind in ("stl", "off"):
        assert cloud.color is None
    elif kind == "obj":
        np.testing.assert_allclose(cloud.color, [[10, 20, 30]] * 8, atol=0.01)
    else:  # glTF's are linear, and trimesh writes them as they are
        np.testing.assert_allclose(linear(cloud.color), [[10 / 255, 20 / 255, 30 / 255]] * 8, atol=2e-3)
    np.testing.assert_allclose(np.sign(cloud.normal), np.sign(cloud.coord))


def test_ascii_stl_is_read_as_binary(tmp_path):
    box = trimesh.creation.box()
    (tmp_path / "a.stl").write_text(box.export(file_type="stl_ascii"))
    box.export(tmp_path / "b.stl")
    a, b = (vertices(tmp_path / name) for name in ("a.stl", "b.stl"))
    assert a.coord.tolist() == b.coord.tolist()
    assert len(a) == 8


@pytest.mark.parametrize("kind", ["glb", "stl", "gltf", "off", "obj"])
def test_meshes_that_are_none(tmp_path, kind):
    file = tmp_path / f"scan.{kind}"
    file.write_bytes(b"no mesh at all, but long enough to look for a header in it" * 4)
    with pytest.raises(FileError, match=re.escape(str(file))):
        read(file)


def test_all_points_at_one_place_are_refused(tmp_path):
    file = tmp_path / "scan.obj"
    file.write_text("v 1 2 3\n" * 5 + "f 1 2 3\n")
    with refused(file, "has all of its 5 points at one place; export it again."):
        read(file)


# The surface


def grid(file, edge, count=20):
    """Write a flat square of count x count vertices."""
    lines = [f"v {x * edge} {y * edge} 0" for y in range(count) for x in range(count)]
    for y in range(count - 1):
        for x in range(count - 1):
            a = y * count + x + 1
            lines += [f"f {a} {a + 1} {a + count}", f"f {a + 1} {a + count + 1} {a + count}"]
    file.write_text("\n".join(lines))
    return file


@pytest.mark.parametrize(("edge", "spacing"), [(0.03, 0.05), (0.02, 0.02), (0.035, 0.02)])
def test_vertices_stay_where_they_are_dense(tmp_path, edge, spacing):
    cloud = read(grid(tmp_path / "scan.obj", edge), spacing=spacing)
    assert len(cloud) == 400
    assert cloud.coord[1].tolist() == [edge, 0, 0]


def test_units_count_for_what_is_dense(tmp_path):
    assert len(read(grid(tmp_path / "scan.obj", 30), units="mm", spacing=0.05)) == 400


def test_the_surface_is_sampled_where_vertices_are_far_apart(tmp_path):
    file = tmp_path / "scan.off"
    trimesh.creation.box((6, 4, 2.6)).export(file)
    with pytest.warns(
        Msm3dWarning, match=r"scan\.off: its 8 vertices are far apart \(6\.5 m\), so [\d,]+ points were "
    ) as said:
        cloud = read(file, spacing=0.1)
    assert str(said[0].message).endswith(
        " spread over its surface, 0.05 m apart, and row i is not vertex i; pass mesh='vertices' to take the vertices."
    )
    assert len(cloud) == pytest.approx(2 * (24 + 15.6 + 10.4) / 0.05**2, abs=1)
    half = np.array([3, 2, 1.3])
    on = np.isclose(np.abs(cloud.coord), half, rtol=0, atol=1e-9)
    assert on.any(1).all()
    for axis, area in enumerate((10.4, 15.6, 24)):  # each side has its share
        assert on[:, axis].mean() == pytest.approx(area / 50, abs=0.002)
    np.testing.assert_allclose((cloud.normal * cloud.coord).sum(1), np.abs(cloud.coord[on]), atol=1e-5)  # outwards
    cells = np.unique(np.floor((cloud.coord + half) / 0.1), axis=0)
    assert len(cells) > 0.97 * 2 * (60 * 40 + 60 * 26 + 40 * 26)  # evenly: hardly a voxel of the surface is empty
    again = read(file, spacing=0.1, mesh="surface")  # asked for: nothing is said
    assert np.array_equal(again.coord, cloud.coord)


def test_colours_are_interpolated(tmp_path):
    file = tmp_path / "scan.obj"
    file.write_text("v 0 0 0 250 0 10\nv 1 0 0 0 250 10\nv 0 1 0 0 0 10\nf 1 2 3\n")
    cloud = read(file, mesh="surface")
    x, y = cloud.coord[:, :2].T
    np.testing.assert_allclose(cloud.color, np.stack([250 * (1 - x - y), 250 * x, 10 + 0 * x], 1), atol=0.01)
    assert (cloud.normal == [0, 0, 1]).all()


def test_a_surface_that_is_not_there_or_too_large(tmp_path):
    file = tmp_path / "scan.obj"
    file.write_text("v 0 0 0\nv 1 0 0\n")
    with refused(file, "has no faces to sample; leave mesh= out to take its vertices."):
        read(file, mesh="surface")
    file.write_text("v 0 0 0\nv 6000 0 0\nv 0 6000 0\nf 1 2 3\n")
    message = (
        "has a surface of 1.8e+07 m², too much to sample; "
        "pass units= if it is not in metres, or mesh='vertices' to take its vertices."
    )
    with refused(file, message):
        read(file)


def test_a_surface_gets_no_more_points_than_there_is_room_for(tmp_path, monkeypatch):
    monkeypatch.setattr(surface, "_MOST", 1000)
    file = tmp_path / "scan.obj"
    file.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    with pytest.warns(Msm3dWarning, match=r"so 1,000 points were spread over its surface, 0\.022 m apart"):
        assert len(read(file)) == 1000


# OBJ


@pytest.mark.parametrize(
    ("text", "coord", "color"),
    [
        ("v 0 0 0 200 100 50\nv 1 0 0 200 100 51\n", [[0, 0, 0], [1, 0, 0]], [[200, 100, 50], [200, 100, 51]]),
        ("v 0 0 0 1.0 0.5 0\nv 1 0 0 0 0 1\n", [[0, 0, 0], [1, 0, 0]], [[255, 127.5, 0], [0, 0, 255]]),
        ("v 0 0 0 1\r\nv 1 2 3 1 # end\r\n", [[0, 0, 0], [1, 2, 3]], None),
        ("# v 9 9 9\nv 0 0 \\\n0\n\n\tv  1 2 3\nvp 1 2\n", [[0, 0, 0], [1, 2, 3]], None),
        ("v 0 0 0 1 255 0 9\nv 1 2 3 1 0 8 9\n", [[0, 0, 0], [1, 2, 3]], [[255, 0, 9], [0, 8, 9]]),
        ("v 0 0 0 250 0 9 1\nv 1 2 3 0 8 9 1\n", [[0, 0, 0], [1, 2, 3]], [[250, 0, 9], [0, 8, 9]]),
    ],
)
def test_obj_has_one_row_per_v_line(tmp_path, text, coord, color):
    file = tmp_path / "scan.obj"
    file.write_bytes(text.encode())
    cloud = read(file)
    assert cloud.coord.tolist() == coord
    assert (cloud.color if cloud.color is None else cloud.color.tolist()) == color


def test_obj_with_colours_for_some_vertices(tmp_path):
    file = tmp_path / "scan.obj"
    file.write_text("v 0 0 0 250 0 9\nv 1 2 3\n")
    assert np.array_equal(content(file)["color"], [[250, 0, 9], [np.nan] * 3], equal_nan=True)


@pytest.mark.parametrize("face", ["{}", "{}/{}", "{}//{}", "{}/{}/{}"])
def test_obj_with_many_materials_keeps_its_v_lines(tmp_path, face):
    places = np.random.default_rng(0).random((300, 3)).round(6)
    lines = [f"v {x} {y} {z}\nvt 0 0\nvn 0 0 2" for x, y, z in places.tolist()]
    for i in range(298):
        lines.append(
            f"usemtl m{i % 60}\nf " + " ".join(face.format(*[j] * face.count("{")) for j in range(i + 1, i + 4))
        )
    file = tmp_path / "scan.obj"
    file.write_text("\n".join(lines))
    cloud = vertices(file)
    assert cloud.coord.tolist() == places.tolist()
    assert cloud.color is None
    if face.count("/") == 2:  # their normals, else those of the faces
        assert (cloud.normal == [0, 0, 1]).all()


@pytest.mark.parametrize("faces", ["f -4 -2 -3\nf 1 2 4\n", "f 1 3 2\nf 1/1 2 4\n", "f 1 3 2\nf 1 2 4 4\n"])
def test_obj_faces_of_every_form(tmp_path, faces):
    file = tmp_path / "scan.obj"
    file.write_text("".join(f"v {x} {y} {z}\n" for x, y, z in CORNERS) + "vt 0 0\n" + faces)
    normal = vertices(file).normal
    np.testing.assert_allclose(normal[2:], [[0, 0, -1], [0, -1, 0]], atol=1e-6)


def test_obj_normals_without_faces(tmp_path):
    file = tmp_path / "scan.obj"
    file.write_text("vn 0 0 1\nv 0 0 0\nvn 0 3 0\nv 1 0 0\n")
    assert read(file).normal.tolist() == [[0, 0, 1], [0, 1, 0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("v \nf \n", "has 'v' lines of 0 numbers; x, y and z are needed."),
        ("f 1 2 3\n", "has no 'v' line; there are no points to read."),
        ("v 1 2\n", "has 'v' lines of 2 numbers; x, y and z are needed."),
        ("v 0 0 0\nf 1 2 3\n", "has faces with vertices that are none of its 1; export it again."),
        ("v 0 0 0\nf -2 -2 1\n", "has faces with vertices that are none of its 1; export it again."),
        (
            "v 0 0 0\nv 0 1 x\n",
            "has a 'v' line that is not numbers (could not convert string to float: b'x'); export it again.",
        ),
        ("v 0 0 0\nv 0 " + "1 " * 99 + "\n", "has a 'v' line of 100 numbers; export it again."),
    ],
)
def test_obj_that_is_refused(tmp_path, text, message):
    file = tmp_path / "scan.obj"
    file.write_text(text)
    with refused(file, message):
        read(file)


QUAD = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
PIXELS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [9, 9, 9]]], dtype=np.uint8)  # the first row on top


def test_obj_with_a_texture_and_a_plain_colour(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a picture.png")
    (tmp_path / "a.mtl").write_text("newmtl p\nKd 1 1 1\nmap_Kd a picture.png\nnewmtl q\nKd 0.2 0.4 1\n")
    file = tmp_path / "scan.obj"
    file.write_text("mtllib a.mtl\n" + QUAD + "v 5 5 5\nusemtl p\nf 1/1 2/2 3/3 4/4\nusemtl q\nf 5 3 4\n")
    assert vertices(file).color.tolist() == [[0, 0, 255], [9, 9, 9], [0, 255, 0], [255, 0, 0], [51, 102, 255]]
    cloud = read(file, mesh="surface", spacing=0.1)
    flat = cloud.coord[:, 2] == 0
    for x, y, color in ((0, 0, [0, 0, 255]), (1, 0, [9, 9, 9]), (1, 1, [0, 255, 0]), (0, 1, [255, 0, 0])):
        quarter = flat & (np.floor(cloud.coord[:, 0] * 2) == x) & (np.floor(cloud.coord[:, 1] * 2) == y)
        assert quarter.sum() > 90
        assert (cloud.color[quarter] == color).all()
    assert (cloud.color[~flat] == [51, 102, 255]).all()


def test_obj_without_its_materials_or_texture(tmp_path):
    file = tmp_path / "scan.obj"
    file.write_text("mtllib C:\\temp\\a.mtl\n" + QUAD + "usemtl p\nf 1/1 2/2 3/3\n")
    name = "C:\\temp\\a.mtl"
    cure = "for its colours, not found beside it; put it there."
    with pytest.warns(Msm3dWarning, match=re.escape(f"{file}: names {name!r} {cure}")):
        assert vertices(file).color is None
    (tmp_path / "a.mtl").write_text("newmtl p\nmap_Kd -s 1 1 1 a.jpg\n")
    with pytest.warns(Msm3dWarning, match=re.escape(f"{file}: names 'a.jpg' {cure}")):
        assert vertices(file).color is None
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(FileError, match=r"has the texture .* which is not a readable picture"):
        vertices(file)


def test_textures_need_pillow(tmp_path, monkeypatch):
    test_obj_with_a_texture_and_a_plain_colour(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(
        DependencyError, match=re.escape('reading textures needs Pillow; type: pip install "msm3d[mesh]".')
    ):
        read(tmp_path / "scan.obj")


# OFF


@pytest.mark.parametrize("head", ["OFF\n4 4 0\n", "# made here\nOFF 4 4 6\n", "OFF\n\n4 4\n"])
def test_off(tmp_path, head):
    file = tmp_path / "scan.off"
    rows = [" ".join(map(str, row)) for row in CORNERS] + ["3 " + " ".join(map(str, face)) for face in FACES]
    file.write_text(head + "\n".join(rows))
    cloud = vertices(file)
    assert cloud.coord.tolist() == CORNERS
    assert (cloud.normal @ np.full(3, 1) < 0).tolist() == [True, False, False, False]


def test_off_with_colours_and_normals(tmp_path):
    file = tmp_path / "scan.off"
    file.write_text("COFF\n2 0 0\n0 0 0 10 20 30 255\n1 0 0 40 50 60 255\n")
    assert read(file).color.tolist() == [[10, 20, 30], [40, 50, 60]]
    file.write_text("CNOFF\n2 0 0\n0 0 0 0 0 1 10 20 30 255\n1 0 0 0 1 0 40 50 60 255\n")
    assert read(file).color.tolist() == [[10, 20, 30], [40, 50, 60]]
    assert read(file).normal.tolist() == [[0, 0, 1], [0, 1, 0]]
    file.write_text("OFF\n4 2 0\n0 0 0\n1 0 0\n0 1 0\n0 0 1\n3 0 1 2 10 20 30\n3 3 3 3 0.2 0.4 1\n")
    assert vertices(file).color.tolist() == [[10, 20, 30]] * 3 + [[51, 102, 255]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("OFF BINARY\n", "does not start with 'OFF', followed by text; export it as ascii OFF, or as PLY."),
        ("OFF\nx y\n", "does not declare its numbers of vertices and faces; export it again."),
        ("OFF\n9 0 0\n0 0 0\n", "declares 9 vertices and 0 faces but holds 1 lines; it is truncated, export it again."),
        ("OFF\n0 0 0\n", "declares 0 vertices; there is nothing to read."),
        ("OFF\n1 1 0\n0 0 0\n3 0 1\n", "has a face with fewer vertices than it declares; export it again."),
        ("OFF\n1 1 0\n0 0 0\n3 0 1 2\n", "has faces with vertices that are none of its 1; export it again."),
        ("COFF\n1 0 0\n0 0 0\n", "has vertices of 3 numbers, fewer than its first line says; export it again."),
    ],
)
def test_off_that_is_refused(tmp_path, text, message):
    file = tmp_path / "scan.off"
    file.write_text(text)
    with refused(file, message):
        read(file)


# glTF


class Asset:
    """A glTF file in the making."""

    def __init__(self):
        self.data = b""
        self.json = {"asset": {"version": "2.0"}, "bufferViews": [], "accessors": [], "meshes": [], "nodes": []}

    def view(self, data, **more):
        self.json["bufferViews"].append({"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data), **more})
        self.data += data + bytes(-len(data) % 4)
        return len(self.json["bufferViews"]) - 1

    def accessor(self, values, kind="<f4", **more):
        values = np.asarray(values, dtype=kind)
        width = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}[values.shape[1] if values.ndim > 1 else 1]
        number = {"<i1": 5120, "<u1": 5121, "<i2": 5122, "<u2": 5123, "<u4": 5125, "<f4": 5126}[kind]
        view = self.view(values.tobytes())
        entry = {"bufferView": view, "componentType": number, "count": len(values), "type": width, **more}
        self.json["accessors"].append(entry)
        return len(self.json["accessors"]) - 1

    def mesh(self, *primitives):
        self.json["meshes"].append({"primitives": list(primitives)})
        return len(self.json["meshes"]) - 1

    def node(self, **node):
        self.json["nodes"].append(node)
        return len(self.json["nodes"]) - 1

    def tetrahedron(self, **attributes):
        indices = self.accessor(np.reshape(FACES, -1), "<u2")
        return {"attributes": {"POSITION": self.accessor(CORNERS), **attributes}, "indices": indices}

    def write(self, file, **more):
        self.json |= {"buffers": [{"byteLength": len(self.data)}], **more}
        text = json.dumps(self.json).encode()
        text += b" " * (-len(text) % 4)
        chunks = (
            struct.pack("<I", len(text)) + b"JSON" + text + struct.pack("<I", len(self.data)) + b"BIN\0" + self.data
        )
        file.write_bytes(b"glTF" + struct.pack("<II", 2, 12 + len(chunks)) + chunks)
        return file


def test_gltf_is_y_up_and_in_metres(tmp_path):
    asset = Asset()
    asset.node(mesh=asset.mesh({"attributes": {"POSITION": asset.accessor([[1, 2, 3], [4, 5, 6]])}, "mode": 0}))
    file = asset.write(tmp_path / "scan.glb")
    assert read(file).coord.tolist() == [[1, -3, 2], [4, -6, 5]]
    assert read(file, up="z", units="cm").coord.tolist() == [[0.01, 0.02, 0.03], [0.04, 0.05, 0.06]]
    assert {name: content(file)[name] for name in ("up", "units")} == {"up": "y", "units": "m"}


@pytest.mark.parametrize(("kind", "most"), [("<u1", 255), ("<u2", 65535), ("<f4", 1)])
@pytest.mark.parametrize("width", [3, 4])
def test_gltf_colours_are_linear_and_of_three_kinds(tmp_path, kind, most, width):
    shown = np.array([[255, 128, 10, 255], [0, 64, 200, 255]])[:, :width]
    values = linear(shown) * most
    asset = Asset()
    color = asset.accessor(values if kind == "<f4" else values.round(), kind, normalized=kind != "<f4")
    places = asset.accessor([[0, 0, 0], [1, 1, 1]])
    asset.node(mesh=asset.mesh({"attributes": {"POSITION": places, "COLOR_0": color}, "mode": 0}))
    color = read(asset.write(tmp_path / "scan.glb")).color
    np.testing.assert_allclose(color, shown[:, :3], atol=4 if kind == "<u1" else 0)


def test_gltf_with_one_plain_colour(tmp_path):
    asset = Asset()
    look = {"pbrMetallicRoughness": {"baseColorFactor": [*linear([200, 100, 50]), 1]}}
    asset.node(mesh=asset.mesh({**asset.tetrahedron(), "material": 0}))
    file = asset.write(tmp_path / "scan.glb", materials=[look])
    np.testing.assert_allclose(vertices(file).color, [[200, 100, 50]] * 4, atol=0)
    np.testing.assert_allclose(np.unique(read(file, mesh="surface").color, axis=0), [[200, 100, 50]], atol=0)


@pytest.mark.parametrize("embedded", [True, False])
def test_gltf_with_a_texture(tmp_path, embedded):
    asset = Asset()
    Image.fromarray(PIXELS).save(tmp_path / "a b.png")
    places = asset.accessor([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    at = asset.accessor([[0, 1], [1, 1], [1, 0], [0, 0]])
    mesh = {"attributes": {"POSITION": places, "TEXCOORD_0": at}, "indices": asset.accessor([0, 1, 2, 0, 2, 3], "<u1")}
    asset.node(mesh=asset.mesh({**mesh, "material": 0}))
    image = {"bufferView": asset.view((tmp_path / "a b.png").read_bytes())} if embedded else {"uri": "a%20b.png"}
    look = {"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}
    file = asset.write(tmp_path / "scan.glb", materials=[look], textures=[{"source": 0}], images=[image])
    assert vertices(file, up="z").color.tolist() == [[0, 0, 255], [9, 9, 9], [0, 255, 0], [255, 0, 0]]
    cloud = read(file, up="z", mesh="surface", spacing=0.1)
    corner = (cloud.coord[:, 0] < 0.5) & (cloud.coord[:, 1] > 0.5)
    assert (cloud.color[corner] == [255, 0, 0]).all()
    if not embedded:
        (tmp_path / "a b.png").unlink()
        with pytest.warns(Msm3dWarning, match=re.escape(f"{file}: names 'a%20b.png' for its colours")):
            assert vertices(file).color is None


def test_gltf_nodes_in_order_with_their_transforms(tmp_path):
    asset = Asset()
    normal = asset.accessor([[0, 0, 1]] * 4)
    one, two = asset.mesh(asset.tetrahedron(NORMAL=normal)), asset.mesh(asset.tetrahedron())
    child = asset.node(mesh=two, translation=[0, 0, 5])
    turn = [0, 0, np.sqrt(0.5), np.sqrt(0.5)]  # x to y
    parent = asset.node(mesh=one, children=[child], translation=[10, 0, 0], rotation=turn, scale=[1, 2, 3])
    mirrored = asset.node(mesh=two, matrix=np.diag([-1, 1, 1, 1]).reshape(-1).tolist())
    instanced = {"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": asset.accessor([[0, 0, 7], [0, 0, 8]])}}}
    many = asset.node(mesh=two, extensions=instanced, translation=[1, 0, 0])
    asset.node(mesh=two)  # of another scene
    scenes = [{"nodes": [4]}, {"nodes": [mirrored, parent, many]}]
    file = asset.write(tmp_path / "scan.glb", scenes=scenes, scene=1, extensionsRequired=list(instanced))
    cloud = vertices(file, up="z")
    corners = np.array(CORNERS, dtype=float)
    turned = np.stack([10 - 2 * corners[:, 1], corners[:, 0], 3 * corners[:, 2]], 1)
    lower = np.stack([10 - 2 * corners[:, 1], corners[:, 0], 15 + 3 * corners[:, 2]], 1)
    moved = [corners + [1, 0, 7], corners + [1, 0, 8]]
    np.testing.assert_allclose(cloud.coord, np.concatenate([corners * [-1, 1, 1], turned, lower, *moved]), atol=1e-6)
    np.testing.assert_allclose(cloud.normal[4:8], [[0, 0, 1]] * 4, atol=1e-6)
    outside = np.sign(((corners - 0.2) * [-1, 1, 1]).round(3))
    assert (np.sum(cloud.normal[:4] * outside, 1) > 0).all()  # mirrored faces still look outwards


def test_gltf_primitives_that_share_their_vertices_are_read_once(tmp_path):
    asset = Asset()
    whole = asset.tetrahedron()
    halves = [
        {**whole, "indices": asset.accessor(np.reshape(part, -1), "<u4"), "material": i}
        for i, part in enumerate((FACES[:2], FACES[2:]))
    ]
    looks = [{"pbrMetallicRoughness": {"baseColorFactor": [*c, 1]}} for c in ([1, 0, 0], [0, 0, 1])]
    asset.node(mesh=asset.mesh(*halves))
    file = asset.write(tmp_path / "scan.glb", materials=looks)
    assert len(vertices(file)) == 4
    red = read(file, mesh="surface", up="z").color[:, 0] == 255
    assert red.mean() == pytest.approx(1 / (1.5 + np.sqrt(0.75)), abs=0.01)


@pytest.mark.parametrize(
    ("mode", "faces"), [(4, FACES), (5, [[0, 1, 2], [1, 3, 2]]), (6, [[0, 1, 2], [0, 2, 3]]), (1, [])]
)
def test_gltf_modes(tmp_path, mode, faces):
    asset = Asset()
    mesh = {"attributes": {"POSITION": asset.accessor(CORNERS)}, "mode": mode}
    if mode == 4:
        mesh["indices"] = asset.accessor(np.reshape(FACES, -1), "<u1")
    asset.node(mesh=asset.mesh(mesh))
    from msm3d.io import gltf

    assert gltf.mesh(asset.write(tmp_path / "scan.glb")).faces.tolist() == faces


def test_gltf_with_sparse_strided_and_quantised_numbers(tmp_path):
    asset = Asset()
    places = asset.accessor([[0, 0, 0], [100, 0, 0], [0, 100, 0]], "<i2", normalized=False)
    rows, values = asset.view(struct.pack("<H", 2)), asset.view(np.array([7, 8, 9], "<i2").tobytes())
    asset.json["accessors"][places]["sparse"] = {
        "count": 1,
        "indices": {"bufferView": rows, "componentType": 5123},
        "values": {"bufferView": values},
    }
    spread = asset.view(np.arange(8, dtype="<f4").tobytes(), byteStride=16)
    asset.json["accessors"].append(
        {"bufferView": spread, "byteOffset": 4, "componentType": 5126, "count": 2, "type": "VEC3"}
    )
    asset.node(mesh=asset.mesh({"attributes": {"POSITION": places}, "mode": 0}), scale=[0.01] * 3)
    asset.node(mesh=asset.mesh({"attributes": {"POSITION": places + 1}, "mode": 0}))
    file = asset.write(tmp_path / "scan.glb", extensionsRequired=["KHR_mesh_quantization"])
    expected = [[0, 0, 0], [1, 0, 0], [0.07, 0.08, 0.09], [1, 2, 3], [5, 6, 7]]
    np.testing.assert_allclose(read(file, up="z").coord, expected)


@pytest.mark.parametrize(
    ("extension", "message"),
    [
        (
            "KHR_draco_mesh_compression",
            "is compressed with Draco (KHR_draco_mesh_compression); export it plain, without it.",
        ),
        (
            "EXT_meshopt_compression",
            "is compressed with meshopt (EXT_meshopt_compression); export it plain, without it.",
        ),
        ("X_new", "needs an extension that msm3d does not know (X_new); export it plain, without it."),
    ],
)
def test_gltf_decoders_that_are_missing_are_named(tmp_path, extension, message):
    asset = Asset()
    mesh = asset.tetrahedron()
    asset.node(mesh=asset.mesh(mesh))
    file = asset.write(tmp_path / "scan.glb", extensionsRequired=[extension])
    with refused(file, message):
        read(file)
    if "draco" in extension:  # not declared as required, and without numbers of its own
        del asset.json["extensionsRequired"], asset.json["accessors"][mesh["attributes"]["POSITION"]]["bufferView"]
        mesh["extensions"] = {extension: {"bufferView": 0}}
        with refused(asset.write(file), message):
            read(file)


def test_gltf_that_asks_for_too_much(tmp_path):
    asset = Asset()
    asset.tetrahedron()
    asset.json["accessors"][1] |= {"count": 10**12}
    asset.node(mesh=asset.mesh({"attributes": {"POSITION": 1}, "mode": 0}))
    with pytest.raises(
        FileError, match=r"places 1000000000000 vertices, which stand for a cloud of 1e\+05 GB, more than half"
    ):
        read(asset.write(tmp_path / "scan.glb"))
    asset.json["accessors"][1] |= {"count": 1000}
    with refused(
        tmp_path / "scan.glb", "has numbers beyond the end of bufferViews[1]; it is truncated, export it again."
    ):
        read(asset.write(tmp_path / "scan.glb"))
    asset.json["nodes"] = [{"children": [1, 1]}, {"mesh": 0}]
    with refused(tmp_path / "scan.glb", "has the node 1 at two places of its tree; export it again."):
        read(asset.write(tmp_path / "scan.glb"))


def test_meshes_of_several_parts_keep_their_places(tmp_path):
    scene = trimesh.Scene()
    scene.add_geometry(trimesh.creation.box())
    scene.add_geometry(trimesh.creation.box(), transform=trimesh.transformations.translation_matrix([5, 0, 0]))
    scene.export(tmp_path / "scan.glb")
    cloud = vertices(tmp_path / "scan.glb")
    assert len(cloud) == 16
    assert (cloud.coord[:, 0].min(), cloud.coord[:, 0].max()) == (-0.5, 5.5)
