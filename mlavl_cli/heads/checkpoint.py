"""A head as one safetensors file: tensors and text features, with dimensions, target, range and prompts as metadata."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save

from mlavl_cli.errors import UsageError, WeightsError, one_line
from mlavl_cli.files import atomic_write
from mlavl_cli.heads.base import Head
from mlavl_cli.heads.dims import MOST_WINDOW, HeadDims
from mlavl_cli.heads.methods import head_class
from mlavl_cli.heads.window import fit_window
from mlavl_cli.score_range import Range, is_range, to_points
from mlavl_cli.untrusted import open_safetensors, wrong_numbers

HEAD_VERSION = 1
_METADATA = "mlavl"
_LONGEST_GRADE, _LONGEST_PROMPT = 100, 2000  # letters
# What a damaged file makes the libraries raise.
_WRONG = (
    SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, OverflowError,
    AssertionError,
)  # fmt: skip


@dataclass(frozen=True)
class TargetHead:
    """A head, the target that it scores, and what its numbers mean.

    Attributes:
        score_range: in points, from a normalised 0 to 1.
        grades: (N,) words, from the worst to the best.
        prompts: (P,) texts, empty where they aren't known.
        window: clips it was trained on, None for any.
        full_stop: whether the text tower read a full stop behind each prompt, as in the public code; None: not known.
    """

    model: Head
    target: str
    score_range: Range
    grades: tuple[str, ...]
    prompts: tuple[str, ...] = ()
    window: int | None = None
    full_stop: bool | None = None

    @property
    def audio_visual_grades(self) -> tuple[str, ...]:
        """(2N,) names of the audio-visual grades, in the order of their rows."""
        words = {False: "without", True: "with"}
        return tuple(
            f"{self.grades[grade]} {words[fits]} fitting music" for grade, fits in self.model.dims.audio_visual
        )

    def cut(self, features: torch.Tensor) -> torch.Tensor:
        """(T, D) -> the window of it that is scored."""
        return fit_window(features, self.window, pads=self.model.pads(self.model.dims))

    def wrong_width(self, visual: int, audio: int | None, tokens: int = 1, clips: int = 0) -> str | None:
        """What keeps it from taking features of these widths (audio None: no sound), with as many visual tokens a clip,
        of as many clips; None if nothing does.
        """
        dims = self.model.dims
        if visual != dims.visual_dim:
            return f"visual features are {visual} wide; the {self.target} head takes {dims.visual_dim}"
        if dims.has_audio and audio not in (None, dims.audio_dim):
            return f"audio features are {audio} wide; the {self.target} head takes {dims.audio_dim}"
        if dims.tokens not in (1, tokens):
            return f"features have {tokens} visual tokens a clip; the {self.target} head mixes {dims.tokens}"
        if self.model.longest and clips > self.model.longest:
            return f"{clips} clips; the {self.target} head compares all with all, of {self.model.longest} at the most"
        return None

    def points(self, normalised: float) -> float:
        return to_points(normalised, self.score_range)


def save_head(path: Path, head: TargetHead, half: bool = False) -> None:
    """Writes a head atomically; the same head gives the same bytes.

    `half` rounds its matrices to 16 bits; what is only a vector (biases, statistics of batch norms) stays.

    Raises:
        WeightsError: it has texts with which it couldn't be read again.
    """
    _texts(head.grades, _LONGEST_GRADE)
    _texts(head.prompts, _LONGEST_PROMPT)
    metadata = {
        "version": HEAD_VERSION,
        "model": head.model.name,
        "dims": asdict(head.model.dims),
        "target": head.target,
        "score_range": head.score_range,
        "grades": head.grades,
        "prompts": head.prompts,
        "window": head.window,
        "full_stop": head.full_stop,
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in head.model.state_dict().items()}
    if half:
        tensors = {name: tensor.half() if tensor.ndim > 1 else tensor for name, tensor in tensors.items()}
    with atomic_write(path) as file:
        file.write(save(tensors, metadata={_METADATA: json.dumps(metadata, sort_keys=True)}))


def load_head(path: Path, target: str | None = None) -> TargetHead:
    """Reads a head, on the CPU and in eval mode.

    Args:
        path: its file.
        target: what its bundle says it scores; None: whatever it scores.

    Raises:
        WeightsError: missing, no head, one of another target, or tensors that don't fit its own dimensions.
    """
    try:
        with open_safetensors(path, "pt") as file:
            metadata = json.loads((file.metadata() or {})[_METADATA])
            if metadata["version"] != HEAD_VERSION:
                hint = f"This mlavl reads version {HEAD_VERSION}."
                raise WeightsError(f"head version {metadata['version']!r}", path=path, hint=hint)
            kind = head_class(str(metadata.get("model", "mlavl")))  # mlavl 0.1 knew one model
            dims = kind.Dims.from_dict(metadata["dims"])
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            model = _built(kind, dims, shapes)
            tensors = {name: file.get_tensor(name) for name in shapes}
        for name, tensor in tensors.items():
            if wrong := wrong_numbers(name, tensor):
                raise WeightsError(f"{name} {wrong}", hint="Are the weights damaged?")
        model.load_state_dict(tensors)
        if len(metadata["grades"]) != dims.grades:
            raise WeightsError(f"names {len(metadata['grades'])} grades, its dimensions say {dims.grades}")
        if target not in (None, one_line(str(metadata["target"]))):
            raise WeightsError(f"scores {metadata['target']!r:.40}, where its bundle has {target}")
        return TargetHead(
            model.eval().requires_grad_(False),
            one_line(str(metadata["target"])),
            _range(metadata["score_range"]),
            _texts(metadata["grades"], _LONGEST_GRADE),
            _texts(metadata["prompts"], _LONGEST_PROMPT),
            _window(metadata["window"]),
            _full_stop(metadata),
        )
    except FileNotFoundError as error:
        raise WeightsError("no such head", path=path, hint="Is the bundle whole?") from error
    except (WeightsError, UsageError) as error:
        raise WeightsError(error.message, path=path, hint=error.hint) from error
    except _WRONG as error:
        raise WeightsError("is no head of mlavl, or a damaged one", path=path) from error


def _built(kind: type[Head], dims: HeadDims, shapes: dict[str, tuple[int, ...]]) -> Head:
    """An empty head of these dimensions, once the file's shapes were found to be the same (no memory before that)."""
    with torch.device("meta"):
        wanted = {name: tuple(tensor.shape) for name, tensor in kind(dims).state_dict().items()}
    for name in sorted(wanted.keys() | shapes.keys()):
        if wanted.get(name) != shapes.get(name):
            raise WeightsError(f"{name} has shape {shapes.get(name)}, its dimensions say {wanted.get(name)}")
    return kind(dims)


def _full_stop(metadata: dict[str, Any]) -> bool | None:
    value = metadata.get("full_stop", False if metadata["prompts"] else None)  # mlavl 0.1 had none
    if value is not None and type(value) is not bool:
        raise WeightsError("doesn't say whether its prompts end with full stops")
    return value


def _texts(values: Any, longest: int) -> tuple[str, ...]:
    texts = tuple(one_line(str(value)) for value in values)
    if max(map(len, texts), default=0) > longest:
        raise WeightsError(f"holds a text of more than {longest} letters, where grades and prompts are")
    return texts


def _window(value: Any) -> int | None:
    if value is not None and (type(value) is not int or not 0 < value <= MOST_WINDOW):
        raise WeightsError(f"a window of {value!r:.40} clips is none")
    return value


def _range(values: Any) -> Range:
    low, high = map(float, values)
    if not is_range(low, high):
        raise WeightsError(f"score range {low} to {high} is none")
    return low, high
