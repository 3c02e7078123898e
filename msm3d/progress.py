"""A bar that moves with every block of the network."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn
from tqdm import tqdm

from .blocks import AttentionBlock, ConvBlock
from .stages import hidden, stage


@contextmanager
def bar(network: nn.Module, passes: Sequence[int], shown: bool | None) -> Iterator[None]:
    """Show how far the coming passes are, once they have taken a second, and how long the rest will take.

    Args:
        network: what will be run; each of its blocks is a step.
        passes: number of voxels of each pass, in their order: a step counts for as much.
        shown: True shows it, None in a terminal only, False never.
    """
    stage("network")
    disabled = hidden(shown)
    if disabled:
        yield
        return
    blocks = [module for module in network.modules() if isinstance(module, (ConvBlock, AttentionBlock))]
    total = max(sum(passes) * len(blocks), 1)
    steps = iter([voxels for voxels in passes for _ in blocks])
    shape = "{l_bar}{bar}| {elapsed}, {remaining} left"
    settings = {"delay": 1, "leave": False, "bar_format": shape, "disable": disabled}
    with tqdm(total=total, desc=f"network, {sum(passes):,} voxels", **settings) as shown_bar:

        def step(*_: object) -> None:  # what a hook returns would replace the block's output
            shown_bar.update(next(steps, 0))

        hooks = [block.register_forward_hook(step) for block in blocks]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
