"""Nearest rows of a bank: `python benchmarks/bench_nearest.py [--rows N]`.

The 20 nearest of 10,000 rows of 928 channels, by our operation, by a product and topk of torch, and by faiss where it
is installed. They take turns; processor seconds, the median of the rounds, with noise as features: nothing to prune.
"""

import argparse
from statistics import median
from time import process_time

import torch
from machine import json_option, keep, machine

from msm3d.ops import backend

CHANNELS, BANK, K = 928, 10_000, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=7)
    json_option(parser)
    options = parser.parse_args()
    print(machine())
    random = torch.Generator().manual_seed(0)
    x, bank = (torch.randn(n, CHANNELS, generator=random) for n in (options.rows, BANK))
    x, bank = x / x.norm(dim=1, keepdim=True), bank / bank.norm(dim=1, keepdim=True)
    ops = backend("cpu")
    ways = {
        "msm3d, exact": lambda: ops.nearest(x, bank, K, [CHANNELS], [[0]])[1][0],
        "torch, product and topk": lambda: (x @ bank.T).topk(K, dim=1).indices,
    }
    try:
        import faiss
    except ImportError:
        pass
    else:
        faiss.omp_set_num_threads(torch.get_num_threads())
        index = faiss.IndexFlatIP(CHANNELS)
        index.add(bank.numpy())
        ways["faiss, IndexFlatIP"] = lambda: torch.from_numpy(index.search(x.numpy(), K)[1])
    found = {name: way() for name, way in ways.items()}
    for rows in found.values():
        assert (rows == found["msm3d, exact"]).float().mean() > 0.999
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            start = process_time()
            way()
            taken[name].append(process_time() - start)
    figures = [{"way": name, "threads": torch.get_num_threads(), "rows_per_second": 0.0} for name in ways]
    for figure, seconds in zip(figures, taken.values(), strict=True):
        figure["rows_per_second"] = round(options.rows / median(seconds), 1)
        print(f"{figure['way']}: {figure['rows_per_second']:,.0f} rows per second of processor time")
    keep(options.json, figures)


if __name__ == "__main__":
    main()
