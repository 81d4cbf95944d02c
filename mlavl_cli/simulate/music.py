"""Music made from nothing: sections, bars, a melody with accents and rests, instruments; and when its accents fall."""

from dataclasses import dataclass

import numpy as np

from mlavl_cli.simulate.recording import in_a_hall
from mlavl_cli.simulate.style import Instrument, Style

RATE_HZ = 32_000
INSTRUMENTS = {
    "piano": Instrument((1, 0.6, 0.35, 0.2, 0.1), 0.006, 0.55),
    "strings": Instrument((1, 0.7, 0.6, 0.4, 0.3, 0.2), 0.035, 0.9),
    "flute": Instrument((1, 0.25, 0.1), 0.025, 0.6),
    "guitar": Instrument((1, 0.8, 0.5, 0.4, 0.3), 0.004, 0.35),
    "brass": Instrument((0.8, 1, 0.9, 0.7, 0.5, 0.3), 0.02, 0.5),
    "bells": Instrument((1, 0, 0.5, 0, 0.4, 0, 0.3), 0.003, 0.9),
    "organ": Instrument((1, 0.8, 0.1, 0.5, 0.1, 0.3), 0.015, 0.6),
    "drums": Instrument((1, 0.3), 0.003, 0.16),
    "harp": Instrument((1, 0.45, 0.3, 0.1), 0.004, 0.6),
    "synth": Instrument((1, 0.5, 0.33, 0.25, 0.2, 0.17), 0.012, 0.5),
    "marimba": Instrument((1, 0, 0, 0.5), 0.003, 0.3),
}
_SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10))


@dataclass(frozen=True)
class Music:
    """A piece.

    Attributes:
        accent_s, accent: (n,) when its accents fall, and how strong they are, 0 to 1.
        section_s: (k + 1,) borders of its sections, seconds.
        loudness: (k,) of each section, 0 to 1.
        beat_s: length of a beat.
        samples: (2, n) float32 at RATE_HZ.
    """

    accent_s: np.ndarray
    accent: np.ndarray
    section_s: np.ndarray
    loudness: np.ndarray
    beat_s: float
    samples: np.ndarray


def compose(style: Style, seconds: float, rng: np.random.Generator) -> Music:
    """A piece of this length.

    Quiet and dense sections of four bars; in each an own pattern of accents and rests, which the choreography can
    follow or miss.
    """
    beat_s = 60 / rng.uniform(*style.beats_per_minute)
    meter = int(rng.choice(style.meters))
    bars = int(np.ceil(seconds / (beat_s * meter))) + 1
    sections = int(np.ceil(bars / 4))
    loudness = np.clip(np.cumsum(rng.normal(0, 0.3, sections)) * 0.6 + rng.uniform(0.3, 0.9), 0.25, 1.0)
    times, strengths = [], []
    for bar in range(bars):
        section = bar // 4
        rest, between = 0.38 - 0.2 * loudness[section], 0.05 + 0.25 * loudness[section]
        for beat in range(meter):
            start = (bar * meter + beat) * beat_s
            weight = 1.0 if beat == 0 else rng.choice((0.35, 0.5, 0.8))
            if rng.random() > rest * (0.4 if beat == 0 else 1.3):
                times.append(start)
                strengths.append(weight * rng.uniform(0.6, 1.0))
            if rng.random() < between:
                times.append(start + beat_s / 2)
                strengths.append(rng.uniform(0.3, 0.8))
    accent_s, accent = np.array(times) + 0.15, np.array(strengths)
    inside = accent_s < seconds - 0.3
    accent_s, accent = accent_s[inside], accent[inside]
    section_s = np.minimum(np.arange(sections + 1) * 4 * meter * beat_s + 0.15, seconds)
    samples = _play(style, accent_s, accent, section_s, loudness, beat_s, seconds, rng)
    return Music(accent_s, accent, section_s, loudness, beat_s, samples)


def _play(
    style: Style,
    accent_s: np.ndarray,
    accent: np.ndarray,
    section_s: np.ndarray,
    loudness: np.ndarray,
    beat_s: float,
    seconds: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Accents as notes of a wandering melody over soft chords -> samples (2, n)."""
    order = rng.permutation(len(style.instruments))
    melody, ground = style.instruments[order[0]], style.instruments[order[-1]]
    scale = np.array(_SCALES[rng.integers(2)])
    root = rng.uniform(48, 60)
    out = np.zeros(round(seconds * RATE_HZ) + 4 * RATE_HZ, np.float32)
    degree = 7
    for time_s, strength in zip(accent_s, accent, strict=True):
        section = np.clip(np.searchsorted(section_s, time_s, side="right") - 1, 0, len(loudness) - 1)
        degree = int(np.clip(degree + rng.integers(-2, 3), 2, 14))
        level = (0.25 + 0.75 * loudness[section]) * strength
        pitch = root + 12 * (degree // 7) + scale[degree % 7]
        _note(out, melody, time_s, pitch, 0.5 * level, rng)
        if loudness[section] > 0.5:
            _note(out, ground, time_s, pitch - 12, 0.3 * level, rng)
    for section, volume in enumerate(loudness):  # a soft chord for each section, as a bed
        first, last = section_s[section], section_s[section + 1]
        if last - first > 0.5:
            chord = root + scale[[0, 2, 4]] + (0, 5, -2, 3)[section % 4]
            _bed(out, first, last, chord, 0.015 + 0.03 * volume)
    out = out[: round(seconds * RATE_HZ)]
    fade = min(len(out), RATE_HZ // 2)
    out[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    out += rng.normal(0, 0.001, len(out)).astype(np.float32)
    out *= rng.uniform(0.5, 0.9) / max(float(np.abs(out).max()), 1e-6)
    out = in_a_hall(style, out, RATE_HZ, rng)
    return np.stack([out, np.roll(out, round(0.0006 * RATE_HZ))]).astype(np.float32)


def _note(
    out: np.ndarray, instrument: str | Instrument, time_s: float, pitch: float, level: float, rng: np.random.Generator
) -> None:
    harmonics, attack_s, decay_s = INSTRUMENTS[instrument] if isinstance(instrument, str) else instrument
    start, length = round(time_s * RATE_HZ), round((attack_s + 3 * decay_s) * RATE_HZ)
    t = np.arange(length, dtype=np.float32) / RATE_HZ
    hz = 440 * 2 ** ((pitch - 69) / 12) * (1 if instrument != "drums" else 0.5)
    waves = (a * np.sin(2 * np.pi * hz * (k + 1) * t, dtype=np.float32) for k, a in enumerate(harmonics) if a)
    tone = sum(waves, np.zeros(length, np.float32))
    if instrument == "drums":
        tone = tone + 0.8 * rng.normal(0, 1, length).astype(np.float32)
    envelope = np.minimum(t / attack_s, 1) * np.exp(-np.maximum(t - attack_s, 0) / decay_s)
    stop = min(start + length, len(out))
    out[start:stop] += (level * tone * envelope / sum(harmonics))[: stop - start].astype(np.float32)


def _bed(out: np.ndarray, first: float, last: float, pitches: np.ndarray, level: float) -> None:
    start, stop = round(first * RATE_HZ), round(last * RATE_HZ)
    t = np.arange(stop - start, dtype=np.float32) / RATE_HZ
    swell = np.minimum(1, np.minimum(t, t[::-1]) / 0.5)
    for pitch in pitches:
        hz = 440 * 2 ** ((pitch - 69) / 12)
        out[start:stop] += level * swell * np.sin(2 * np.pi * hz * t, dtype=np.float32)
