"""The directory format, which nothing may read half or wrong, and the names of weights."""

import json
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from msm3d import weights
from msm3d.backbones.hunet.config import BackboneConfig
from msm3d.errors import FileError, InputError, WeightsError
from msm3d.weights import store
from msm3d.weights.store import CARD, CONFIG, MODEL

TINY = BackboneConfig(
    channels=(4, 8), decoder_channels=(6, 8), conv_blocks=(0, 1), attention_blocks=(0, 1), heads=(0, 2)
)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Give the test a home and a working directory of its own."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def tensors(rng):
    return {"a.weight": torch.randn(3, 5, generator=rng), "b": torch.randn(7, generator=rng).half()}


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def made(tmp_path, tensors):
    return weights.write(tmp_path / "made", TINY, tensors, {"name": "made", "licence": "MIT", "scores": {"x": 1.5}})


def edit(directory, **values):
    """Change fields of config.json; None removes one."""
    meta = json.loads((directory / CONFIG).read_text()) | values
    meta = {key: value for key, value in meta.items() if value is not None}
    (directory / CONFIG).write_text(json.dumps(meta))


def sentence(function, *arguments, error=WeightsError, **options):
    with pytest.raises(error) as caught:
        function(*arguments, **options)
    return str(caught.value)


def test_what_is_written_is_read_back_bit_for_bit(made, tensors):
    config, read, meta = weights.read(made)
    assert config == TINY
    assert read.keys() == tensors.keys()
    assert all(read[name].dtype == tensors[name].dtype and read[name].equal(tensors[name]) for name in tensors)
    assert meta["format_version"] == 1
    assert meta["parameters"] == 22
    assert sorted(os.listdir(made)) == [CARD, CONFIG, MODEL]
    assert (made / CARD).read_text().count("licence of the weights | MIT") == 1


def test_writing_twice_gives_the_same_bytes(made, tensors, tmp_path):
    again = weights.write(tmp_path / "again", TINY, dict(reversed(tensors.items())), {"name": "made"})
    assert (again / MODEL).read_bytes() == (made / MODEL).read_bytes()


def test_views_and_transposes_are_stored_as_they_look(tmp_path):
    table = torch.arange(12.0).reshape(3, 4)
    read = weights.read(weights.write(tmp_path / "m", TINY, {"t": table.T, "row": table[1], "all": table}))[1]
    assert read["t"].equal(table.T)
    assert read["row"].equal(table[1])


def test_a_directory_is_replaced_but_its_other_files_stay(made, tmp_path):
    (made / "notes.txt").write_text("mine")
    (made / CARD).write_text("my card")
    weights.write(made, TINY, {"c": torch.ones(2)})
    assert list(weights.read(made)[1]) == ["c"]
    assert (made / "notes.txt").read_text() == "mine"
    assert (made / CARD).read_text() == "my card"
    assert sorted(os.listdir(tmp_path)) == ["made"]


def test_both_files_are_for_the_same_readers(made):
    """A model that one user installs must be readable by the others."""
    assert (made / MODEL).stat().st_mode == (made / CONFIG).stat().st_mode


def test_a_failed_write_leaves_what_was_there(made, tmp_path, monkeypatch):
    before = {path.name: path.read_bytes() for path in made.iterdir()}
    monkeypatch.setattr(store, "card", lambda *_: 1 / 0)
    (made / CARD).unlink()
    before.pop(CARD)
    with pytest.raises(ZeroDivisionError):
        weights.write(made, TINY, {"c": torch.ones(2)})
    with pytest.raises(ZeroDivisionError):
        weights.write(tmp_path / "new", TINY, {"c": torch.ones(2)})
    assert {path.name: path.read_bytes() for path in made.iterdir()} == before
    assert sorted(os.listdir(tmp_path)) == ["made"]


def test_a_write_interrupted_between_its_two_files_is_noticed(made, monkeypatch):
    replace, calls = os.replace, []

    def stop_at_the_second(source, target):
        calls.append(target)
        if len(calls) == 2:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        weights.write(made, TINY, {"c": torch.ones(2)})
    assert "is damaged or of another model" in sentence(weights.read, made)


