"""Grounding: which of a scan's things a sentence means, on frozen features."""

from typing import TYPE_CHECKING

from ..._util.lazy import lazily

if TYPE_CHECKING:
    from .asked import Asked as Asked
    from .finding import Found as Found
    from .finding import find as find
    from .match import Match as Match
    from .objects import Objects as Objects
    from .saying import Sentence as Sentence
    from .saying import sentences as sentences
    from .task import Grounding as Grounding
    from .told import by_scene as by_scene
    from .told import read_told as read_told

__getattr__ = lazily(
    __name__,
    asked="Asked",
    finding="Found find",
    match="Match",
    objects="Objects",
    saying="Sentence sentences",
    task="Grounding",
    told="by_scene read_told",
)
