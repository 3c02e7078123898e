"""The laws of every family of networks, and a family from outside the package that is used like our own."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import msm3d
from msm3d import backbones, evaluate, weights
from msm3d.backbones import Inputs, Regularisation, Released, build, families, family, record, shape_of
from msm3d.backbones.hunet import BackboneConfig
from msm3d.backbones.ptv3 import EncoderConfig
from msm3d.errors import InputError, WeightsError
from msm3d.pretrain import PretrainConfig, pretrain
from msm3d.sparse.hierarchy import Hierarchy
from msm3d.sparse.interpolate import SAMPLINGS
from msm3d.tasks.fingerprint import model_hash
from msm3d.weights.store import CONFIG
from tests.conftest import make_scene, voxel_keys
from tests.toy_family import Toy, ToyShape

ROOT = Path(msm3d.__file__).parents[1]
HUNET = BackboneConfig(
    channels=(16, 24, 32),
    decoder_channels=(20, 24, 32),
    conv_blocks=(1, 1, 2),
    attention_blocks=(0, 2, 2),
    heads=(0, 4, 4),
    window=32,
    voxel_size=0.05,
)
PTV3 = EncoderConfig(
    channels=(12, 24, 36),
    blocks=(1, 1, 2),
    heads=(1, 2, 2),
    patch=32,
    rope_base=10,
    voxel_size=0.05,
    divisors=(2, 255, 1),
)
SMALL = {"hunet": HUNET, "ptv3": PTV3, "toy": ToyShape()}
"""A small network of each family; a new family adds its own."""


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setitem(backbones.FAMILIES, "toy", Toy)


@pytest.fixture(params=SMALL)
def shape(request):
    return SMALL[request.param]


def network(shape, regularisation=None):
    torch.manual_seed(0)
    return build(shape, regularisation)


def model_of(shape):
    torch.manual_seed(0)
    return msm3d.Model(shape, backend="reference").eval().requires_grad_(False)


def batch(shape, rng, ops, scenes=2):
    keys = voxel_keys(rng, 300, 16, scenes)
    x = torch.randn(len(keys), shape.inputs.channels, generator=rng)
    return x, Hierarchy.of(keys, shape.levels, ops, scenes)


# --- laws ---


def test_by_depth_has_every_parameter_once(shape):
    net = network(shape)
    parts = net.by_depth()
    assert len(parts) >= shape.levels
    assert all(parts)
    ids = [id(parameter) for part in parts for parameter in part]
    assert len(set(ids)) == len(ids)
    assert set(ids) == {id(parameter) for parameter in net.parameters()}


def test_by_depth_begins_at_the_input_and_ends_at_the_output(shape, rng):
    """A change of the first part reaches every level, one of the last part only the level that is computed last."""
    ops = msm3d.ops.reference
    net, (x, hierarchy) = network(shape).eval(), batch(shape, rng, msm3d.ops.reference)
    parts = net.by_depth()
    with torch.no_grad():
        before = net(x, hierarchy, ops)
        changed = []
        for part in (parts[0], parts[-1]):
            kept = [parameter.clone() for parameter in part]
            for parameter in part:
                parameter.mul_(1.5).add_(0.01)
            after = net(x, hierarchy, ops)
            changed.append({i for i, (a, b) in enumerate(zip(before, after, strict=True)) if not torch.equal(a, b)})
            for parameter, old in zip(part, kept, strict=True):
                parameter.copy_(old)
    assert changed == [set(range(shape.levels)), {shape.last if shape.architecture != "toy" else shape.levels - 1}]


def test_every_family_is_held_to_the_laws():
    assert set(families()) == set(SMALL)
    for name, small in SMALL.items():
        assert (small.architecture, type(small)) == (name, family(name).Config)


def test_a_pass_gives_the_widths_that_the_shape_says(ops, shape, rng):
    x, hierarchy = batch(shape, rng, ops)
    levels = network(shape).eval()(x, hierarchy, ops)
    assert [tuple(f.shape) for f in levels] == [(len(g), w) for g, w in zip(hierarchy.grids, shape.widths, strict=True)]
    assert all(features.isfinite().all() for features in levels)
    columns = [column for info in shape.feature_info for column in range(shape.descriptor_channels)[info.slice]]
    assert columns == list(range(sum(shape.widths)))
    assert shape.sampling in SAMPLINGS


def test_scenes_of_a_batch_do_not_see_each_other(ops, shape, rng):
    pass_ = network(shape).eval().requires_grad_(False)
    x, hierarchy = batch(shape, rng, ops)
    together = pass_(x, hierarchy, ops)
    for scene in range(2):
        mine = slice(*hierarchy.grids[0].offsets[scene : scene + 2])
        alone = Hierarchy.of(hierarchy.grids[0].keys[mine] & ((1 << 57) - 1), shape.levels, ops)
        for level, features in enumerate(pass_(x[mine], alone, ops)):
            rows = together[level][slice(*hierarchy.grids[level].offsets[scene : scene + 2])]
            assert (rows - features).norm() < 1e-5 * features.norm()


def test_every_weight_gets_a_gradient(ops, shape, rng):
    pass_ = network(shape, Regularisation()).train()
    x, hierarchy = batch(shape, rng, ops)
    generator = torch.Generator().manual_seed(1)
    sum(features.square().mean() for features in pass_(x, hierarchy, ops, generator)).backward()
    silent = [name for name, p in pass_.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_evaluation_is_the_same_whatever_the_random_state_and_training_repeats(ops, shape, rng):
    pass_ = network(shape).eval().requires_grad_(False)
    x, hierarchy = batch(shape, rng, ops)
    torch.manual_seed(1)
    first = pass_(x, hierarchy, ops)
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002
    assert all(torch.equal(a, b) for a, b in zip(first, pass_(x, hierarchy, ops), strict=True))
    pass_.train()
    one, two = (pass_(x, hierarchy, ops, torch.Generator().manual_seed(3)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_each_step_of_the_bar_runs_once(shape, rng):
    from msm3d.ops import reference

    pass_, ran = network(shape).eval(), []
    for step in pass_.steps():
        step.register_forward_hook(lambda module, *_: ran.append(module))
    pass_(*batch(shape, rng, reference), reference)
    assert ran
    assert sorted(map(id, ran)) == sorted(map(id, pass_.steps()))


def test_order_and_place_of_the_points_change_nothing(shape):
    model, scene = model_of(replace(shape, voxel_size=1 / 16)), make_scene(0, 300)
    scene["coord"] = np.round(scene["coord"] * 1024) / 1024
    rows, order = model.extract(scene), np.random.default_rng(1).permutation(900)
    assert rows.shape == (900, shape.descriptor_channels)
    assert np.array_equal(model.extract({key: value[order] for key, value in scene.items()}), rows[order])
    assert np.array_equal(model.extract({**scene, "coord": scene["coord"] + [500_000, 4_000_000, 100]}), rows)


def test_a_saved_model_is_the_same_model(shape, tmp_path):
    model, scene = model_of(shape), make_scene(0, 200)
    again = msm3d.load(model.save_pretrained(tmp_path / "model"), device="cpu", backend="reference")
    assert type(again.backbone) is type(model.backbone)
    assert again.config == shape
    assert np.array_equal(again.extract(scene), model.extract(scene))
    assert json.loads((tmp_path / "model" / CONFIG).read_text())["architecture"] == shape.architecture
    assert model_hash(again) == model_hash(model)


def test_a_shape_survives_json_and_asks_for_no_more_than_there_is(shape):
    assert shape_of(json.loads(json.dumps(record(shape)))) == shape
    with pytest.raises(InputError, match="wijd"):
        shape_of({**record(shape), "wijd": 3})
    tensors = network(shape).state_dict()
    there = {"tensors": len(tensors), "values": sum(tensor.numel() for tensor in tensors.values())}
    assert all(number <= there[kind] for number, _, kind in shape.least())


def test_tiles_change_little(shape):
    parts = [make_scene(seed, 300) for seed in range(4)]
    for i, part in enumerate(parts):
        part["coord"][:, 0] += 2 * i
    scene = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    model = model_of(shape)
    whole, tiled = model.extract(scene), model.extract(scene, max_memory=1500 * shape.cost.bytes_per_voxel)
    most = 0.1 if shape == PTV3 else 0.05  # its patches do not overlap: a tile cuts other ones everywhere
    assert np.linalg.norm(tiled - whole) < most * np.linalg.norm(whole)


# --- a family from outside ---


def test_it_is_asked_for_nothing_that_it_does_not_need(recwarn):
    scene = make_scene(0, 300)
    model = model_of(ToyShape())
    rows = model.extract({"coord": scene["coord"], "color": scene["color"]})
    assert [str(warning.message) for warning in recwarn] == []  # it has no use for normals
    assert np.array_equal(rows, model.extract(scene))
    finest, owner = model.extract(scene, at="voxels", levels=0)
    assert np.array_equal(finest[owner], rows[:, :8])


def test_a_bar_counts_its_layers(monkeypatch):
    bars = []

    class Bar:
        def __init__(self, total, **_):
            self.total, self.done = total, 0
            bars.append(self)

        def update(self, n):
            self.done += n

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

    monkeypatch.setattr("msm3d._util.progress.tqdm", Bar)
    model_of(ToyShape()).extract(make_scene(0, 300), progress=True, max_memory=400_000)
    assert len(bars) == 1
    assert bars[0].done == bars[0].total > 0


def test_it_is_described_and_probed(tmp_path):
    model = model_of(ToyShape())
    info = weights.info(model.save_pretrained(tmp_path / "model"))
    assert (info.dims, info.voxel_size, info.parameters) == ((8, 16, 24), 0.05, 7 * 8 + 9 * 16 + 17 * 24)
    card = (tmp_path / "model" / "README.md").read_text()
    assert "| input | coordinates in metres, colour; voxels of 0.05 m |" in card
    assert "| output | 48 channels per point: 8 + 16 + 24, fine to coarse |" in card
    features = evaluate.ModelFeatures(model)
    rows, owner = features(msm3d.PointCloud.of(make_scene(0, 300)))
    assert (rows.shape[1], owner.shape, list(features.blocks)) == (48, (900,), ["level 0", "level 1", "level 2"])
    assert features.describe()["sampling"] == "parent"


def test_pretraining_says_that_it_cannot_before_any_work(tmp_path):
    class Scene:
        name = "a"

        def read(self):
            raise AssertionError("no scene is read")

    config = PretrainConfig(backbone=ToyShape())  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError) as caught:
        pretrain([Scene()], config, tmp_path / "run", device="cpu")
    assert str(caught.value) == (
        "a network of the family 'toy' cannot be pre-trained by Masked Scene Modeling, which needs an encoder and a "
        "decoder; give a configuration of 'hunet', or make the family a Maskable."
    )
    assert not (tmp_path / "run").exists()


def test_checkpoints_of_a_family_without_any_are_not_converted(tmp_path):
    from msm3d.weights.convert import convert

    torch.save({"state_dict": model_of(ToyShape()).backbone.state_dict()}, tmp_path / "toy.pth")
    with pytest.raises(WeightsError) as caught:
        convert(tmp_path / "toy.pth", tmp_path / "out", config=ToyShape())
    assert str(caught.value) == (
        "the authors' checkpoints of the family 'toy' are unknown here; give a model that msm3d saved."
    )


class Imported(Toy):
    """The toy with checkpoints of its authors, who store weights the other way round."""

    @staticmethod
    def table(config):
        widths, rows = (6, *config.widths), {}
        for i, (into, out) in enumerate(zip(widths, widths[1:], strict=False)):
            rows |= {f"net.{i}.w": (f"layers.{i}.weight", (into, out)), f"net.{i}.b": (f"layers.{i}.bias", (out,))}
        return rows

    released = Released(
        name="toys",
        published=ToyShape(),
        first="net.0.w",
        student="student.",
        unseen=("voxel_size",),
        table=table.__func__,
        inferred=lambda shapes: {"width": shapes["net.0.w"][1], "depth": len(shapes) // 2},
        ours=lambda _, tensor: tensor.T.contiguous() if tensor.dim() == 2 else tensor,
    )


def test_whose_checkpoint_it_is_the_families_know(monkeypatch, tmp_path):
    from msm3d.weights.convert import convert

    monkeypatch.setitem(backbones.FAMILIES, "toy", Imported)
    model = model_of(ToyShape(width=4, voxel_size=0.1))
    state = model.backbone.state_dict()
    rows = Imported.table(model.config)
    theirs = {f"module.student.{name}": Imported.released.ours(name, state[ours]) for name, (ours, _) in rows.items()}
    torch.save({"state_dict": theirs | {"module.teacher.net.0.w": torch.ones(1)}}, tmp_path / "toy.pth")
    with pytest.raises(WeightsError, match=r'no tensor tells its voxel_size; .* such as \{"voxel_size": 0\.05\}, and '):
        convert(tmp_path / "toy.pth", tmp_path / "out")
    done = convert(tmp_path / "toy.pth", tmp_path / "out", config={"voxel_size": 0.1})
    assert (done.config, done.name, done.ignored) == (model.config, None, ["module.teacher.net.0.w"])
    scene, again = make_scene(0, 200), msm3d.load(done.directory, device="cpu", backend="reference")
    assert np.array_equal(again.extract(scene), model.extract(scene))
    torch.save({"conv.weight": torch.ones(1)}, tmp_path / "other.pth")
    with pytest.raises(
        WeightsError,
        match=r"'init_transform\.0\.weight' or 'embedding\.stem\.linear\.weight' or 'net\.0\.w', but .* none;",
    ):
        convert(tmp_path / "other.pth", tmp_path / "out")


# --- how a family gets known ---


def test_a_name_of_ours_cannot_be_taken():
    class Other(Toy):
        Config = BackboneConfig

    with pytest.raises(InputError, match=r"^'hunet' is a family of msm3d itself; give yours another architecture\.$"):
        backbones.register(Other)


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A folder on the path that holds the family as an installed package does, and nothing that registers it."""
    monkeypatch.delitem(backbones.FAMILIES, "toy")
    folder = tmp_path / "site"
    (folder / "toynet-1.0.dist-info").mkdir(parents=True)
    (folder / "toynet.py").write_text((Path(__file__).parent / "toy_family.py").read_text())
    (folder / "toynet-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: toynet\nVersion: 1.0\n")
    (folder / "toynet-1.0.dist-info" / "entry_points.txt").write_text("[msm3d.backbones]\ntoy = toynet:Toy\n")
    return folder


