"""The page of `msm3d view` in a real browser without a display; the tests skip where there is none."""

import hashlib
import io
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import msm3d
from msm3d import cli
from msm3d.errors import InputError
from msm3d.io import read
from msm3d.scan.cloud import PointCloud
from msm3d.visualize import similarity, threshold, write_page
from msm3d.visualize.packing import Cells, loss, pack
from msm3d.visualize.page import HERE, level_bases
from tests.conftest import make_scene

FLAGS = """--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --enable-unsafe-swiftshader""".split()
FRAMES = "() => new Promise((done) => { let n = 3; const f = () => n-- ? requestAnimationFrame(f) : done(); f(); })"
RESTS = """() => { if (!window.msm3d) return document.documentElement.dataset.ready === "no";
  const { speed, rig, state } = msm3d;
  return speed.full && !speed.moving && !rig.changed && !state.dirty
    && document.getAnimations().every((animation) => animation.playState !== "running"); }"""
NAMES = ("floor", "wall", "ball")


def scan(n: int = 1500) -> PointCloud:
    """A floor, a wall and a ball, labelled, at map coordinates."""
    scene = make_scene(0, n)
    labels = np.repeat(np.arange(3), n)
    return PointCloud.of({**scene, "coord": scene["coord"] + [4e5, 5e6, 100], "segment": labels})


@pytest.fixture(scope="module")
def network():
    import torch

    torch.manual_seed(0)
    wide = dict(channels=(16, 24, 32), decoder_channels=(20, 24, 32), conv_blocks=(1, 1, 1), attention_blocks=(0, 0, 1))
    config = msm3d.BackboneConfig(**wide, heads=(0, 0, 4), window=64, voxel_size=0.05)
    return msm3d.Model(config, backend="reference").eval().requires_grad_(False)


@pytest.fixture(scope="module")
def made(network, tmp_path_factory):
    """A page, and the cloud and the features in it."""
    cloud = scan()
    features = network.extract(cloud)
    path = tmp_path_factory.mktemp("page") / "scene.html"
    title = "</script><script>document.title='broken'</script> & scan.ply"
    page = write_page(path, cloud, features, levels=network.feature_info, title=title, names=NAMES, model="small")
    return page, cloud, features


def program(playwright):
    """Return where Chromium is."""
    found = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome", "chrome")]
    own = playwright.chromium.executable_path
    path = next((path for path in [*found, own] if path and os.path.exists(path)), None)
    if path is None:
        pytest.skip("no Chromium; apt-get install chromium, or playwright install chromium")
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    sync = pytest.importorskip("playwright.sync_api", reason="no playwright; pip install playwright")
    with sync.sync_playwright() as playwright:
        folder = str(tmp_path_factory.mktemp("profile"))
        context = playwright.chromium.launch_persistent_context(
            folder, executable_path=program(playwright), headless=True, args=FLAGS
        )
        yield context
        context.close()


class Visit:
    """A page that is open in the browser, with all that it logged and asked for."""

    def __init__(self, browser, path, size=(1000, 700), scheme="light", before=""):
        self.page = browser.new_page()
        self.page.set_viewport_size({"width": size[0], "height": size[1]})
        self.page.emulate_media(color_scheme=scheme)
        self.errors, self.requests = [], []
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        if before:
            self.page.add_init_script(before)
        self.page.goto(Path(path).as_uri())
        self.page.wait_for_selector("html[data-ready]", state="attached", timeout=60_000)
        self.settle()

    def settle(self):
        """Wait until everything that was asked for is drawn: whole, at rest, and no panel on its way."""
        self.page.evaluate(FRAMES)  # in which what has just happened is noticed
        self.page.wait_for_function(RESTS)

    def picture(self):
        from PIL import Image

        with Image.open(io.BytesIO(self.page.locator("#scene").screenshot())) as image:
            return np.asarray(image.convert("RGB")).astype(int)

    def middle(self):
        """Where the middle of the scan is drawn."""
        return self.page.evaluate(
            "() => { const v = msm3d.stage.camera, p = msm3d.rig.target.clone().project(v), c = msm3d.stage.canvas;"
            " return [(p.x + 1) / 2 * c.clientWidth, (1 - p.y) / 2 * c.clientHeight]; }"
        )

    def click(self):
        self.page.mouse.click(*self.middle())
        self.settle()

    def status(self):
        return self.page.locator("#status").inner_text()

    def state(self, name):
        return self.page.evaluate(f"() => msm3d.state.{name}")


