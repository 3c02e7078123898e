"""What robots and cars record: bags of ROS 1 and 2, as rosbags writes them, and KITTI's sweeps."""

import re
import sys

import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_typestore

from msm3d import batch, cli
from msm3d.errors import DependencyError, FileError, InputError, Msm3dWarning
from msm3d.io import read, read_bag
from msm3d.io.pointcloud2 import fields_of
from tests.files import RGB, XYZ, refused

CLOUD = "sensor_msgs/msg/PointCloud2"
RECORD = np.dtype(
    {"names": ["x", "y", "z", "rgb"], "formats": ["f4"] * 3 + ["u4"], "offsets": [0, 4, 8, 16], "itemsize": 20}
)


def message(store, shift=0.0, order="<", high=1):
    """A message of the forty points with packed colours, gaps within and behind the points."""
    types = store.types
    field, head = types["sensor_msgs/msg/PointField"], types["std_msgs/msg/Header"]
    stamp = types["builtin_interfaces/msg/Time"]
    table = np.zeros(40, RECORD.newbyteorder(order))
    for axis, name in enumerate("xyz"):
        table[name] = XYZ[:, axis] + shift
    table["rgb"] = (RGB.astype(np.uint32) << np.array([16, 8, 0], np.uint32)).sum(1)
    wide = 40 // high
    rows = [table[i * wide : (i + 1) * wide].tobytes() + b"gap" for i in range(high)]
    fields = [
        field(name=n, offset=o, datatype=k, count=1)
        for n, o, k in (("x", 0, 7), ("y", 4, 7), ("z", 8, 7), ("rgb", 16, 6))
    ]
    more = {"seq": 0} if "seq" in head.__dataclass_fields__ else {}
    header = head(stamp=stamp(sec=1, nanosec=0), frame_id="lidar", **more)
    data = np.frombuffer(b"".join(rows), np.uint8)
    return types[CLOUD](
        header=header, height=high, width=wide, fields=fields, is_bigendian=order == ">", point_step=20,
        row_step=20 * wide + 3, data=data, is_dense=True,
    )  # fmt: skip


def bag1(path, topics=("/points",), sweeps=3):
    store = get_typestore(Stores.ROS1_NOETIC)
    with Writer1(path) as writer:
        for topic in topics:
            connection = writer.add_connection(topic, CLOUD, typestore=store)
            for i in range(sweeps):
                writer.write(connection, i * 1000, store.serialize_ros1(message(store, i), CLOUD))
    return path


def bag2(path, sweeps=3, storage=StoragePlugin.SQLITE3):
    store = get_typestore(Stores.ROS2_HUMBLE)
    with Writer2(path, version=9, storage_plugin=storage) as writer:
        text = store.types["std_msgs/msg/String"]
        other = writer.add_connection("/words", text.__msgtype__, typestore=store)
        writer.write(other, 0, store.serialize_cdr(text(data="hello"), text.__msgtype__))
        connection = writer.add_connection("/points", CLOUD, typestore=store)
        for i in range(sweeps):
            writer.write(connection, i * 1000, store.serialize_cdr(message(store, i), CLOUD))
    return path


@pytest.mark.parametrize("kind", ["bag", "folder", "mcap"])
def test_bags_of_both_kinds_are_scans(tmp_path, kind):
    if kind == "bag":
        file = bag1(tmp_path / "drive.bag")
    else:
        file = bag2(tmp_path / "drive", storage=StoragePlugin.MCAP if kind == "mcap" else StoragePlugin.SQLITE3)
    with pytest.warns(
        Msm3dWarning, match=r"3 sweeps are put together as they were measured; if the sensor moved, pass "
    ):
        cloud = read(file)
    np.testing.assert_array_equal(cloud.coord, np.concatenate([XYZ + np.float32(i) for i in range(3)]))
    np.testing.assert_array_equal(cloud.color, np.tile(RGB, (3, 1)))
    assert cloud.station.tolist() == [0] * 40 + [1] * 40 + [2] * 40
    assert cloud.viewpoint.tolist() == [[0, 0, 0]] * 3
    assert [job.scan.name for job in batch.plan([tmp_path], tmp_path / "out").jobs] == [file.name]


