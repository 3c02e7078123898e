"""Many scans on many machines: an engine that is there already spreads the work, see `extract`."""

from .dataset import Describe as Describe
from .setup import Setup as Setup
from .spread import Spread as Spread
from .spread import extract as extract
