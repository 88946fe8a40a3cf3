"""What the header of a clip says of its frames: regions, scale, times, pixels. It names nobody.

See `headers` for reading it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Region:
    """A part of the picture, as DICOM's Sequence of Ultrasound Regions has it (PS3.3 C.8.5.5).

    Attributes:
        x0, y0, x1, y1: first and last column and row, both inside; the file may say anything.
        spatial_format: 1 is 2D, 2 M-mode, 3 spectral, 4 a wave (ECG), 5 a graph, 0 none of them.
        data_type: 1 is tissue, 2 colour flow, 10 ECG, 13 and 14 bars of grey and colour.
        flags: as in the file.
        delta_x_cm, delta_y_cm: width and height of a pixel; None where they are no centimetres.
        reference: column and row inside the region, and its place in cm; None where one is missing.
    """

    x0: int
    y0: int
    x1: int
    y1: int
    spatial_format: int
    data_type: int
    flags: int = 0
    delta_x_cm: float | None = None
    delta_y_cm: float | None = None
    reference: tuple[float, float, float, float] | None = None

    def __str__(self) -> str:
        return f"{self.x0},{self.y0},{self.x1 - self.x0 + 1},{self.y1 - self.y0 + 1}"


@dataclass(frozen=True)
class ClipHeader:
    """Of one clip.

    Attributes:
        width, height: of a frame, in pixels, as it is decoded.
        frames: how many the header promises, where it does.
        interval_s: from one frame to the next, where it is always the same; None where not known.
        times_s: of each frame since the first, where they are told one by one.
        timing: the element that says so, or "" where none does.
        regions: in the order of the file.
        pixel_aspect: height of a pixel by its width; 1 where pixels are square or nothing is said.
        rotation: clockwise degrees by which the decoder turns the stored frames, as players do.
        burned_in: whether the header says that text is burned into the pixels; None if it does not say.
        start_s: seconds from the injection of contrast to the first frame.
    """

    width: int
    height: int
    frames: int | None = None
    interval_s: float | None = None
    times_s: tuple[float, ...] = ()
    timing: str = ""
    regions: tuple[Region, ...] = ()
    pixel_aspect: float = 1.0
    rotation: int = 0
    burned_in: bool | None = None
    start_s: float | None = None

    def time_s(self, frame: int) -> float | None:
        """Seconds from the first frame to this one; None where nobody says.

        >>> ClipHeader(640, 480, interval_s=0.1).time_s(25)
        2.5
        """
        if self.times_s:
            return self.times_s[frame] if frame < len(self.times_s) else None
        return None if self.interval_s is None else frame * self.interval_s
