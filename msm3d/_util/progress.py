"""A bar that moves with every block of the network."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn
from tqdm import tqdm

from .stages import hidden, stage


@contextmanager
def bar(steps: Sequence[nn.Module], passes: Sequence[int], shown: bool | None) -> Iterator[None]:
    """Show how far the coming passes are, once they have taken a second, and how long the rest will take.

    Each of `steps` runs once a pass and counts for as much as the pass has voxels; for `shown` see `hidden`.
    """
    stage("network")
    if disabled := hidden(shown):
        yield
        return
    sizes = iter([voxels for voxels in passes for _ in steps])
    shape = "{l_bar}{bar}| {elapsed}, {remaining} left"
    settings = {"total": max(sum(passes) * len(steps), 1), "delay": 1, "leave": False, "disable": disabled}
    with tqdm(desc=f"network, {sum(passes):,} voxels", bar_format=shape, **settings) as shown_bar:

        def advance(*_: object) -> None:  # what a hook returns would replace the module's output
            shown_bar.update(next(sizes, 0))

        hooks = [step.register_forward_hook(advance) for step in steps]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
