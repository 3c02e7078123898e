"""How good are the features? Probes on cached features of labelled scans, their metrics, data sets and protocols."""

from .cache import FeatureCache as FeatureCache
from .classes import IGNORE as IGNORE
from .classes import S3DIS as S3DIS
from .classes import SCANNET20 as SCANNET20
from .classes import SCANNET200 as SCANNET200
from .classes import ClassList as ClassList
from .classes import class_list as class_list
from .datasets import Dataset as Dataset
from .datasets import Scene as Scene
from .datasets import open_dataset as open_dataset
from .estimator import NotFittedError as NotFittedError
from .features import Features as Features
from .features import ModelFeatures as ModelFeatures
from .features import RawFeatures as RawFeatures
from .features import random_network as random_network
from .linear import LinearProbe as LinearProbe
from .metrics import Confusion as Confusion
from .metrics import Scores as Scores
from .metrics import class_table as class_table
from .nearest import KNNProbe as KNNProbe
from .probing import probe as probe
from .protocols import PROTOCOLS as PROTOCOLS
from .protocols import LeakageError as LeakageError
from .protocols import Protocol as Protocol
from .report import Report as Report
