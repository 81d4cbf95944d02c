"""How a routine is filmed and recorded: shots of one camera or of several, and what a microphone in a hall hears."""

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter1d
from scipy.signal import butter, sosfilt

from mlavl_cli.simulate.style import Style

_FORMANTS_HZ = ((700, 1200), (400, 2000), (500, 900), (300, 2300))  # of four vowels
_SYLLABLE_S = 0.19


def shots(style: Style, frames: int, fps: int, rng: np.random.Generator) -> list[tuple[float, float]] | None:
    """Of each frame how much closer it is filmed (1: as a whole) and where the figure stands in it (-1 to 1 is the
    width). None: one camera throughout.
    """
    if not style.shot_s:
        return None
    found: list[tuple[float, float]] = []
    while len(found) < frames:
        closer, aside = rng.uniform(*style.closer), rng.uniform(-0.12, 0.12)
        found += [(closer, aside)] * max(round(rng.uniform(0.6, 1.4) * style.shot_s * fps), fps)
    return found[:frames]


def closer(picture: np.ndarray, shot: tuple[float, float]) -> np.ndarray:
    """A part of the picture in its full size."""
    height, width = picture.shape[:2]
    by, aside = shot
    wide, high = width / by, height / by
    left = np.clip((width - wide) / 2 - aside * wide, 0, width - wide)
    top = np.clip(0.52 * height - high / 2, 0, height - high)
    box = (left, top, left + wide, top + high)
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR, box=box))


def in_a_hall(style: Style, music: np.ndarray, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """Music (n,) -> the same with a crowd and an announcer, as far as the style has them, and the same peak."""
    peak = float(np.abs(music).max())
    heard = music
    if style.crowd_noise:
        heard = heard + style.crowd_noise * peak * _crowd(len(music), rate_hz, rng)
    if style.announcer:
        heard = heard + style.announcer * peak * _announcer(len(music), rate_hz, rng)
    return (heard * peak / max(float(np.abs(heard).max()), 1e-6)).astype(np.float32)


def _crowd(count: int, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """Murmur that swells, and claps; about 1 at its loudest."""
    murmur = sosfilt(butter(2, (180, 2800), "bandpass", fs=rate_hz, output="sos"), rng.normal(0, 1, count))
    t = np.arange(count) / rate_hz
    knots = np.arange(0, count / rate_hz + 2, 1.0)
    swell = np.interp(t, knots, np.clip(gaussian_filter1d(rng.normal(0.4, 0.8, len(knots)), 1.5), 0.1, 1.0))
    claps = np.zeros(count)
    for start_s in rng.uniform(0, count / rate_hz, rng.poisson(count / rate_hz / 20)):
        hands = start_s + np.sort(rng.uniform(0, 2.5, 60))
        claps[(hands[hands < count / rate_hz - 0.01] * rate_hz).astype(int)] += rng.uniform(0.2, 1.0)
    clap = rng.normal(0, 1, rate_hz // 100) * np.exp(-np.arange(rate_hz // 100) / (rate_hz / 600))
    claps = np.convolve(claps, clap)[:count]
    return 0.5 * swell * murmur / max(murmur.std() * 3, 1e-6) + 0.5 * claps / max(np.abs(claps).max(), 1e-6)


def _announcer(count: int, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """Sentences of two to four seconds, the first at once: a buzz through moving formants, syllable by syllable."""
    out = np.zeros(count)
    start_s = rng.uniform(0.0, 0.6)
    while start_s < count / rate_hz - 1.0:
        length = int(min(rng.uniform(1.8, 4.0), count / rate_hz - start_s) * rate_hz)
        t = np.arange(length) / rate_hz
        pitch = rng.uniform(95, 210) * (1 + 0.12 * np.sin(2 * np.pi * rng.uniform(0.3, 0.7) * t))
        buzz = 2 * ((np.cumsum(pitch) / rate_hz) % 1) - 1
        syllables = rng.integers(len(_FORMANTS_HZ), size=int(length / rate_hz / _SYLLABLE_S) + 1)
        spoken = np.zeros(length)
        for vowel, (low, high) in enumerate(_FORMANTS_HZ):
            band = sum(
                sosfilt(butter(2, (0.85 * hz, 1.15 * hz), "bandpass", fs=rate_hz, output="sos"), buzz)
                for hz in (low, high)
            )
            here = syllables[np.minimum((t / _SYLLABLE_S).astype(int), len(syllables) - 1)] == vowel
            spoken += here * band
        spoken *= np.abs(np.sin(np.pi * t / _SYLLABLE_S)) ** 0.7
        first = int(start_s * rate_hz)
        out[first : first + length] += spoken[: count - first] / max(np.abs(spoken).max(), 1e-6)
        start_s += length / rate_hz + rng.uniform(8, 30)
    return out