@pytest.fixture
def visit(browser, made):
    opened = []

    def visit(**options):
        opened.append(Visit(browser, made[0].path, **options))
        return opened[-1]

    yield visit
    for one in opened:
        one.page.close()


# --- in the browser -------------------------------------------------------------------------------------------------


def test_it_draws_the_scan_and_asks_nobody_for_anything(visit, made):
    shown = visit()
    picture = shown.picture()[:, 320:]
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 500
    assert (picture != picture[0, -1]).any(2).mean() > 0.1
    assert shown.errors == []
    assert [url for url in shown.requests if not url.startswith(("data:", "blob:"))] == [made[0].path.as_uri()]
    assert shown.page.locator("#title").inner_text() == "</script><script>document.title='broken'</script> & scan.ply"
    assert shown.page.title() == shown.page.locator("#title").inner_text()


def test_a_click_shows_what_is_similar(visit):
    shown = visit()
    before = shown.picture()
    shown.click()
    after = shown.picture()
    assert shown.page.locator("input[value=similarity]").is_checked()
    assert (np.abs(before - after).max(2) > 30).mean() > 0.05
    assert re.fullmatch(
        r"[\d.]+ % of the points are at least [\d.]+ similar to (floor|wall|ball) "
        r"at 40000\d\.\d\d, 500000\d\.\d\d, 10\d\.\d\d m",
        shown.page.locator("#status").inner_text(),
    )
    assert shown.page.locator("#ring").is_visible()
    assert shown.errors == []


def test_the_threshold_says_how_many_are_similar(visit):
    shown = visit()
    shown.click()
    shares = []
    for key in ("Home", "End"):
        shown.page.locator("#threshold").press(key)
        shares.append(float(shown.page.locator("#status").inner_text().split(" %")[0].replace("< ", "")))
    assert shares[0] > 90
    assert shares[1] < 10
    shown.page.locator("#threshold").press("Home")
    shown.page.keyboard.press("ArrowRight")
    assert shown.state("own") is True


def test_the_threshold_is_found_in_the_similarities_to_the_point(visit):
    shown = visit()
    found = []
    x, y = shown.middle()
    for dx, dy in ((0, 0), (-90, 60), (110, -40), (20, 120)):
        shown.page.mouse.click(x + dx, y + dy)
        shown.settle()
        similar = np.array(shown.page.evaluate("() => Array.from(msm3d.cloud.owner, (c) => msm3d.state.similar[c])"))
        assert shown.state("threshold") == pytest.approx(threshold(similar), abs=0.0026)  # the slider's step is 0.005
        assert f"at least {shown.state('threshold'):.3g} similar to" in shown.status()
        found.append((similar >= shown.state("threshold")).mean())
    assert max(found) > 1.2 * min(found)  # a finding, not a constant


def test_a_point_clicked_later_has_its_own_threshold(visit):
    shown = visit()
    shown.click()
    first = shown.state("threshold")
    shown.page.locator("#threshold").press("End")
    assert shown.state("threshold") != first
    shown.click()
    assert shown.state("threshold") == first


