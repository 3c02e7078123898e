"""What mkdocs does with our pages: a line `{include FILE}` becomes that file, so that nothing is written twice."""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LINE = re.compile(r"^( *)\{include (\S+)\}$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put in the files that a page asks for, indented as the line was."""
    return LINE.sub(lambda match: re.sub("^(?=.)", match[1], included(ROOT / match[2]), flags=re.MULTILINE), markdown)


def included(path: Path) -> str:
    """Return a file's text; of Markdown without the title, and with the names of files in place of links to them."""
    text = path.read_text(encoding="utf-8").rstrip()
    if path.suffix != ".md":
        return text
    return re.sub(r"\[([^\]]+)\]\((?!https?:|#)[^)]+\)", r"\1", re.sub(r"\A# .*\n+", "", text))
