"""What is shown: results on standard output; the stage of the work, warnings and errors on standard error."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TextIO

from .._util import stages
from ..errors import Msm3dWarning


class Display:
    """The lines of one call; of a quiet one warnings and errors only."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._live = not quiet and sys.stderr is not None and sys.stderr.isatty()
        self._width = 0  # of the stage that stands in the terminal's last line
        self._said: set[tuple[str | None, str]] = set()

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Show stages, bars and warnings meanwhile: each warning once, or once for each scan; in a log no bars."""
        with warnings.catch_warnings(), stages.listening(self.stage), nullcontext() if self._live else stages.silent():
            warnings.simplefilter("always", Msm3dWarning)
            warnings.showwarning = self._warning
            try:
                yield
            finally:
                self._clear()

    def line(self, text: str) -> None:
        """Show a result."""
        if not self.quiet:
            self._print(text, sys.stdout)

    def note(self, text: str) -> None:
        """Show what is good to know."""
        if not self.quiet:
            self.error(text)

    def error(self, text: str) -> None:
        """Show what went wrong."""
        self._print(text, sys.stderr)

    def stage(self, name: str) -> None:
        """Show what is being done, in a terminal, until something else is shown."""
        if not self._live:
            return
        scan = stages.scan()
        text = f"{name} …" if scan is None else f"{scan}: {name} …"
        self._clear()
        print(f"\r{text}", end="", file=sys.stderr, flush=True)
        self._width = len(text)

    def _warning(self, message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        scan, text = stages.scan(), str(message)
        if (scan, text) in self._said:
            return
        self._said.add((scan, text))
        kind = "warning" if issubclass(category, Msm3dWarning) else category.__name__
        at = "" if scan is None or text.startswith(scan) else f"{scan}: "
        self.error(f"{kind}: {at}{text}")

    def _print(self, text: str, file: TextIO | None) -> None:
        if file is None:  # closed by whoever called
            return
        self._clear()
        bars = sys.modules.get("tqdm")  # a line between bars, where some are shown
        write = print if bars is None else bars.tqdm.write
        write(text, file=file)

    def _clear(self) -> None:
        if self._width:
            print("\r" + " " * self._width, end="\r", file=sys.stderr, flush=True)
            self._width = 0
