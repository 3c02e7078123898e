"""Features beside the fields of the scan's own file: LAS, LAZ, Parquet and PLY, as msm3d and others read them."""

import json
from pathlib import Path

import laspy
import numpy as np
import plyfile
import pytest

import msm3d
from msm3d import batch
from msm3d.errors import DependencyError, FileError, InputError, Msm3dWarning
from msm3d.io import read, results
from msm3d.scan.cloud import PointCloud
from msm3d.scan.options import ReadOptions
from tests.conftest import make_scene
from tests.files import LABEL, NORMAL, RGB, XYZ

ORIGIN = np.array([682244.65, 3444317.77, 31.0])
FEAT = np.random.default_rng(1).normal(size=(40, 5)).astype(np.float32)
META = {"model": "rööms", "sha256": "ab" * 32, "levels": [0, 1], "channels": [2, 3], "up": "z", "units": "m"}
WHOLE = {"coord": XYZ + ORIGIN, "color": RGB, "normal": NORMAL, "segment": LABEL, "instance": np.arange(40) * 1000}


def write(path, cloud, feat=FEAT, source=None, meta=META):
    with results.writing(path, cloud, feat.shape[1], feat.dtype.name, meta, source) as target:
        target[:] = feat
    return path


def scan(file, kind=8, n=40, origin=ORIGIN):
    """A LAS file with all that surveyors have: times, intensity, other dimensions, a reference system."""
    las = laspy.LasData(laspy.LasHeader(point_format=kind, version="1.4"))
    las.header.scales, las.header.offsets = [0.001] * 3, origin
    las.add_extra_dim(laspy.ExtraBytesParams("height", np.float32))
    las.add_extra_dim(laspy.ExtraBytesParams("scaled", np.int16, offsets=[5.0], scales=[0.01]))
    las.header.vlrs.append(laspy.VLR("LASF_Projection", 2112, "wkt", b'LOCAL_CS["here"]\0'))
    las.x, las.y, las.z = (np.resize(XYZ, (n, 3)) + origin).T
    las.red, las.green, las.blue = np.resize(RGB, (n, 3)).T.astype(np.uint16) * 257
    las.intensity, las.gps_time = np.arange(n), np.arange(n) / 7
    las.return_number, las.classification = np.arange(n) % 5 + 1, np.resize(LABEL, n)
    las.height, las.scaled = np.arange(n, dtype=np.float32), np.arange(n) / 100
    las.write(file)
    return file


@pytest.mark.parametrize("kind", ["las", "laz"])
@pytest.mark.parametrize("source", ["las", "laz"])
def test_las_keeps_every_dimension_of_the_scan(tmp_path, kind, source, monkeypatch):
    monkeypatch.setattr("msm3d.io.layouts.las._CHUNK", 7)
    given = scan(tmp_path / f"scan.{source}")
    out = write(tmp_path / f"out.{kind}", read(given), source=given)
    before, after = laspy.read(given), laspy.read(out)
    assert after.header.are_points_compressed == (kind == "laz")
    for name in before.point_format.dimension_names:
        assert np.array_equal(before[name], after[name]), name
    assert np.array_equal(before.xyz, after.xyz)
    assert after.header.vlrs.get("WktCoordinateSystemVlr")
    assert np.array_equal(np.stack([after[f"feat_{i}"] for i in range(5)], 1), FEAT)
    assert np.array_equal(results.features(out), FEAT)
    assert np.array_equal(results.coord(out), read(given).coord)
    assert results.metadata(out)["model"] == "rööms"
    assert results.metadata(given) is None
    back = read(out)
    assert np.array_equal(back.coord, read(given).coord)
    assert np.array_equal(back.color, read(given).color)
    assert back.segment.tolist() == LABEL.tolist()
    again = write(tmp_path / f"again.{kind}", back, FEAT[:, :2], source=out)  # features are replaced, not added to
    names = list(laspy.read(again).point_format.extra_dimension_names)
    assert names == ["height", "scaled", "feat_0", "feat_1"]


@pytest.mark.parametrize("kind", ["las", "laz"])
def test_las_of_other_scans_has_what_the_scan_has(tmp_path, kind):
    cloud = PointCloud.of(WHOLE)
    out = write(tmp_path / f"out.{kind}", cloud, source=tmp_path / "scan.ply")
    back = read(out)
    np.testing.assert_allclose(back.coord, cloud.coord, rtol=0, atol=5.1e-5)
    for name in ("color", "normal", "segment", "instance"):
        np.testing.assert_allclose(getattr(back, name), getattr(cloud, name), rtol=0, atol=1e-6)
    unknown = PointCloud.of({**WHOLE, "segment": np.arange(40) - 1, "color": None, "normal": None})
    assert read(write(tmp_path / f"b.{kind}", unknown)).segment.tolist() == list(range(-1, 39))
    assert laspy.read(tmp_path / f"b.{kind}").point_format.id == 6


