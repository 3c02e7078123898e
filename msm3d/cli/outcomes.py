"""What became of several scans, for whoever looks at the terminal."""

from collections.abc import Sequence
from typing import Any

from .._util.words import count, megabytes
from .display import Display


def summary(outcomes: Sequence[Any], others: int, each: str = "") -> str:
    """Return one line about several scans; `each` says what there is of a point."""
    done = [outcome for outcome in outcomes if outcome.bytes]
    parts = []
    if done:
        rows = f"{count(sum(o.points for o in done), 'point')}{each}"
        seconds, size = sum(o.seconds for o in done), sum(o.bytes for o in done)
        parts.append(f"{count(len(done), 'scan')}: {rows} in {seconds:.1f} s, {megabytes(size)}")
    there, failed = (sum(map(test, outcomes)) for test in (lambda o: o.was_there, lambda o: o.error is not None))
    parts += [f"{there if done or failed else count(there, 'scan')} there already"] if there else []
    parts += [f"{failed} failed"] if failed else []
    parts += [f"{count(others, 'file')} of other kinds left out"] if others else []
    return "; ".join(parts)


def failures(outcomes: Sequence[Any], verb: str, display: Display) -> int:
    """Show what failed, in a table, and return how much."""
    from . import told

    failed = [(str(outcome.job.scan), told(outcome.error)[1]) for outcome in outcomes if outcome.error is not None]
    if not failed:
        return 0
    display.error(f"msm3d {verb}: {len(failed)} of {count(len(outcomes), 'scan')} failed:")
    for scan, why in failed:
        display.error(f"  {scan}: {why.removeprefix(f'{scan}: ')}")
    return len(failed)
