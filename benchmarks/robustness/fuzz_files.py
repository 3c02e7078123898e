"""Damaged files of every kind that msm3d reads, scans and features, each read as `msm3d.read` would be called.

python benchmarks/robustness/fuzz_files.py --inputs 20000
"""

import io
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import guard
import laspy
import mutate
import numpy as np
import pye57
import stores
import torch
import trimesh
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

import msm3d
from msm3d.io import WRITERS, read, results

N = 60
OPTIONS = {
    "up": (None, None, "z", "y", "-y"),
    "units": (None, None, "m", "mm", "ft"),
    "invalid": ("drop", "nan"),
    "mesh": (None, "vertices", "surface"),
    "min_opacity": (None, None, 0.0, 0.5),
    "bounds": (None, None, None, ((0, 0, 0), (2, 2, 2))),
}
OCTREES = {"resolution": (None, 0.1, 0.3), "min_opacity": (None,)}  # of kinds that know these


def scan(rng: np.random.Generator) -> dict[str, np.ndarray]:
    xyz = rng.uniform(0, 3, (N, 3)).astype(np.float32)
    normal = rng.normal(size=(N, 3)).astype(np.float32)
    return {
        "coord": xyz,
        "color": rng.integers(0, 256, (N, 3)).astype(np.uint8),
        "normal": normal / np.linalg.norm(normal, axis=1, keepdims=True),
        "segment": rng.integers(0, 20, N),
    }


def _ply(points: dict[str, np.ndarray], form: str, splats: bool = False) -> bytes:
    names = ["x", "y", "z", "nx", "ny", "nz"] + ([] if splats else ["red", "green", "blue", "label"])
    more = [f"f_dc_{i}" for i in range(3)] + ["opacity"] if splats else []
    columns = [points["coord"], points["normal"]]
    columns += (
        [points["color"] / 100, points["color"][:, :1]] if splats else [points["color"], points["segment"][:, None]]
    )
    table = np.column_stack(columns)
    kinds = {"red": ("uchar", "u1"), "green": ("uchar", "u1"), "blue": ("uchar", "u1"), "label": ("int", "i4")}
    header = f"ply\nformat {form} 1.0\ncomment made here\nelement vertex {N}\n"
    header += "".join(f"property {kinds.get(name, ('float', ''))[0]} {name}\n" for name in names + more)
    header += "element face 2\nproperty list uchar int vertex_indices\nend_header\n"
    if form == "ascii":
        body = "".join(" ".join(f"{v:g}" for v in row) + "\n" for row in table) + "3 0 1 2\n3 1 2 3\n"
        return (header + body).encode()
    order = "<" if "little" in form else ">"
    dtype = [(name, order + kinds.get(name, ("", "f4"))[1]) for name in names + more]
    rows = np.zeros(N, dtype)
    for i, (name, _) in enumerate(dtype):
        rows[name] = table[:, i]
    faces = b"".join(struct.pack(order + "Biii", 3, *face) for face in ((0, 1, 2), (1, 2, 3)))
    return header.encode() + rows.tobytes() + faces


def _pcd(points: dict[str, np.ndarray], encoding: str) -> bytes:
    packed = (points["color"].astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)).astype(np.uint32)
    fields = [*points["coord"].T, packed.view(np.float32), *points["normal"].T, points["segment"].astype(np.uint32)]
    header = (
        "# .PCD v0.7\nVERSION 0.7\nFIELDS x y z rgb normal_x normal_y normal_z label\nSIZE 4 4 4 4 4 4 4 4\n"
        f"TYPE F F F F F F F U\nCOUNT 1 1 1 1 1 1 1 1\nWIDTH {N}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {N}\n"
        f"DATA {encoding}\n"
    ).encode()
    if encoding == "ascii":
        return header + "".join(" ".join(f"{v:g}" for v in row) + "\n" for row in zip(*fields, strict=True)).encode()
    rows = np.zeros(N, [(f"f{i}", field.dtype) for i, field in enumerate(fields)])
    for i, field in enumerate(fields):
        rows[f"f{i}"] = field
    if encoding == "binary":
        return header + rows.tobytes()
    data = b"".join(np.ascontiguousarray(field).tobytes() for field in fields)
    body = b"".join(bytes([len(data[i : i + 32]) - 1]) + data[i : i + 32] for i in range(0, len(data), 32))
    return header + struct.pack("<II", len(body), len(data)) + body


