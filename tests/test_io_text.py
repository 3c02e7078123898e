"""One point a line."""

import re

import numpy as np
import pytest

from msm3d.errors import FileError, Msm3dWarning
from msm3d.io import read
from msm3d.io.reading import opened
from msm3d.scan.options import ReadOptions
from tests.files import HUGE, refused


@pytest.mark.parametrize(
    ("name", "text", "color", "normal"),
    [
        ("a.xyz", "0 0 0\n1 2 3\n", None, None),
        ("a.xyz", "\ufeff0 0 0 255 0 0\r\n1 2 3 0 9 0\r\n\r\n", [[255, 0, 0], [0, 9, 0]], None),
        ("a.txt", "# a scan\n0\t0\t0\t255\t0\t0\n  1\t2\t3\t0\t9\t0", [[255, 0, 0], [0, 9, 0]], None),
        ("a.txt", "// X Y Z R G B\n0 0 0 255 0 0\n1 2 3 0 9 0\n", [[255, 0, 0], [0, 9, 0]], None),
        ("a.csv", '"x","y","z","nx","ny","nz"\n0,0,0,0,0,2\n1,2,3,1,0,0\n', None, [[0, 0, 1], [1, 0, 0]]),
        ("a.csv", "b,x,y,z,r,g\n0, 0, 0, 0, 255, 0\n0, 1, 2, 3, 0, 9\n", [[255, 0, 0], [0, 9, 0]], None),
        ("a.csv", "0;0;0\n1;2;3\n", None, None),
        ("a.pts", "2\n0 0 0 -900\n1 2 3 20\n", None, None),
        ("a.pts", "2\n0 0 0 -900 255 0 0\n1 2 3 20 0 9 0\n", [[255, 0, 0], [0, 9, 0]], None),
        ("a.xyz", "0 0 0 0 0 -1\n1 2 3 1 0 0\n", None, [[0, 0, -1], [1, 0, 0]]),
        ("a.xyz", "0 0 0 255 0 0 0 0 1\n1 2 3 0 9 0 1 0 0\n", [[255, 0, 0], [0, 9, 0]], [[0, 0, 1], [1, 0, 0]]),
    ],
)
def test_text(tmp_path, name, text, color, normal):
    file = tmp_path / name
    file.write_bytes(text.encode())
    cloud = read(file)
    assert cloud.coord.tolist() == [[0, 0, 0], [1, 2, 3]]
    assert (cloud.color if cloud.color is None else cloud.color.tolist()) == color
    assert (cloud.normal if cloud.normal is None else cloud.normal.tolist()) == normal


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.xyz", "a b c\n", "has the line 'a b c'; give numbers, after at most one line of column names."),
        (
            "a.xyz",
            "# nothing\n\n",
            "holds no line of numbers; give one point per line: x y z, or x y z red green blue.",
        ),
        (
            "a.xyz",
            "0 0\n1 1\n",
            "has 2 columns; give 3 (xyz), 4 (xyz, intensity), 6 (xyz, rgb), 7 (xyz, intensity, rgb), "
            "9 (xyz, rgb, normal), or a first line with their names.",
        ),
        ("a.csv", "x,y,z,r\n0,0,0\n", "names 4 columns but its lines have 3; give one name per column."),
        (
            "a.pts",
            f"{HUGE}\n0 0 0\n",
            f"declares {HUGE} points but holds 6 bytes of them; it is truncated, export it again.",
        ),
        (
            "a.xyz",
            "0 0 0\n1 2 x\n",
            "has a line that is not 3 numbers (could not convert string 'x' to float64 at row 1, column 3); "
            "correct or remove it.",
        ),
        (
            "a.xyz",
            "0 0 0 70000 0 0\n0 0 0 9 9 9",
            "color has 1 row outside 0 to 65535 (first: row 0, 70000, 0, 0); "
            "give 0-255, or floats within 0-1, for example 255 * color / color.max().",
        ),
    ],
)
def test_text_that_is_refused(tmp_path, name, text, message):
    file = tmp_path / name
    file.write_text(text)
    with refused(file, message):
        read(file)


def lines(rows):
    return "".join(" ".join(f"{value:g}" for value in row) + "\n" for row in rows)


def seven(file, columns):
    """Return what colours and labels are read from seven columns, the first three being places."""
    file.write_text(lines(np.column_stack([np.arange(9)] * 3 + [*columns])))
    cloud = read(file)
    return cloud.color.tolist(), None if cloud.segment is None else cloud.segment.tolist()


