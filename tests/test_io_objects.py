"""Scans as objects of Open3D and PyTorch Geometric and as Pointcept's dictionaries, there and back again."""

import sys

import numpy as np
import pytest
import torch

import msm3d
from msm3d.errors import DependencyError, InputError, Msm3dWarning
from msm3d.io import results, to_open3d, to_pointcept, to_pyg
from tests.files import LABEL, NORMAL, RGB, XYZ

FEATURES = np.random.default_rng(3).normal(size=(40, 5)).astype(np.float32)
SCAN = {"coord": XYZ, "color": RGB, "normal": NORMAL, "segment": LABEL, "instance": np.arange(40)}
SHADES = np.arange(256, dtype=np.uint8)[:, None].repeat(3, 1)


def equal(one, two, names=("coord", "color", "normal", "segment", "instance")):
    for name in names:
        a, b = getattr(one, name), getattr(two, name)
        assert (a is None) == (b is None), name
        if a is not None:
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 if name == "color" else 1e-7)


def test_legacy_clouds_of_open3d_and_back():
    o3d = pytest.importorskip("open3d", exc_type=ImportError)
    scan = msm3d.PointCloud.of(SCAN)
    found = to_open3d(SCAN)
    assert isinstance(found, o3d.geometry.PointCloud)
    equal(msm3d.PointCloud.of(found), scan, ("coord", "color", "normal"))
    shades = to_open3d({"coord": np.tile(XYZ, (7, 1))[:256], "color": SHADES})
    assert np.array_equal(np.rint(np.asarray(shades.colors) * 255), SHADES)  # a cast would be one too low for some
    assert np.array_equal(np.rint(msm3d.PointCloud.of(shades).color), SHADES)
    assert not to_open3d({"coord": XYZ}).has_colors()
    far = XYZ + np.array([682244.65, 3444317.77, 31])
    assert np.array_equal(np.asarray(to_open3d(far).points), far)
    with pytest.raises(InputError, match=r"^a legacy cloud of Open3D has no place for features; pass tensor=True\.$"):
        to_open3d(SCAN, FEATURES)


def test_tensor_clouds_of_open3d_and_back():
    o3d = pytest.importorskip("open3d", exc_type=ImportError)
    found = to_open3d(SCAN, torch.from_numpy(FEATURES), tensor=True)
    assert isinstance(found, o3d.t.geometry.PointCloud)
    equal(msm3d.PointCloud.of(found), msm3d.PointCloud.of(SCAN))
    assert np.array_equal(found.point["features"].numpy(), FEATURES)
    assert found.point["colors"].numpy().dtype == np.uint8
    assert found.point["segment"].numpy().shape == (40, 1)
    half = to_open3d({"coord": XYZ, "color": RGB / 255 * 0.5}, tensor=True)
    np.testing.assert_allclose(half.point["colors"].numpy(), RGB / 510, atol=1e-6)
    np.testing.assert_allclose(msm3d.PointCloud.of(half).color, RGB / 2, atol=1e-3)


def test_graphs_and_back():
    data = pytest.importorskip("torch_geometric.data")
    scan = msm3d.PointCloud.of(SCAN)
    one = to_pyg(scan, FEATURES)
    assert isinstance(one, data.Data)
    assert one.pos.dtype == torch.float32
    assert torch.equal(one.x, torch.from_numpy(FEATURES))
    assert one.y.tolist() == LABEL.tolist()
    equal(msm3d.PointCloud.of(one), scan)
    batch = to_pyg([SCAN, {name: values[:30] for name, values in SCAN.items()}])
    assert batch.num_graphs == 2
    with pytest.raises(InputError, match="the points are 2 scenes by their batch"):
        msm3d.PointCloud.of(batch)
    assert "color" not in to_pyg([{"coord": SCAN["coord"]}, SCAN])  # only what all have
    equal(msm3d.PointCloud.of(batch[1]), msm3d.PointCloud.of({k: v[:30] for k, v in SCAN.items()}))


