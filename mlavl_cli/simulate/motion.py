"""A programme -> the figure's joints at every frame: poses as key frames, accents, turns, jumps, a path on the ice."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d

from mlavl_cli.simulate.body import PART, POSE_PARTS, place_joints
from mlavl_cli.simulate.elements import Element, Kind
from mlavl_cli.simulate.programme import Programme, Segment
from mlavl_cli.simulate.style import Look


def _pose(**parts: float) -> np.ndarray:
    pose = np.zeros(len(POSE_PARTS))
    for name, value in {"lean": 6.0, "knee": 15.0, "up_l": 40.0, "up_r": 40.0, "elbow": 15.0, **parts}.items():
        pose[PART[name]] = value
    return pose


_GLIDE = _pose()
_POSES = {
    "open": _pose(up_l=150, up_r=20, knee=0, lean=-8),
    "stroke_left": _pose(lean=18, knee=38, back=38, out=28, free_knee=8, up_l=55, up_r=35, fore_l=40),
    "stroke_right": _pose(lean=18, knee=38, back=10, out=-25, free_knee=25, up_l=35, up_r=55, fore_r=40),
    "spread eagle": _pose(lean=-12, knee=4, out=55, up_l=95, up_r=95, elbow=0),
    "Ina Bauer": _pose(lean=-38, knee=48, back=35, out=20, up_l=120, up_r=75, elbow=0),
    "hydroblading glide": _pose(lean=52, side=30, knee=105, back=25, out=60, up_l=100, up_r=20, elbow=0),
    "spiral on a deep edge": _pose(lean=80, knee=2, back=112, up_l=95, up_r=95, elbow=0),
    "gather": _pose(lean=28, knee=62, back=22, up_l=25, up_r=25, fore_l=-40, fore_r=-40, elbow=5),
    "pick": _pose(lean=34, knee=45, back=62, free_knee=4, up_l=75, fore_l=80, up_r=35, fore_r=-50),
    "forward": _pose(lean=14, knee=60, back=-28, free_knee=30, up_l=30, fore_l=-70, up_r=30, fore_r=-70),
    "edge": _pose(lean=20, knee=65, back=-12, out=18, free_knee=20, up_l=60, fore_l=60, up_r=60),
    "tight": _pose(lean=0, knee=0, out=-6, free_knee=0, up_l=22, fore_l=85, up_r=22, fore_r=85, elbow=125),
    "loose": _pose(lean=10, knee=20, out=25, back=15, free_knee=35, up_l=55, fore_l=60, up_r=75, fore_r=20, elbow=70),
    "landed": _pose(lean=24, knee=42, back=72, out=12, up_l=92, up_r=92, elbow=0),
    "landed badly": _pose(lean=44, side=-16, knee=62, back=22, out=30, free_knee=40, up_l=30, fore_l=70, up_r=115),
    "stumble": _pose(lean=66, side=22, knee=88, back=10, out=45, free_knee=60, up_l=10, fore_l=80, up_r=130),
    "fallen": _pose(lean=42, side=60, knee=100, back=-50, out=30, free_knee=60, up_l=70, up_r=30, down=1),
    "upright": _pose(lean=0, knee=2, back=-14, free_knee=55, up_l=150, up_r=150, elbow=25),
    "sit": _pose(lean=44, knee=128, back=-78, free_knee=4, up_l=75, fore_l=85, up_r=75, fore_r=85, elbow=0),
    "camel": _pose(lean=84, knee=2, back=95, up_l=95, up_r=95, elbow=0),
    "layback": _pose(lean=-52, knee=4, back=42, free_knee=62, up_l=135, up_r=135, elbow=35),
    "biellmann": _pose(lean=-30, knee=0, back=150, free_knee=45, up_l=165, fore_l=-20, up_r=165, fore_r=-20, elbow=10),
}


@dataclass(frozen=True)
class Motion:
    """At each of F frames.

    Attributes:
        joints: (F, J, 2) of the drawn body, in body heights, x to the right and y upward from where it stands.
        ground: (F, 2) where it stands on the ice: metres along and metres in depth.
        speed: (F,) m/s.
        wobble: (F,) 0 to 1, how unsteady.
    """

    joints: np.ndarray
    ground: np.ndarray
    speed: np.ndarray
    wobble: np.ndarray


class _Keys:
    """Key frames as they are written down."""

    def __init__(self) -> None:
        self.poses: list[tuple[float, np.ndarray]] = []
        self.turns: list[tuple[float, float]] = [(0.0, 0.0)]  # time, whole angle in turns
        self.speed: list[tuple[float, float]] = []
        self.jumps: list[tuple[float, float, float]] = []  # take-off, landing, height in body heights

    def pose(self, time_s: float, pose: np.ndarray) -> None:
        if not self.poses or time_s > self.poses[-1][0] + 0.02:
            self.poses.append((time_s, pose))

    def turn(self, time_s: float, by: float) -> None:
        """The figure has turned by so many turns more until then."""
        self.turns.append((max(time_s, self.turns[-1][0] + 1e-3), self.turns[-1][1] + by))


def move(programme: Programme, look: Look, rng: np.random.Generator) -> Motion:
    """All frames of a programme."""
    skater = programme.skater
    frames = round(programme.seconds * look.fps)
    t = np.arange(frames) / look.fps
    keys = _Keys()
    for segment in programme.segments:
        if segment.element is None:
            _connect(keys, segment, rng)
        else:
            _KINDS[segment.element.kind](keys, segment, segment.element, rng)
    times, poses = zip(*keys.poses, strict=True)
    pose = PchipInterpolator([*times, programme.seconds + 1], np.stack([*poses, poses[-1]]))(t)

    large = 0.6 + 0.55 * skater.projection
    for part in ("up_l", "up_r", "back", "out"):
        pose[:, PART[part]] *= 0.75 + 0.4 * skater.projection
    beat = _pulses(t, programme.accent_s, programme.accent)
    calm = 1 - pose[:, PART["down"]]
    for part, degrees in (("up_l", 80), ("up_r", 80), ("knee", -12), ("lean", -10)):
        pose[:, PART[part]] += degrees * large * beat * calm
    wobble = (1 - skater.control) * np.ones(frames)
    for part, degrees in (("side", 10), ("lean", 9), ("up_l", 9), ("up_r", 9)):
        noise = gaussian_filter1d(rng.normal(0, 1, frames), look.fps * 0.09)
        pose[:, PART[part]] += degrees * wobble * noise / max(noise.std(), 1e-6)

    ground, heading, speed = _path(t, keys, skater.speed, skater.layout, rng)
    turn_t, turned = (np.array(values) for values in zip(*keys.turns, strict=True))
    yaw = heading + 2 * np.pi * np.interp(t, turn_t, turned)
    height = 0.09 * large * beat * calm
    for start, end, high in keys.jumps:
        phase = np.clip((t - start) / (end - start), 0, 1)
        height += 4 * high * phase * (1 - phase)
    return Motion(place_joints(pose, yaw, height, look.leg), ground, speed, wobble)


def _pulses(t: np.ndarray, at: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """(F,) a quick rise just before each accent and a slower fall behind it."""
    out = np.zeros(len(t))
    for time_s, strong in zip(at, strength, strict=True):
        since = t - time_s
        rise, fall = np.exp(-((np.minimum(since, 0) / 0.07) ** 2)), np.exp(-np.maximum(since, 0) / 0.22)
        out = np.maximum(out, strong * np.where(since < 0, rise, fall))
    return out


# --- What is done in each kind of stretch ---------------------------------------------------------------------------


def _connect(keys: _Keys, segment: Segment, rng: np.random.Generator) -> None:
    start, end = segment.start_s, segment.end_s
    if segment.action == "crossovers gathering speed":
        at, left = start, True
        while at < end - 0.2:
            keys.pose(at + 0.2, _POSES["stroke_left" if left else "stroke_right"])
            at, left = at + 0.42, not left
        keys.speed.append((start + 0.1, 1.0))
    elif segment.action.startswith("opening"):
        keys.pose(start, _POSES["open"])
        keys.pose(end - 0.3, _POSES["open"] if start > 0 else _GLIDE)
        keys.speed.append((start + 0.5, 0.0 if start > 0 else 0.4))
    else:
        keys.pose(start + 0.35 * (end - start), _POSES[segment.action])
        keys.pose(start + 0.8 * (end - start), _POSES[segment.action])
        keys.turn(start, 0.0)
        keys.turn(end, rng.choice((0.5, 0.0, -0.5)))
        keys.speed.append((start + 0.1, 1.0))


def _jump(keys: _Keys, segment: Segment, element: Element, rng: np.random.Generator) -> None:
    start, good = segment.start_s, (segment.grade + 5) / 10
    off = start + 0.8
    air_s = 0.30 + 0.09 * element.rotations + 0.1 * good
    on = off + air_s
    entry = {"toe": "pick", "edge": "edge", "forward": "forward"}[element.entry]
    keys.pose(start + 0.3, _POSES["gather"])
    keys.pose(off - 0.06, _POSES[entry])
    tight = _POSES["tight"] * good + _POSES["loose"] * (1 - good)
    keys.pose(off + 0.25 * air_s, tight)
    keys.pose(on - 0.12 * air_s, tight)
    keys.turn(off, 0.0)
    keys.turn(on, element.rotations)
    keys.jumps.append((off, on, 0.10 + 0.05 * element.rotations + 0.12 * good))
    if segment.landing == "fall":
        keys.pose(on + 0.3, _POSES["fallen"])
        keys.pose(on + 0.85, _POSES["fallen"])
        keys.speed += [(on + 0.1, 0.7), (on + 0.5, 0.1), (segment.end_s, 0.5)]
    else:
        badly = _POSES["stumble"] if segment.landing == "stumble" else _POSES["landed badly"]
        share = 0.0 if segment.landing == "stumble" else good
        keys.pose(on + 0.16, share * _POSES["landed"] + (1 - share) * badly)
        keys.pose(on + 0.25 + 0.4 * good, share * _POSES["landed"] + (1 - share) * badly)
        keys.speed += [(off, 1.0), (on + 0.2, 0.45 + 0.5 * good), (segment.end_s, 0.9)]
    keys.pose(segment.end_s - 0.05, _GLIDE)


def _spin(keys: _Keys, segment: Segment, element: Element, rng: np.random.Generator) -> None:
    start, end, good = segment.start_s, segment.end_s, (segment.grade + 5) / 10
    first, last = start + 0.5, end - 0.4
    keys.pose(start + 0.2, _POSES["gather"])
    keys.speed += [(start, 0.8), (first, 0.25 * (1 - good)), (last, 0.25 * (1 - good)), (end, 0.7)]
    # A higher level holds more features: changes of the arms and of the body within each position.
    stops = np.linspace(first, last, len(element.positions) * (1 + element.level) + 1)
    for i, (a, b) in enumerate(pairwise(stops)):
        pose = _POSES[element.positions[i // (1 + element.level)]].copy()
        if i % 2:
            pose[PART["up_l"]] = 175 - 0.6 * pose[PART["up_l"]]
            pose[PART["side"]] += 18
        pose = pose + (1 - good) * 0.4 * (_GLIDE - pose)  # a weak spin doesn't reach its position
        keys.pose(a + 0.3 * (b - a), pose)
        keys.pose(a + 0.85 * (b - a), pose)
    keys.turn(start + 0.2, 0.0)
    turns = (1.0 + 0.9 * good + 0.12 * element.level) * (last - first)
    keys.turn(last, turns)
    keys.pose(end, _GLIDE)


def _steps(keys: _Keys, segment: Segment, element: Element, rng: np.random.Generator) -> None:
    good = (segment.grade + 5) / 10
    every = 0.62 - 0.09 * element.level
    at, side = segment.start_s, 1
    keys.turn(at, 0.0)
    while at < segment.end_s - every:
        deep = 10 + 22 * good
        keys.pose(at + 0.5 * every, _pose(
            lean=12, side=side * deep, knee=20 + 26 * good, back=20 + 25 * good, out=25 * side,
            up_l=70 + 45 * side, up_r=70 - 45 * side, fore_l=30, fore_r=30, elbow=10,
        ))  # fmt: skip
        keys.turn(at + every, rng.choice((0.5, 1.0, -0.5)))
        at, side = at + every, -side
    keys.speed.append((segment.start_s + 0.2, 0.6 + 0.3 * good))
    keys.speed.append((segment.end_s - 0.2, 0.6 + 0.3 * good))


def _spiral(keys: _Keys, segment: Segment, element: Element, rng: np.random.Generator) -> None:
    start, end, good = segment.start_s, segment.end_s, (segment.grade + 5) / 10
    pose = _GLIDE + (0.45 + 0.55 * good) * (_POSES["spiral on a deep edge"] - _GLIDE)
    other = _GLIDE + (0.45 + 0.55 * good) * (_POSES["Ina Bauer"] - _GLIDE)
    keys.pose(start + 0.5, pose)
    keys.pose(start + 0.55 * (end - start), pose)
    keys.pose(start + 0.7 * (end - start), other)
    keys.pose(end - 0.3, other)
    keys.speed.append((start + 0.3, 1.0))


_KINDS: dict[Kind, Callable[[_Keys, Segment, Element, np.random.Generator], None]] = {
    "jump": _jump,
    "spin": _spin,
    "steps": _steps,
    "spiral": _spiral,
}


# --- The path over the ice --------------------------------------------------------------------------------------------


def _path(
    t: np.ndarray, keys: _Keys, speed: float, layout: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ground (F, 2) in metres, heading (F,) in radians and speed (F,) in m/s: loops over more or less of the ice."""
    at, factor = zip(*sorted(keys.speed), strict=True)
    metres = (1.6 + 4.6 * speed) * gaussian_filter1d(np.interp(t, at, factor), 0.15 / (t[1] - t[0]))
    wide, deep = 8 + 14 * layout, 1.5 + 5.5 * layout
    phases = rng.uniform(0, 2 * np.pi, 2)
    u = np.linspace(0, 40 * np.pi, 40_000)
    x, y = wide * np.sin(u + phases[0]), deep * np.sin(2 * u + phases[1]) * (0.8 + 0.2 * np.sin(0.31 * u))
    along = np.concatenate([[0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    covered = np.cumsum(metres) * (t[1] - t[0])
    here = np.interp(covered % along[-1], along, u)
    ground = np.stack([np.interp(here, u, x), np.interp(here, u, y)], -1)
    heading = np.interp(here, u, np.unwrap(np.arctan2(np.gradient(y), np.gradient(x))))
    return ground, heading, metres
