"""Files that people have and msm3d does not read: what to do with each."""

from pathlib import Path

_CLOUDCOMPARE = "save it as PLY in CloudCompare, or by `CloudCompare -SILENT -O {} -C_EXPORT_FMT PLY -SAVE_CLOUDS`"
_SPLATS = "export it as PLY in the program that trained the splats, or convert it with SuperSplat"
_ADVICE = {
    ".e57": ("E57", _CLOUDCOMPARE),
    ".ptx": ("PTX", _CLOUDCOMPARE),
    ".spz": ("a compressed Gaussian splat (SPZ)", _SPLATS),
    ".splat": ("a Gaussian splat (SPLAT)", _SPLATS),
    ".ksplat": ("a compressed Gaussian splat (KSPLAT)", _SPLATS),
    ".bin": (
        "bare numbers (BIN), whose columns it does not name",
        "read them with np.fromfile(path, np.float32).reshape(-1, columns), with 4 columns for KITTI and 5 for "
        "nuScenes, and save or pass [:, :3]",
    ),
    ".gz": ("compressed with gzip", "unpack it first: gunzip {}"),
    ".zip": ("a ZIP archive", "unpack it first: unzip {}"),
    **{
        suffix: (f"of the kind {suffix[1:].upper()}", "export it as GLB, OBJ or PLY")
        for suffix in (".fbx", ".dae", ".3ds", ".blend", ".usd", ".usdz", ".ifc", ".rvt", ".skp", ".x3d", ".wrl")
    },
    **{
        suffix: (f"a project of a scanner's program ({suffix[1:].upper()})", "export it there as PLY, PTS or LAZ")
        for suffix in (".rcp", ".rcs", ".fls", ".zfs", ".lgs")
    },
}


def advice(file: Path) -> str | None:
    """Return what is to be done with a file of a known kind that is not read, or None.

    >>> advice(Path("scan.ply.gz"))
    'is compressed with gzip; unpack it first: gunzip scan.ply.gz.'
    """
    known = _ADVICE.get(file.suffix.lower())
    return None if known is None else f"is {known[0]}; {known[1].format(file.name)}."