def test_the_ruler_measures_between_two_points(visit):
    shown = visit()
    x, y = shown.middle()
    shown.page.keyboard.down("Shift")
    shown.page.mouse.click(x - 60, y)
    assert shown.status() == "Click where the ruler ends."
    shown.page.mouse.click(x + 40, y + 20)
    shown.page.keyboard.up("Shift")
    shown.settle()
    ends = np.array(
        shown.page.evaluate("() => msm3d.state.ruler.map((i) => [...msm3d.cloud.position.slice(3 * i, 3 * i + 3)])")
    )
    apart = ends[1] - ends[0]
    assert shown.status() == (
        f"{np.linalg.norm(apart):.2f} m: {np.linalg.norm(apart[:2]):.2f} m across, {abs(apart[2]):.2f} m in height"
    )
    assert shown.page.locator("#ruler text").text_content() == f"{np.linalg.norm(apart):.2f} m"
    assert shown.state("selected") == -1
    shown.page.keyboard.press("Escape")
    assert shown.status() == ""
    shown.page.keyboard.press("m")
    shown.click()
    assert (len(shown.state("ruler")), shown.state("selected")) == (1, -1)


def test_the_bar_is_as_long_as_it_says(visit):
    shown = visit()
    for _ in range(2):
        written = shown.page.locator("#bar-length").inner_text()
        size, unit = written.split()
        metres = float(size) * {"m": 1, "cm": 0.01}[unit]
        pixels = shown.page.locator("#bar").bounding_box()["width"]
        there, here = (
            shown.page.evaluate(
                "(way) => { const { rig, stage } = msm3d, p = rig.target.clone().addScaledVector(rig.right, way);"
                " return (p.project(stage.camera).x + 1) / 2 * stage.canvas.clientWidth; }",
                way,
            )
            for way in (metres, 0)
        )
        assert there - here == pytest.approx(pixels, abs=2)
        assert 40 < pixels < 122
        before = shown.page.evaluate("() => msm3d.rig.distance")
        shown.page.keyboard.down("+")
        shown.page.wait_for_function("(before) => msm3d.rig.distance < 0.7 * before", arg=before)
        shown.page.keyboard.up("+")
        shown.settle()


def test_the_cut_says_its_height(visit, made):
    shown = visit()
    z = made[1].coord[:, 2]
    assert shown.page.locator("#cut-at").inner_text() == "nothing"
    for _ in range(40):
        shown.page.locator("#cut").press("ArrowLeft")
    expected = z.min() + 0.8 * np.ptp(z)
    assert float(shown.page.locator("#cut-at").inner_text().removesuffix(" m")) == pytest.approx(expected, abs=0.01)


def test_one_press_of_a_key_moves_by_what_is_seen(visit):
    shown = visit()
    reach = shown.page.evaluate("() => msm3d.rig.reach")
    for fly in (False, True):
        shown.page.evaluate(f"() => {{ msm3d.rig.fly = {str(fly).lower()}; }}")
        before = shown.page.evaluate("() => msm3d.rig.eye.toArray()")
        shown.page.keyboard.press("w")
        moved = np.linalg.norm(np.subtract(shown.page.evaluate("() => msm3d.rig.eye.toArray()"), before))
        assert 0.03 < moved / reach < 0.3


def test_the_selection_is_saved_as_rows_of_the_scan(visit, made):
    import csv

    _, cloud, _ = made
    shown = visit()
    shown.click()
    with shown.page.expect_download() as saved:
        shown.page.locator("#export").click()
    assert saved.value.suggested_filename.endswith("-similar.csv")
    with open(saved.value.path()) as file:
        table = [{name: float(value) for name, value in line.items()} for line in csv.DictReader(file)]
    rows = np.array([line["row"] for line in table]).astype(int)
    assert len(np.unique(rows)) == len(rows) > 10
    place = np.array([[line[axis] for axis in "xyz"] for line in table])
    assert np.abs(place - cloud.coord[rows]).max() < 2e-3
    assert min(line["similarity"] for line in table) >= shown.state("threshold") - 1e-3
    assert float(shown.status().split(" %")[0]) == pytest.approx(100 * len(rows) / len(cloud), abs=0.5)


