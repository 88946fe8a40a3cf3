"""The numbers of an explanation, typed, as `summary.json` keeps them.

Needs no torch, so that a report over many runs can read their summaries and pool them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from mufnet_lightning.explain.choice import Chosen
from mufnet_lightning.explain.options import ExplainOptions
from mufnet_lightning.vocabulary import CLASS_NAMES

Interval = tuple[float, float]


@dataclass(frozen=True)
class Mean:
    """A mean over patients.

    Attributes:
        value: None where nobody has one.
        ci: its 95% interval; None for fewer than two patients.
        patients: that have a value.
    """

    value: float | None
    ci: Interval | None
    patients: int


@dataclass(frozen=True)
class Gain(Mean):
    """A mean difference over patients; `p` of the test that it is 0, None where there is none."""

    p: float | None


@dataclass(frozen=True)
class NetworksMean:
    """A mean over networks with random weights, `draws` of them; see `Mean`."""

    value: float | None
    ci: Interval | None
    draws: int


@dataclass(frozen=True)
class GradeRow:
    """A measure of the maps by grade.

    Attributes:
        measure: its column in the table of images.
        name: what it is called.
        low, high: of each grade.
        difference, ci: high minus low, and its interval.
        p, p_holm: of the difference; the latter corrected for all measures.
        missing: images without a value.
    """

    measure: str
    name: str
    low: Mean
    high: Mean
    difference: float | None
    ci: Interval | None
    p: float | None
    p_holm: float | None
    missing: int


@dataclass(frozen=True)
class SanityRow:
    """Rank correlation with the maps of weights drawn anew, of a stage and modality; see `Mean`."""

    stage: str
    modality: str
    value: float | None
    ci: Interval | None
    patients: int


@dataclass(frozen=True)
class FaithfulnessRow:
    """Area under the curve of `deletion` or `insertion`, of the maps and of random ones.

    Attributes:
        curve: which of them.
        value, random: of the maps, and of maps that mean nothing.
        gain: how much better than random ones the maps are.
    """

    curve: str
    value: float | None
    random: float | None
    gain: Gain


@dataclass(frozen=True)
class PointingRow:
    """Pointing at a phantom's signal.

    Attributes:
        kind: `energy` or `hit`.
        modality: whose maps.
        value, chance: of the maps, and of maps that mean nothing.
        gain: of the maps over chance.
        random_weights: the same gain of networks with random weights; None without the checks.
    """

    kind: str
    modality: str
    value: float | None
    chance: float | None
    gain: Gain
    random_weights: NetworksMean | None


@dataclass(frozen=True)
class Origin:
    """What the maps are of.

    Attributes:
        options: how they were made.
        lesion_area: share of a crop that the lesion's ellipse covers.
        phantom: whether they were held against a phantom's signal.
        modalities: of the network.
        chosen: the patients that are shown; None for folds together.
        folds: those that are pooled; None for one network.
    """

    options: ExplainOptions
    lesion_area: float
    phantom: bool
    modalities: tuple[str, ...]
    chosen: tuple[Chosen, ...] | None = None
    folds: tuple[int, ...] | None = None

    def is_alike(self, other: Origin) -> bool:
        """Whether two folds' maps were made the same way, and may be pooled."""
        return (self.options, self.phantom) == (other.options, other.phantom)

    def as_json(self) -> dict[str, object]:
        """The first keys of `summary.json`."""
        content: dict[str, object] = {
            option.name: getattr(self.options, option.name) for option in fields(ExplainOptions)
        }
        content |= {"lesion_area": self.lesion_area, "phantom": self.phantom}
        if self.chosen is not None:
            content["chosen"] = _plain([asdict(one) for one in self.chosen])
        content["modalities"] = list(self.modalities)
        return content if self.folds is None else {**content, "folds": list(self.folds)}


@dataclass(frozen=True)
class Summary:
    """The numbers of an explanation, with the patient as the unit. What was not checked is empty.

    Attributes:
        origin: of the maps.
        images, patients: how many.
        by_grade: a row a measure.
        sanity: a row a stage and modality.
        faithfulness: deletion, insertion.
        pointing: a row a kind and modality.
        verdicts: in words, what the checks mean.
    """

    origin: Origin
    images: int
    patients: int
    by_grade: tuple[GradeRow, ...]
    sanity: tuple[SanityRow, ...]
    faithfulness: tuple[FaithfulnessRow, ...]
    pointing: tuple[PointingRow, ...]
    verdicts: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """As `summary.json` has it: plain lists and dictionaries, and no number that is not finite."""
        curves = {row.curve: _plain(asdict(row)) for row in self.faithfulness}
        for curve in curves.values():
            del curve["curve"]
        return {
            **self.origin.as_json(),
            "images": self.images,
            "patients": self.patients,
            "by_grade": [_plain(asdict(row)) for row in self.by_grade],
            "sanity": [_plain(asdict(row)) for row in self.sanity],
            "faithfulness": curves,
            "pointing": [_plain(asdict(row)) for row in self.pointing],
            "verdicts": list(self.verdicts),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Summary:
        """Of a `summary.json`, also one that version 0.1 wrote.

        Raises:
            KeyError: something is not there.
        """
        options = {option.name: content[option.name] for option in fields(ExplainOptions)}
        chosen, folds = content.get("chosen"), content.get("folds")
        origin = Origin(
            ExplainOptions(**options),
            content["lesion_area"],
            content["phantom"],
            tuple(content["modalities"]),
            None if chosen is None else tuple(Chosen(**one) for one in chosen),
            None if folds is None else tuple(folds),
        )
        return cls(
            origin,
            content["images"],
            content["patients"],
            tuple(_grade_row(row) for row in content["by_grade"]),
            tuple(SanityRow(**_row(row)) for row in content["sanity"]),
            tuple(
                FaithfulnessRow(curve, row["value"], row["random"], Gain(**_row(row["gain"])))
                for curve, row in content["faithfulness"].items()
            ),
            tuple(_pointing_row(row) for row in content["pointing"]),
            tuple(content["verdicts"]),
        )


def _grade_row(row: Mapping[str, Any]) -> GradeRow:
    grades = {side: Mean(**_row(row[side])) for side in CLASS_NAMES}
    return GradeRow(**{**_row(row), **grades})


def _pointing_row(row: Mapping[str, Any]) -> PointingRow:
    random = row["random_weights"]
    networks = None if random is None else NetworksMean(**_row(random))
    return PointingRow(**{**row, "gain": Gain(**_row(row["gain"])), "random_weights": networks})


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    ci: Sequence[float] | None = row["ci"]
    return {**row, "ci": None if ci is None else (ci[0], ci[1])}


def _plain(value: Any) -> Any:
    """With lists for tuples, as JSON gives them back."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