@pytest.mark.filterwarnings("ignore:the scan has")  # few points
def test_graphs_are_described_as_arrays_are(model):
    data = pytest.importorskip("torch_geometric.data")
    tensors = {name: torch.from_numpy(np.array(SCAN[name])) for name in ("coord", "color", "normal")}
    named = {"pos": tensors["coord"], "color": tensors["color"], "normal": tensors["normal"]}
    right = model.extract(tensors)
    assert torch.equal(model.extract(data.Data(**named)), right)
    batch = data.Batch.from_data_list([data.Data(**named), data.Data(**named, y=torch.tensor([7]))], exclude_keys=["y"])
    assert torch.equal(model.extract(batch), torch.cat([right, right]))


def test_what_a_graph_does_not_say():
    data = pytest.importorskip("torch_geometric.data")
    pos = torch.from_numpy(XYZ)
    with pytest.warns(Msm3dWarning, match="x of the graph is not used"):
        assert msm3d.PointCloud.of(data.Data(pos=pos, x=torch.rand(40, 6), y=torch.tensor([3]))).segment is None
    with pytest.raises(InputError, match="points is a Data"):
        msm3d.PointCloud.of(data.Data(x=pos))


@pytest.mark.filterwarnings("ignore:the scan has")  # few points
def test_dictionaries_of_pointcept_and_back(model):
    scan = msm3d.PointCloud.of(SCAN)
    one = to_pointcept(SCAN, FEATURES)
    assert sorted(one) == ["color", "coord", "feat", "instance", "normal", "offset", "segment"]
    assert one["offset"].tolist() == [40]
    equal(msm3d.PointCloud.of(one), scan)
    bare = {"coord": XYZ[:30], "color": RGB[:30], "normal": NORMAL[:30]}
    two = to_pointcept([SCAN, bare], [FEATURES, FEATURES[:30]])
    assert two["offset"].tolist() == [40, 70]
    assert "segment" not in two
    assert two["feat"].shape == (70, 5)
    single = {name: two[name][:40] for name in ("coord", "color", "normal")}
    assert torch.equal(model.extract(two)[:40], model.extract(single))


def test_coordinates_keep_a_tenth_of_a_millimetre():
    far = XYZ + np.array([682244.65, 3444317.77, 31])
    assert to_pointcept(far)["coord"].dtype == torch.float64
    assert np.array_equal(to_pointcept(far)["coord"].numpy(), far)
    assert to_pointcept(XYZ + np.float32(500))["coord"].dtype == torch.float32


def test_files_of_features_come_with_them(tmp_path, model):
    cloud = msm3d.PointCloud.of(SCAN)
    path = tmp_path / "a.npz"
    with results.writing(path, cloud, 5, meta=results.provenance(model)) as rows:
        rows[:] = FEATURES
    found = to_pointcept(path)
    assert np.array_equal(found["feat"].numpy(), FEATURES)
    assert "feat" not in to_pointcept({"coord": XYZ})
    holes = XYZ.copy()
    holes[3] = np.nan
    kept = to_pointcept(msm3d.PointCloud.of(holes, invalid="nan"), FEATURES)
    assert np.array_equal(kept["feat"].numpy(), np.delete(FEATURES, 3, 0))
    assert kept["rows"].tolist() == [0, 1, 2, *range(4, 40)]


@pytest.mark.parametrize("features", [FEATURES[:39], FEATURES[0], np.zeros((40, 2), int), "a"])
def test_features_that_do_not_fit_are_refused(features):
    with pytest.raises(InputError, match=r"^features is .*; give floats \(40, c\), a row for each point\.$"):
        to_pointcept(SCAN, features)


def test_lists_that_do_not_fit_are_refused():
    for scans, features in (([], None), ([SCAN], [FEATURES, FEATURES])):
        with pytest.raises(InputError, match=r"^there are \d scans and \d of features; give some, and one for each\.$"):
            to_pointcept(scans, features)
    with pytest.raises(InputError, match=r"^features is a int; for a list of scans give a list of arrays\.$"):
        to_pointcept([SCAN], 5)


@pytest.mark.parametrize(("package", "call"), [("open3d", to_open3d), ("torch_geometric", to_pyg)])
def test_what_is_missing_is_said(monkeypatch, package, call):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f"{package}.data", None)
    with pytest.raises(DependencyError, match=rf"^{package} is needed \(.*\); type: pip install {package}\.$"):
        call(SCAN)
