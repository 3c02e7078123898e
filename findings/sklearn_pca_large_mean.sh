#!/usr/bin/env bash
# scikit-learn 1.9.1 loses the small variances of float32 data that lie far from the origin, with PCA's default solver.
# Seen: 20,000 rows with variances of 9, 4 and 1 about a mean of 1,000 give 10.7, 5.4 and 2.4; about 10,000 the third is exactly 0.
# A good guess: 9, 4 and 1: float32 places such rows to within 0.001, and svd_solver="full" finds 9.0, 3.9 and 1.0 in the same array.
# The default forms the covariance from sums that aren't centred, and says nothing.
# Exits non-zero if that changes.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check scikit-learn==1.9.1 numpy==2.4.6
v/bin/python - <<'PYTHON'
import numpy as np
from sklearn.decomposition import PCA

rows = np.random.default_rng(0).normal(size=(20000, 3)) * [3, 2, 1]
for mean in (1000, 10000):
    array = (rows + mean).astype(np.float32)
    default = PCA().fit(array).explained_variance_
    full = PCA(svd_solver="full").fit(array).explained_variance_
    print(mean, default, full)
    assert np.allclose(full, [9, 4, 1], atol=0.1), full
    assert np.abs(default - full).min() > 1, default
assert default[2] == 0, default
PYTHON