def test_a_file_is_not_overwritten_by_a_directory(tmp_path):
    (tmp_path / "file").write_text("mine")
    assert sentence(weights.write, tmp_path / "file", TINY, {}, error=FileError) == (
        f"{tmp_path / 'file'} is a file; give the name of a folder."
    )


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("mine")
    message = sentence(weights.write, tmp_path / "file" / "m", TINY, {}, error=FileError)
    assert message == (
        f"{tmp_path / 'file' / 'm'} cannot be written (Not a directory); a file stands where its folder should be: "
        "give another folder."
    )


def test_a_full_disk_leaves_what_was_there(made, monkeypatch, tmp_path):
    import safetensors.torch

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    message = f"{made} cannot be written (No space left on device); make room, or give another folder."
    assert sentence(weights.write, made, TINY, {"c": torch.ones(2)}, error=FileError) == message
    assert len(weights.read(made)[1]) == 2
    assert os.listdir(tmp_path) == ["made"]


def test_a_truncated_file_is_refused(made):
    whole = (made / MODEL).read_bytes()
    expected = json.loads((made / CONFIG).read_text())["sha256"]
    (made / MODEL).write_bytes(whole[:-1])
    assert sentence(weights.read, made) == (
        f"{made / MODEL} is damaged or of another model: its sha256 is {store.sha256(made / MODEL)}, "
        f"config.json says {expected}; download or convert it again."
    )


@pytest.mark.parametrize(
    "content", [b"", b"x", b"\xff" * 8 + b"{}", (1 << 40).to_bytes(8, "little") + b"{}", b"\x80\x04."]
)
def test_a_file_that_is_no_safetensors_is_refused(made, content):
    (made / MODEL).write_bytes(content)
    edit(made, sha256=store.sha256(made / MODEL))
    message = sentence(weights.read, made)
    assert message.startswith(f"{made / MODEL} is not a safetensors file (")
    assert message.endswith("); save or download it again.")


@given(st.binary(max_size=80))
def test_no_content_of_config_json_breaks_the_reader(tmp_path_factory, content):
    directory = tmp_path_factory.mktemp("hostile")
    (directory / CONFIG).write_bytes(content)
    with pytest.raises(WeightsError, match=r"config\.json (is not|has|lacks|was|does)"):
        weights.read(directory)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"format": "transformers"},
            'is not of msm3d (it has no "format": "msm3d"); only weights of msm3d can be loaded, '
            "and `msm3d models` lists what loads by name.",
        ),
        ({"format_version": 2}, "was made by a newer msm3d (format 2); run pip install -U msm3d."),
        ({"format_version": "1"}, "has format_version '1'; it must be 1."),
        ({"format_version": 0}, "has format_version 0; it must be 1."),
        ({"scores": 5}, "has scores 5; it must be numbers by name, so save or download it again."),
        ({"scores": [1]}, "has scores [1]; it must be numbers by name, so save or download it again."),
        ({"scores": {"a": "b" * 999}}, "has scores {'a': 'bbb"),
        ({"parameters": -1}, "has parameters -1; it must be a number of values"),
        ({"licence": ["MIT"]}, "has licence ['MIT']; it must be text"),
        ({"sha256": "x" * 64}, "has sha256 'xxx"),
        ({"format_version": 10**400}, "was made by a newer msm3d (format 1000"),
        ({"sha256": None}, "lacks sha256 or backbone; save or download it again."),
        ({"backbone": None}, "lacks sha256 or backbone; save or download it again."),
        ({"backbone": {"width": 3}}, "does not describe a network: unknown configuration field 'width'; choose among"),
        ({"backbone": {"channels": 3}}, "does not describe a network: "),
        ({"backbone": {"channels": [0]}}, "does not describe a network: channels has 1 levels but"),
    ],
)
def test_a_config_that_is_not_ours_is_refused(made, values, message):
    edit(made, **values)
    assert sentence(weights.read, made).startswith(f"{made / CONFIG} {message}")


def test_a_config_that_is_not_json_is_refused(made):
    (made / CONFIG).write_text("{'single': 'quotes'}")
    message = sentence(weights.read, made)
    assert message.startswith(f"{made / CONFIG} is not JSON (")
    assert message.endswith("); save or download it again.")


@pytest.mark.parametrize("name", [CONFIG, MODEL])
def test_half_a_directory_is_refused(made, name):
    (made / name).unlink()
    assert sentence(weights.read, made) == f"{made} has no {name}; a model of msm3d needs {CONFIG} and {MODEL}."


