"""Readers on tiny data sets in the formats in which people have them, and the words for each that is broken."""

import json
from pathlib import Path

import numpy as np
import pytest

from msm3d.datasets import Dataset, FileScan, LabelledScan, Layout, layouts, register, unregister
from msm3d.datasets.synthetic import TEST_SEEDS, TRAIN_SEEDS
from msm3d.errors import FileError, InputError, Msm3dWarning
from msm3d.evaluate import S3DIS, SCANNET20, SCANNET200, class_list, open_dataset
from msm3d.pretrain.sources import scenes as sources

N = 12


def write_pointcept(folder: Path, seed: int, segment: str = "segment20", classes: int = 20, **change):
    rng = np.random.default_rng(seed)
    fields = {
        "coord": rng.uniform(0, 3, (N, 3)).astype(np.float32),
        "color": rng.integers(0, 256, (N, 3), dtype=np.uint8),
        "normal": np.tile(np.float32([0, 0, 1]), (N, 1)),
        segment: rng.integers(-1, classes, N),
        "instance": rng.integers(-1, 4, N),
    } | change
    folder.mkdir(parents=True)
    for name, values in fields.items():
        if values is not None:
            np.save(folder / f"{name}.npy", values)
    return fields


def write_scannet(folder: Path, labels: list[int], **change):
    """A square of two triangles, its four corners' labels, two objects of two vertices each."""
    name = folder.name
    folder.mkdir(parents=True)
    corners = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)]
    header = "ply\nformat ascii 1.0\nelement vertex {}\n" + "".join(f"property float {a}\n" for a in "xyz")
    header += "".join(f"property uchar {c}\n" for c in ("red", "green", "blue", "alpha"))
    faces = "element face 2\nproperty list uchar int vertex_indices\n"
    rows = [f"{x} {y} {z} 10 20 30 255" for x, y, z in corners]
    body = "\n".join([*rows, "3 0 1 2", "3 0 2 3"]) + "\n"
    (folder / f"{name}_vh_clean_2.ply").write_text(header.format(4) + faces + "end_header\n" + body)
    body = "\n".join(f"{row} {label}" for row, label in zip(rows, labels, strict=False)) + "\n"
    text = header.format(len(labels)) + "property ushort label\nend_header\n" + body
    (folder / f"{name}_vh_clean_2.labels.ply").write_text(text)
    groups = [{"id": 0, "label": "armchair", "segments": [7]}, {"id": 1, "label": "some wall", "segments": [3, 9]}]
    files = {"aggregation": {"segGroups": groups}, "segs": {"segIndices": [7, 7, 9, 3]}} | change
    for key, ending in (("aggregation", ".aggregation.json"), ("segs", "_vh_clean_2.0.010000.segs.json")):
        if files[key] is not None:
            (folder / (name + ending)).write_text(json.dumps(files[key]))


def write_s3dis(room: Path, **objects: str):
    (room / "Annotations").mkdir(parents=True)
    for name, text in objects.items():
        (room / "Annotations" / f"{name}.txt").write_text(text)


@pytest.fixture
def scannet(tmp_path):
    write_scannet(tmp_path / "scans" / "scene0000_00", [1, 1, 39, 0])
    write_scannet(tmp_path / "scans" / "scene0011_00", [5, 40, 13, 2])
    write_scannet(tmp_path / "scans" / "scene0707_00", [1, 1, 1, 1])
    (tmp_path / "scannetv2_train.txt").write_text("scene0000_00\n")
    (tmp_path / "scannetv2_val.txt").write_text("scene0011_00\n\n")
    table = "id\traw_category\tnyu40id\n23\tarmchair\t5\n1\tsome wall\t1\n2\tarmchair\t5\n"
    (tmp_path / "scannetv2-labels.combined.tsv").write_text(table)
    return tmp_path


def refusal(where, **options) -> str:
    with pytest.raises((FileError, InputError)) as error:
        [list(split) for split in open_dataset(where, **options)]
    return str(error.value).replace(str(where), "DATA")


