"""One routine -> an mp4 and its truth beside it. The same seed gives the same file."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mlavl_cli.files import atomic_write, refuse_outside
from mlavl_cli.media.encode import write_mp4
from mlavl_cli.simulate.motion import Motion, move
from mlavl_cli.simulate.music import RATE_HZ, Music, compose
from mlavl_cli.simulate.programme import draw_skater, plan
from mlavl_cli.simulate.scene import pictures
from mlavl_cli.simulate.style import Look, draw_look, find_style
from mlavl_cli.simulate.truth import judge

_ENCODER = {"preset": "superfast", "crf": "23"}


@dataclass(frozen=True)
class Recipe:
    """All that a routine depends on.

    Attributes:
        seed, index: of the set, and which of its routines.
        style: by name.
        seconds: shortest and longest duration.
        fidelity: bounds of the musicality.
        size: (width, height) of the picture.
        fps: frames a second; None: one of the style's. The same routine is skated at any rate.
    """

    seed: int
    index: int
    style: str
    seconds: tuple[float, float] = (40.0, 50.0)
    fidelity: tuple[float, float] = (0.0, 1.0)
    size: tuple[int, int] = (640, 360)
    fps: int | None = None


@dataclass(frozen=True)
class Simulated:
    """A routine before it is drawn; `scene_rng` is for the drawing."""

    look: Look
    music: Music
    motion: Motion
    truth: dict[str, Any]
    scene_rng: np.random.Generator


def simulate(recipe: Recipe) -> Simulated:
    """Looks, music, programme, movement and truth of a routine.

    Raises:
        UsageError: no such style.
    """
    streams = (np.random.default_rng([recipe.seed, recipe.index, part]) for part in range(7))
    look_rng, skater_rng, music_rng, plan_rng, move_rng, scene_rng, style_rng = streams
    style = find_style(recipe.style, style_rng)
    look = draw_look(style, look_rng)
    look = replace(look, fps=recipe.fps or look.fps)
    seconds = round(skater_rng.uniform(*recipe.seconds), 2)
    skater = draw_skater(skater_rng, recipe.fidelity)
    music = compose(style, seconds, music_rng)
    programme = plan(skater, music, seconds, plan_rng)
    motion = move(programme, look, move_rng)
    truth = {"recipe": asdict(recipe), "fps": look.fps, "seconds": seconds, **judge(programme, music, motion, look.fps)}
    return Simulated(look, music, motion, truth, scene_rng)


def synthesize(recipe: Recipe, video: Path, truth: Path) -> dict[str, Any]:
    """Writes the mp4, then the truth as JSON; both whole or not at all. Returns the truth.

    Raises:
        UsageError: no such style.
        MlavlError: the folder can't be written.
    """
    for path in (video, truth):
        refuse_outside(path, path.parents[1])  # a foreign folder may hold links
    made = simulate(recipe)
    with atomic_write(video) as file:
        frames = pictures(made.motion, made.look, recipe.size, made.scene_rng)
        write_mp4(file, frames, made.music.samples, recipe.size, made.look.fps, RATE_HZ, _ENCODER)
    with atomic_write(truth, "w") as file:
        json.dump(made.truth, file, indent=1)
    return made.truth
