"""Styles: palette, body, camera, tempo and instruments. A head trained in some styles can be judged in another."""

import colorsys
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from mlavl_cli.errors import UsageError

Setting = Literal["ice", "floor"]
Colour = tuple[int, int, int]


class Instrument(NamedTuple):
    """Strengths of the harmonics, attack and decay in seconds. A long attack sounds bowed, a short decay plucked."""

    harmonics: tuple[float, ...]
    attack_s: float
    decay_s: float


@dataclass(frozen=True)
class Style:
    """Pairs are ranges that each routine draws from.

    Attributes:
        setting: an ice rink with boards, or a floor with a border.
        ground, wall, crowd: colours of what is skated on, of the boards and of what is behind them.
        costume_hue: of the dress, as a share of the colour circle.
        costume_light: brightness of the dress, 0 to 1.
        figure: height of the figure by that of the picture.
        limb: thickness of the limbs, 1 is usual.
        leg: length of the legs, 1 is usual.
        lag_s: how slowly the camera follows.
        shake: how much the camera trembles, in per cent of the picture's width.
        light: of the whole picture, 1 is usual; `spotlight` darkens its corners.
        shot_s: how long a shot of one of several cameras lasts; 0: one camera films it all.
        closer: how much closer a shot is than the whole picture, from and to.
        crowd_noise, announcer: of the sound, by the music's peak.
        fps: frames a second.
        beats_per_minute, meters: of the music.
        instruments: melody and ground are drawn from them; names are of `music.INSTRUMENTS`.
    """

    setting: Setting
    ground: Colour
    wall: Colour
    crowd: Colour
    costume_hue: tuple[float, float]
    costume_light: tuple[float, float] = (0.12, 0.5)
    figure: tuple[float, float] = (0.58, 0.72)
    limb: tuple[float, float] = (0.9, 1.15)
    leg: tuple[float, float] = (0.95, 1.08)
    lag_s: tuple[float, float] = (0.03, 0.08)
    shake: float = 0.2
    light: tuple[float, float] = (0.85, 1.1)
    spotlight: float = 0.0
    shot_s: float = 0.0
    closer: tuple[float, float] = (1.0, 1.0)
    crowd_noise: float = 0.0
    announcer: float = 0.0
    fps: tuple[int, ...] = (25,)
    beats_per_minute: tuple[float, float] = (64, 116)
    meters: tuple[int, ...] = (3, 4)
    instruments: tuple[str | Instrument, ...] = ("piano", "strings")


STYLES: dict[str, Style] = {
    # For training.
    "arena": Style("ice", (222, 234, 242), (240, 240, 246), (58, 62, 88), (0.0, 1.0), fps=(25, 30)),
    "club": Style(
        "ice", (205, 216, 220), (196, 160, 120), (120, 104, 92), (0.0, 1.0), shake=0.5, lag_s=(0.06, 0.12),
        instruments=("guitar", "flute", "piano"), light=(0.8, 1.0),
    ),
    "television": Style(
        "ice", (232, 240, 250), (36, 84, 170), (22, 26, 48), (0.0, 1.0), (0.1, 0.4), figure=(0.54, 0.66), fps=(25, 30),
        instruments=("strings", "brass", "drums"), beats_per_minute=(72, 124),
    ),
    "winter": Style(
        "ice", (196, 212, 232), (120, 132, 140), (176, 200, 222), (0.0, 1.0), (0.15, 0.5), fps=(24, 25),
        instruments=("bells", "strings", "flute"), beats_per_minute=(56, 100), light=(0.9, 1.15),
    ),
    "studio": Style(
        "floor", (222, 196, 164), (220, 214, 204), (196, 190, 182), (0.0, 1.0), (0.1, 0.45), limb=(0.85, 1.05),
        instruments=("piano", "guitar"), shake=0.4,
    ),
    "carpet": Style(
        "floor", (176, 204, 224), (230, 230, 230), (70, 66, 82), (0.0, 1.0), fps=(25, 30), leg=(1.0, 1.12),
        instruments=("organ", "brass", "drums", "piano"), beats_per_minute=(72, 126),
    ),
    "evening": Style(
        "ice", (188, 196, 222), (62, 60, 96), (26, 24, 42), (0.0, 1.0), (0.1, 0.4), spotlight=0.35, light=(0.75, 0.95),
        instruments=("strings", "bells", "organ"), beats_per_minute=(58, 104),
    ),
    "festival": Style(
        "floor", (236, 190, 176), (244, 220, 150), (92, 52, 74), (0.0, 1.0), limb=(1.0, 1.25), figure=(0.56, 0.74),
        instruments=("brass", "drums", "flute", "guitar"), beats_per_minute=(80, 126),
    ),
    "broadcast": Style(
        "ice", (226, 236, 246), (150, 40, 60), (40, 36, 60), (0.0, 1.0), (0.1, 0.5), figure=(0.5, 0.64), fps=(25, 30),
        instruments=("strings", "piano", "brass"), shot_s=7.0, closer=(1.0, 1.3), crowd_noise=0.12, announcer=0.2,
    ),
    "balcony": Style(
        "ice", (214, 224, 226), (214, 206, 190), (92, 98, 104), (0.0, 1.0), figure=(0.48, 0.58), shake=0.7,
        lag_s=(0.06, 0.14), instruments=("guitar", "strings", "drums"), crowd_noise=0.25, light=(0.75, 1.05),
    ),
    # To choose and to calibrate by while a model is made.
    "pond": Style(
        "ice", (190, 214, 220), (92, 112, 84), (150, 168, 150), (0.0, 1.0), limb=(0.95, 1.2), shake=0.35,
        instruments=("harp", "flute", "strings"), beats_per_minute=(60, 112), light=(0.9, 1.1),
    ),
    "harbour": Style(
        "ice", (216, 222, 214), (40, 110, 120), (60, 76, 90), (0.0, 1.0), (0.1, 0.45), figure=(0.5, 0.66), fps=(25, 30),
        instruments=("organ", "guitar", "bells"), beats_per_minute=(60, 118), shot_s=9.0, closer=(1.0, 1.2),
        crowd_noise=0.15,
    ),
    "school": Style(
        "floor", (206, 208, 178), (180, 150, 130), (126, 118, 110), (0.0, 1.0), leg=(0.93, 1.06), shake=0.5,
        instruments=("piano", "harp", "flute"), beats_per_minute=(70, 122), announcer=0.15, light=(0.8, 1.1),
    ),
    # To judge by, once.
    "gala": Style(
        "ice", (206, 196, 228), (88, 40, 104), (34, 20, 50), (0.0, 1.0), (0.12, 0.45), figure=(0.55, 0.68),
        leg=(0.92, 1.04), spotlight=0.3, fps=(25, 30), instruments=("synth", "marimba", "drums"),
        beats_per_minute=(66, 118), light=(0.8, 1.05),
    ),
}  # fmt: skip
TRAINING = ("arena", "club", "television", "winter", "studio", "carpet", "evening", "festival", "broadcast", "balcony")
VALIDATION = ("pond", "harbour", "school")
TEST = ("gala",)


