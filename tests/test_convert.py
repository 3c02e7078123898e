"""The authors' checkpoints: every tensor at its place, or a message that names each one that is not."""

import json
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch.nn import functional as F

from msm3d import weights
from msm3d.backbones.hunet.config import BackboneConfig
from msm3d.backbones.hunet.net import UNet
from msm3d.backbones.hunet.released import PUBLISHED, inferred, table
from msm3d.errors import FileError, InputError, Msm3dError, WeightsError
from msm3d.weights.convert import convert, renamed
from msm3d.weights.store import CONFIG, MODEL
from tests.golden import CONFIGS, golden_checkpoint, golden_shapes, golden_state, golden_tensor

TINY = "tiny_rms_glu"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="session")
def tiny_state():
    return golden_state(TINY)


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory):
    return golden_checkpoint(tmp_path_factory.mktemp("golden") / "tiny.pth", TINY)


@pytest.fixture(scope="session")
def published_file(tmp_path_factory):
    """Return a checkpoint with the released names and shapes, 270 MB, its values made cheaply."""
    state = {f"module.student.{name}": torch.full(shape, 0.5) for name, shape in golden_shapes("official").items()}
    path = tmp_path_factory.mktemp("published") / "model.pth"
    torch.save({"state_dict": state}, path)
    yield path
    path.unlink()


def saved(tmp_path, state, name="model.pth"):
    torch.save({"state_dict": state}, tmp_path / name)
    return tmp_path / name


def sentence(*arguments, error=WeightsError, **options):
    with pytest.raises(error) as caught:
        convert(*arguments, **options)
    return str(caught.value)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_table_is_the_authors_names_and_our_networks(name):
    shapes = golden_shapes(name)
    config = PUBLISHED if name == "official" else shape(name)
    rows = table(config)
    assert {theirs: shape for theirs, (_, shape) in rows.items()} == shapes
    assert sorted(UNet(config).state_dict()) == sorted(ours for ours, _ in rows.values())


def shape(name) -> BackboneConfig:
    return BackboneConfig.from_dict(inferred(golden_shapes(name)) | CONFIGS[name])


def test_the_published_shapes_give_the_published_network():
    assert BackboneConfig.from_dict(inferred(golden_shapes("official"))) == PUBLISHED


@pytest.mark.parametrize("name", ["tiny_rms_glu", "tiny_layernorm_gelu"])
def test_a_converted_network_loads_strictly(name, tmp_path):
    checkpoint = golden_checkpoint(tmp_path / "model.pth", name)
    result = convert(checkpoint, tmp_path / "out", config=CONFIGS[name])
    assert result.directory == tmp_path / "out"
    assert result.name is None
    assert result.config.channels == result.config.decoder_channels == (16, 24, 32, 48, 64)
    assert result.config.attention_blocks == (0, 0, 0, 2, 2)
    assert result.config.norm == ("rmsnorm" if name == TINY else "layernorm")
    assert result.config.bias == (name != TINY)
    assert result.config.sampling == "published"
    config, tensors, meta = weights.read(result.directory)
    assert config == result.config
    assert meta["converted_from"]["file"] == "model.pth"
    network = UNet(config)
    weights.load_state(network, tensors, result.directory)
    assert sum(value.numel() for value in network.state_dict().values()) == result.parameters
    assert all(value.dtype == torch.float32 for value in tensors.values())


