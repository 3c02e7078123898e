"""The log of a run: a JSON line now and then, TensorBoard's files where that is installed, and a live bar."""

import json
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from time import perf_counter
from typing import Any

from tqdm import tqdm

from .._util.atomic import refusals, replacing
from .._util.stages import hidden

_FIRST = 10  # step of the first line of the log at the latest: whoever starts a run wants to see one


class Record(AbstractContextManager["Record"]):
    """The log of a run in `folder`; one that goes on drops what was written after its checkpoint.

    Args:
        folder: the folder of the run, in which `log.jsonl` and `tensorboard/` are.
        start: the step to go on with: later lines are of steps that will be taken again.
        steps: number of steps of the whole run.
        every: steps between lines that are due; the first is due after at most ten.
        shown: whether to show a bar; None shows it in a terminal only.
    """

    def __init__(self, folder: Path, start: int, steps: int, every: int = 50, shown: bool | None = False) -> None:
        path = folder / "log.jsonl"
        if path.exists():
            kept = [line for line in path.read_text(encoding="utf-8").splitlines() if _step(line) < start]
            with replacing(path) as partial:
                partial.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        self.path, self.every, self.steps = path, every, steps
        with refusals(path):
            self.file = path.open("a", encoding="utf-8")
        self.board = None
        with suppress(ImportError):
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=start)
        self.bar = tqdm(total=steps, initial=start, unit="step", dynamic_ncols=True, disable=hidden(shown))
        self.clock, self.timed = perf_counter(), start

    def __exit__(self, *_: object) -> None:
        self.bar.close()
        self.file.close()
        if self.board is not None:
            self.board.close()

    def step(self, step: int, loss: float) -> bool:
        """Move the bar on by a step, and return whether a line of it is due."""
        self.bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
        self.bar.update()
        return (step + 1) % self.every == 0 or step + 1 in (min(_FIRST, self.every), self.steps)

    def rate(self, step: int) -> float:
        """Return how many steps a second have been taken since the last time that this was asked."""
        clock, timed, self.clock, self.timed = self.clock, self.timed, perf_counter(), step + 1
        return round((self.timed - timed) / (self.clock - clock), 3)

    def line(self, step: int, **values: Any) -> None:
        """Write one line, at once: numbers, lists of one number per level, or dictionaries of numbers."""
        with refusals(self.path):
            self.file.write(json.dumps({"step": step, **values}) + "\n")
            self.file.flush()
        if self.board is not None:
            for name, value in values.items():
                for key, number in _numbers(name, value):
                    self.board.add_scalar(key, number, step)


def _step(line: str) -> float:
    """Return the step of a line; one that was cut short is of no step that counts."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def _numbers(name: str, value: Any) -> list[tuple[str, float]]:
    if isinstance(value, dict):
        return [pair for key, part in value.items() for pair in _numbers(f"{name}/{key}", part)]
    if isinstance(value, list):
        return [(f"{name}/level {level}", part) for level, part in enumerate(value)]
    return [(name, value)]