NAMES = ("train/scene0001_00", "train/scene0000_01", "val/scene0011_00")


def test_pointcept_scannet(tmp_path):
    written = {name: write_pointcept(tmp_path / name, i) for i, name in enumerate(NAMES)}
    train, test = open_dataset(tmp_path)
    assert [scene.name for scene in train.scenes] == ["scene0000_01", "scene0001_00"]
    assert (train.name, train.split, train.classes.name) == ("scannet", "train", "scannet20")
    ((name, cloud),) = test
    assert (name, test.split, len(test)) == ("scene0011_00", "val", 1)
    expected = written[NAMES[2]]
    np.testing.assert_array_equal(cloud.coord, expected["coord"].astype(np.float64))
    np.testing.assert_array_equal(cloud.color, expected["color"])
    np.testing.assert_array_equal(cloud.normal, expected["normal"])
    np.testing.assert_array_equal(cloud.segment, expected["segment20"])
    np.testing.assert_array_equal(cloud.instance, expected["instance"])


def test_dark_colours_of_integers_stay_dark(tmp_path):
    for name in ("train/a", "val/b"):
        write_pointcept(tmp_path / name, 0, color=np.ones((N, 3), np.uint8))
    assert open_dataset(tmp_path)[0].scenes[0].read().color.max() == 1


def test_pointcept_scannet200_and_labels_in_a_column(tmp_path):
    labels = np.arange(188, 200)[:, None]
    for name in ("train/a", "val/b"):
        write_pointcept(tmp_path / name, 0, segment200=labels, normal=None, instance=None)
    train, _ = open_dataset(tmp_path, classes="scannet200")
    cloud = train.scenes[0].read()
    assert cloud.segment.tolist() == labels[:, 0].tolist()
    assert cloud.normal is None
    assert cloud.instance is None


def test_pointcept_s3dis_tests_on_area_5(tmp_path):
    for name in ("Area_1/office_1", "Area_1/office_2", "Area_5/hallway_1"):
        write_pointcept(tmp_path / name, 0, segment="segment", classes=13)
    train, test = open_dataset(tmp_path)
    assert [scene.name for scene in train.scenes] == ["Area_1-office_1", "Area_1-office_2"]
    assert [name for name, _ in test] == ["Area_5-hallway_1"]
    assert (test.name, test.split, test.classes.name) == ("s3dis", "Area 5", "s3dis")
    assert [scene.name for scene in open_dataset(tmp_path, area=1)[1].scenes] == ["Area_1-office_1", "Area_1-office_2"]
    assert refusal(tmp_path, area=3) == (
        "DATA: has Area_1, Area_5; Area_3 to test on and others to learn from are needed."
    )


def test_rooms_in_pointcepts_layout(tmp_path):
    for name in ("train/a", "test/b"):
        write_pointcept(tmp_path / name, 0, segment="segment")
    train, test = open_dataset(tmp_path)
    assert (train.name, train.classes.name, test.split) == (tmp_path.name, "rooms", "test")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"color": None}, "DATA/train/a/color.npy: does not exist; check that the scene is complete."),
        ({"segment20": None, "segment200": np.zeros(N, int)},
         "DATA/train/a/segment20.npy: does not exist, and there is segment200.npy; labels are needed, in a scene of a "
         "labelled split and with classes= as they were made."),
        ({"segment20": np.zeros(9, int)},
         "DATA/train/a/segment20.npy: has 9 rows, coord.npy has 12; make the scene again."),
        ({"segment20": np.arange(13, 25)},
         "DATA/train/a/segment20.npy: holds the labels 20, 21, 22, …, but scannet20 has 0 to 19, and -1 for none; "
         "pass classes= as the file was made."),
        ({"segment20": np.full(N, 255)},
         "DATA/train/a/segment20.npy: holds the labels 255, but scannet20 has 0 to 19, and -1 for none; "
         "pass classes= as the file was made."),
        ({"segment20": np.full(N, 0.5)},
         "DATA/train/a/segment20.npy: has labels that are not integers; make it again."),
        ({"normal": np.zeros((N, 2))},
         "DATA/train/a/normal.npy: has shape (12, 2) and dtype float64; (n, 3) numbers are needed."),
        ({"instance": np.zeros((N, 3), int)},
         "DATA/train/a/instance.npy: has shape (12, 3) and dtype int64; (n,) integers are needed."),
        ({"coord": np.full((N, 3), np.nan)},
         "DATA/train/a: none of the 12 points has a position (all are NaN); check how they were made."),
    ],
)  # fmt: skip
def test_broken_pointcept_scenes(tmp_path, change, message):
    write_pointcept(tmp_path / "train" / "a", 0, **change)
    write_pointcept(tmp_path / "val" / "b", 1)
    assert refusal(tmp_path, classes="scannet20") == message


