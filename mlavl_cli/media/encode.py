"""Pictures and samples -> an mp4 of real format: H.264 and AAC. For what this package makes itself."""

from collections.abc import Iterable
from fractions import Fraction
from typing import IO

import av
import numpy as np

_CHUNK = 1024  # samples of an AAC frame


def write_mp4(
    file: IO[bytes] | str,
    frames: Iterable[np.ndarray],
    samples: np.ndarray,
    size: tuple[int, int],
    fps: int,
    rate_hz: int,
    options: dict[str, str],
    threads: int = 1,
) -> None:
    """Encodes them; the same pictures give the same bytes.

    Args:
        file: a path, or a file open for writing.
        frames: uint8 (height, width, 3), RGB.
        samples: (2, n) float32, stereo.
        size: (width, height), even.
        fps, rate_hz: of the pictures, of the samples.
        options, threads: of x264.
    """
    with av.open(file, "w", format="mp4", container_options={"fflags": "+bitexact"}) as container:
        picture = container.add_stream("libx264", rate=fps, options=options)
        picture.width, picture.height, picture.pix_fmt = *size, "yuv420p"
        picture.codec_context.thread_count = threads
        sound = container.add_stream("aac", rate=rate_hz, layout="stereo")
        sound.bit_rate = 96_000
        heard = 0  # samples so far
        for i, pixels in enumerate(frames):
            container.mux(picture.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
            until = round((i + 1) / fps * rate_hz)  # sound beside its pictures, as players like it
            while heard + _CHUNK <= until:
                container.mux(sound.encode(_chunk(samples, heard, rate_hz)))
                heard += _CHUNK
        for at in range(heard, samples.shape[1], _CHUNK):
            container.mux(sound.encode(_chunk(samples, at, rate_hz)))
        container.mux(picture.encode())
        container.mux(sound.encode())


def _chunk(samples: np.ndarray, at: int, rate_hz: int) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[:, at : at + _CHUNK]), "fltp", "stereo")
    frame.sample_rate, frame.pts, frame.time_base = rate_hz, at, Fraction(1, rate_hz)
    return frame
