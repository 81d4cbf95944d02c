"""Draws the figure before its rink or floor: pictures of a camera that follows."""

from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter1d

from mlavl_cli.simulate.body import JOINTS
from mlavl_cli.simulate.motion import Motion
from mlavl_cli.simulate.recording import closer, shots
from mlavl_cli.simulate.style import Colour, Look, as_colour

BODY_M = 1.65
_MARGIN_M = 6.0  # of the scenery beyond the path
_FINER = 2  # the figure is drawn so many times larger, then reduced: smooth edges
_J = {name: i for i, name in enumerate(JOINTS)}
# Limbs in the order in which they are drawn: from, to, thickness in body heights, whose colour.
_LIMBS = (
    ("hip", "free_knee", 0.075, "legs"), ("free_knee", "free_foot", 0.055, "legs"),
    ("hip", "knee", 0.08, "legs"), ("knee", "foot", 0.058, "legs"),
    ("shoulder_r", "elbow_r", 0.056, "sleeves"), ("elbow_r", "hand_r", 0.05, "sleeves"),
    ("hip", "neck", 0.135, "dress"), ("shoulder_l", "shoulder_r", 0.07, "dress"),
    ("shoulder_l", "elbow_l", 0.056, "sleeves"), ("elbow_l", "hand_l", 0.05, "sleeves"),
    ("neck", "head", 0.05, "skin"),
)  # fmt: skip


def pictures(
    motion: Motion, look: Look, size: tuple[int, int], rng: np.random.Generator, numbers: range | None = None
) -> Iterator[np.ndarray]:
    """Frames, uint8 (height, width, 3): those with these numbers, or all. `size` is (width, height)."""
    width, height = size
    scale = look.figure * height  # pixels of a body height
    per_metre = scale / BODY_M
    reach = np.abs(motion.ground[:, 0]).max() + _MARGIN_M
    wall = _wall(look, round(2 * reach * 0.7 * per_metre) + width, round(0.4 * height), rng)
    ground = _ground(look, round(2 * reach * per_metre) + width, height, per_metre, rng)
    camera = _camera(motion.ground[:, 0], look, rng)
    light = _light(look, size)
    lag = np.clip((motion.ground[:, 0] - camera) * per_metre, -0.08 * height, 0.08 * height)
    camera = motion.ground[:, 0] - lag / per_metre
    filmed = shots(look.style, len(motion.joints), look.fps, rng)
    for i in numbers or range(len(motion.joints)):
        depth = motion.ground[i, 1]
        near = 1 - 0.014 * depth
        horizon = int(np.clip(0.15 * height + depth * height / 100, 0.04 * height, 0.24 * height))
        picture = np.empty((height, width, 3), np.uint8)
        left = int((camera[i] + reach) * 0.7 * per_metre)
        picture[:horizon] = wall[len(wall) - horizon :, left : left + width]
        left = int((camera[i] + reach) * per_metre)
        top = int(np.clip(0.1 * height + 0.9 * depth * height / 100, 0, horizon))
        picture[horizon:] = ground[top : top + height - horizon, left : left + width]
        foot = np.array([width / 2 + lag[i], 0.86 * height - 0.25 * depth * height / 100])
        _draw(picture, motion.joints[i] * scale * near, foot, scale * near, look)
        if light is not None:
            picture = (picture * light >> 8).astype(np.uint8)
        yield closer(picture, filmed[i]) if filmed else picture


def _camera(x: np.ndarray, look: Look, rng: np.random.Generator) -> np.ndarray:
    """(F,) metres: the figure's place, followed late and with a tremble."""
    share = 1 / (1 + look.lag_s * look.fps)
    at, out = x[0], np.empty_like(x)
    for i, wanted in enumerate(x):
        at += share * (wanted - at)
        out[i] = at
    return out + look.style.shake / 100 * 4 * gaussian_filter1d(rng.normal(0, 1, len(x)), 2)


