"""What to simulate, and the ceilings that follow from it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import cv2

from mufnet_lightning.errors import InputFault

SMALLEST_PANE = 128  # pixels: below this the tumour is smaller than its own speckle
CODECS = {"avi": (cv2.CAP_OPENCV_MJPEG, "MJPG"), "mp4": (cv2.CAP_FFMPEG, "mp4v")}


@dataclass(frozen=True)
class PhantomOptions:
    """What to simulate; raises InputFault, with a sentence for each fault, when it makes no sense.

    Attributes:
        patients: number of patients, one clip each; at least 2.
        high_share: share of patients of high grade; both classes need at least one patient.
        frames: annotated frames of each clip.
        clip_length: frames of each clip, twice `frames` when None; at least `frames`.
        pane_size: side of each square pane in pixels, at least 128.
        centers: number of centres, as even as can be.
        auc_bmode: ceiling of the B-mode pane, above 0.5 and at most 0.999.
        auc_ceus: ceiling of the CEUS pane, likewise.
        video_format: "avi" (Motion JPEG) or "mp4" (MPEG-4 part 2).
        seed: not negative; the same options and seed give the same files byte for byte.
    """

    patients: int = 100
    high_share: float = 0.26
    frames: int = 60
    clip_length: int | None = None
    pane_size: int = 320
    centers: int = 2
    auc_bmode: float = 0.838
    auc_ceus: float = 0.845
    video_format: str = "avi"
    seed: int = 0

    def __post_init__(self) -> None:
        checks = {
            f"a phantom needs at least 2 patients, not {self.patients}": self.patients >= 2,
            f"the share of high grade must lie between 0 and 1, not be {self.high_share}": (
                0 < self.high_share < 1
            ),
            f"a clip needs at least 1 annotated frame, not {self.frames}": self.frames >= 1,
            f"a clip of {self.clip_length} frames cannot hold {self.frames} annotated ones": (
                self.length >= self.frames
            ),
            f"a pane needs at least {SMALLEST_PANE} pixels a side, not {self.pane_size}": (
                self.pane_size >= SMALLEST_PANE
            ),
            f"the number of centres must lie between 1 and the number of patients "
            f"({self.patients}), not be {self.centers}": 1 <= self.centers <= max(2, self.patients),
            f"the video format must be avi or mp4, not {self.video_format}": (
                self.video_format in CODECS
            ),
            f"the seed must not be negative, but is {self.seed}": self.seed >= 0,
        }
        for name, auc in (("B-mode", self.auc_bmode), ("CEUS", self.auc_ceus)):
            sentence = f"the {name} AUC must be above 0.5 and at most 0.999, not {auc}"
            checks[sentence] = 0.5 < auc <= 0.999
        faults = [sentence for sentence, holds in checks.items() if not holds]
        if not faults and not 0 < self.high_patients < self.patients:
            faults = [
                f"a share of {self.high_share} makes {self.high_patients} of {self.patients} "
                "patients high grade, but both classes need at least one"
            ]
        if faults:
            raise InputFault(faults)

    @property
    def length(self) -> int:
        """Frames of each clip."""
        return 2 * self.frames if self.clip_length is None else self.clip_length

    @property
    def high_patients(self) -> int:
        """How many patients are of high grade."""
        return round(self.high_share * self.patients)


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
