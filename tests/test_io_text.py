"""One point a line."""


import pytest
from files import HUGE, refused

from msm3d.io import read


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
            "0 0 0 256 0 0\n0 0 0 9 9 9",
            "color has 1 row outside 0 to 255 (first: row 0, 256, 0, 0); "
            "give 0-255, or floats within 0-1, for example np.clip(np.nan_to_num(color), 0, 255).",
        ),
    ],
)
def test_text_that_is_refused(tmp_path, name, text, message):
    file = tmp_path / name
    file.write_text(text)
    with refused(file, message):
        read(file)