def _draw(picture: np.ndarray, joints: np.ndarray, foot: np.ndarray, scale: float, look: Look) -> None:
    """One figure; joints (J, 2) in pixels from its standing place, y upward."""
    places = foot + joints * (1, -1)
    pad = 0.12 * scale
    ground = np.array([[foot[0] - 0.3 * scale, foot[1] + 0.03 * scale], [foot[0] + 0.3 * scale, foot[1]]])
    corners = np.concatenate([places - pad, places + pad, ground])
    low = np.floor(np.clip(corners.min(0), 0, (picture.shape[1], picture.shape[0]))).astype(int)
    high = np.ceil(np.clip(corners.max(0), 0, (picture.shape[1], picture.shape[0]))).astype(int)
    if (high - low < 2).any():
        return
    patch = Image.fromarray(picture[low[1] : high[1], low[0] : high[0]])
    patch = patch.resize(tuple(_FINER * (high - low)), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(patch)
    at = _FINER * (places - low)
    thick = _FINER * scale * look.limb
    colours = {"legs": look.legs, "dress": look.dress, "skin": look.skin}
    colours["sleeves"] = look.dress if look.sleeves else look.skin

    shadow = _FINER * (foot - low)
    shade = tuple(int(0.72 * c) for c in look.style.ground)
    pen.ellipse((shadow + thick * np.array([[-0.2, -0.02], [0.2, 0.03]])).ravel().tolist(), fill=shade)
    for start, end, thickness, part in _LIMBS:
        a, b = at[_J[start]], at[_J[end]]
        _limb(pen, a, b, thickness * thick, colours[part])
        if look.skirt and (start, end) == ("hip", "neck"):
            knees = 0.45 * (at[_J["knee"]] + at[_J["free_knee"]]) / 2 + 0.55 * a
            wide = np.array([0.13 * thick, 0])
            pen.polygon([tuple(a - 0.5 * wide), tuple(a + 0.5 * wide), tuple(knees + wide), tuple(knees - wide)],
                        fill=look.dress)  # fmt: skip
    boots = (look.skin, (245, 245, 245))[look.style.setting == "ice"]
    for name in ("foot", "free_foot"):
        _dot(pen, at[_J[name]], 0.035 * thick, boots)
    _dot(pen, at[_J["head"]], 0.07 * thick, look.hair)
    _dot(pen, at[_J["head"]] + (0, 0.02 * thick), 0.052 * thick, look.skin)
    picture[low[1] : high[1], low[0] : high[0]] = np.asarray(patch.reduce(_FINER))


def _limb(pen: ImageDraw.ImageDraw, a: np.ndarray, b: np.ndarray, thickness: float, colour: Colour) -> None:
    pen.line([tuple(a), tuple(b)], fill=colour, width=max(round(thickness), 1))
    _dot(pen, a, thickness / 2, colour)
    _dot(pen, b, thickness / 2, colour)


def _dot(pen: ImageDraw.ImageDraw, at: np.ndarray, radius: float, colour: Colour) -> None:
    pen.ellipse([*(at - radius), *(at + radius)], fill=colour)


# --- What stands behind -----------------------------------------------------------------------------------------------


def _wall(look: Look, width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """Spectators above, boards with panels below."""
    style = look.style
    sheet = Image.new("RGB", (width, height), _lit(style.crowd, look))
    pen = ImageDraw.Draw(sheet)
    boards = round(0.55 * height)
    for _ in range(width * boards // 900):
        x, y = rng.uniform(0, width), rng.uniform(0, boards)
        shade = as_colour(int(np.clip(c + rng.normal(0, 34), 0, 255)) for c in style.crowd)
        r = 0.012 * height * rng.uniform(0.6, 1.4)
        pen.ellipse([x - r, y - r, x + r, y + r], fill=_lit(shade, look))
    pen.rectangle([0, boards, width, height], fill=_lit(style.wall, look))
    x = 0.0
    while x < width:
        wide = rng.uniform(0.5, 1.4) * height
        shade = as_colour(int(np.clip(c + rng.normal(0, 45), 0, 255)) for c in style.wall)
        if rng.random() < 0.6:
            pen.rectangle([x, boards + 0.03 * height, x + 0.8 * wide, height - 0.03 * height], fill=_lit(shade, look))
        x += wide
    return _grain(sheet, rng)


def _ground(look: Look, width: int, height: int, per_metre: float, rng: np.random.Generator) -> np.ndarray:
    """Ice with lines and scratches, or a floor with planks."""
    style = look.style
    sheet = Image.new("RGB", (width, 2 * height), _lit(style.ground, look))
    pen = ImageDraw.Draw(sheet)

    def shade(by: float) -> Colour:
        return _lit(as_colour(int(np.clip(c + by, 0, 255)) for c in style.ground), look)

    if style.setting == "ice":
        for x in np.arange(0, width, 7 * per_metre):
            colour = ((170, 60, 70), (60, 90, 170))[int(x / (7 * per_metre)) % 2]
            pen.line([(x, 0), (x - 0.4 * height, 2 * height)], fill=_lit(colour, look), width=max(height // 60, 1))
        for _ in range(width // 12):
            x, y = rng.uniform(0, width), rng.uniform(0, 2 * height)
            length, slope = rng.uniform(0.1, 0.5) * height, rng.normal(0, 0.15)
            pen.line([(x, y), (x + length, y + slope * length)], fill=shade(rng.choice((-16, 12))), width=1)
    else:
        for row, y in enumerate(np.arange(0, 2 * height, height / 14)):
            for x in np.arange(-(row % 3) * per_metre * 0.6, width, 1.8 * per_metre):
                box = [x, y, x + 1.8 * per_metre, y + height / 14]
                pen.rectangle(box, fill=shade(rng.normal(0, 9)), outline=shade(-22))
    return _grain(sheet, rng)


def _grain(sheet: Image.Image, rng: np.random.Generator) -> np.ndarray:
    pixels = np.asarray(sheet).astype(np.int16)
    pixels += rng.integers(-4, 5, pixels.shape[:2], dtype=np.int16)[..., None]
    return np.clip(pixels, 0, 255).astype(np.uint8)


def _lit(colour: Colour, look: Look) -> Colour:
    return as_colour(int(np.clip(c * look.light, 0, 255)) for c in colour)


def _light(look: Look, size: tuple[int, int]) -> np.ndarray | None:
    """A spotlight: (height, width, 1), 256 is full light."""
    if not look.style.spotlight:
        return None
    y, x = np.mgrid[-1 : 1 : size[1] * 1j, -1.6 : 1.6 : size[0] * 1j]
    dark = look.style.spotlight * np.clip(np.hypot(x, y) - 0.5, 0, 1)
    return (256 * (1 - dark)).astype(np.uint16)[..., None]
