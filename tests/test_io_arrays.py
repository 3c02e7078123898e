"""NPY, NPZ and scenes saved with torch."""

import io as streams
import re
import struct
import zipfile

import numpy as np
import pytest
import torch

from msm3d.errors import FileError
from msm3d.io import limits, read
from msm3d.io.reading import opened
from msm3d.scan.options import ReadOptions
from tests.files import HUGE, LABEL, NAMES, NORMAL, RGB, XYZ, columns, refused, same


def test_npz_and_npy(tmp_path):
    np.savez(tmp_path / "a.npz", coord=XYZ, color=RGB, normal=NORMAL, segment=LABEL, other=np.zeros(3))
    same(read(tmp_path / "a.npz"))
    np.savez_compressed(tmp_path / "b.npz", xyz=np.asfortranarray(XYZ), colors=RGB)
    same(read(tmp_path / "b.npz"), normal=None, segment=None)
    np.save(tmp_path / "c.npy", np.hstack([XYZ, RGB, NORMAL]))
    same(read(tmp_path / "c.npy"), segment=None)
    np.save(tmp_path / "d.npy", columns(NAMES))
    same(read(tmp_path / "d.npy"))


def npy(header):
    text = repr(header).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def test_arrays_with_hostile_sizes(tmp_path):
    data = npy({"descr": "<f8", "fortran_order": False, "shape": (HUGE, 3)}) + bytes(48)
    message = (
        f"declares an array of shape ({HUGE}, 3), {HUGE * 24} bytes, but holds 48; it is truncated, save it again."
    )
    (tmp_path / "a.npy").write_bytes(data)
    with refused(tmp_path / "a.npy", message):
        read(tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("coord.npy", data)
    with refused(tmp_path / "b.npz", message):
        read(tmp_path / "b.npz")
    raw = (tmp_path / "b.npz").read_bytes()
    at = raw.index(b"PK\x01\x02") + 24  # the size that the archive's directory declares
    (tmp_path / "b.npz").write_bytes(raw[:at] + struct.pack("<I", 2**31) + raw[at + 4 :])
    with refused(tmp_path / "b.npz", f"declares {2**31} bytes for 'coord', more than it can hold; export it again."):
        read(tmp_path / "b.npz")


class Trap:
    """What a pickle could do on being read."""

    def __reduce__(self):
        return exec, ("raise SystemExit('unpickled')",)


def test_nothing_is_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([Trap()], dtype=object))
    np.savez(tmp_path / "b.npz", coord=np.array([Trap()], dtype=object))
    for name in ("a.npy", "b.npz"):
        with refused(tmp_path / name, "holds Python objects, which are never unpickled; save plain arrays of numbers."):
            read(tmp_path / name)
    torch.save({"coord": XYZ, "trap": Trap()}, tmp_path / "c.pth")
    with pytest.raises(
        FileError, match=r"c\.pth: is not a dictionary of plain arrays .*; save its arrays with np\.savez\("
    ):
        read(tmp_path / "c.pth")


def test_npz_without_points(tmp_path):
    np.savez(tmp_path / "a.npz", feat=XYZ)
    with refused(tmp_path / "a.npz", "holds 'feat'; an array named 'coord' or 'coords' or 'xyz' is needed."):
        read(tmp_path / "a.npz")


@pytest.mark.parametrize("zipped", [True, False])
def test_the_authors_scenes(tmp_path, zipped):
    scene = {"coord": XYZ, "color": RGB, "normal": NORMAL, "segment20": LABEL.astype(np.int64), "name": "scene0000_00"}
    torch.save(scene, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    same(read(tmp_path / "a.pth"))
    torch.save({"coord": torch.from_numpy(XYZ), "color": torch.from_numpy(RGB)}, tmp_path / "b.pt")
    same(read(tmp_path / "b.pt"), normal=None, segment=None)
    raw = streams.BytesIO()
    torch.save(scene, raw, _use_new_zipfile_serialization=False)
    older = raw.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")  # as numpy 1 wrote it
    (tmp_path / "c.pth").write_bytes(older)
    same(read(tmp_path / "c.pth"))


def test_torch_files_that_are_no_scene(tmp_path):
    torch.save([1, 2], tmp_path / "a.pth")
    with refused(tmp_path / "a.pth", "holds a list; a dictionary with 'coord', 'color' and 'normal' is needed."):
        read(tmp_path / "a.pth")
    torch.save({"state_dict": torch.zeros(3)}, tmp_path / "b.pth")
    message = "the points have 'state_dict'; give 'coord' (n, 3), and 'color' and 'normal' where you have them."
    with refused(tmp_path / "b.pth", message):
        read(tmp_path / "b.pth")


@pytest.mark.parametrize("kind", ["npz", "npy", "pth"])
def test_more_than_the_free_memory_is_refused_before_it_is_taken(tmp_path, monkeypatch, kind):
    file = tmp_path / f"scan.{kind}"
    if kind == "npz":
        np.savez_compressed(file, coord=np.zeros((100_000, 3)))  # 2.4 MB out of some kB
    elif kind == "npy":
        np.save(file, np.zeros((100_000, 3)))
    else:
        torch.save({"coord": torch.zeros(100_000, 3)}, file)
    monkeypatch.setattr(limits, "available", lambda: 2_000_000)
    with pytest.raises(
        FileError, match=r" of 0\.00\d+ GB, more than half of the 0\.002 GB that are free; split it, or"
    ):
        read(file)


def test_a_tensor_that_repeats_one_number_is_refused(tmp_path):
    torch.save({"coord": torch.zeros(1, 1).expand(10**12, 3)}, tmp_path / "a.pth")
    message = "has 'coord', an array of shape (1000000000000, 3), of 1.2e+04 GB, more than half of"
    with pytest.raises(FileError, match=re.escape(message)):
        read(tmp_path / "a.pth")


def test_splats_of_gsplat_are_named(tmp_path):
    np.savez(tmp_path / "a.npz", means3d=XYZ)
    message = "holds 'means3d', the places of Gaussian splats; export them as PLY, or save them as 'coord'."
    with refused(tmp_path / "a.npz", message):
        read(tmp_path / "a.npz")


def test_records_with_packed_colours(tmp_path):
    cloud = np.zeros(2, dtype={"names": ["x", "y", "z", "rgb"], "formats": ["<f4"] * 4, "offsets": [0, 4, 8, 16]})
    cloud["rgb"] = np.array([0x966946, 0xFF0A0B0C], dtype=np.uint32).view(np.float32)  # the second is a NaN
    np.save(tmp_path / "a.npy", cloud)
    assert opened(tmp_path / "a.npy", ReadOptions())["color"].tolist() == [[150, 105, 70], [10, 11, 12]]


def test_what_a_header_says_is_quoted_in_part(tmp_path):
    (tmp_path / "a.npy").write_bytes(npy({"descr": "<f8", "fortran_order": False, "shape": "x" * 4000}) + bytes(48))
    with pytest.raises(FileError) as caught:
        read(tmp_path / "a.npy")
    assert len(str(caught.value)) < 300
