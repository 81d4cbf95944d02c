"""What a panel that sees everything would give: TES, five components, PCS, and consistency clip by clip.

    TES   sum over elements of base value * (1 + grade / 10)
    SS    10 * (0.5 speed + 0.35 steadiness + 0.15 landings held)         skating skills
    TR    10 * share of the time between elements that holds a transition
    PE    10 * (0.65 projection + 0.35 consistency)                       performance
    CO    10 * (0.6 evenness of the layout + 0.4 ice covered)             composition
    IN    10 * consistency, rescaled from what chance gives               interpretation of the music
    PCS   the sum of the five

Projection and steadiness are the skater's own, the rest is read off the finished programme. Consistency of a clip is
the cosine of two curves, the accents of the movement and of the music, each accent a bump of 0.1 s.
"""

from dataclasses import asdict
from typing import Any

import numpy as np

from mlavl_cli.media.cutting import FRAMES_PER_CLIP
from mlavl_cli.simulate.elements import STROKING, goe
from mlavl_cli.simulate.motion import Motion
from mlavl_cli.simulate.music import Music
from mlavl_cli.simulate.programme import CLOSING_S, OPENING_S, Programme

COMPONENTS = ("SS", "TR", "PE", "CO", "IN")
_BUMP_S = 0.1
_CHANCE, _CLOSE = 0.25, 0.9  # mean consistency of movement that ignores the music, and of movement that follows it


Accents = tuple[np.ndarray, np.ndarray]  # (n,) when, seconds, and how strong


def clip_consistency(movement: Accents, music: Accents, start_s: np.ndarray, end_s: np.ndarray) -> np.ndarray:
    """(T,) cosine of the accents' curves within each clip, 0 to 1; NaN where neither has one."""
    found = []
    for start, end in zip(start_s, end_s, strict=True):
        t = np.arange(start, end, 0.01)
        moved, heard = curve(t, *movement), curve(t, *music)
        size = np.linalg.norm(moved) * np.linalg.norm(heard)
        silent = max(moved.max(initial=0), heard.max(initial=0)) < 0.05
        found.append(np.nan if silent else float(moved @ heard / max(size, 1e-9)))
    return np.array(found)


def curve(t: np.ndarray, at: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Accents (n,) as a curve over the times t (m,): each a bump of its strength."""
    return (strength[:, None] * np.exp(-(((t - at[:, None]) / _BUMP_S) ** 2))).sum(0)


def judge(programme: Programme, music: Music, motion: Motion, fps: int) -> dict[str, Any]:
    """Scores and all that they rest on, as plain values."""
    frames = len(motion.speed)
    # Clips as they are cut where other rates than the public datasets' are brought to 25 frames/s.
    clip_s = FRAMES_PER_CLIP / (fps if fps <= 30 else 25)
    start_s = np.arange(int(frames / fps / clip_s + 1e-9)) * clip_s
    end_s = start_s + clip_s
    accents = (programme.accent_s, programme.accent), (music.accent_s, music.accent)
    consistency = clip_consistency(*accents, start_s, end_s)
    fit = float(np.clip((np.nanmean(consistency) - _CHANCE) / (_CLOSE - _CHANCE), 0, 1))

    done = [(segment, segment.element) for segment in programme.segments if segment.element]
    jumps = [segment for segment, element in done if element.kind == "jump"]
    between = [
        s for s in programme.segments if not s.element and OPENING_S <= s.start_s < programme.seconds - CLOSING_S
    ]
    idle = sum(s.end_s - s.start_s for s in between if s.action == STROKING)
    whole = sum(s.end_s - s.start_s for s in between)
    moving = float(np.clip((np.percentile(motion.speed, 70) - 1.4) / 4.6, 0, 1))
    held = float(np.mean([segment.landing == "clean" for segment in jumps])) if jumps else 1.0
    centres = np.array([0.0, *((s.start_s + s.end_s) / 2 for s, _ in done), programme.seconds])
    gaps = np.diff(centres)
    even = float(np.clip(1 - (gaps.std() / gaps.mean()) / 0.9, 0, 1))
    covered = float(np.clip((np.ptp(motion.ground[:, 1]) - 2) / 12, 0, 1))

    points = {
        "SS": 10 * (0.5 * moving + 0.35 * (1 - float(motion.wobble.mean())) + 0.15 * held),
        "TR": 10 * (1 - idle / whole if whole else 0.5),
        "PE": 10 * (0.65 * programme.skater.projection + 0.35 * fit),
        "CO": 10 * (0.6 * even + 0.4 * covered),
        "IN": 10 * fit,
    }
    tes = sum(element.base + goe(element.base, s.grade) for s, element in done)
    return {
        "scores": {name: round(float(p), 3) for name, p in {"TES": tes, "PCS": sum(points.values()), **points}.items()},
        "skater": asdict(programme.skater),
        "segments": [
            {
                "action": s.action, "start_s": s.start_s, "end_s": s.end_s,
                **({"kind": s.element.kind, "base": s.element.base, "grade": s.grade, "landing": s.landing,
                    "rotations": s.element.rotations, "level": s.element.level} if s.element else {}),
            }
            for s in programme.segments
        ],
        "clips": [
            {"start_s": float(a), "end_s": float(b), "consistency": None if np.isnan(c) else float(c)}
            for a, b, c in zip(start_s, end_s, consistency, strict=True)
        ],
        "movement_accents": _pairs(programme.accent_s, programme.accent),
        "music_accents": _pairs(music.accent_s, music.accent),
        "beat_s": music.beat_s,
    }  # fmt: skip


def _pairs(at: np.ndarray, strength: np.ndarray) -> list[list[float]]:
    return [[round(float(a), 4), round(float(b), 4)] for a, b in zip(at, strength, strict=True)]
