"""Labelled synthetic rooms, scanned as with a hand-held RGB-D camera: data to learn from where none can be shipped."""

from .classes import CLASSES as CLASSES
from .classes import KINDS as KINDS
from .classes import OTHER as OTHER
from .files import write as write
from .generator import make as make
from .generator import photographed as photographed
from .ways import WAYS as WAYS
