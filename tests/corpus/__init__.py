"""What real files, people and hostile input showed, as cases: how the input is made, and what is right.

A case's name begins with the table and the row it stands for. Inputs are a few lines of numbers, made in the test's own
folder. Values are exact; of sentences only what they must contain is asked: the subject, the number, what to type.
"""

import os
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import msm3d
from msm3d import cli
from msm3d.errors import Msm3dError, Msm3dWarning
from msm3d.io import as_cloud, read
from msm3d.scan.options import ReadOptions

rng = np.random.default_rng(0)
FLOOR = np.c_[rng.uniform(0, 4, 1000), rng.uniform(0, 3, 1000), np.zeros(1000)]
WALL = np.c_[rng.uniform(0, 4, 1000), np.zeros(1000), rng.uniform(0, 2.5, 1000)]
XYZ = np.r_[FLOOR, WALL].astype(np.float32).astype(np.float64)
"""A floor and a wall, z up, as float32 keeps them."""
RGB = rng.integers(60, 230, XYZ.shape).astype(np.uint8)
NORMAL = np.r_[np.tile([0.0, 0, 1], (1000, 1)), np.tile([0.0, 1, 0], (1000, 1))].astype(np.float32)

ABSENT = "absent"
"""The right value of a part that the cloud must not have."""

Made = Callable[[Path], Any]


def environment() -> dict[str, str]:
    """Return the environment of a process of its own, which imports the msm3d that is tested from any folder."""
    return os.environ | {"PYTHONPATH": str(Path(msm3d.__file__).parents[1])}


@dataclass
class Place:
    """What a case may use: an empty folder, a small network, the directory of its weights, the command line."""

    folder: Path
    model: msm3d.Model
    weights: Path
    capsys: pytest.CaptureFixture[str]

    def run(self, line: str) -> tuple[int, str, str]:
        """Run the command line, `{}` being the folder, and return its exit code and what it said."""
        arguments = [part.replace("{}", str(self.folder)) for part in line.split()]
        if arguments[0] in ("extract", "pca", "view") and "--model" not in arguments:
            arguments += ["--model", str(self.weights)]
        try:
            code = cli.main(arguments)
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        said = self.capsys.readouterr()
        return code, said.out, said.err


def cloud_of(given: Any, options: Mapping[str, Any]) -> msm3d.PointCloud:
    """Return the cloud of a file or an object, as `extract` reads it."""
    return read(given, **options) if isinstance(given, Path) else as_cloud(given, options=ReadOptions(**options))


def heard(action: Callable[[], Any]) -> tuple[Any, list[str]]:
    """Return what an action returns and the sentences of its warnings, all of which are ours."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value = action()
    foreign = [w for w in caught if not issubclass(w.category, (Msm3dWarning, DeprecationWarning, ResourceWarning))]
    assert not foreign, f"a warning that is not ours: {foreign[0].message}"
    return value, [str(w.message) for w in caught]


def contains(sentence: str, words: tuple[str, ...]) -> None:
    """Each word is a regular expression; capitals do not count."""
    for word in words:
        assert re.search(word, sentence, re.IGNORECASE), f"{word!r} is not in: {sentence}"


@dataclass
class Read:
    """A scan that can be read, and what is right."""

    name: str
    given: Made
    options: dict[str, Any] = field(default_factory=dict)
    right: dict[str, Any] = field(default_factory=dict)
    """Field of the cloud → value, or ABSENT."""
    says: tuple[str, ...] = ()
    """Words that the warnings contain."""
    hushed: tuple[str, ...] = ()
    """Words that no warning contains."""
    extracted: bool = False
    """Whether the warnings of `extract` count too."""
    atol: float = 1e-6

    def check(self, place: Place) -> None:
        given = self.given(place.folder)
        cloud, said = heard(lambda: cloud_of(given, self.options))
        for name, value in self.right.items():
            ours = getattr(cloud, name)
            if isinstance(value, str):
                assert ours is None, f"{name} is there: {ours}"
            else:
                assert ours is not None, f"{name} is missing"
                np.testing.assert_allclose(ours, value, rtol=0, atol=self.atol, err_msg=name)
        if self.extracted:
            rows, more = heard(lambda: place.model.extract(given, **self.options))
            assert len(rows) == len(cloud)
            assert np.isfinite(rows).all()
            said += more
        contains("\n".join(said), self.says)
        for word in self.hushed:
            assert not re.search(word, "\n".join(said), re.IGNORECASE), said


@dataclass
class Refused:
    """An input that must be refused in one sentence."""

    name: str
    given: Made
    words: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)

    def check(self, place: Place) -> None:
        given = self.given(place.folder)
        sentence, _ = heard(lambda: refusal(lambda: place.model.extract(given, **self.options)))
        contains(sentence, self.words)


def refusal(action: Callable[[], Any]) -> str:
    """Return the one sentence of an error of ours."""
    with pytest.raises(Msm3dError) as caught:
        action()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    return str(caught.value)


@dataclass
class Alike:
    """Two inputs of which the features are the same to the last bit."""

    name: str
    given: Made
    other: Made
    options: dict[str, Any] = field(default_factory=dict)
    others: dict[str, Any] = field(default_factory=dict)
    atol: float = 0

    def check(self, place: Place) -> None:
        (beside := place.folder / "other").mkdir()
        given, other = self.given(place.folder), self.other(beside)
        ours, _ = heard(lambda: place.model.extract(given, **self.options))
        right, _ = heard(lambda: place.model.extract(other, **self.others))
        np.testing.assert_allclose(np.asarray(ours), np.asarray(right), rtol=0, atol=self.atol)


@dataclass
class Typed:
    """A call of the command line: its exit code, what it says, and what is in its folder afterwards."""

    name: str
    given: Made
    line: str
    code: int = 0
    says: tuple[str, ...] = ()
    hushed: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    """New files that must be there; the others must be as they were."""

    def check(self, place: Place) -> None:
        self.given(place.folder)
        before = snapshot(place.folder)
        code, out, err = place.run(self.line)
        assert code == self.code, err
        assert "Traceback" not in err
        contains(out + err, self.says)
        for word in self.hushed:
            assert not re.search(word, out + err, re.IGNORECASE), out + err
        after = snapshot(place.folder)
        assert {name: after.get(name) for name in before} == before, "an input has changed"
        assert set(after) - set(before) == set(self.makes)
        if code == 2:
            assert err.count("\n") == 1, f"more than one sentence: {err}"


def snapshot(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, and the empty folders."""
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*"))}
    return {
        name: path.read_bytes() if path.is_file() else b""
        for name, path in found.items()
        if path.is_file() or not any(path.iterdir())
    }


@dataclass
class Law:
    """Whatever has no simpler form."""

    name: str
    check: Callable[[Place], None]


Case = Read | Refused | Alike | Typed | Law
