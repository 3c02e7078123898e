#!/usr/bin/env bash
# huggingface_hub 2.4.0 answers with a folder that lacks the file asked for, when it may only look on the disk.
# Seen: the cache holds config.json alone, as after hf_hub_download of it; snapshot_download(allow_patterns="model.safetensors",
# local_files_only=True) returns the folder, whose only file is config.json.
# A good guess: LocalEntryNotFoundError, which hf_hub_download raises for the same file in the same cache.
# So "it's there already" can't be asked this way: only single files can.
# Exits non-zero if that changes.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check huggingface_hub==2.4.0
v/bin/python - <<'PYTHON'
import os
from pathlib import Path

from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError

commit = "a" * 40
model = Path("cache/models--some--model")
(model / "refs").mkdir(parents=True)
(model / "refs/main").write_text(commit)
(model / "snapshots" / commit).mkdir(parents=True)
(model / "snapshots" / commit / "config.json").write_text("{}")
offline = {"cache_dir": "cache", "local_files_only": True}

for patterns in (None, "model.safetensors"):
    folder = snapshot_download("some/model", allow_patterns=patterns, **offline)
    print(patterns, os.listdir(folder))
    assert os.listdir(folder) == ["config.json"]
try:
    hf_hub_download("some/model", "model.safetensors", **offline)
except LocalEntryNotFoundError as error:
    print(type(error).__name__)
else:
    raise SystemExit("the file was found")
PYTHON
