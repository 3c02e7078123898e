"""Seconds, file sizes and frames per second of pictures and pages of one scan.

python benchmarks/bench_visualize.py scan.ply [--model run/student] [--keep folder]

The frame rate is that of Chromium on this machine's processor (SwiftShader), without a GPU: the least that there is.
"""

import argparse
import sys
import warnings
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
from machine import json_option, keep

from msm3d import cli
from msm3d.io import read
from msm3d.scan.normals import completed
from msm3d.visualize import render

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync", "--enable-unsafe-swiftshader"]
WHOLE = """() => { const { stage, rig, cloud } = msm3d, gl = stage.renderer.getContext(), one = new Uint8Array(4);
  const start = performance.now(); let frames = 0;
  for (; performance.now() - start < 4000; frames++) { rig.turn(0.02, 0); rig.apply(); stage.draw(cloud.n);
    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, one); }
  return (1000 * frames) / (performance.now() - start); }"""
MOVING = """() => new Promise((done) => { const { speed, rig, stage } = msm3d; rig.held.add("arrowleft");
  let frames = 0, start = 0;
  const f = () => { frames++; if (performance.now() - start < 4000) return requestAnimationFrame(f);
    const { width, height } = stage.target; rig.held.clear();
    done([(1000 * frames) / (performance.now() - start), speed.budget, width, height]); };
  setTimeout(() => { start = performance.now(); f(); }, 6000); })"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan")
    parser.add_argument("--model", help="the bundled weights by default")
    parser.add_argument("--keep", type=Path, help="folder for what is made")
    json_option(parser)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    figures = pictures(given.scan)
    with TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        model = [] if given.model is None else ["--model", given.model]
        for verb, name in (("pca", "scan.png"), ("pca", "scan.ply"), ("view", "scan.html")):
            start = perf_counter()
            assert cli.main([verb, given.scan, "-o", str(folder / name), *model]) == 0
            size = (folder / name).stat().st_size / 1e6
            figures.append({"what": f"msm3d {verb} -o {name}", "seconds": perf_counter() - start, "megabytes": size})
            print(f"msm3d {verb} -o {name}: {figures[-1]['seconds']:.1f} s, {size:.1f} MB")
        keep(given.json, figures)
        frames(folder / "scan.html")


def pictures(scan: str) -> list[dict[str, Any]]:
    """Time a picture of a million points, with and without normals."""
    cloud = completed(read(scan))
    rows = np.arange(1_000_000) % len(cloud)
    points = cloud.coord[rows] + 0.003 * np.sin(np.arange(3_000_000).reshape(-1, 3))
    colors, normals, figures = cloud.color[rows], cloud.normal[rows], []
    for words, given in (("", None), (" and normals", normals)):
        seconds = []
        for _ in range(3):
            start = perf_counter()
            render(points, colors, normals=given)
            seconds.append(perf_counter() - start)
        print(f"render 1,000,000 points{words}, 1280 x 960: {min(seconds):.2f} s")
        figures.append({"what": f"render 1,000,000 points{words}, 1280 x 960", "seconds": min(seconds)})
    return figures


def frames(path: Path) -> None:
    """Time a page in Chromium: all points in every frame, and as it draws while it is moved."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sys.exit("no frame rate without playwright; pip install playwright")
    with sync_playwright() as playwright, TemporaryDirectory() as profile:
        program = which("chromium") or playwright.chromium.executable_path
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=program, headless=True, args=FLAGS, viewport={"width": 1280, "height": 800}
        )
        page = context.new_page()
        start = perf_counter()
        page.goto(path.absolute().as_uri())
        page.wait_for_selector("html[data-ready=yes]", state="attached", timeout=120_000)
        print(f"opened in {perf_counter() - start:.1f} s")
        points = page.evaluate("() => msm3d.cloud.n")
        print(f"all {points:,} points in every frame: {page.evaluate(WHOLE):.1f} frames/s")
        rate, budget, width, height = page.evaluate(MOVING)
        print(f"while it is moved: {rate:.1f} frames/s of {budget:,} points, {width} x {height} pixels")
        asked = (
            "() => { const t = performance.now(); msm3d.features.similarity(7, null); return performance.now() - t; }"
        )
        print(f"similarity of every cell: {page.evaluate(asked):.0f} ms")
        context.close()


if __name__ == "__main__":
    main()
