"""A scan in the browser: see its features, name things by clicks, teach, download: `python examples/space/app.py`.

Needs `pip install "msm3d[demo]"`. The folder is a Space as it stands; its README says how to host it.
"""

import json
import shutil
import tempfile
import threading
import warnings
from collections.abc import Callable
from functools import cache, wraps
from html import escape
from pathlib import Path
from typing import Any

import msm3d
from msm3d import rooms, tasks
from msm3d.errors import InputError, Msm3dError
from msm3d.io import READERS
from msm3d.rooms.files import write_ply
from msm3d.scan.options import ReadOptions
from msm3d.visualize.source import Source
from msm3d.visualize.verbs import Sight, view

LARGEST = 200  # MB of a scan
SHOWN = 300_000  # points in the page
LEFT = 3600  # seconds after which what nobody comes back to is removed
AS_SAID = "as the file says"
ONE_AT_A_TIME = threading.Lock()  # one network for all visitors, and a small machine

ABOUT = """# msm3d: name some points, and the rest is named

Give a scan of a room, or take the example. **Click a point** to see what is similar. **PCA** shows the features as
colours, **Clusters** what is alike. Under **Name**, label points of two kinds of things or more; twenty of each are
good. Then **teach**: every point gets a name, and **Unsure** shows where more clicks help."""

GIVEN = """(text, visit) => {
  const page = document.querySelector("#scan iframe")?.contentWindow?.msm3d;
  const rows = page ? page.naming.labels.rows().map(([one, rows]) => [one.name, rows]) : [];
  return [JSON.stringify(Object.fromEntries(rows)), visit];
}"""
"""Takes the labels out of the page, rows by name, for the server."""


@cache
def model() -> Any:
    """Return the network, loaded once."""
    return msm3d.load()


