"""The demo of examples/space: what a visitor does, with and without a browser; visitors do not mix."""

import importlib
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import msm3d
from msm3d.errors import InputError, Msm3dError
from msm3d.rooms import make
from msm3d.rooms.files import write_ply
from tests.test_viewer import browser as browser

ROOT = Path(msm3d.__file__).parents[1]


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A scan, and some rows of two of its classes."""
    cloud = make(900_001, points=3000)
    path = tmp_path_factory.mktemp("space") / "my room.ply"
    write_ply(path, cloud)
    rows = {name: np.flatnonzero(cloud.segment == k)[::25][:20].tolist() for k, name in enumerate(("wall", "floor"))}
    return path, rows


@pytest.fixture
def app(monkeypatch):
    """The program, with a small network."""
    monkeypatch.syspath_prepend(ROOT / "examples" / "space")
    app = importlib.import_module("app")
    torch.manual_seed(0)
    shape = dict(channels=(8, 8), decoder_channels=(8, 8), conv_blocks=(1, 1), attention_blocks=(0, 0), heads=(0, 0))
    small = msm3d.Model(msm3d.BackboneConfig(**shape, voxel_size=0.05), meta={"name": "small"}).eval()
    monkeypatch.setattr(app, "model", lambda: small)
    yield app
    sys.modules.pop("app")


@pytest.fixture
def visit(app):
    visits = []

    def visit():
        visits.append(app.Visit())
        return visits[-1]

    yield visit
    for one in visits:
        one.close()
        assert not one.folder.exists()


def test_a_scan_is_shown_taught_and_taken_away(visit, scan):
    path, rows = scan
    mine = visit()
    page, said = mine.open(str(path), "z", "m")
    assert page.startswith('<iframe title="my room.ply" srcdoc="&lt;!doctype html&gt;')
    assert "3,000 points x 16 channels" in said
    page, said, files = mine.teach(json.dumps(rows))
    assert "wall" in said
    assert "confidence" in said
    assert "&quot;given&quot;: {&quot;wall&quot;: [" in page  # the page goes on with the labels
    names = [Path(file).name for file in files]
    assert names == ["labels.json", "my room-labelled.ply", "head.zip"]
    labels = msm3d.tasks.Labels.read(files[0])
    assert {name: found.tolist() for name, found in labels.rows.items()} == rows
    assert set(np.unique(msm3d.read(files[1]).segment)) <= {0, 1}
    before = set(mine.folder.iterdir())
    mine.open(str(path))
    assert [file.name for file in mine.folder.rglob("*.*")] == ["my room.ply"]
    assert len(before) > 1


@pytest.mark.filterwarnings("ignore:the points have no")
def test_a_scan_of_other_units_is_turned_and_scaled_once(visit, scan, tmp_path):
    path, rows = scan
    coord = 100 * msm3d.read(path).coord[:, [0, 2, 1]] * [1, 1, -1]
    np.savetxt(tmp_path / "cm.xyz", coord)
    mine = visit()
    mine.open(str(tmp_path / "cm.xyz"), "y", "cm")
    page, *_ = mine.teach(json.dumps(rows))
    assert "&quot;given&quot;: {&quot;wall&quot;: [" in page


def test_visitors_do_not_mix(visit, scan):
    path, rows = scan
    one, other = visit(), visit()
    one.open(str(path))
    one.teach(json.dumps(rows))
    assert list(other.folder.iterdir()) == []
    with pytest.raises(InputError, match=r"there is no scan yet; give one, or take the example\."):
        other.teach(json.dumps(rows))


def test_mistakes_are_one_sentence_and_keep_the_scan(app, visit, scan, tmp_path, monkeypatch):
    path, rows = scan
    mine = visit()
    mine.open(str(path))
    (tmp_path / "notes.docx").write_bytes(b"no scan")
    (tmp_path / "broken.ply").write_bytes(b"ply\nformat")
    for name in ("notes.docx", "broken.ply"):
        with pytest.raises(Msm3dError, match=r"^[^\n]+\.$"):
            mine.open(str(tmp_path / name))
    monkeypatch.setattr(app, "LARGEST", 0)
    with pytest.raises(InputError, match=r"give a scan of at most 0 MB\."):
        mine.open(str(path))
    with pytest.raises(InputError, match=r"^too few kinds of things are named; under Name, label points of two"):
        mine.teach(json.dumps({"wall": rows["wall"], "floor": []}))
    for text in ("[1]", "{", "7"):
        with pytest.raises(InputError, match=r"these are no labels; name points in the page\."):
            mine.teach(text)
    with pytest.raises(InputError, match=r"'floor' has the row 99999, but rows are 0 to 2999"):
        mine.teach(json.dumps(rows | {"floor": [99_999]}))
    assert mine.teach(json.dumps(rows))[2]


def test_the_folder_is_a_space(app):
    front = (ROOT / "examples/space/README.md").read_text(encoding="utf-8").split("---")[1]
    assert "sdk: gradio\napp_file: app.py\n" in front
    assert "msm3d[demo," in (ROOT / "examples/space/requirements.txt").read_text()


@pytest.mark.slow
def test_somebody_names_things_in_a_browser(app, browser, scan, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of gradio and what it stands on about each other
        pytest.importorskip("gradio", reason='no gradio; pip install "msm3d[demo]"')
        path, rows = scan
        server = app.launch(prevent_thread_lock=True, quiet=True, share=False)
        page = browser.new_page()
        try:
            page.goto(server.local_url)
            page.set_input_files("input[type=file]", str(path))
            frame = page.frame_locator("#scan iframe")
            frame.locator("html[data-ready]").wait_for(state="attached", timeout=240_000)
            page.click("#teach")  # nothing is named yet
            page.get_by_text("too few kinds of things are named").wait_for(timeout=240_000)
            [inner] = [one for one in page.frames if one != page.main_frame]
            give = """(rows) => { const { labels } = msm3d.naming; for (const [name, its] of Object.entries(rows))
                labels.give(its, labels.classes.find((one) => one.name === name).id); }"""  # names of the scan's labels
            inner.evaluate(give, rows)
            page.click("#teach")
            page.locator("#said").get_by_text("confidence").wait_for(timeout=240_000)
            page.frame_locator("#scan iframe").locator("html[data-ready]").wait_for(state="attached", timeout=240_000)
            assert all(name in page.content() for name in ("labels.json", "-labelled.ply", "head.zip"))
        finally:
            page.close()
            server.close()
