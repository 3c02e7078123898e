"""Publish a bundled release on the Hugging Face Hub: `HF_TOKEN=… python weights/upload.py rooms OWNER/REPOSITORY`.

The repository gets config.json, model.safetensors and the card of `weights/NAME` in one commit; the card must name the
hash of the weights, which are under MIT. Printed is what `msm3d/weights/releases.json` then needs.
"""

import argparse
import re
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from msm3d import weights
from msm3d.weights import store

ROOT = Path(__file__).parents[1]
FRONT = """---
library_name: msm3d
pipeline_tag: feature-extraction
tags: [point-cloud, 3d, msm3d]
license: mit
---
"""


def card(name: str, digest: str) -> str:
    """Return the card of a release as the Hub shows it, where links to other files of the checkout lead nowhere."""
    text = (ROOT / "weights" / name / "MODEL_CARD.md").read_text(encoding="utf-8")
    if digest not in text:
        sys.exit(
            f"weights/{name}/MODEL_CARD.md does not name the hash of the weights, {digest}; say what was measured."
        )
    if not re.search(r"^\| licence \| MIT\b", text, re.MULTILINE):
        sys.exit(f"weights/{name}/MODEL_CARD.md does not say that the weights are under MIT.")
    return FRONT + re.sub(r"\[([^]]+)\]\((?!https?:|#)[^)]*\)", r"\1", text)


def upload(name: str, repository: str) -> str:
    """Upload a release, and return its hash."""
    bundle = ROOT / "msm3d/weights/bundled" / name
    if not (bundle / store.CONFIG).is_file():
        there = ", ".join(sorted(path.name for path in bundle.parent.iterdir() if path.is_dir()))
        sys.exit(f"there is no bundled release {name!r}; give one of {there}.")
    digest = store.sha256(bundle / store.MODEL)
    with TemporaryDirectory() as scratch:
        folder = Path(shutil.copytree(bundle, Path(scratch) / name))
        (folder / store.CARD).write_text(card(name, digest), encoding="utf-8")
        print(weights.push(folder, repository, commit_message=f"{name}, a release of msm3d"))
    return digest


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="of a bundled release, such as rooms")
    parser.add_argument("repository", help="OWNER/NAME on the Hub, which HF_TOKEN may write to")
    options = parser.parse_args()
    digest = upload(options.name, options.repository)
    print(f'in releases.json: "repo": "{options.repository}", "sha256": "{digest}", and "revision", the commit above')
