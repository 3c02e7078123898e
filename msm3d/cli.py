"""The command line: `msm3d VERB`. Exit codes: 0 done, 2 a mistake that one sentence explains, 130 interrupted."""

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import NoReturn

from .errors import Msm3dError, Msm3dWarning


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code."""
    options = _parser().parse_args(arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("default", Msm3dWarning)
        warnings.showwarning = _show
        try:
            options.run(options)
        except Msm3dError as error:
            print(f"msm3d {options.verb}: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print(f"\nmsm3d {options.verb}: interrupted; nothing half-written was left.", file=sys.stderr)
            return 130
    return 0


# --- verbs ----------------------------------------------------------------------------------------------------------


def _extract(options: argparse.Namespace) -> None:
    from . import results
    from .io import read
    from .model import load

    targets = _targets(options.scans, options.output, options.format)
    model = load(options.model, device=options.device, backend=options.backend, precision=options.precision)
    print(repr(model), file=sys.stderr)
    kept = {"levels": options.levels, "sampling": options.sampling, "max_memory": options.max_memory}
    channels = model.channels(options.levels)
    for scan, target in zip(options.scans, targets, strict=True):
        start = perf_counter()
        cloud = read(scan, units=options.units, up=options.up)
        with results.writing(target, cloud.coord, channels, options.dtype, cloud.rows) as feat:
            model.extract(cloud, out=feat, dtype=options.dtype, progress=True, **kept)
        seconds = perf_counter() - start
        print(f"{target}: {len(cloud):,} points x {channels} channels ({options.dtype}) in {seconds:.1f} s")


def _convert(options: argparse.Namespace) -> None:
    from .convert import convert

    done = convert(options.checkpoint, options.output, config=options.config, install=not options.no_install)
    print(f"{done.directory}: {done.parameters:,} parameters, {done.config.descriptor_channels} channels per point")
    if done.ignored:
        print(f"left out {len(done.ignored)} tensors that are not the student's, such as {done.ignored[0]}")
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
    verb.add_argument("--model", help="release, directory or Hub repository; the bundled model by default")
    verb.add_argument("--device", help="such as cpu or cuda:1; a GPU if there is one, by default")
    verb.add_argument("--backend", help="of the operations; the best for the device by default")
    verb.add_argument("--precision", default="fp32", help="fp32 (default) or bf16")
    verb.add_argument("--levels", type=_numbers, help="such as 3,4: levels to keep, 0 is the finest; all by default")
    verb.add_argument("--sampling", help="centered or published; the weights' own by default")
    verb.add_argument("--dtype", default="float32", choices=["float32", "float16"], help="of the result")
    verb.add_argument(
        "--max-memory", help="such as 4GB: a larger scan is cut into tiles; half of what is free by default"
    )
    verb.add_argument("--up", default="z", help="axis of the scan that points up: z (default), y or -y")
    verb.add_argument("--units", default="m", help="unit of the scan: m (default), cm, mm, ft or in")
    verb.add_argument("--format", default="npz", help="of the files in a folder: npz (default), npy, safetensors, ply")
    verb.set_defaults(run=_extract)

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

    verb = verbs.add_parser("check", help="what this machine has; paste it into an issue")
    verb.set_defaults(run=_check)
    return parser


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers such as 3,4") from None


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
