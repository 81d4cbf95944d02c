"""A decoded frame -> the small upright RGB picture that a backbone looks at, in one pass of libswscale."""

from contextlib import suppress
from dataclasses import dataclass
from typing import cast

import av
import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.video.reformatter import ColorPrimaries, ColorTrc, Interpolation, VideoReformatter

from mlavl_cli.errors import MediaError
from mlavl_cli.media.crop import WHOLE, Crop

_LARGEST_PX = 2048
_MOST_SCALED_PX = 1 << 22  # before the crop: thin pictures would become far larger
_MOST_CHANGES = 4
_TINY_PX = 16
_TELL_COLOURS = frozenset(("MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"))
_HDR = {int(ColorTrc.SMPTE2084): "PQ", int(ColorTrc.ARIB_STD_B67): "HLG"}


@dataclass(frozen=True)
class PictureSpec:
    """How a backbone wants its pictures.

    The upright picture is scaled so that its short side is `short_side` pixels, the middle `crop` (height, width) of it
    is kept, and that is squeezed to `size` (height, width). `short_side` None squeezes the whole picture to `size`.

    Raises:
        ValueError: sides that are no numbers of pixels, or too many.
    """

    size: tuple[int, int]
    short_side: int | None = None
    crop: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        sides = (*self.size, *(self.crop or ()), *(() if self.short_side is None else (self.short_side,)))
        two = len(self.size) == 2 and len(self.crop or self.size) == 2
        if not (two and all(type(side) is int and 0 < side <= _LARGEST_PX for side in sides)):
            raise ValueError(f"pictures can't be of {', '.join(map(str, sides))} pixels")

    def plan(self, height: float, width: float) -> tuple[tuple[int, int], tuple[int, int]]:
        """For an upright picture: (height, width) to scale it to, and (top, left) where `size` is then cut from it.

        Rounds down where the processors of the hub do: the long side, and half of what is cut off.
        """
        if self.short_side is None:
            return self.size, (0, 0)
        short = min(height, width)
        whole = [self.short_side if side == short else int(side * self.short_side / short) for side in (height, width)]
        scaled, corner = [], []
        for side, crop, size in zip(whole, self.crop or self.size, self.size, strict=True):
            scaled.append(max(round(side * size / crop), size))
            corner.append(min(round(max(side - crop, 0) // 2 * size / crop), scaled[-1] - size))
        return (scaled[0], scaled[1]), (corner[0], corner[1])


class PictureMaker:
    """Turns frames into arrays by one spec; keeps the scaler between frames, so use one for each thread."""

    def __init__(self, spec: PictureSpec):
        self.spec = spec
        self._scaler = VideoReformatter()
        self._colours: tuple | None = None  # of the latest picture, if they are converted
        self._changes = 0

    def __call__(
        self,
        frame: av.VideoFrame,
        pixel_aspect: float = 1.0,
        quarter_turns: int = 0,
        mirrored: bool = False,
        crop: Crop = WHOLE,
    ) -> np.ndarray:
        """One frame -> uint8 (height, width, 3), sRGB, upright.

        Args:
            frame: in any pixel format, range and matrix; HDR is tone-mapped.
            pixel_aspect: width of a pixel by its height.
            quarter_turns: by how many quarters the frame is to be turned counter-clockwise.
            mirrored: whether it is to be mirrored left to right before.
            crop: what of it isn't to be seen.

        Raises:
            MediaError: libswscale doesn't take this pixel format or size.
        """
        crop = crop if crop.fits(frame.width, frame.height) else WHOLE  # frames may change their size
        rows, columns = frame.height - crop.top - crop.bottom, frame.width - crop.left - crop.right
        height, width = rows, columns * pixel_aspect
        # Scale first, on the decoder's own axes; turning the small picture is then cheap.
        sideways = quarter_turns % 2
        (high, wide), (top, left) = self.spec.plan(*((width, height) if sideways else (height, width)))
        if sideways:
            high, wide = wide, high
        scaled_width, scaled_height = round(wide * frame.width / columns), round(high * frame.height / rows)
        if scaled_width * scaled_height > _MOST_SCALED_PX:
            raise MediaError(f"has pictures of {frame.width} x {frame.height}, which show nothing")
        try:
            scaled = self._scaler.reformat(
                frame,
                width=scaled_width,
                height=scaled_height,
                format="rgb24",
                interpolation=Interpolation.BILINEAR,
                threads=1,
                **self._to_standard_range(frame),
            )
        except (av.FFmpegError, ValueError) as error:
            kind = f"{frame.format.name}, {frame.width} x {frame.height}"
            raise MediaError(f"pictures of this kind can't be scaled ({kind})") from error
        picture = scaled.to_ndarray()
        if crop != WHOLE:
            y, x = round(crop.top * high / rows), round(crop.left * wide / columns)
            picture = picture[y : y + high, x : x + wide]
        picture = np.rot90(picture[:, ::-1] if mirrored else picture, quarter_turns)
        return np.ascontiguousarray(picture[top : top + self.spec.size[0], left : left + self.spec.size[1]])

    def _to_standard_range(self, frame: av.VideoFrame) -> dict[str, int]:
        """Arguments by which libswscale converts to sRGB; for a usual picture nothing, which costs nothing.

        It makes tables for it, which takes seconds. Where the colours mean something else again and again HDR is taken
        as it is after some changes.
        """
        told: tuple[bytes, ...] = ()
        asked: dict[str, int] = {}
        if frame.color_trc in _HDR:
            told = tuple(bytes(one) for one in side_data(frame) or () if one.type.name in _TELL_COLOURS)
            asked = {"dst_color_trc": ColorTrc.IEC61966_2_1, "dst_color_primaries": ColorPrimaries.BT709}
        elif frame.color_primaries == ColorPrimaries.BT2020:
            asked = {"dst_color_trc": ColorTrc.BT709, "dst_color_primaries": ColorPrimaries.BT709}
        colours = (frame.color_trc, frame.color_primaries, told) if asked else ()
        self._changes += colours != self._colours
        self._colours = colours
        return asked if self._changes <= _MOST_CHANGES else {}


def side_data(frame: av.VideoFrame) -> SideDataContainer | None:
    """What a file says besides the picture; None where there is a kind among it that PyAV doesn't know (EXIF).

    PyAV's own annotation knows of motion vectors alone. Picture and side data refer to each other, so that a picture
    would be kept until Python looks for such circles: what is asked is a tiny copy, of which the same is said.
    """
    with suppress(av.FFmpegError, ValueError):  # of a kind that can't be scaled
        frame = VideoReformatter().reformat(
            frame, width=_TINY_PX, height=_TINY_PX, format="gray", interpolation=Interpolation.POINT, threads=1
        )
    try:
        return cast(SideDataContainer, frame.side_data)
    except ValueError:
        return None


def is_converted(codec: av.VideoCodecContext) -> bool:
    """Whether its colours are others than sRGB has."""
    return codec.color_trc in _HDR or codec.color_primaries == ColorPrimaries.BT2020


def high_dynamic_range(frame: av.VideoFrame) -> str | None:
    """The name of a frame's HDR transfer function, or None."""
    return _HDR.get(frame.color_trc)
