"""How features lie in files, a module for each kind: arrays of the scan, the features, and metadata as JSON."""

from collections.abc import Mapping
from typing import Any

import numpy as np

Fields = Mapping[str, np.ndarray]
Metadata = Mapping[str, Any] | None

LONGEST = 1 << 20  # bytes of metadata, or of a header
