"""The comparison with the portable instruction set that another one has to pass before it is used."""

import torch


def disagreement(isa: str) -> str | None:
    """Return the first operation whose numbers differ from the portable ones, in a millisecond or two."""
    from ... import native as ops

    random = torch.Generator().manual_seed(0)
    x, weight = torch.randn(40, 48, generator=random), torch.randn(3, 48, 80, generator=random)
    table = torch.randint(-1, 40, (40, 3), generator=random, dtype=torch.int32)
    weights = torch.rand(40, 3, generator=random)
    narrow = x.bfloat16(), weight.bfloat16()
    examples = {
        "convolutions": lambda isa: ops.conv(x, weight, table, activation="gelu", isa=isa),
        "bfloat16 convolutions": lambda isa: ops.conv(*narrow, table, isa=isa).float(),
        "attention": lambda isa: ops.attend(x.view(40, 3, 2, 8), (0, 25, 40), 9, isa=isa),
        "norms": lambda isa: ops.normalize(x, ("layernorm", weight[0, 0, :48], weight[0, 1, :48]), isa=isa),
        "descriptors": lambda isa: ops.blend([x], [table], [weights], dtype=torch.float16, isa=isa).float(),
    }
    with torch.no_grad():
        for name, run in examples.items():
            if not torch.allclose(run(isa), run("portable"), rtol=1e-2 if "bfloat16" in name else 2e-3, atol=2e-3):
                return name
    return None
