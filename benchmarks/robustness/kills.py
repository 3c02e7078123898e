"""Kills the command line at random moments: what was there stays whole, and one more run leaves nothing behind.

python benchmarks/robustness/kills.py --kills 300 --terms 60

Each run is a fork of this process, which has imported everything, and runs `python -m msm3d` from there; so a kill
costs a second, not five. Half of the kills come at any moment, half after the first file of the run has appeared. Linux
only.
"""

import argparse
import json
import os
import runpy
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from fuzz_weights import CONFIG, META, TOLD

import msm3d
import msm3d.cli
import msm3d.pretrain
import msm3d.visualize.verbs
from msm3d import rooms, weights
from msm3d.backbones.hunet import released
from msm3d.errors import Msm3dError
from msm3d.weights import store

LONGEST = 60.0  # seconds that an undisturbed run may take
OLDER = b"an older result of the user's\n" * 2000


@dataclass
class Verb:
    """One call of the command line in a folder of its own."""

    name: str
    line: str
    older: tuple[str, ...] = ()
    """Outputs that are there before, from earlier work."""
    unstable: tuple[str, ...] = ()
    """Outputs with times of day in them, which no two runs share."""
    changing: tuple[str, ...] = ()
    """Folders of models that are written several times, so that more than one content is right meanwhile."""
    again: str = ""
    """What the run after a kill adds."""
    seconds: float = 0.0
    begins: float = 0.0
    whole: dict[str, bytes] = field(default_factory=dict)


VERBS = [
    Verb("extract .npz", "extract scan.npz -o f.npz --model ./model --device cpu", ("f.npz",)),
    Verb("extract .npy", "extract scan.npz -o f.npy --model ./model --device cpu", ("f.npy",)),
    Verb("extract .safetensors", "extract scan.npz -o f.safetensors --model ./model --device cpu", ("f.safetensors",)),
    Verb("extract .ply", "extract scan.npz -o f.ply --model ./model --device cpu", ("f.ply",)),
    Verb("extract, a folder", "extract scan.npz other.npz -o out --format npy --model ./model --device cpu"),
    Verb(
        "pca .ply", "pca scan.npz -o p.ply --save-basis basis.npz --model ./model --device cpu", ("p.ply", "basis.npz")
    ),
    Verb("pca .png", "pca scan.npz -o p.png --size 320x240 --model ./model --device cpu", ("p.png",)),
    Verb("view", "view scan.npz -o v.html --model ./model --device cpu", ("v.html",)),
    Verb("convert", "convert model.pth -o made --config told.json --no-install", ("made",)),
    Verb("rooms", "rooms -n 3 -o rooms --points 1500 --workers 1"),
    Verb("rooms .ply", "rooms -n 3 -o rooms --layout ply --points 1500 --workers 1"),
    Verb(
        "pretrain",
        "pretrain --data seen -o run --probe none --every 1 --device cpu --config rooms "
        + " ".join(
            f"--set {setting}"
            for setting in (
                "steps=3",
                "backbone.channels=8,8",
                "backbone.decoder_channels=8,8",
                "backbone.conv_blocks=1,1",
                "backbone.attention_blocks=0,1",
                "backbone.heads=0,2",
            )
        ),
        unstable=("run/log.jsonl",),
        changing=("run/student", "run/teacher"),
        again=" --resume",
    ),
]


def prepare(folder: Path) -> None:
    """Write what the verbs read."""
    rng = np.random.default_rng(0)
    for name, n in (("scan", 20_000), ("other", 8000)):
        points = np.c_[rng.uniform(0, 4, (n, 2)), np.zeros(n)]  # a floor
        normal = rng.normal(size=(n, 3))
        np.savez(folder / f"{name}.npz", coord=points, color=rng.integers(1, 255, (n, 3)).astype("u1"), normal=normal)
    torch.manual_seed(0)
    coarse = replace(CONFIG, voxel_size=0.1)
    weights.write(folder / "model", coarse, msm3d.Model(coarse).backbone.state_dict(), META)
    state = {"student." + theirs: torch.rand(shape) for theirs, (_, shape) in released.table(CONFIG).items()}
    torch.save({"state_dict": state}, folder / "model.pth")
    (folder / "told.json").write_text(json.dumps(TOLD))
    rooms.write(folder / "seen", 2, points=3000, workers=1, progress=False)