def test_seven_columns_both_ways(tmp_path):
    rng = np.random.default_rng(0)
    color = rng.integers(60, 230, (3, 9))
    label, small, large = rng.integers(0, 20, 9), rng.integers(0, 256, 9), rng.integers(-900, 2048, 9)
    file = tmp_path / "scan.txt"
    first = "x y z red green blue label"
    second = "x y z intensity red green blue"

    def said(one, other):
        text = f"{file}: its 7 columns have no names and are taken as {one}; "
        text += f"if they are {other}, write that as its first line."
        return pytest.warns(Msm3dWarning, match="^" + re.escape(text) + "$")

    with said(first, second):
        assert seven(file, [*color, label]) == (color.T.tolist(), label.tolist())
    with said(second, first):
        assert seven(file, [small, *color]) == (color.T.tolist(), None)
    assert seven(file, [large, *color]) == (color.T.tolist(), None)  # no byte: nothing to guess
    assert seven(file, [small / 300, *color]) == (color.T.tolist(), None)
    assert seven(file, [*color, label + 0.5]) == (color.T.tolist(), None)
    assert seven(tmp_path / "scan.pts", [*color, label])[0] == [
        *map(list, zip(*color[1:].tolist(), label.tolist(), strict=True))
    ]


BLOCK = "".join(f"{i} 0 0 0 9 8 7\n" for i in range(30))


def test_pts_with_several_scans(tmp_path):
    file = tmp_path / "scan.pts"
    file.write_text("30\n" + BLOCK + "\n30\n" + BLOCK + "30\n" + BLOCK)
    cloud = read(file)
    assert cloud.coord[:, 0].tolist() == [*range(30)] * 3
    assert cloud.color.tolist() == [[9, 8, 7]] * 90


def test_pts_with_counts_that_are_wrong(tmp_path):
    file = tmp_path / "scan.pts"
    file.write_text("20\n" + BLOCK)
    with pytest.warns(Msm3dWarning, match=re.escape(f"{file}: declares 20 points but holds 30; all were read.")):
        assert len(read(file)) == 30
    file.write_text("30\n" + BLOCK + "31\n" + BLOCK)
    with refused(file, "declares 31 points but holds 30; it is truncated, export it again."):
        read(file)
    file.write_text("0\n" + BLOCK)
    with refused(file, "declares 0 points; there is nothing to read."):
        read(file)


@pytest.mark.parametrize(
    "text",
    [
        "0,5;1,25;-0,75\n1;2;3e0\n",
        "0,5\t1,25\t-0,75\n1\t2\t3\n",
        "0,5 1,25 -0,75\n1 2 3\n",
        "x;y;z\n0,5;1,25;-0,75\n1;2;3\n",
        "X Y Z\n1 2 3\n0,5 1,25 -0,75\n",
    ],
)
def test_decimal_commas(tmp_path, text):
    (tmp_path / "scan.csv").write_text(text)
    assert sorted(read(tmp_path / "scan.csv").coord.tolist()) == [[0.5, 1.25, -0.75], [1, 2, 3]]


@pytest.mark.parametrize(
    ("text", "color"),
    [
        ("//X,Y,Z,R,G,B,C2C absolute distances\n1,2,3,9,8,7,0.5\n4,5,6,1,2,99,0.25\n", [[9, 8, 7], [1, 2, 99]]),
        ("//X\tY\tZ\tmy field\tR\tG\tB\n1\t2\t3\t0.5\t9\t8\t7\n4\t5\t6\t0.25\t1\t2\t99\n", [[9, 8, 7], [1, 2, 99]]),
        ('"X";"Y";"Z";"Dip (degrees)"\n1;2;3;4\n4;5;6;7\n', None),
        ("//X Y Z R G B\n1,2,3,9,8,7\n4,5,6,1,2,99\n", [[9, 8, 7], [1, 2, 99]]),
        ("x y z rgb\n1 2 3 9857350\n4 5 6 255\n", [[150, 105, 70], [0, 0, 255]]),
    ],
)
def test_names_are_set_apart_as_the_numbers_are(tmp_path, text, color):
    (tmp_path / "scan.csv").write_text(text)
    cloud = read(tmp_path / "scan.csv")
    assert cloud.coord.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert (cloud.color if cloud.color is None else cloud.color.tolist()) == color


def test_foreign_words_are_quoted_in_part(tmp_path):
    file = tmp_path / "scan.xyz"
    file.write_text("0 0 0\n1 2 " + "x" * 4000 + "\n")
    with pytest.raises(FileError) as caught:
        read(file)
    assert len(str(caught.value)) < 300


def test_numbers_that_are_too_large_for_their_type(tmp_path):
    file = tmp_path / "scan.ply"
    head = "ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nproperty float y\nproperty float z\n"
    head += "property uchar red\nproperty uchar green\nproperty uchar blue\nend_header\n"
    file.write_text(head + "0 0 0 1 2 1e300\n1 1 1e300 1 2 3\n")
    fields = opened(file, ReadOptions())
    assert np.isinf(fields["coord"][1, 2])
    assert fields["color"][0, 2] == 1e300


def test_commas_between_numbers_and_before_decimals_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("0,548,1,234,0,000\n" * 9)
    with pytest.raises(FileError, match="has commas both between numbers and before decimals; export it with points"):
        read(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("0,5,1,0.01,0,10\n" * 9)
    assert read(tmp_path / "b.csv").coord[0].tolist() == [0, 5, 1]