def test_an_entry_point_makes_it_known(plugin, monkeypatch):
    assert families() == ["hunet", "ptv3"]
    monkeypatch.syspath_prepend(str(plugin))
    assert families() == ["hunet", "ptv3", "toy"]
    found = family("toy")
    assert found.__module__ == "toynet"
    assert build(found.Config(width=4)).config.widths == (4, 8, 12)
    assert families() == ["hunet", "ptv3", "toy"]


def test_a_package_that_fails_is_named(plugin, monkeypatch):
    (plugin / "toynet.py").write_text("raise RuntimeError('no licence')\n")
    sys.modules.pop("toynet", None)
    monkeypatch.syspath_prepend(str(plugin))
    message = r"^the package that adds the architecture 'toy' fails \(no licence\); reinstall it\.$"
    with pytest.raises(InputError, match=message):
        family("toy")


def test_its_models_are_used_from_the_command_line_where_it_is_installed(plugin, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(backbones.FAMILIES, "toy", Toy)
        model_of(ToyShape()).save_pretrained(tmp_path / "model")
    np.save(tmp_path / "scan.npy", np.concatenate(list(make_scene(0, 100).values()), 1))

    def run(path, *command):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
        command = [sys.executable, "-m", "msm3d", *command]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)

    assert "48 channels in 3 levels: 8 + 16 + 24" in run([plugin, ROOT], "info", "./model").stdout
    done = run([plugin, ROOT], "extract", "scan.npy", "-o", "rows.npy", "--model", "./model")
    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / "rows.npy").shape == (300, 48)
    done = run([ROOT], "info", "./model")
    assert done.returncode == 2
    assert done.stderr == (
        f"msm3d info: {Path('model') / CONFIG} cannot be used: unknown architecture 'toy'; run pip install -U msm3d, "
        "or install the package that adds it; here are hunet, ptv3.\n"
    )


