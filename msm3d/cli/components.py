"""The components that `msm3d extract --pca` writes: where their basis is, and where it comes from."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._util.output_path import require_there
from ..errors import InputError
from .display import Display

if TYPE_CHECKING:
    from ..batch import Plan
    from ..describe.components import Components


def path_of(options: argparse.Namespace, plan: "Plan") -> Path | None:
    """Return the file of the basis of components; None where whole descriptors are wanted."""
    from .._util.atomic import apart
    from ..describe.components import checked
    from ..io import storage

    if options.basis is None and options.pca is None:
        return None
    if options.basis is None and (options.shard or isinstance(plan.jobs[0].target, storage.Remote)):
        why = "the parts of --shard share a basis" if options.shard else "a basis is kept on this machine"
        raise InputError(f"{why}; name its file with --basis.")
    path = checked(options.basis or _usual(Path(plan.jobs[0].target), Path(options.output)))
    apart([path], [job.scan for job in plan.jobs])
    if options.pca is None or options.shard:
        require_there([path])
    return path


def _usual(target: Path, output: Path) -> Path:
    return target.with_name(f"{target.stem}.basis.json") if target == output else output / "basis.json"


def basis(
    model: Any, plan: "Plan", reading: Any, path: Path, options: argparse.Namespace, display: Display
) -> "Components":
    """Return the basis in a file, or else that of the scans, which is written there."""
    from .._util.atomic import made
    from ..describe.components import Components
    from ..io import results
    from ..tasks.reducing import fitted

    if path.exists() and not (options.again and options.basis is None):
        basis = Components.load(path)
        if options.pca not in (None, len(basis)):
            raise InputError(f"{path} has {len(basis)} components; give --pca {len(basis)}, or another --basis.")
        basis.require_of(results.provenance(model, options.levels, options.sampling))
        display.line(f"{path}: a basis of {len(basis)} components that is there")
        return basis
    how = {name: getattr(options, name) for name in ("levels", "sampling", "max_memory")}
    model.channels(options.levels)
    basis = fitted(model, plan.jobs, options.pca, reading, **how)
    with made(path.parent):
        basis.save(path)
    display.line(f"{path}: {len(basis)} components explain {100 * basis.explained:.1f} % of the variance")
    return basis