def _las(points: dict[str, np.ndarray], compress: bool, form: int) -> bytes:
    header = laspy.LasHeader(point_format=form, version="1.4" if form >= 6 else "1.2")
    header.scales = [0.001] * 3
    made = laspy.LasData(header)
    made.x, made.y, made.z = points["coord"].T.astype(np.float64)
    made.red, made.green, made.blue = (points["color"].astype(np.uint16) * 257).T
    made.classification = points["segment"].astype(np.uint8)
    stream = io.BytesIO()
    made.write(stream, do_compress=compress)
    return stream.getvalue()


def _e57(points: dict[str, np.ndarray]) -> bytes:
    fields = dict(zip(["cartesianX", "cartesianY", "cartesianZ"], points["coord"].astype(float).T, strict=True))
    fields |= dict(zip(["colorRed", "colorGreen", "colorBlue"], points["color"].T, strict=True))
    with TemporaryDirectory() as folder:
        path = Path(folder, "scan.e57")
        with pye57.E57(str(path), mode="w") as file:
            for place in np.eye(3)[:2]:
                file.write_scan_raw(fields, translation=place)
        return path.read_bytes()


def _meshes(points: dict[str, np.ndarray]) -> dict[str, bytes]:
    faces = np.array([(i, i + 1, i + 2) for i in range(N - 2)])
    painted = trimesh.Trimesh(points["coord"], faces, vertex_colors=points["color"], process=False)
    box = trimesh.creation.box((4, 3, 2))
    box.visual = TextureVisuals(np.zeros((8, 2)), PBRMaterial(baseColorFactor=[200, 100, 50, 255]))
    parts = {"painted": painted, "plain": box}
    files = {f"{name}.glb": trimesh.Scene([mesh]).export(file_type="glb") for name, mesh in parts.items()}
    files["cloud.glb"] = trimesh.Scene([trimesh.PointCloud(points["coord"], points["color"])]).export(file_type="glb")
    files["painted.stl"] = painted.export(file_type="stl")
    files["text.stl"] = painted.export(file_type="stl_ascii").encode()
    files["painted.obj"] = painted.export(file_type="obj").encode()
    lines = "".join(f"v {x:g} {y:g} {z:g}\n" for x, y, z in points["coord"])
    lines += "".join(f"usemtl m{i % 5}\nf {a + 1} {b + 1} {c + 1}\n" for i, (a, b, c) in enumerate(faces))
    files["materials.obj"] = lines.encode()
    together = trimesh.Scene([painted]).export(file_type="gltf", merge_buffers=True, embed_buffers=True)
    files["painted.gltf"] = next(data for name, data in together.items() if name.endswith(".gltf"))
    return files


def _saved(write: Callable[[io.BytesIO], Any]) -> bytes:
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


def valid(rng: np.random.Generator) -> dict[str, bytes]:
    """Return valid files by name."""
    points = scan(rng)
    table = np.column_stack([points["coord"], points["color"]])
    lines = [" ".join(f"{v:g}" for v in row) for row in table]
    seven = [f"{line} {label}" for line, label in zip(lines, points["segment"], strict=True)]
    files = {f"{form}.ply": _ply(points, form) for form in ("ascii", "binary_little_endian", "binary_big_endian")}
    files["splats.ply"] = _ply(points, "binary_little_endian", splats=True)
    files |= {f"{encoding}.pcd": _pcd(points, encoding) for encoding in ("ascii", "binary", "binary_compressed")}
    files |= {f"{form}.las": _las(points, False, form) for form in (2, 7)}
    files |= {f"{form}.laz": _las(points, True, form) for form in (2, 7)}
    files["scan.npz"] = _saved(lambda f: np.savez(f, **points))
    files["packed.npz"] = _saved(lambda f: np.savez_compressed(f, **points))
    files["scan.npy"] = _saved(lambda f: np.save(f, np.column_stack([table, points["normal"]])))
    records = np.zeros(N, [(name, "f4") for name in "xyz"] + [("rgb", "u4")])
    files["records.npy"] = _saved(lambda f: np.save(f, records))
    files["scan.pth"] = _saved(lambda f: torch.save(points, f))
    files["tensors.pth"] = _saved(lambda f: torch.save({k: torch.from_numpy(v) for k, v in points.items()}, f))
    files["scan.txt"] = "\n".join(lines).encode()
    files["seven.xyz"] = "\n".join(seven).encode()
    files["named.csv"] = ("x,y,z,red,green,blue\n" + "\n".join(line.replace(" ", ",") for line in lines)).encode()
    files["decimal.csv"] = "\n".join(line.replace(" ", ";").replace(".", ",") for line in lines).encode()
    files["scan.pts"] = (f"{N}\n" + "\n".join(lines) + f"\n{N}\n" + "\n".join(lines)).encode()
    head = "6\n10\n1 2 1.5\n1 0 0\n0 1 0\n0 0 1\n1 0 0 0\n0 1 0 0\n0 0 1 0\n1 2 1.5 1\n"
    grid = "".join(f"{' '.join(words[:3])} 0.5 {' '.join(words[3:])}\n" for words in map(str.split, lines))
    files["scan.ptx"] = (head + grid + head + grid).encode()
    files["scan.e57"] = _e57(points)
    return files | _meshes(points)


