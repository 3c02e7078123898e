"""The command line: `msm3d VERB`.

Exit codes: 0 done, 2 a mistake that one sentence explains, 130 interrupted, 143 ended by SIGTERM.
"""

import argparse
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any, NoReturn

from .atomic import Terminated, on_termination
from .errors import Msm3dError, Msm3dWarning


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code."""
    options = _parser().parse_args(arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("default", Msm3dWarning)
        warnings.showwarning = _show
        try:
            with on_termination():
                options.run(options)
        except Msm3dError as error:
            print(f"msm3d {options.verb}: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print(f"\nmsm3d {options.verb}: interrupted; nothing half-written was left.", file=sys.stderr)
            return 130
        except Terminated as end:
            print(f"\nmsm3d {options.verb}: asked to end; nothing half-written was left.", file=sys.stderr)
            return int(str(end.code))
    return 0


# --- verbs ----------------------------------------------------------------------------------------------------------


def _extract(options: argparse.Namespace) -> None:
    from . import results
    from .io import read_with

    targets = _targets(options.scans, options.output, options.format)
    reading = _reading(options)
    model = _load(options)
    kept = {"levels": options.levels, "sampling": options.sampling, "max_memory": options.max_memory}
    channels = model.channels(options.levels)
    for scan, target in zip(options.scans, targets, strict=True):
        start = perf_counter()
        cloud = read_with(scan, replace(reading, spacing=model.config.voxel_size))
        meta = results.provenance(model, options.levels, options.sampling, scan, options.dtype)
        with results.writing(target, cloud, channels, options.dtype, meta) as feat:
            model.extract(cloud, out=feat, dtype=options.dtype, progress=True, **kept)
        seconds, written = perf_counter() - start, target.stat().st_size / 1e6
        rows = f"{len(cloud):,} points x {channels} channels ({options.dtype})"
        print(f"{target}: {rows}, {written:,.1f} MB in {seconds:.1f} s")


def _pca(options: argparse.Namespace) -> None:
    from .visualize.verbs import pca

    kept = ("levels", "form", "size", "background", "basis", "save_basis", "max_memory")
    settings = {name: getattr(options, name) for name in kept} | {"options": _reading(options)}
    for line in pca(options.scans, options.output, lambda: _load(options), **settings):
        print(line)


def _view(options: argparse.Namespace) -> None:
    from .visualize.verbs import view

    settings = {name: getattr(options, name) for name in ("features", "names", "most", "max_memory")}
    settings["options"] = _reading(options)
    for line in view(options.scan, options.output, lambda: _load(options), **settings):
        print(line)


def _convert(options: argparse.Namespace) -> None:
    from .convert import convert

    done = convert(options.checkpoint, options.output, config=options.config, install=not options.no_install)
    print(f"{done.directory}: {done.parameters:,} parameters, {done.config.descriptor_channels} channels per point")
    if done.ignored:
        print(f"left out {len(done.ignored)} tensors that are not the student's, such as {done.ignored[0]}")
    if done.installed and done.installed != done.directory:
        print(f"also installed as {done.name} in {done.installed}; --no-install leaves that out")
    elif done.installed is None:
        print("not installed by name: only the published network is, without --no-install")
    name = f'"{done.name}"' if done.name else f'"{done.directory}"'
    print(f"now:  msm3d.load({name})")


def _models(options: argparse.Namespace) -> None:
    from .weights import info, list_models

    for name in list_models():
        model = info(name)
        print(f"{name:12} {model.status:14} {model.channels:5} channels  {model.voxel_size:g} m  {model.licence}")


def _info(options: argparse.Namespace) -> None:
    from dataclasses import asdict

    from .weights import info

    for key, value in asdict(info(options.model)).items():
        print(f"{key:14} {', '.join(f'{k} {v}' for k, v in value.items()) if isinstance(value, dict) else value}")


def _download(options: argparse.Namespace) -> None:
    from .weights import download

    print(download(options.model, options.output, revision=options.revision))


def _rooms(options: argparse.Namespace) -> None:
    from .rooms import write

    settings = {"first_seed": options.first_seed, "layout": options.layout, "split": options.split}
    settings |= {"kind": options.kind, "points": options.points, "workers": options.workers}
    written = write(options.output, options.number, **settings)
    print(f"{options.output}: {len(written):,} rooms of {options.points:,} points")


def _probe(options: argparse.Namespace) -> None:
    from .evaluate import open_dataset, probe
    from .evaluate.report import check_path
    from .model import load

    check_path(options.output)
    train, test = open_dataset(options.dataset, classes=options.classes, splits=options.splits, area=options.area)
    model = load(options.model, device=options.device, backend=options.backend, precision=options.precision)
    report = probe(
        train,
        test,
        {options.model or "bundled": model},
        protocol=options.protocol,
        levels=options.levels,
        scenes=options.scenes,
        points=options.points,
        seed=options.seed,
        sample=options.sample,
        test_sample=options.test_sample,
        cache=options.cache,
        progress=True,
    )
    paths = report.write(options.output)
    print(report.to_markdown())
    print("written: " + ", ".join(map(str, paths)))


def _pretrain(options: argparse.Namespace) -> None:
    from .evaluate import open_dataset
    from .evaluate.judge import judge
    from .pretrain import named, pretrain
    from .pretrain.sources import scenes

    config = named(options.config, options.set)
    if options.threads is not None:
        import torch

        torch.set_num_threads(options.threads)
    settings = {"resume": options.resume, "every": options.every, "judge_every": options.probe_every}
    settings |= {"device": options.device, "backend": options.backend, "progress": True}
    if options.probe != "none":
        settings["judge"] = judge(*open_dataset(options.probe))
    folder = Path(options.output)
    pretrain(scenes(options.data, folder / "rooms"), config, folder, data=Path(options.data).name, **settings)
    print(f'{folder}: {config.steps:,} steps; now:  msm3d.load("{folder / "student"}")')


def _check(options: argparse.Namespace) -> None:
    from .check import report

    print(report())


# --- arguments ------------------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """An argument parser whose mistakes are one sentence."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}; see {self.prog} --help", file=sys.stderr)
        raise SystemExit(2)


