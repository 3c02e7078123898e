"""The notebooks of `examples/notebooks`: run top to bottom by a real kernel, kept with outputs that are small.

`python docs/notebooks.py [NOTEBOOK ...]` runs them, all by default, and stores what came of it; do so after a change.
"""

import base64
import io
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))
WIDEST, COLOURS = 800, 48  # of a picture that is stored
KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
KERNEL["language_info"] = {"name": "python"}


def ran(path: Path, folder: str | os.PathLike[str]) -> Any:
    """Return the notebook after a run in `folder`, by a kernel that imports msm3d from this checkout."""
    notebook = nbformat.read(path, as_version=4)
    quiet = ["--log-level=ERROR"]
    client = NotebookClient(notebook, timeout=600, kernel_name="python3", extra_arguments=quiet)
    paths = filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    client.execute(cwd=str(folder), env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)})
    return notebook


def kept(notebook: Any) -> Any:
    """Return the notebook as it is stored: small pictures, no times of a run, and nothing of a machine or a person."""
    notebook.metadata = nbformat.from_dict(KERNEL)
    for place, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{place}", nbformat.from_dict({})
        if "outputs" in cell:
            cell.outputs = joined(cell.outputs)
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                continue
            output.metadata = nbformat.from_dict({})
            if len(output.data) > 1:
                output.data.pop("text/plain", None)  # says no more than that it is a picture
            if "image/png" in output.data:
                output.data["image/png"] = smaller(output.data["image/png"])
    return notebook


def joined(outputs: list[Any]) -> list[Any]:
    """Return outputs of which what was printed piece by piece is one."""
    kept = list[Any]()
    for output in outputs:
        if kept and output.output_type == "stream" == kept[-1].output_type and output.name == kept[-1].name:
            kept[-1].text += output.text
        else:
            kept.append(output)
    return kept


def smaller(png: str) -> str:
    """Return a picture in base64 with fewer pixels and colours."""
    with Image.open(io.BytesIO(base64.b64decode(png))) as image:
        image = image.convert("RGB")
        image.thumbnail((WIDEST, WIDEST), Image.Resampling.LANCZOS)
        held = io.BytesIO()
        image.quantize(COLOURS, dither=Image.Dither.NONE).save(held, "PNG", optimize=True)
    return base64.b64encode(held.getvalue()).decode("ascii")


def main(names: list[str]) -> None:
    """Run notebooks and store them."""
    for path in map(Path, names) if names else NOTEBOOKS:
        with tempfile.TemporaryDirectory() as folder:
            notebook = kept(ran(path, folder))
        nbformat.validate(notebook)
        nbformat.write(notebook, path)


if __name__ == "__main__":
    main(sys.argv[1:])
