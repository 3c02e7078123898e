"""Files to point clouds, and descriptors to files; of what is heavy nothing is imported before it is asked for."""

from typing import TYPE_CHECKING, Any

from .._util.lazy import lazily
from .registry import READERS as READERS
from .registry import WRITERS as WRITERS
from .registry import register as register
from .registry import unregister as unregister

if TYPE_CHECKING:  # for editors and type checkers; what runs is `__getattr__`
    from .bags import read_bag as read_bag
    from .frames import read_frames as read_frames
    from .objects import to_open3d as to_open3d
    from .objects import to_pointcept as to_pointcept
    from .objects import to_pyg as to_pyg
    from .reading import as_cloud as as_cloud
    from .reading import check as check
    from .reading import read as read
    from .reading import read_folder as read_folder

    KINDS: tuple[str, ...]


_found = lazily(
    __name__,
    bags="read_bag",
    frames="read_frames",
    objects="to_open3d to_pointcept to_pyg",
    reading="as_cloud check read read_folder",
)


def __getattr__(name: str) -> Any:
    """Return `KINDS`, the suffixes of the files that are read, as they are now; or what is imported when it is used."""
    return READERS.suffixes() if name == "KINDS" else _found(name)
