"""Simulated routines as arrays to train backbones on: small pictures, spectrograms, and what is true of a clip."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.signal import resample_poly

from mlavl_cli.features.audio import AudioBackbone
from mlavl_cli.media.cutting import FRAMES_PER_CLIP
from mlavl_cli.media.sound import SAMPLE_RATE_HZ
from mlavl_cli.simulate.body import JOINTS
from mlavl_cli.simulate.collection import routine_id
from mlavl_cli.simulate.music import RATE_HZ
from mlavl_cli.simulate.scene import pictures
from mlavl_cli.simulate.truth import curve
from mlavl_cli.simulate.write import Recipe, simulate

FRAMES = 16  # that the backbone looks at: every second one, from the second
STRIDE = FRAMES_PER_CLIP // FRAMES
# What a clip's visual features should tell, beside its action and its accents.
MEASURES = ("points", "grade", "rotations", "level", "speed", "control", "projection", "landing")


_PAIRS = (
    ("shoulder_l", "shoulder_r"), ("elbow_l", "elbow_r"), ("hand_l", "hand_r"), ("knee", "free_knee"),
    ("foot", "free_foot"),
)  # fmt: skip
POSE, POSE_UNIT = 2 * (3 + 2 * len(_PAIRS)), 0.1  # body heights

PICTURE_SIZE = (224, 126)  # that a routine is drawn at, before it is cut and scaled as for the backbone


@dataclass
class Routine:
    """Pictures (F, side, side, 3) uint8 of every second frame, joints (F, J, 2) in body heights, spectrogram
    (L, mel bins) at 100 Hz, and the truth."""

    pictures: np.ndarray
    joints: np.ndarray
    spectrogram: torch.Tensor
    truth: dict
    fps: int

    @cached_property
    def accents(self) -> np.ndarray:
        """(F,) the curve of the movement's accents, float32."""
        t = (np.arange(len(self.pictures)) * STRIDE + STRIDE / 2) / self.fps
        return curve(t, *np.array(self.truth["movement_accents"]).T).astype(np.float32)

    @property
    def starts(self) -> int:
        """At how many pictures a clip can begin."""
        return len(self.pictures) - FRAMES + 1