def features(rng: np.random.Generator, folder: Path) -> dict[str, bytes]:
    """Return valid files of features by name, as `results.writing` makes them."""
    folder.mkdir(exist_ok=True)
    cloud = msm3d.PointCloud.of(scan(rng))
    files = {}
    for ending in (suffix for kind in WRITERS if not kind.folder for suffix in kind.suffixes):
        path = folder / f"features{ending}"
        with results.writing(path, cloud, 8) as rows:
            rows[:] = rng.normal(size=rows.shape)
        files[path.name] = path.read_bytes()
    return files


def read_features(path: Path) -> Any:
    """Read features and what is said of them, as `view --features` does."""
    results.metadata(path)
    return results.features(path)


def task_of(seed: int) -> guard.Task:
    rng = np.random.default_rng(seed)
    scans, made = valid(rng), features(rng, guard.HOME / "features")
    more, folders = stores.valid(scan(rng), guard.HOME / "stores")
    scans |= more
    torch.manual_seed(0)
    config = msm3d.BackboneConfig(
        channels=(8, 8),
        decoder_channels=(8, 8),
        conv_blocks=(1, 1),
        attention_blocks=(0, 1),
        heads=(0, 2),
        voxel_size=0.1,
    )
    model = msm3d.Model(config).eval().requires_grad_(False)
    names, every = [*scans, *made, *folders], list((scans | made).values())

    def task(number: int, folder: Path) -> tuple[str, Callable[[], Any]]:
        rng = np.random.default_rng([seed, number])
        name = names[number % len(names)]
        if name in folders:
            store = folders[name] if number < len(names) else stores.damaged(rng, folders[name])
            return name, reading(stores.write(store, folder / name), rng, name == "ept")
        data = (scans | made)[name]
        ending = "".join(Path(name).suffixes[-2:] if name.count(".") > 1 else [Path(name).suffix])
        deep = {".npz": mutate.rezipped, ".pth": mutate.rezipped, ".glb": mutate.reglb}
        deep[".safetensors"] = mutate.reheaded
        if ending in deep and rng.random() < 0.6:
            data = deep[ending](rng, data)
        elif ending == ".gltf" and rng.random() < 0.6:
            data = mutate.text(rng, mutate.changed(rng, mutate.json.loads(data)))
        elif number >= len(names):  # the first of each kind stay as they are
            data = mutate.scrambled(rng, data, every)
        if rng.random() < 0.02:
            ending = Path(mutate.pick(rng, names)).suffix
        path = folder / f"scan{ending}"
        path.write_bytes(data)
        if name in made:
            return f"features {ending}", lambda: read_features(path)
        return ending, reading(path, rng, ending == ".copc.laz")

    def reading(path: Path, rng: np.random.Generator, octree: bool) -> Callable[[], None]:
        asked = OPTIONS | OCTREES if octree else OPTIONS
        options = {key: mutate.pick(rng, values) for key, values in asked.items()}
        further = rng.random() < 0.3

        def call() -> None:
            cloud = read(path, **options)
            if further and len(cloud) <= 2000:
                rows = model.extract(cloud, max_memory="300MB")
                assert len(rows) in (len(cloud), getattr(cloud, "total", None)), "another number of rows than of points"
                assert np.isfinite(rows).all(1).sum() >= len(cloud), "features that are not finite"

        return call

    return task


if __name__ == "__main__":
    sys.exit(guard.main(task_of, __doc__, inputs=20_000))
