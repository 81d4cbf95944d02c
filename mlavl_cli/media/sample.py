"""A made-up video of real format, to measure and to try things with: H.264, 720p, 25 frames/s, AAC."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

WIDTH, HEIGHT, FPS, RATE_HZ = 1280, 720, 25, 44_100


def write_sample(path: Path, seconds: int) -> Path:
    """Writes shapes that move over a textured ground, with a melody; returns the path."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    ground = np.random.default_rng(0).normal(0, 6, (HEIGHT, WIDTH))
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "crf": "23"})
        picture.width, picture.height, picture.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        sound = container.add_stream("aac", rate=RATE_HZ, layout="stereo")
        for number in range(seconds * FPS):
            time_s = number / FPS
            centre = WIDTH * (0.5 + 0.3 * np.sin(time_s)), HEIGHT * (0.5 + 0.2 * np.cos(1.7 * time_s))
            blob = np.exp(-(((x - centre[0]) / 90) ** 2) - ((y - centre[1]) / 160) ** 2)
            grey = np.roll(ground, 3 * number, axis=1) + 120 + 90 * blob
            planes = [grey, grey * (1 - 0.5 * blob), grey * (1 - 0.3 * blob)]
            frame = np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)
            container.mux(picture.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(picture.encode())
        t = np.arange(seconds * RATE_HZ) / RATE_HZ
        melody = np.sin(2 * np.pi * 220 * 2 ** (np.floor(2 * t) % 7 / 12) * t) * np.exp(-3 * (t % 0.5))
        samples = np.stack([0.4 * melody, 0.3 * melody]).astype(np.float32)
        for start in range(0, samples.shape[1], 1024):
            chunk = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[:, start : start + 1024]), "fltp", "stereo")
            chunk.sample_rate, chunk.pts, chunk.time_base = RATE_HZ, start, Fraction(1, RATE_HZ)
            container.mux(sound.encode(chunk))
        container.mux(sound.encode())
    return path
