"""Principal components of descriptors: the basis, its file, and what `extract --pca` writes on it."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA

import msm3d
from msm3d import batch, cli
from msm3d.describe.components import Components
from msm3d.errors import FileError, InputError, Msm3dWarning
from msm3d.io import results
from msm3d.tasks import reducing
from tests.conftest import make_scene

RNG = np.random.default_rng(0)
ROWS = (RNG.normal(size=(400, 6)) @ RNG.normal(size=(6, 20)) + 1000).astype(np.float32)


@pytest.fixture
def call(tmp_path, monkeypatch, model, capsys):
    """Run extract in a folder with two scans; return its exit code and what is shown."""
    monkeypatch.chdir(tmp_path)
    weights = str(model.save_pretrained(tmp_path / "weights"))
    Path("scans").mkdir()
    for i in range(2):
        np.savez(f"scans/{i}.npz", **make_scene(i, 100))

    def called(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(["extract", *arguments, "--model", weights, "--device", "cpu"])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return called


def test_components_are_those_of_float64_whatever_the_mean_is():
    basis = Components.fit([ROWS], 4)
    known = PCA(4, svd_solver="full").fit(ROWS.astype(np.float64))
    np.testing.assert_allclose(np.abs((basis.axes * known.components_).sum(1)), 1, atol=1e-5)
    np.testing.assert_allclose(basis.variance, known.explained_variance_ * 399 / 400, rtol=1e-4)
    assert basis.explained == pytest.approx(known.explained_variance_ratio_.sum(), abs=1e-5)
    assert (basis.axes[np.arange(4), np.abs(basis.axes).argmax(1)] > 0).all()
    signs = np.sign((basis.axes * known.components_).sum(1))
    np.testing.assert_allclose(basis(ROWS), known.transform(ROWS) * signs, atol=2e-2)
    assert (len(basis), basis(ROWS).dtype) == (4, np.float32)


def test_scenes_have_the_same_weight_and_parts_change_nothing(monkeypatch):
    few, many = ROWS[:50], ROWS[50:] + 3
    np.testing.assert_allclose(Components.fit([few, many], 2).mean, (few.mean(0) + many.mean(0)) / 2, rtol=1e-5)
    whole = Components.fit([few, many], 2)
    monkeypatch.setattr("msm3d.describe.components._PART", 7)
    np.testing.assert_allclose(Components.fit([few, many], 2).axes, whole.axes, atol=1e-6)
    np.testing.assert_allclose(whole(many), Components.fit([few, many], 2)(many), atol=1e-4)
    assert Components.fit([np.ones((3, 2), np.float32)], 1).explained == 1.0


def test_a_basis_is_kept_to_the_bit(tmp_path):
    meta = {"model": "rooms", "sha256": "ab", "precision": "fp32", "levels": [1], "sampling": "centered", "up": "z"}
    basis = Components.fit([ROWS], 3, meta)
    found = Components.load(basis.save(tmp_path / "basis.json"))
    for name in ("mean", "axes", "variance"):
        assert np.array_equal(getattr(found, name), getattr(basis, name))
    assert (found.digest(), found.explained, found.of) == (basis.digest(), basis.explained, basis.of)
    assert "up" not in basis.of
    found.require_of({**meta, "levels": (1,), "precision": "bf16"})
    with pytest.raises(InputError, match=r"^the basis is of other descriptors, .*levels.*; give the same model= and"):
        found.require_of({**meta, "levels": [2]})
    with pytest.raises(InputError, match=r"cannot hold a basis of components; end it with \.json\.$"):
        basis.save(tmp_path / "basis.npz")
    values = json.loads((tmp_path / "basis.json").read_text())
    flaws = [{"axes": [[1.0]]}, {"mean": "x"}, {"format": "other"}, {"variance": []}, {"of": 3}, {"explained": None}]
    for flaw in [*flaws, {"mean": [float("nan")] * 20}]:
        (tmp_path / "bad.json").write_text(json.dumps({**values, **flaw}))
        with pytest.raises(FileError, match=r"bad\.json: holds no basis of components; write one with msm3d extract"):
            Components.load(tmp_path / "bad.json")
    with pytest.raises(FileError, match=r"none\.json: does not exist; check the path\.$"):
        Components.load(tmp_path / "none.json")


@pytest.mark.parametrize("count", [0, 21, 2.0, True])
def test_there_are_as_many_components_as_channels_at_most(count):
    with pytest.raises(InputError, match=r"^pca is .*; give a whole number from 1 to 20, the channels\.$"):
        Components.fit([ROWS], count)


def test_what_is_not_descriptors_is_refused():
    for scenes in ([], [ROWS[:0]], [ROWS, ROWS[:, :3]]):
        with pytest.raises(InputError, match="widths of descriptors; give some rows"):
            Components.fit(scenes, 2)
    with pytest.raises(InputError, match="some descriptors are not finite"):
        Components.fit([np.where(ROWS > 1003, np.nan, ROWS)], 2)
    with pytest.raises(InputError, match=r"have shape \(400, 5\), the basis is of 20 channels"):
        Components.fit([ROWS], 2)(ROWS[:, :5])


@pytest.mark.parametrize("ending", ["npz", "npy", "ply", "las", "parquet", "safetensors", "zarr"])
def test_a_scan_is_reduced_on_its_own_basis_which_lies_beside_it(call, ending):
    code, shown, _ = call("scans/0.npz", "-o", f"out.{ending}", "--pca", "3", "--levels", "0,1")
    assert code == 0
    assert shown.startswith("out.basis.json: 3 components explain ")
    model, basis = msm3d.load("./weights", device="cpu"), Components.load("out.basis.json")
    rows = model.extract("scans/0.npz", levels=(0, 1))
    found = results.features(f"out.{ending}")
    np.testing.assert_allclose(found, basis(rows), atol=1e-5)
    meta = results.metadata(f"out.{ending}")
    assert (meta["channels"], meta["levels"]) == ([3], [0, 1])
    assert meta["pca"] == {"components": 3, "explained": pytest.approx(basis.explained, abs=1e-4)} | {
        "basis_sha256": basis.digest()
    }
    if ending not in ("npy",):
        np.testing.assert_allclose(msm3d.read(f"out.{ending}").coord, make_scene(0, 100)["coord"], atol=1e-4)


def test_all_scans_of_a_folder_share_a_basis_and_later_ones_too(call):
    assert call("scans", "-o", "out", "--pca", "4")[0] == 0
    before = Path("out/basis.json").read_bytes()
    model, basis = msm3d.load("./weights", device="cpu"), Components.load("out/basis.json")
    rows = [model.extract(f"scans/{i}.npz", at="voxels")[0] for i in range(2)]
    assert np.array_equal(basis.axes, Components.fit(rows, 4).axes)
    np.savez("scans/2.npz", **make_scene(2, 100))
    code, shown, _ = call("scans", "-o", "out", "--pca", "4")
    assert code == 0
    assert [line.split(": ")[-1][:8] for line in shown.splitlines()[1:4]] == ["is there", "is there", "300 poin"]
    assert Path("out/basis.json").read_bytes() == before
    np.testing.assert_allclose(results.features("out/2.npz"), basis(model.extract("scans/2.npz")), atol=1e-5)
    assert [job.scan.name for job in batch.plan(["out"], "b").jobs] == ["0.npz", "1.npz", "2.npz"]
    code, _, told = call("scans", "-o", "out", "--pca", "5")
    assert code == 2
    assert "out/basis.json has 4 components; give --pca 4, or another --basis." in told
    code, _, told = call("scans/0.npz", "-o", "a.npz", "--basis", "out/basis.json", "--levels", "0")
    assert code == 2
    assert "the basis is of other descriptors" in told
    assert not Path("a.npz").exists()
    assert call("scans", "-o", "out", "--pca", "5", "--again")[0] == 0
    assert len(Components.load("out/basis.json")) == 5


def test_points_without_a_position_have_rows_of_nan(call):
    scene = make_scene(0, 100)
    scene["coord"][[3, 250]] = np.nan
    np.savez("holes.npz", **scene)
    code, _, _ = call("holes.npz", "-o", "out.npy", "--pca", "2", "--invalid", "nan")
    assert code == 0
    assert np.flatnonzero(np.isnan(results.features("out.npy")).any(1)).tolist() == [3, 250]


def test_scans_that_cannot_be_read_do_not_stop_a_basis(call, monkeypatch):
    Path("scans/a.ply").write_text("ply\n")
    monkeypatch.setattr(reducing, "MOST", 2)  # the first and the second of three
    code, shown, told = call("scans", "-o", "out", "--pca", "2")
    assert code == 1
    assert "out/basis.json: 2 components explain" in shown
    assert "a.ply" in told
    jobs = batch.plan(["scans/a.ply", "scans/0.npz"], "b/").jobs
    model, options = msm3d.load("./weights", device="cpu"), msm3d.scan.options.ReadOptions()
    with pytest.warns(Msm3dWarning, match=r"1 scan of 2 cannot be read, and the basis is fitted without: .*a\.ply"):
        reducing.fitted(model, jobs, 2, options)
    with pytest.raises(FileError, match=r"a\.ply"):
        reducing.fitted(model, jobs[:1], 2, options)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--pca", "500"], "pca is 500; give a whole number from 1 to 76, the channels."),
        (["--basis", "none.json"], "none.json: does not exist; check the path."),
        (["--pca", "2", "--basis", "b.npz"], "b.npz cannot hold a basis of components; end it with .json."),
        (["--pca", "2", "--levels", "9"], "levels is [9]; give some of 0 (finest) to 2"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(call, arguments, said):
    before = sorted(Path().rglob("*"))
    code, _, told = call("scans/0.npz", "-o", "out.npz", *arguments)
    assert code == 2
    assert said in told.splitlines()[-1]
    assert sorted(Path().rglob("*")) == before