def test_nothing_is_at_minus_zero(browser, network, tmp_path):
    cloud = scan(300)
    flat = PointCloud.of({"coord": (cloud.coord - cloud.coord.mean(0)) * [1, 1, 0.001] - [0, 0, 0.004]})
    page = write_page(tmp_path / "flat.html", flat, np.ones((len(flat), 8)) + flat.coord[:, :1])
    shown = Visit(browser, page.path)
    shown.click()
    shown.page.locator("#cut").press("ArrowLeft")
    said = shown.status() + shown.page.locator("#cut-at").inner_text()
    shown.page.close()
    assert "0.00 m" in said
    assert "-0.00" not in said


def test_similarities_and_positions_are_those_of_python(visit, made, network):
    page, cloud, features = made
    shown = visit()
    slices = [info.slice for info in network.feature_info]
    grid = Cells.of(cloud.coord, finest=network.config.voxel_size / 2)
    packed = pack(features, grid, slices, level_bases([features], slices))
    for level in (None, 0, 2):
        given = "null" if level is None else level
        ours = shown.page.evaluate(f"() => Array.from(msm3d.features.similarity(11, {given}))")
        expected = packed.similarity(np.array([11]), np.arange(page.cells), level)[0]
        assert np.allclose(ours, expected, atol=1e-4)
    target = np.array(shown.page.evaluate("() => msm3d.meta.view.target"))
    position = np.array(shown.page.evaluate("() => Array.from(msm3d.cloud.position)")).reshape(-1, 3) + target
    assert np.abs(position - cloud.coord[grid.rows]).max() < page.edge / 256 + 1e-6
    color = np.array(shown.page.evaluate("() => Array.from(msm3d.cloud.color)")).reshape(-1, 4)[:, :3]
    assert np.array_equal(color, cloud.color[grid.rows])
    label = np.array(shown.page.evaluate("() => Array.from(msm3d.cloud.label)"))
    assert np.array_equal(label, cloud.segment[grid.rows])
    pca = np.array(shown.page.evaluate("() => msm3d.features.colors[1].map((c) => Array.from(c))")).T
    assert np.array_equal(pca, packed.colors[:, 1])


def test_modes_and_levels_change_the_colours(visit):
    shown = visit()
    seen = [shown.picture()]
    for choice in ("pca", "label"):
        shown.page.locator(f"input[value={choice}]").check()
        shown.settle()
        seen.append(shown.picture())
    assert all((np.abs(a - b).max(2) > 20).mean() > 0.02 for a, b in zip(seen, seen[1:], strict=False))
    assert [text.split("\n")[0] for text in shown.page.locator("#legend li").all_inner_texts()]
    assert set(NAMES) == {
        re.split(r"\s*\d", text)[0].strip() for text in shown.page.locator("#legend li").all_inner_texts()
    }
    shown.page.locator("input[value=pca]").check()
    assert shown.page.locator("#levels label").all_inner_texts() == ["All", "5\xa0cm", "10\xa0cm", "20\xa0cm"]
    shown.page.locator("input[name=levels][value='2']").check()
    shown.settle()
    assert shown.state("level") == 2
    assert (np.abs(shown.picture() - seen[1]).max(2) > 20).mean() > 0.02


def test_everything_is_reached_by_keys(visit):
    shown = visit()
    keyboard = shown.page.keyboard
    keyboard.press("Tab")
    assert shown.page.evaluate("() => document.activeElement.id") == "scene"
    keyboard.press("2")
    assert shown.state("mode") == "pca"
    keyboard.press("]")
    assert shown.state("level") == 0
    yaw = shown.page.evaluate("() => msm3d.rig.yaw")
    keyboard.down("ArrowLeft")
    shown.page.wait_for_function("(yaw) => msm3d.rig.yaw !== yaw", arg=yaw)
    keyboard.up("ArrowLeft")
    keyboard.press("r")
    shown.settle()
    assert shown.page.evaluate("() => msm3d.rig.yaw") == yaw
    keyboard.press("f")
    eye = shown.page.evaluate("() => msm3d.rig.eye.toArray()")
    keyboard.down("w")
    moved = "(eye) => Math.hypot(...msm3d.rig.eye.toArray().map((x, i) => x - eye[i])) > 0.005"
    shown.page.wait_for_function(moved, arg=eye)
    keyboard.up("w")
    keyboard.press("r")
    shown.settle()
    keyboard.press("Enter")
    shown.settle()
    assert shown.state("mode") == "similarity"
    keyboard.press("?")
    assert shown.page.locator("#keys").is_visible()
    keyboard.press("Escape")
    assert not shown.page.locator("#keys").is_visible()
    reached = set()
    for _ in range(20):
        keyboard.press("Tab")
        reached.add(shown.page.evaluate("() => document.activeElement.id || document.activeElement.name"))
    assert {
        "fold",
        "modes",
        "levels",
        "threshold",
        "size",
        "cut",
        "front",
        "cameras",
        "reset",
        "theme",
        "help",
    } <= reached
    assert shown.errors == []