def test_las_in_other_axes_and_with_points_left_out(tmp_path):
    given = scan(tmp_path / "scan.las", n=200, origin=np.zeros(3))
    las = laspy.read(given)
    las.x[50:60], las.y[50:60], las.z[50:60] = 0, 0, 0  # no position: more than 1 % at the origin
    las.write(given)
    feat = np.arange(380.0, dtype=np.float32).reshape(190, 2)
    with pytest.warns(Msm3dWarning):
        cloud = read(given, units="cm", up="y")
    out = write(tmp_path / "out.las", cloud, feat, source=given)
    found = laspy.read(out)
    np.testing.assert_allclose(found.xyz, cloud.coord, rtol=0, atol=5.1e-5)
    assert found["row"].tolist() == found["height"].tolist() == cloud.rows.tolist()
    assert not found.header.vlrs.get("WktCoordinateSystemVlr")
    whole = PointCloud.of({"coord": np.where(np.arange(40)[:, None] == 3, np.nan, XYZ)}, invalid="nan")
    with pytest.raises(InputError, match="LAS has no place for points without a position; leave out invalid='nan', or"):
        write(tmp_path / "a.las", whole)


def test_las_holds_no_more_than_its_records(tmp_path):
    given = scan(tmp_path / "scan.las")
    most = np.zeros((40, 339), np.float32)
    assert results.features(write(tmp_path / "a.laz", read(given), most, source=given)).shape == (40, 339)
    message = r"^LAS holds 341 extra dimensions, which 2 of the scan's and 340 features exceed; extract fewer levels="
    with pytest.raises(InputError, match=message):
        write(tmp_path / "b.las", read(given), np.zeros((40, 340), np.float32), source=given)
    with pytest.raises(InputError, match=r"LAS has no float16; write \.npz, "):
        write(tmp_path / "b.las", read(given), FEAT.astype(np.float16))
    assert not (tmp_path / "b.las").exists()


@pytest.mark.parametrize("name", ["a.las", "a.laz", "a.parquet"])
def test_files_without_features_and_damaged_ones(tmp_path, name, monkeypatch):
    file = tmp_path / name
    with results.writing(file, PointCloud.of(WHOLE), 2, meta={**META, "channels": [2]}) as feat:
        feat[:] = 1
    assert results.is_done(file, {**META, "channels": [2]}, 40)
    assert not results.is_done(file, {**META, "channels": [3]}, 40)
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    with pytest.raises(FileError, match=rf"{name}: "):
        results.features(file)
    if name == "a.parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"x": [1.0]}), file)
    else:
        scan(file)
    with pytest.raises(FileError, match=r"holds no (array 'feat'|dimensions feat_0, .*); write it with msm3d"):
        results.features(file)
    package = "pyarrow" if name == "a.parquet" else "laspy"
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(DependencyError, match=rf"writing .* needs {package}.*; type: pip install \"msm3d\["):
        write(tmp_path / name, PointCloud.of(WHOLE))
    with pytest.raises(FileError, match=rf"cannot be read without {package}.*; type: pip install {package}"):
        results.features(file)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_parquet_has_lists_that_others_read(tmp_path, dtype):
    import pyarrow.parquet as pq

    cloud = PointCloud.of({**WHOLE, "viewpoint": ORIGIN[None] + [[0], [1]], "station": np.arange(40) % 3 - 1})
    out = write(tmp_path / "a.parquet", cloud, FEAT.astype(dtype))
    table = pq.read_table(out)
    assert (
        str(table.schema.field("feat").type)
        == f"fixed_size_list<element: {'halffloat' if '16' in dtype else 'float'}>[5]"
    )
    assert table["coord"].to_pylist() == cloud.coord.tolist()
    assert table["segment"].to_pylist() == LABEL.tolist()
    assert json.loads(table.schema.metadata[b"msm3d"])["model"] == "rööms"
    assert np.array_equal(results.features(out), FEAT.astype(dtype))
    assert np.array_equal(results.coord(out), cloud.coord)
    back = read(out)
    for name in ("coord", "color", "segment", "instance", "viewpoint", "station"):
        assert np.array_equal(getattr(back, name), getattr(cloud, name)), name
    np.testing.assert_allclose(back.normal, cloud.normal, atol=1e-6)