def test_values_land_where_they_belong(tiny_file, tmp_path):
    tensors = load_file(convert(tiny_file, tmp_path / "out", config=CONFIGS[TINY]).directory / MODEL)
    theirs = golden_tensor("resnet_enc.1.0.conv2.weight", (24, 3, 3, 3, 24))
    ours = tensors["encoder.1.convs.0.conv2.weight"]
    for x, y, z in [(0, 0, 0), (0, 1, 2), (2, 0, 1), (1, 1, 1)]:
        assert ours[x * 9 + y * 3 + z].equal(theirs[:, x, y, z, :].T)
    theirs = golden_tensor("up.1.1.weight", (32, 2, 2, 2, 48))  # coarse → fine: up.1 leads to level 2
    ours = tensors["decoder.2.up.conv.weight"]
    for x, y, z in [(0, 0, 1), (1, 0, 0), (0, 1, 0)]:
        assert ours[x * 4 + y * 2 + z].equal(theirs[:, x, y, z, :].T)
    assert tensors["decoder.3.attentions.1.gamma2"].equal(golden_tensor("att_dec.1.2.skip_path_2.gamma", (1, 48))[0])
    assert tensors["decoder.0.gamma"].equal(golden_tensor("skip.3.gamma", (1, 16))[0])
    assert tensors["bottleneck.scale"].equal(golden_tensor("decoder_init_norm.norm.scale", (64,)))


