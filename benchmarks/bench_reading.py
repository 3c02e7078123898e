"""Seconds and memory of reading a scan, beside the library that is usual for its format.

python benchmarks/bench_reading.py --points 1000000 10000000

Each reading is a process of its own, which imports first. Seconds are of the processor, with those of children, and of
the clock; memory is what was added at its most, the children's with it. Ours makes more of a file: metres as float64,
checked, colours on one scale. Libraries that are not installed are left out.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from machine import json_option, keep

OURS = ("from msm3d.io import read; import laspy", "found = read(path); xyz, rgb = found.coord, found.color")
PLYFILE = (
    "v = PlyData.read(path)['vertex']; xyz = np.stack([v[a] for a in 'xyz'], 1); rgb = np.stack([v[a] for a in C], 1)"
)
LASPY = "v = laspy.read(path); xyz = v.xyz; rgb = np.stack([np.array(v[a]) for a in C], 1)"
OPEN3D = "v = o3d.t.io.read_point_cloud(path); xyz = v.point['positions'].numpy(); rgb = v.point['colors'].numpy()"
PYE57 = (
    "v = E57(path).read_scan(0, colors=True, ignore_missing_fields=True); xyz = v['cartesianX']; rgb = v['colorRed']"
)
READERS = {
    "ply": {"plyfile": ("from plyfile import PlyData", PLYFILE), "Open3D": ("import open3d as o3d", OPEN3D)},
    "las": {"laspy": ("import laspy", LASPY)},
    "laz": {"laspy": ("import laspy", LASPY)},
    "pcd": {"Open3D": ("import open3d as o3d", OPEN3D)},
    "e57": {"pye57": ("from pye57 import E57", PYE57)},
}
PROGRAM = """
import sys, time, json, resource, warnings
import numpy as np
from machine import peak, reset_peak
warnings.simplefilter("ignore")
path, C = sys.argv[1], ("red", "green", "blue")
{start}

def spent():
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in usages)

reset_peak()
held, used, begun = peak(), spent(), time.perf_counter()
{work}
wall, used = time.perf_counter() - begun, spent() - used
child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
print(json.dumps(dict(points=len(xyz), seconds=used, wall=wall, gb=(peak() - held + child) / 1e9)))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--repeats", type=int, default=3, help="readings, of which the median counts")
    parser.add_argument("--formats", nargs="+", choices=READERS, default=list(READERS))
    json_option(parser)
    given = parser.parse_args()
    figures = []
    for n in given.points:
        for form in given.formats:
            with TemporaryDirectory() as folder:
                file = Path(folder, f"scan.{form}")
                write(file, n)
                megabytes = file.stat().st_size / 1e6
                for name, program in {"msm3d": OURS, **READERS[form]}.items():
                    runs = [found for _ in range(given.repeats) if (found := measured(file, *program)) is not None]
                    if not runs:
                        print(f"{form}: {name} is not installed")
                        continue
                    assert {run["points"] for run in runs} == {n}
                    row = {"format": form, "reader": name, "points": n, "megabytes": megabytes}
                    row |= {key: median(run[key] for run in runs) for key in ("seconds", "wall", "gb")}
                    figures.append(row)
                    print(f"{form} {n:,} {name}: {row['seconds']:.2f} s, wall {row['wall']:.2f} s, {row['gb']:.2f} GB")
    keep(given.json, figures)


def measured(file: Path, start: str, work: str) -> dict[str, Any] | None:
    """Return what one reading took, None where its library is not installed."""
    program = PROGRAM.format(start=start, work=work)
    command = [sys.executable, "-c", program, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent)
    if done.returncode and ("ImportError" in done.stderr or "ModuleNotFoundError" in done.stderr):
        return None
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def write(file: Path, n: int) -> None:
    """Write n points on surfaces, in the order of a scanner, with colours."""
    rng = np.random.default_rng(0)
    turn = np.linspace(0, 200 * np.pi, n)
    xyz = np.stack([4 * np.cos(turn), 3 * np.sin(turn), 2.5 * np.arange(n) / n], 1) + rng.normal(0, 0.005, (n, 3))
    rgb = (128 + 60 * np.sin(xyz)).astype(np.uint8)
    {"ply": _ply, "las": _las, "laz": _las, "pcd": _pcd, "e57": _e57}[file.suffix[1:]](file, xyz, rgb)


def _ply(file: Path, xyz: np.ndarray, rgb: np.ndarray) -> None:
    from plyfile import PlyData, PlyElement

    table = np.empty(len(xyz), [*((a, "f4") for a in "xyz"), *((a, "u1") for a in ("red", "green", "blue"))])
    for name, column in zip(table.dtype.names or (), [*xyz.T, *rgb.T], strict=True):
        table[name] = column
    PlyData([PlyElement.describe(table, "vertex")]).write(file)


def _las(file: Path, xyz: np.ndarray, rgb: np.ndarray) -> None:
    import laspy

    las = laspy.LasData(laspy.LasHeader(point_format=7, version="1.4"))
    las.header.scales = [0.001] * 3
    las.xyz = xyz
    las.red, las.green, las.blue = rgb.T.astype(np.uint16) * 257
    las.gps_time = np.arange(len(xyz)) * 1e-5
    las.write(file)


def _pcd(file: Path, xyz: np.ndarray, rgb: np.ndarray) -> None:
    n = len(xyz)
    head = f"VERSION 0.7\nFIELDS x y z rgb\nSIZE 4 4 4 4\nTYPE F F F U\nCOUNT 1 1 1 1\nWIDTH {n}\nHEIGHT 1\n"
    table = np.empty((n, 4), "<f4")
    table[:, :3] = xyz
    table[:, 3] = (rgb.astype(np.uint32) << np.array([16, 8, 0], np.uint32)).sum(1, dtype=np.uint32).view(np.float32)
    file.write_bytes(f"{head}VIEWPOINT 0 0 0 1 0 0 0\nPOINTS {n}\nDATA binary\n".encode() + table.tobytes())


def _e57(file: Path, xyz: np.ndarray, rgb: np.ndarray) -> None:
    from pye57 import E57

    fields = {f"cartesian{a}": column for a, column in zip("XYZ", xyz.T.copy(), strict=True)}
    fields |= {f"color{a}": column for a, column in zip(("Red", "Green", "Blue"), rgb.T.copy(), strict=True)}
    with E57(str(file), mode="w") as e57:
        e57.write_scan_raw(fields)


if __name__ == "__main__":
    main()
