"""A bar that moves with every block of the network."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn
from tqdm import tqdm

from .stages import hidden, stage


@contextmanager
def bar(steps: Sequence[nn.Module], passes: Sequence[int], shown: bool | None) -> Iterator[None]:
    """Show how far the coming passes are, once they have taken a second, and how long the rest will take.

    Args:
        steps: modules of the network that each run once a pass.
        passes: number of voxels of each pass, in their order: a step counts for as much.
        shown: True shows it, None in a terminal only, False never.
    """
    stage("network")
    disabled = hidden(shown)
    if disabled:
        yield
        return
    total = max(sum(passes) * len(steps), 1)
    sizes = iter([voxels for voxels in passes for _ in steps])
    shape = "{l_bar}{bar}| {elapsed}, {remaining} left"
    settings = {"delay": 1, "leave": False, "bar_format": shape, "disable": disabled}
    with tqdm(total=total, desc=f"network, {sum(passes):,} voxels", **settings) as shown_bar:

        def advance(*_: object) -> None:  # what a hook returns would replace the module's output
            shown_bar.update(next(sizes, 0))

        hooks = [step.register_forward_hook(advance) for step in steps]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
