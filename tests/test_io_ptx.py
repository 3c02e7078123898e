"""PTX: blocks with poses, cells where nothing came back, and what damaged ones are told."""

import numpy as np
import pytest

from msm3d.errors import FileError, Msm3dWarning
from msm3d.io import limits, read, text
from tests.files import RGB, XYZ, refused

TURN = np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])  # rows are multiplied by it: x becomes y
PLACE = np.array([682244.651, 3444317.772, 31.5])


def block(xyz=XYZ, rgb=RGB, turn=TURN, place=PLACE, wide=8, position=None, transposed=False):
    """One block as Cyclone writes it."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[3, :3] = turn, place
    position = place if position is None else position
    head = [[wide], [len(xyz) // wide], position, *turn, *(matrix.T if transposed else matrix)]
    lines = [" ".join(f"{value:.6f}" if len(line) > 1 else f"{value}" for value in line) for line in head]
    for i, point in enumerate(xyz):
        color = "" if rgb is None else " " + " ".join(map(str, rgb[i]))
        lines.append(" ".join(f"{value:.6f}" for value in point) + " 0.500000" + color)
    return "\n".join(lines) + "\n"


def written(tmp_path, *blocks):
    file = tmp_path / "scan.ptx"
    file.write_text("".join(blocks))
    return file


@pytest.mark.parametrize("transposed", [False, True])
def test_points_are_where_the_matrix_puts_them(tmp_path, transposed):
    cloud = read(written(tmp_path, block(transposed=transposed)))
    np.testing.assert_allclose(cloud.coord - PLACE, XYZ @ TURN, atol=1e-6)
    assert np.array_equal(cloud.color, RGB)
    assert cloud.viewpoint.tolist() == [PLACE.tolist()]
    assert (cloud.station, cloud.normal, cloud.rows) == (None, None, None)


def test_blocks_have_their_stations_and_their_empty_cells(tmp_path):
    holes = XYZ.copy()
    holes[[3, 20]] = 0
    file = written(tmp_path, block(holes), "\n", block(XYZ + 1, place=PLACE + 5))
    with pytest.warns(Msm3dWarning, match=r"^2 of 80 points have no position \(NaN\) and are dropped"):
        cloud = read(file)
    assert cloud.viewpoint.tolist() == [PLACE.tolist(), (PLACE + 5).tolist()]
    assert cloud.station.tolist() == [0] * 38 + [1] * 40
    assert cloud.rows.tolist() == [row for row in range(80) if row not in (3, 20)]
    np.testing.assert_allclose(cloud.coord[38:] - PLACE - 5, (XYZ + 1) @ TURN, atol=1e-6)
    assert len(read(file, invalid="nan")) == 78


def test_intensity_is_no_colour(tmp_path):
    assert read(written(tmp_path, block(rgb=None))).color is None
    with pytest.warns(Msm3dWarning, match="40 of 80 points have no colour"):
        cloud = read(written(tmp_path, block(rgb=None), block(place=PLACE + 1)))
    assert np.array_equal(cloud.color[40:], RGB)
    assert (cloud.color[:40] == 127.5).all()


def test_where_the_scanner_stood_is_said_by_matrix_position_or_grid(tmp_path):
    still = {"turn": np.eye(3), "place": np.zeros(3)}
    assert read(written(tmp_path, block(**still, position=[1, 2, 1.5]))).viewpoint.tolist() == [[1, 2, 1.5]]
    assert read(written(tmp_path, block(**still))).viewpoint.tolist() == [[0, 0, 0]]  # a grid was seen from its origin
    assert read(written(tmp_path, block(**still, wide=1))).viewpoint is None  # a list was not
    both = read(written(tmp_path, block(**still, wide=1), block()))
    assert both.station.tolist() == [-1] * 40 + [0] * 40


def test_large_blocks_are_read_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("msm3d.io.ptx._LINES", 7)
    file = written(tmp_path, block(), block(place=PLACE + 1))
    asked = []
    one = text.table
    monkeypatch.setattr(text, "table", lambda *given: asked.append(given[2]) or one(*given))
    cloud = read(file)
    assert asked == [7, 7, 7, 7, 7, 5] * 2
    np.testing.assert_allclose(cloud.coord[:40] - PLACE, XYZ @ TURN, atol=1e-6)


LINES = block().split("\n")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["no grid"],
            "has no grid where its block 1 needs a number of columns, then one of rows; it is truncated or not "
            "a PTX file, export it again.",
        ),
        (
            LINES[:1],
            "has nothing where its block 1 needs a number of columns, then one of rows; it is truncated or not "
            "a PTX file, export it again.",
        ),
        (["8", "0", *LINES[2:]], "declares 0 points in its block 1; there is nothing to read."),
        (
            ["999999999", "999999999", *LINES[2:]],
            "declares 999999998000000001 points but holds 1871 bytes of them; it is truncated, export it again.",
        ),
        (
            LINES[:6],
            "has no position, three axes and matrix of 4 x 4 in its block 1; it is truncated or damaged, export "
            "it again.",
        ),
        ([*LINES[:7], "a b c d", *LINES[8:]], "has the line 'a b c d' in the head of its block 1; export it again."),
        (
            [*LINES[:6], *["0 0 0 0"] * 4, *LINES[10:]],
            "has a matrix in its block 1 that is not a pose; export it again.",
        ),
        (
            [*LINES[:6], *["nan 0 0 0"] * 4, *LINES[10:]],
            "has a matrix in its block 1 that is not a pose; export it again.",
        ),
        (
            [*LINES[:10], "1 2 3"],
            "has lines of 3 values; 4 (x y z intensity) or 7 (with r g b) are needed, export it again.",
        ),
        (LINES[:10], "has lines of 0 values; 4 (x y z intensity) or 7 (with r g b) are needed, export it again."),
        (LINES[:-3], "declares 40 points but holds 38; it is truncated, export it again."),
        (
            [*LINES, "8"],
            "has nothing where its block 2 needs a number of columns, then one of rows; it is truncated or "
            "not a PTX file, export it again.",
        ),
    ],
)
def test_damaged_files_are_told(tmp_path, lines, message):
    file = written(tmp_path, "\n".join(lines))
    with refused(file, message):
        read(file)


def test_lines_of_words_or_of_other_lengths(tmp_path):
    for line in ("1 2 3 0.5 4 5 red", "1 2 3 0.5"):
        with pytest.raises(
            FileError, match=r"scan\.ptx: has a line that is not 7 numbers \(.*; correct or remove it\.$"
        ):
            read(written(tmp_path, "\n".join([*LINES[:20], line, *LINES[21:]])))


def test_what_memory_cannot_hold(tmp_path, monkeypatch):
    file = written(tmp_path, block())
    monkeypatch.setattr(limits, "available", lambda: 1000)
    with pytest.raises(FileError, match=r"^.*scan\.ptx: declares 40 points of 1\.08e-06 GB, more than half of the "):
        read(file)
    (tmp_path / "blank.ptx").write_text("\n \n")
    with refused(
        tmp_path / "blank.ptx", "does not start with a number of columns and one of rows; it is not a PTX file."
    ):
        read(tmp_path / "blank.ptx")
