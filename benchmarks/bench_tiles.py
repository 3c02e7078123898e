"""What tiles change: two rooms side by side, at once and in tiles, with attention and without, level by level."""

import argparse

import numpy as np
import torch
from machine import json_option, keep, machine
from room import room

import msm3d


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=1_054_040)
    parser.add_argument("--tile", type=int, default=250_000, help="voxels of a tile, halo included")
    json_option(parser)
    options = parser.parse_args()
    scan = msm3d.PointCloud.of(room(options.points, copies=2))
    print(machine())
    figures = []
    for attention in ((0, 0, 0, 2, 2), (0, 0, 0, 0, 0)):
        config = msm3d.BackboneConfig(sampling="published", attention_blocks=attention)
        torch.manual_seed(0)
        model = msm3d.Model(config).eval()
        chosen = dict(at="voxels", levels=None)
        whole, _ = model.extract(scan, max_memory="1TB", **chosen)
        tiled, _ = model.extract(scan, max_memory=options.tile * config.cost.bytes_per_voxel, **chosen)
        what = "with attention" if any(attention) else "convolutions only"
        print(f"\n{what}: {len(whole):,} voxels in tiles of {options.tile:,}")
        print(f"halo {config.cost.halo} coarsest cells, reach {config.cost.reach:.1f} m\n")
        print("| level | relative error | rows with the same bits | largest row error |\n|---|---|---|---|")
        for info in model.feature_info:
            a, b = whole[:, info.slice], tiled[:, info.slice]
            rows = np.linalg.norm(b - a, axis=1) / np.linalg.norm(a, axis=1)
            error = np.linalg.norm(b - a) / np.linalg.norm(a)
            print(f"| {info.level} | {error:.1e} | {(rows == 0).mean():.1%} | {rows.max():.1e} |")
            figures.append({"network": what, "level": info.level, "error": float(error)})
            figures[-1] |= {"same_bits": float((rows == 0).mean()), "largest_row_error": float(rows.max())}
            assert error < 0.05
    keep(options.json, figures)


if __name__ == "__main__":
    main()
