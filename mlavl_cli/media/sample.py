"""A made-up video of real format, to measure and to try things with: H.264, 720p, 25 frames/s, AAC."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mlavl_cli.media.encode import write_mp4

WIDTH, HEIGHT, FPS, RATE_HZ = 1280, 720, 25, 44_100


def write_sample(path: Path, seconds: int) -> Path:
    """Writes shapes that move over a textured ground, with a melody; returns the path."""
    t = np.arange(seconds * RATE_HZ) / RATE_HZ
    melody = np.sin(2 * np.pi * 220 * 2 ** (np.floor(2 * t) % 7 / 12) * t) * np.exp(-3 * (t % 0.5))
    samples = np.stack([0.4 * melody, 0.3 * melody]).astype(np.float32)
    write_mp4(str(path), _shapes(seconds), samples, (WIDTH, HEIGHT), FPS, RATE_HZ, preset="ultrafast", threads=0)
    return path


def _shapes(seconds: int) -> Iterator[np.ndarray]:
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    ground = np.random.default_rng(0).normal(0, 6, (HEIGHT, WIDTH))
    for number in range(seconds * FPS):
        time_s = number / FPS
        centre = WIDTH * (0.5 + 0.3 * np.sin(time_s)), HEIGHT * (0.5 + 0.2 * np.cos(1.7 * time_s))
        blob = np.exp(-(((x - centre[0]) / 90) ** 2) - ((y - centre[1]) / 160) ** 2)
        grey = np.roll(ground, 3 * number, axis=1) + 120 + 90 * blob
        planes = [grey, grey * (1 - 0.5 * blob), grey * (1 - 0.3 * blob)]
        yield np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)
