"""The authors' checkpoints -> our names (docs/method.md, section 13). Every tensor is accounted for."""

import re
from dataclasses import dataclass
from pathlib import Path

import torch

from mlavl_cli.errors import WeightsError
from mlavl_cli.heads.dims import HeadDims
from mlavl_cli.heads.mlavl.model import MLAVL
from mlavl_cli.heads.state_dicts import Tensors, read_state

# Beginnings of names, theirs and ours. Some tensors stand in the file under two names.
_NAMES = (
    ("proj_visual.", "proj_visual.layers."),
    ("proj_audio.", "proj_audio.layers."),
    ("proj_text.", "proj_text.layers."),
    ("transformer.encoder.", "s2ce.encoder."),
    ("SSCEncoder.", "s2ce.encoder."),
    ("transformer.decoder.", "dpg.pgt."),
    ("GradeDecoder.", "dpg.pgt."),
    ("T_decoder.", "avcf.decoder."),
    ("clip_fusion.", "avcf.clip_fusion."),
    ("regressor_AV.", "dpg.regressor_av.rows."),
    ("regressor_V.", "dpg.regressor_v.rows."),
    ("gcn_V.", "mag2_visual."),
    ("gcn_A.", "mag2_audio."),
    ("w1", "dpg.w"),
)
_POSITIONS = "pos_encoder.pe"
_IGNORED = re.compile(r"CLIP\..+|pos_encoder\..+")  # the frozen text tower; sines that only some runs added to prompts
_WRAPPERS = re.compile(r"(?:module\.|_orig_mod\.)+")  # of torch's own, around the model


@dataclass(frozen=True)
class Imported:
    """A head in our names, and what a user should know of it."""

    model: MLAVL
    warnings: tuple[str, ...] = ()


def import_official(path: Path, text_features: torch.Tensor, heads: int = 8) -> Imported:
    """A `.pkl` state dict of the official code and its prompts' features (P, D_t) -> the same head in ours.

    Sizes come from the tensors; the number of attention heads can't be seen in them.

    Raises:
        WeightsError: it can't be read safely; or tensors are missing, unknown, of a wrong shape or kind, or hold what
            is no number. They are named as in the file.
    """
    state = read_state(path)
    tensors = _Named(state, path)
    try:
        dims = _dims(tensors, text_features, heads)
    except WeightsError as error:
        raise WeightsError(error.message, path=path, hint=error.hint) from error
    with torch.device("meta"):  # no memory before the shapes were found to be the same
        asked = MLAVL(dims).state_dict()
    tensors.refuse_misfits({name: tensor for name, tensor in asked.items() if name != "text_features"})
    model = MLAVL(dims, text_features)
    wanted = {name: tensor for name, tensor in model.state_dict().items() if name != "text_features"}
    model.load_state_dict({**tensors.fitted(wanted), "text_features": model.text_features})
    warnings = []
    if any(name.endswith(_POSITIONS) for name in state):
        warnings.append(
            f"holds {_POSITIONS}, and no tensor shows whether it was used. If the prompts were trained with positional "
            "encoding, the public code's scores depend on a routine's place in its batch, and these will differ"
        )
    return Imported(model.eval().requires_grad_(False), tuple(warnings))


class _Named(Tensors):
    """The tensors of an official checkpoint, by our names."""

    def __init__(self, state: dict[str, torch.Tensor], path: Path):
        super().__init__(path)
        unknown = []
        for full, tensor in state.items():
            name = _WRAPPERS.sub("", full, count=1) if _WRAPPERS.match(full) else full
            if _IGNORED.fullmatch(name):
                continue
            renamed = next((ours + name.removeprefix(old) for old, ours in _NAMES if name.startswith(old)), None)
            if renamed is None:
                unknown.append(full)
            else:
                self.add(renamed, full, tensor)
        if unknown:
            cause = f"{len(unknown)} unknown tensors: {', '.join(sorted(unknown)[:5])}"
            raise WeightsError(cause, path=path, hint="Is it a checkpoint of another model? Say which by --model.")

    def called(self, name: str) -> str:
        """What the file calls a tensor of ours, or would."""
        if name in self.theirs:
            return self.theirs[name]
        return next(old + name.removeprefix(ours) for old, ours in _NAMES if name.startswith(ours))

    def size(self, name: str, axis: int) -> int:
        """Of a tensor along an axis.

        Raises:
            WeightsError: it is missing, or has no such axis.
        """
        if name not in self.ours:
            raise WeightsError(f"the tensor {self.called(name)} is missing", hint="Is it a checkpoint of MLAVL?")
        shape = self.shapes()[name]
        if len(shape) <= axis or 0 in shape:
            raise WeightsError(f"{self.called(name)} has shape {shape}, which no head of MLAVL has")
        return shape[axis]


def _dims(tensors: _Named, text_features: torch.Tensor, heads: int) -> HeadDims:
    def depth(prefix: str) -> int:
        return len({name.split(".")[3] for name in tensors.ours if name.startswith(f"{prefix}.layers.")})

    grades = tensors.size("dpg.regressor_v.rows.weight", 0)
    spare = len(text_features) - 3 * grades
    if spare < 2 or spare % 2:
        cause = f"{len(text_features)} text features are no 2 M + 3 N with N = {grades} grades"
        raise WeightsError(cause, hint="Do the text features belong to this checkpoint?")
    text_dim = tensors.size("proj_text.layers.0.weight", 1)
    if text_features.shape[1] != text_dim:
        cause = f"its prompts are {text_dim} wide, the text features {text_features.shape[1]}"
        raise WeightsError(cause, hint="Do the text features belong to this checkpoint?")
    return HeadDims(
        visual_dim=tensors.size("proj_visual.layers.0.weight", 1),
        audio_dim=tensors.size("proj_audio.layers.0.weight", 1),
        text_dim=text_dim,
        actions=spare // 2,
        grades=grades,
        width=tensors.size("proj_visual.layers.3.weight", 0),
        heads=heads,
        encoder_layers=depth("s2ce.encoder"),
        fusion_layers=depth("avcf.decoder"),
        grading_layers=depth("dpg.pgt"),
    )
