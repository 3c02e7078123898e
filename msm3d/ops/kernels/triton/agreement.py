"""The comparison with `reference` that a GPU has to pass before the backend is used on it."""

import torch
from torch import Tensor

from ... import Backend, reference
from .. import gpu


def disagreement(ops: Backend, device: torch.device) -> str | None:
    """Return the first operation of `ops` whose numbers or gradients differ from the reference's on `device`."""
    random = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random).to(device).requires_grad_()

    keys = torch.unique(torch.randint(0, 1 << 10, (160,), generator=random)).to(device)
    for ours, theirs in zip(ops.octree(keys, 3), reference.octree(keys, 3), strict=True):
        for a, b in zip(ours, theirs, strict=True):
            if a is not None and b is not None and not torch.equal(a, b):
                return "tables"
    table, m = reference.octree(keys, 1)[0][3], len(keys)
    x, weight, dense, qkv = draw(m, 40), draw(27, 40, 72), draw(96, 40), draw(m, 3, 2, 8)
    bias, scale, shift, gamma, residual = draw(72), draw(72), draw(72), draw(72), draw(m, 72)
    finish = {"activation": "gelu", "norm": ("rmsnorm", scale, None), "gamma": gamma, "residual": residual}
    corners, shares = table[:, 9:17].contiguous(), torch.rand(m, 8, generator=random).to(device)
    owner = torch.randint(0, m, (2 * m,), generator=random).to(device)
    exact, layernorm = {"precision": "ieee"}, ("layernorm", scale[:40], shift[:40])
    examples: dict[str, gpu.Example] = {
        "convolutions": (
            lambda ops, **how: ops.conv(x, weight, table, bias, **finish, **how),
            [x, weight, bias, scale, gamma],
            exact,
            2e-3,
        ),
        "bfloat16 convolutions": (lambda ops: ops.conv(x, weight.bfloat16(), table), [x, weight], {}, 2e-2),
        "linear layers": (lambda ops: ops.linear(x, dense, activation="geglu"), [x, dense], {}, 2e-3),
        "norms": (lambda ops: ops.normalize(x, layernorm), [x, scale, shift], {}, 2e-3),
        "attention": (lambda ops, **how: ops.attend(qkv, (0, 70, m), 30, **how), [qkv], exact, 2e-3),
        "descriptors": (lambda ops: ops.blend([x], [corners], [shares], owner), [x], {}, 2e-3),
    }
    return gpu.disagreement(ops, examples, random)