def test_a_truncated_array_and_one_that_would_be_unpickled(tmp_path):
    write_pointcept(tmp_path / "train" / "a", 0)
    write_pointcept(tmp_path / "val" / "b", 1)
    file = tmp_path / "train" / "a" / "color.npy"
    whole = file.read_bytes()
    file.write_bytes(whole[:-5])
    assert refusal(tmp_path).startswith("DATA/train/a/color.npy: is not a readable NPY file (")
    np.save(file, np.array([{}, None]), allow_pickle=True)
    assert refusal(tmp_path).startswith("DATA/train/a/color.npy: is not a readable NPY file (Object arrays cannot be")


def test_raw_scannet(scannet):
    train, test = open_dataset(scannet)
    assert [scene.name for scene in train.scenes] == ["scene0000_00"]
    assert [scene.name for scene in test.scenes] == ["scene0011_00"]
    cloud = train.scenes[0].read()
    assert cloud.segment.tolist() == [0, 0, 19, -1]
    assert cloud.instance.tolist() == [0, 0, 1, 1]
    assert cloud.normal.tolist() == [[0, 0, 1]] * 4
    assert cloud.color.tolist() == [[10, 20, 30]] * 4
    assert test.scenes[0].read().segment.tolist() == [4, -1, -1, 1]


def test_raw_scannet200(scannet):
    train, _ = open_dataset(scannet, classes="scannet200")
    cloud = train.scenes[0].read()
    assert [train.classes.names[label] for label in cloud.segment] == ["armchair", "armchair", "wall", "wall"]


def test_raw_scannet_in_folders_of_its_splits_and_without_objects(tmp_path):
    write_scannet(tmp_path / "train" / "scene0000_00", [1, 2, 3, 4], aggregation=None, segs=None)
    write_scannet(tmp_path / "val" / "scene0011_00", [1, 2, 3, 4])
    train, test = open_dataset(tmp_path)
    assert train.scenes[0].read().instance is None
    assert test.scenes[0].read().instance is not None
    assert refusal(tmp_path, classes="scannet200") == (
        "DATA/train/scene0000_00/scene0000_00.aggregation.json: does not exist; the 200 classes need it."
    )