def test_flying_turns_around_the_eye_and_orbit_around_the_middle(visit):
    shown = visit()
    eye, target = (f"() => msm3d.rig.{name}.toArray()" for name in ("eye", "target"))
    for fly, fixed in ((False, target), (True, eye)):
        shown.page.evaluate(f"() => {{ msm3d.rig.fly = {str(fly).lower()}; }}")
        before = shown.page.evaluate(fixed)
        x, y = shown.middle()
        shown.page.mouse.move(x, y)
        shown.page.mouse.down()
        shown.page.mouse.move(x + 60, y + 10, steps=4)
        shown.page.mouse.up()
        assert np.allclose(shown.page.evaluate(fixed), before, atol=1e-6)
    assert shown.state("selected") == -1  # a drag is no click


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_usable_on_a_phone(visit, scheme):
    shown = visit(size=(390, 844), scheme=scheme)
    corner = shown.picture()[5, 5].mean()
    assert corner > 200 if scheme == "light" else corner < 40
    assert shown.page.evaluate("() => document.documentElement.scrollWidth") == 390
    assert shown.page.locator("#panel").bounding_box()["height"] < 844 / 4
    shown.page.locator("#fold").click()
    shown.settle()
    assert shown.page.locator("#panel").bounding_box()["height"] < 844 * 0.6
    for button in shown.page.locator("#panel button:visible").all():
        assert button.bounding_box()["height"] >= 40
    shown.click()
    assert shown.state("mode") == "similarity"
    assert shown.errors == []


def test_on_a_phone_the_scan_fills_what_is_free_and_nothing_lies_over_it(visit):
    shown = visit(size=(390, 844))
    shown.click()
    shown.page.locator("#fold").click()
    shown.settle()
    drawn = "() => { const c = document.getElementById('histogram'); const d = c.getContext('2d').getImageData(0, 0,"
    assert shown.page.evaluate(drawn + " c.width, c.height).data; return d.some((v) => v > 0); }")
    for folded in (False, True):
        if folded:
            shown.page.locator("#fold").click()
            shown.settle()
        panel, status = (shown.page.locator(name).bounding_box() for name in ("#panel", "#status"))
        shown.page.evaluate("() => { document.getElementById('status').style.display = 'none'; }")
        picture = np.abs(shown.picture()[: int(panel["y"]) - 40] - [244, 244, 241]).max(2) > 12
        shown.page.evaluate("() => { document.getElementById('status').style.display = ''; }")
        rows, columns = np.nonzero(picture)
        assert rows.min() > status["y"] + status["height"] - 4
        free = int(panel["y"]) - 40 - 72
        assert max(np.ptp(rows) / free, np.ptp(columns) / 390) > 0.85


def test_the_theme_changes_and_the_picture_is_saved(visit):
    shown = visit()
    shown.page.locator("#theme").click()
    shown.settle()
    assert shown.picture()[5, -5].mean() < 40
    with shown.page.expect_download() as saved:
        shown.page.locator("#photo").click()
    assert saved.value.suggested_filename.endswith(".png")


@pytest.mark.parametrize(
    ("before", "words"),
    [
        ("delete window.DecompressionStream", "This browser is too old for the page"),
        ("HTMLCanvasElement.prototype.getContext = () => null", "This browser has no WebGL 2"),
    ],
)
def test_what_a_browser_lacks_is_said(visit, before, words):
    shown = visit(before=before)
    assert shown.page.locator("html").get_attribute("data-ready") == "no"
    assert words in shown.page.locator("#wait").inner_text()


