"""Makes weights/demo.mp4: a drawn figure that skates, jumps and spins to synthesised music. Ours from the first pixel.

python weights/recipe/demo_video.py
"""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

WIDTH, HEIGHT, FPS, SECONDS = 320, 240, 25, 20
RATE = 44_100
BEAT_S = 0.5
ICE, BOARDS, CROWD = (214, 230, 240), (245, 245, 250), (60, 66, 92)
DRESS, SKIN, HAIR = (176, 32, 82), (240, 202, 178), (70, 46, 34)
_Y, _X = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)


def capsule(picture: np.ndarray, a: np.ndarray, b: np.ndarray, radius: float, colour: tuple[int, int, int]) -> None:
    """Draws a limb: all within `radius` of the line from a to b (x, y), its edge softened over a pixel."""
    along = b - a
    t = ((_X - a[0]) * along[0] + (_Y - a[1]) * along[1]) / max(float(along @ along), 1e-6)
    t = np.clip(t, 0, 1)
    distance = np.hypot(_X - a[0] - t * along[0], _Y - a[1] - t * along[1])
    alpha = np.clip(radius - distance + 0.5, 0, 1)[..., None]
    picture += alpha * (np.array(colour, np.float32) - picture)


def turned(length: float, degrees: float, squeeze: float = 1.0) -> np.ndarray:
    """A limb hanging down, swung by `degrees`; `squeeze` is how much of its width a turned body shows."""
    return length * np.array([np.sin(np.radians(degrees)) * squeeze, np.cos(np.radians(degrees))])


def frame(time_s: float) -> np.ndarray:
    """The picture at a time: uint8 (HEIGHT, WIDTH, 3)."""
    pan = 30 * np.sin(time_s / 3)
    picture = np.empty((HEIGHT, WIDTH, 3), np.float32)
    picture[:] = ICE
    picture[:90] = CROWD
    picture[:90][np.sin((_X[:90] + pan) * 0.9) * np.sin(_Y[:90] * 0.8) > 0.7] = (150, 140, 130)
    picture[84:104] = BOARDS
    picture[104:][np.sin((_X[104:] + pan) * 0.05 + _Y[104:] * 0.2) > 0.98] = (198, 216, 230)

    phrase, t = divmod(time_s, 5.0)  # four phrases: glide, jump, spin, spiral
    kind = int(phrase) % 4
    swing = np.sin(2 * np.pi * time_s / (2 * BEAT_S))  # the limbs move on the beat
    hip = np.array([160 + 95 * np.sin(2 * np.pi * time_s / 10) - pan, 158 + 12 * np.cos(2 * np.pi * time_s / 10)])
    squeeze, lean, leg, arm = 1.0, 8 * swing, 28 * swing, 60 + 20 * swing
    if kind == 1 and 2.0 < t < 2.7:  # a jump of two turns, landed on the beat
        hip[1] -= 42 * np.sin(np.pi * (t - 2.0) / 0.7)
        squeeze, leg, arm = float(np.cos(2 * np.pi * 2 * (t - 2.0) / 0.7)), 6.0, 8.0
    elif kind == 2 and t > 1.0:  # a spin, faster and faster
        squeeze, leg, arm = float(np.cos(2 * np.pi * (t - 1.0) ** 1.5)), 10.0, 150 - 20 * t
    elif kind == 3:  # a spiral: body level, one leg high
        lean, leg, arm = 70.0, -80.0, 100.0

    neck = hip + turned(-34, -lean, squeeze if abs(lean) < 45 else 1.0)
    standing, free = hip + turned(46, 4 * swing), hip + turned(44, leg, squeeze)
    capsule(picture, hip, standing, 5, SKIN)
    capsule(picture, hip, free, 5, SKIN)
    capsule(picture, standing, standing + np.array([9 * squeeze, 1]), 2.5, (250, 250, 250))
    for side in (-1, 1):
        capsule(picture, neck, neck + turned(30, side * arm, squeeze), 3.5, SKIN)
    capsule(picture, neck, hip, 8, DRESS)
    capsule(picture, hip, hip + turned(12, leg / 2, squeeze), 11, DRESS)
    head = neck + turned(-12, -lean)
    capsule(picture, head, head + 0.1, 8, SKIN)
    capsule(picture, head - np.array([2 * squeeze, 3]), head - np.array([0, 4]), 7, HAIR)
    return picture.round().astype(np.uint8)


def music() -> np.ndarray:
    """Four chords, a melody on the beat and a soft drum: float32 (samples,) mono."""
    t = np.arange(SECONDS * RATE) / RATE
    sound = np.zeros_like(t)
    chords = [(220.0, 261.6, 329.6), (174.6, 220.0, 261.6), (261.6, 329.6, 392.0), (196.0, 246.9, 293.7)]
    melody = [440.0, 523.3, 659.3, 523.3, 587.3, 523.3, 493.9, 440.0, 392.0, 440.0]
    for beat in range(int(SECONDS / BEAT_S)):
        since = t - beat * BEAT_S
        on = since >= 0
        fade = np.where(on, np.exp(-np.clip(since, 0, None) * 4), 0)
        tone = melody[beat % len(melody)]
        sound += 0.16 * fade * sum(np.sin(2 * np.pi * tone * h * since) / h**1.5 for h in (1, 2, 3))
        sound += 0.25 * np.where(on, np.exp(-np.clip(since, 0, None) * 30), 0) * np.sin(2 * np.pi * 70 * since)
        if beat % 4 == 0:
            bar = np.where(on & (since < 4 * BEAT_S), np.minimum(1, np.clip(since, 0, None) * 8), 0)
            sound += 0.06 * bar * sum(np.sin(2 * np.pi * f * since) for f in chords[beat // 4 % 4])
    return (0.8 * sound / np.abs(sound).max()).astype(np.float32)


def main() -> None:
    target = Path(__file__).parents[1] / "demo.mp4"
    with av.open(str(target), "w", options={"movflags": "faststart"}) as container:
        picture = container.add_stream("libx264", rate=FPS, options={"crf": "27", "preset": "veryslow"})
        picture.width, picture.height, picture.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        sound = container.add_stream("aac", rate=RATE, layout="mono")
        sound.bit_rate = 64_000
        for number in range(SECONDS * FPS):
            container.mux(picture.encode(av.VideoFrame.from_ndarray(frame(number / FPS), "rgb24")))
        container.mux(picture.encode())
        samples = music()
        for start in range(0, len(samples), 1024):
            chunk = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], "fltp", "mono")
            chunk.sample_rate, chunk.pts, chunk.time_base = RATE, start, Fraction(1, RATE)
            container.mux(sound.encode(chunk))
        container.mux(sound.encode())


if __name__ == "__main__":
    main()
