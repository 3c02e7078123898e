"""The real client of the Hugging Face Hub against a Hub on loopback: what works, and what is said when it does not."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch

import msm3d
from msm3d import weights
from msm3d.backbones.hunet.config import BackboneConfig
from msm3d.errors import InputError, WeightsError
from msm3d.weights.store import CARD, CONFIG, MODEL
from tests.hub import Hub, Repo, answer, cut_short, scrambled

SMALL = BackboneConfig(
    channels=(4,), decoder_channels=(4,), conv_blocks=(0,), attention_blocks=(0,), heads=(0,), voxel_size=0.05
)
TENSORS = {"a": torch.arange(3000.0), "b": torch.ones(2, 3)}
REPO = "ana/rooms"
ONLY_OURS = "only weights of msm3d can be loaded, and `msm3d models` lists what loads by name."

recent_client = pytest.mark.skipif(
    int(huggingface_hub.__version__.split(".")[0]) < 2, reason="clients before 2.0 leave the second try to the user"
)


@pytest.fixture
def hub():
    with Hub() as hub:
        yield hub


@pytest.fixture
def client(hub, tmp_path, monkeypatch):
    """Point the client at the Hub on loopback, with a cache of its own, and let it retry without waiting."""
    from huggingface_hub import constants, file_download

    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    for module in (constants, file_download):  # older clients keep copies
        monkeypatch.setattr(module, "ENDPOINT", hub.url, raising=False)
        monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "home" / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return constants


@pytest.fixture
def files(tmp_path):
    directory = weights.write(tmp_path / "made", SMALL, TENSORS, {"name": "rooms", "licence": "MIT"})
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture
def repo(hub, client, files):
    hub.repos[REPO] = Repo(files)
    return hub.repos[REPO]


def fails(source=REPO, **options) -> str:
    with pytest.raises(WeightsError) as caught:
        weights.resolve(source, **options)
    return str(caught.value)


def test_a_repository_is_downloaded_once_and_then_read_without_the_network(hub, repo):
    directory = weights.resolve(REPO)
    config, tensors, meta = weights.read(directory)
    assert config == SMALL
    assert tensors.keys() == TENSORS.keys()
    assert all(tensors[name].equal(TENSORS[name]) for name in TENSORS)
    assert meta["licence"] == "MIT"
    asked = len(hub.log)
    assert weights.resolve(REPO) == directory
    assert weights.info(REPO).licence == "MIT"
    assert len(hub.log) == asked, hub.log


def test_a_moved_branch_is_seen_by_download_only(hub, repo, files, tmp_path):
    first = weights.resolve(REPO)
    made = weights.write(tmp_path / "second", SMALL, {"a": torch.zeros(5)})
    commit = repo.commit({name: (made / name).read_bytes() for name in (CONFIG, MODEL)})
    assert weights.resolve(REPO) == first
    second = weights.download(REPO)
    assert second.name == commit
    assert weights.read(second)[1]["a"].shape == (5,)
    assert weights.resolve(REPO) == second
    assert weights.resolve(REPO, revision=first.name) == first


def test_a_branch_that_moves_during_the_download_does_not_mix_two_commits(hub, repo, files, tmp_path):
    made = weights.write(tmp_path / "second", SMALL, {"a": torch.zeros(5)})
    second = {name: (made / name).read_bytes() for name in (CONFIG, MODEL)}

    def move(handler, content):
        repo.commit(second)
        handler.answer(200, content)

    hub.faults["GET", CONFIG] = [move]
    assert weights.read(weights.resolve(REPO))[1]["a"].shape == (3000,)


def test_download_can_be_carried_to_a_machine_without_a_network(hub, repo, tmp_path, monkeypatch):
    carried = weights.download(REPO, tmp_path / "stick")
    assert not carried.is_symlink()
    assert not (carried / MODEL).is_symlink()
    hub.server.shutdown()
    assert weights.read(weights.resolve(carried))[0] == SMALL


def test_another_cache_can_be_named(hub, repo, tmp_path):
    directory = weights.resolve(REPO, cache_dir=tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere") in directory.parents


@recent_client
def test_a_connection_that_breaks_is_resumed(hub, repo, files, client, monkeypatch):
    monkeypatch.setattr(client, "DOWNLOAD_CHUNK_SIZE", 1000)
    hub.faults["GET", MODEL] = [cut_short, cut_short]
    weights.read(weights.resolve(REPO))
    first = len(files[MODEL]) // 2 // 1000 * 1000  # whole chunks of the first half
    assert hub.log.count(f"GET {MODEL}") == 3
    assert int(hub.log[-1].removeprefix("from ")) > first


def test_a_download_that_breaks_for_good_says_so_and_the_next_one_works(hub, repo, client):
    hub.faults["GET", MODEL] = [cut_short] * 6
    sentence = fails()
    assert sentence.startswith(
        f"downloading model.safetensors of {REPO} at revision {repo.branches['main']!r} broke off ("
    )
    assert sentence.endswith("); run it again.")
    hub.faults.clear()
    weights.read(weights.resolve(REPO))


def test_wrong_bytes_are_downloaded_again_once(hub, repo):
    hub.faults["GET", MODEL] = [scrambled]
    assert weights.read(weights.resolve(REPO))[1]["b"].equal(TENSORS["b"])
    assert hub.log.count(f"GET {MODEL}") == 2


def test_bytes_that_stay_wrong_are_deleted_and_reported(hub, repo, files):
    import hashlib

    wrong = hashlib.sha256(bytes(255 - byte for byte in files[MODEL])).hexdigest()
    right = hashlib.sha256(files[MODEL]).hexdigest()
    hub.faults["GET", MODEL] = [scrambled, scrambled]
    assert fails() == (
        f"model.safetensors of {REPO} was damaged, so it was deleted: its sha256 is {wrong}, it should be {right}; "
        f"download it again, and if that does not help, tell the owner of {REPO}."
    )
    weights.read(weights.resolve(REPO))


def test_a_file_damaged_in_the_cache_is_replaced(hub, repo):
    model = (weights.resolve(REPO) / MODEL).resolve()
    model.write_bytes(model.read_bytes()[:-7])
    assert weights.read(weights.resolve(REPO))[1]["b"].equal(TENSORS["b"])


@recent_client
def test_a_server_that_stumbles_is_asked_again(hub, repo):
    hub.faults["HEAD", CONFIG] = [answer(500), answer(503)]
    weights.read(weights.resolve(REPO))


def test_a_server_that_stays_down_is_named(hub, repo):
    hub.faults["HEAD", CONFIG] = [answer(503)] * 20
    assert fails() == (
        f"the Hugging Face Hub answered 503 for config.json of {REPO}; this passes as a rule, so try again later."
    )


def test_the_repository_does_not_exist(hub, client):
    assert fails("ana/rommos") == (
        "the Hugging Face Hub has no repository 'ana/rommos', or it is private; check its name, or set HF_TOKEN."
    )


def test_the_revision_does_not_exist(hub, repo):
    assert fails(revision="v9") == (
        f"{REPO} has no revision 'v9'; give one of its branches, tags or commits, or none for the newest."
    )


def test_the_repository_holds_something_else(hub, client):
    hub.repos["ana/poems"] = Repo({"poems.txt": b"..."})
    assert fails("ana/poems") == (
        "ana/poems has no config.json, so it is not a model of msm3d; only weights of msm3d can be loaded, "
        "and `msm3d models` lists what loads by name."
    )


def test_another_programs_model_is_refused_before_its_weights_are_downloaded(hub, client):
    hub.repos["ana/bert"] = Repo({"config.json": b'{"model_type": "bert"}', MODEL: b"x" * 1000})
    assert fails("ana/bert").endswith(
        'config.json is not of msm3d (it has no "format": "msm3d"); only weights of msm3d can be loaded, '
        "and `msm3d models` lists what loads by name."
    )
    assert f"GET {MODEL}" not in hub.log


def test_a_private_repository_needs_its_token(hub, client, files, monkeypatch):
    hub.repos[REPO] = Repo(files, token="hf_right")
    assert "or it is private" in fails()
    assert "or it is private" in fails(token="hf_wrong")
    assert weights.read(weights.resolve(REPO, token="hf_right"))[0] == SMALL


def test_a_token_that_has_expired_is_named(hub, repo):
    hub.faults["HEAD", CONFIG] = [answer(401, X_Error_Message="Invalid credentials in Authorization header")]
    assert fails() == (
        f"the Hugging Face Hub refused to hand out {REPO} (401); set HF_TOKEN to a token that may read it."
    )


def test_a_name_that_the_hub_does_not_allow(hub, client):
    message = fails("ana/ro--oms")
    assert message.startswith("'ana/ro--oms' cannot name a repository of the Hugging Face Hub (")
    assert message.endswith("); give owner/name.")


def test_a_gated_repository_names_its_page(hub, client, files):
    hub.repos[REPO] = Repo(files, gated=True)
    assert fails() == f"{REPO} asks you to accept its terms; do so at {hub.url}/{REPO}, then set HF_TOKEN."


def test_offline_and_not_in_the_cache(hub, repo, client, monkeypatch):
    assert fails(local_files_only=True) == (
        f"config.json of {REPO} is not in the cache and local_files_only is set; "
        f"fetch it once with `msm3d download {REPO}` while online; {ONLY_OURS}"
    )
    monkeypatch.setattr(client, "HF_HUB_OFFLINE", True)
    assert fails() == (
        f"config.json of {REPO} is not in the cache and HF_HUB_OFFLINE is set; "
        f"fetch it once with `msm3d download {REPO}` while online; {ONLY_OURS}"
    )
    assert hub.log == []


def test_no_server_at_all(hub, client):
    hub.server.shutdown()
    hub.server.server_close()
    assert fails() == (
        f"config.json of {REPO} is not in the cache and {hub.url} cannot be reached; "
        f"check the connection, or copy a model's directory here and give its path; {ONLY_OURS}"
    )


def test_an_unreachable_hub_is_tried_once_and_the_client_says_nothing(hub, client, monkeypatch, capfd):
    """It waited for 23 seconds and told of each of its five tries."""
    waits = []
    monkeypatch.setattr(time, "sleep", waits.append)
    hub.server.shutdown()
    hub.server.server_close()
    assert fails("facebook/sonata").endswith(ONLY_OURS)
    assert waits == []
    assert capfd.readouterr() == ("", "")


def test_a_damaged_file_is_kept_where_no_download_can_follow(hub, repo, client, monkeypatch):
    link = weights.resolve(REPO) / MODEL
    link.resolve().write_bytes(b"damaged")
    for local, offline in ((True, False), (False, True)):
        monkeypatch.setattr(client, "HF_HUB_OFFLINE", offline)
        sentence = fails(local_files_only=local)
        assert sentence.startswith(f"{link} is damaged: its sha256 is ")
        assert sentence.endswith(f"; fetch it again with `msm3d download {REPO}` while online.")
        assert link.read_bytes() == b"damaged"


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
def test_a_file_that_leads_out_of_the_cache_is_neither_used_nor_deleted(hub, repo, files, tmp_path):
    """As caches on shared stores look, and as one answer of a misbehaving Hub can make it."""
    link, outside = weights.resolve(REPO) / MODEL, tmp_path / "mine.safetensors"
    for content in (b"mine", files[MODEL]):
        outside.write_bytes(content)
        link.unlink()
        link.symlink_to(outside)
        for options in ({"local_files_only": True}, {}):
            assert fails(**options) == (
                f"{link} leads out of the cache, to {outside}, so it is not used; delete that link, "
                "and load or download the model again."
            )
            assert outside.read_bytes() == content


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
def test_only_the_blobs_of_the_repository_itself_are_deleted(hub, repo, tmp_path, monkeypatch, client):
    from msm3d.weights.hub import forget

    link = weights.resolve(REPO) / MODEL
    blob, other = link.resolve(), Path(client.HF_HUB_CACHE) / "models--bob--x" / "blobs" / "b"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"other")
    link.unlink()
    link.symlink_to(other)
    assert not forget(link)
    assert other.read_bytes() == b"other"
    link.unlink()
    link.symlink_to(blob)
    assert forget(link)
    assert not blob.exists()


@pytest.mark.parametrize("header", ["X-Repo-Commit", "ETag"])
def test_an_answer_that_leads_out_of_the_cache_downloads_nothing(hub, repo, client, header):
    def strange(handler, _):
        headers = {"ETag": '"abc"', "X-Repo-Commit": repo.branches["main"], header: "a/../../b"}
        handler.answer(200, b"{}", headers)

    hub.faults["HEAD", CONFIG] = [strange] * 3
    assert fails() == (
        f"the Hub's answer for config.json of {REPO} leads out of the cache ('a/../../b'), so nothing was downloaded; "
        "check HF_ENDPOINT, or tell the owner of that Hub."
    )
    assert f"GET {CONFIG}" not in hub.log
    assert not Path(client.HF_HUB_CACHE).exists()


@pytest.mark.parametrize("revision", ["../../secret", "/etc/passwd", "a/../b", "", "v1\n"])
def test_a_revision_is_never_a_path(hub, repo, revision):
    with pytest.raises(InputError) as caught:
        weights.resolve(REPO, revision=revision)
    assert str(caught.value) == f"revision is {revision!r}; it must be a branch, a tag or a commit of {REPO}."
    assert hub.log == []


@pytest.fixture
def release(hub, repo, files, tmp_path, monkeypatch):
    """Pin the repository as the release `pinned`."""
    table = json.loads(weights._RELEASES.read_text())
    sha256 = json.loads(files[CONFIG])["sha256"]
    plain = {name: value for name, value in table["scannet"].items() if name != "drive"}
    table["pinned"] = plain | {"repo": REPO, "revision": repo.branches["main"], "sha256": sha256}
    (tmp_path / "releases.json").write_text(json.dumps(table))
    monkeypatch.setattr(weights, "_RELEASES", tmp_path / "releases.json")
    return table["pinned"]


def test_a_pinned_release_is_downloaded_by_name_and_stays_at_its_commit(hub, repo, release):
    assert {"pinned", "rooms", "scannet"} < set(weights.list_models())
    assert weights.info("pinned").status == "downloadable"
    pinned = weights.resolve("pinned")
    assert pinned.name == release["revision"]
    repo.commit({CONFIG: b"{}"})
    asked = len(hub.log)
    assert weights.resolve("pinned") == pinned
    assert weights.download("pinned") == pinned
    assert len(hub.log) == asked
    assert weights.read(pinned)[0] == SMALL


def test_a_release_that_does_not_match_its_pin_is_refused(hub, repo, release, tmp_path, monkeypatch):
    table = {"pinned": release | {"sha256": "0" * 64}}
    (tmp_path / "releases.json").write_text(json.dumps(table))
    assert f"it should be {'0' * 64}" in fails("pinned")


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client's own
def test_push_makes_a_repository_that_can_be_loaded(hub, client, tmp_path):
    made = weights.write(tmp_path / "made", SMALL, TENSORS, {"name": "rooms"})
    (made / "notes.txt").write_text("private")
    url = weights.push(made, "ana/new", private=True, token="hf_right", commit_message="First")
    repo = hub.repos["ana/new"]
    commit = repo.branches["main"]
    assert url == f"{hub.url}/ana/new/commit/{commit}"
    assert repo.private
    assert sorted(repo.commits[commit]) == [CARD, CONFIG, MODEL]
    assert weights.read(weights.resolve("ana/new"))[1]["a"].equal(TENSORS["a"])


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client's own
def test_a_model_is_pushed_and_loads_from_there_as_it_was(hub, client, model, scene):
    """What the README promises: `push_to_hub` on one machine, `load` on another."""
    url = model.push_to_hub("ana/small", token="hf_right", commit_message="A small one")
    assert hub.repos["ana/small"].branches["main"] in url
    again = msm3d.load("ana/small", device="cpu", backend="reference")
    assert again.config == model.config
    assert np.array_equal(again.extract(scene), model.extract(scene))
    with pytest.raises(TypeError, match="colour"):
        model.push_to_hub("ana/small", colour="red")


def test_push_needs_a_token(hub, client, tmp_path):
    made = weights.write(tmp_path / "made", SMALL, TENSORS)
    with pytest.raises(WeightsError) as caught:
        weights.push(made, "ana/new")
    assert str(caught.value) == (
        "the Hugging Face Hub does not let you write to ana/new; set HF_TOKEN to a token that may."
    )


def test_push_checks_the_files_and_the_name_first(hub, client, tmp_path):
    made = weights.write(tmp_path / "made", SMALL, TENSORS)
    with pytest.raises(InputError, match=r"'new' cannot name a repository of the Hugging Face Hub; give owner/name."):
        weights.push(made, "new", token="hf_right")
    (made / MODEL).write_bytes(b"half")
    with pytest.raises(WeightsError, match="is damaged or of another model"):
        weights.push(made, "ana/new", token="hf_right")
    assert hub.repos == {}


def test_push_without_a_server(hub, client, tmp_path):
    made = weights.write(tmp_path / "made", SMALL, TENSORS)
    hub.server.shutdown()
    hub.server.server_close()
    with pytest.raises(WeightsError) as caught:
        weights.push(made, "ana/new", token="hf_right")
    assert str(caught.value) == (
        f"{hub.url} cannot be reached, so ana/new was not changed; check the connection and run it again."
    )


def test_the_clients_environment_variables_are_honoured(hub, files, tmp_path):
    """The variables are read when the client is imported, so only a fresh process shows it."""
    hub.repos[REPO] = Repo(files, token="hf_right")
    script = f"from msm3d import weights; print(weights.resolve({REPO!r}))"
    mine = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "home"),
        "HF_TOKEN": "hf_right",
        "HF_HUB_DISABLE_XET": "1",
    }
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")} | mine

    def run(**more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", script]
        return subprocess.run(command, env=environment | more, capture_output=True, text=True, timeout=60, check=False)

    first = run()
    assert first.returncode == 0, first.stderr
    directory = Path(first.stdout.strip())
    assert tmp_path / "home" / "hub" in directory.parents
    asked = len(hub.log)
    assert Path(run(HF_HUB_OFFLINE="1").stdout.strip()) == directory
    assert len(hub.log) == asked
    missing = run(HF_HUB_OFFLINE="1", HF_HUB_CACHE=str(tmp_path / "other"))
    assert "is not in the cache and HF_HUB_OFFLINE is set" in missing.stderr