@pytest.mark.parametrize(
    ("labels", "change", "message"),
    [
        ([1, 2, 3], {}, "scene0000_00_vh_clean_2.labels.ply: has 3 rows, the mesh has 4; give the files of one scan."),
        ([1, 2, 3, 41], {},
         "scene0000_00_vh_clean_2.labels.ply: holds the label 41; NYU40 has 0 to 40, give ScanNet's own .labels.ply."),
        ([1, 2, 3, 4], {"segs": None},
         "scene0000_00_vh_clean_2.0.010000.segs.json: does not exist; check that the scan is complete."),
        ([1, 2, 3, 4], {"segs": {"segIndices": [1]}},
         "scene0000_00_vh_clean_2.0.010000.segs.json: has 1 rows, the mesh has 4; give the files of one scan."),
        ([1, 2, 3, 4], {"segs": {"segIndices": ["x"]}},
         "scene0000_00_vh_clean_2.0.010000.segs.json: 'segIndices' is not a list of integers; download it again."),
        ([1, 2, 3, 4], {"aggregation": {}},
         "scene0000_00.aggregation.json: is not JSON with 'segGroups'; download it again."),
        ([1, 2, 3, 4], {"aggregation": {"segGroups": [{"id": 0}]}},
         "scene0000_00.aggregation.json: has a group without id, label or segments; download it again."),
    ],
)  # fmt: skip
def test_broken_scannet_scans(tmp_path, labels, change, message):
    write_scannet(tmp_path / "train" / "scene0000_00", labels, **change)
    write_scannet(tmp_path / "val" / "scene0011_00", [1, 2, 3, 4])
    assert refusal(tmp_path) == "DATA/train/scene0000_00/" + message


def test_missing_parts_of_scannet(scannet):
    (scannet / "scannetv2-labels.combined.tsv").rename(scannet / "else.tsv")
    assert refusal(scannet, classes="scannet200") == (
        "DATA/scannetv2-labels.combined.tsv: does not exist; the 200 classes need ScanNet's table, put it there."
    )
    (scannet / "scans/scene0000_00/scene0000_00_vh_clean_2.labels.ply").unlink()
    assert refusal(scannet).endswith("scene0000_00_vh_clean_2.labels.ply: does not exist; check the path.")
    (scannet / "scannetv2_val.txt").unlink()
    assert refusal(scannet) == (
        "DATA/scannetv2_val.txt: does not exist; get ScanNet's lists of scans, and pass splits= where they are."
    )
    assert refusal(scannet, classes="s3dis") == "classes is 's3dis'; ScanNet's own files have scannet20 or scannet200."


def test_raw_s3dis(tmp_path):
    write_s3dis(tmp_path / "Area_1" / "office_1", chair_1="0 0 0 255 0 1\n1 2 3 0 0 0\n", stairs_1="4 5 6 9.0 9 9\n")
    write_s3dis(tmp_path / "Area_5" / "hall_1", wall_1="0 0 0 1 2 3\n")
    (tmp_path / "Area_1" / "Area_1_alignmentAngle.txt").write_text("office_1 90\n")
    train, test = open_dataset(tmp_path)
    ((name, cloud),) = train
    assert (name, [scene.name for scene in test.scenes]) == ("Area_1-office_1", ["Area_5-hall_1"])
    assert cloud.coord.tolist() == [[0, 0, 0], [1, 2, 3], [4, 5, 6]]
    assert cloud.color.tolist() == [[255, 0, 1], [0, 0, 0], [9, 9, 9]]
    assert [train.classes.names[label] for label in cloud.segment] == ["chair", "chair", "clutter"]
    assert cloud.instance.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ({}, "DATA/Area_1/office_1/Annotations: holds no .txt files; give the rooms of Stanford3dDataset_v1.2."),
        ({"lamp_1": "0 0 0 1 2 3"},
         "DATA/Area_1/office_1/Annotations/lamp_1.txt: is named after 'lamp', which is not a class of S3DIS: ceiling, "
         "floor, wall, beam, column, window, door, table, chair, sofa, bookcase, board, clutter."),
        ({"wall_1": "0 0 0 1 2 nan"},
         "DATA/Area_1/office_1/Annotations/wall_1.txt: has a value that is not finite; correct or remove its line."),
        ({"wall_1": "0 0 0 1 2\n"},
         "DATA/Area_1/office_1/Annotations/wall_1.txt: has lines of 5 values where 6 are declared; export it again."),
    ],
)  # fmt: skip
def test_broken_s3dis_rooms(tmp_path, objects, message):
    write_s3dis(tmp_path / "Area_1" / "office_1", **objects)
    write_s3dis(tmp_path / "Area_5" / "hall_1", wall_1="0 0 0 1 2 3\n")
    assert refusal(tmp_path) == message


