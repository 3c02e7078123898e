"""For mkdocstrings: examples in docstrings, from `>>>` to the next empty line, become blocks of code."""

import re
from typing import Any

import griffe

BLOCK = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)


class Doctests(griffe.Extension):
    """Fences every doctest."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of an object that was read."""
        if obj.docstring is not None:
            obj.docstring.value = BLOCK.sub(r"```pycon\n\g<0>\n```", obj.docstring.value)