class Visit:
    """What one visitor has: a folder of its own with the scan, its page and what was learned; nothing is shared."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="msm3d-visit-"))
        self.scan: Path | None = None
        self.options = ReadOptions()

    def close(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def open(self, path: str | None, up: str | None = None, units: str | None = None) -> tuple[str, str]:
        """Take a scan, or make the example where none is given; return its page and what is said about it."""
        options, folder = ReadOptions(up=up, units=units), Path(tempfile.mkdtemp(dir=self.folder))
        if path is None:
            scan = folder / "bedroom.ply"
            write_ply(scan, rooms.make(900_012, kind="bedroom", points=60_000))
        else:
            given = Path(path)
            if (size := given.stat().st_size) > LARGEST << 20:
                raise InputError(f"{given.name} has {size >> 20} MB; give a scan of at most {LARGEST} MB.")
            scan = Path(shutil.copy(given, folder / given.name))
        page, lines = self._page(scan, options)
        for file in self.folder.iterdir():  # of an earlier scan
            if file != folder:
                shutil.rmtree(file) if file.is_dir() else file.unlink()
        self.scan, self.options = scan, options
        return page, "; ".join(lines[:1])

    def teach(self, text: str) -> tuple[str, str, list[str]]:
        """Learn the labels, rows by name as JSON; return the page of the labelled scan, a table, and files."""
        if self.scan is None:
            raise InputError("there is no scan yet; give one, or take the example.")
        try:
            rows = {name: given for name, given in dict(json.loads(text or "{}")).items() if given}
        except (TypeError, ValueError):
            raise InputError("these are no labels; name points in the page.") from None
        if len(rows) < 2:
            raise InputError("too few kinds of things are named; under Name, label points of two at least.")
        cloud = msm3d.read(self.scan, up=self.options.up, units=self.options.units, invalid="nan")
        labels = tasks.Labels.for_scan(cloud, rows, self.scan).write(self.folder / "labels.json")
        head = tasks.teach(model(), [(self.scan, labels)], options=self.options)
        found = tasks.segment(model(), head, self.scan, options=self.options)
        files = [labels, found.save(self.folder / f"{self.scan.stem}-labelled.ply")]
        files.append(Path(shutil.make_archive(str(self.folder / "head"), "zip", head.save(self.folder / "head"))))
        kept = self.scan.suffix.lower() == ".ply"  # then the file has the scan's own columns, as they were
        page, _ = self._page(files[1], self.options if kept else ReadOptions(), str(labels))
        table = "\n".join(f"    {line}" for line in found.table().splitlines())
        return page, f"{head.about_.judged}\n\n{table}", [str(file) for file in files]

    def _page(self, scan: Path, options: ReadOptions, labels: str | None = None) -> tuple[str, list[str]]:
        """Return the page of a scan, as a frame, and the lines that `msm3d view` says."""
        sight = Sight(labels=labels, clusters=8, most=SHOWN)
        lines = list(view(str(scan), str(self.folder / "page.html"), Source(load=model, options=options), sight))
        html = (self.folder / "page.html").read_text(encoding="utf-8")
        return f'<iframe title="{escape(scan.name)}" srcdoc="{escape(html)}"></iframe>', lines


def told(step: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
    """Return a step that is done one at a time; warnings are said with what it says, a mistake is one sentence."""
    import gradio as gr

    @wraps(step)
    def safe(*given: Any) -> tuple[Any, ...]:
        with ONE_AT_A_TIME, warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always", msm3d.Msm3dWarning)
            try:
                page, said, *others = step(*given)
            except Msm3dError as error:
                raise gr.Error(str(error), duration=None) from error
        notes = [f"Note: {one.message}" for one in heard if issubclass(one.category, msm3d.Msm3dWarning)]
        return page, "\n\n".join([said, *dict.fromkeys(notes)]), *others

    return safe


def build() -> Any:
    """Return the app."""
    try:
        import gradio as gr
    except ImportError as error:
        raise SystemExit('the demo needs gradio; run pip install "msm3d[demo]".') from error

    @told
    def opened(path: str | None, up: str, units: str, visit: Visit | None) -> tuple[Any, ...]:
        mine = visit or Visit()
        try:
            return *mine.open(path, None if up == AS_SAID else up, units), None, mine
        except BaseException:
            if visit is None:  # nobody will know of it
                mine.close()
            raise

    @told
    def taught(text: str, visit: Visit | None) -> tuple[Any, ...]:
        if visit is None:
            raise InputError("there is no scan yet; give one, or take the example.")
        return *visit.teach(text), visit

    with gr.Blocks(title="msm3d", analytics_enabled=False, delete_cache=(LEFT, LEFT)) as app:
        mine = gr.State(None, time_to_live=LEFT, delete_callback=lambda visit: visit and visit.close())
        gr.Markdown(ABOUT)
        with gr.Row():
            scan = gr.File(label=f"A scan: {READERS.titles()}; at most {LARGEST} MB", type="filepath", height=120)
            with gr.Column():
                up = gr.Radio([AS_SAID, "z", "y", "-y"], value=AS_SAID, label="Up is")
                units = gr.Radio(["m", "cm", "mm", "ft"], value="m", label="Units")
                example = gr.Button("Take an example room", elem_id="example")
        page = gr.HTML("", elem_id="scan")
        teach = gr.Button("Teach these names, and name every point", variant="primary", elem_id="teach")
        said = gr.Markdown("", elem_id="said")
        files = gr.File(label="Labels, the labelled scan, the head", file_count="multiple", interactive=False)
        text, nothing = gr.Textbox(visible=False), gr.State(None)
        shown = [page, said, files, mine]
        scan.upload(opened, [scan, up, units, mine], shown)
        example.click(opened, [nothing, up, units, mine], shown)
        teach.click(taught, [text, mine], shown, js=GIVEN)
    return app


STYLE = "#scan iframe { width: 100%; height: 78vh; border: 1px solid #8884; border-radius: 8px; }"


def launch(**given: Any) -> Any:
    """Start the server and return it; see `gradio.Blocks.launch`."""
    import gradio as gr

    looks = {"css": STYLE, "theme": gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])}
    served = build().queue()
    served.launch(max_file_size=LARGEST << 20, **looks, **given)
    return served


if __name__ == "__main__":
    launch()