def test_a_stray_byte_in_s3dis_is_named(tmp_path):
    """As in hallway_6 of Area 5 of the published files."""
    write_s3dis(tmp_path / "Area_1" / "office_1", ceiling_1="0 0 0 1 2 3\n0 0 0 185\x10187 1 2\n")
    write_s3dis(tmp_path / "Area_5" / "hall_1", wall_1="0 0 0 1 2 3\n")
    message = refusal(tmp_path)
    assert message.startswith("DATA/Area_1/office_1/Annotations/ceiling_1.txt: has a line that is not 6 numbers (")
    assert message.endswith("correct or remove it.")


def test_folders_that_are_no_data_set(tmp_path):
    assert (
        refusal(tmp_path / "gone")
        == "DATA: is not a folder; give a data set's folder, or rooms:60 for synthetic rooms."
    )
    assert refusal(tmp_path) == (
        "DATA: holds no data set known here; give a folder with Area_1/ROOM/Annotations, Area_1/ROOM/coord.npy, "
        "train/SCENE/coord.npy or SCENE/SCENE_vh_clean_2.ply."
    )
    write_pointcept(tmp_path / "train" / "a", 0)
    assert (
        refusal(tmp_path)
        == "DATA/val: holds no scenes; move some of the others there (`msm3d rooms -n 10` fills train and val)."
    )
    write_pointcept(tmp_path / "val" / "b", 0)
    assert refusal(tmp_path, classes="nyu") == (
        "unknown classes 'nyu'; choose one of scannet20, scannet200, s3dis, rooms."
    )


def test_some_scenes_by_name(tmp_path):
    for name in ("train/a", "train/b", "train/c", "val/d"):
        write_pointcept(tmp_path / name, 0)
    train, _ = open_dataset(tmp_path)
    assert [scene.name for scene in train.only(["c", "a"]).scenes] == ["a", "c"]
    with pytest.raises(InputError) as error:
        train.only(["a", "d"])
    assert str(error.value) == f"{tmp_path.name} train has no scene 'd'; give names as 'a'."


def test_rooms_on_the_fly(monkeypatch):
    import msm3d.rooms

    train, test = open_dataset("rooms:3/2")
    assert (len(train), len(test)) == (3, 2)
    assert [scene.name for scene in test.scenes] == [f"room-{TEST_SEEDS + i}" for i in range(2)]
    assert TRAIN_SEEDS + 999_999 < TEST_SEEDS
    make = msm3d.rooms.make
    monkeypatch.setattr(msm3d.rooms, "make", lambda seed: make(seed, points=3000))
    cloud = train.scenes[0].read()
    raw = make(TRAIN_SEEDS, points=3000).segment
    assert (cloud.segment == np.where(raw == msm3d.rooms.OTHER, -1, raw)).all()
    assert cloud.segment.min() == -1
    for spec in ("rooms:", "rooms:0", "rooms:x", "rooms:3/"):
        assert refusal(spec) == (
            f"{spec!r} names no rooms; give rooms:60, or rooms:60/40 for 60 to learn from and 40 to test."
        ).replace(spec, "DATA")


# --- what layouts share ---


def test_the_unlabelled_scans_of_raw_s3dis_are_rooms_without_the_area_to_test_on(tmp_path):
    for area, room in ((1, "office_1"), (2, "hall_1"), (5, "office_1")):
        write_s3dis(tmp_path / f"Area_{area}" / room, wall_1="0 0 0 1 2 3\n1 2 3 0 0 0\n", chair_1="0 1 0 1 2 3\n")
    bare = sources(tmp_path, tmp_path / "rooms")
    assert [scan.name for scan in bare] == ["Area_1/office_1", "Area_2/hall_1"]
    assert (len(bare[0].read()), bare[0].read().segment, bare[0].read().instance) == (3, None, None)
    (named, _) = sources(tmp_path, tmp_path / "rooms", labels=True)
    assert [S3DIS.names[label] for label in named.read().segment] == ["chair", "wall", "wall"]


