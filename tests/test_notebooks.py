"""The notebooks of examples/notebooks: a real kernel runs them, and what is stored in them is small and up to date."""

import base64
import copy
import importlib
import json
import re
import warnings
from pathlib import Path

import pytest

import msm3d

ROOT = Path(msm3d.__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def outputs(notebook):
    """Return what each cell of code shows: kinds, and the text, in which figures may differ from machine to machine."""
    shown = []
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            text = "".join(output.get("text", ""))
            shown.append((output["output_type"], sorted(output.get("data", {})), re.sub(r"[\d.,]+ *", "#", text)))
    return shown


@pytest.fixture
def program(monkeypatch):
    """The program that runs notebooks."""
    for name in ("nbclient", "ipykernel", "PIL"):
        pytest.importorskip(name)
    monkeypatch.syspath_prepend(ROOT / "docs")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries about each other
        return importlib.import_module("notebooks")


def test_there_are_notebooks():
    assert {path.stem for path in NOTEBOOKS} >= {"label_your_scan", "compare_encoders"}


@each
def test_what_is_stored_is_whole_small_and_of_no_machine(path):
    text = path.read_text(encoding="utf-8")
    notebook = json.loads(text)
    assert len(text.encode()) < 300_000
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert notebook["metadata"]["language_info"] == {"name": "python"}
    assert not re.search(r"/(?:home|root|tmp|work|Users)/", text)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == [*range(1, len(code) + 1)]  # run top to bottom
    assert all(cell["metadata"] == {} for cell in notebook["cells"])
    kinds = {kind for _, found, _ in outputs(notebook) for kind in found}
    assert kinds & {"image/png", "image/svg+xml"}
    assert not any(kind in ("error", "stderr") for kind, _, _ in outputs(notebook))
    for cell in code:
        for output in cell["outputs"]:
            assert output.get("name") != "stderr"
            if picture := output.get("data", {}).get("image/png"):
                assert base64.b64decode("".join(picture)).startswith(b"\x89PNG")


@pytest.mark.slow
@each
def test_a_kernel_runs_it_and_shows_what_is_stored(path, program, tmp_path):
    stored = json.loads(path.read_text(encoding="utf-8"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        notebook = program.kept(program.ran(path, tmp_path))
    assert outputs(notebook) == outputs(stored)
    assert not (ROOT / "examples" / "notebooks" / "demo").exists()


def test_outputs_that_are_stale_are_seen():
    notebook = json.loads(NOTEBOOKS[0].read_text(encoding="utf-8"))
    changed = copy.deepcopy(notebook)
    stream = next(o for cell in changed["cells"] for o in cell.get("outputs", []) if o["output_type"] == "stream")
    stream["text"] = ["something else\n"]
    assert outputs(changed) != outputs(notebook)


def test_a_large_picture_becomes_a_small_one(program):
    import io

    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (900, 1200, 3), dtype=np.uint8)
    held = io.BytesIO()
    Image.fromarray(noise).save(held, "PNG")
    small = base64.b64decode(program.smaller(base64.b64encode(held.getvalue()).decode()))
    with Image.open(io.BytesIO(small)) as image:
        assert max(image.size) == program.WIDEST
    assert len(small) < len(held.getvalue()) / 4