# --- without one ----------------------------------------------------------------------------------------------------


def test_a_page_is_one_file_that_may_not_use_the_network(made):
    text = made[0].path.read_text()
    assert "default-src 'none'" in text
    assert re.findall(r"(?:src|href)=[\"'](?!data:)[^\"']*", text) == []
    assert "Permission is hereby granted, free of charge" in text
    assert made[0].bytes == len(text.encode()) < 2_000_000


def test_a_page_is_the_same_bytes_twice(made, network, tmp_path):
    _, cloud, features = made
    given = dict(levels=network.feature_info, names=NAMES, model="small", title="scan")
    paths = [write_page(tmp_path / f"{i}.html", cloud, features, **given).path for i in (1, 2)]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_scan_without_colours_is_first_shown_by_its_features(network, tmp_path):
    from dataclasses import replace

    cloud = scan(200)
    features = network.extract(cloud)
    for bare in (replace(cloud, color=None), replace(cloud, color=np.full_like(cloud.color, 127.5))):
        page = write_page(tmp_path / "a.html", bare, features)
        assert '"mode": "pca"' in page.path.read_text()


def test_three_js_is_the_one_that_the_readme_says_how_to_make():
    bundle = (HERE / "three.min.js").read_bytes()
    assert len(bundle) < 1_000_000
    assert hashlib.sha256(bundle).hexdigest() == "13a4532cd912b611d100b2e7b659e864f26ba1211622c07feb09f83ff879ae54"
    version = re.search(rb"three.js ([\d.]+) ", bundle)[1].decode()
    assert f"three@{version}" in (HERE / "README.md").read_text()


def test_packed_similarity_is_close_and_its_loss_is_measured():
    rng = np.random.default_rng(0)
    coord = rng.uniform(0, 3, (4000, 3)) * [1, 1, 0.01]
    mix = rng.normal(size=(40, 40)) * 0.8 ** np.arange(40)[:, None]
    smooth = np.sin(coord @ rng.normal(size=(3, 40))) @ mix + mix[0] * 2
    features = np.concatenate([smooth, 3 * smooth[:, ::-1]], 1).astype(np.float32)
    levels = [slice(0, 40), slice(40, 80)]
    grid = Cells.of(coord, most=2000)
    packed = pack(features, grid, levels, level_bases([features], levels), channels=32)
    assert sum(packed.channels) == 32
    assert len(grid.cells) <= 2000
    measured = loss(features, grid, packed, levels)
    assert len(measured) == 3
    exact = np.stack([similarity(features, int(grid.rows[i])) for i in range(0, 4000, 100)])
    owner = grid.cell_of_point
    ours = np.stack([packed.similarity(owner[[i]], np.arange(len(grid.cells)))[0] for i in range(0, 4000, 100)])
    off = np.abs(exact[:, grid.rows] - ours[:, owner])
    assert off.mean() < 0.02
    assert measured[0][0] == pytest.approx(off.mean(), rel=0.3)


def test_of_a_large_scan_an_even_part_is_kept(network, tmp_path):
    cloud = scan()
    page = write_page(tmp_path / "a.html", cloud, network.extract(cloud), most=1000, cells=200)
    assert page.points == 1000
    assert page.cells <= 200


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"path": "a.txt"}, "a.txt cannot hold a page; end it with .html."),
        ({"path": "no/a.html"}, "there is no folder no; make it first: mkdir -p no"),
        ({"mode": "colours"}, "mode is 'colours'; did you mean 'color'?"),
        ({"features": np.zeros((4, 3))}, "there are 4 features for 300 points; give one row per point."),
        ({"channels": 2}, "channels is 2; give at least 4 for each of 1 levels."),
    ],
)
def test_what_cannot_be_a_page_is_one_sentence(options, sentence, tmp_path):
    given = {"path": tmp_path / "a.html", "features": np.ones((300, 8)), **options}
    with pytest.raises(InputError, match=sentence):
        write_page(given.pop("path"), scan(100), given.pop("features"), **given)


