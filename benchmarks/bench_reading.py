"""Seconds and memory of reading a scan, beside the libraries that are usual for its format.

python benchmarks/bench_reading.py --points 1000000 10000000 --json benchmarks/results/reading.json

All end with the same content: coordinates as float64 and colours of 0 to 255 as float32, both (n, 3) arrays of their
own. "Types of the file" stops before that, with what the file stores; ours has checked the points as well. Readers
take turns, each in a process of its own. Seconds are of the processor, with those of children, and of the clock:
"first" with the start of Python, imports and one reading, the others of the readings after that. Memory is the most
that was added to what is there after the imports, with all that children have; it comes from a process that is not
timed. It is VmHWM and not ru_maxrss, in which a process that was started finds what its parent had. Libraries that are
missing are left out.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from machine import json_option, keep

OURS = ("from msm3d.io import read", "found = read(path); xyz, rgb = found.coord, found.color")
LASPY_TOO = (f"{OURS[0]}; import laspy", OURS[1])  # which reading LAS imports, as well
SAME = "; xyz, rgb = xyz.astype(np.float64), rgb.astype(np.float32)"
PLYFILE = (
    "v = PlyData.read(path)['vertex']; xyz = np.stack([v[a] for a in 'xyz'], 1); rgb = np.stack([v[a] for a in C], 1)"
)
LASPY = (
    "v = laspy.read(path); xyz = v.xyz; rgb = np.stack([v[a] for a in C], 1).astype(np.float32); "
    "rgb *= np.float32(255 / 65535)"
)
OPEN3D = "v = o3d.t.io.read_point_cloud(path); xyz = v.point['positions'].numpy(); rgb = v.point['colors'].numpy()"
PYPCD4 = "v = PointCloud.from_path(path); xyz = v.numpy(tuple('xyz')); rgb = v.decode_rgb(v.pc_data['rgb'])"
PYE57 = (
    "v = E57(path).read_scan(0, colors=True, ignore_missing_fields=True); "
    "xyz = np.stack([v[f'cartesian{a}'] for a in 'XYZ'], 1); "
    "rgb = np.stack([v[f'color{a}'] for a in ('Red', 'Green', 'Blue')], 1).astype(np.float32)"
)
READERS = {  # of each format the usual library first
    "ply": {
        "plyfile": ("from plyfile import PlyData", PLYFILE + SAME),
        "plyfile, types of the file": ("from plyfile import PlyData", PLYFILE),
        "Open3D": ("import open3d as o3d", OPEN3D + SAME),
    },
    "las": {"laspy": ("import laspy", LASPY)},
    "laz": {"laspy": ("import laspy", LASPY)},
    "pcd": {
        "Open3D": ("import open3d as o3d", OPEN3D + SAME),
        "pypcd4": ("from pypcd4 import PointCloud", PYPCD4 + SAME),
    },
    "e57": {"pye57": ("from pye57 import E57", PYE57)},
}
PROGRAM = """
import sys, time, json, resource, threading, warnings
from pathlib import Path
import numpy as np
warnings.simplefilter("ignore")
path, C, start, readings = sys.argv[1], ("red", "green", "blue"), float(sys.argv[2]), int(sys.argv[3])
{start}

def spent():
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in usages)

def peak(process):
    words = dict(line.split(":", 1) for line in Path(f"/proc/{{process}}/status").read_text().splitlines())
    return int(words["VmHWM"].split()[0]) * 1024

def look():
    while not over:
        for task in Path("/proc/self/task").iterdir():
            try:
                for child in (task / "children").read_text().split():
                    children[child] = peak(child)
            except (OSError, KeyError):  # it has ended
                pass
        time.sleep(0.002)

told, over, children = dict(), False, dict()
if not readings:
    looking = threading.Thread(target=look)
    looking.start()
    Path("/proc/self/clear_refs").write_text("5")
    held = peak("self")
for i in range(max(readings, 1)):
    used, begun = spent(), time.perf_counter()
    {work}
    if not readings:
        over = True
        looking.join()
        told["gb"] = (peak("self") - held + max(children.values(), default=0)) / 1e9
    elif not i:
        told |= dict(first=spent(), first_wall=time.time() - start, seconds=[], wall=[])
    else:
        told["seconds"].append(spent() - used)
        told["wall"].append(time.perf_counter() - begun)
assert xyz.shape == rgb.shape == (len(xyz), 3)
print(json.dumps(dict(points=len(xyz), **told)))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--repeats", type=int, default=7, help="processes of each reader, whose medians count")
    parser.add_argument("--readings", type=int, default=3, help="in each process, after the first one")
    parser.add_argument("--formats", nargs="+", choices=READERS, default=list(READERS))
    json_option(parser)
    given = parser.parse_args()
    figures = []
    for n in given.points:
        for form in given.formats:
            with TemporaryDirectory() as folder:
                file = Path(folder, f"scan.{form}")
                write(file, n)
                figures += compared(file, form, n, given)
    keep(given.json, figures)


def compared(file: Path, form: str, n: int, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row for each reader that is there, ours first, and what we take as a share of each of them."""
    programs = {"msm3d": LASPY_TOO if form in ("las", "laz") else OURS, **READERS[form]}
    memory = {name: measured(file, program, 0) for name, program in programs.items()}
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name, found in memory.items() if found is not None}
    for _ in range(given.repeats):
        for name, done in runs.items():
            done.append(measured(file, programs[name], 1 + given.readings) or {})
    rows = []
    for name, done in runs.items():
        row: dict[str, Any] = {"format": form, "reader": name, "points": n, "megabytes": file.stat().st_size / 1e6}
        row |= {key: median(value for run in done for value in run[key]) for key in ("seconds", "wall")}
        row |= {key: median(run[key] for run in done) for key in ("first", "first_wall")}
        row["gb"] = (memory[name] or {})["gb"]
        if rows:
            row["ours"] = {key: round(rows[0][key] / row[key], 2) for key in ("seconds", "wall", "first", "gb")}
        rows.append(row)
        print(
            f"{form} {n:,} {name}: {row['seconds']:.3f} s, wall {row['wall']:.3f} s, first {row['first']:.2f} s,",
            end=" ",
        )
        print(f"{row['gb']:.3f} GB, ours {row.get('ours')}", flush=True)
    return rows


def measured(file: Path, program: tuple[str, str], readings: int) -> dict[str, Any] | None:
    """Return what some readings took, or for 0 the memory of one; None where the library is not installed."""
    text = PROGRAM.format(start=program[0], work=program[1])
    command = [sys.executable, "-c", text, str(file), str(time.time()), str(readings)]
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1], env=kept)
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