def test_a_converted_kernel_is_the_dense_convolution_of_the_original(tiny_file, tmp_path):
    tensors = load_file(convert(tiny_file, tmp_path / "out", config=CONFIGS[TINY]).directory / MODEL)
    theirs = golden_tensor("resnet_enc.0.0.conv1.weight", (16, 3, 3, 3, 16))
    patch = torch.randn(1, 16, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    dense = F.conv3d(patch, theirs.permute(0, 4, 1, 2, 3)).flatten()
    ours = torch.einsum("ki,kio->o", patch[0].flatten(1).T, tensors["encoder.0.convs.0.conv1.weight"])
    torch.testing.assert_close(ours, dense, rtol=1e-5, atol=1e-5)


def test_the_published_network_is_installed_by_its_name(published_file, home):
    result = convert(published_file)
    assert (result.name, result.config, result.parameters) == ("scannet", PUBLISHED, 67_610_272)
    assert result.directory == home / "msm3d" / "scannet" == weights.resolve("scannet", local_files_only=True)
    info = weights.info("scannet")
    assert (info.status, info.parameters, info.channels) == ("installed", 67_610_272, 928)
    assert info.licence == weights.releases()["scannet"]["licence"]
    assert info.scores["ScanNet mIoU, linear probe"] == 68.7
    assert info.sha256 == json.loads((result.directory / CONFIG).read_text())["sha256"]
    weights.load_state(UNet(PUBLISHED), weights.read(result.directory)[1], "scannet")


def test_a_directory_of_the_published_network_is_installed_too_unless_told_otherwise(published_file, home, tmp_path):
    alone = convert(published_file, tmp_path / "alone", install=False)
    assert alone.name is None
    assert not home.exists()
    result = convert(published_file, tmp_path / "out")
    assert (result.directory, result.name) == (tmp_path / "out", "scannet")
    assert (weights.resolve("scannet") / MODEL).samefile(tmp_path / "out" / MODEL)


def test_without_a_directory_only_the_published_network_has_a_place(tiny_file, published_file):
    message = f"{tiny_file} needs a directory to be converted to; name one with -o DIR."
    assert sentence(tiny_file, config=CONFIGS[TINY], error=InputError) == message
    message = f"{published_file} needs a directory to be converted to; name one with -o DIR."
    assert sentence(published_file, install=False, error=InputError) == message


@pytest.mark.parametrize("prefix", ["", "student.", "model.", "module.backbone."])
def test_one_network_is_found_under_any_prefix(tiny_state, tmp_path, prefix):
    path = saved(tmp_path, {prefix + name: value for name, value in tiny_state.items()})
    assert convert(path, tmp_path / "out", config=CONFIGS[TINY]).ignored == []


def test_what_is_not_the_students_is_listed(tiny_state, tmp_path):
    state = {f"module.student.{name}": value for name, value in tiny_state.items()}
    others = {f"module.teacher.{name}": value for name, value in tiny_state.items()} | {"module.token": torch.ones(1)}
    result = convert(saved(tmp_path, state | others), tmp_path / "out", config=CONFIGS[TINY])
    assert result.ignored == sorted(others)


def test_two_networks_of_equal_right_are_refused(tiny_state, tmp_path):
    state = {prefix + name: value for name, value in tiny_state.items() for prefix in ("a.", "b.")}
    path = saved(tmp_path, state)
    assert sentence(path, tmp_path / "out", config=CONFIGS[TINY]) == (
        f"{path} must hold one student network, a prefix of 'init_transform.0.weight' or "
        "'embedding.stem.linear.weight', but these were found: 'a.', 'b.'; "
        "give the authors' checkpoint, or save one network's state_dict alone."
    )


def test_another_network_is_refused(tmp_path):
    path = saved(tmp_path, {"conv.weight": torch.ones(2)})
    assert "but these were found: none;" in sentence(path, tmp_path / "out")
    assert os.listdir(tmp_path) == ["model.pth"]


def test_every_deviation_is_named_and_nothing_is_written(tmp_path):
    state = {f"module.student.{name}": torch.zeros(shape) for name, shape in golden_shapes("official").items()}
    del state["module.student.down.1.0.weight"]
    state["module.student.up.0.1.offset"] = state.pop("module.student.up.0.1.bias")
    state["module.student.skip.3.gamma"] = torch.zeros(64)
    path = saved(tmp_path, state)
    assert sentence(path) == (
        f"{path} is not the network that was expected: missing: down.1.0.weight; missing: up.0.1.bias; "
        "unexpected: up.0.1.offset; wrong shape: skip.3.gamma is (64,) instead of (1, 64); "
        "give the authors' released file, or the configuration of this network with --config FILE."
    )
    assert os.listdir(tmp_path) == ["model.pth"]


def test_a_network_that_is_not_the_published_one_needs_what_no_shape_tells(tiny_file, tmp_path):
    assert sentence(tiny_file, tmp_path / "out", config={"window": 64}) == (
        f"{tiny_file} is not the published network, and no tensor tells its heads, voxel_size; write them to a file, "
        'such as {"heads": [0, 0, 0, 32, 48], "window": 1024, "voxel_size": 0.02}, and give --config FILE.'
    )


def test_a_config_may_be_a_file_of_either_form_or_a_value(tiny_file, tmp_path):
    first = convert(tiny_file, tmp_path / "a", config=CONFIGS[TINY])
    (tmp_path / "fields.json").write_text(json.dumps(CONFIGS[TINY]))
    assert convert(tiny_file, tmp_path / "b", config=tmp_path / "fields.json").config == first.config
    assert convert(tiny_file, tmp_path / "c", config=tmp_path / "a" / CONFIG).config == first.config
    assert convert(tiny_file, tmp_path / "d", config=first.config).config == first.config
    assert (tmp_path / "a" / MODEL).read_bytes() == (tmp_path / "d" / MODEL).read_bytes()


@pytest.mark.parametrize(
    ("text", "message"), [("[1]", "must hold a JSON object"), ("{", "is not a readable JSON file")]
)
def test_a_config_that_cannot_be_read_is_named(tiny_file, tmp_path, text, message):
    (tmp_path / "c.json").write_text(text)
    assert sentence(tiny_file, tmp_path / "out", config=tmp_path / "c.json", error=FileError).startswith(
        f"{tmp_path / 'c.json'} {message}"
    )


def test_a_wrong_config_names_the_tensors_it_does_not_fit(tiny_file, tmp_path):
    message = sentence(tiny_file, tmp_path / "out", config=CONFIGS[TINY] | {"norm": "layernorm"})
    assert "missing: att_dec.0.1.mlp_norm.norm.bias; missing: att_dec.0.1.mlp_norm.norm.weight" in message
    assert "; and 198 more; give the authors' released file" in message  # what two hundred names would hide


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(tiny_state, tmp_path, value):
    bad = tiny_state["up.0.1.bias"].clone()
    bad[3] = value
    path = saved(tmp_path, tiny_state | {"up.0.1.bias": bad, "skip.0.gamma": torch.ones(1, 48).long()})
    assert sentence(path, tmp_path / "out", config=CONFIGS[TINY]) == (
        f"{path} has NaN, infinity or integers in skip.0.gamma, up.0.1.bias; get the file again."
    )


def test_half_precision_checkpoints_become_fp32(tiny_state, tmp_path):
    path = saved(tmp_path, {name: value.half() for name, value in tiny_state.items()})
    tensors = load_file(convert(path, tmp_path / "out", config=CONFIGS[TINY]).directory / MODEL)
    assert tensors["stem.linear.weight"].equal(tiny_state["init_transform.0.weight"].half().float())


class Code:
    """What an attacker would put into a pickle."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


def test_code_in_a_checkpoint_is_not_run(tmp_path, monkeypatch, tiny_state):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": tiny_state, "epoch": Code()}, "model.pth")
    message = (
        "model.pth is damaged or holds Python objects, which msm3d never runs; get the authors' file, or, if you trust "
        'this one, save its tensors alone: torch.save({"state_dict": ...}, "tensors.pth").'
    )
    assert sentence("model.pth", "out", error=FileError) == message
    with open("model.pth", "wb") as file:
        pickle.dump(Code(), file)
    assert sentence("model.pth", "out", error=FileError) == message
    assert os.listdir() == ["model.pth"]


def test_numpy_numbers_beside_the_tensors_do_no_harm(tiny_state, tmp_path):
    extra = {"best": np.float64(0.7), "step": np.int64(3), "loss": np.float32(0.5)}
    torch.save({"state_dict": tiny_state, **extra}, tmp_path / "model.pth")
    assert convert(tmp_path / "model.pth", tmp_path / "out", config=CONFIGS[TINY]).parameters == 2_294_392


def test_numbers_of_an_older_numpy_do_no_harm_either(tiny_state, tmp_path):
    torch.save({"state_dict": tiny_state, "best": np.float64(0.7)}, tmp_path / "new.pth")
    rewrite(tmp_path / "new.pth", tmp_path / "old.pth", lambda pkl: pkl.replace(b"numpy._core", b"numpy.core"))
    assert convert(tmp_path / "old.pth", tmp_path / "out", config=CONFIGS[TINY]).parameters == 2_294_392


def rewrite(source, target, change):
    """Copy a checkpoint with its pickle changed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, change(content) if name.endswith("data.pkl") else content)


