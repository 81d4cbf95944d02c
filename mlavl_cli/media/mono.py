"""A decoded frame of sound -> mono samples."""

import av
import numpy as np

# Formats of samples that become arrays as they are: (zero, full scale).
_NUMPY = {"flt": (0, 1), "dbl": (0, 1), "u8": (128, 128), "s16": (0, 1 << 15), "s32": (0, 1 << 31)}

MOST_CHANNELS = 64  # that FFmpeg's resampler takes; sound of more is silence


def mono(frame: av.AudioFrame) -> np.ndarray:
    """(samples,) float32 in [-1, 1]: the channels' mean, so that a sound in all channels keeps its level."""
    planar, channels = frame.format.is_planar, len(frame.layout.channels)
    if channels > MOST_CHANNELS:
        return np.zeros(frame.samples, np.float32)
    if frame.format.packed.name not in _NUMPY or (planar and channels >= 8):  # as planes, that many crash PyAV
        (frame,), planar = av.AudioResampler(format="flt").resample(frame), False
    samples = frame.to_ndarray()
    samples = samples if planar else samples.reshape(-1, channels).T
    middle, full = _NUMPY[frame.format.packed.name]
    # Damaged sound can decode to NaN or to absurd peaks; neither may reach a backbone.
    with np.errstate(over="ignore", invalid="ignore"):
        mixed = (samples.mean(axis=0, dtype=np.float32) - np.float32(middle)) / np.float32(full)
    return np.clip(np.nan_to_num(mixed, nan=0.0, posinf=1.0, neginf=-1.0), -1.0, 1.0)
