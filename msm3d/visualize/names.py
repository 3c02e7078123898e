"""Names of labels: of a benchmark, of the user's own words, or those that come with a scan."""

import os
import re
from pathlib import Path

_COMMENT = re.compile(rb"^comment label (\d{1,4}) (\S.*?)\s*$", re.MULTILINE)


def label_names(text: str) -> tuple[str, ...]:
    """Return the names that somebody asked for: a benchmark's, those in a file, or a list with commas.

    >>> label_names("wall, floor, chair")
    ('wall', 'floor', 'chair')

    Raises:
        InputError: it is neither.
    """
    from ..datasets.classes import class_list

    if "," in text:
        return tuple(part.strip() for part in text.split(","))
    if os.path.isfile(text):
        return tuple(line.strip() for line in Path(text).read_text(encoding="utf-8").splitlines())
    return (*class_list(text).names, *(["other"] if text == "rooms" else []))


def names_with(scan: str | os.PathLike[str]) -> tuple[str, ...]:
    """Return the names in the header of a PLY file, from lines such as `comment label 4 chair`; none in other files."""
    if Path(scan).suffix.lower() != ".ply":
        return ()
    with open(scan, "rb") as file:
        head = file.read(1 << 20).partition(b"\nend_header")[0]
    found = {int(number): name.decode("utf-8", "replace") for number, name in _COMMENT.findall(head)}
    return tuple(found.get(i, f"label {i}") for i in range(max(found, default=-1) + 1))
