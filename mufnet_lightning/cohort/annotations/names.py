"""Which clip a picture's or film's name means: exactly one, or a fault."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mufnet_lightning.cohort.clips import FILM_ENDINGS
from mufnet_lightning.cohort.faults import quoted
from mufnet_lightning.cohort.stills import IMAGE_ENDINGS
from mufnet_lightning.errors import InputFault

FIELDS = ("{clip}", "{frame}")
ENDINGS = (*IMAGE_ENDINGS, *FILM_ENDINGS, ".dcm", ".json", ".txt", ".nii", ".gz")
"""Of files; what else stands behind a point is part of a name."""


class ClipNames:
    """The names that each clip of a cohort goes by.

    Args:
        paths: path in clips.csv, by clip_id.
    """

    def __init__(self, paths: Mapping[str, str]) -> None:
        self._paths = {clip: _parts(path) for clip, path in paths.items()}
        self._by_name: dict[str, set[str]] = {}
        for clip, path in self._paths.items():
            for name in (_plain(clip), path[-1], _stem(path[-1])):
                self._by_name.setdefault(name, set()).add(clip)

    def match(self, name: str) -> str:
        """The clip that a name means, by its path, its clip_id, or its file's name without the ending.

        A name in which more folders agree with one clip's path than with another's means that one.

        Raises:
            LookupError: it means none or several; the message says so.

        >>> names = ClipNames({"C1": "clips/left.avi", "C2": "clips/right.avi"})
        >>> names.match("D:\\\\films\\\\left.avi")
        'C1'
        """
        parts = _parts(name)
        if not parts:
            raise LookupError("has no name")
        whole = "/".join(parts)
        matches = set()
        for candidate in (whole, parts[-1], _stem(parts[-1])):
            matches |= self._by_name.get(candidate, set())
        if len(matches) > 1:
            shared = {clip: _shared(parts, self._paths[clip]) for clip in matches}
            most = max(shared.values())
            best = {clip for clip, count in shared.items() if count == most}
            matches = best if most > 1 else matches
        if len(matches) == 1 and self._contradicted(parts, self._paths[next(iter(matches))]):
            raise LookupError("lies in another folder than the clip of that name in clips.csv")
        if len(matches) == 1:
            return matches.pop()
        if not matches:
            raise LookupError("is no clip's path, clip_id or file name in clips.csv")
        raise LookupError(f"could be the clips {', '.join(sorted(matches))}")

    def _contradicted(self, parts: Sequence[str], path: Sequence[str]) -> bool:
        """Whether folders are those of patients, say, and a name's is not its clip's."""
        folders = {one[-2] for one in self._paths.values() if len(one) > 1}
        return len(folders) > 1 and len(parts) > 1 < len(path) and parts[-2] != path[-2]


@dataclass(frozen=True)
class NamePattern:
    """How names of single pictures are made of a clip's name and a frame's number.

    Attributes:
        text: as the user gave it, e.g. "{clip}_{frame}.png".
        expression: the same as a regular expression.
    """

    text: str
    expression: re.Pattern[str]

    @classmethod
    def of(cls, text: str) -> NamePattern:
        """Read a pattern.

        Raises:
            InputFault: it has neither {clip} nor {frame}, one of them twice, or nothing between them.
        """
        counts = [text.count(field) for field in FIELDS]
        if max(counts) != 1 or any(both in text for both in ("{clip}{frame}", "{frame}{clip}")):
            raise InputFault(
                f"--frames-from is {quoted(text)}, expected a name with {{clip}} and {{frame}} in it, "
                "each at most once, and something between them, as '{clip}_{frame}.png'"
            )
        plain = _plain(text).replace("\\", "/")
        while plain.lower().endswith(ENDINGS):  # names in annotations may lack it, or have another
            plain = plain.rpartition(".")[0]
        escaped = re.escape(plain)
        for field, within in zip(FIELDS, ("(?P<clip>[^/]+)", r"(?P<frame>\d+)"), strict=True):
            escaped = escaped.replace(re.escape(field), within)
        return cls(text, re.compile(rf"(?:.*/)?{escaped}(?:\.[^./]+)?"))

    @property
    def has_frame(self) -> bool:
        """Whether it tells the frame."""
        return "{frame}" in self.text

    @property
    def has_clip(self) -> bool:
        """Whether it tells the clip."""
        return "{clip}" in self.text

    def split(self, name: str) -> tuple[str, int | None]:
        """Name of the clip ("" where the pattern has none) and number of the frame.

        Raises:
            LookupError: the name is not made so.

        >>> NamePattern.of("{clip}_{frame}").split("frames/C1_0012.png")
        ('C1', 12)
        """
        match = self.expression.fullmatch("/".join(_parts(name)))
        if match is None:
            raise LookupError(f"is not made as --frames-from says, {self.text}")
        fields = match.groupdict()
        return fields.get("clip", ""), int(fields["frame"]) if self.has_frame else None


def _plain(name: str) -> str:
    """One spelling of letters with accents: Macs write them in two characters."""
    return unicodedata.normalize("NFC", name.strip())


def _parts(name: str) -> Sequence[str]:
    """Folders and file, of Windows' names too."""
    parts = _plain(name).replace("\\", "/").split("/")
    return [part for part in parts if part not in ("", ".")]


def _stem(name: str) -> str:
    """Without the endings of files; UIDs and versions have points of their own."""
    while name.lower().endswith(ENDINGS) and name.rpartition(".")[0]:
        name = name.rpartition(".")[0]
    return name


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    """How many parts agree, from the end; the file's ending may differ."""
    count = 0
    for first, second in zip(reversed(one), reversed(other), strict=False):
        if first != second and (count or _stem(first) != _stem(second)):
            break
        count += 1
    return count