ANY = "any"  # drawn anew for each routine


def find_style(name: str, rng: np.random.Generator | None = None) -> Style:
    """A style by its name; `ANY` draws colours, camera and instruments that none of the others has.

    Raises:
        UsageError: no such style.
    """
    if name == ANY:
        return _draw_style(np.random.default_rng(rng))
    if name not in STYLES:
        raise UsageError(f"no such style: {name}", hint=f"Use {', '.join(STYLES)} or {ANY}.")
    return STYLES[name]


def _draw_style(rng: np.random.Generator) -> Style:
    setting: Setting = "ice" if rng.random() < 0.7 else "floor"
    spotlight, shots, crowd, announcer = rng.random(4) < (0.25, 0.3, 0.3, 0.2)
    return Style(
        setting,
        ground=_colour(rng.random(), rng.uniform(0.05, 0.5), rng.uniform(0.76, 0.94)),
        wall=_colour(rng.random(), rng.uniform(0.05, 0.7), rng.uniform(0.25, 0.9)),
        crowd=_colour(rng.random(), rng.uniform(0.05, 0.5), rng.uniform(0.1, 0.7)),
        costume_hue=(0.0, 1.0),
        figure=(0.48, 0.74),
        limb=(0.85, 1.25),
        leg=(0.92, 1.12),
        lag_s=(0.03, 0.14),
        shake=rng.uniform(0.1, 0.7),
        light=(0.75, 1.15),
        spotlight=spotlight * rng.uniform(0.1, 0.35),
        shot_s=shots * rng.uniform(5, 12),
        closer=(1.0, rng.uniform(1.1, 1.3)),
        crowd_noise=crowd * rng.uniform(0.05, 0.25),
        announcer=announcer * rng.uniform(0.1, 0.2),
        fps=(24, 25, 30),
        beats_per_minute=(56, 126),
        instruments=(_draw_instrument(rng), _draw_instrument(rng)),
    )


def _draw_instrument(rng: np.random.Generator) -> Instrument:
    overtones = rng.uniform(0.3, 0.9) ** np.arange(1, 6) * rng.uniform(0, 1.3, 5) * (rng.random(5) < 0.8)
    return Instrument((1.0, *overtones.round(2).tolist()), math.exp(rng.uniform(-5.8, -3.3)), rng.uniform(0.15, 0.9))


@dataclass(frozen=True)
class Look:
    """What one routine drew from its style: colours of costume, skin and hair, sizes, and the camera."""

    style: Style
    dress: Colour
    legs: Colour
    skin: Colour
    hair: Colour
    skirt: bool
    sleeves: bool
    figure: float
    limb: float
    leg: float
    lag_s: float
    light: float
    fps: int


def draw_look(style: Style, rng: np.random.Generator) -> Look:
    """One routine's look."""
    dress = _colour(rng.uniform(*style.costume_hue) % 1, rng.uniform(0.2, 0.95), rng.uniform(*style.costume_light))
    skin_tone = rng.uniform(0, 1)
    skin = as_colour(int(a + skin_tone * (b - a)) for a, b in ((222, 96), (168, 60), (136, 42)))
    dark = _colour(rng.uniform(0, 1), 0.4, rng.uniform(0.08, 0.3))
    return Look(
        style=style,
        dress=dress,
        legs=(dress, dark, skin)[rng.integers(3)],
        skin=skin,
        hair=_colour(rng.uniform(0.02, 0.13), rng.uniform(0.3, 0.7), rng.uniform(0.1, 0.6)),
        skirt=bool(rng.random() < 0.6),
        sleeves=bool(rng.random() < 0.8),
        figure=rng.uniform(*style.figure),
        limb=rng.uniform(*style.limb),
        leg=rng.uniform(*style.leg),
        lag_s=rng.uniform(*style.lag_s),
        light=rng.uniform(*style.light),
        fps=int(rng.choice(style.fps)),
    )


def _colour(hue: float, saturation: float, value: float) -> Colour:
    return as_colour(round(255 * c) for c in colorsys.hsv_to_rgb(hue, saturation, value))


def as_colour(parts: Iterable[int]) -> Colour:
    """Red, green and blue as one colour."""
    red, green, blue = parts
    return red, green, blue
