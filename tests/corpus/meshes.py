"""Meshes: the rows are the file's vertices in its order, or points on its surface, and which of the two is said."""

from pathlib import Path
from typing import Any

import numpy as np

from msm3d.io import read
from tests.corpus import RGB, XYZ, Case, Law, Place, Read, Refused, contains, heard
from tests.corpus.files import BOX, CORNERS, glb, raw, y_up

BYTES, SHORTS, FLOATS = 5121, 5123, 5126
EXTREME = np.where(RGB > 128, 255, 0).astype(np.uint8)
"""Colours that are the same in linear light and in sRGB."""
some = np.random.default_rng(2)
PLACES = np.round(some.random((300, 3)), 6)
MANY = "".join("v {:f} {:f} {:f}\n".format(*place) for place in PLACES)
MANY += "".join(f"usemtl m{i % 60}\nf {i + 1} {i + 2} {i + 3}\n" for i in range(297))
SEAM = "".join("v {:f} {:f} {:f}\n".format(*place) for place in CORNERS)
SEAM += "".join(f"usemtl m{i % 2}\nf {' '.join(str(c + 1) for c in face)}\n" for i, face in enumerate(BOX))


def painted(scale: float) -> str:
    lines = "".join(f"v {x} {y} 0 {200 * scale} {100 * scale} {50 * scale}\n" for x, y in ((0, 0), (1, 0), (0, 1)))
    return lines + "f 1 2 3\n"


def object_of_one_colour(_: Path) -> Any:
    import trimesh
    from trimesh.visual import TextureVisuals
    from trimesh.visual.material import PBRMaterial

    box = trimesh.creation.box((6, 4, 2.6))
    box.visual = TextureVisuals(np.zeros((8, 2)), PBRMaterial(baseColorFactor=[255, 0, 255, 255]))
    return box


ROOM = glb({"POSITION": (y_up(CORNERS), FLOATS, "VEC3")}, faces=BOX)


def surface(place: Place) -> None:
    """Eight corners are no scan: the surface is sampled, evenly enough, and this is said."""
    path = ROOM(place.folder)
    cloud, said = heard(lambda: read(path))
    assert len(cloud) > 10_000
    inside = ((cloud.coord > 1e-3) & (cloud.coord < CORNERS.max(0) - 1e-3)).all(1)
    assert not inside.any()
    assert np.allclose(cloud.coord.min(0), 0, atol=0.1)
    assert np.allclose(cloud.coord.max(0), CORNERS.max(0), atol=0.1)
    contains("\n".join(said), ("surface|sampled",))
    again, _ = heard(lambda: read(path))
    assert np.array_equal(again.coord, cloud.coord)


def shorts(place: Place) -> None:
    """Colours of 16 bits keep their order: the half is between black and white."""
    values = np.zeros((len(XYZ), 4), np.uint16)
    values[:, 3] = 65535
    values[:, 0], values[:, 1] = 65535, 32768
    cloud, _ = heard(
        lambda: read(glb({"POSITION": (y_up(XYZ), FLOATS, "VEC3"), "COLOR_0": (values, SHORTS, "VEC4")})(place.folder))
    )
    assert cloud.color is not None
    red, green, blue = cloud.color[0]
    assert (round(float(red)), round(float(blue))) == (255, 0)
    assert 127 <= green <= 189  # as it is, or from linear light to sRGB


CASES: list[Case] = [
    Read(
        "1.02 a room as GLB is y up",
        glb(
            {
                "POSITION": (y_up(XYZ), FLOATS, "VEC3"),
                "COLOR_0": (np.c_[EXTREME, EXTREME[:, 0] | 255].astype("u1"), BYTES, "VEC4"),
            }
        ),
        right={"coord": XYZ, "color": EXTREME},
        hushed=("were up",),
    ),
    Refused(
        "1.02a compressed with Draco",
        glb(
            {"POSITION": (y_up(XYZ), FLOATS, "VEC3")},
            faces=np.arange(9).reshape(3, 3),
            extensions={"KHR_draco_mesh_compression": {"bufferView": 0, "attributes": {"POSITION": 0}}},
        ),
        ("Draco",),
    ),
    Read(
        "1.02b a material of one plain colour",
        glb(
            {"POSITION": (y_up(CORNERS), FLOATS, "VEC3")},
            faces=BOX,
            material={"pbrMetallicRoughness": {"baseColorFactor": [1, 0, 1, 1]}},
        ),
        {"mesh": "vertices"},
        {"coord": CORNERS, "color": [[255, 0, 255]] * 8},
    ),
    Read(
        "1.02b trimesh's object of one plain colour",
        object_of_one_colour,
        {"mesh": "vertices"},
        {"color": [[255, 0, 255]] * 8},
    ),
    Read("1.07 OBJ of sixty materials", raw("scan.obj", MANY), {"mesh": "vertices"}, {"coord": PLACES}),
    Read("1.07 OBJ of two materials on a seam", raw("scan.obj", SEAM), {"mesh": "vertices"}, {"coord": CORNERS}),
    Read(
        "1.23 OBJ colours of 0-255", raw("scan.obj", painted(1)), {"mesh": "vertices"}, {"color": [[200, 100, 50]] * 3}
    ),
    Read(
        "1.23 OBJ colours of 0-1",
        raw("scan.obj", painted(1 / 255)),
        {"mesh": "vertices"},
        {"color": [[200, 100, 50]] * 3},
        atol=0.51,
    ),
    Law("3.06 a mesh of few corners", surface),
    Read("3.06 its corners, asked for", ROOM, {"mesh": "vertices"}, {"coord": CORNERS}),
    Law("4.04 glTF colours of 16 bits", shorts),
    Read(
        "4.05 vertex colours beside a material",
        glb(
            {
                "POSITION": (y_up(CORNERS), FLOATS, "VEC3"),
                "COLOR_0": (np.tile(np.array([255, 0, 255, 255], "u1"), (8, 1)), BYTES, "VEC4"),
            },
            faces=BOX,
            material={"pbrMetallicRoughness": {"metallicFactor": 0}},
        ),
        {"mesh": "vertices"},
        {"color": [[255, 0, 255]] * 8},
    ),
]
