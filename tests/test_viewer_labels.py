"""Naming things in the page of `msm3d view`: labels by clicks, their file, the preview, labelled scans."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from msm3d import cli
from msm3d.errors import InputError
from msm3d.io.layouts.ply import write as write_ply
from msm3d.io.ply import scalar
from msm3d.tasks.labels import Labels, scan_hash
from msm3d.visualize import Extras, write_page
from msm3d.visualize.extras import confidence_of
from tests.test_viewer import Visit, keep, network, place, scan  # noqa: F401
from tests.test_viewer import browser as browser

N = 300  # points of each of floor, wall and ball
SIZE = (760, 560)
OF = "() => [...msm3d.naming.labels.of]"


def planted(noise: float = 0.02) -> np.ndarray:
    """Features (3 N, 16) of which each part has its own direction; the last ten of the floor are half like the wall."""
    rng = np.random.default_rng(0)
    features = np.repeat(np.eye(16)[:3], N, axis=0) + noise * rng.normal(size=(3 * N, 16))
    features[N - 10 : N] = 0.5 * (np.eye(16)[0] + np.eye(16)[1])
    return features.astype(np.float32)


@pytest.fixture(scope="module")
def cloud():
    return replace(scan(N), segment=None)


@pytest.fixture(scope="module")
def page(cloud, tmp_path_factory):
    folder = tmp_path_factory.mktemp("naming")
    return write_page(folder / "scene.html", cloud, planted(), title="my scan.ply", model="planted", mode="name").path


class Naming(Visit):
    """A page in which things are named."""

    def idle(self):
        """Wait until the preview is done, and drawn."""
        self.page.wait_for_function("() => !msm3d.naming.busy")
        self.settle()

    def add(self, *names):
        for name in names:
            self.page.fill("#new-name", name)
            self.page.click("#new button")
        self.idle()

    def give(self, rows, name):
        """Give rows to a class as a click does."""
        one = f"msm3d.naming.labels.classes.find((c) => c.name === {json.dumps(name)}).id"
        self.page.evaluate(f"(rows) => msm3d.naming.labels.give(rows, {one})", list(map(int, rows)))
        self.idle()

    def labels(self):
        """Rows by name."""
        told = "() => msm3d.naming.labels.rows().map(([one, rows]) => [one.name, rows])"
        return {name: rows for name, rows in self.page.evaluate(told)}

    def owners(self):
        """The class that the preview gives to each point of the page, and their rows."""
        told = "() => { const { naming: { preview, labels }, cloud } = msm3d, names = new Map(labels.classes.map("
        told += "(c) => [c.id, c.name])); return [...cloud.owner].map((c) => names.get(preview.owner[c]) || ''); }"
        return np.array(self.page.evaluate(told)), np.array(self.page.evaluate("() => [...msm3d.cloud.row]"))

    def saved(self):
        with self.page.expect_download() as download:
            self.page.click("#save")
        return download.value


@pytest.fixture
def visit(browser, page):
    opened = []

    def visit(path=page, **options):
        opened.append(Naming(browser, path, **{"size": SIZE, **options}))
        return opened[-1]

    yield visit
    for one in opened:
        one.page.evaluate("() => { try { localStorage.clear(); } catch {} msm3d.naming.labels.kept = true; }")
        one.page.close()


# --- clicks and steps -----------------------------------------------------------------------------------------------


def test_a_click_labels_the_nearest_point_and_is_undone(visit, cloud):
    shown = visit()
    shown.click()
    assert "Type the name of a class" in shown.status()
    assert shown.page.evaluate(OF) == []
    shown.add("chair")
    assert shown.status() == "Click points that are chair."
    x, y = shown.middle()
    point = shown.page.evaluate("([x, y]) => msm3d.stage.pick(x, y, 6)", [x, y])
    row = shown.page.evaluate("(i) => msm3d.cloud.row[i]", point)
    shown.page.mouse.click(x, y)
    shown.idle()
    assert shown.labels() == {"chair": [row]}
    assert shown.status() == "chair: 1 point"
    assert shown.page.locator("#classes .count").inner_text() == "1"
    there = np.array(shown.page.evaluate("(i) => [...msm3d.cloud.position.slice(3 * i, 3 * i + 3)]", point))
    assert np.abs(there + shown.page.evaluate("() => msm3d.meta.view.target") - cloud.coord[row]).max() < 1e-3
    shown.page.keyboard.press("Control+z")
    assert shown.labels() == {"chair": []}
    shown.page.keyboard.press("Control+Shift+z")
    assert shown.labels() == {"chair": [row]}
    shown.page.click("#undo")
    shown.page.click("#undo")
    assert shown.labels() == {}
    assert shown.page.locator("#undo").is_disabled()
    shown.page.click("#redo")
    shown.page.click("#redo")
    assert shown.labels() == {"chair": [row]}
    shown.page.keyboard.press("0")
    shown.page.mouse.click(x, y)
    assert shown.status() == "Erased the label of 1 point."
    assert shown.labels() == {"chair": []}
    assert shown.errors == []


def test_classes_are_renamed_recoloured_and_removed(visit):
    shown = visit()
    shown.add("chair", "floor")
    shown.give([5, 7], "chair")
    shown.page.fill("#new-name", " floor ")
    shown.page.click("#new button")
    assert shown.status() == "There is a class floor already; give it another name."
    first = shown.page.locator("#classes li").first
    first.locator("input.name").fill("stool")
    first.locator("input.name").press("Enter")
    assert shown.labels() == {"stool": [5, 7], "floor": []}
    first.locator("input.name").fill("floor")
    first.locator("input.name").press("Enter")
    assert first.locator("input.name").input_value() == "stool"
    first.locator("input.color").evaluate("(e) => { e.value = '#010203'; e.dispatchEvent(new Event('change')); }")
    assert shown.page.evaluate("() => msm3d.naming.labels.classes[0].color") == [1, 2, 3]
    shown.page.locator("#classes li").first.locator(".drop").click()
    assert shown.labels() == {"floor": []}
    shown.page.keyboard.press("Control+z")
    assert shown.labels() == {"stool": [5, 7], "floor": []}
    colors = shown.page.evaluate("() => msm3d.naming.labels.classes.map((one) => String(one.color))")
    assert len(set(colors)) == 2


def test_digits_choose_a_class_and_text_is_only_text(visit):
    shown = visit()
    shown.add("a", "b", "c")
    shown.page.locator("#scene").focus()
    for key, name in (("1", "a"), ("3", "c"), ("2", "b")):
        shown.page.keyboard.press(key)
        assert shown.status() == f"Clicks are {name}."
        assert shown.page.locator("#classes li.chosen input.name").input_value() == name
    shown.page.keyboard.press("7")  # there is none
    assert shown.page.locator("#classes li.chosen input.name").input_value() == "b"
    eye = shown.page.evaluate("() => msm3d.rig.eye.toArray()")
    shown.page.locator("#new-name").press_sequentially("wasd1nt")
    assert shown.page.locator("#new-name").input_value() == "wasd1nt"
    assert shown.state("mode") == "name"
    assert shown.page.evaluate("() => msm3d.rig.eye.toArray()") == eye
    shown.page.locator("#scene").focus()
    shown.page.keyboard.press("n")
    shown.page.keyboard.press("2")
    assert shown.state("mode") == "pca"


def test_a_brush_labels_what_is_seen_around_the_click(visit, cloud):
    shown = visit()
    shown.add("patch")
    shown.page.locator("#brush").evaluate("(e) => { e.value = 0.4; e.dispatchEvent(new Event('input')); }")
    assert shown.page.locator("#brush-at").inner_text() == "40 cm"
    point = shown.page.evaluate("([x, y]) => msm3d.stage.pick(x, y, 6)", shown.middle())
    row = shown.page.evaluate("(i) => msm3d.cloud.row[i]", point)
    shown.click()
    shown.idle()
    found = np.array(shown.labels()["patch"])
    apart = np.linalg.norm(cloud.coord - cloud.coord[row], axis=1)
    seen = np.array(
        shown.page.evaluate(
            "() => [...msm3d.cloud.row].filter((_, i) => msm3d.stage.shown(i) && true).sort((a, b) => a - b)"
        )
    )
    expected = np.intersect1d(np.flatnonzero(apart < 0.4), seen)
    assert len(found) > 3
    assert len(np.setxor1d(found, expected)) <= 1  # a point at the rim, by how positions are packed
    shown.page.keyboard.press("Control+z")  # one step
    assert shown.labels() == {"patch": []}


# --- the file -------------------------------------------------------------------------------------------------------


def test_labels_are_saved_for_teach_and_opened_again(visit, cloud, tmp_path):
    shown = visit()
    shown.add("chair", "dining table", "empty", "__proto__")
    shown.give([4, 2], "chair")
    shown.give([700, 3 * N - 1], "dining table")
    shown.give([9], "__proto__")
    file = shown.saved()
    assert file.suggested_filename == "my scan-labels.json"
    path = tmp_path / "labels.json"
    file.save_as(path)
    found = Labels.read(path)
    found.require(cloud, "my scan.ply")
    assert {name: rows.tolist() for name, rows in found.rows.items()} == {
        "chair": [2, 4], "dining table": [700, 899], "__proto__": [9],
    }  # fmt: skip
    assert (found.points, found.scan, found.input_hash) == (3 * N, "my scan.ply", scan_hash(cloud))
    assert shown.page.locator("#next").text_content() == (
        "msm3d teach 'my scan.ply' 'my scan-labels.json' -o head\n"
        "msm3d segment 'my scan.ply' --head head -o 'my scan-segmented.ply'"
    )
    before = shown.labels()
    for _ in range(3):
        shown.page.locator("#classes li .drop").first.click()
    assert shown.labels() == {"__proto__": [9]}
    shown.page.locator("#file").set_input_files(path)
    shown.page.wait_for_function("() => msm3d.naming.labels.of.size === 5")
    assert {name: rows for name, rows in before.items() if rows} == shown.labels()
    assert shown.status() == "Opened 5 labels; Undo takes back what was here."
    shown.page.click("#undo")
    assert shown.labels() == {"__proto__": [9]}


def test_a_file_that_is_not_of_this_scan_is_refused_in_one_sentence(visit, cloud, tmp_path):
    good = {"format": "msm3d-labels", "version": 1, "scan": "a.ply", "points": 3 * N, "labels": {"chair": [1]}}
    refused = {
        "is not JSON": "{",
        "holds no labels of msm3d": json.dumps([1]),
        "is of another version": json.dumps(good | {"version": 2}),
        "is of another scan (a.ply)": json.dumps(good | {"points": 12}),
        "of another scan (a.ply);": json.dumps(good | {"input_hash": "0" * 64}),
        "has no rows by name": json.dumps(good | {"labels": [1]}),
        "has no rows for a class": json.dumps(good | {"labels": {"chair": 3}}),
        "rows for a class": json.dumps(good | {"labels": {" chair": [3]}}),
        "has the row 900 of chair": json.dumps(good | {"labels": {"chair": [3 * N]}}),
        "has the row 1.5 of chair": json.dumps(good | {"labels": {"chair": [1.5]}}),
        "names the row 1 twice": json.dumps(good | {"labels": {"chair": [1], "b": [1]}}),
    }
    shown = visit()
    shown.add("floor")
    shown.give([3], "floor")
    path = tmp_path / "other.json"
    for i, (words, text) in enumerate(refused.items()):
        path.write_text(text)
        shown.page.evaluate("(i) => msm3d.naming.say(String(i))", i)
        shown.page.locator("#file").set_input_files(path)
        shown.page.wait_for_function("(i) => msm3d.naming.message !== String(i)", arg=i)
        assert shown.status().startswith("other.json ")
        assert words in shown.status()
        assert shown.status().endswith(".")
        assert shown.labels() == {"floor": [3]}
    path.write_text(json.dumps(good | {"input_hash": scan_hash(cloud)}))
    shown.page.locator("#file").set_input_files(path)
    shown.page.wait_for_function("() => msm3d.naming.labels.classes[0].name === 'chair'")


def test_rows_are_those_of_the_file_where_points_are_left_out(visit, tmp_path):
    coord = scan(N).coord - [4e5, 5e6, 100]
    coord[::3] = np.nan
    np.savez(tmp_path / "holes.npz", coord=coord)
    keep(str(tmp_path / "feat.npz"), np.eye(16, dtype=np.float32)[np.arange(600) % 16], meta={"model": "mine"})
    call = ["view", tmp_path / "holes.npz", "-o", tmp_path / "a.html", "--features", tmp_path / "feat.npz"]
    assert cli.main([*map(str, call), "--points", "200"]) == 0
    shown = visit(tmp_path / "a.html")
    shown.page.keyboard.press("n")
    shown.add("thing")
    shown.click()
    [row] = shown.labels()["thing"]
    point = shown.page.evaluate("(row) => msm3d.cloud.row.indexOf(row)", row)
    there = np.array(shown.page.evaluate("(i) => [...msm3d.cloud.position.slice(3 * i, 3 * i + 3)]", point))
    assert np.abs(there + shown.page.evaluate("() => msm3d.meta.view.target") - coord[row]).max() < 1e-3
    assert json.loads(shown.page.evaluate("() => msm3d.naming.labels.file()"))["points"] == 3 * N
    shown.give([1], "thing")  # a row that is not among the 200 is kept, and saved
    assert 1 in shown.labels()["thing"]


# --- never lost ------------------------------------------------------------------------------------------------------


def test_labels_are_there_after_a_reload(visit):
    shown = visit()
    shown.add("chair", "floor")
    shown.give([3, 8], "chair")
    color = shown.page.evaluate("() => msm3d.naming.labels.classes[1].color")
    again = visit()
    assert again.labels() == {"chair": [3, 8], "floor": []}
    assert again.page.evaluate("() => msm3d.naming.labels.classes[1].color") == color
    assert again.page.locator("#undo").is_disabled()
    assert again.status() == "This browser had kept 2 labels of this scan."
    again.give([9], "floor")  # and in the first window:
    shown.page.wait_for_function("() => msm3d.naming.labels.of.size === 3")
    assert "another window" in shown.status()


def test_a_browser_that_keeps_nothing_says_so(visit):
    shown = visit(before="Storage.prototype.setItem = () => { throw new Error('full'); }")
    shown.add("chair")
    shown.click()
    assert "save before you close the page" in shown.status()
    assert shown.page.evaluate("() => !window.dispatchEvent(new Event('beforeunload', { cancelable: true }))")
    shown.saved()
    assert shown.page.evaluate("() => window.dispatchEvent(new Event('beforeunload', { cancelable: true }))")


def test_given_labels_come_first_and_what_was_kept_is_one_step_back(visit, cloud, tmp_path):
    given = Labels.for_scan(cloud, {"lamp": [1, 2], "wall": [400]}, "my scan.ply")
    options = dict(title="my scan.ply", mode="name", extras=Extras(labels=given))
    other = write_page(tmp_path / "given.html", cloud, planted(), **options).path
    shown = visit()
    shown.add("chair")
    shown.give([3], "chair")
    second = visit(other)
    assert second.labels() == {"lamp": [1, 2], "wall": [400]}
    assert "Undo takes back" in second.status()
    second.page.click("#undo")
    assert second.labels() == {"chair": [3]}
    second.page.click("#redo")
    second.give([5], "lamp")
    third = visit(other)  # goes on from the work in the same page
    assert third.labels() == {"lamp": [1, 2, 5], "wall": [400]}


# --- the preview ----------------------------------------------------------------------------------------------------


def test_the_preview_gives_each_point_the_class_that_it_is_most_like(visit):
    shown = visit()
    shown.add("floor", "wall", "ball")
    before = shown.picture()
    shown.give([0], "floor")
    owner, rows = shown.owners()
    assert set(owner[rows >= N]) == {""}  # nothing else is like it
    shown.give([N], "wall")
    shown.give([2 * N], "ball")
    owner, rows = shown.owners()
    truth = np.array(["floor", "wall", "ball"])[rows // N]
    clear = ~((rows >= N - 10) & (rows < N))
    assert (owner[clear] == truth[clear]).mean() > 0.98
    assert (owner[~clear] == "").mean() > 0.6  # cells may hold others, too
    assert re.match(r"Sure of 9\d % of the points", shown.page.locator("#sure").inner_text())
    assert (np.abs(shown.picture() - before).max(2) > 30).mean() > 0.05
    shown.page.locator("input[name=shows][value=scan]").check()
    shown.settle()
    assert (np.abs(shown.picture() - before).max(2) > 30).mean() < 0.05  # but for the marks
    for _ in range(3):
        shown.page.keyboard.press("Control+z")
    shown.idle()
    assert shown.page.evaluate("() => msm3d.naming.preview.owner") is None
    assert shown.page.locator("#sure").inner_text() == ""


def test_the_preview_is_the_same_whatever_led_to_the_labels(visit):
    shown = visit()
    shown.add("floor", "wall")
    shown.give([0, 7, 40], "floor")
    shown.give([N + 5], "wall")
    first, _ = shown.owners()
    assert {"floor", "wall"} <= set(first)
    shown.give([2 * N], "wall")  # of the ball
    other, _ = shown.owners()
    assert (other != first).mean() > 0.2
    shown.page.click("#undo")
    shown.idle()
    assert (shown.owners()[0] == first).all()
    for _ in range(2):
        shown.page.click("#undo")
    for row in (40, 0, 7):
        shown.give([row], "floor")
    shown.give([N + 5], "wall")
    assert (shown.owners()[0] == first).all()


# --- labelled scans, and what else a page shows -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """A labelled scan as a PLY file, its page, and how sure its labels are."""
    folder, cloud = tmp_path_factory.mktemp("labelled"), scan(N)
    sure = np.linspace(0, 1, 3 * N, dtype=np.float32)
    columns = {"x y z": cloud.coord, "label": cloud.segment.astype(np.int32), "confidence": sure}
    write_ply(folder / "scan.ply", columns, ["class 0 floor", "class 1 wall", "label 2 round ball"])
    keep(str(folder / "feat.npz"), planted())
    call = ["view", folder / "scan.ply", "-o", folder / "a.html", "--features", folder / "feat.npz"]
    assert cli.main([*map(str, call), "--clusters", "3", "--no-height"]) == 0
    return folder, sure


def test_classes_of_a_labelled_scan_are_hidden_and_cannot_be_clicked(visit, labelled):
    shown = visit(labelled[0] / "a.html")
    assert shown.state("mode") == "label"
    names = [text.split("\n")[0] for text in shown.page.locator("#legend button").all_inner_texts()]
    assert sorted(names) == ["floor", "round ball", "wall"]
    before = shown.picture()
    ball = shown.page.locator("#legend button", has_text="round ball")
    ball.click()
    shown.settle()
    assert ball.get_attribute("aria-pressed") == "false"
    assert (np.abs(shown.picture() - before).max(2) > 20).mean() > 0.01
    drawn = "() => [...msm3d.cloud.row].filter((_, i) => msm3d.stage.shown(i))"
    assert max(shown.page.evaluate(drawn)) < 2 * N
    ball.click()
    assert max(shown.page.evaluate(drawn)) >= 2 * N
    assert [one["name"] for one in shown.page.evaluate("() => msm3d.naming.labels.classes")] == [
        "floor", "wall", "round ball",
    ]  # fmt: skip


def test_what_is_unsure_is_bright_and_clicks_there_give_labels(visit, labelled):
    shown = visit(labelled[0] / "a.html")
    shown.page.locator("input[value=unsure]").check()
    shown.settle()
    tint = np.array(shown.page.evaluate("() => [...msm3d.stage.tint.array]")).reshape(-1, 4)
    rows = np.array(shown.page.evaluate("() => [...msm3d.cloud.row]"))
    light = tint[:, :3] @ [0.3, 0.59, 0.11]
    assert np.corrcoef(light, labelled[1][rows])[0, 1] < -0.9
    assert shown.page.locator("#confident").is_visible()
    shown.page.keyboard.press("2")
    shown.click()
    shown.idle()
    assert list(map(len, shown.labels().values())) == [0, 1, 0]
    saved = json.loads(Path(shown.saved().path()).read_text())
    assert saved["input_hash"] == scan_hash(scan_of(labelled[0] / "scan.ply"))


def scan_of(path):
    from msm3d.io import read

    return read(path)


def test_clusters_and_components_without_height_are_colours(visit, labelled):
    shown = visit(labelled[0] / "a.html")
    shown.page.locator("input[value=cluster]").check()
    shown.settle()
    assert len(shown.page.locator("#legend button").all()) == 3
    cluster = np.array(shown.page.evaluate("() => [...msm3d.cloud.cluster]"))
    rows = np.array(shown.page.evaluate("() => [...msm3d.cloud.row]"))
    whose = [np.bincount(cluster[(rows // N == part) & (rows < N - 10) | (rows // N == part) & (rows >= N)]).argmax()
             for part in range(3)]  # fmt: skip
    assert sorted(whose) == [0, 1, 2]
    before = shown.picture()
    shown.page.locator("input[value=rest]").check()
    shown.settle()
    assert (np.abs(shown.picture() - before).max(2) > 20).mean() > 0.02
    assert shown.errors == []


def test_the_axes_turn_with_the_camera(visit):
    shown = visit()
    ends = "() => Object.fromEntries([...document.querySelectorAll('#axes g')].map((g) => [g.getAttribute('class'),"
    ends += " ['x2', 'y2'].map((n) => Number(g.querySelector('line').getAttribute(n)) - 36)]))"
    for turn in (0.0, 1.1):
        shown.page.evaluate(f"() => msm3d.rig.turn({turn}, 0)")
        shown.settle()
        right = shown.page.evaluate("() => msm3d.rig.right.toArray()")
        found = shown.page.evaluate(ends)
        assert found["z"][0] == pytest.approx(0, abs=0.11)
        assert found["z"][1] < -5
        for axis, name in enumerate("xy"):
            assert found[name][0] == pytest.approx(24 * right[axis], abs=0.11)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_naming_fits_on_a_phone(visit, scheme):
    shown = visit(size=(390, 844), scheme=scheme)
    shown.page.click("#fold")
    shown.add("chair", "a name that is much longer than what fits into the line of a phone")
    assert shown.page.evaluate("() => document.documentElement.scrollWidth") == 390
    panel = shown.page.locator("#panel").bounding_box()
    for button in shown.page.locator("#naming button:visible").all():
        box = button.bounding_box()
        assert box["height"] >= 40
        assert box["x"] + box["width"] <= panel["x"] + panel["width"]


# --- without a browser ----------------------------------------------------------------------------------------------


def test_a_scan_keeps_its_hash_when_it_gets_labels():
    assert scan_hash(scan(20)) == scan_hash(replace(scan(20), segment=None)) != scan_hash(scan(21))


@pytest.mark.parametrize(
    ("given", "mode", "sentence"),
    [
        ({"clusters": np.zeros(4)}, "color", r"clusters has shape \(4,\) and dtype float64; give \(n,\) numbers."),
        ({"clusters": np.full(900, 255)}, "color", "clusters is 255 to 255; give numbers from 0 to 254."),
        ({"clusters": np.zeros(4, int)}, "color", "clusters has 4 rows for 900 points; give one row per point."),
        ({"confidence": np.full(900, np.nan)}, "color", "confidence is nan to nan; give numbers from 0 to 1."),
        ({"confidence": np.ones(900)}, "color", "confidence is of labels, and the cloud has no segment; leave it out."),
        ({"rest": np.zeros((900, 3))}, "color", "rest has shape"),
        ({}, "cluster", r"mode is 'cluster', which shows clusters; give Extras\(clusters=...\)."),
        ({}, "unsure", "mode is 'unsure', which shows confidence"),
    ],
)
def test_extras_that_do_not_fit_are_one_sentence(given, mode, sentence, cloud, tmp_path):
    with pytest.raises(InputError, match=sentence):
        write_page(tmp_path / "a.html", cloud, planted(), mode=mode, extras=Extras(**given))


@pytest.mark.parametrize("text", [False, True])
def test_one_property_of_a_ply_file_is_read(text, tmp_path):
    head = "ply\nformat {} 1.0\nelement vertex 2\nproperty float x\nproperty float y\nproperty float z\n"
    head += "property int label\nproperty float confidence\nend_header\n"
    values = np.array([(0, 0, 0, 1, 0.5), (1, 1, 1, 2, 0.25)], "<f4,<f4,<f4,<i4,<f4")
    body = b"0 0 0 1 0.5\n1 1 1 2 0.25\n" if text else values.tobytes()
    path = tmp_path / "a.ply"
    path.write_bytes(head.format("ascii" if text else "binary_little_endian").encode() + body)
    assert scalar(path, "confidence").tolist() == [0.5, 0.25]
    assert scalar(path, "nothing") is None
    assert confidence_of(path, scan_of(path)).tolist() == [0.5, 0.25]


@pytest.mark.parametrize(
    ("sure", "message"),
    [(np.array([0, 255, 3], np.float32), "confidence is 0 to 255 and is not shown; give it from 0 to 1."), (None, "")],
)
def test_confidence_is_shown_where_there_is_one(sure, message, tmp_path, recwarn):
    columns = {"x y z": np.eye(3), "label": np.arange(3, dtype=np.int32)}
    write_ply(tmp_path / "a.ply", columns if sure is None else columns | {"confidence": sure})
    assert confidence_of(tmp_path / "a.ply", scan_of(tmp_path / "a.ply")) is None
    assert [str(one.message) for one in recwarn] == [message] * bool(message)


def test_pages_of_pca_show_clusters_and_no_height(place):  # noqa: F811
    keep("feat.npz", np.random.default_rng(0).normal(size=(600, 52)).astype(np.float32))
    call = ["pca", "scan.npz", "--features", "feat.npz", "-o"]
    assert cli.main([*call, "a.html", "--clusters", "4"]) == 0
    assert '"mode": "cluster"' in Path("a.html").read_text()
    assert '"name": "cluster 4"' in Path("a.html").read_text()
    assert cli.main([*call, "b.html", "--mode", "no-height"]) == 0
    assert '"mode": "rest"' in Path("b.html").read_text()
    assert cli.main([*call, "c.ply", "--clusters", "3"]) == 0
    assert len(np.unique(scan_of("c.ply").color, axis=0)) == 3


def test_view_goes_on_with_labels(place):  # noqa: F811
    keep("feat.npz", np.ones((600, 52), np.float32))
    Labels.for_scan(scan_of("scan.npz"), {"chair": [5]}, "scan.npz").write("labels.json")
    call = ["view", "scan.npz", "--features", "feat.npz", "-o", "a.html", "--labels"]
    assert cli.main([*call, "labels.json"]) == 0
    text = Path("a.html").read_text()
    assert '"given": {"chair": [5]}' in text
    assert '"mode": "name"' in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--labels", "gone.json"], "msm3d view: gone.json: does not exist; check the path."),
        (["--labels", "few.json"], "the labels are of a scan of 5 points, scan.npz has 600; give the labels"),
        (["--labels", "a.html"], "msm3d view: a.html: is not JSON"),
        (["--clusters", "0"], "msm3d view: argument --clusters: '0' is not a whole number from 1 on"),
        (["--clusters", "256"], "msm3d view: clusters is 256; give a number from 1 to 255."),
        (["--clusters", "255"], None),
    ],
)
def test_a_mistake_is_one_sentence(arguments, sentence, place, capsys):  # noqa: F811
    keep("feat.npz", np.random.default_rng(0).normal(size=(600, 52)).astype(np.float32))
    Labels.of(5, {"chair": [0]}).write("few.json")
    Path("a.html").write_text("what was there")
    try:
        code = cli.main(["view", "scan.npz", "--features", "feat.npz", "-o", "a.html", *arguments])
    except SystemExit as end:
        code = end.code
    assert code == (0 if sentence is None else 2)
    assert (sentence or "") in capsys.readouterr().err
    assert (Path("a.html").read_text() == "what was there") == (sentence is not None)


def test_pca_counts_clusters_in_one_mode(place, capsys):  # noqa: F811
    call = ["pca", "scan.npz", "-o", "a.png", "--clusters", "3", "--mode", "no-height"]
    assert cli.main(call) == 2
    assert "clusters are another mode than no-height; leave out one of the two." in capsys.readouterr().err
