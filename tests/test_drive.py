"""The paper's authors' weights from a Drive on loopback, by the real downloader: what works, what is said if not."""

import json
import shutil
import sys
import time
from hashlib import sha256
from pathlib import Path

import pytest
import requests
from requests.adapters import HTTPAdapter

import msm3d
from msm3d import cli, weights
from msm3d.errors import DependencyError, FileError, WeightsError
from msm3d.weights.store import CONFIG, MODEL
from tests.conftest import make_scene
from tests.drive import MOVED, QUOTA, SIGN_IN, Drive
from tests.golden import CONFIGS, golden_checkpoint

LINK = "1HdyQXop6nkX0_CC9NVd5Omj8_DLfYG7y"
BY_HAND = f"or download https://drive.google.com/file/d/{LINK}/view in a browser and run `msm3d convert FILE`."
PAGE = "https://github.com/phermosilla/msm/blob/main/inference/README.md"
CHUNK = 512 * 1024  # of the downloader
WARNING = (
    "the weights of 'scannet' are not msm3d's, they are by Hermosilla, Stippel, Sick: Masked Scene Modeling, "
    "CVPR 2025, arXiv 2504.06719; licence: not stated for the weights; the authors' code is MIT, and ScanNet's terms "
    "of use apply to the training data"
)

pytestmark = pytest.mark.filterwarnings("ignore:the weights of 'scannet' are not msm3d's")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A golden network of the paper's kind in the authors' layout, 9 MB."""
    return golden_checkpoint(tmp_path_factory.mktemp("golden") / "model.pth", "tiny_rms_glu").read_bytes()


@pytest.fixture
def home(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path / "home" / "msm3d"


@pytest.fixture
def drive(home, checkpoint, tmp_path, monkeypatch):
    """A Drive that has the small network under the authors' link, and a table of releases that knows its sizes."""
    table = json.loads(weights._RELEASES.read_text())
    table["scannet"] |= {"dims": [16, 24, 32, 48, 64], "backbone": CONFIGS["tiny_rms_glu"]}
    (tmp_path / "releases.json").write_text(json.dumps(table))
    monkeypatch.setattr(weights, "_RELEASES", tmp_path / "releases.json")
    monkeypatch.setattr(time, "sleep", lambda _: None)
    send = HTTPAdapter.send
    with Drive() as drive:

        def redirected(self, request, *arguments, **options):
            for host in ("https://drive.google.com", "https://drive.usercontent.google.com"):
                request.url = request.url.replace(host, drive.url)
            return send(self, request, *arguments, **options)

        monkeypatch.setattr(HTTPAdapter, "send", redirected)
        drive.files[LINK] = checkpoint
        yield drive


def fails(error=WeightsError) -> str:
    with pytest.raises(error) as caught:
        weights.download("scannet")
    return str(caught.value)


def left(home) -> list[str]:
    """What is there beside the weights."""
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())


def test_one_command_fetches_converts_and_keeps_the_weights(drive, home, capsys, checkpoint):
    with pytest.raises(WeightsError, match="run `msm3d download scannet` once; from then on 'scannet' loads by name"):
        msm3d.load("scannet")
    assert drive.log == []
    assert cli.main(["download", "scannet"]) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{home / 'scannet'}\n"
    assert shown.err == f"warning: {WARNING}\n"
    assert drive.log == ["uc", "download"]
    assert left(home) == ["scannet.sha256", "scannet/README.md", "scannet/config.json", "scannet/model.safetensors"]
    digest = sha256(checkpoint).hexdigest()
    assert (home / "scannet.sha256").read_text() == f"{digest}  {LINK}\n"
    meta = json.loads((home / "scannet" / CONFIG).read_text())
    assert meta["converted_from"]["sha256"] == digest
    assert meta["licence"].startswith("not stated for the weights")
    model = msm3d.load("scannet", device="cpu")
    assert model.extract(make_scene(0, 300)).shape == (900, 184)
    assert weights.download("scannet") == home / "scannet"
    assert len(drive.log) == 2, "what is there is not fetched again"


def test_a_second_download_must_be_the_same_file(drive, home, checkpoint):
    weights.download("scannet")
    shutil.rmtree(home / "scannet")
    assert weights.download("scannet") == home / "scannet"
    shutil.rmtree(home / "scannet")
    drive.files[LINK] = checkpoint + b"\0"
    before, now = (sha256(content).hexdigest() for content in (checkpoint, drive.files[LINK]))
    message = (
        f"the file behind the link of 'scannet' is another than before: its sha256 is {now}, not {before}; see {PAGE} "
        "for the reason, and if it is the authors' will, "
    )
    assert fails() == f"{message}delete {home / 'scannet.sha256'} and run it again."
    assert left(home) == ["scannet.sha256"]
    (home / "scannet.sha256").write_text("nonsense")
    drive.files[LINK] = checkpoint
    weights.download("scannet")  # a record that nobody can read is none
    shutil.rmtree(home)
    table = json.loads(weights._RELEASES.read_text())
    table["scannet"]["drive"]["sha256"] = now
    weights._RELEASES.write_text(json.dumps(table))
    assert fails().endswith("if it is the authors' will, install a newer msm3d.")
    assert left(home) == []


