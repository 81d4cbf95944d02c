"""Plain statistics of a clip's pictures and sound: texture, colour, motion, spectrum.

A backbone that has seen one kind of video may give ordinary features to quite another. These don't depend on what a
backbone has learned; the out-of-domain detection reads both.
"""

import numpy as np

from mlavl_cli.media.sound import SAMPLE_RATE_HZ

PICTURE_STATISTICS, SOUND_STATISTICS = 20, 9
_MOST_FRAMES, _MOST_SIDE = 8, 96  # of larger clips a part is looked at: pictures in their own resolution, not reduced
_LEAST_SIDE = 3  # of which differences of differences can be taken
_WINDOW = 512  # samples of a spectrum
_TINY = 1e-3


def picture_statistics(frames: np.ndarray) -> np.ndarray:
    """Frames uint8 (F, height, width, 3) -> (20,) float32: gradients, flat and sharp shares, changes, colours."""
    height, width = frames.shape[1:3]
    top, left = max(height - _MOST_SIDE, 0) // 2, max(width - _MOST_SIDE, 0) // 2
    part = frames[:_MOST_FRAMES, top : top + _MOST_SIDE, left : left + _MOST_SIDE]
    if min(height, width) < _LEAST_SIDE:  # no backbone's, but for one that is made to be odd
        part = np.pad(part, ((0, 0), (0, _LEAST_SIDE), (0, _LEAST_SIDE), (0, 0)), "edge")
    red, green, blue = (np.ascontiguousarray(part[..., channel]) for channel in range(3))
    light = (red.astype(np.float32) + green + blue) / 3
    highest, lowest = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    saturation = (highest - lowest).astype(np.float32)
    steps = np.diff(light, axis=2)
    across, down = np.abs(steps), np.abs(np.diff(light, axis=1))
    bends = np.abs(np.diff(steps, axis=2))
    coarse = _reduced(light, 4)
    coarse_across = np.abs(np.diff(coarse, axis=2))
    changes = np.abs(np.diff(light, axis=0)) if len(light) > 1 else np.zeros_like(light)
    moved = _reduced(changes, 8)
    squares = across**2
    within = np.sqrt(np.maximum(_reduced(light**2, 8) - _reduced(light, 8) ** 2, 0))
    colours = np.bincount(((red >> 6) << 4 | (green >> 6) << 2 | blue >> 6).ravel(), minlength=64) / light.size
    half = max(light.shape[1] // 2, 1)
    return np.array(
        [
            _log(across.mean()), _log(down.mean()), _log(bends.mean()), _log(coarse_across.mean()),
            _log(across.mean()) - _log(coarse_across.mean()), _log((squares**2).mean()) - 2 * _log(squares.mean()),
            (across <= 1).mean(), (across > 32).mean(),
            _log(changes.mean()), (changes <= 1).mean(), (changes > 24).mean(), _log(moved.std()),
            light.mean() / 255, light.std() / 255, saturation.mean() / 255, saturation.std() / 255,
            -(colours * np.log(colours + 1e-9)).sum(),
            _log(np.median(within)), _log(np.quantile(within, 0.1)),
            (light[:, :half].mean() - light[:, half:].mean()) / 255,
        ],
        np.float32,
    )  # fmt: skip


def sound_statistics(sound: np.ndarray) -> np.ndarray:
    """Samples (n,) float32 at 16 kHz -> (9,) float32: level, peaks, centroid, flatness, shares of bands, changes."""
    if len(sound) < 2 * _WINDOW:
        sound = np.pad(sound, (0, 2 * _WINDOW - len(sound)))
    windows = np.lib.stride_tricks.sliding_window_view(sound, _WINDOW)[:: _WINDOW // 2] * np.hanning(_WINDOW)
    power = np.abs(np.fft.rfft(windows.astype(np.float32))) ** 2 + 1e-8
    hz = np.fft.rfftfreq(_WINDOW, 1 / SAMPLE_RATE_HZ)
    mean = power.mean(0)
    total = mean.sum()
    level = np.sqrt((sound.astype(np.float64) ** 2).mean())
    loud = np.log(power.sum(1))
    return np.array(
        [
            _log(level), _log(np.abs(sound).max()) - _log(level), (np.diff(np.signbit(sound)) != 0).mean(),
            (mean * hz).sum() / total / 1000, np.log(mean).mean() - np.log(mean.mean()),
            mean[hz < 300].sum() / total, mean[hz > 3000].sum() / total,
            loud.std(), np.abs(np.diff(loud)).mean(),
        ],
        np.float32,
    )  # fmt: skip


def _reduced(pictures: np.ndarray, by: int) -> np.ndarray:
    """Means of squares of `by` pixels: (F, h, w) -> (F, h / by, w / by); smaller pictures are left as they are."""
    count, height, width = pictures.shape
    if height < 2 * by or width < 2 * by:
        return pictures
    cut = pictures[:, : height // by * by, : width // by * by]
    return cut.reshape(count, height // by, by, width // by, by).mean((2, 4))


def _log(value: float) -> float:
    return float(np.log(value + _TINY))
