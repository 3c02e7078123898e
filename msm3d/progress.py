"""A bar that moves with every block of the network."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn
from tqdm import tqdm

from .blocks import AttentionBlock, ConvBlock


@contextmanager
def bar(network: nn.Module, passes: Sequence[int], shown: bool) -> Iterator[None]:
    """Show how far the coming passes are, once they have taken a second, and how long the rest will take.

    Args:
        network: what will be run; each of its blocks is a step.
        passes: number of voxels of each pass, in their order: a step counts for as much.
        shown: False shows nothing.
    """
    if not shown:
        yield
        return
    blocks = [module for module in network.modules() if isinstance(module, (ConvBlock, AttentionBlock))]
    total = max(sum(passes) * len(blocks), 1)
    steps = iter([voxels for voxels in passes for _ in blocks])
    shape = "{l_bar}{bar}| {elapsed}, {remaining} left"
    with tqdm(total=total, desc=f"{sum(passes):,} voxels", delay=1, leave=False, bar_format=shape) as shown_bar:

        def step(*_: object) -> None:  # what a hook returns would replace the block's output
            shown_bar.update(next(steps, 0))

        hooks = [block.register_forward_hook(step) for block in blocks]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
