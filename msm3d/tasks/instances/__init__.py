"""Instance segmentation and boxes: what each thing in a scan is, which points are its own, and how large it is."""

from typing import TYPE_CHECKING

from ..._util.lazy import lazily

if TYPE_CHECKING:
    from .average_precision import average_precision as average_precision
    from .boxes import aligned_box as aligned_box
    from .boxes import box_iou as box_iou
    from .boxes import oriented_box as oriented_box
    from .detection import box_average_precision as box_average_precision
    from .found import Instances as Instances
    from .grouping import grouped as grouped
    from .task import InstanceSegmentation as InstanceSegmentation

__getattr__ = lazily(
    __name__,
    average_precision="average_precision",
    boxes="aligned_box box_iou oriented_box",
    detection="box_average_precision",
    found="Instances",
    grouping="grouped",
    task="InstanceSegmentation",
)
