"""How groups of patients differ in one variable: the test, and the standardised mean difference.

Numbers, normal in every group: Student's t with equal variances, of more than two groups one-way
analysis of variance; otherwise Mann-Whitney U, or Kruskal-Wallis. Categories: Pearson's chi-square
without continuity correction; where an expected count is under 5, Fisher's exact test, of a table
larger than 2 × 2 that of Freeman and Halton.

A standardised mean difference (SMD) says how far two groups lie apart, in standard deviations, and does
not grow with the number of patients as 1 − p does. It is given without its sign; of more than two
groups it is the largest of any two.

Fisher RA. On the interpretation of χ² from contingency tables, and the calculation of P. J R Stat Soc
1922;85:87-94.
Freeman GH, Halton JH. Note on an exact treatment of contingency, goodness of fit and other problems of
significance. Biometrika 1951;38:141-149.
Kruskal WH, Wallis WA. Use of ranks in one-criterion variance analysis. JASA 1952;47:583-621.
Austin PC. Using the standardized difference to compare the prevalence of a binary variable between two
groups in observational research. Commun Stat Simul Comput 2009;38:1228-1234.
Yang D, Dalton JE. A unified approach to measuring the effect size between two groups using SAS. SAS
Global Forum 2012, paper 335.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mufnet_lightning.evaluation.statistics.checks import Floats

STUDENT, MANN_WHITNEY = "Student's t", "Mann-Whitney U"
ANOVA, KRUSKAL_WALLIS = "analysis of variance", "Kruskal-Wallis"
CHI_SQUARE, FISHER = "Pearson's chi-square", "Fisher's exact"
FEW = 5
"""Of an expected count: under it chi-square is not trusted."""
TABLES = 99_999
"""Drawn for Fisher's test of a table larger than 2 × 2; a p of 0.05 is then exact to 0.0014."""

Counts = NDArray[np.int64]
Group = TypeVar("Group", Floats, Counts)


@dataclass(frozen=True)
class GroupTest:
    """What is said of a whole variable.

    Attributes:
        name: of the test; None where nothing can be tested.
        p: of the test, two-sided.
        smd: standardised mean difference, 0 or more; None where it is not defined.
        note: why something is not defined, and what must be known of the rest.
    """

    name: str | None
    p: float | None
    smd: float | None
    note: str = ""


def number_test(groups: Mapping[str, Floats], normal: bool) -> GroupTest:
    """Test a number in two groups or more.

    Args:
        groups: the known values of each.
        normal: whether all of them are taken for normal.
    """
    values = list(groups.values())
    if not all(len(group) for group in values):
        return GroupTest(None, None, None, "A group has no values.")
    if np.ptp(np.concatenate(values)) == 0:
        return GroupTest(None, None, None, "All values are equal.")
    if len(values) == 2 and normal:
        name, p = STUDENT, stats.ttest_ind(*values, equal_var=True).pvalue
    elif len(values) == 2:
        name, p = MANN_WHITNEY, stats.mannwhitneyu(*values).pvalue
    elif normal:
        name, p = ANOVA, stats.f_oneway(*values).pvalue
    else:
        name, p = KRUSKAL_WALLIS, stats.kruskal(*values).pvalue
    smd, note = _largest(groups, _number_smd)
    return GroupTest(name, float(p), smd, note)


def category_test(counts: Counts, groups: tuple[str, ...]) -> GroupTest:
    """Test a category in two groups or more.

    >>> category_test(np.array([[1, 8], [10, 3]]), ("men", "women")).name
    "Fisher's exact"

    Args:
        counts: (groups, levels), patients; each level has some.
        groups: their names.
    """
    if not counts.sum(axis=1).all():
        return GroupTest(None, None, None, "A group has no values.")
    if counts.shape[1] < 2:
        return GroupTest(None, None, None, "All values are equal.")
    smd, note = _largest(dict(zip(groups, counts, strict=True)), _category_smd)
    outcome = stats.chi2_contingency(counts, correction=False)
    if (outcome.expected_freq >= FEW).all():
        return GroupTest(CHI_SQUARE, float(outcome.pvalue), smd, note)
    if counts.shape == (2, 2):
        return GroupTest(FISHER, float(stats.fisher_exact(counts).pvalue), smd, note)
    # the same table gives the same p
    draws = stats.MonteCarloMethod(n_resamples=TABLES, rng=np.random.default_rng(0))
    (p,) = np.ravel(stats.fisher_exact(counts, method=draws).pvalue)  # some tables give an array
    drawn = f"Fisher's p is from {TABLES:,} random tables with these margins."
    return GroupTest(FISHER, float(p), smd, f"{drawn} {note}".strip())


def _largest(
    groups: Mapping[str, Group], smd: Callable[[Group, Group], float | None]
) -> tuple[float | None, str]:
    """The largest SMD of any two groups, and which they are."""
    pairs = {pair: smd(groups[pair[0]], groups[pair[1]]) for pair in combinations(groups, 2)}
    if any(value is None for value in pairs.values()):
        return None, "The SMD is not defined: a group does not vary."
    pair = max(pairs, key=lambda one: pairs[one] or 0.0)
    between = f"The SMD is that of {pair[0]} and {pair[1]}, the largest of any two groups."
    return pairs[pair], between if len(pairs) > 1 else ""


def _number_smd(first: Floats, second: Floats) -> float | None:
    """|m₁ − m₂| / √((s₁² + s₂²) / 2)."""
    if min(len(first), len(second)) < 2:
        return None
    variance = (first.var(ddof=1) + second.var(ddof=1)) / 2
    difference = abs(float(first.mean() - second.mean()))
    if variance == 0:
        return None if difference else 0.0
    return float(difference / np.sqrt(variance))


def _category_smd(first: Counts, second: Counts) -> float | None:
    """Mahalanobis' distance of the shares of all levels but one, in the mean of both covariances."""
    shares = [counts[1:] / counts.sum() for counts in (first, second)]
    difference = shares[0] - shares[1]
    if not difference.any():
        return 0.0
    covariance = sum(np.diag(share) - np.outer(share, share) for share in shares) / 2
    weights = np.linalg.pinv(covariance, hermitian=True) @ difference
    if not np.allclose(covariance @ weights, difference, atol=1e-9):
        return None  # groups that share no level lie endlessly far apart
    return float(np.sqrt(difference @ weights))
