"""Encoders of others by name: their file is fetched from a Hub on loopback, converted once, and kept."""

import io
import json
import warnings

import pytest
import torch
from safetensors.torch import save

import msm3d
from msm3d import weights
from msm3d.errors import InputError, WeightsError
from tests.conftest import make_scene
from tests.hub import Repo
from tests.test_hub import client as client
from tests.test_hub import hub as hub
from tests.test_ptv3 import SONATA, TINY, golden_state

LICENCE = "CC-BY-NC-4.0: for research and other non-commercial use only"


def checkpoint(config=SONATA) -> bytes:
    file = io.BytesIO()
    torch.save({"config": config, "state_dict": golden_state("ptv3_tiny")}, file)
    return file.getvalue()


@pytest.fixture
def release(hub, client, tmp_path, monkeypatch):
    """Return a function that makes the release `tiny` of some files."""

    def of(files: dict[str, bytes], name: str, **more):
        hub.repos["others/tiny"] = Repo(files)
        table = json.loads(weights._RELEASES.read_text())
        pinned = {"repo": "others/tiny", "revision": hub.repos["others/tiny"].branches["main"], "checkpoint": name}
        fields = {"heads": [1, 2, 2, 4, 4], "patch": 64, "voxel_size": 0.04}
        told = {"licence": LICENCE, "dims": list(TINY.channels), "backbone": fields}
        table["tiny"] = table["concerto-tiny"] | pinned | told | more
        (tmp_path / "releases.json").write_text(json.dumps(table))
        monkeypatch.setattr(weights, "_RELEASES", tmp_path / "releases.json")

    return of


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_a_release_is_fetched_converted_and_then_read_without_the_network(hub, release, kind):
    if kind == "pth":
        release({"tiny.pth": checkpoint()}, "tiny.pth")
    else:
        state = {name: tensor.contiguous() for name, tensor in golden_state("ptv3_tiny").items()}
        release({"model.safetensors": save(state), "config.json": json.dumps(SONATA).encode()}, "model.safetensors")
    assert weights.info("tiny").status == "downloadable"
    with pytest.raises(WeightsError, match="tiny"):
        weights.resolve("tiny", local_files_only=True)
    with pytest.warns(msm3d.Msm3dWarning, match=f"the weights of 'tiny' are {LICENCE}"):
        model = msm3d.load("tiny", device="cpu")
    assert model.config.channels == TINY.channels
    assert ", CC-BY-NC-4.0)" in repr(model)
    asked = len(hub.log)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = msm3d.load("tiny", device="cpu")
        rows = again.extract(make_scene(0, 300))
    assert (rows == model.extract(make_scene(0, 300))).all()
    assert len(hub.log) == asked
    info = weights.info("tiny")
    assert (info.status, info.licence, info.channels) == ("installed", LICENCE, sum(TINY.channels))
    kept = json.loads((info.path / "config.json").read_text())["converted_from"]
    assert kept["file"] == ("tiny.pth" if kind == "pth" else "model.safetensors")
    assert len(bytes.fromhex(kept["sha256"])) == 32


def test_the_table_says_what_a_file_does_not(release):
    """A file without the authors' configuration, whose heads and patch no tensor tells."""
    release({"tiny.pth": checkpoint(config={})}, "tiny.pth")
    with pytest.warns(msm3d.Msm3dWarning):
        assert msm3d.load("tiny", device="cpu").config.heads == (1, 2, 2, 4, 4)


@pytest.mark.filterwarnings("ignore:the weights of")
def test_another_network_under_the_name_is_refused_and_nothing_is_kept(release):
    release({"tiny.pth": checkpoint()}, "tiny.pth", dims=[16, 24, 32, 48, 96])
    with pytest.raises(WeightsError, match=r"is not 'tiny': its levels have 16, 24, 32, 48, 64 channels, not 16, 24"):
        msm3d.load("tiny", device="cpu")
    assert not weights.installed("tiny").exists()
    release({"tiny.pth": b"<html>"}, "tiny.pth")
    with pytest.raises(InputError, match=r"tiny.pth is damaged or holds Python objects, which msm3d never runs"):
        msm3d.load("tiny", device="cpu")
    with pytest.raises(InputError, match="revision is 'main', but 'tiny' is of one commit; leave revision out"):
        msm3d.load("tiny", device="cpu", revision="main")


def test_the_released_encoders_are_pinned_and_say_their_licence():
    others = {name: entry for name, entry in weights.releases().items() if entry.get("checkpoint")}
    assert len(others) == 9
    for name, entry in others.items():
        info = weights.info(name)
        assert info.licence.startswith("CC-BY-NC-4.0: for research and other non-commercial use only")
        assert len(bytes.fromhex(entry["revision"])) == 20
        assert entry["backbone"].keys() >= {"heads", "patch", "voxel_size"}
        assert all(width % heads == 0 for width, heads in zip(info.dims, entry["backbone"]["heads"], strict=True))
