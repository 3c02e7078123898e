"""Grounding on frozen features: what is said of a scan is true of one thing, and what was planted is found."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from msm3d import cli
from msm3d.errors import InputError, WeightsError
from msm3d.evaluate import ClassList, Dataset, LinearProbe, Scene, fit, probe, random_network
from msm3d.evaluate import protocols as protocols_of
from msm3d.rooms import CLASSES as NAMES
from msm3d.rooms import make
from msm3d.scan.cloud import PointCloud
from msm3d.tasks import heads, task
from msm3d.tasks.grounding import Grounding, Match, Objects, by_scene, find, predicates, read_told, relations, sentences
from msm3d.tasks.grounding.asked import Answers, Asked, rows
from msm3d.tasks.grounding.asked import read as read_rows
from msm3d.tasks.grounding.colors import COLORS, lab
from msm3d.tasks.grounding.network import Batch, MatchModule
from msm3d.tasks.grounding.objects import GEOMETRY
from msm3d.tasks.grounding.phrases import ALSO, HELD, LEARNED, words
from msm3d.tasks.grounding.predicates import PREDICATES, meant
from msm3d.tasks.grounding.saying import Sentence, statements
from msm3d.tasks.grounding.task import GroundingTally, Truth, kinds

CLASSES = ClassList("things", ("floor", "chair", "table", "door", "window"), stuff=("floor",))
QUICK = {"steps": 150, "scenes": 4, "sentences": 24, "width": 32, "lr": 2e-2}
ONES = dict(floor=0, chair=1, table=2, door=3, window=4)
TINTS = np.array([[90, 90, 90], [250, 20, 20], [20, 20, 250], [20, 250, 20], [250, 250, 20]], float)


def boxes(*things: tuple[str, tuple[float, float, float]], size=0.4, color=None) -> Objects:
    """Cubes of some classes at some places, and a floor."""
    grid = np.stack(np.meshgrid(*[np.linspace(-0.5, 0.5, 5)] * 3), -1).reshape(-1, 3)
    sizes = np.broadcast_to(size, len(things))
    coord = [np.array(place) + grid * edge for (_, place), edge in zip(things, sizes, strict=True)]
    coord += [np.c_[np.random.default_rng(0).uniform(-4, 4, (200, 2)), np.zeros(200)]]
    labels = [ONES[name] for name, _ in things] + [0]
    counts = [len(part) for part in coord]
    tints = TINTS[labels] if color is None else np.array([*color, (90, 90, 90)], float)
    scan = {"coord": np.concatenate(coord), "color": np.repeat(tints, counts, 0)}
    scan |= {"segment": np.repeat(labels, counts), "instance": np.repeat(np.arange(len(labels)), counts)}
    return Objects.given(PointCloud.of(scan), stuff=(0,))


CHAIR, DOOR, WINDOW = 1, 3, 4
ROW = boxes(("chair", (1, 0, 0.2)), ("chair", (2, 0, 0.2)), ("chair", (3, 0, 0.2)), ("door", (0, 0, 0.2)),
            ("window", (4, 0, 0.2)), ("table", (2, 1.5, 0.2)))  # fmt: skip


# --- predicates ---


def test_things_are_as_the_labels_say():
    assert ROW.labels.tolist() == [1, 1, 1, 3, 4, 2]
    assert np.allclose(ROW.centres[:2], [[1, 0, 0.2], [2, 0, 0.2]])
    assert np.allclose(ROW.apart[0, :3], [0, 1, 2])
    assert np.allclose(ROW.gaps[0, :3], [0, 0.6, 1.6], atol=0.1)
    assert (ROW.gaps == ROW.gaps.T).all()
    assert np.allclose(ROW.volumes, 0.064)
    assert ROW.geometry.shape == (6, GEOMETRY)
    assert np.allclose(ROW.geometry[:, 6:8], np.log([0.064, 125]))
    assert ROW.ids.tolist() == [0, 1, 2, 3, 4, 5]
    bare = PointCloud.of({"coord": 3 * np.eye(3).repeat(49, 0), "segment": [4] * 147, "instance": [0] * 98 + [1] * 49})
    assert Objects.given(bare).counts.tolist() == [98]  # the other one is small
    assert (Objects.given(bare).colors == 127.5).all()
    none = Objects.given(replace(bare, instance=np.full(147, -1)))
    assert len(none) == 0
    assert none.geometry.shape == (0, GEOMETRY)
    assert sentences(none, NAMES) == []


@pytest.mark.parametrize(
    ("relation", "given", "target"),
    [
        ("class", (DOOR,), 3),
        ("class", (CHAIR,), None),
        ("closest", (CHAIR, 3), 0),
        ("farthest", (CHAIR, 3), 2),
        ("closest", (CHAIR, 5), None),  # by 0.3 m from its middle, by less from its points
        ("farthest", (CHAIR, 5), None),  # two are as far
        ("ordinal", (CHAIR, 3, 2), 1),
        ("ordinal", (CHAIR, 3, 3), 2),
        ("ordinal", (CHAIR, 4, 3), 0),
        ("ordinal", (CHAIR, 5, 2), None),
        ("ordinal", (CHAIR, 3, 4), None),  # there are three
        ("between", (CHAIR, 3, 4), None),  # all of them
        ("largest", (CHAIR,), None),
        ("near", (CHAIR, 5), None),  # 1.1 m
    ],
)
def test_a_relation_holds_of_one_thing_or_is_not_said(relation, given, target):
    assert meant(PREDICATES[relation](ROW, *given)) == target


def test_a_margin_keeps_what_is_unclear_from_being_said():
    for apart, target in ((0.15, None), (0.25, 0)):
        things = boxes(("chair", (1, 0, 0.2)), ("chair", (-1 - apart, 0, 0.2)), ("door", (0, 0, 0.2)))
        assert meant(predicates.closest(things, CHAIR, 2)) == target
    for edge, target in ((0.42, None), (0.44, 1)):  # 1.16 and 1.33 times the volume
        things = boxes(("chair", (1, 0, 0.2)), ("chair", (-1, 0, 0.2)), size=[0.4, edge])
        assert meant(predicates.largest(things, CHAIR)) == target
        assert meant(predicates.smallest(things, CHAIR)) == (None if target is None else 0)
    for off, target in ((0.4, 0), (0.6, None), (1.5, None)):  # near; neither; not near
        things = boxes(("chair", (0.4 + off, 0, 0.2)), ("chair", (-3, 0, 0.2)), ("door", (0, 0, 0.2)))
        assert meant(predicates.near(things, CHAIR, 2)) == target
    things = boxes(("chair", (0.8, 0, 0.2)), ("chair", (-1.0, 0, 0.2)), ("door", (0, 0, 0.2)))
    assert meant(predicates.near(things, CHAIR, 2)) is None  # the other is nearly near


def test_left_and_right_are_of_who_stands_and_looks():
    things = boxes(("chair", (1, 1, 0.2)), ("chair", (1, -1, 0.2)), ("table", (1, 0, 0.2)), ("door", (-1, 0, 0.2)),
                   ("window", (3, 0, 0.2)))  # fmt: skip
    assert meant(predicates.left(things, CHAIR, 2, 3, 4)) == 0
    assert meant(predicates.right(things, CHAIR, 2, 3, 4)) == 1
    assert meant(predicates.left(things, CHAIR, 2, 4, 3)) == 1  # from the other side
    for angle, target in ((30, 0), (55, None), (80, None)):
        place = np.cos(np.deg2rad(90 - angle)), np.sin(np.deg2rad(90 - angle)), 0.2
        one = boxes(("chair", place), ("table", (0, 0, 0.2)), ("door", (-2, 0, 0.2)), ("window", (2, 0, 0.2)))
        assert meant(predicates.left(one, CHAIR, 1, 2, 3)) == target


def test_between_above_and_on_are_places():
    ends = ("door", (0, 0, 0.2)), ("window", (4, 0, 0.2))
    for place, target in (((2, 0.2, 0.2), 2), ((2, 0.45, 0.2), None), ((2, 1, 0.2), None), ((0.6, 0, 0.2), None)):
        assert meant(predicates.between(boxes(*ends, ("chair", place)), CHAIR, 0, 1)) == target
    table = ("table", (0, 0, 0.2))
    for height, over, lying in ((1.0, True, False), (0.6, False, True), (0.2, False, False)):
        things = boxes(table, ("chair", (0.1, 0, height)), ("chair", (2, 0, height)))
        assert meant(predicates.above(things, CHAIR, 0)) == (1 if over else None)
        assert meant(predicates.on(things, CHAIR, 0)) == (1 if lying else None)


def test_colors_are_those_of_their_words():
    for word, rgb in COLORS.items():
        things = boxes(("chair", (0, 0, 0)), ("chair", (2, 0, 0)), color=[rgb, (200, 30, 30)])
        assert meant(predicates.colored(things, CHAIR, word)) == (None if word == "red" else 0)
    dull = boxes(("chair", (0, 0, 0)), ("chair", (2, 0, 0)), color=[(150, 32, 32), (110, 70, 40)])
    assert meant(predicates.colored(dull, CHAIR, "red")) == 0
    assert np.allclose(lab(np.array([[0.0, 0, 255]])), [[32.30, 79.19, -107.86]], atol=0.05)  # as tables have it


def brute(relation: str, things: Objects, label: int, anchors, detail) -> np.ndarray:
    """Say in plain words of which things a relation holds, without any margin."""
    same = [i for i in range(len(things)) if things.labels[i] == label]
    c = things.centres
    ranks = lambda key: sorted(same, key=key)  # noqa: E731
    if relation == "class":
        return np.array(same)
    if relation == "color":
        far = {word: np.linalg.norm((lab(things.colors) - lab(np.array([rgb], float))) * [0.5, 1, 1], axis=1)
               for word, rgb in COLORS.items()}  # fmt: skip
        return np.array([i for i in same if min(COLORS, key=lambda word: far[word][i]) == detail])
    if relation in ("largest", "smallest"):
        return np.array(ranks(lambda i: things.volumes[i])[-1 if relation == "largest" else 0 :][:1])
    a = anchors[0]
    apart = [float(np.sqrt(((c[i] - c[a]) ** 2).sum())) for i in range(len(things))]
    if relation in ("closest", "farthest", "ordinal"):
        place = {"closest": 0, "farthest": len(same) - 1, "ordinal": (detail or 1) - 1}[relation]
        return np.array([ranks(lambda i: apart[i])[place]])
    if relation == "near":
        nearest = [min(np.linalg.norm(p - q) for p in things.seen[i] for q in things.seen[a]) for i in same]
        return np.array([i for i, gap in zip(same, nearest, strict=True) if gap < 1])
    found = []
    for i in (i for i in same if i not in anchors):
        step = c[i, :2] - c[a, :2]
        if relation == "between":
            way = c[anchors[1], :2] - c[a, :2]
            share = step @ way / (way @ way)
            holds = 0 < share < 1 and np.linalg.norm(step - share * way) < 0.6
        elif relation in ("left", "right"):
            way = c[anchors[2], :2] - c[anchors[1], :2]
            turn = np.degrees(np.arctan2(step[1], step[0]) - np.arctan2(way[1], way[0]))
            aim = 90 if relation == "left" else -90
            holds = abs((turn - aim + 180) % 360 - 180) < 60
        else:
            over = np.all(c[i, :2] > things.lows[a, :2] - 0.4) and np.all(c[i, :2] < things.highs[a, :2] + 0.4)
            bottom, top = things.lows[i, 2], things.highs[a, 2]
            holds = over and (bottom > top if relation == "above" else abs(bottom - top) < 0.2)
        found += [i] if holds else []
    return np.array(found)


@pytest.fixture(scope="module")
def several() -> list[Objects]:
    return [Objects.given(make(seed, points=8000), stuff=(0, 1, 20)) for seed in (950_000_000, 950_000_002, 11)]


def test_every_statement_of_several_rooms_is_true_of_one_thing_alone(several):
    met = set()
    for things in several:
        rng = np.random.default_rng(0)
        for relation in PREDICATES:
            for one in statements(things, NAMES, relation, rng):
                holds = brute(relation, things, one.label, one.anchors, one.detail)
                assert holds.tolist() == [one.target], one
                clear = one.clear(things)
                assert clear[one.target] >= 1
                assert (np.delete(clear, one.target) <= -1).all()
                for anchor in one.anchors:
                    assert np.count_nonzero(things.labels == things.labels[anchor]) == 1
                    assert things.labels[anchor] != one.label
                met.add(relation)
    assert met >= {"class", "largest", "smallest", "closest", "farthest", "near", "between", "left", "right", "ordinal"}


# --- sentences ---


def test_sentences_are_those_of_their_seed_and_mixed(several):
    things = several[0]
    made = sentences(things, NAMES, 3)
    assert made == sentences(things, NAMES, 3)
    assert [one.text for one in made] != [one.text for one in sentences(things, NAMES, 4)]
    each = [one.relation for one in made]
    assert max(map(each.count, each)) <= 7
    for one in made:
        same = np.count_nonzero(things.labels == things.labels[one.target])
        assert one.distractors == same - 1
    assert {one.distractors > 0 for one in made} == {True, False}
    assert {one.distractors for one in made if one.relation == "class"} == {0}


def test_held_forms_say_the_same_in_other_words(several):
    for things in several:
        both = sentences(things, NAMES, 3, held=True)
        half = len(both) // 2
        assert both[:half] == sentences(things, NAMES, 3)
        for one, other in zip(both[:half], both[half:], strict=True):
            assert replace(one, text="") == replace(other, text="")
            assert one.text != other.text
    assert LEARNED.keys() == HELD.keys() == PREDICATES.keys()
    for relation, forms in LEARNED.items():
        assert not {*forms} & {*HELD[relation]}
        marks = {frozenset(word for word in "tabvwcn" if f"{{{word}}}" in form) for form in (*forms, *HELD[relation])}
        assert len(marks) == 1, relation
    met = {word for forms in LEARNED.values() for form in forms for word in words(form)}
    new = {word for forms in HELD.values() for form in forms for word in words(form)} - met
    assert new <= {"which", "whose", "there", "look", "for", "all", "it", "has", "and"}


def test_a_sentence_names_the_things_that_it_speaks_of(several):
    for one in sentences(several[0], NAMES, 3):
        first, second, stand, look = one.anchors
        assert one.spoken == (one.target, first, second, stand, look)
        assert (first >= 0) == (one.relation not in ("class", "color", "largest", "smallest"))
        assert (second >= 0) == (one.relation == "between")
        assert (stand >= 0) == (look >= 0) == (one.relation in ("left", "right"))
        known = [NAMES[several[0].labels[thing]] for thing in one.spoken if thing >= 0]
        assert all(name in one.text or ALSO.get(name, "?") in one.text for name in known)


def test_a_noun_that_another_class_has_too_is_not_said():
    things = boxes(("chair", (0, 0, 0.2)), ("door", (2, 0, 0.2)))
    names = ("floor", "curtain", "x", "shower curtain", "y")
    assert {one.text.split()[-2:][-1] for one in sentences(things, names) if one.relation == "class"} <= {
        "curtain", "room", "is"
    }  # fmt: skip
    assert all(one.target == 1 for one in sentences(things, names))
    assert sentences(boxes(("chair", (0, 0, 0.2))), ("floor", "otherfurniture", "", "", "")) == []


# --- what heads learn ---


def made(seed: int, bare: bool = False) -> PointCloud:
    """A floor, a door, a window, three chairs and two tables at random places; colours tell the class."""
    rng = np.random.default_rng(seed)
    kinds_of = [1, 1, 1, 2, 2, 3, 4]
    spots = rng.permutation([(x, y) for x in range(4) for y in range(4)])[: len(kinds_of)]
    coord, labels = [np.c_[rng.uniform(-0.5, 3.5, (300, 2)), np.zeros(300)]], [0] * 300
    for kind, spot in zip(kinds_of, spots, strict=True):
        coord.append([*(spot + rng.uniform(-0.2, 0.2, 2)), 0.3] + rng.uniform(-0.2, 0.2, (80, 3)))
        labels += [kind] * 80
    segment = np.array(labels)
    color = (TINTS[segment] + rng.normal(0, 3, (len(segment), 3))).clip(0, 255)
    fields = {"coord": np.concatenate(coord), "color": color, "normal": np.tile([0, 0, 1.0], (len(segment), 1))}
    things = {} if bare else {"instance": np.repeat([7, 0, 1, 2, 3, 4, 5, 6], [300] + [80] * 7)}
    return PointCloud.of(fields | {"segment": segment} | things)


def split(name, seeds, **how) -> Dataset:
    scenes = tuple(Scene(f"{name}-{seed}", lambda s=seed: made(s, **how)) for seed in seeds)
    return Dataset("made", name, CLASSES, scenes)


class Inputs:
    """The colours of points, which tell the class, or noise."""

    levels = False

    def __init__(self, name="planted", noise=False):
        self.name, self.noise, self.hash = name, noise, f"{noise:x}abc"
        self.blocks = {"input": slice(0, 3)}

    def __call__(self, cloud):
        rng = np.random.default_rng(int(abs(cloud.coord).sum() * 1e6))
        return (rng.normal(size=(len(cloud), 3)) if self.noise else cloud.color / 255).astype(np.float16), np.arange(
            len(cloud)
        )

    def describe(self):
        return {"name": self.name}


class Offsets(Inputs):
    """And how far each point is to the middle of its thing."""

    def __init__(self):
        super().__init__()
        self.blocks = {"input": slice(0, 6)}

    def __call__(self, cloud):
        offset = np.nan_to_num(task("grounding").targets(cloud)[:, 1:])
        return np.concatenate([super().__call__(cloud)[0], offset], 1).astype(np.float16), np.arange(len(cloud))


@pytest.fixture
def quick(monkeypatch):
    known = protocols_of.PROTOCOLS
    for name in ("match", "match-geometry", "match-text"):
        few = {"match": {"things": 300}, "match-text": {"steps": 3}}.get(name, {})
        monkeypatch.setitem(known, name, replace(known[name], settings={**known[name].settings, **QUICK, **few}))


def examples(seeds=range(6)) -> list[tuple[np.ndarray, np.ndarray]]:
    judged, source = task("grounding").of(CLASSES), Inputs()
    return [judged.examples(*source(scan), scan, judged.labelled(scan)[::3]) for scan in map(made, seeds)]


def test_planted_classes_are_understood_and_noise_is_chance(quick):
    train, test = split("train", range(40)), split("test", range(100, 108))
    report = probe(train, test, {"planted": Offsets()}, task="grounding", baselines=[])
    planted, geometry, blind = (report.score("planted", head) for head in ("match", "match-geometry", "match-text"))
    for metric, least in (("unique", 0.9), ("multiple", 0.9), ("acc/closest", 0.95), ("acc/class", 0.97)):
        assert report.score("planted", "match", metric) > least, metric
    assert planted > geometry + 0.3
    assert blind == pytest.approx(1 / 7, abs=0.02)
    assert report.score("planted", "match", "paraphrase") > geometry
    assert report.score("planted", "match", "acc50") > 0.9 * planted  # things are found as they are
    assert report.main_metric == "acc"
    text = report.to_markdown()
    assert "| model | method | Acc | unique | multiple | easy | hard | other words | Acc@0.25 | Acc@0.5 |" in text
    assert "## Kinds, Acc" in text
    assert "| closest |" in text
    assert text.count(" | - | - | ") == 2  # what finds nothing has no boxes
    assert report.data["test"]["class_points"] == []


def test_noise_scores_at_chance():
    judged, noise = task("grounding").of(CLASSES), Inputs("noise", noise=True)
    grey = [replace(made(seed), color=None) for seed in (*range(12), *range(100, 108))]  # colours told the class
    pairs = [judged.examples(*noise(scan), scan, judged.labelled(scan)[::9]) for scan in grey[:12]]
    head, tally = Match(**QUICK | {"steps": 60}, things=0).fit(pairs), judged.tally()
    for scan in grey[12:]:
        tally.update(judged.truth(scan), head.predict(judged.inputs(*noise(scan), scan)))
    assert tally.metrics()["acc"] < 0.25  # one of seven things is 0.14


def test_rows_of_a_cache_hold_what_is_asked():
    scan = made(3)
    judged, (features, owner) = task("grounding").of(CLASSES), Inputs()(scan)
    asked, truth = judged.inputs(features, owner, scan).asked, judged.truth(scan)
    half = len(truth.sentences)
    spoken = np.array([one.spoken for one in truth.sentences])
    asked = Asked(asked.pooled, asked.geometry, asked.texts[:half], spoken, truth.things.labels)
    X, y = rows(asked, features[:50], np.ones((50, 4)))
    again, (points, offsets) = read_rows(X, y)
    assert X.dtype == np.float16
    assert again.texts == asked.texts
    assert (again.meant == spoken).all()
    assert again.labels.tolist() == truth.things.labels.tolist()
    assert np.allclose(again.pooled, asked.pooled, atol=1e-3)
    assert np.allclose(again.geometry, asked.geometry)
    assert (points == features[:50]).all()
    assert (offsets == 1).all()
    for wrong in (slice(0, -1), slice(0, len(X) - half), slice(51, None)):
        with pytest.raises(InputError, match="some rows of a scene are missing; give all of them"):
            read_rows(X[wrong], y[wrong])
    with pytest.raises(InputError, match="the targets are of int64; give those of the task grounding"):
        read_rows(X, np.zeros(len(X), int))


def test_a_turned_scan_is_answered_alike():
    head = Match(**QUICK | {"steps": 20}, things=0).fit(examples())
    judged, scan, quarter = task("grounding").of(CLASSES), made(50), np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
    features, owner = Inputs()(scan)
    asked = judged.inputs(features, owner, scan).asked
    turned = Objects.given(replace(scan, coord=scan.coord @ quarter.T), (0,))
    assert np.abs(turned.geometry - asked.geometry).max() > 0.5
    again = head.scores(Asked.of(turned, features, owner, asked.texts))
    assert np.allclose(again, head.scores(asked), atol=1e-3)


def test_places_are_counted_and_measured():
    """Three things of the class that is looked for, at 1, 2 and 3 m from a door, where somebody stands."""
    things = boxes(("chair", (1, 0, 0.2)), ("chair", (2, 0.4, 0.2)), ("chair", (3, 0, 0.2)), ("door", (0, 0, 0.2)),
                   ("window", (4, 0, 0.2)))  # fmt: skip
    geometry = torch.from_numpy(things.geometry)[None]
    meant = torch.tensor([[[1.0, 1, 1, 0, 0]]])
    roles = torch.eye(5)[[3, 4, 3, 4]][None, None]
    found = relations.places(geometry, meant, roles)[0, 0]
    assert found.shape == (5, relations.PLACES)
    assert torch.allclose(found[:3, 0], torch.tensor([1, 2.04, 3]), atol=0.01)  # to the anchor
    assert torch.allclose(found[:3, 7], torch.tensor([0.25, 0.5, 0.75]), atol=0.01)  # along the way to the other
    assert torch.allclose(found[:3, 9], torch.tensor([0, 0.4, 0.0]), atol=0.01)  # aside of it
    assert found[1, 11] > 0.15  # left of the door for who looks at the window
    closer = found[:3, 13:17].argmax(1)
    assert closer.tolist() == [0, 1, 2]
    assert found[:3, 17:21].argmax(1).tolist() == [2, 1, 0]


def test_a_head_learns_the_same_twice_saves_and_loads(tmp_path):
    pairs, scan = examples(), made(50)
    options = dict(**QUICK | {"steps": 20}, things=30, stuff=[0], names=list(CLASSES.names))
    head = Match(**options).fit(pairs)
    features, owner = Inputs()(scan)
    question = task("grounding").of(CLASSES).inputs(features, owner, scan)
    answers = head.predict(question)
    state = torch.random.get_rng_state()
    again = Match(**options).fit(pairs)
    assert (torch.random.get_rng_state() == state).all()
    assert again.losses_ == head.losses_
    other = Match(**options, random_state=1).fit(pairs)
    assert other.losses_ != head.losses_
    for one in (again, heads.load(head.save(tmp_path / "head")), Match.load(tmp_path / "head")):
        found = one.predict(question)
        assert (found.given == answers.given).all()
        assert (found.found == answers.found).all()
        assert (found.boxes == answers.boxes).all()
        assert one.vocabulary_ == head.vocabulary_
        assert one.get_params() == head.get_params()
    with pytest.raises(WeightsError, match="holds a head 'match'; read it by"):
        LinearProbe.load(tmp_path / "head")
    values = json.loads((tmp_path / "head" / "head.json").read_text())
    (tmp_path / "head" / "head.json").write_text(json.dumps(values | {"features": 4}))
    with pytest.raises(WeightsError, match="does not hold a head"):
        heads.load(tmp_path / "head")
    bare = Match(**options | {"things": 0}).fit(pairs)
    loaded = heads.load(bare.save(tmp_path / "bare"))
    assert loaded.things_ is None
    assert loaded.predict(question).boxes is None
    with pytest.raises(InputError, match="this head finds no things, its `things` is 0"):
        loaded.found(features, owner, scan)


def test_a_sentence_at_a_time_is_all_at_once_and_things_in_any_order():
    head = Match(**QUICK | {"steps": 10}, things=0).fit(examples())
    scan = made(50)
    asked = task("grounding").of(CLASSES).inputs(*Inputs()(scan), scan).asked
    whole = head.scores(asked)
    assert whole.shape == (len(asked.texts), 7)
    for i in (0, len(asked.texts) - 1):
        alone = head.scores(Asked(asked.pooled, asked.geometry, asked.texts[i : i + 1]))
        assert np.allclose(alone[0], whole[i], atol=1e-4)
    order = np.array([3, 1, 6, 0, 5, 2, 4])
    mixed = head.scores(Asked(asked.pooled[:, order], asked.geometry[order], asked.texts))
    assert np.allclose(mixed, whole[:, order], atol=1e-4)
    assert head.scores(Asked(asked.pooled[:, :0], asked.geometry[:0], asked.texts)).shape == (len(asked.texts), 0)


def test_levels_are_learned_from_one_by_one():
    pairs, scan = examples(), made(50)
    head = Match(**QUICK | {"steps": 5}, things=0, blocks=[slice(0, 1)]).fit(pairs)
    asked = task("grounding").of(CLASSES).inputs(*Inputs()(scan), scan).asked
    other = asked.pooled.copy()
    other[:, :, 1:] = 9
    assert (head.scores(asked) == head.scores(replace(asked, pooled=other))).all()
    assert head.n_features_in_ == 3


@pytest.mark.parametrize("meanings", [0, 5])
def test_the_network_does_not_look_at_what_is_not_there(meanings):
    torch.manual_seed(0)
    network = MatchModule(5, [*"abcdefgh"], 4, width=16, dropout=0.1, meanings=meanings).eval()
    things, geometry, numbers = torch.randn(1, 4, 5), torch.rand(1, 4, GEOMETRY), torch.randint(2, 10, (1, 2, 6))
    told = torch.randn(1, 2, 6, meanings)
    alone = network(Batch(things, geometry, torch.ones(1, 4, dtype=torch.bool), numbers, told)).fits
    more = [torch.cat([part, torch.randn(1, 3, part.shape[2])], 1) for part in (things, geometry)]
    there = torch.tensor([[True] * 4 + [False] * 3])
    longer = [torch.nn.functional.pad(numbers, (0, 3)), torch.cat([told, torch.randn(1, 2, 3, meanings)], 2)]
    padded = network(Batch(*more, there, *longer)).fits
    assert torch.allclose(padded[:, :, :4], alone, atol=1e-5)
    assert (padded[:, :, 4:] == -torch.inf).all()


def test_hits_are_counted_by_kind():
    things = boxes(("chair", (0, 0, 0.2)), ("chair", (2, 0, 0.2)), ("door", (0, 2, 0.2)))
    said = [Sentence("a", 0, "closest", 1), Sentence("b", 2, "class", 0), Sentence("c", 1, "near", 2)]
    given = np.array([[3.0, 1, 1], [5, 0, 5], [0, 0, 1]])
    found, place = np.array([[2.0, 1], [0, 1], [1, 1]]), things.boxes[[0, 2]].copy()
    place[1, 0] += 0.2  # a third is shared
    tally = GroundingTally()
    tally.update(
        Truth(things, said, said), Answers(np.concatenate([given, given[::-1]]), np.tile(found, (2, 1)), place)
    )
    scores = tally.metrics()
    expected = {"acc": 1.5 / 3, "unique": 0.5, "multiple": 0.5, "easy": 1, "hard": 0, "paraphrase": 0.5 / 3,
                "acc25": 2 / 3, "acc50": 1 / 3, "chance": (0.5 + 1 + 1 / 3) / 3, "acc/closest": 1}  # fmt: skip
    assert {name: scores[name] for name in expected} == pytest.approx(expected)
    assert kinds(said[1]) == ["acc", "acc/class", "unique"]
    none = GroundingTally()
    none.update(Truth(things, said[:1], said[:1]), Answers(given[:2], np.zeros((2, 0)), np.zeros((0, 7))))
    assert none.metrics()["acc25"] == 0
    assert "hard" not in none.metrics()


def test_what_cannot_be_learned_from_is_one_sentence(quick, model):
    train, test = split("train", [0, 1]), split("test", [9])
    for wrong, message in (
        (
            dict(protocol="linear"),
            "a head 'linear' understands no sentence; give match or match-geometry or match-",
        ),
        (dict(points=20, protocol="match-text"), "some rows of a scene are missing; give all of them, as without a"),
        (dict(test_sample=50), "test_sample is 50, but grounding judges whole scenes; leave it out."),
    ):
        with pytest.raises(InputError) as error:
            probe(train, test, Inputs(), task="grounding", baselines=[], **wrong)
        assert str(error.value).startswith(message)
    bare = Dataset("made", "train", CLASSES, (Scene("bare", lambda: made(0, bare=True)),))
    with pytest.raises(InputError, match="bare has no instance; give scenes with instance"):
        probe(bare, test, Inputs(), task="grounding", baselines=[])
    empty = Dataset("made", "train", CLASSES, (Scene("e", lambda: replace(made(0), instance=np.full(860, -1))),))
    with pytest.raises(InputError, match="there is no sentence to learn from; give scenes with things"):
        probe(empty, test, Inputs(), task="grounding", baselines=[])
    for wrong, message in (
        ({"sees": "sound"}, "sees is 'sound'; it must be one of all, geometry, text"),
        ({"width": 31}, "width is 31; it must be an even number"),
        ({"things": -1}, "things is -1; it must be at least 0"),
    ):
        with pytest.raises(InputError, match=message):
            Match(**wrong).fit(examples([0]))
    head = Match(**QUICK | {"steps": 2}, things=0).fit(examples([0]))
    scan = made(50)
    asked = task("grounding").of(CLASSES).inputs(*Inputs()(scan), scan).asked
    with pytest.raises(InputError, match=r"'\?!' has no word; say what is looked for"):
        head.scores(replace(asked, texts=("?!",)))
    with pytest.raises(InputError, match="the features have 2 columns, 3 are needed"):
        head.scores(replace(asked, pooled=asked.pooled[:, :, :2]))
    assert head.unknown("the comfy chair") == ["comfy"]
    with pytest.raises(InputError, match="this head answers for whole scans, not for ndarray; give a `Described`"):
        head.predict(np.zeros((1, 3), np.float32))


# --- find ---


@pytest.fixture
def kept(model, tmp_path, monkeypatch):
    """A model on the disk, a head for it, and a scan."""
    few = {**QUICK, "steps": 20, "things": 60}
    monkeypatch.setitem(protocols_of.PROTOCOLS, "match", protocols_of.Protocol("match", 1, few, head="match"))
    model.save_pretrained(tmp_path / "model")
    head = fit(split("train", range(4)), model, "grounding", sample=400)
    scan = made(50)
    np.savez(tmp_path / "scan.npz", coord=scan.coord, color=scan.color, normal=scan.normal)
    return model, head, head.save(tmp_path / "head"), scan, tmp_path


def found_in(kept, text, *more):
    _, _, folder, _, where = kept
    model = ["--model", str(where / "model"), "--device", "cpu"]
    return cli.main(["find", str(where / "scan.npz"), text, "--head", str(folder), *model, *more])


def test_a_sentence_leads_to_a_thing(kept, capsys, config):
    model, head, _, scan, where = kept
    text = "the chair closest to the door"
    found = find(model, head, scan, text)
    assert len(found) >= 1
    assert found.scores.sum() == pytest.approx(1)
    assert (np.diff(found.scores) <= 0).all()
    mine = scan.coord[found.instance == 0]
    assert np.allclose(found.boxes[0, :3] - found.boxes[0, 3:6] / 2, mine.min(0))
    with pytest.raises(InputError, match="but this head was fitted on those of"):
        find(random_network(config, 3), head, scan, text)
    with pytest.raises(InputError, match="no word of 'der Stuhl' is known; say it as in"):
        find(model, head, scan, "der Stuhl")
    for ending in ("json", "png"):
        assert found_in(kept, text, "-o", str(where / f"out.{ending}")) == 0, capsys.readouterr().err
        lines = capsys.readouterr().out.splitlines()
        name = CLASSES.names[found.classes[0]]
        assert lines[0].startswith(f"{name}, score {found.scores[0]:.2f}, centre ")
        assert lines[-1].startswith(f"{where}/out.{ending}: ")
        assert (len(lines) == 3) == (len(found) > 1)
    values = json.loads((where / "out.json").read_text())
    assert (values["format"], values["version"], values["text"]) == ("msm3d-find", 1, text)
    assert [one["class"] for one in values["things"]] == [CLASSES.names[label] for label in found.classes]
    assert values["things"][0]["points"] == len(mine)
    assert (where / "out.png").read_bytes()[:4] == b"\x89PNG"


def test_words_never_seen_are_said_and_what_cannot_be_is_one_sentence(kept, capsys):
    where = kept[-1]
    assert found_in(kept, "the comfy chair closest to the aquarium") == 0
    assert "warning: never seen while learning: 'comfy', 'aquarium'; say it in other words" in capsys.readouterr().err
    linear = LinearProbe(steps=2).fit(np.eye(4), np.arange(4) % 2).save(where / "linear")
    for more, message in (
        (["-o", str(where / "a.gif")], "a.gif cannot hold what was found; end it with one of .png, .json."),
        (["-o", str(where / "no" / "a.png")], "there is no folder"),
        (["--head", str(linear)], "holds a head 'linear'; give one of: msm3d fit DATA --task grounding."),
        (["--head", str(where / "nothing")], "does not exist; check the path."),
        (["--model", "rooms"], "but this head was fitted on"),
    ):
        assert found_in(kept, "the chair", *more) == 2
        assert message in capsys.readouterr().err
    assert found_in(kept, "") == 2
    assert "no word of '' is known" in capsys.readouterr().err
    assert not list(where.glob("a.*"))


# --- sentences that people said ---

SCANREFER = [
    {"scene_id": "train-0", "object_id": "0", "object_name": "chair", "ann_id": "0", "description": "The chair.",
     "token": ["the", "chair"]},
    {"scene_id": "train-0", "object_id": "5", "object_name": "door", "ann_id": "1", "description": "a door"},
    {"scene_id": "train-0", "object_id": "99", "object_name": "lamp", "ann_id": "0", "description": "it"},
    {"scene_id": "elsewhere", "object_id": "0", "object_name": "bed", "ann_id": "0", "description": "it"},
]  # fmt: skip
SR3D = """scan_id,target_id,distractor_ids,utterance,stimulus_id,coarse_reference_type,reference_type,instance_type,anchors_types,anchor_ids
train-0,1,"[0, 2]","find the chair, between the door and the window",train-0-chair-3-1-0-2,between,between,chair,"['door', 'window']","[5, 6]"
"""  # noqa: E501
NR3D = """assignmentid,stimulus_id,utterance,correct_guess,speaker_id,scan_id,instance_type,target_id,tokens,dataset,mentions_target_class
1,train-0-chair-3-2-0-1,"the chair by the window",True,4,train-0,chair,2,"['the']",nr3d,True
2,train-0-chair-3-2-0-1,"the one on the left",True,4,train-0,chair,2,"['the']",nr3d,False
"""  # noqa: E501


def test_what_people_said_is_read_and_learned_from(tmp_path):
    for name, text in (("a.json", json.dumps(SCANREFER)), ("sr3d.csv", SR3D), ("nr3d.csv", NR3D)):
        (tmp_path / name).write_text(text)
    scanrefer, sr3d, nr3d = (read_told(tmp_path / name) for name in ("a.json", "sr3d.csv", "nr3d.csv"))
    assert [(one.scene, one.text, one.target, one.kind) for one in scanrefer[:2]] == [
        ("train-0", "The chair.", 0, "told"), ("train-0", "a door", 5, "told")
    ]  # fmt: skip
    assert (sr3d[0].target, sr3d[0].kind, sr3d[0].anchors) == (1, "between", (5, 6))
    assert [one.text for one in nr3d] == ["the chair by the window"]
    train = split("train", range(2))
    judged = Grounding(told=by_scene(train, [*scanrefer, *sr3d, *nr3d])).of(CLASSES)
    truth = judged.truth(made(0))
    assert [(one.target, one.distractors) for one in truth.sentences] == [(0, 2), (5, 0), (1, 2), (2, 2)]
    assert truth.sentences[2].spoken == (1, 5, 6, -1, -1)
    assert truth.others == []
    assert judged.truth(made(1)).sentences == []
    pairs = [judged.examples(*Inputs()(scan), scan, judged.labelled(scan)[::3]) for scan in map(made, range(2))]
    head = Match(**QUICK | {"steps": 5}, things=0).fit(pairs)
    assert "door" in head.vocabulary_
    tally = judged.tally()
    tally.update(truth, head.predict(judged.inputs(*Inputs()(made(0)), made(0))))
    assert tally.metrics().keys() >= {"acc", "unique", "multiple", "hard", "acc/between", "acc/told"}
    assert "paraphrase" not in tally.metrics()


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.json", ""), ("a.json", "["), ("a.json", "[1]"), ("a.json", '[{"scene_id": "a"}]'),
     ("a.json", '[{"scene_id": "a", "description": "b", "object_id": "c"}]'), ("a.csv", "scan_id,target_id\na,1\n"),
     ("a.csv", "scan_id,target_id,utterance\na,b,c\n"), ("a.csv", "some,thing\n1,2\n")],
)  # fmt: skip
def test_a_file_without_sentences_is_one_sentence(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=r"holds no sentences about scans; give JSON with scene_id, object_id and"):
        read_told(tmp_path / name)


def test_sentences_about_other_scenes_are_one_sentence(tmp_path):
    with pytest.raises(InputError, match="cannot be read as text; check the path"):
        read_told(tmp_path / "nothing.json")
    (tmp_path / "a.json").write_text(json.dumps(SCANREFER))
    with pytest.raises(InputError, match="no sentence is about a scene of made test; give those of its scenes"):
        by_scene(split("test", [0]), read_told(tmp_path / "a.json"))
