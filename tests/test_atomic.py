"""Whole files or nothing: a full disk, a killed writer, two writers, a name too long, an output that is an input."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from msm3d._util import atomic
from msm3d.errors import FileError, InputError

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither such signals nor such locks")

WRITER = """
import sys, time
from pathlib import Path
from msm3d._util import atomic
with atomic.on_termination(), getattr(atomic, sys.argv[1])(Path(sys.argv[2])) as partial:
    (partial / "part" if partial.is_dir() else partial).write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""


def started(kind: str, target: Path) -> subprocess.Popen:
    """Start a writer and return it once it has written half."""
    writer = subprocess.Popen([sys.executable, "-c", WRITER, kind, str(target)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    return writer


def ended(writer: subprocess.Popen, number: int) -> int:
    writer.send_signal(number)
    code = writer.wait(20)
    writer.stdout.close()
    return code


def write(path: Path, text: str = "new") -> None:
    with atomic.replacing(path) as partial:
        partial.write_text(text)


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "a.txt"
    write(path, "old")
    with atomic.replacing(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError, SystemExit])
def test_what_fails_leaves_the_old(tmp_path, error):
    path = tmp_path / "a.txt"
    write(path, "old")

    def fails():
        with atomic.replacing(path) as partial:
            partial.write_text("half")
            raise error

    with pytest.raises(error):
        fails()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_the_longest_name_that_a_disk_allows_works_and_a_longer_one_is_refused(tmp_path):
    longest = tmp_path / ("x" * 251 + ".npy")
    write(longest)
    assert os.listdir(tmp_path) == [longest.name]
    with atomic.staged(tmp_path / ("y" * 255)) as stage:
        (stage / "a").write_text("a")
    longer = tmp_path / ("x" * 300)
    for function in (write, lambda path: atomic.staged(path).__enter__()):
        with pytest.raises(FileError) as caught:
            function(longer)
        assert str(caught.value) == f"{longer} cannot be written (File name too long); give a shorter name."
    assert len(os.listdir(tmp_path)) == 2


@pytest.mark.parametrize(
    ("number", "cure"),
    [
        (errno.ENOSPC, "make room, or give another folder"),
        (errno.EROFS, "give a folder that can be written"),
        (errno.EACCES, "give a folder that you may write to"),
        (errno.EEXIST, "a file has this name already: give another"),
        (errno.EIO, "make room, or give another folder"),
    ],
)
def test_a_refusal_of_the_system_is_one_sentence(tmp_path, number, cure):
    path = tmp_path / "a.txt"
    write(path, "old")

    def fails(error):
        with atomic.replacing(path):
            raise error

    with pytest.raises(FileError) as caught:
        fails(OSError(number, os.strerror(number)))
    assert str(caught.value) == f"{path} cannot be written ({os.strerror(number)}); {cure}."
    assert path.read_text() == "old"
    with pytest.raises(FileNotFoundError):  # of something that is read meanwhile
        fails(FileNotFoundError(errno.ENOENT, "No such file", "/gone/scan.ply"))
    with pytest.raises(ConnectionError):
        fails(ConnectionError())
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_folder_that_is_missing_or_a_file_is_named(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileError, match=r"cannot be written \(No such file or directory\); make its folder first\."):
        write(tmp_path / "gone" / "a.txt")
    message = r"cannot be written \(Not a directory\); a file stands where its folder should be: give another folder\."
    with pytest.raises(FileError, match=message):
        write(tmp_path / "file" / "a.txt")
    with pytest.raises(FileError, match=r"file is a file; give the name of a folder\."):
        atomic.staged(tmp_path / "file").__enter__()


def test_a_staged_folder_appears_whole_and_leaves_other_files_alone(tmp_path):
    target = tmp_path / "new" / "deep"
    with atomic.staged(target) as stage:
        (stage / "a").write_text("1")
        assert not target.exists()
    (target / "mine").write_text("mine")
    with atomic.staged(target, last="a") as stage:
        (stage / "a").write_text("2")
        (stage / "b").write_text("2")
    assert {path.name: path.read_text() for path in target.iterdir()} == {"a": "2", "b": "2", "mine": "mine"}
    assert os.listdir(tmp_path / "new") == ["deep"]


def test_a_staged_folder_that_fails_leaves_no_folder_that_it_made(tmp_path):
    def fails(target):
        with atomic.staged(target):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails(tmp_path / "new" / "deep" / "model")
    assert os.listdir(tmp_path) == []


def test_threads_do_not_mix(tmp_path):
    path, meet, seen = tmp_path / "a.txt", threading.Barrier(4), []

    def one(text):
        with atomic.replacing(path) as partial:
            meet.wait()
            partial.write_text(text * 1000)
            meet.wait()
        seen.append(path.read_text())

    threads = [threading.Thread(target=one, args=[text]) for text in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 4
    assert all(len(set(text)) == 1 and len(text) == 1000 for text in seen)
    assert os.listdir(tmp_path) == ["a.txt"]


@posix
@pytest.mark.parametrize("kind", ["replacing", "staged", "scratch"])
def test_sigterm_cleans_up_and_ends_with_143(tmp_path, kind):
    writer = started(kind, tmp_path if kind == "scratch" else tmp_path / "target")
    assert len(os.listdir(tmp_path)) == 1
    assert ended(writer, signal.SIGTERM) == 143
    assert os.listdir(tmp_path) == []
    assert ended(started(kind, tmp_path if kind == "scratch" else tmp_path / "target"), signal.SIGHUP) == 129
    assert os.listdir(tmp_path) == []


@posix
@pytest.mark.parametrize("kind", ["replacing", "staged", "scratch"])
def test_the_next_writer_removes_what_a_killed_one_left_and_nothing_of_a_living_one(tmp_path, kind):
    place = tmp_path if kind == "scratch" else tmp_path / "target"
    living = started(kind, place)
    [its] = os.listdir(tmp_path)
    assert ended(started(kind, place), signal.SIGKILL) == -signal.SIGKILL
    assert len(os.listdir(tmp_path)) == 2
    write(tmp_path / "other.txt")
    assert sorted(os.listdir(tmp_path)) == [its, "other.txt"]
    assert ended(living, signal.SIGTERM) == 143
    assert os.listdir(tmp_path) == ["other.txt"]


@posix
def test_what_another_machine_left_is_removed_after_a_day(tmp_path):
    """Its lock may not be seen from here, so age decides, too."""
    young, old = tmp_path / ".msm3d-00000000-1.partial", tmp_path / ".msm3d-00000000-2.partial"
    for folder in (young, old):
        folder.mkdir()
        (folder / "part").write_text("half")
    yesterday = time.time() - 90_000
    os.utime(old, (yesterday, yesterday))
    write(tmp_path / "a.txt")
    assert sorted(os.listdir(tmp_path)) == [young.name, "a.txt"]


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EBADF])
def test_without_locks_age_decides(tmp_path, monkeypatch, code):
    def refuses(*_):
        raise OSError(code, "no locks on this disk")

    if atomic.fcntl is not None:
        monkeypatch.setattr(atomic.fcntl, "flock", refuses)
    with atomic.replacing(tmp_path / "a.txt") as living:
        living.write_text("whole")
        write(tmp_path / "b.txt")
        assert living.exists()
    stale = tmp_path / f".msm3d-{atomic._HOST}-1.partial"
    stale.write_text("half")
    os.utime(stale, (time.time() - 90_000,) * 2)
    write(tmp_path / "b.txt")
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "b.txt"]


