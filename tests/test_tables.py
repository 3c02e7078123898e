"""Tables of figures are made from files: the committed texts are fresh, and a changed figure would be noticed."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def tables(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    import tables

    tables.scores.cache_clear()
    tables.machine.cache_clear()
    return tables


def test_committed_tables_are_fresh(tables):
    stale = [path.name for path, text, fresh in tables.texts() if text != fresh]
    assert stale == [], "run `make tables`"


def test_every_table_is_shown_once(tables):
    shown = [
        name for text in tables.TEXTS for name in re.findall(r"<!-- table: ([\w -]+) -->", (ROOT / text).read_text())
    ]
    assert sorted(shown) == sorted(tables.TABLES)


def test_scores_that_the_package_tells_are_those_of_the_card(tables):
    import msm3d

    row = next(row for row in tables.scores()["probes"] if row["features"] == "rooms")
    told = {"synthetic rooms mIoU, linear probe": row["linear"][0]}
    told["synthetic rooms mIoU, nearest neighbour"] = row["knn20"][0]
    assert msm3d.info("rooms").scores == told
    assert json.loads((ROOT / "msm3d/weights/releases.json").read_text())["rooms"]["scores"] == told


def test_a_changed_score_changes_every_text_that_shows_it(tables, monkeypatch):
    other = json.loads(json.dumps(tables.scores()))
    next(row for row in other["probes"] if row["features"] == "rooms")["linear"] = [77.7, 0.1]
    monkeypatch.setattr(tables, "scores", lambda: other)
    changed = {path.relative_to(ROOT).as_posix(): fresh for path, text, fresh in tables.texts() if text != fresh}
    assert set(changed) == {"README.md", "weights/rooms/MODEL_CARD.md", *tables.RELEASED}
    assert "**77.7 ± 0.1**" in changed["weights/rooms/MODEL_CARD.md"]
    for name in tables.RELEASED:
        before, after = json.loads((ROOT / name).read_text()), json.loads(changed[name])
        assert before.keys() == after.keys()
        assert after.get("rooms", after)["scores"]["synthetic rooms mIoU, linear probe"] == 77.7


def test_a_table_that_there_is_not_fails(tables):
    with pytest.raises(KeyError, match="speeds"):
        tables.filled("<!-- table: speeds -->\n\n| a |\n\n<!-- end of table -->")


def test_figures_say_what_they_are_of(tables):
    """Every result names its machine, and every run its command, date and commit."""
    files = sorted((ROOT / "benchmarks/results").glob("*.json"))
    assert len(files) >= 4
    for file in files:
        data = json.loads(file.read_text())
        assert data["machine"]
        for run in data["runs"]:
            assert re.fullmatch(r"20\d\d-\d\d-\d\d", run["date"])
            assert run["command"]
            assert run["commit"]
            assert run["figures"]
        commands = [run["command"] for run in data["runs"]]
        assert len(set(commands)) == len(commands), f"{file.name} has a command twice"