def drawn(recipe: Recipe, side: int, audio: AudioBackbone) -> Routine:
    """One routine, straight from the simulator.

    Not through an mp4: the same pictures and sound, without the hours of encoding and decoding.
    """
    made = simulate(recipe)
    numbers = range(STRIDE // 2, len(made.motion.joints), STRIDE)
    frames = pictures(made.motion, made.look, PICTURE_SIZE, made.scene_rng, numbers)
    sound = resample_poly(made.music.samples.mean(0), SAMPLE_RATE_HZ, RATE_HZ).astype(np.float32)
    return Routine(
        np.stack([_small(frame, side) for frame in frames]),
        made.motion.joints[numbers.start :: STRIDE].astype(np.float32),
        audio.spectrogram(sound),
        made.truth,
        made.truth["fps"],
    )


def draw(recipe: Recipe, cache: Path, side: int, audio: AudioBackbone) -> Routine:
    """The same, kept in `cache`."""
    kept = cache / f"{routine_id(recipe)}-{side}-{audio.mel_bins}.npz"
    if not kept.exists():
        routine = drawn(recipe, side, audio)
        cache.mkdir(parents=True, exist_ok=True)
        np.savez(
            kept,
            pictures=routine.pictures,
            joints=routine.joints,
            spectrogram=routine.spectrogram.numpy().astype(np.float16),
            truth=json.dumps(routine.truth),
        )
    with np.load(kept) as held:
        truth = json.loads(str(held["truth"]))
        return Routine(
            held["pictures"], held["joints"], torch.from_numpy(held["spectrogram"]).float(), truth, truth["fps"]
        )


def _small(frame: np.ndarray, side: int) -> np.ndarray:
    height, width = frame.shape[:2]
    left = (width - height) // 2
    square = Image.fromarray(frame).crop((left, 0, left + height, height))
    return np.asarray(square.resize((side, side), Image.Resampling.BILINEAR))


@dataclass
class Truth:
    """Of B clips: shares of the actions (B, M), measures (B, K) with their mask, curves of accents (B, FRAMES) in
    movement and in music, consistency (B,), tempo in log2 of beats a second (B,)."""

    actions: torch.Tensor
    measures: torch.Tensor
    known: torch.Tensor
    moved: torch.Tensor
    heard: torch.Tensor
    consistency: torch.Tensor
    tempo: torch.Tensor


def clip_truth(routines: list[Routine], starts: list[int], actions: tuple[str, ...]) -> Truth:
    """What is true of the clips that begin at these pictures."""
    rows = [_one(routine, start, actions) for routine, start in zip(routines, starts, strict=True)]
    return Truth(*(torch.from_numpy(np.stack(column)).float() for column in zip(*rows, strict=True)))


def _one(routine: Routine, start: int, actions: tuple[str, ...]) -> tuple[np.ndarray, ...]:
    truth, begin = routine.truth, start * STRIDE / routine.fps
    end = begin + FRAMES_PER_CLIP / routine.fps
    shares = np.zeros(len(actions))
    values = dict.fromkeys(MEASURES, np.nan)
    values["points"] = 0.0
    skater = truth["skater"]
    values |= {"control": skater["control"], "projection": skater["projection"]}
    for segment in truth["segments"]:
        shared = min(end, segment["end_s"]) - max(begin, segment["start_s"])
        if shared <= 0:
            continue
        shares[actions.index(segment["action"])] += shared / (end - begin)
        if "kind" not in segment:
            values["speed"] = skater["speed"]
            continue
        first, last = segment["start_s"], segment["end_s"]
        if segment["kind"] == "jump":  # a jump's worth shows from the take-off to the landing
            first, last = first + 0.7, first + 1.9
        core = min(end, last) - max(begin, first)
        if core <= 0:
            continue
        worth = segment["base"] * (1 + segment["grade"] / 10)
        values["points"] += worth * core / (last - first) / 3
        if core > 0.3:
            values["grade"] = segment["grade"] / 5
            if segment["kind"] == "jump":
                values["rotations"] = segment["rotations"] / 4
                values["landing"] = {"clean": 0.0, "stumble": 0.5, "fall": 1.0}[segment["landing"]]
            elif segment["kind"] in ("spin", "steps"):
                values["level"] = segment["level"] / 4
    measures = np.array([values[name] for name in MEASURES])
    t = begin + (np.arange(FRAMES) * STRIDE + STRIDE / 2) / routine.fps
    moved = routine.accents[start : start + FRAMES]
    heard = curve(t, *np.array(truth["music_accents"]).T)
    size = np.linalg.norm(moved) * np.linalg.norm(heard)
    known = ~np.isnan(measures)
    tempo = np.log2(1 / truth["beat_s"])
    fit = float(moved @ heard / size) if size > 0.05 else 0.0
    return (
        shares / max(shares.sum(), 1e-6),
        np.nan_to_num(measures),
        known,
        moved,
        heard,
        np.array(fit),
        np.array(tempo),
    )


def accents_of(routines: list[Routine], starts: list[int]) -> torch.Tensor:
    """(B, FRAMES), of the movement, at each picture."""
    return torch.from_numpy(np.stack([r.accents[s : s + FRAMES] for r, s in zip(routines, starts, strict=True)]))


def pose_of(routines: list[Routine], starts: list[int], mirrored: bool = False) -> torch.Tensor:
    """(B, FRAMES, POSE): where hip, neck and head are, then each pair of limbs: its middle, how far apart they are.

    Which of two arms is the left one can't be seen in so small a figure, and isn't asked.
    """
    clips = np.stack([r.joints[start : start + FRAMES] for r, start in zip(routines, starts, strict=True)])
    clips = clips - clips[:, :, :1] * (1, 0)  # across: from the hip
    if mirrored:
        clips = clips * (-1, 1)
    at = {name: clips[:, :, i] for i, name in enumerate(JOINTS)}
    found = [at["hip"], at["neck"], at["head"]]
    for one, other in _PAIRS:
        found += [(at[one] + at[other]) / 2, np.abs(at[one] - at[other])]
    return torch.from_numpy(np.concatenate(found, -1)).float()


def pictures_of(routines: list[Routine], starts: list[int]) -> torch.Tensor:
    """uint8 (B, FRAMES, height, width, 3)."""
    clips = [r.pictures[start : start + FRAMES] for r, start in zip(routines, starts, strict=True)]
    return torch.from_numpy(np.stack(clips))


def spectrograms_of(
    routines: list[Routine], starts: list[int], shifts_s: np.ndarray, audio: AudioBackbone
) -> list[torch.Tensor]:
    """Of each clip's time moved by `shifts_s`, in a circle within its routine."""
    found = []
    for routine, start, shift in zip(routines, starts, shifts_s, strict=True):
        frames = int((FRAMES_PER_CLIP / routine.fps - 0.025) * 100) + 1
        frames = audio.patch + (frames - audio.patch) // audio.stride * audio.stride
        first = round((start * STRIDE / routine.fps + shift) * 100) % max(len(routine.spectrogram) - frames, 1)
        found.append(routine.spectrogram[first : first + frames])
    return found
