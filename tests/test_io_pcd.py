"""PCD in its three encodings."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msm3d.errors import Msm3dWarning
from msm3d.io import read
from msm3d.io.pcd import _unpacked
from msm3d.io.reading import opened
from msm3d.scan.options import ReadOptions
from tests.files import HUGE, literal, pcd, refused, same


@pytest.mark.parametrize("encoding", ["ascii", "binary", "binary_compressed"])
@pytest.mark.parametrize("packed", ["F", "U"])
def test_pcd(tmp_path, encoding, packed):
    same(read(pcd(tmp_path / "scan.pcd", encoding, packed)))


def test_pcd_without_a_position_for_every_point(tmp_path):
    file = tmp_path / "scan.pcd"
    file.write_text(
        "VERSION .7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nWIDTH 2\nHEIGHT 2\n"
        "DATA ascii\nnan nan nan\n1 2 3\n4 5 nan\n7 8 9\n"
    )
    message = "2 of 4 points have no position (NaN) and are dropped, which leaves 2 in their order. "
    message += "To keep a row for every point, pass invalid='nan'."
    with pytest.warns(Msm3dWarning, match="^" + re.escape(message) + "$"):
        cloud = read(file)
    assert cloud.coord.tolist() == [[1, 2, 3], [7, 8, 9]]
    assert cloud.rows.tolist() == [1, 3]
    file.write_text(file.read_text().replace("1 2 3", "1 2 nan").replace("7 8 9", "inf 8 9"))
    with refused(file, "none of the 4 points has a position (all are NaN); check how they were made."):
        read(file)


@pytest.mark.parametrize("encoding", ["ascii", "binary"])
def test_pcd_with_a_hostile_count(tmp_path, encoding):
    file = pcd(tmp_path / "scan.pcd", encoding, count=HUGE)
    size = {"ascii": "", "binary": " of 30 bytes"}[encoding]
    there = len(file.read_bytes().split(f"DATA {encoding}\n".encode())[1])
    truncated = f"declares {HUGE} points{size} but holds {there} bytes of them; it is truncated, export it again."
    with refused(file, truncated):
        read(file)


def test_pcd_with_hostile_compression(tmp_path):
    file = pcd(tmp_path / "scan.pcd", "binary_compressed", count=HUGE)
    with refused(file, f"declares {HUGE} points of 30 bytes but 1200 uncompressed bytes; export it again."):
        read(file)
    pcd(file, "binary_compressed")
    file.write_bytes(file.read_bytes()[:-300])
    with refused(file, "declares 1238 compressed bytes but holds 938; it is truncated, export it again."):
        read(file)
    for broken in (b"\xff\xff\xff" * 300, b"\x1f\x00" * 99):  # a reference to before the start; runs cut short
        pcd(file, "binary_compressed", compress=lambda _, broken=broken: broken)
        with refused(file, "has compressed data that does not unpack to its declared size; export it again."):
            read(file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("DATA ascii", "DATA zipped"), "has DATA zipped; one of ascii, binary, binary_compressed is needed."),
        (("DATA ascii", "# ascii"), "has no DATA line, so it is truncated or not a PCD file; export it again."),
        (("FIELDS", "#"), "has no FIELDS line, so it is not a PCD file; export it again."),
        (
            ("FIELDS x y", "FIELDS x w"),
            "has the columns x, w, z, rgb, normal_x, normal_y, normal_z, label, _8; x, y and z are needed.",
        ),
        (
            ("POINTS 40", "POINTS -1"),
            "has FIELDS, SIZE, TYPE, COUNT or POINTS that do not fit together; export it again.",
        ),
        (("SIZE 4", "SIZE 4 4"), "has FIELDS, SIZE, TYPE, COUNT or POINTS that do not fit together; export it again."),
        (
            ("SIZE 4", "SIZE 3"),
            "has the field x of type F and size 3; one of F4, F8, I1, I2, I4, I8, U1, U2, U4, U8 is needed.",
        ),
        (("POINTS 40", "POINTS 0"), "declares 0 points; there is nothing to read."),
    ],
)
def test_pcd_that_is_refused(tmp_path, change, message):
    file = pcd(tmp_path / "scan.pcd", "ascii")
    file.write_text(file.read_text().replace(*change, 1))
    with refused(file, message):
        read(file)


@settings(max_examples=100, deadline=None)
@given(
    data=st.binary(min_size=1, max_size=200),
    runs=st.lists(st.tuples(st.integers(1, 300), st.integers(1, 264)), max_size=9),
)
def test_lzf_references(data, runs):
    plain, packed = bytearray(data), bytearray(literal(data))
    for distance, length in runs:  # an encoder of references, byte by byte
        distance, length = min(distance, len(plain)), max(length, 3)
        high = (distance - 1) >> 8
        packed += bytes([(length - 2) << 5 | high] if length < 9 else [7 << 5 | high, length - 9])
        packed += bytes([(distance - 1) & 255])
        for _ in range(length):
            plain.append(plain[-distance])
    assert _unpacked(bytes(packed), len(plain)) == plain


def packed(file, kind, size, values, encoding="ascii"):
    """Write points with this column of packed colours."""
    head = f"VERSION .7\nFIELDS x y z rgb\nSIZE 4 4 4 {size}\nTYPE F F F {kind}\nWIDTH {len(values)}\nHEIGHT 1\n"
    if encoding == "ascii":
        body = "".join(f"{i} 0 0 {value}\n" for i, value in enumerate(values)).encode()
    else:
        body = b"".join(np.array([i, 0, 0], "<f4").tobytes() + value.tobytes() for i, value in enumerate(values))
    file.write_bytes(head.encode() + f"DATA {encoding}\n".encode() + body)
    return opened(file, ReadOptions())["color"]


def test_packed_colours_as_text(tmp_path):
    file, bits = tmp_path / "scan.pcd", 0x966946  # 150, 105, 70
    right, blue = [150, 105, 70], [0, 0, 255]
    assert packed(file, "F", 4, [bits, 255]).tolist() == [right, blue]  # whole numbers under F
    assert packed(file, "F", 4, [4.2108e06, 0]).tolist() == [[64, 64, 112], [0, 0, 0]]  # the format's own example
    assert packed(file, "F", 4, [np.uint32(bits).view(np.float32), 0]).tolist() == [right, [0, 0, 0]]
    assert packed(file, "U", 4, [0xFF000000 | bits, 255]).tolist() == [right, blue]
    assert packed(file, "U", 4, [255, 254]).tolist() == [blue, [0, 0, 254]]
    assert packed(file, "I", 4, [bits - (1 << 24), 255]).tolist() == [right, blue]
    assert packed(file, "F", 8, [bits, 255]).tolist() == [right, blue]


@pytest.mark.parametrize("others", [[9857350], ["9.05e-39"]])
def test_packed_colours_that_became_nan_are_unknown(tmp_path, others):
    color = packed(tmp_path / "scan.pcd", "F", 4, ["nan", *others])
    assert np.isnan(color[0]).all()  # and no red
    assert np.isfinite(color[1]).all()


def test_packed_colours_in_binary_keep_their_bits(tmp_path):
    file = tmp_path / "scan.pcd"
    bits = np.array([0xFFC00000, 0xFF966946], dtype=np.uint32)  # as floats, both NaN
    right = [[192, 0, 0], [150, 105, 70]]
    for kind, values in (("F", bits.view(np.float32)), ("U", bits), ("I", bits.view(np.int32))):
        assert packed(file, kind, 4, values, "binary").tolist() == right


def test_sixteen_bit_colours_in_wide_columns_are_given_as_they_are(tmp_path):
    file = tmp_path / "scan.pcd"
    file.write_text(
        "VERSION .7\nFIELDS x y z Red Green Blue\nSIZE 8 8 8 8 8 8\nTYPE F F F F F F\nWIDTH 1\nHEIGHT 1\nDATA ascii\n"
        "1 2 3 20046 59367 257\n"
    )
    assert opened(file, ReadOptions())["color"].tolist() == [[20046, 59367, 257]]


def test_the_viewpoint_is_where_the_sensor_stood_if_that_was_known(tmp_path):
    file = pcd(tmp_path / "scan.pcd", "binary")
    whole = file.read_bytes()
    assert read(file).viewpoint is None  # the origin without a turn: nobody knew
    for line, place in (
        (b"1.5 -2 0.25 1 0 0 0", [[1.5, -2, 0.25]]),
        (b"0 0 0 0 1 0 0", [[0, 0, 0]]),  # as a camera's driver writes it
        (b"1 2 nan 1 0 0 0", None),
        (b"1 2 3", None),
        (b"here", None),
    ):
        file.write_bytes(whole.replace(b"0 0 0 1 0 0 0", line))
        found = read(file).viewpoint
        assert found is None if place is None else found.tolist() == place
    file.write_bytes(whole.replace(b"0 0 0 1 0 0 0", b"100 200 300 1 0 0 0"))
    cloud = read(file, units="cm", up="y")
    assert cloud.viewpoint.tolist() == [[1, -3, 2]]
    assert cloud.station is None
