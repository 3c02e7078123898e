"""msm3d: one meaningful vector per point of a 3D scan.

>>> import msm3d
>>> msm3d.list_models()
['rooms', 'scannet']
"""

from .config import BackboneConfig as BackboneConfig
from .errors import Msm3dError as Msm3dError
from .errors import Msm3dWarning as Msm3dWarning
from .model import Model as Model
from .model import load as load
from .points import PointCloud as PointCloud
from .weights import info as info
from .weights import list_models as list_models

__version__ = "0.1.0"