# --- the command line -----------------------------------------------------------------------------------------------


@pytest.fixture
def place(network, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("scan.npz", **make_scene(0, 200), segment=np.repeat(np.arange(3), 200))
    network.save_pretrained("net")
    return tmp_path


def test_view_and_pca_write_pages(place, capsys):
    model = ["--model", "./net", "--device", "cpu"]
    assert cli.main(["view", "scan.npz", "-o", "a.html", "--names", "floor,wall,ball", *model]) == 0
    assert re.search(
        r"a.html: 0\.\d MB, 600 points, features for \d+ cells of 2.5 cm, similarities off by 0\.\d+",
        capsys.readouterr().out,
    )
    assert cli.main(["pca", "scan.npz", "-o", "b.html", *model]) == 0
    assert '"mode": "pca"' in Path("b.html").read_text()
    assert '"name": "ball"' in Path("a.html").read_text()


@pytest.mark.parametrize("kind", ["npz", "npy", "safetensors"])
def test_view_takes_features_of_a_file(place, kind):
    out = f"feat.{kind}"
    assert cli.main(["extract", "scan.npz", "-o", out, "--model", "./net", "--device", "cpu"]) == 0
    assert cli.main(["view", "scan.npz", "-o", "a.html", "--features", out]) == 0
    assert '"channels": 76' in Path("a.html").read_text()


AXES = ["--up", "y", "--units", "cm"]


@pytest.mark.parametrize("kind", ["npz", "npy", "safetensors", "ply"])
def test_features_with_rows_of_nan_go_with_the_scan_as_it_was_read(place, kind, capsys):
    """The way in which the scan was read is in the file, so that it need not be typed again."""
    scene = make_scene(0, 200)
    scene["coord"] = scene["coord"][:, [0, 2, 1]] * [100, 100, -100]  # y up, centimetres
    scene["normal"] = scene["normal"][:, [0, 2, 1]] * [1, 1, -1]
    scene["coord"][3:40] = np.nan
    np.savez("holes.npz", **scene)
    net = ["--model", "./net", "--device", "cpu"]
    assert cli.main(["extract", "holes.npz", "-o", f"feat.{kind}", "--invalid", "nan", *AXES, *net]) == 0
    capsys.readouterr()
    for verb, out in (("view", "a.html"), ("pca", "a.ply")):
        assert cli.main([verb, "holes.npz", "-o", out, "--features", f"feat.{kind}"]) == 0
        assert cli.main([verb, "holes.npz", "-o", f"b{out}", "--invalid", "nan", *AXES, *net]) == 0
    assert capsys.readouterr().err.count("holes.npz: ") == 0
    shown = read("a.ply")
    assert np.abs(shown.coord - read("ba.ply").coord).max() < 1e-6
    assert len(shown) == 563
    if kind in ("npz", "ply"):  # which are scans, too: z up and in metres by now
        assert cli.main(["view", f"feat.{kind}", "-o", "c.html", "--features", f"feat.{kind}"]) == 0


META = {"model": "mine", "levels": [0, 2], "channels": [20, 32], "voxel_size": 0.05}


def keep(name, rows, coord=None, meta=META):
    """Features as a file that says what they are."""
    import json

    from safetensors.numpy import save_file

    arrays = {"feat": rows} | ({} if coord is None else {"coord": coord})
    if name.endswith(".npz"):
        np.savez(name, **arrays, meta=np.array(json.dumps(meta)))
    else:
        save_file(arrays, name, metadata={"msm3d": json.dumps(meta)})


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_view_knows_the_levels_of_a_file(place, kind, capsys):
    rows = np.random.default_rng(0).normal(size=(600, 52)).astype(np.float32)
    keep(f"feat.{kind}", rows)
    assert cli.main(["view", "scan.npz", "-o", "a.html", "--features", f"feat.{kind}"]) == 0
    text = Path("a.html").read_text()
    assert '"levels": [{"level": 0, "size": 0.05, "channels": 20}, {"level": 2, "size": 0.2, "channels": 32}]' in text
    assert '"model": "mine, 52 channels"' in text
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("meta", [None, 3, {}, {**META, "channels": [20, 31]}, {**META, "levels": [0, "2"]}])
def test_what_a_file_says_wrongly_of_its_levels_is_not_believed(place, meta):
    keep("feat.npz", np.ones((600, 52), np.float32), meta=meta)
    assert cli.main(["view", "scan.npz", "-o", "a.html", "--features", "feat.npz"]) == 0
    assert '"levels": []' in Path("a.html").read_text()


def test_features_are_shown_without_a_word_on_normals(place, capsys):
    np.save("bare.npy", make_scene(0, 200)["coord"])
    keep("feat.npz", np.random.default_rng(0).normal(size=(600, 52)).astype(np.float32))
    assert cli.main(["view", "bare.npy", "-o", "a.html", "--features", "feat.npz"]) == 0
    assert capsys.readouterr().err == ""


def test_names_of_labels_come_with_the_scan(place):
    from msm3d.rooms import write

    (room,) = write("rooms", 1, first_seed=7, layout="ply", points=2000, workers=1)
    assert cli.main(["view", str(room), "-o", "a.html", "--model", "./net", "--device", "cpu"]) == 0
    named = re.findall(r'"name": "([^"]+)"', Path("a.html").read_text())
    assert {"wall", "floor", "other"} <= set(named)
    assert cli.main(["view", str(room), "-o", "b.html", "--names", "a,b,c", "--model", "./net", "--device", "cpu"]) == 0
    assert {"a", "b"} <= set(re.findall(r'"name": "([^"]+)"', Path("b.html").read_text()))


def test_names_may_have_gaps_and_a_header_may_be_anything(tmp_path):
    from msm3d.visualize.verbs import names_with

    head = b"ply\ncomment label 2 shower curtain\ncomment label x\r\nend_header\ncomment label 9 data\n"
    (tmp_path / "a.ply").write_bytes(head + bytes(range(256)) * 40)
    assert names_with(tmp_path / "a.ply") == ("label 0", "label 1", "shower curtain")
    (tmp_path / "b.ply").write_bytes(b"\x00" * 10_000)
    assert names_with(tmp_path / "b.ply") == names_with(tmp_path / "c.npz") == ()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-o", "a.png"], "msm3d view: a.png cannot hold a page; end it with .html."),
        (["-o", "a.html", "--features", "gone.npz"], "msm3d view: gone.npz: does not exist; check the path."),
        (["-o", "a.html", "--features", "scan.npz"], "msm3d view: scan.npz: holds no array 'feat'; write it with"),
        (["-o", "a.html", "--features", "scan.xyz"], "msm3d view: scan.xyz: is of a kind that holds no features; give"),
        (["-o", "a.html", "--features", "few.npy"], "msm3d view: few.npy has 5 rows, scan.npz has 600 points; give"),
        (
            ["-o", "a.html", "--features", "else.npz"],
            "msm3d view: else.npz has points that are up to 1 m from those of",
        ),
        (["-o", "a.html", "--names", "nyu"], "msm3d view: unknown classes 'nyu'; choose one of scannet20"),
        (["-o", "a.html", "--points", "0"], "msm3d view: argument --points: '0' is not a whole number from 1 on"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(place, arguments, sentence, capsys):
    np.save("few.npy", np.zeros((5, 3)))
    Path("scan.xyz").write_text("0 0 0\n")
    keep("else.npz", np.ones((600, 52), np.float32), coord=make_scene(0, 200)["coord"] + [1, 0, 0])
    try:
        code = cli.main(["view", "scan.npz", *arguments])
    except SystemExit as end:  # of what the parser finds
        code = end.code
    assert code == 2
    assert sentence in capsys.readouterr().err
    assert not Path("a.html").exists()