def test_fp16_files_load_into_an_fp32_network(tmp_path, rng):
    layer = nn.Linear(3, 2)
    stored = {name: torch.randn(value.shape, generator=rng).half() for name, value in layer.state_dict().items()}
    weights.load_state(layer, weights.read(weights.write(tmp_path / "m", TINY, stored))[1], "m")
    assert layer.weight.dtype == torch.float32
    assert layer.weight.equal(stored["weight"].float())


def test_every_disagreement_is_named_and_nothing_is_loaded(rng):
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    given = {**before, "0.weight": torch.ones(2, 3), "teacher.b": torch.ones(1), "a": torch.ones(1)}
    del given["1.bias"], given["1.weight"]
    given["0.bias"] = torch.ones(3, dtype=torch.int64)
    assert sentence(weights.load_state, network, given, "made") == (
        "the weights in made do not fit the network: missing: 1.bias; missing: 1.weight; unexpected: a; "
        "unexpected: teacher.b; wrong shape: 0.weight is (2, 3) instead of (3, 2); not floating point: 0.bias; "
        "use the config.json that was saved with them."
    )
    assert all(value.equal(before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    "change",
    [
        {"attention_blocks": [0, 10**30]},
        {"conv_blocks": [10**6, 0]},
        {"channels": [10**6, 10**6], "decoder_channels": [10**6, 10**6]},
        {"in_channels": 10**10},
        {"in_channels": 10**5},
        {"mlp_ratio": 10**18},
        {"mlp_ratio": 2**20},
        {"window": 10**30},
        {"channels": [4] * 1000, "decoder_channels": [4] * 1000},
        {"voxel_size": float("nan")},
        {"heads": float("nan")},
        {"layer_scale": float("inf")},
        {"norm": ["rmsnorm"]},
        {"curves": [{}]},
    ],
    ids=str,
)
def test_a_strangers_config_takes_neither_memory_nor_time(made, tmp_path, change):
    """Block counts of 10^30 looped for ever, and widths of a million asked for 108 TB."""
    from msm3d import load
    from msm3d.backbones.hunet.net import UNet

    directory = weights.write(tmp_path / "model", TINY, UNet(TINY).state_dict())
    load(directory, device="cpu")
    edit(directory, backbone=TINY.to_dict() | change)
    message = sentence(load, directory, device="cpu")
    assert message.startswith(
        (f"{directory / CONFIG} does not", f"the weights in {directory} do not fit the network: ")
    )
    assert "\n" not in message
    assert len(message) < 1500


def test_a_config_of_deep_or_endless_json_is_refused(made):
    for text in ("[" * 100_000, '{"a":' * 100_000, '{"format": "msm3d", "x": ' + "1" * 10_000 + "}", " " * (1 << 21)):
        (made / CONFIG).write_text(text)
        assert len(sentence(weights.info, str(made))) < 500


def test_negated_tensors_are_saved_as_they_look(tmp_path):
    negated = torch._neg_view(torch.arange(3.0))
    assert weights.read(weights.write(tmp_path / "m", TINY, {"a": negated}))[1]["a"].tolist() == [0, -1, -2]


# Names


def test_without_a_name_the_bundled_release_is_meant(monkeypatch, tmp_path):
    name = weights.DEFAULT
    assert weights.resolve() == weights.resolve(name) == Path(weights.__file__).parent / "bundled" / name
    assert weights.info(name).status == "bundled"
    monkeypatch.setattr(weights, "_BUNDLED", tmp_path)
    assert sentence(weights.resolve) == (
        "The weights of 'rooms-labelled' are part of the package, but not of this copy of it: "
        "run pip install --force-reinstall msm3d."
    )


def test_scannet_says_how_to_get_it(home):
    assert sentence(weights.resolve, "scannet") == (
        "The weights of 'scannet' are the paper's authors' and have no stated licence, so msm3d does not fetch them "
        "unasked: run `msm3d download scannet` once; from then on 'scannet' loads by name, without a network."
    )
    assert weights.info("scannet").status == "needs download"


def test_the_release_table_is_complete_and_pins_what_it_downloads():
    for name in weights.list_models():
        release, info = weights.releases()[name], weights.info(name)
        assert info.licence != "not stated"
        assert info.source != "not stated"
        assert info.data != "not stated"
        assert info.channels == sum(info.dims) > 0
        assert info.parameters > 0
        assert info.scores_source
        if release["repo"] is None:
            assert "run " in release["unavailable"]
        else:
            assert len(bytes.fromhex(release["revision"])) == 20
        if release["repo"] and not release.get("checkpoint"):  # of their files the authors state no hash
            assert len(bytes.fromhex(release["sha256"])) == 32


def test_an_installed_model_is_found_by_name_offline_and_described_as_it_is(home, made, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert weights.install(made, "scannet") == home / "msm3d" / "scannet"
    assert weights.resolve("scannet") == home / "msm3d" / "scannet"
    assert weights.resolve("scannet", local_files_only=True) == weights.installed("scannet")
    info = weights.info("scannet")
    assert (info.status, info.path, info.licence) == ("installed", weights.installed("scannet"), "MIT")
    assert (info.dims, info.parameters, info.scores) == ((6, 8), 22, {"x": 1.5})
    assert weights.read(info.path)[0] == TINY
    assert (info.path / MODEL).stat().st_nlink == 2


def test_installing_again_replaces_and_does_not_change_the_first_directory(home, made, tmp_path):
    weights.install(made, "scannet")
    other = weights.write(tmp_path / "other", TINY, {"c": torch.ones(2)})
    weights.install(other, "scannet")
    assert list(weights.read(weights.resolve("scannet"))[1]) == ["c"]
    assert len(weights.read(made)[1]) == 2


def test_only_releases_can_be_installed_and_only_intact_ones(home, made):
    known = ", ".join(weights.list_models())
    assert sentence(weights.install, made, "mine") == f"'mine' is not a release of msm3d; choose one of {known}."
    (made / MODEL).write_bytes(b"")
    assert "is damaged" in sentence(weights.install, made, "scannet")
    assert not home.exists()


@pytest.mark.parametrize("name", ["../up", "..", ".hidden", "a/b", "/etc", "", "a\n", "a b", "\\x"])
def test_a_name_is_never_a_path(home, name, monkeypatch, tmp_path):
    message = f"{name!r} cannot name weights; use letters, digits, '.', '_' and '-'."
    assert sentence(weights.installed, name, error=InputError) == message
    (tmp_path / "releases.json").write_text(json.dumps({name: {}}))
    monkeypatch.setattr(weights, "_RELEASES", tmp_path / "releases.json")
    assert sentence(weights.list_models, error=InputError) == message


def test_a_release_wins_over_a_directory_of_its_name(home, made, tmp_path):
    made.rename(tmp_path / "scannet")
    assert "msm3d download scannet" in sentence(weights.resolve, "scannet")
    assert weights.read(weights.resolve("./scannet"))[0] == TINY
    assert weights.read(weights.resolve(tmp_path / "scannet"))[0] == TINY
    assert weights.info("./scannet").status == "directory"


def test_a_directory_typed_as_a_name_is_pointed_to(home, made):
    assert sentence(weights.resolve, "made") == (
        "'made' is not a release of msm3d, but a directory here has this name; type ./made for it."
    )


def test_an_unknown_name_lists_the_known_ones(home):
    assert sentence(weights.resolve, 5) == "weights are named by text or a path, not by int; see list_models()."
    assert sentence(weights.resolve, "scanet") == ("unknown weights 'scanet'; did you mean 'scannet'?")


def test_a_missing_directory_is_named(home):
    assert sentence(weights.resolve, "./nowhere") == (
        "there is no directory './nowhere'; give one that holds config.json and model.safetensors."
    )
    assert sentence(weights.read, "nowhere").startswith("there is no directory 'nowhere'")


def test_a_checkpoint_is_sent_to_convert(home, tmp_path):
    (tmp_path / "model.pth").write_bytes(b"")
    assert sentence(weights.resolve, "model.pth") == (
        "model.pth is a checkpoint, not a directory of msm3d; run `msm3d convert model.pth -o DIR`, then give DIR."
    )


def test_a_directory_has_no_revision(home, made):
    assert sentence(weights.resolve, made, revision="v1", error=InputError) == (
        f"revision is 'v1', but {str(made)!r} is a directory on this machine; leave revision out."
    )
