"""The suite reads and writes nothing of the user's, whatever lies in the user's home."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from msm3d import weights
from msm3d.backbones.hunet.config import BackboneConfig
from msm3d.weights import store

ROOT = Path(__file__).parents[1]
TINY = BackboneConfig(channels=(4,), decoder_channels=(4,), conv_blocks=(0,), attention_blocks=(0,), heads=(0,))

WATCH = """
import os, sys

HOME, SEEN = os.path.realpath(os.environ["WATCHED"]), set()


def watch(event, arguments):
    for argument in arguments if event.split(".")[0] in ("open", "os", "shutil", "subprocess") else ():
        if isinstance(argument, (str, bytes, os.PathLike)):
            path = os.path.abspath(os.fsdecode(argument))
            if path == HOME or path.startswith(HOME + os.sep):
                SEEN.add(f"{event} {path}")


sys.addaudithook(watch)


def pytest_sessionfinish(session):
    if SEEN:
        print("touched:", *sorted(SEEN), sep="\\n")
        session.exitstatus = 99
"""


@pytest.fixture
def user(tmp_path):
    """Return the home of a user who has converted a checkpoint, has a token, and a cache."""
    home = tmp_path / "user"
    for folder in (home / ".cache" / "huggingface", home / "hf"):
        store.write(folder / "msm3d" / "scannet", TINY, {}, {"name": "scannet", "licence": "the user's"})
        (folder / "token").write_text("hf_the_users")
    return home


def run(user: Path, tmp_path: Path, *arguments: str) -> str:
    """Run the suite's tests in a process whose user is `user`; it may not touch anything there."""
    (tmp_path / "watch.py").write_text(WATCH)
    before = {path: path.stat().st_mtime_ns for path in user.rglob("*")}
    more = {"HOME": str(user), "WATCHED": str(user), "HF_TOKEN": "hf_the_users", "MSM3D_ISA": "none such"}
    more |= {"HF_HOME": str(user / "hf"), "PYTHONPATH": str(tmp_path), "XDG_CACHE_HOME": str(user / ".cache")}
    options = ["-q", "-x", "-p", "watch", "-p", "no:cacheprovider", "-p", "no:xdist", "--override-ini", "addopts="]
    command = [sys.executable, "-m", "pytest", *options, "--doctest-modules", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | more, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert {path: path.stat().st_mtime_ns for path in user.rglob("*")} == before
    return done.stdout


def test_a_user_who_has_converted_a_checkpoint_passes_too(user, tmp_path):
    names = [
        "test_scannet_says_how_to_get_it",
        "test_an_installed_model_is_found_by_name",
        "test_check_models_and_info",
    ]
    chosen = " or ".join([*names, "msm3d.weights"])
    files = ["tests/test_weights.py", "tests/test_cli.py", "msm3d/weights/__init__.py"]
    assert " passed" in run(user, tmp_path, "-k", chosen, *files)


@pytest.mark.slow
def test_nothing_of_the_users_is_touched_by_all_that_concerns_weights(user, tmp_path):
    names = ("weights", "hub", "convert", "bundled", "cli")
    run(user, tmp_path, *[f"tests/test_{name}.py" for name in names], "msm3d/weights/")


def test_the_watch_can_fail(user, tmp_path):
    (tmp_path / "test_curious.py").write_text(f"def test_it():\n    open({str(user / 'hf' / 'token')!r}).close()\n")
    with pytest.raises(AssertionError, match="touched:"):
        run(user, tmp_path, str(tmp_path / "test_curious.py"))


def test_every_place_of_the_users_is_the_tests_own(own_home):
    from huggingface_hub import constants

    for name in ("HF_HOME", "HF_HUB_CACHE", "HF_TOKEN_PATH"):
        assert Path(getattr(constants, name)).is_relative_to(own_home)
    assert Path.home() == own_home
    assert Path(tempfile.gettempdir()) == own_home / "tmp"
    assert weights.installed("scannet").is_relative_to(own_home)
    assert weights.info("scannet").status == "needs download"
    assert not [name for name in os.environ if name.startswith("MSM3D_")]
    shown = subprocess.run(
        [sys.executable, "-c", "from huggingface_hub import constants; print(constants.HF_HUB_CACHE)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.strip() == str(own_home / "hf" / "hub")


@pytest.mark.parametrize("_", range(2))
def test_one_test_does_not_see_what_another_has_installed(_, tmp_path):
    made = store.write(tmp_path / "made", TINY, {}, {"name": "made"})
    assert weights.info("scannet").status == "needs download"
    weights.install(made, "scannet")
    assert weights.info("scannet").status == "installed"
