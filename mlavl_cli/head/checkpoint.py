"""A head as one safetensors file: tensors and text features, with dimensions, target, range and prompts as metadata."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from mlavl_cli.errors import WeightsError, one_line
from mlavl_cli.files import atomic_write, refuse_irregular
from mlavl_cli.head.dims import HeadDims
from mlavl_cli.head.mlavl import MLAVL

HEAD_VERSION = 1
_METADATA = "mlavl"


@dataclass(frozen=True)
class Head:
    """A head and what its numbers mean.

    `score_range` is in points, from a normalised 0 to 1; `window` is the clips it was trained on, None for any.
    """

    model: MLAVL
    target: str
    score_range: tuple[float, float]
    grades: tuple[str, ...]
    prompts: tuple[str, ...] = ()
    window: int | None = None

    def points(self, normalised: float) -> float:
        low, high = self.score_range
        return low + normalised * (high - low)


def save_head(path: Path, head: Head, half: bool = False) -> None:
    """Writes a head atomically; the same head gives the same bytes.

    `half` rounds its matrices to 16 bits; what is only a vector (biases, statistics of batch norms) stays.
    """
    metadata = {
        "version": HEAD_VERSION,
        "dims": asdict(head.model.dims),
        "target": head.target,
        "score_range": head.score_range,
        "grades": head.grades,
        "prompts": head.prompts,
        "window": head.window,
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in head.model.state_dict().items()}
    if half:
        tensors = {name: tensor.half() if tensor.ndim > 1 else tensor for name, tensor in tensors.items()}
    with atomic_write(path) as file:
        file.write(save(tensors, metadata={_METADATA: json.dumps(metadata, sort_keys=True)}))


def load_head(path: Path) -> Head:
    """Reads a head, on the CPU and in eval mode.

    Raises:
        WeightsError: missing, no head, or tensors that don't fit its own dimensions.
    """
    try:
        refuse_irregular(path)
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {})[_METADATA])
            if metadata["version"] != HEAD_VERSION:
                hint = f"This mlavl reads version {HEAD_VERSION}."
                raise WeightsError(f"head version {metadata['version']!r}", path=path, hint=hint)
            dims = HeadDims.from_dict(metadata["dims"])
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            model = _built(dims, shapes)
            model.load_state_dict({name: file.get_tensor(name) for name in shapes})
        if len(metadata["grades"]) != dims.grades:
            raise WeightsError(f"names {len(metadata['grades'])} grades, its dimensions say {dims.grades}")
        return Head(
            model.eval().requires_grad_(False),
            one_line(str(metadata["target"])),
            _range(metadata["score_range"]),
            tuple(one_line(str(grade)) for grade in metadata["grades"]),
            tuple(one_line(str(prompt)) for prompt in metadata["prompts"]),
            _window(metadata["window"]),
        )
    except FileNotFoundError as error:
        raise WeightsError("no such head", path=path, hint="Is the bundle whole?") from error
    except WeightsError as error:
        raise WeightsError(error.message, path=path, hint=error.hint) from error
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise WeightsError("is no head of mlavl, or a damaged one", path=path) from error


def _built(dims: HeadDims, shapes: dict[str, tuple[int, ...]]) -> MLAVL:
    """An empty head of these dimensions, once the file's shapes were found to be the same (no memory before that)."""
    import torch

    with torch.device("meta"):
        wanted = {name: tuple(tensor.shape) for name, tensor in MLAVL(dims).state_dict().items()}
    for name in sorted(wanted.keys() | shapes.keys()):
        if wanted.get(name) != shapes.get(name):
            raise WeightsError(f"{name} has shape {shapes.get(name)}, its dimensions say {wanted.get(name)}")
    return MLAVL(dims)


def _window(value: Any) -> int | None:
    if value is not None and (type(value) is not int or not 0 < value <= 1 << 16):
        raise WeightsError(f"a window of {value!r:.40} clips is none")
    return value


def _range(values: Any) -> tuple[float, float]:
    low, high = map(float, values)
    if not low < high or high - low == float("inf"):
        raise WeightsError(f"score range {low} to {high} is none")
    return low, high
