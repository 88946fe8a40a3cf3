"""Scores of several arms on the same images, checked once: what takes them checks nothing again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mufnet_lightning.evaluation.statistics.checks import (
    Codes,
    EvaluationError,
    Flags,
    Floats,
    as_codes,
    as_labels,
    as_scores,
    one_label_each,
)
from mufnet_lightning.vocabulary import Level


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of K arms on the same N images of P patients.

    Attributes:
        names: (K,) of the arms, no two alike; without any, they are called `arm 1`, `arm 2`.
        labels: (N,), true for high.
        scores: (K, N), finite; higher means more likely high.
        patients: (N,), the patient of each image: numbers or text.
        codes: (N,), the patient of each image as a whole number, in order of appearance.
        patient_names: (P,), in that order.
        patient_labels: (P,), true for high.
        folds: (K, N), of arms that were pooled out of folds the fold whose model scored each image, a
            patient's images all in one; -1 throughout for an arm that was not. None where none was.

    Raises:
        EvaluationError: labels other than 0 and 1, a score that is missing or infinite, an image
            without a patient, a patient with two labels, two arms of one name, or arrays that do
            not fit each other.
    """

    names: tuple[str, ...]
    labels: Flags
    scores: Floats
    patients: NDArray[np.generic]
    codes: Codes = field(init=False, repr=False)
    patient_names: NDArray[np.generic] = field(init=False, repr=False)
    patient_labels: Flags = field(init=False, repr=False)
    folds: Codes | None = field(default=None, kw_only=True, repr=False)

    def __post_init__(self) -> None:
        labels = as_labels(self.labels)
        scores = as_scores(self.scores, len(labels))
        names = tuple(self.names) or tuple(f"arm {number + 1}" for number in range(len(scores)))
        if len(names) != len(scores):
            raise EvaluationError(f"{len(names)} names do not fit {len(scores)} arms.")
        if len(set(names)) < len(names):
            raise EvaluationError("two arms have the same name.")
        codes, patient_names = as_codes(self.patients, len(labels))
        checked = {
            "names": names,
            "labels": labels,
            "scores": scores,
            "patients": np.asarray(self.patients),
            "codes": codes,
            "patient_names": patient_names,
            "patient_labels": one_label_each(labels, codes, patient_names),
        }
        for name, values in checked.items():
            object.__setattr__(self, name, values)

    @classmethod
    def of(
        cls,
        labels: ArrayLike,
        scores: ArrayLike,
        patients: ArrayLike | None = None,
        names: Sequence[str] | None = None,
    ) -> Scores:
        """Check arrays, lists or columns of a table.

        >>> scores = Scores.of([0, 0, 1, 1], [0.1, 0.4, 0.7, 0.9], ["a", "a", "b", "c"], ["fused"])
        >>> scores.at("patient").scores.tolist()
        [[0.25, 0.7, 0.9]]

        Args:
            labels: (N,) of 0 and 1; the images of a patient share one.
            scores: (K, N), or (N,) of one arm.
            patients: (N,); without, each image is a patient of its own.
            names: (K,); without, the arms are called `arm 1`, `arm 2`.

        Raises:
            EvaluationError: as above.
        """
        ones = np.arange(np.size(labels)) if patients is None else patients
        return cls(
            tuple(names or ()),
            cast(Flags, labels),
            cast(Floats, scores),
            cast(NDArray[np.generic], ones),
        )

    def at(self, level: Level) -> Scores:
        """These scores, or with `patient` the mean score of each patient's images."""
        return self if level == "image" else self._by_patient

    def over_patients(self, values: Floats) -> Floats:
        """(K, P): the mean over each patient's images of numbers (K, N)."""
        count = np.bincount(self.codes)
        return np.stack([np.bincount(self.codes, row) / count for row in values])

    def subset(self, images: Flags) -> Scores:
        """The scores of some images alone, chosen by flags (N,)."""
        folds = None if self.folds is None else self.folds[:, images]
        return Scores(
            self.names, self.labels[images], self.scores[:, images], self.patients[images], folds=folds
        )

    def is_out_of_fold(self, arm: int) -> bool:
        """Whether an arm's scores were pooled out of several folds."""
        return self.folds is not None and bool((self.folds[arm] >= 0).all())

    @property
    def are_probabilities(self) -> Flags:
        """(K,): whether all scores of an arm lie from 0 to 1."""
        return np.asarray((self.scores.min(axis=1) >= 0) & (self.scores.max(axis=1) <= 1))

    @cached_property
    def _by_patient(self) -> Scores:
        means = self.over_patients(self.scores)
        first = np.unique(self.codes, return_index=True)[1]
        folds = None if self.folds is None else self.folds[:, first]
        return Scores(self.names, self.patient_labels, means, self.patient_names, folds=folds)
