"""Features come from models in evaluation mode, and a cache neither computes twice nor reads what is stale."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch

import msm3d
from msm3d import PointCloud
from msm3d.errors import InputError
from msm3d.evaluate import FeatureCache, LinearProbe, ModelFeatures, RawFeatures, random_network
from msm3d.tasks.fingerprint import input_hash, model_hash, scene_hash
from tests.conftest import make_scene


class Counted:
    """Made-up features of 3 columns, rows in another order than the points, that count how often they are asked for."""

    name, hash, blocks, levels = "counted", "c1", {"all": slice(0, 3)}, False

    def __init__(self):
        self.calls = 0

    def __call__(self, cloud):
        self.calls += 1
        return cloud.coord[::-1].astype(np.float16), np.arange(len(cloud))[::-1]

    def describe(self):
        return {"name": self.name}


@pytest.fixture
def cloud():
    return labelled(0)


def labelled(seed: int, n: int = 100) -> PointCloud:
    scene = make_scene(seed, n)
    segment = np.repeat([0, 1, 2], n)
    segment[::10] = -1
    return PointCloud.of(scene | {"segment": segment})


def test_rows_are_the_models_descriptors_of_every_point(model, cloud):
    rows, owner = ModelFeatures(model)(cloud)
    assert rows.dtype == np.float16
    assert len(rows) < len(cloud) == len(owner)
    np.testing.assert_array_equal(rows[owner], model.extract(cloud, dtype="float16"))


def test_training_mode_is_refused_before_and_after(model, cloud):
    features = ModelFeatures(model, name="mine")
    model.backbone.decoder[1].train()
    with pytest.raises(InputError) as error:
        features(cloud)
    assert str(error.value) == (
        "mine: its part 'backbone.decoder.1' is in training mode, where features are random; call model.eval()."
    )
    with pytest.raises(InputError) as error:
        ModelFeatures(model.train())
    assert str(error.value) == "untrained: it is in training mode, where features are random; call model.eval()."


def test_features_beyond_half_precision_are_refused(model, cloud):
    with torch.no_grad():
        model.backbone.decoder[0].gamma.fill_(1e9)
    with pytest.raises(InputError, match=r"^features of untrained are not finite, or above 65504, the largest number"):
        ModelFeatures(model)(cloud)


def test_raw_features_are_colour_normal_and_height():
    coord = np.array([[0, 0, 1.0], [0, 0, 3.0], [5, 5, 2.0]])
    raw = PointCloud.of({"coord": coord, "color": [[0, 0, 255]] * 3, "normal": [[0, 1, 0]] * 3})
    rows, owner = RawFeatures()(raw)
    assert rows[:, :6].tolist() == [[-1, -1, 1, 0, 1, 0]] * 3
    np.testing.assert_allclose(rows[:, 6], [0, 2, 1], atol=0.03)
    assert owner.tolist() == [0, 1, 2]


def test_random_networks_are_drawn_by_their_seed(config):
    state = torch.get_rng_state()
    first, again, other = (random_network(config, seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert model_hash(first) == model_hash(again) != model_hash(other)
    assert not any(module.training for module in first.modules())


def test_hashes_change_with_what_they_stand_for(model, config, cloud):
    moved = replace(cloud, coord=cloud.coord + 1e-9)
    renamed = replace(cloud, segment=cloud.segment + 1)
    painted = replace(cloud, color=cloud.color * np.float32(0.5))
    assert len({scene_hash(c) for c in (cloud, moved, renamed)}) == 3
    assert scene_hash(painted) == scene_hash(cloud)
    assert scene_hash(replace(cloud, segment=cloud.segment.astype(np.int16))) == scene_hash(cloud)
    assert input_hash(painted) != input_hash(cloud)
    before = model_hash(model)
    with torch.no_grad():
        model.backbone.decoder[0].gamma[0] += 1e-6
    assert model_hash(model) != before
    bf16 = random_network(config, 0)
    for parameter in bf16.backbone.parameters():
        parameter.data = parameter.data.bfloat16()
    assert model_hash(bf16) != model_hash(random_network(config, 0))


def test_a_sample_is_of_labelled_points_with_their_own_features(tmp_path, cloud):
    sample = FeatureCache(tmp_path, Counted(), points=50).sample("a", cloud)
    assert sample.features.shape == (50, 3)
    assert isinstance(sample.features, np.memmap)
    assert (sample.labels >= 0).all()
    table = {
        tuple(row): label for row, label in zip(cloud.coord.astype(np.float16).tolist(), cloud.segment, strict=True)
    }
    assert [table[tuple(row)] for row in sample.features.tolist()] == sample.labels.tolist()
    assert len({tuple(row) for row in sample.features.tolist()}) > 45  # without replacement
    whole = FeatureCache(tmp_path, Counted(), points=10_000).sample("a", cloud)
    assert len(whole.labels) == (cloud.segment >= 0).sum()


def test_larger_samples_begin_with_the_smaller_ones(tmp_path, cloud):
    small, large = (FeatureCache(tmp_path, Counted(), points=n).sample("a", cloud) for n in (20, 90))
    assert (large.features[:20] == small.features).all()
    other = FeatureCache(tmp_path, Counted(), points=20, seed=1).sample("a", cloud)
    assert (other.features != small.features).any()


def test_a_cache_goes_on_where_it_was(tmp_path, cloud):
    features = Counted()
    first = FeatureCache(tmp_path, features, points=30).sample("a", cloud)
    again = FeatureCache(tmp_path, features, points=30).sample("a", cloud)
    assert features.calls == 1
    assert (first.features == again.features).all()
    expected = again.features.copy()
    FeatureCache(tmp_path, features, points=30).sample("b", labelled(1))
    assert features.calls == 2
    for file in tmp_path.glob("a.*"):
        file.write_bytes(file.read_bytes()[:-4])
    repaired = FeatureCache(tmp_path, features, points=30).sample("a", cloud)
    assert features.calls == 3
    assert (repaired.features == expected).all()


def test_nothing_stale_is_read(tmp_path, cloud):
    features = Counted()
    cache = FeatureCache(tmp_path, features, points=30)
    cache.sample("a", cloud)
    cache.sample("a", replace(cloud, color=cloud.color * np.float32(0.5)))
    features.hash = "c2"
    cache.sample("a", cloud)
    assert features.calls == 3


def test_an_interrupted_run_leaves_nothing_half_written(tmp_path, cloud):
    class Broken(Counted):
        def __call__(self, cloud):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        FeatureCache(tmp_path, Broken(), points=30).sample("a", cloud)
    assert list(tmp_path.iterdir()) == []


def test_memory_is_of_batches_not_of_the_cache(tmp_path, monkeypatch):
    """15 scenes of 2,000 rows and 300 columns are 18 MB on disk, 36 MB as float32; learning takes a fraction."""
    monkeypatch.setattr("msm3d.tasks.heads.softmax.HELD", 30_000_000)

    class Wide(Counted):
        def __init__(self):
            self.blocks = {"all": slice(0, 300)}

        def __call__(self, cloud):
            return np.repeat(cloud.coord.astype(np.float16), 100, axis=1), np.arange(len(cloud))

    cache = FeatureCache(tmp_path, Wide())
    samples = [cache.sample(f"{i}", labelled(i, 800)) for i in range(15)]
    pairs = [(sample.features, sample.labels) for sample in samples]
    on_disk = sum(file.stat().st_size for file in tmp_path.iterdir())
    LinearProbe(steps=1).fit(pairs[:1])  # what torch loads at its first step is not counted
    tracemalloc.start()
    LinearProbe(steps=5, batch=256).fit(pairs)
    streamed = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    whole = np.concatenate([features for features, _ in pairs])
    copied = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert on_disk > 18e6
    assert streamed < 0.45 * whole.nbytes < copied


def test_what_a_cache_refuses(tmp_path, cloud):
    cases = [
        (lambda: FeatureCache(tmp_path, Counted(), points=0), "points is 0; give at least 1 point per scene."),
        (lambda: FeatureCache(tmp_path / "f", Counted()), f"{tmp_path}/f is a file; give a folder for the features."),
        (lambda: FeatureCache(tmp_path, Counted()).sample("a", replace(cloud, segment=None)),
         "a has no labels; give scenes with segment."),
        (lambda: FeatureCache(tmp_path, Counted()).sample("a", replace(cloud, segment=cloud.segment * 0 - 1)),
         "a has no labelled point, all of its labels are -1; leave the scene out."),
    ]  # fmt: skip
    (tmp_path / "f").write_text("")
    for call, message in cases:
        with pytest.raises(InputError) as error:
            call()
        assert str(error.value) == message


def test_the_model_and_its_features_agree_on_columns(model):
    assert list(ModelFeatures(model).blocks.values()) == [info.slice for info in model.feature_info]
    assert msm3d.BackboneConfig().descriptor_channels == 928
