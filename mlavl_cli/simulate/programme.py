"""Who skates, and the programme: which elements when, how well, and where the movement follows the music."""

from dataclasses import dataclass, fields

import numpy as np

from mlavl_cli.simulate.elements import (
    JUMPS,
    POSE,
    SPINS,
    SPIRAL,
    STEPS,
    STROKING,
    TRANSITIONS,
    Element,
)
from mlavl_cli.simulate.music import Music

OPENING_S, CLOSING_S = 1.4, 1.2
_COMMON = 0.6  # the share of every ability that comes from the skater's general level
# What a programme is made of; a short one has the first of these.
_CONTENT = ("jump", "spin", "jump", "steps", "jump", "spin", "jump", "spiral", "jump", "spin", "jump", "jump")


@dataclass(frozen=True)
class Skater:
    """Abilities, 0 to 1. They go together, but not wholly.

    technique: how hard the elements are. execution: how well they are done. speed, control: over the ice, and how calm.
    variety: what happens between the elements. projection: how large the movement is. layout: of the programme over
    time and ice. musicality: how closely the movement follows the music.
    """

    technique: float
    execution: float
    speed: float
    control: float
    variety: float
    projection: float
    layout: float
    musicality: float


def draw_skater(rng: np.random.Generator, fidelity: tuple[float, float] = (0.0, 1.0)) -> Skater:
    """A skater; `fidelity` bounds the musicality."""
    level = rng.uniform()
    own = {f.name: _COMMON * level + (1 - _COMMON) * rng.uniform() for f in fields(Skater)}
    own["musicality"] = 0.35 * level + 0.65 * rng.uniform()
    low, high = fidelity
    own["musicality"] = low + (high - low) * own["musicality"]
    return Skater(**own)


@dataclass(frozen=True)
class Segment:
    """A stretch of the programme.

    Attributes:
        action: what is done, by its name among the skating prompts.
        start_s, end_s: when.
        element: None between elements.
        grade: of execution, -5 to 5.
        landing: of a jump: clean, stumble or fall.
    """

    action: str
    start_s: float
    end_s: float
    element: Element | None = None
    grade: int = 0
    landing: str = "clean"


@dataclass(frozen=True)
class Programme:
    """A skater's programme to a piece of music: stretches without gaps, and the accents of the movement."""

    skater: Skater
    seconds: float
    segments: list[Segment]
    accent_s: np.ndarray
    accent: np.ndarray


def plan(skater: Skater, music: Music, seconds: float, rng: np.random.Generator) -> Programme:
    """Elements laid out over the time, the gaps filled, starts and accents moved to the music as far as it is heard."""
    chosen = [_choose(kind, skater, rng) for kind in _CONTENT[: int(np.clip(round(seconds / 6.4), 3, len(_CONTENT)))]]
    rng.shuffle(chosen)
    lengths = np.array([_length(element, rng) for element in chosen])
    spare = seconds - OPENING_S - CLOSING_S - lengths.sum()
    while spare < 0.4 * (len(chosen) + 1) and len(chosen) > 1:  # a short piece holds fewer elements
        spare, chosen, lengths = spare + lengths[-1], chosen[:-1], lengths[:-1]
    # A poor layout heaps its elements up, a good one spreads them evenly.
    shares = rng.dirichlet(np.full(len(chosen) + 1, 0.7 + 14 * skater.layout**2))
    gaps = 0.3 + shares * max(spare - 0.3 * (len(chosen) + 1), 0.0)
    segments = [Segment(POSE, 0.0, OPENING_S)]
    clock = OPENING_S
    for element, length, gap in zip(chosen, lengths, gaps, strict=False):
        start = clock + gap
        if rng.random() < skater.musicality:
            start = _on_accent(start, _anchor(element), clock, music)
        segments += _between(clock, start, skater, rng)
        end = min(start + length, seconds - CLOSING_S)
        segments.append(_perform(element, start, end, skater, rng))
        clock = end
    segments += _between(clock, seconds - CLOSING_S, skater, rng)
    segments.append(Segment(POSE, seconds - CLOSING_S, seconds))
    accent_s, accent = _accents(skater, music, seconds, segments, rng)
    return Programme(skater, seconds, segments, accent_s, accent)


