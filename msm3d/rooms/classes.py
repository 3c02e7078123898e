"""What a point of a synthetic room can be: ScanNet's 20 classes, and `other` for everything they leave out."""

CLASSES = (
    "wall",
    "floor",
    "cabinet",
    "bed",
    "chair",
    "sofa",
    "table",
    "door",
    "window",
    "bookshelf",
    "picture",
    "counter",
    "desk",
    "curtain",
    "refrigerator",
    "shower curtain",
    "toilet",
    "sink",
    "bathtub",
    "otherfurniture",
)
"""Names of the segment ids 0 to 19, in the order of ScanNet's 20-class benchmark."""

OTHER = len(CLASSES)
"""Segment id 20: ceiling, lamps, rugs, mirrors, monitors, boxes and other clutter. Evaluation ignores it, as ScanNet
ignores what lies outside of its 20 classes; files in Pointcept's layout hold it as -1."""

KINDS = ("bedroom", "living room", "kitchen", "bathroom", "office", "meeting room", "corridor", "studio")
"""Kinds of scene that `make` knows; a studio is a small flat of several rooms."""


def segment_id(label: str) -> int:
    """Id of a class name; every name that is not a class is `other`.

    >>> segment_id("chair"), segment_id("lamp")
    (4, 20)
    """
    return CLASSES.index(label) if label in CLASSES else OTHER
