"""Settings of the MTCNN face finder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class MtcnnConfig:
    """Sizes are pixels of the working copy of the frame.

    `work_height_px`: the shorter side of the copy (a landscape frame's height); frames are never enlarged.
    `min_face_px`: longer side of the smallest face that is returned. The default is one step of the reference's
    own pyramid (20 px / .709), so that both use the same levels.
    Thresholds are the reference's: a probability above which a candidate passes to the next stage.
    `precision`: "f32", or "bf16" for CPUs with AMX; "auto" takes bf16 where the CPU supports it.
    `max_cells`, `max_proposals`, `max_faces`: most candidates passed on by P-Net, after its suppression, and by R-Net.
    `max_frame_sizes`: most frame sizes whose compiled graphs are kept.
    """

    work_height_px: int = 360
    min_face_px: float = 20 / 0.709
    scale_factor: float = 0.709
    pnet_threshold: float = 0.6
    rnet_threshold: float = 0.7
    onet_threshold: float = 0.8
    num_threads: int = 1
    precision: Literal["auto", "f32", "bf16"] = "auto"
    max_cells: int = 1024
    max_proposals: int = 256
    max_faces: int = 64
    max_frame_sizes: int = 8

    @property
    def work_area_px(self) -> int:
        """Returns the largest area of the working copy, for very wide pictures; 21:9 still gets the full height."""
        return int(2.4 * self.work_height_px**2)