def test_parquet_of_others(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    def kept(**columns):
        pq.write_table(pa.table(columns), tmp_path / "a.parquet", row_group_size=7)
        return tmp_path / "a.parquet"

    flat = dict(zip(["X", "Y", "Z", "red", "green", "blue"], [*XYZ.T, *RGB.T], strict=True))
    cloud = read(kept(**flat, intensity=np.arange(40.0), name=["a"] * 40))
    assert np.array_equal(cloud.coord, XYZ)
    assert np.array_equal(cloud.color, RGB)
    lists = pa.array(XYZ.tolist(), pa.list_(pa.float64()))
    assert np.array_equal(read(kept(xyz=lists, label=LABEL)).coord, XYZ)
    with pytest.raises(FileError, match=r"a\.parquet: has lists of several lengths, or rows without one, where \(n, "):
        read(kept(xyz=pa.array([[1.0, 2, 3], [1.0, 2]])))
    with pytest.raises(FileError, match=r"a\.parquet: has the columns label; x, y and z, or lists of three "):
        read(kept(label=LABEL, name=["a"] * 40))
    with pytest.raises(FileError, match=r"a\.parquet: there are no points|a\.parquet: .*0 rows"):
        read(kept(**{name: np.zeros(0) for name in "xyz"}))


def ply(file, table, text=False, order="<"):
    plyfile.PlyData([plyfile.PlyElement.describe(table, "vertex")], text=text, byte_order=order).write(file)
    return file


@pytest.mark.parametrize(("text", "order"), [(True, "="), (False, "<"), (False, ">")])
def test_ply_keeps_every_number_of_the_scan(tmp_path, text, order):
    more = dict(
        zip(
            ("scalar_Intensity", "quality", "time", "id", "class", "feat_0", "nope"),
            "f4 u1 f8 u4 u1 f4 i2".split(),
            strict=True,
        )
    )
    kinds = [*((axis, "f4") for axis in "xyz"), *((name, "u1") for name in ("red", "green", "blue")), *more.items()]
    table = np.zeros(40, kinds)
    values = {**dict(zip("xyz", XYZ.T, strict=True)), **dict(zip(("red", "green", "blue"), RGB.T, strict=True))}
    values |= {name: np.arange(40) for name in more} | {"id": np.arange(40) + 4e9, "time": np.arange(40) / 7}
    for name, column in values.items():
        table[name] = column
    table["x"][5] = np.nan
    given = ply(tmp_path / "scan.ply", table, text, order)
    with pytest.warns(Msm3dWarning):
        cloud = read(given)
    out = write(tmp_path / "out.ply", cloud, FEAT[:39], source=given)
    kept = plyfile.PlyData.read(out)["vertex"]
    there = np.delete(np.arange(40), 5)
    for name in ("scalar_Intensity", "quality", "time", "id", "class", "nope"):
        np.testing.assert_allclose(kept[name], values[name][there], rtol=1e-7)
    assert kept["row"].tolist() == there.tolist()
    assert np.array_equal(results.features(out), FEAT[:39])
    assert np.array_equal(kept["feat_0"], FEAT[:39, 0])
    assert len(write(tmp_path / "b.ply", PointCloud.of({"coord": XYZ[:7]}), FEAT[:7], source=given).read_bytes()) < 1500


def test_extract_gives_the_scan_to_the_writer(tmp_path, model):
    scene = make_scene(0, 200)
    las = laspy.LasData(laspy.LasHeader(point_format=7, version="1.4"))
    las.header.scales = [1e-3] * 3
    las.x, las.y, las.z = scene["coord"].T
    las.intensity = np.arange(600)
    las.write(tmp_path / "scan.las")
    plan = batch.plan([tmp_path / "scan.las"], tmp_path / "out.laz")
    with pytest.warns(Msm3dWarning):
        done = [str(one.error) for one in batch.extract(model, plan.jobs, options=ReadOptions())]
    assert done == ["None"]
    assert laspy.read(tmp_path / "out.laz").intensity.tolist() == list(range(600))
    with pytest.warns(Msm3dWarning):
        wanted = model.extract(msm3d.read(tmp_path / "scan.las"))
    np.testing.assert_allclose(results.features(tmp_path / "out.laz"), wanted, atol=1e-5)
    assert Path(tmp_path / "out.laz").stat().st_size > 0