def _choose(kind: str, skater: Skater, rng: np.random.Generator) -> Element:
    hard = np.clip(skater.technique + rng.normal(0, 0.1), 0, 1)
    if kind == "jump":
        turns = int(np.clip(round(0.7 + 3.1 * hard), 1, 4))
        return JUMPS[turns][rng.integers(len(JUMPS[turns]))]
    level = int(np.clip(round(4.4 * hard - 0.1), 0, 4))
    if kind == "spin":
        return SPINS[level][rng.integers(len(SPINS[level]))]
    return STEPS[level] if kind == "steps" else SPIRAL


def _length(element: Element, rng: np.random.Generator) -> float:
    usual = {"jump": 2.4, "spin": 3.0 + 0.35 * element.level, "steps": 4.6, "spiral": 3.4}[element.kind]
    return usual * rng.uniform(0.93, 1.07)


def _anchor(element: Element) -> float:
    """Seconds from an element's start to the moment that belongs on an accent."""
    return 0.8 if element.kind == "jump" else 0.4


def _on_accent(start: float, anchor: float, earliest: float, music: Music) -> float:
    near = music.accent_s[np.abs(music.accent_s - start - anchor) < 0.6] - anchor
    near = near[near > earliest + 0.05]
    return float(near[np.argmin(np.abs(near - start))]) if len(near) else start


def _perform(element: Element, start: float, end: float, skater: Skater, rng: np.random.Generator) -> Segment:
    quality = skater.execution + rng.normal(0, 0.12)
    grade = int(np.clip(round(10 * quality - 4.2), -5, 5))
    landing = "clean"
    if element.kind == "jump":
        risk = 0.6 * max(0.0, 0.75 - quality) * (0.6 + 0.2 * element.rotations)
        draw = rng.random()
        if draw < 0.5 * risk:
            landing, grade = "fall", -5
        elif draw < 1.5 * risk:
            landing, grade = "stumble", min(grade, -3)
    return Segment(element.action, start, end, element, grade, landing)


def _between(start: float, end: float, skater: Skater, rng: np.random.Generator) -> list[Segment]:
    """Transitions of one to two seconds; the less varied skater fills the time with crossovers."""
    found, clock = [], start
    while end - clock > 1e-6:
        length = min(rng.uniform(1.2, 2.2), end - clock)
        if end - clock - length < 0.6:
            length = end - clock
        varied = rng.random() < 0.05 + 0.95 * skater.variety
        action = TRANSITIONS[rng.integers(len(TRANSITIONS))] if varied else STROKING
        found.append(Segment(action, clock, clock + length))
        clock += length
    return found


def _accents(
    skater: Skater, music: Music, seconds: float, segments: list[Segment], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """When the movement has accents: those of the music that are followed, and others that are the skater's own.

    How closely the music is followed changes from section to section.
    """
    sections = len(music.loudness)
    follows = np.clip(skater.musicality + rng.normal(0, 0.2, sections), 0, 1)
    section = np.clip(np.searchsorted(music.section_s, music.accent_s, side="right") - 1, 0, sections - 1)
    times: list[float] = []
    strengths: list[float] = []
    for time_s, strength, here in zip(music.accent_s, music.accent, section, strict=True):
        if rng.random() < follows[here]:
            times.append(time_s + rng.normal(0, 0.015 + 0.035 * (1 - follows[here])))
            strengths.append(strength * rng.uniform(0.9, 1.1))
        elif rng.random() < 0.85:
            times.append(time_s + rng.choice((-1, 1)) * rng.uniform(0.2, 0.55))
            strengths.append(rng.uniform(0.3, 1.0))
    for segment in segments:  # whoever jumps has an accent at the take-off
        if segment.element and segment.element.kind == "jump":
            times.append(segment.start_s + _anchor(segment.element))
            strengths.append(0.9)
    at = np.array(times)
    order = np.argsort(at, kind="stable")
    kept = [i for i in order if 0.1 < at[i] < seconds - 0.3 and not _hidden(at[i], segments)]
    return at[kept], np.clip(strengths, 0, 1)[kept]


def _hidden(time_s: float, segments: list[Segment]) -> bool:
    """In the air, or on the ice after a fall, a skater shows no accent."""
    for segment in segments:
        if segment.start_s <= time_s < segment.end_s and segment.element and segment.element.kind == "jump":
            since = time_s - segment.start_s - _anchor(segment.element)
            return 0.03 < since < (2.0 if segment.landing == "fall" else 0.75)
    return False
