"""What mkdocs does with our pages, so that nothing is written twice: `{include FILE}` becomes that file, `{include
FILE#heading}` what is under that heading of it, `{version}` the version, `{readers}` and `{writers}` the kinds of
files; `room.html` is a live page of `msm3d view`, and each notebook of `examples/notebooks` is a page."""

import base64
import json
import re
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import msm3d
from msm3d.io import READERS, WRITERS

ROOT = Path(__file__).parents[1]
MARK = re.compile(r"^<!-- (?:table: [\w -]+|end of table) -->\n+", re.MULTILINE)  # of docs/tables.py
LINE = re.compile(r"^( *)\{include ([^\s#}]+)(?:#([^}]+))?\}$", re.MULTILINE)
ROOM = {"seed": 900_005, "kind": "bedroom", "points": 40_000}  # far from the seeds of the training rooms


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Say the version at the foot of every page."""
    config.copyright = f"msm3d {msm3d.__version__}, MIT licence"
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the live page, and the notebooks with their pictures."""
    files.append(File.generated(config, "room.html", content=live_page()))
    for path in sorted((ROOT / "examples" / "notebooks").glob("*.ipynb")):
        page, pictures = notebook_page(path)
        files.append(File.generated(config, f"{path.stem}.md", content=page))
        for name, data in pictures.items():
            files.append(File.generated(config, name, content=data))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put in the version, and the files that a page asks for, indented as the line was."""
    markdown = markdown.replace("{version}", msm3d.__version__)
    markdown = markdown.replace("{readers}", readers()).replace("{writers}", writers())
    return LINE.sub(
        lambda match: re.sub("^(?=.)", match[1], included(ROOT / match[2], match[3]), flags=re.MULTILINE), markdown
    )


def readers() -> str:
    """Return the rows of the table of files that are read, as each reader declares itself."""
    rows = []
    for kind in READERS:
        needs = [f'{what} need `pip install "msm3d[{kind.extra}]"`' for what in kind.needs.values()]
        rows.append(f"| {kind.title} | {'; '.join(['the path', *needs, *filter(None, [kind.note])])} |")
    return "\n".join(rows)


def writers() -> str:
    """Return the rows of the table of files of features, as each writer declares itself."""
    return "\n".join(f"| `{', '.join(kind.suffixes)}` | {kind.holds} | {kind.metadata} |" for kind in WRITERS)


def included(path: Path, heading: str | None = None) -> str:
    """Return a file's text; of Markdown without the title, and with the names of files in place of links to them."""
    text = MARK.sub("", path.read_text(encoding="utf-8") + "\n").rstrip()
    if path.suffix != ".md":
        return text
    if heading is not None:
        text = re.split(rf"^## {re.escape(heading)}\n+", text, flags=re.MULTILINE)[1].split("\n## ")[0].rstrip()
    return re.sub(r"\[([^\]]+)\]\((?!https?:|#)[^)]+\)", r"\1", re.sub(r"\A# .*\n+", "", text))


@cache
def live_page() -> str:
    """Return the page of a synthetic room: made anew for each build, so that it is what the package writes."""
    from msm3d.rooms import CLASSES, make
    from msm3d.visualize import write_page

    cloud, model = make(**ROOM), msm3d.load()
    settings = {"levels": model.feature_info, "names": (*CLASSES, "other"), "title": "A made bedroom", "mode": "pca"}
    with TemporaryDirectory() as folder:
        path = Path(folder, "room.html")
        write_page(path, cloud, model.extract(cloud), model=model.meta["name"], channels=32, cells=12_000, **settings)
        return path.read_text(encoding="utf-8")


def notebook_page(path: Path) -> tuple[str, dict[str, bytes]]:
    """Return a notebook as Markdown, with the outputs that are stored in it, and its pictures by their names."""
    title = f"examples/notebooks/{path.name}"
    parts, pictures = [], dict[str, bytes]()
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(re.sub(r"\]\((\w+)\.ipynb\)", r"](\1.md)", source))
            if len(parts) == 1:
                parts.append(f"This page is the notebook `{title}`, as it was run.")
            continue
        parts.append(f'``` {{ .python data-search-exclude="" }}\n{source}\n```')
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                name = f"figures/{path.stem}-{len(pictures)}.png"
                pictures[name] = base64.b64decode("".join(data["image/png"]))
                parts.append(f"![What the code above draws]({name}){{ .drawn }}")
            elif "text/markdown" in data:
                parts.append(re.sub("^#+ ", "### ", "".join(data["text/markdown"]), flags=re.MULTILINE))
            elif found := data.get("image/svg+xml") or data.get("text/html"):
                parts.append(f'<div class="drawn">{"".join(found)}</div>')
            else:
                text = "".join(output.get("text") or data["text/plain"]).rstrip()
                parts.append(f'``` {{ .text .said data-search-exclude="" }}\n{text}\n```')
    return "\n\n".join(parts), pictures
