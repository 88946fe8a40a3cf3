"""What a crop store says of itself: store.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mufnet_lightning.errors import InputFault
from mufnet_lightning.store.seal import MAKE_AGAIN, is_sealed, sealed
from mufnet_lightning.system.documents import parse_json
from mufnet_lightning.system.guards import LARGEST_TABLE, read_text
from mufnet_lightning.vocabulary import MODALITIES, Modality

FORMAT = "mufnet crop store"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class StoreInfo:
    """How a store was made, and what is in it.

    Attributes:
        mufnet: version of the package that made it.
        created: when, as ISO 8601 in UTC.
        margin: context on each side of a box, as a share of its side.
        with_grades: whether every patient was to have a grade or a label.
        pairs: rows of the manifest.
        patients: of all pairs; `low` and `high` of them are of each class, the others ungraded.
        modalities: those of which there are crops.
        crops: files.
        digest: SHA-256 of all inputs, 64 hexadecimal digits: equal digests, equal crops.
        cohort: what names the cohort, whatever was added to it and whatever the margin; None where
            nothing does (see `cohort.identity`), as in a store of a version that did not note it.
        sums: SHA-256 of sums.csv (see `seal`); None in a store of a version that wrote none.
    """

    mufnet: str
    created: str
    margin: float
    with_grades: bool
    pairs: int
    patients: int
    low: int
    high: int
    modalities: tuple[Modality, ...]
    crops: int
    digest: str
    cohort: str | None = None
    sums: str | None = None

    @classmethod
    def read(cls, path: Path) -> StoreInfo:
        """Of the store at `path`; needs no pandas, so that a parser can ask.

        Raises:
            InputFault: there is none, it is damaged, or of a format that this version does not
                know.
        """
        root = Path(path)
        make_one = "make one with `mufnet prepare`"
        try:
            content = parse_json(read_text(root / "store.json", LARGEST_TABLE))
        except OSError:
            raise InputFault(
                f"there is no crop store at {path}: expected store.json; {make_one}"
            ) from None
        except ValueError:
            raise InputFault(f"the crop store {path} is damaged: store.json is not JSON") from None
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise InputFault(f"{path} is not a crop store: its store.json is another; {make_one}")
        damaged = f"the crop store {path} is damaged: "
        if not is_sealed(content, root):
            raise InputFault(f"{damaged}store.json is not as it was written; {MAKE_AGAIN}")
        if content.get("format_version") != FORMAT_VERSION:
            raise InputFault(
                f"the crop store {path} has format version {content.get('format_version')}, expected "
                f"{FORMAT_VERSION}: {make_one}"
            )
        try:
            info = cls.from_json(content)
        except KeyError as missing:
            raise InputFault(f"{damaged}store.json has no {missing.args[0]}; {make_one}") from None
        except (TypeError, ValueError) as error:
            raise InputFault(f"{damaged}store.json: {error}; {make_one}") from None
        if not (root / "manifest.csv").is_file():
            raise InputFault(f"{damaged}expected manifest.csv; {make_one}")
        return info

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> StoreInfo:
        """From what `as_json` gave.

        Raises:
            KeyError: something is not there; its name.
            TypeError, ValueError: something is of another kind.
        """
        cohort, sums = content.get("cohort"), content.get("sums")
        return cls(
            mufnet=str(content["mufnet"]),
            created=str(content["created"]),
            margin=float(content["margin"]),
            with_grades=bool(content["with_grades"]),
            pairs=int(content["pairs"]),
            patients=int(content["patients"]),
            low=int(content["low"]),
            high=int(content["high"]),
            modalities=tuple(name for name in MODALITIES if name in content["modalities"]),
            crops=int(content["crops"]),
            digest=str(content["digest"]),
            cohort=None if cohort is None else str(cohort),
            sums=None if sums is None else str(sums),
        )

    def as_json(self) -> dict[str, Any]:
        """The content of store.json (**contract**), with its format, version and seal."""
        content = asdict(self) | {"modalities": list(self.modalities)}
        for name in ("cohort", "sums"):
            if content[name] is None:
                del content[name]
        content = {"format": FORMAT, "format_version": FORMAT_VERSION, **content}
        return content if self.sums is None else sealed(content)

    def __str__(self) -> str:
        """`12 pairs of 3 patients (2 low, 1 high), bmode and ceus`."""
        ungraded = self.patients - self.low - self.high
        graded = (("low", self.low), ("high", self.high)) if ungraded < self.patients else ()
        classes = [f"{count:,} {name}" for name, count in graded]
        classes += [f"{ungraded:,} ungraded"] if ungraded else []
        return (
            f"{self.pairs:,} pair{'s' * (self.pairs != 1)} of "
            f"{self.patients:,} patient{'s' * (self.patients != 1)} "
            f"({', '.join(classes)}), {' and '.join(self.modalities)}"
        )
