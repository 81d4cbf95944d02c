"""Made-up videos of real format, to measure and to try things with: H.264, 25 frames/s, AAC.

Footage costs a decoder what real footage of its bit rate does: a camera pans over a textured hall, people move in it,
each picture has its own grain, and B-frames lie between. Drawn figures on a still ground cost several times less.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import av
import numpy as np

from mlavl_cli.media.encode import write_mp4

Look = Literal["footage", "drawn"]
FPS, RATE_HZ = 25, 44_100
_TEXTURE = ((160, 30.0), (40, 20.0), (12, 12.0), (4, 8.0))  # pixels from one blot to the next, and how strong they are
_PEOPLE, _GRAIN = 6, 2.5
_SPARE = 64  # rows and columns by which each picture's grain may be another


def write_sample(
    path: Path,
    seconds: int,
    look: Look = "footage",
    size: tuple[int, int] = (1280, 720),
    bits_per_s: int = 1_800_000,
) -> Path:
    """Writes a video with a melody; returns the path.

    Args:
        path: of the mp4.
        seconds: how long.
        look: as real footage, or drawn shapes over a textured ground, which any bit rate suffices for.
        size: (width, height), even.
        bits_per_s: of footage; phones take 8 Mbit/s and more for 720p, streams 1.5 to 3.
    """
    t = np.arange(seconds * RATE_HZ) / RATE_HZ
    melody = np.sin(2 * np.pi * 220 * 2 ** (np.floor(2 * t) % 7 / 12) * t) * np.exp(-3 * (t % 0.5))
    samples = np.stack([0.4 * melody, 0.3 * melody]).astype(np.float32)
    if look == "footage":
        frames, options = _footage(seconds * FPS, *size), {"preset": "fast", "b": str(bits_per_s)}
    else:
        frames, options = _drawn(seconds * FPS, *size), {"preset": "ultrafast", "crf": "23"}
    write_mp4(str(path), frames, samples, size, FPS, RATE_HZ, options, threads=0)
    return path


def _footage(count: int, width: int, height: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    textures = (strength * _blots(rng, 2 * width, 2 * height, cell) for cell, strength in _TEXTURE)
    hall = 120 + sum(textures, np.zeros((2 * height, 2 * width), np.float32))
    wide, high = width // 10, height // 3
    people = [rng.uniform(60, 200) + 25 * _blots(rng, wide, high, 8) for _ in range(_PEOPLE)]
    grain = rng.normal(0, _GRAIN, (height + _SPARE, width + _SPARE)).astype(np.float32)
    for number in range(count):
        t = number / FPS
        x, y = round(width / 2 * (1 + 0.9 * np.sin(0.35 * t))), round(height / 2 * (1 + 0.5 * np.sin(0.23 * t)))
        grey = hall[y : y + height, x : x + width].copy()
        for k, person in enumerate(people):
            left = round((width - wide) * (0.5 + 0.45 * np.sin(0.9 * t * (1 + 0.1 * k) + k)))
            top = round((height - high) * (0.5 + 0.45 * np.sin(0.7 * t + 2 * k)))
            grey[top : top + high, left : left + wide] = np.roll(person, round(12 * np.sin(6 * t + k)), axis=1)
        down, right = rng.integers(0, _SPARE, 2)
        grey += grain[down : down + height, right : right + width]
        yield np.clip(np.stack([grey, grey - 10, 255 - grey], -1), 0, 255).astype(np.uint8)


def _blots(rng: np.random.Generator, width: int, height: int, cell: int) -> np.ndarray:
    """(height, width) float32, smooth noise of about -2.5 to 2.5."""
    coarse = rng.integers(0, 256, (height // cell + 2, width // cell + 2), np.uint8)
    fine = av.VideoFrame.from_ndarray(coarse, "gray").reformat(width, height, interpolation="BICUBIC").to_ndarray()
    return (fine.astype(np.float32) - 127.5) / 50


def _drawn(count: int, width: int, height: int) -> Iterator[np.ndarray]:
    y, x = np.mgrid[:height, :width].astype(np.float32)
    ground = np.random.default_rng(0).normal(0, 6, (height, width))
    for number in range(count):
        time_s = number / FPS
        centre = width * (0.5 + 0.3 * np.sin(time_s)), height * (0.5 + 0.2 * np.cos(1.7 * time_s))
        blob = np.exp(-(((x - centre[0]) / 90) ** 2) - ((y - centre[1]) / 160) ** 2)
        grey = np.roll(ground, 3 * number, axis=1) + 120 + 90 * blob
        planes = [grey, grey * (1 - 0.5 * blob), grey * (1 - 0.3 * blob)]
        yield np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)