@given(st.data())
def test_a_damaged_pickle_ends_in_one_of_our_errors(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damaged")
    torch.save({"state_dict": {"init_transform.0.weight": torch.ones(2, 3)}}, folder / "whole.pth")

    def damaged(pkl):
        place, value = data.draw(st.integers(0, len(pkl) - 1)), data.draw(st.integers(0, 255))
        return pkl[:place] + bytes([value]) + pkl[place + 1 :]

    rewrite(folder / "whole.pth", folder / "model.pth", damaged)
    with pytest.raises(Msm3dError):
        convert(folder / "model.pth", folder / "out")


def test_an_output_that_is_an_input_is_refused(tiny_file, tmp_path):
    (tmp_path / CONFIG).write_text(json.dumps(CONFIGS[TINY]))
    assert sentence(tiny_file, tmp_path, config=tmp_path / CONFIG, error=InputError) == (
        f"{tmp_path / CONFIG} is an input and would be replaced by the output; give the output another name."
    )
    assert os.listdir(tmp_path) == [CONFIG]


@pytest.mark.parametrize(
    "config",
    [
        {"heads": float("nan")},
        {"heads": 5},
        {"heads": [0, 0, 0, 4, float("inf")]},
        {"heads": "a" * 10_000},
        {"window": 10**30},
        {"voxel_size": float("nan")},
        {"mlp_ratio": 10**18},
        {"in_channels": 10**10},
        {"channels": [10**6] * 5, "decoder_channels": [10**6] * 5},
        {"conv_blocks": [10**30, 1, 1, 1, 1]},
        {"attention_blocks": [0, 0, 0, 0, 10**6]},
        {"curves": [[]]},
        {"norm": {}},
        {"a" * 10_000: 1},
    ],
    ids=lambda config: next(iter(config))[:20],
)
def test_a_strangers_configuration_is_one_short_sentence(tiny_file, tmp_path, config):
    message = sentence(tiny_file, tmp_path / "out", config=CONFIGS[TINY] | config, error=Msm3dError)
    assert "\n" not in message
    assert len(message) < 2000
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, '{"backbone": 5}', '{"heads": NaN}', " " * (1 << 21)]
)
def test_a_file_that_is_no_configuration_is_one_sentence(tiny_file, tmp_path, text):
    (tmp_path / "c.json").write_text(text)
    assert len(sentence(tiny_file, tmp_path / "out", config=tmp_path / "c.json", error=Msm3dError)) < 500