def start(line: str, folder: Path) -> int:
    """Fork a process that runs `python -m msm3d LINE` in the folder; return its number."""
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    os.chdir(folder)
    screen = os.open(folder.parent / "screen.txt", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(screen, stream)
    sys.argv = ["msm3d", *line.split()]
    code = 1
    try:
        runpy.run_module("msm3d", run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def ended(pid: int, limit: float) -> int | None:
    """Return how the process ended, or None where it has not within the limit."""
    until = time.monotonic() + limit
    while time.monotonic() < until:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.0005)
    return None


def files(folder: Path) -> dict[str, bytes]:
    """Return every file below the folder but the inputs."""
    given = {"scan.npz", "other.npz", "model.pth", "told.json", "model", "seen"}
    found = [path for path in folder.rglob("*") if path.is_file()]
    parts = {path: path.relative_to(folder) for path in found}
    chosen = {path: name for path, name in parts.items() if name.parts[0] not in given}
    return {str(name): path.read_bytes() for path, name in chosen.items() if "tensorboard" not in name.parts}


def names(folder: Path) -> set[str]:
    """Return the names below the folder, which changes while this reads it."""
    found = set()
    for place, folders, here in os.walk(folder):
        found.update(os.path.join(place, name) for name in (*folders, *here))
    return found


def fresh(base: Path, verb: Verb, older: bool) -> Path:
    folder = base / "work"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(base / "given", folder)
    for name in verb.older if older else ():
        if "." in name:
            (folder / name).write_bytes(OLDER)
        else:
            shutil.copytree(base / "given" / "model", folder / name)
    return folder


def undisturbed(base: Path, verb: Verb) -> None:
    """Run the verb twice in peace: how long it takes, when its first file appears, and what it writes."""
    runs = []
    for _ in range(2):
        folder = fresh(base, verb, older=False)
        before, since = names(folder), time.monotonic()
        pid, verb.begins = start(verb.line, folder), 0.0
        while (code := ended(pid, 0.001)) is None:
            if not verb.begins and names(folder) != before:
                verb.begins = time.monotonic() - since
        verb.seconds = time.monotonic() - since
        if code or verb.seconds > LONGEST:
            raise SystemExit(f"{verb.line}: exit {code} in {verb.seconds:.0f} s\n{(base / 'screen.txt').read_text()}")
        runs.append(files(folder))
    verb.whole = runs[1]
    verb.unstable += tuple(name for name in verb.whole if name.endswith("README.md"))  # an older card is kept
    verb.unstable += tuple(name for name in runs[0] if runs[0][name] != runs[1].get(name))


def disturbed(base: Path, verb: Verb, number: int, rng: np.random.Generator) -> tuple[bool, list[str]]:
    """Run the verb, send it a signal, look, run it again and look; return whether it was hit, and the faults."""
    folder = fresh(base, verb, older=bool(rng.random() < 0.7))
    before, allowed = files(folder), set(verb.whole)
    there, since = names(folder), time.monotonic()
    pid = start(verb.line, folder)
    if rng.random() < 0.5:  # while files are written
        while names(folder) == there and time.monotonic() - since < 3 * verb.seconds:
            time.sleep(0.0005)
        time.sleep(float(rng.uniform(0, max(0.005, verb.seconds - verb.begins))))
    else:
        time.sleep(float(rng.uniform(0, verb.seconds)))
    os.kill(pid, number)
    code, faults = ended(pid, 20), []
    if code is None:
        faults.append("does not end")
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    for _ in range(200):  # processes of its own see that it is gone
        try:
            os.killpg(pid, 0)
            time.sleep(0.05)
        except ProcessLookupError:
            break
    else:
        faults.append("leaves processes")
        os.killpg(pid, signal.SIGKILL)
    hit = code != 0
    after = files(folder)
    changing = {name for name in allowed if name.startswith(tuple(f"{folder}/" for folder in verb.changing or ("//",)))}
    for name in (allowed - changing) & set(after):
        if after[name] not in (before.get(name), verb.whole[name]) and name not in verb.unstable:
            faults.append(f"half-written {name}")
    pairs = {Path(name).parent for name in allowed if Path(name).name == store.CONFIG}
    for pair in pairs & {Path(name).parent for name in after if Path(name).name == store.MODEL}:
        try:
            store.read(folder / pair)
        except Msm3dError as error:
            noticed = "its sha256 is" in str(error)
            faults.append(f"{pair}: {'files of two models, which load notices' if noticed else 'half a model'}")
    faults += [f"lost {name}" for name in set(before) - set(after)]
    extra = {name for name in set(after) - allowed if hit}
    if number != signal.SIGKILL:
        faults += ["leaves a partial at once"] * bool(extra)
        faults += ["a traceback"] * ("Traceback" in (base / "screen.txt").read_text(errors="replace"))
    visible = [name for name in extra if not any(part.startswith(".") for part in Path(name).parts)]
    faults += [f"half a file under a visible name: {Path(name).name}" for name in visible]
    code = ended(start(verb.line + verb.again, folder), LONGEST)
    if code != 0:
        faults.append(f"the next run ends with {code}")
    else:
        last = files(folder)
        faults += ["a partial stays"] * bool(set(last) - allowed)
        stable = [name for name in allowed if name not in verb.unstable]
        faults += [f"another {name} than undisturbed" for name in stable if last.get(name) != verb.whole[name]]
        faults += [f"no {name}" for name in allowed - set(last)]
    return hit, faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300, help="with SIGKILL (default 300)")
    parser.add_argument("--terms", type=int, default=60, help="with SIGTERM (default 60)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="the verbs whose names begin so")
    options = parser.parse_args()
    verbs = [verb for verb in VERBS if verb.name.startswith(options.only)]
    rng, base = np.random.default_rng(options.seed), Path(tempfile.mkdtemp(prefix="msm3d-kills-"))
    counts: dict[str, Counter[str]] = {verb.name: Counter() for verb in verbs}
    try:
        (base / "given").mkdir()
        prepare(base / "given")
        for verb in verbs:
            undisturbed(base, verb)
            print(f"{verb.name}: {verb.seconds:.2f} s, first file after {verb.begins:.2f} s", flush=True)
        since = time.perf_counter()
        for number, wanted in ((signal.SIGKILL, options.kills), (signal.SIGTERM, options.terms)):
            done = tries = 0
            while done < wanted:
                verb = verbs[done % len(verbs)]
                hit, faults = disturbed(base, verb, number, rng)
                tries += 1
                done += hit
                counts[verb.name][f"{number.name} hit" if hit else "finished before"] += 1
                counts[verb.name].update(faults)
                if tries > 20 * wanted:
                    raise SystemExit(f"{verb.name} is never hit")
    finally:
        shutil.rmtree(base, ignore_errors=True)
    known = ("SIGKILL hit", "SIGTERM hit", "finished before")
    print(f"\n{time.perf_counter() - since:.0f} s\n\n| verb | {' | '.join(known)} | faults |\n|---|---|---|---|---|")
    total = 0
    for name, count in counts.items():
        faults = {what: times for what, times in count.items() if what not in known}
        total += sum(faults.values())
        shown = ", ".join(f"{times} x {what}" for what, times in faults.items()) or "none"
        print(f"| {name} | {' | '.join(str(count[what]) for what in known)} | {shown} |")
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
