"""`mufnet phantom`: a simulated cohort whose best AUC is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, cast

from mufnet_lightning.commands.options import option, several, word


@dataclass(frozen=True)
class Phantom:
    """Write a simulated cohort of real video files, whose best possible AUC is known.

    Args:
        out: folder to write; must not exist yet
        patients: number of patients
        high_share: share of them that is of high grade
        frames: annotated frames of a clip, on average
        frames_spread: how far their number is from that at most, as a share of it
        frames_by_grade: the same for low and high grade, in place of --frames; the paper's are 48,105
        clip_length: frames of each clip; twice its annotated ones unless given
        pane_size: side of each pane, pixels
        centers: number of centres
        auc_bmode: ceiling of the B-mode pane
        auc_ceus: ceiling of the CEUS pane
        bmode_signal: what shows the B-mode pane's hidden number: texture, margin, brightness
        ceus_signal: what shows the CEUS pane's: the same, and timing, which no single frame tells
        confound: tie the centre or the scanner to the grade, to see whether that is noticed
        confound_strength: share of the patients for whom it is tied
        duplicates: number of patients who are another one's scan, to see whether that is noticed
        format: of the clips, Motion JPEG in an AVI or MPEG-4
        seed: same seed, same files byte for byte
    """

    out: Annotated[Path, word("OUT")]
    patients: Annotated[int, option("N")] = 100
    high_share: Annotated[float, option("SHARE")] = 0.26
    frames: Annotated[int, option("N")] = 60
    frames_spread: Annotated[float, option("SHARE")] = 0.5
    frames_by_grade: Annotated[tuple[int, ...], several("LOW,HIGH")] = ()
    clip_length: Annotated[int | None, option("N")] = None
    pane_size: Annotated[int, option("N")] = 320
    centers: Annotated[int, option("N")] = 2
    auc_bmode: Annotated[float, option("AUC")] = 0.838
    auc_ceus: Annotated[float, option("AUC")] = 0.845
    bmode_signal: Annotated[tuple[str, ...], several("KIND,...")] = ("texture", "margin")
    ceus_signal: Annotated[tuple[str, ...], several("KIND,...")] = ("texture", "timing", "margin")
    confound: Literal["center", "scanner"] | None = None
    confound_strength: Annotated[float, option("SHARE")] = 0.8
    duplicates: Annotated[int, option("N")] = 0
    format: Literal["avi", "mp4"] = "avi"
    seed: Annotated[int, option("N")] = 0

    def run(self) -> None:
        """Write it."""
        from mufnet_lightning.phantom.generate import write_phantom
        from mufnet_lightning.phantom.options import PhantomOptions

        write_phantom(
            self.out,
            PhantomOptions(
                patients=self.patients,
                high_share=self.high_share,
                frames=self.frames,
                frames_spread=self.frames_spread,
                frames_by_grade=cast("tuple[int, int] | None", self.frames_by_grade or None),
                clip_length=self.clip_length,
                pane_size=self.pane_size,
                centers=self.centers,
                auc_bmode=self.auc_bmode,
                auc_ceus=self.auc_ceus,
                bmode_signal=self.bmode_signal,
                ceus_signal=self.ceus_signal,
                confound=self.confound,
                confound_strength=self.confound_strength,
                duplicates=self.duplicates,
                video_format=self.format,
                seed=self.seed,
            ),
        )
