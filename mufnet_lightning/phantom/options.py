"""What to simulate, and the ceilings that follow from it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import cv2

from mufnet_lightning.errors import InputFault
from mufnet_lightning.phantom.signals import KINDS

SMALLEST_PANE = 128  # pixels: below this the tumour is smaller than its own speckle
CODECS = {"avi": (cv2.CAP_OPENCV_MJPEG, "MJPG"), "mp4": (cv2.CAP_FFMPEG, "mp4v")}
CONFOUNDERS = ("center", "scanner")
SHORTEST_CURVE = 4  # frames, from which the timing of a bolus can be told


@dataclass(frozen=True)
class PhantomOptions:
    """What to simulate; raises InputFault, with a sentence for each fault, when it makes no sense.

    Attributes:
        patients: number of patients, one clip each; at least 2.
        high_share: share of patients of high grade; both classes need at least one patient.
        frames: annotated frames of a clip, on average over the patients.
        frames_spread: how far the clips' numbers of annotated frames lie from that at most, as a share
            of it, as far as `clip_length` leaves room; 0 gives every clip the same.
        frames_by_grade: annotated frames of a clip of low and of high grade, on average, in place of
            `frames`; (48, 105) is the paper's cohort. By default grade and number are independent.
        clip_length: frames of each clip, twice its annotated ones when None; at least `frames`.
        pane_size: side of each square pane in pixels, at least 128.
        centers: number of centres, as even as can be.
        auc_bmode: ceiling of the B-mode pane, above 0.5 and at most 0.999.
        auc_ceus: ceiling of the CEUS pane, likewise.
        bmode_signal: the kinds of signal that show b: texture, margin, brightness.
        ceus_signal: the kinds of signal that show c: texture, timing (of the bolus; no single frame
            tells it), margin, brightness. With several, each shows all of it.
        confound: "center" or "scanner", to tie it to the grade: whoever reads it off may beat the
            ceilings, which are of what b and c show.
        confound_strength: share of the patients whose centre or scanner the grade decides.
        duplicates: how many patients are another one's scan, under an id of its own.
        video_format: "avi" (Motion JPEG) or "mp4" (MPEG-4 part 2).
        seed: not negative; the same options and seed give the same files byte for byte.
    """

    patients: int = 100
    high_share: float = 0.26
    frames: int = 60
    frames_spread: float = 0.5
    frames_by_grade: tuple[int, int] | None = None
    clip_length: int | None = None
    pane_size: int = 320
    centers: int = 2
    auc_bmode: float = 0.838
    auc_ceus: float = 0.845
    bmode_signal: tuple[str, ...] = ("texture", "margin")
    ceus_signal: tuple[str, ...] = ("texture", "timing", "margin")
    confound: str | None = None
    confound_strength: float = 0.8
    duplicates: int = 0
    video_format: str = "avi"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("bmode_signal", "ceus_signal", "frames_by_grade"):  # lists, from truth.json
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else tuple(value))
        faults = [sentence for sentence, holds in self._checks().items() if not holds]
        if not faults and not 0 < self.high_patients < self.patients:
            faults = [
                f"a share of {self.high_share} makes {self.high_patients} of {self.patients} "
                "patients high grade, but both classes need at least one"
            ]
        if not faults and self.duplicates > self._most_duplicates:
            faults = [
                f"{self.patients} patients have at most {self._most_duplicates} duplicates of their "
                f"own grade, not {self.duplicates}"
            ]
        if faults:
            raise InputFault(faults)

    @property
    def high_patients(self) -> int:
        """How many patients are of high grade."""
        return round(self.high_share * self.patients)

    @property
    def mean_frames(self) -> tuple[int, int]:
        """Annotated frames of a clip of low and of high grade, on average."""
        return self.frames_by_grade or (self.frames, self.frames)

    @property
    def _most_duplicates(self) -> int:
        return self.high_patients // 2 + (self.patients - self.high_patients) // 2

    def _checks(self) -> dict[str, bool]:
        """Each fault's sentence, and whether all is well with it."""
        checks = {
            f"a phantom needs at least 2 patients, not {self.patients}": self.patients >= 2,
            f"the share of high grade must lie between 0 and 1, not be {self.high_share}": (
                0 < self.high_share < 1
            ),
            f"the spread of annotated frames must lie between 0 and 0.9, not be {self.frames_spread}": (
                0 <= self.frames_spread <= 0.9
            ),
            f"a pane needs at least {SMALLEST_PANE} pixels a side, not {self.pane_size}": (
                self.pane_size >= SMALLEST_PANE
            ),
            f"the number of centres must lie between 1 and the number of patients "
            f"({self.patients}), not be {self.centers}": 1 <= self.centers <= max(2, self.patients),
            f"the video format must be avi or mp4, not {self.video_format}": (
                self.video_format in CODECS
            ),
            f"the number of duplicates must not be negative, but is {self.duplicates}": (
                self.duplicates >= 0
            ),
            f"what is tied to the grade must be center or scanner, not {self.confound}": (
                self.confound in (None, *CONFOUNDERS)
            ),
            f"the strength of the tie must lie between 0 and 1, not be {self.confound_strength}": (
                0 <= self.confound_strength <= 1
            ),
            "one centre cannot be tied to the grade, there must be at least 2": (
                self.confound != "center" or self.centers > 1
            ),
            f"the seed must not be negative, but is {self.seed}": self.seed >= 0,
        }
        return {**checks, **self._checks_of_frames(), **self._checks_of_signals()}

    def _checks_of_frames(self) -> dict[str, bool]:
        if len(self.mean_frames) != 2:
            return {
                "the frames by grade are two numbers, of low and of high grade, not "
                f"{len(self.mean_frames)}": False
            }
        checks = {}
        for frames in self.mean_frames:
            checks[f"a clip needs at least 1 annotated frame, not {frames}"] = frames >= 1
            checks[f"a clip of {self.clip_length} frames cannot hold {frames} annotated ones"] = (
                self.clip_length is None or self.clip_length >= frames
            )
        return checks

    def _checks_of_signals(self) -> dict[str, bool]:
        checks = {}
        for pane, name in (("bmode", "B-mode"), ("ceus", "CEUS")):
            auc, kinds = getattr(self, f"auc_{pane}"), getattr(self, f"{pane}_signal")
            checks[f"the {name} AUC must be above 0.5 and at most 0.999, not {auc}"] = (
                0.5 < auc <= 0.999
            )
            there = ", ".join(KINDS[pane])
            checks[f"the {name} pane needs at least one kind of signal: {there}"] = bool(kinds)
            checks[f"a kind of signal of the {name} pane is given twice"] = len(set(kinds)) == len(
                kinds
            )
            for kind in kinds:
                checks[f"the {name} pane has no signal {kind!r}, it has {there}"] = kind in KINDS[pane]
        shortest = self.clip_length or 2 * min(self.mean_frames)
        checks[
            f"one frame tells nothing of the timing of the bolus: a clip that has no other signal "
            f"needs at least {SHORTEST_CURVE} frames, not {shortest}"
        ] = self.ceus_signal != ("timing",) or shortest >= SHORTEST_CURVE
        return checks


def separations(options: PhantomOptions) -> dict[str, float]:
    """The distance d between the classes, in standard deviations, of each arm: d = √2 Φ⁻¹(AUC)."""
    d_b, d_c = (
        math.sqrt(2) * NormalDist().inv_cdf(auc) for auc in (options.auc_bmode, options.auc_ceus)
    )
    return {"bmode": d_b, "ceus": d_c, "fused": math.hypot(d_b, d_c)}


def ceilings(options: PhantomOptions) -> dict[str, float]:
    """The highest AUC, over patients, that any reader of each arm can expect: Φ(d/√2).

    >>> {arm: round(auc, 4) for arm, auc in ceilings(PhantomOptions()).items()}
    {'bmode': 0.838, 'ceus': 0.845, 'fused': 0.9215}
    """
    return {arm: NormalDist().cdf(d / math.sqrt(2)) for arm, d in separations(options).items()}
