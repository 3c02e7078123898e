"""The hand labels of real scans are whole, and say what they are of; with the scans at hand, also that they fit."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks" / "yardstick"
SCANS = Path(__file__).parents[2] / "shared"
sys.path.append(str(FOLDER))
import judge  # noqa: E402
import labels as hand  # noqa: E402

FILES = sorted(hand.LABELS.glob("*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_says_where_its_scan_comes_from(path):
    about = json.loads(path.read_text())
    assert {"file", "points", "sha256", "place", "origin", "licence", "attribution", "shapes"} <= set(about)
    assert any(about["place"] in places for places in judge.HALVES.values())
    for shape in about["shapes"]:
        assert shape["class"] in (*hand.CLASSES, "none")
        low, high = np.asarray(shape["box"], float)
        assert (low < high).all()


def test_every_place_has_two_scans_at_least_and_one_half():
    assert not set(judge.HALVES["choose"]) & set(judge.HALVES["report"])
    for half in judge.HALVES:
        assert all(len(scans) >= 2 for scans in judge.places(half).values())


@pytest.mark.skipif(not SCANS.is_dir(), reason="the scans are not at hand")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_labels_fit_their_scan(path):
    scan = hand.labelled(path.stem, SCANS)
    count = np.bincount(scan.labels[scan.labels >= 0], minlength=len(hand.CLASSES))
    assert (count >= judge.LEAST).sum() >= 2
    assert not ((count > 0) & (count < judge.LEAST)).any()


def test_a_shape_is_a_turned_box_or_what_lies_near_a_plane_in_it():
    coord = np.array([[0.9, 0.0, 0.0], [0.0, 0.9, 0.0], [0.0, 0.9, 0.2]])
    box = {"box": [[-1, -0.1, -1], [1, 0.1, 1]]}
    assert hand.within(coord, box).tolist() == [True, False, False]
    assert hand.within(coord, box | {"turn": 90}).tolist() == [False, True, True]
    assert hand.within(coord, box | {"turn": 90, "plane": [0, 0, 1, 0], "near": 0.1}).tolist() == [False, True, False]
    shapes = [box | {"class": "wall"}, {"class": "none", "box": [[0.8, -1, -1], [1, 1, 1]]}]
    assert hand.painted(coord, shapes).tolist() == [-1, -1, -1]