def test_a_layout_of_someone_else_is_tried_first(tmp_path):
    cloud = object()

    def splits(where, choice):
        scan = LabelledScan("a", lambda: cloud)
        return tuple(Dataset("mine", name, S3DIS, (scan,)) for name in ("train", f"area {choice.area}"))

    mine = Layout(
        title="mine",
        example="mine.txt",
        recognise=lambda where: (Path(where) / "mine.txt").is_file(),
        splits=splits,
        scans=lambda folder, labels: [FileScan("b", lambda: labels)] if (folder / "mine.txt").is_file() else [],
    )
    write_pointcept(tmp_path / "train" / "a", 0)
    assert register(mine) is mine
    try:
        assert "give a folder with mine.txt, Area_1/ROOM/Annotations, " in refusal(tmp_path / "train")
        (tmp_path / "mine.txt").write_text("")
        train, test = open_dataset(tmp_path, area=2)
        assert (train.name, test.split, train.scenes[0].read()) == ("mine", "area 2", cloud)
        assert [(scan.name, scan.read()) for scan in sources(tmp_path, tmp_path, labels=True)] == [("b", True)]
    finally:
        unregister(mine)
    assert [scan.name for scan in sources(tmp_path, tmp_path)] == ["a"]
    with pytest.raises(InputError, match=r"^'mine' is not a layout; give a msm3d\.datasets\.Layout\.$"):
        register("mine")


def test_installed_packages_bring_layouts_and_a_broken_one_is_named(monkeypatch):
    class Entry:
        def __init__(self, name, found):
            self.name, self.found, self.value, self.dist = name, found, f"package_of_{name}:LAYOUT", None

        def load(self):
            if self.found is None:
                raise ImportError("no module named 'gone'.")
            return self.found

    good = Layout(title="good", recognise=lambda where: False, splits=lambda where, choice: None)
    entries = [Entry("good", good), Entry("broken", None), Entry("odd", 7)]
    home = layouts.__globals__  # of the module
    monkeypatch.setitem(home, "_of_packages", home["_of_packages"].__wrapped__)
    monkeypatch.setitem(home, "installed", lambda group: entries if group == "msm3d.datasets" else [])
    with pytest.warns(Msm3dWarning) as said:
        known = layouts()
    assert known[0] is good
    assert [str(warning.message) for warning in said] == [
        "the data set 'broken' of the package package_of_broken cannot be used (no module named 'gone'); "
        "update the package, or remove it: pip uninstall package_of_broken",
        "the data set 'odd' of the package package_of_odd cannot be used (package_of_odd:LAYOUT is not a "
        "msm3d.datasets.Layout); update the package, or remove it: pip uninstall package_of_odd",
    ]


def test_objects_are_what_the_benchmarks_count():
    for classes, number in ((SCANNET20, 18), (SCANNET200, 198), (S3DIS, 13), (class_list("rooms"), 18)):
        assert len(classes.things) == number
        assert {"wall", "floor"} & {classes.names[label] for label in classes.things} == (
            {"wall", "floor"} if classes is S3DIS else set()
        )


def test_a_folder_may_be_called_rooms(tmp_path, monkeypatch):
    for name in ("train/a", "val/b"):
        write_pointcept(tmp_path / "rooms:2" / name, 0)
    monkeypatch.chdir(tmp_path)
    assert [scene.name for scene in open_dataset("rooms:2")[0].scenes] == ["a"]
    assert [scene.name for scene in sources("rooms:2", tmp_path)] == ["a"]
    with pytest.raises(InputError, match=r"^'rooms:2/1' has rooms to test on; give rooms, or rooms:400 for as many\.$"):
        sources("rooms:2/1", tmp_path)
