"""The authors' checkpoints -> our names (spec: section 13). Every tensor is accounted for."""

import re
from pathlib import Path

import numpy as np
import torch

from mlavl_cli.errors import WeightsError
from mlavl_cli.head.dims import HeadDims
from mlavl_cli.head.mlavl import MLAVL
from mlavl_cli.untrusted import read_npy, read_torch

_RENAMES = (
    (r"(proj_visual|proj_audio|proj_text)\.(\d\..+)", r"\1.layers.\2"),
    (r"(?:transformer\.encoder|SSCEncoder)\.(.+)", r"s2ce.encoder.\1"),
    (r"(?:transformer\.decoder|GradeDecoder)\.(.+)", r"dpg.pgt.\1"),
    (r"T_decoder\.(.+)", r"avcf.decoder.\1"),
    (r"clip_fusion\.(.+)", r"avcf.clip_fusion.\1"),
    (r"regressor_AV\.(.+)", r"dpg.regressor_av.rows.\1"),
    (r"regressor_V\.(.+)", r"dpg.regressor_v.rows.\1"),
    (r"gcn_V\.(.+)", r"mag2_visual.\1"),
    (r"gcn_A\.(.+)", r"mag2_audio.\1"),
    (r"w1", r"dpg.w"),
)
_IGNORED = re.compile(r"CLIP\..+|pos_encoder\.pe")  # the frozen text tower; sines that only some runs added to prompts


def import_official(path: Path, text_features: torch.Tensor, heads: int = 8) -> MLAVL:
    """A `.pkl` state dict of the official code and its prompts' features (P, D_t) -> the same head in ours.

    Sizes come from the tensors; the number of attention heads can't be seen in them.

    Raises:
        WeightsError: it can't be read safely, or tensors are missing, unknown or of a wrong shape; they are named.
    """
    ours: dict[str, torch.Tensor] = {}
    unknown = []
    for name, tensor in _read_state(path).items():
        if _IGNORED.fullmatch(name):
            continue
        renamed = _rename(name)
        if renamed is None:
            unknown.append(name)
        elif renamed in ours and not torch.equal(ours[renamed], tensor):
            raise WeightsError(f"{name} differs from its second copy", path=path)
        else:
            ours[renamed] = tensor
    if unknown:
        hint = "Is it a checkpoint of another model?"
        raise WeightsError(f"{len(unknown)} unknown tensors: {', '.join(sorted(unknown)[:5])}", path=path, hint=hint)
    model = MLAVL(_dims(ours, text_features, heads, path), text_features)
    wanted = {name: t.shape for name, t in model.state_dict().items() if name != "text_features"}
    missing = sorted(wanted.keys() - ours.keys())
    if missing:
        raise WeightsError(f"{len(missing)} tensors are missing: {', '.join(missing[:5])}", path=path)
    for name, shape in wanted.items():
        if ours[name].shape != shape:
            raise WeightsError(f"{name} has shape {tuple(ours[name].shape)}, expected {tuple(shape)}", path=path)
    model.load_state_dict({**ours, "text_features": model.text_features})
    return model.eval().requires_grad_(False)


def read_text_features(path: Path) -> torch.Tensor:
    """Prompts' features (P, D_t) from a plain `.npy`, or from the official ones, which are torch files by that name.

    Raises:
        WeightsError: neither of them, or not a matrix of numbers.
    """
    try:
        with path.open("rb") as file:
            plain = file.read(6) == np.lib.format.MAGIC_PREFIX
        if plain:
            features = torch.from_numpy(read_npy(path))
        else:
            features = read_torch(path)
    except FileNotFoundError as error:
        raise WeightsError("no such file", path=path) from error
    except Exception as error:  # torch raises many kinds for a file that isn't its own
        hint = "Expected a numpy array or a torch tensor of shape (P, D_t)."
        raise WeightsError("can't be read as text features", path=path, hint=hint) from error
    if not isinstance(features, torch.Tensor) or features.ndim != 2 or not features.is_floating_point():
        raise WeightsError("holds no matrix of text features", path=path, hint="Expected shape (P, D_t).")
    if not features.isfinite().all():
        raise WeightsError("holds NaN or infinity", path=path)
    return features.float()


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    try:
        state = read_torch(path)
    except FileNotFoundError as error:
        raise WeightsError("no such file", path=path) from error
    except Exception as error:
        hint = "Expected a state dict saved by torch; anything that would run code is refused."
        raise WeightsError("can't be read as a checkpoint", path=path, hint=hint) from error
    state = state.get("state_dict", state) if isinstance(state, dict) else None
    if not state or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise WeightsError("holds no state dict", path=path)
    return {str(name).removeprefix("module."): tensor for name, tensor in state.items()}


def _rename(name: str) -> str | None:
    for pattern, ours in _RENAMES:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, ours, name)
    return None


def _dims(tensors: dict[str, torch.Tensor], text_features: torch.Tensor, heads: int, path: Path) -> HeadDims:
    def shape(name: str) -> torch.Size:
        if name not in tensors:
            raise WeightsError(f"the tensor {name} is missing", path=path)
        return tensors[name].shape

    def depth(prefix: str) -> int:
        return len({name.split(".")[3] for name in tensors if name.startswith(f"{prefix}.layers.")})

    grades = shape("dpg.regressor_v.rows.weight")[0]
    spare = len(text_features) - 3 * grades
    if spare < 2 or spare % 2:
        cause = f"{len(text_features)} text features are no 2 M + 3 N with N = {grades} grades"
        raise WeightsError(cause, path=path, hint="Do the text features belong to this checkpoint?")
    return HeadDims(
        visual_dim=shape("proj_visual.layers.0.weight")[1],
        audio_dim=shape("proj_audio.layers.0.weight")[1],
        text_dim=shape("proj_text.layers.0.weight")[1],
        actions=spare // 2,
        grades=grades,
        width=shape("proj_visual.layers.3.weight")[0],
        heads=heads,
        encoder_layers=depth("s2ce.encoder"),
        fusion_layers=depth("avcf.decoder"),
        grading_layers=depth("dpg.pgt"),
    )