# --- what was there before ---


def test_records_and_hashes_from_before_there_were_families_hold():
    """Caches of features go by this hash; it was computed by the release before."""
    assert record(HUNET) == HUNET.to_dict()
    bundled = msm3d.load("rooms", device="cpu")
    assert model_hash(bundled) == "8d8f74256393a52997a21f227bc92dcf663fca87a0a1e9ec9daa2714e60668e4"


def test_a_file_that_names_no_architecture_is_of_the_first_family(tmp_path):
    directory = model_of(HUNET).save_pretrained(tmp_path / "model")
    meta = json.loads((directory / CONFIG).read_text())
    del meta["architecture"]
    (directory / CONFIG).write_text(json.dumps(meta))
    assert msm3d.load(directory, device="cpu").config == HUNET


@pytest.mark.parametrize("architecture", [["hunet"], 3, {"a": 1}])
def test_an_architecture_that_is_no_text_is_refused(tmp_path, architecture):
    directory = model_of(HUNET).save_pretrained(tmp_path / "model")
    meta = json.loads((directory / CONFIG).read_text())
    (directory / CONFIG).write_text(json.dumps(meta | {"architecture": architecture}))
    with pytest.raises(WeightsError, match="it must be text, so save or download it again"):
        msm3d.load(directory, device="cpu")


def test_a_trainer_may_say_how_to_regularise():
    def parts(regularisation):
        modules = list(network(HUNET, regularisation).modules())
        names = ("drop_path", "dropout", "gamma1")
        return [
            max(float(torch.as_tensor(getattr(m, n)).detach().max()) for m in modules if hasattr(m, n)) for n in names
        ]

    assert HUNET.regularisation == Regularisation(drop_path=0.2, attention_dropout=0.1, layer_scale=0.1)
    assert parts(None) == parts(HUNET.regularisation) == pytest.approx([0.2, 0.1, 0.1])
    assert parts(Regularisation(drop_path=0.4, layer_scale=0.5)) == pytest.approx([0.4, 0.0, 0.5])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"voxel_size": 0}, "voxel_size is 0; it must be a positive number."),
        ({"origin": "corner"}, "origin is 'corner'; it must be one of published, anchored."),
        ({"point": "random"}, "point is 'random'; it must be one of nearest, first."),
    ],
)
def test_inputs_that_cannot_be_are_named(values, message):
    with pytest.raises(InputError) as caught:
        Inputs(**{"voxel_size": 0.1} | values)
    assert str(caught.value) == message