def _parser() -> argparse.ArgumentParser:
    from . import __version__

    parser = _Parser(prog="msm3d", description="One meaningful vector per point of a 3D scan.")
    parser.add_argument("--version", action="version", version=f"msm3d {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=_Parser)

    verb = verbs.add_parser(
        "extract",
        help="scans to descriptors",
        description="Write one descriptor per point: row i of the result belongs to point i of the scan.",
        epilog="example: msm3d extract scan.ply -o features.npz --model scannet",
    )
    verb.add_argument("scans", nargs="+", metavar="SCAN", help="PLY, PCD, LAS/LAZ, NPZ, NPY, TXT, OBJ, GLB, … files")
    verb.add_argument(
        "-o", "--output", required=True, help=".npz, .npy, .safetensors or .ply file; a folder for several scans"
    )
    _add_model(verb)
    verb.add_argument("--levels", type=_numbers, help="such as 3,4: levels to keep, 0 is the finest; all by default")
    verb.add_argument("--sampling", help="centered or published; the weights' own by default")
    verb.add_argument("--dtype", default="float32", choices=["float32", "float16"], help="of the result")
    _add_reading(verb)
    verb.add_argument("--format", default="npz", help="of the files in a folder: npz (default), npy, safetensors, ply")
    verb.set_defaults(run=_extract)

    verb = verbs.add_parser(
        "pca",
        help="scans to colours: features as red, green and blue",
        description="Colour scans by the principal components of their features. All scans of one call share a basis.",
        epilog="example: msm3d pca scan.ply -o scan.png",
    )
    verb.add_argument("scans", nargs="+", metavar="SCAN", help="PLY, PCD, LAS/LAZ, NPZ, NPY, TXT, OBJ, GLB, … files")
    verb.add_argument("-o", "--output", required=True, help=".png, .ply or .html file; or a folder for several scans")
    _add_model(verb)
    verb.add_argument(
        "--levels", type=_numbers, help="such as 3,4: levels to colour by, 0 is the finest; all by default"
    )
    verb.add_argument(
        "--format", dest="form", default="png", help="of the files in a folder: png (default), ply or html"
    )
    verb.add_argument("--size", default="1280x960", help="of a picture, in pixels (default 1280x960)")
    verb.add_argument("--background", default="white", help="of a picture: white (default), light, dark or black")
    verb.add_argument("--basis", help=".npz file of --save-basis: colours that mean the same as in an earlier call")
    verb.add_argument("--save-basis", help=".npz file to write the basis of the colours to")
    _add_reading(verb)
    verb.set_defaults(run=_pca)

    verb = verbs.add_parser(
        "view",
        help="a scan to a page: click a point to see what is similar",
        description="Write one HTML file that needs neither a server nor a network, to look at and to send.",
        epilog="example: msm3d view scan.ply -o scan.html",
    )
    verb.add_argument("scan", metavar="SCAN", help="a PLY, PCD, LAS/LAZ, NPZ, NPY, TXT, OBJ, GLB, … file")
    verb.add_argument("-o", "--output", required=True, help=".html file")
    _add_model(verb)
    verb.add_argument("--features", help="file of `msm3d extract` for this scan, instead of a model")
    verb.add_argument("--names", help="of labels: rooms, scannet20, s3dis, a file with one a line, or wall,floor,chair")
    verb.add_argument("--points", dest="most", type=int, default=1_000_000, help="to keep at most (default 1000000)")
    _add_reading(verb)
    verb.set_defaults(run=_view)

    verb = verbs.add_parser(
        "convert",
        help="the authors' checkpoint to weights that load",
        description="Convert a checkpoint of the authors' code; the published one is also installed as 'scannet'.",
    )
    verb.add_argument("checkpoint", help="the authors' .pth file")
    verb.add_argument("-o", "--output", help="directory for config.json and model.safetensors")
    verb.add_argument("--config", help="JSON file with the network's fields, where it is not the published one")
    verb.add_argument("--no-install", action="store_true", help="leave the installed 'scannet' as it is")
    verb.set_defaults(run=_convert)

    verb = verbs.add_parser("models", help="the models that load by name")
    verb.set_defaults(run=_models)

    verb = verbs.add_parser("info", help="licence, data, dims and scores of a model")
    verb.add_argument("model", help="release, directory, or Hub repository in the cache")
    verb.set_defaults(run=_info)

    verb = verbs.add_parser("download", help="fetch a model now, to load it without a network later")
    verb.add_argument("model", help="release or Hub repository")
    verb.add_argument("-o", "--output", help="copy it to this directory, for a machine without a network")
    verb.add_argument("--revision", help="branch, tag or commit of a Hub repository")
    verb.set_defaults(run=_download)

    verb = verbs.add_parser(
        "probe",
        help="judge features on labelled scans",
        description="Fit simple classifiers on frozen features of one split and score them on every point of another.",
        epilog="example: msm3d probe rooms:60 --model scannet -o report.json",
    )
    verb.add_argument("dataset", help="folder of ScanNet, S3DIS, Pointcept's layout or made rooms; or rooms:60")
    verb.add_argument("-o", "--output", required=True, help=".json file; the Markdown goes beside it")
    _add_model(verb)
    verb.add_argument("--protocol", default="linear,knn", help="linear, knn or both (default)")
    verb.add_argument("--levels", action="store_true", help="also each level alone, and all but each")
    verb.add_argument("--scenes", type=_shares, default=[1.0], help="share to learn from, or several: 1,0.1,0.05")
    verb.add_argument("--points", type=_counts, default=[None], help="labelled ones per scene, or several: all,200,20")
    verb.add_argument("--seed", type=_numbers, default=[0], help="such as 0,1,2: several give means and deviations")
    verb.add_argument("--sample", type=int, default=2000, help="points kept per scene (default 2000)")
    verb.add_argument("--test-sample", type=int, help="labelled points of each scene to test on; all by default")
    verb.add_argument("--cache", help="folder of features to go on with; a temporary one by default")
    verb.add_argument("--classes", help="scannet20, scannet200, s3dis or rooms instead of what the files suggest")
    verb.add_argument("--splits", help="folder with ScanNet's lists of scenes")
    verb.add_argument("--area", type=int, default=5, help="of S3DIS, to test on (default 5)")
    verb.set_defaults(run=_probe)

    verb = verbs.add_parser(
        "rooms",
        help="make labelled synthetic rooms",
        description="Write labelled rooms, scanned as with a hand-held camera; the same seed gives the same room.",
    )
    verb.add_argument("-n", "--number", type=int, required=True, help="how many")
    verb.add_argument("-o", "--output", required=True, help="folder; rooms that are there already are kept")
    verb.add_argument("--first-seed", type=int, default=0, help="the rooms' seeds count up from it (default 0)")
    verb.add_argument("--layout", default="pointcept", help="pointcept (folders of .npy, default) or ply")
    verb.add_argument("--split", help="train, val or test for all; by seed otherwise: 8 of 10 train, 1 val, 1 test")
    verb.add_argument("--kind", help="such as kitchen; mixed by default")
    verb.add_argument("--points", type=int, default=100_000, help="of each room (default 100000)")
    verb.add_argument("--workers", type=int, help="processes; one for each core by default")
    verb.set_defaults(run=_rooms)

    verb = verbs.add_parser(
        "pretrain",
        help="learn features from scans without labels",
        description="Masked Scene Modeling. A run may be interrupted at any moment and goes on with --resume.",
        epilog="example: msm3d pretrain --data rooms:400 -o run; on two GPUs: torchrun --nproc-per-node 2 -m msm3d …",
    )
    verb.add_argument("--data", default="rooms", help="folder of scans, of ScanNet or S3DIS; or rooms:400 (default)")
    verb.add_argument("-o", "--output", required=True, help="folder of the run")
    verb.add_argument("--config", default="rooms", help="rooms (default), for a CPU, or scannet, the paper's")
    verb.add_argument(
        "--set",
        action="append",
        metavar="NAME=VALUE",
        help="change a setting, such as steps=2000 or backbone.window=512",
    )
    verb.add_argument("--resume", action="store_true", help="go on from the folder's checkpoint, if there is one")
    verb.add_argument("--every", type=int, default=500, help="steps between checkpoints (default 500)")
    verb.add_argument("--probe", default="rooms:24/12", help="data to watch the run by (default rooms:24/12), or none")
    verb.add_argument("--probe-every", type=int, default=2000, help="steps between probes (default 2000)")
    verb.add_argument("--threads", type=int, help="of the processor; all by default")
    verb.add_argument("--device", help="such as cpu or cuda; a GPU if there is one, by default")
    verb.add_argument("--backend", help="of the operations; the best for the device by default")
    verb.set_defaults(run=_pretrain)

    verb = verbs.add_parser("check", help="what this machine has; paste it into an issue")
    verb.set_defaults(run=_check)
    return parser


def _add_model(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--model", help="release, directory or Hub repository; the bundled model by default")
    verb.add_argument("--device", help="such as cpu or cuda:1; a GPU if there is one, by default")
    verb.add_argument("--backend", help="of the operations; the best for the device by default")
    verb.add_argument("--precision", default="fp32", help="fp32 (default) or bf16")


def _add_reading(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--max-memory", help="such as 4GB: a larger scan is cut into tiles; half of what is free by default"
    )
    verb.add_argument("--up", help="axis of the scan that points up: z, y or -y; what the format says, else z")
    verb.add_argument("--units", help="unit of the scan: m, cm, mm, ft or in; what the format says, else m")
    verb.add_argument(
        "--invalid", default="drop", help="points without a position: drop (default), or nan for such rows"
    )
    verb.add_argument("--mesh", help="of a file with faces: vertices or surface; what is dense enough by default")
    verb.add_argument("--min-opacity", type=float, help="of Gaussian splats: leave out those that are less opaque")


def _reading(options: argparse.Namespace) -> Any:
    from .reading import ReadOptions

    return ReadOptions(**{name: getattr(options, name) for name in ("up", "units", "invalid", "mesh", "min_opacity")})


def _load(options: argparse.Namespace) -> Any:
    from .model import load

    model = load(options.model, device=options.device, backend=options.backend, precision=options.precision)
    print(repr(model), file=sys.stderr)
    return model


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers such as 3,4") from None


def _shares(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of shares such as 1,0.05") from None


def _counts(text: str) -> list[int | None]:
    try:
        return [None if part == "all" else int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers such as all,20") from None


def _targets(scans: list[str], output: str, ending: str) -> list[Path]:
    """Return the file that each scan's descriptors go to, checked before any work is done."""
    from .errors import InputError
    from .results import check_format

    folder = Path(output)
    if len(scans) == 1 and not folder.is_dir() and not output.endswith("/"):
        return [check_format(output)]
    if folder.suffix and not folder.is_dir():
        raise InputError(f"{len(scans)} scans do not fit into the file {output}; give -o a folder.")
    folder.mkdir(parents=True, exist_ok=True)
    targets = [check_format(folder / f"{Path(scan).stem}.{ending}") for scan in scans]
    for first, second in ((a, b) for i, a in enumerate(targets) for b in targets[:i]):
        if first == second:
            raise InputError(f"two scans would both become {first}; extract them one by one with -o FILE.")
    return targets


# --- what is shown --------------------------------------------------------------------------------------------------


def _show(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    print(f"{'warning' if issubclass(category, Msm3dWarning) else category.__name__}: {message}", file=sys.stderr)