def test_names_of_the_users_own_are_never_swept(tmp_path):
    mine = tmp_path / ".msm3d-notes.txt"
    mine.write_text("mine")
    os.utime(mine, (0, 0))
    write(tmp_path / "a.txt")
    assert mine.read_text() == "mine"


@pytest.mark.parametrize("missing", [False, True])
def test_space_is_claimed_where_the_system_has_a_call_for_it_and_where_not(tmp_path, monkeypatch, missing):
    if missing:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    path = tmp_path / "a"
    path.write_bytes(b"head")
    atomic.claim(path, 3_000_000)
    assert path.read_bytes() == b"head" + bytes(2_999_996)
    if hasattr(os, "posix_fallocate") or missing:
        assert path.stat().st_blocks * 512 >= 2_900_000


@pytest.mark.parametrize("missing", [False, True])
def test_a_disk_without_room_refuses_the_claim(full_disk, monkeypatch, missing):
    if missing:
        monkeypatch.delattr(os, "posix_fallocate")
    with pytest.raises(FileError) as caught, atomic.replacing(full_disk / "a") as partial:
        atomic.claim(partial, 8_000_000)
    assert str(caught.value) == (
        f"{full_disk / 'a'} cannot be written (No space left on device, it takes 8.0 MB); "
        "make room, or give another folder."
    )
    assert os.listdir(full_disk) == []


def test_a_signal_is_handled_again_as_before(monkeypatch):
    before = signal.getsignal(signal.SIGTERM)

    def inner():
        with atomic.on_termination():
            assert signal.getsignal(signal.SIGTERM) is not before
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit) as caught:
        inner()
    assert caught.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before
    failed = []
    thread = threading.Thread(target=lambda: failed.append(atomic.on_termination().__enter__()))
    thread.start()
    thread.join()
    assert failed == [None]
    assert signal.getsignal(signal.SIGTERM) is before


@posix
def test_a_signal_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with atomic.on_termination():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def refused(output, *inputs) -> str:
    with pytest.raises(InputError) as caught:
        atomic.apart([output], inputs)
    return str(caught.value)


def test_an_output_that_is_an_input_is_refused_by_whatever_name(tmp_path, monkeypatch):
    scan = tmp_path / "scans" / "a.npz"
    scan.parent.mkdir()
    scan.write_bytes(b"scan")
    sentence = f"{scan} is an input and would be replaced by the output; give the output another name."
    assert refused(scan, tmp_path / "b.npz", scan) == sentence
    monkeypatch.chdir(tmp_path)
    assert "is an input (it is" not in refused("scans/a.npz", "./scans/../scans/a.npz")
    (tmp_path / "soft.npz").symlink_to(scan)
    os.link(scan, tmp_path / "hard.npz")
    (tmp_path / "folder").symlink_to(scan.parent)
    for name in ("soft.npz", "hard.npz", "folder/a.npz"):
        assert refused(name, scan).startswith(f"{name} is an input (it is {scan}) and would be replaced")
        assert refused(scan, name).startswith(f"{scan} is an input (it is {name}) and would be replaced")
    (tmp_path / "dead.npz").symlink_to("gone.npz")
    assert "is an input" in refused("gone.npz", "dead.npz")
    assert "is an input" in refused(tmp_path / "scans", "folder")
    atomic.apart([tmp_path / "out.npz", "scans/b.npz"], [scan, "gone"])


def test_a_mapped_array_on_a_whole_disk_can_be_filled(tmp_path):
    from msm3d._util.mapped import mapped

    with atomic.scratch(tmp_path) as folder:
        array = mapped(folder / "a.bin", np.float16, (1000, 7), b"head", b"tail")
        array[:] = 1
        assert (folder / "a.bin").read_bytes().startswith(b"head")
        assert (folder / "a.bin").read_bytes().endswith(b"tail")
        assert array.sum() == 7000
    assert os.listdir(tmp_path) == []