def test_sweeps_are_chosen_and_moved(tmp_path):
    file = bag1(tmp_path / "drive.bag", sweeps=6)
    second = read_bag(file, "/points", first=1, last=1)
    np.testing.assert_array_equal(second.coord, XYZ + np.float32(1))
    assert second.station is None
    turn = np.array([[0, -1, 0, 5], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    moved = read_bag(file, first=1, every=2, transforms=turn)
    assert len(moved) == 120
    one = XYZ.astype(np.float64) + 1
    np.testing.assert_allclose(moved.coord[:40], np.stack([5 - one[:, 1], one[:, 0], one[:, 2]], 1), atol=1e-6)
    assert moved.viewpoint[0].tolist() == [5, 0, 0]

    def back(time):
        pose = np.eye(4)
        pose[:3, 3] = -time / 1000
        return pose

    for transforms in (back, np.stack([back(i * 1000) for i in range(6)])):
        np.testing.assert_allclose(read_bag(file, transforms=transforms).coord, np.tile(XYZ, (6, 1)), atol=1e-6)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("high", [1, 4])
def test_messages_have_any_order_and_gaps(order, high):
    found = fields_of(message(get_typestore(Stores.ROS2_HUMBLE), order=order, high=high))
    np.testing.assert_array_equal(found["coord"], XYZ)
    np.testing.assert_array_equal(found["color"], RGB)


def test_messages_that_do_not_hold_what_they_declare_are_refused():
    store = get_typestore(Stores.ROS2_HUMBLE)
    for name, value in (("width", 41), ("height", 2), ("point_step", 0), ("width", 0), ("row_step", 3)):
        broken = message(store)
        object.__setattr__(broken, name, value)
        with pytest.raises(FileError, match=r"has a message that declares \d+ points but holds 803 bytes; export it"):
            fields_of(broken)
    broken = message(store)
    object.__setattr__(broken.fields[0], "offset", 18)
    with pytest.raises(FileError, match="has a message whose field 'x' lies outside of its points"):
        fields_of(broken)


def test_what_cannot_be_chosen_is_said(tmp_path, monkeypatch):
    file = bag1(tmp_path / "two.bag", ("/left", "/right"), 1)
    with refused(file, "has PointCloud2 under /left, /right; choose one with topic='/left'."):
        read(file)
    np.testing.assert_array_equal(read(file, topic="/right").coord, read_bag(file, "/right").coord)
    assert cli.main(["read", str(file), "--topic", "/left"]) == 0
    with refused(tmp_path / "a.npz", "is not a ROS bag; leave topic= out."):
        np.savez(tmp_path / "a.npz", coord=XYZ)
        read(tmp_path / "a.npz", topic="/left")
    with pytest.raises(InputError, match=r"^topic is 3; give the name of one, such as /points\.$"):
        read(file, topic=3)
    with refused(file, "has no PointCloud2 under '/up'; choose one of /left, /right."):
        read_bag(file, "/up")
    with refused(file, "has no sweep from number 7 on; give a smaller first=."):
        read_bag(file, "/left", first=7)
    for given, said in (
        ({"every": 0}, "every is 0; give a whole number from 1 on."),
        ({"first": -1}, "first is -1; give a whole number from 0 on."),
        ({"last": 1.5}, "last is 1.5; give a whole number from 0 on."),
    ):
        with pytest.raises(InputError, match="^" + re.escape(said) + "$"):
            read_bag(file, "/left", **given)
    for bad, said in (
        (np.eye(3), "a transform has shape (3, 3); give (4, 4) finite numbers whose last row is 0 0 0 1."),
        (np.stack([np.eye(4)] * 2), "there are 1 sweep and 2 transforms; give one for each."),
        (np.zeros((0, 4, 4)), "there are more sweeps than 0 transforms; give one for each."),
    ):
        with refused(file, said):
            read_bag(file, "/left", transforms=bad)
    empty = tmp_path / "empty.bag"
    with Writer1(empty):
        pass
    with refused(empty, "has no messages PointCloud2 but nothing; give a bag with some."):
        read(empty)
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(FileError, match=r"two\.bag: is not a readable BAG file"):
        read(file)
    monkeypatch.setitem(sys.modules, "rosbags.highlevel", None)
    with pytest.raises(DependencyError, match=r'^reading ROS bags needs .*; type: pip install "msm3d\[ros\]"\.$'):
        read(file)


def test_sweeps_of_kitti_and_nuscenes(tmp_path):
    folder = tmp_path / "velodyne"
    folder.mkdir()
    places = XYZ * 40 - 20
    np.column_stack([places, RGB[:, 0] / 255]).astype("<f4").tofile(folder / "000001.bin")
    cloud = read(folder / "000001.bin")
    np.testing.assert_array_equal(cloud.coord, places)
    assert (cloud.color, cloud.segment, cloud.viewpoint.tolist()) == (None, None, [[0, 0, 0]])
    np.column_stack([places, RGB[:, 0], RGB[:, 1]]).astype("<f4").tofile(tmp_path / "lidar.pcd.bin")
    np.testing.assert_array_equal(read(tmp_path / "lidar.pcd.bin").coord, places)
    labels = tmp_path / "labels"
    labels.mkdir()
    (np.arange(40, dtype="<u4") << 16 | 48).tofile(labels / "000001.label")
    named = read(folder / "000001.bin")
    assert (set(named.segment.tolist()), named.instance.tolist()) == ({48}, list(range(40)))
    np.arange(3, dtype="<u4").tofile(labels / "000001.label")
    with refused(folder / "000001.bin", "has 40 points but 3 labels in 000001.label; give those of it."):
        read(folder / "000001.bin")


def test_other_bare_numbers_are_refused(tmp_path):
    file = tmp_path / "model.bin"
    file.write_bytes(b"x" * 17)
    with pytest.raises(FileError, match=r"has 17 bytes, which are not points of 4 float32 as KITTI has them; "):
        read(file)
    for values in ([[1e6, 0, 0, 0]], [[np.nan, 0, 0, 0]], [[0, 0, 0, 1000]]):
        np.array(values * 3, "<f4").tofile(file)
        with pytest.raises(FileError, match="holds numbers that are not x y z in metres and a reflectance"):
            read(file)
