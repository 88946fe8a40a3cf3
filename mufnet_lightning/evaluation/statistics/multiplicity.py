"""Several tests at once.

Holm S. A simple sequentially rejective multiple test procedure. Scand J Statist 1979;6:65-70.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mufnet_lightning.evaluation.statistics.checks import EvaluationError, Floats


def holm(p_values: ArrayLike) -> Floats:
    """Holm's adjusted p-values (T,): all below 0.05 are significant at a family-wise 0.05.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]

    Args:
        p_values: (T,), each from 0 to 1; any dependence between the tests.
    """
    p = np.asarray(p_values, np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise EvaluationError("p-values must be numbers from 0 to 1.")
    order = np.argsort(p, kind="stable")
    steps = np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * steps))
    return adjusted