def test_damaged_weights_are_fetched_again(drive, home):
    model = weights.download("scannet") / MODEL
    whole = model.read_bytes()
    model.write_bytes(whole[:-1] + b"x")
    assert weights.download("scannet") / MODEL == model
    assert model.read_bytes() == whole


def test_a_download_that_broke_off_goes_on(drive, home):
    drive.breaks = [2 * CHUNK, 3 * CHUNK, 4 * CHUNK, 5 * CHUNK]
    sentence = "the download from Google Drive broke off after 2.1 MB; run it again, and it goes on from there, "
    assert fails() == sentence + BY_HAND
    assert drive.log[1:] == ["download", f"download from {2 * CHUNK}", f"download from {3 * CHUNK}"]
    assert [name for name in left(home) if not name.endswith(("lock", ".part"))] == []
    drive.log.clear()
    weights.download("scannet")
    assert drive.log == ["uc", "download", f"download from {4 * CHUNK}", f"download from {5 * CHUNK}"]
    assert not (home / "scannet.download").exists()


def test_where_drive_does_not_go_on_in_the_middle_it_begins_again(drive, home):
    drive.ranges, drive.breaks = False, [2 * CHUNK]
    assert "broke off after 1.0 MB" in fails()
    drive.breaks = []
    drive.log.clear()
    weights.download("scannet")
    assert drive.log[-2:] == ["uc", "download"]
    assert weights.info("scannet").status == "installed"


@pytest.mark.parametrize("when", ["downloading", "converting"])
def test_an_interrupted_download_goes_on(drive, home, capsys, monkeypatch, when):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        place = "gdown.download.shutil.move" if when == "downloading" else "msm3d.weights.convert.convert"
        module, _, name = place.rpartition(".")
        patch.setattr(sys.modules[module] if module in sys.modules else shutil, name, interrupt)
        assert cli.main(["download", "scannet"]) == 130
    assert "interrupted; " in capsys.readouterr().err
    drive.log.clear()
    weights.download("scannet")
    assert "download" in drive.log if when == "downloading" else drive.log == []
    assert left(home)[0] == "scannet.sha256"


@pytest.mark.parametrize(
    ("page", "sentence"),
    [
        (
            QUOTA,
            "Google Drive hands this file out to nobody more for now, too many have asked for it; try again tomorrow, ",
        ),
        *(
            (
                page,
                "Google Drive does not hand out the file behind the authors' link, which may have moved; look for the "
                f"link in {PAGE}, ",
            )
            for page in (MOVED, SIGN_IN, (500, "Internal Server Error"), (200, '<form id="download-form"></form>'))
        ),
    ],
)
def test_a_page_instead_of_the_file_is_explained(drive, home, page, sentence):
    drive.page = page
    assert fails() == sentence + BY_HAND
    assert left(home) == []


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04", "other"], ids=["empty", "text", "zip", "other"])
def test_a_wrong_file_is_said_and_removed(drive, home, content, tmp_path):
    if content == "other":
        content = golden_checkpoint(tmp_path / "other.pth", "ptv3_tiny_rope").read_bytes()
    drive.files[LINK] = content
    message = fails()
    assert message.startswith("what the link of 'scannet' leads to is not these weights (")
    assert message.endswith(f"), so it was removed; see {PAGE} for a newer link, {BY_HAND}")
    assert "\n" not in message
    assert left(home) == []


def test_without_a_network_it_says_so(drive, home, monkeypatch):
    def unreachable(*_, **__):
        raise requests.ConnectionError("Name or service not known")

    monkeypatch.setattr(HTTPAdapter, "send", unreachable)
    sentence = "Google Drive cannot be reached; check the connection, "
    assert fails() == sentence + BY_HAND
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert fails() == f"HF_HUB_OFFLINE is set, so 'scannet' is not downloaded; unset it, {BY_HAND}"
    assert left(home) == []


def test_without_the_downloader_it_says_how_to_get_it(drive, home, monkeypatch):
    monkeypatch.setitem(sys.modules, "gdown", None)
    sentence = 'files on Google Drive need gdown; type: pip install "msm3d[drive]", '
    assert fails(DependencyError) == sentence + BY_HAND
    assert left(home) == []


def test_two_downloads_at_once_do_not_mix(drive, home):
    seen = []

    def second():
        if not seen:
            seen.append(fails())

    drive.meanwhile = second
    weights.download("scannet")
    assert seen == [f"another msm3d is downloading to {home / 'scannet.download'}; wait for it, {BY_HAND}"]


def test_a_place_that_cannot_be_written_is_said(drive, home):
    home.parent.mkdir()
    home.write_text("a file")
    assert fails(FileError).startswith(f"{home / 'scannet.download'} cannot be written (")


def test_by_hand_it_works_too(drive, home, checkpoint, tmp_path):
    path = Path(tmp_path / "model.pth")
    path.write_bytes(checkpoint)
    with pytest.raises(WeightsError, match="no tensor tells its heads"):  # only the published network needs nothing
        weights.convert.convert(path)
    weights.convert.convert(path, tmp_path / "out", release="scannet")
    assert weights.info("scannet").status == "installed"
    assert drive.log == []
