"""What descriptors are good for: tasks, heads, and their registries, which entry points of `msm3d.tasks` and
`msm3d.heads` add to in every process."""

from typing import TYPE_CHECKING, Any

from .._util.lazy import lazily
from .registry import Registry

if TYPE_CHECKING:
    from .base import Metric as Metric
    from .base import Tally as Tally
    from .base import Task as Task
    from .clustering import Clustering as Clustering
    from .clustering import cluster as cluster
    from .confusion import Confusion as Confusion
    from .confusion import Scores as Scores
    from .fingerprint import Fingerprint as Fingerprint
    from .instances.average_precision import average_precision as average_precision
    from .labels import Labels as Labels
    from .segmenting import Segmented as Segmented
    from .segmenting import segment as segment
    from .teaching import teach as teach

TASKS = Registry(
    "task",
    "msm3d.tasks",
    {
        "segmentation": "msm3d.tasks.segmentation:Segmentation",
        "instances": "msm3d.tasks.instances.task:InstanceSegmentation",
        "grounding": "msm3d.tasks.grounding.task:Grounding",
    },
)
"""Every task by its name."""
register = TASKS.register


def task(name: Any) -> "Task":
    """Return a task by its name; a task stays what it is.

    >>> task("segmentation").metrics[0].title
    'mIoU'
    >>> task("segmentatoin")
    Traceback (most recent call last):
    msm3d.errors.InputError: unknown task 'segmentatoin'; did you mean 'segmentation'?
    """
    return TASKS[name]() if isinstance(name, str) else name


__getattr__ = lazily(
    __name__,
    base="Metric Tally Task",
    clustering="Clustering cluster",
    confusion="Confusion Scores",
    fingerprint="Fingerprint",
    instances__average_precision="average_precision",
    labels="Labels",
    segmenting="Segmented segment",
    teaching="teach",
)
