"""RGB-D frames with poses, in three layouts: a room is drawn as a camera sees it, and fused back into its walls."""

import json
import re
import sys

import numpy as np
import pytest
from PIL import Image

import msm3d
from msm3d import batch, cli
from msm3d.errors import DependencyError, FileError, InputError, Msm3dWarning
from msm3d.io import read, read_frames
from tests.files import refused

WIDE, HIGH = 64, 96
CAMERA = (50.0, 50.0, 31.5, 23.5)
EYES = np.array([[0.2, 0.1, 1.5], [0.6, 0.3, 1.4], [-0.4, 0.2, 1.6]])
TURN = [[1, 0, 0], [0, 0, 1], [0, -1, 0]]  # the camera looks along y, z is up
WALL = 2.5  # metres: the wall y = 2.5 is red above z = 1.5 and blue below, the floor z = 0 is green


def poses():
    found = np.tile(np.eye(4), (3, 1, 1))
    found[:, :3, :3], found[:, :3, 3] = TURN, EYES
    return found


def pictures(number, scale, wide=WIDE):
    """Return what the camera sees in a frame: depth, and colours, perhaps in another size."""
    away, height = WALL - EYES[number, 1], EYES[number, 2]
    down = (np.arange(HIGH) - CAMERA[3]) / CAMERA[1]
    depth = np.minimum(away, height / np.maximum(down, 1e-9))
    depth[:2] = 0  # nothing came back
    row = (np.arange(HIGH * wide // WIDE) / (wide / WIDE) - CAMERA[3]) / CAMERA[1]
    z = (height - row * away)[:, None]
    color = np.where(z > 1.5, np.uint8([250, 0, 0]), np.where(z > 0, np.uint8([0, 0, 250]), np.uint8([0, 200, 0])))
    depth = np.rint(np.repeat(depth[:, None], WIDE, axis=1) * scale).astype(np.uint16)
    return depth, np.repeat(color[:, None], wide, axis=1)


def red_where_it_was(cloud):
    far = np.abs(cloud.coord[:, 2] - 1.5) > 0.06
    return np.array_equal(cloud.color[far, 0] > 125, cloud.coord[far, 2] > 1.5)


def saved(folder, names, scale, wide=WIDE):
    for number, (depth, color) in enumerate(names):
        for name, picture in zip((depth, color), pictures(number, scale, wide), strict=True):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / name)


def tum(folder):
    saved(folder, [(f"depth/{i}.png", f"rgb/{i}.png") for i in range(3)], 5000)
    for name, late in (("rgb", 0.0), ("depth", 0.011)):
        lines = [f"{i + late:.6f} {name}/{i}.png" for i in range(3)]
        (folder / f"{name}.txt").write_text("\n".join(["# a list", *lines, *([] if late else ["9.0 rgb/none.png"])]))
    half = np.sqrt(0.5)
    lines = [f"{i + 0.004:.6f} {' '.join(map(str, eye))} {-half} 0 0 {half}" for i, eye in enumerate(EYES)]
    (folder / "groundtruth.txt").write_text("\n".join(lines))


def scannet(folder, wide=2 * WIDE):
    saved(folder, [(f"depth/{i}.png", f"color/{i}.png") for i in range(3)], 1000, wide)
    (folder / "pose").mkdir()
    (folder / "intrinsic").mkdir()
    for i, pose in enumerate(poses()):
        np.savetxt(folder / f"pose/{i}.txt", pose)
    for name, factor in (("depth", 1), ("color", 2)):
        fx, fy, cx, cy = np.array(CAMERA) * factor
        matrix = [[fx, 0, cx, 0], [0, fy, cy, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
        np.savetxt(folder / f"intrinsic/intrinsic_{name}.txt", matrix)


def open3d(folder):
    saved(folder, [(f"depth/{i:05}.png", f"image/{i:05}.png") for i in range(3)], 1000)
    blocks = [
        f"{i} {i} {i + 1}\n" + "\n".join(" ".join(map(str, row)) for row in pose) for i, pose in enumerate(poses())
    ]
    (folder / "trajectory.log").write_text("\n".join(blocks) + "\n")
    fx, fy, cx, cy = CAMERA
    camera = {"width": WIDE, "height": HIGH, "intrinsic_matrix": [fx, 0, 0, 0, fy, 0, cx, cy, 1]}
    (folder / "camera.json").write_text(json.dumps(camera))
    (folder / "config.json").write_text('{"name": "no camera"}')


LAYOUTS = {"tum": tum, "scannet": scannet, "open3d": open3d}


@pytest.fixture(params=LAYOUTS)
def folder(request, tmp_path):
    place = tmp_path / request.param
    place.mkdir()
    LAYOUTS[request.param](place)
    return place


def fused(folder, **how):
    return read_frames(folder, camera=CAMERA if folder.name == "tum" else None, **how)


def test_the_wall_is_where_it_was_with_its_colours_and_cameras(folder):
    cloud = fused(folder)
    off = np.minimum(np.abs(cloud.coord[:, 1] - WALL), np.abs(cloud.coord[:, 2]))
    assert off.max() < 2e-3
    assert (cloud.color[cloud.coord[:, 1] < WALL - 0.2] == [0, 200, 0]).all()
    assert np.ptp(cloud.coord[:, 0]) == pytest.approx(1.986 + 1.849, abs=2e-3)  # 31.5 pixels of 1/50 m aside
    np.testing.assert_allclose(cloud.viewpoint, EYES)
    assert np.bincount(cloud.station).min() > 500
    assert red_where_it_was(cloud)
    assert (cloud.normal, cloud.rows) == (None, None)


def test_voxels_frames_and_depth_are_chosen(folder):
    whole, coarse, one = fused(folder), fused(folder, voxel=0.2), fused(folder, every=3)
    assert len(coarse) < len(whole) / 5
    assert len(np.unique(np.floor(coarse.coord / 0.2), axis=0)) == len(coarse)
    assert len(one) == (HIGH - 2) * WIDE  # no two pixels share a voxel of 1 cm
    assert one.station is None
    np.testing.assert_allclose(one.viewpoint, EYES[:1])
    with pytest.raises(
        FileError, match=r"has no depth nearer than 0\.9 m in any frame; check the unit of its depth pic"
    ):
        fused(folder, far=0.9)


def test_many_frames_are_put_together_as_few_are(folder, monkeypatch):
    whole = fused(folder)
    monkeypatch.setattr("msm3d.io.frames._PENDING", 10)
    again = fused(folder)
    np.testing.assert_allclose(again.coord, whole.coord, rtol=0, atol=1e-12)
    assert np.array_equal(again.color, whole.color)
    assert np.array_equal(again.station, whole.station)


def test_read_extract_and_the_command_line_know_such_folders(tmp_path, model, capsys):
    place = tmp_path / "scans" / "flat"
    place.mkdir(parents=True)
    open3d(place)
    assert np.array_equal(read(place).coord, fused(place).coord)
    assert cli.main(["read", str(place)]) == 0
    assert f"{place} (RGB-D frames)" in capsys.readouterr().out
    plan = batch.plan([tmp_path / "scans"], tmp_path / "out")
    assert [job.scan for job in plan.jobs] == [place]
    model = msm3d.load(model.save_pretrained(tmp_path / "weights"), device="cpu")
    with pytest.warns(Msm3dWarning, match="no normals"):
        assert [one.error for one in batch.extract(model, plan.jobs)] == [None]
    assert [one.was_there for one in batch.extract(model, plan.jobs)] == [True]
    (place / "depth/00000.png").touch()


def test_cameras_that_are_assumed_and_poses_that_are_none(tmp_path):
    tum(tmp_path)
    with pytest.warns(Msm3dWarning, match=r"its layout has no camera; fx, fy, cx, cy = 525, 525, 319\.5, 239\.5 are"):
        read_frames(tmp_path)
    known = tmp_path / "rgbd_dataset_freiburg3_long"
    known.mkdir()
    tum(known)
    assert len(read_frames(known))
    other = tmp_path / "scannet"
    other.mkdir()
    scannet(other, wide=WIDE)  # colours that were made smaller than the camera says
    assert red_where_it_was(read_frames(other))
    np.savetxt(other / "pose/1.txt", np.full((4, 4), -np.inf))
    with pytest.warns(Msm3dWarning, match=r"1 of 3 frames have no pose \(not finite\) and are left out"):
        np.testing.assert_allclose(read_frames(other).viewpoint, EYES[[0, 2]])


@pytest.mark.parametrize(
    ("layout", "name", "content", "message"),
    [
        ("tum", "rgb.txt", "1.0\n", "has in rgb.txt the line '1.0'; give a time and a file."),
        ("tum", "rgb.txt", "0 ../a.png\n", "has in rgb.txt a file outside of the folder, '../a.png'; give one in it."),
        ("tum", "rgb.txt", "", "has no frame with colour, depth and a pose; give one of each."),
        ("tum", "groundtruth.txt", "1 2 3\n", "has in groundtruth.txt lines that are not 8 numbers; export it again."),
        ("tum", "groundtruth.txt", "1 2\n3\n", "has in groundtruth.txt lines that are not 8 numbers; export it again."),
        ("tum", "rgb/1.png", None, "has no rgb/1.png; add it, or take it out of the list."),
        ("scannet", "pose/1.txt", "1 2 3 4\n", "has in 1.txt lines that are not 4 numbers; export it again."),
        ("scannet", "intrinsic/intrinsic_color.txt", None, "has no intrinsic/intrinsic_color.txt; export it again."),
        (
            "open3d",
            "trajectory.log",
            "0 0 1\n1 0 0",
            "has a trajectory.log that is not blocks of 3 and 4 x 4 numbers; export it again.",
        ),
        ("open3d", "depth/00001.png", None, "has 3 colour and 2 depth pictures but 3 poses; give one of each a frame."),
        (
            "open3d",
            "camera.json",
            "[]",
            "has no JSON file with an 'intrinsic_matrix'; add the camera's, such as camera_primesense.json.",
        ),
    ],
)
def test_recordings_that_are_not_whole(tmp_path, layout, name, content, message):
    LAYOUTS[layout](tmp_path)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_text(content)
    with refused(tmp_path, message):
        read_frames(tmp_path, camera=CAMERA)


def test_pictures_that_cannot_be_used(tmp_path, monkeypatch):
    open3d(tmp_path)
    file = tmp_path / "depth/00001.png"
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    with pytest.raises(FileError, match=r"has the picture '00001\.png', which cannot be read \("):
        read_frames(tmp_path)
    Image.fromarray(np.zeros((HIGH, WIDE, 3), np.uint8)).save(file)
    with refused(tmp_path, "has the depth picture 00001.png of uint8 (96, 64, 3); 16 bits of grey are needed."):
        read_frames(tmp_path)
    for how, message in (
        ({"voxel": 0}, "voxel is 0; give metres, such as 0.01."),
        ({"every": 0}, "every is 0; give a whole number from 1 on."),
        ({"far": "4"}, "far is '4'; give metres, such as 4."),
        ({"camera": (1, 2)}, "camera is (1, 2); give fx, fy, cx, cy in pixels."),
    ):
        with pytest.raises(InputError, match="^" + re.escape(message) + "$"):
            read_frames(tmp_path, **how)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match=r"empty: is not a recording of RGB-D frames; give a folder with rgb\.txt, "):
        read_frames(tmp_path / "empty")
    with refused(tmp_path / "none", "does not exist; check the path."):
        read_frames(tmp_path / "none")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DependencyError, match=r'reading RGB-D frames needs PIL; type: pip install "msm3d\[mesh\]"\.$'):
        read_frames(tmp_path)
