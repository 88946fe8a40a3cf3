"""`mufnet phantom`: a simulated cohort whose best AUC is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from mufnet_lightning.commands.options import option, word


@dataclass(frozen=True)
class Phantom:
    """Write a simulated cohort of real video files, whose best possible AUC is known.

    Args:
        out: folder to write; must not exist yet
        patients: number of patients
        high_share: share of them that is of high grade
        frames: annotated frames of each clip
        clip_length: frames of each clip; twice --frames unless given
        pane_size: side of each pane, pixels
        centers: number of centres
        auc_bmode: ceiling of the B-mode pane
        auc_ceus: ceiling of the CEUS pane
        format: of the clips, Motion JPEG in an AVI or MPEG-4
        seed: same seed, same files byte for byte
    """

    out: Annotated[Path, word("OUT")]
    patients: Annotated[int, option("N")] = 100
    high_share: Annotated[float, option("SHARE")] = 0.26
    frames: Annotated[int, option("N")] = 60
    clip_length: Annotated[int | None, option("N")] = None
    pane_size: Annotated[int, option("N")] = 320
    centers: Annotated[int, option("N")] = 2
    auc_bmode: Annotated[float, option("AUC")] = 0.838
    auc_ceus: Annotated[float, option("AUC")] = 0.845
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
                clip_length=self.clip_length,
                pane_size=self.pane_size,
                centers=self.centers,
                auc_bmode=self.auc_bmode,
                auc_ceus=self.auc_ceus,
                video_format=self.format,
                seed=self.seed,
            ),
        )