@pytest.mark.filterwarnings("ignore:Sparse")
def test_tensors_that_are_not_plain_are_refused(tiny_state, tmp_path):
    dense = tiny_state["init_transform.0.weight"]
    for kind in (dense.to_sparse(), dense.to("meta")):
        path = saved(tmp_path, tiny_state | {"init_transform.0.weight": kind})
        message = sentence(path, tmp_path / "out", config=CONFIGS[TINY], error=Msm3dError)
        assert message.startswith(f"{path} ")
        assert message.count(".weight") <= 1


def test_a_checkpoint_that_stands_for_more_than_it_holds_is_refused_before_memory_is_taken(tiny_state, tmp_path):
    path = saved(tmp_path, tiny_state | {"resnet_enc.0.0.norm.norm.scale": torch.zeros(1).expand(10**12)})
    message = sentence(path, tmp_path / "out", config=CONFIGS[TINY])
    assert "bytes of tensors, more than it has; get the file again." in message
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, bytes(10**6) if "data/" in name else old.read(name))
    message = sentence(tmp_path / "packed.pth", tmp_path / "out", config=CONFIGS[TINY], error=FileError)
    assert message.endswith("more than it has; save it again with torch.save.")


@pytest.mark.parametrize("name", ["resnet_enc.99999999999.0.x", f"resnet_enc.0.{'9' * 30}.x", f"att_enc.3.{10**9}.x"])
def test_numbers_in_names_do_not_decide_how_much_is_done(tiny_state, tmp_path, name):
    path = saved(tmp_path, tiny_state | {name: torch.ones(1)})
    assert len(sentence(path, tmp_path / "out", config=CONFIGS[TINY], error=Msm3dError)) < 2000


def test_a_truncated_checkpoint_is_named(tiny_file, tmp_path):
    path = tmp_path / "model.pth"
    path.write_bytes(tiny_file.read_bytes()[:-1000])
    message = f"{path} is truncated or is not a checkpoint of torch; get the file again."
    assert sentence(path, tmp_path / "out", error=FileError) == message


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"<html>Sign in</html>", b"\x80\x02", bytes(100)])
def test_what_is_no_checkpoint_is_named(tmp_path, content):
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    assert sentence(path, tmp_path / "out", error=FileError).startswith(f"{path} is ")


def test_a_missing_file_is_named(tmp_path):
    path = tmp_path / "model.pth"
    message = f"there is no file {str(path)!r}; give the authors' checkpoint."
    assert sentence(path, tmp_path / "out", error=FileError) == message


@pytest.mark.parametrize("content", [[1, 2], torch.ones(2), {"state_dict": 3}])
def test_a_checkpoint_without_tensors_by_name_is_named(tmp_path, content):
    torch.save(content, tmp_path / "model.pth")
    message = f"{tmp_path / 'model.pth'} holds no state_dict; give the authors' checkpoint."
    assert sentence(tmp_path / "model.pth", tmp_path / "out", error=FileError) == message


def test_the_rule_can_tell_a_flipped_kernel(tiny_state):
    config = shape(TINY)
    name = "resnet_enc.0.0.conv1.weight"
    flipped = tiny_state | {name: tiny_state[name].flip(1)}
    ours = table(config)[name][0]
    assert not renamed(flipped, config, "x")[ours].equal(renamed(tiny_state, config, "x")[ours])
