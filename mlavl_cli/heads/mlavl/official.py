"""The authors' checkpoints -> our names (docs/method.md, section 13). Every tensor is accounted for."""

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch

from mlavl_cli.errors import WeightsError
from mlavl_cli.heads.dims import HeadDims
from mlavl_cli.heads.mlavl.model import MLAVL
from mlavl_cli.untrusted import read_torch, wrong_numbers

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
_INSIDE = ("state_dict", "model_state_dict", "model")
_COUNTER = ".num_batches_tracked"  # of a batch norm; nothing depends on it
_CUT = "is cut short"
_MOST_BYTES = 1 << 30  # of a checkpoint; the official ones have 30 MB
_OLD_FORMAT = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")  # torch's magic number as a pickle


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
    state = _read_state(path)
    tensors = _Tensors(state, path)
    try:
        dims = _dims(tensors, text_features, heads)
    except WeightsError as error:
        raise WeightsError(error.message, path=path, hint=error.hint) from error
    with torch.device("meta"):  # no memory before the shapes were found to be the same
        asked = MLAVL(dims).state_dict()
    tensors.refuse_misfits({name: tensor for name, tensor in asked.items() if name != "text_features"})
    model = MLAVL(dims, text_features)
    wanted = {name: tensor for name, tensor in model.state_dict().items() if name != "text_features"}
    found = {name: tensors.ours.get(name, tensor).to(tensor.dtype) for name, tensor in wanted.items()}
    model.load_state_dict({**found, "text_features": model.text_features})
    warnings = []
    if any(name.endswith(_POSITIONS) for name in state):
        warnings.append(
            f"holds {_POSITIONS}, and no tensor shows whether it was used. If the prompts were trained with positional "
            "encoding, the public code's scores depend on a routine's place in its batch, and these will differ"
        )
    return Imported(model.eval().requires_grad_(False), tuple(warnings))


class _Tensors:
    """A checkpoint's tensors by our names, which knows what its file calls them."""

    def __init__(self, state: dict[str, torch.Tensor], path: Path):
        self.path = path
        self.ours: dict[str, torch.Tensor] = {}
        self._theirs: dict[str, str] = {}
        unknown = []
        for full, tensor in state.items():
            name = _WRAPPERS.sub("", full, count=1) if _WRAPPERS.match(full) else full
            if _IGNORED.fullmatch(name):
                continue
            renamed = next((ours + name.removeprefix(old) for old, ours in _NAMES if name.startswith(old)), None)
            if renamed is None:
                unknown.append(full)
            elif renamed in self.ours and not _same(self.ours[renamed], tensor):
                raise WeightsError(f"{full} differs from its second copy", path=path)
            else:
                self.ours[renamed] = tensor
                self._theirs.setdefault(renamed, full)
        if unknown:
            cause = f"{len(unknown)} unknown tensors: {', '.join(sorted(unknown)[:5])}"
            raise WeightsError(cause, path=path, hint="Is it a checkpoint of another model?")

    def called(self, name: str) -> str:
        """What the file calls a tensor of ours, or would."""
        if name in self._theirs:
            return self._theirs[name]
        return next(old + name.removeprefix(ours) for old, ours in _NAMES if name.startswith(ours))

    def size(self, name: str, axis: int) -> int:
        """Of a tensor along an axis.

        Raises:
            WeightsError: it is missing, or has no such axis.
        """
        if name not in self.ours:
            raise WeightsError(f"the tensor {self.called(name)} is missing", hint="Is it a checkpoint of MLAVL?")
        tensor = self.ours[name]
        shape = () if tensor.is_nested else tuple(tensor.shape)
        if len(shape) <= axis or 0 in shape:
            raise WeightsError(f"{self.called(name)} has shape {shape}, which no head of MLAVL has")
        return shape[axis]

    def refuse_misfits(self, wanted: dict[str, torch.Tensor]) -> None:
        """Compares with what the head needs.

        Raises:
            WeightsError: tensors are missing, left over, of a wrong shape or kind, or hold what is no number.
        """
        missing = [name for name in wanted if name not in self.ours and not name.endswith(_COUNTER)]
        spare = [name for name in self.ours if name not in wanted]
        for what, names in (("are missing", missing), ("belong to no part of the head", spare)):
            if names:
                listed = ", ".join(sorted(map(self.called, names))[:5])
                raise WeightsError(f"{len(names)} tensors {what}: {listed}", path=self.path)
        for name, tensor in self.ours.items():
            if tensor.shape != wanted[name].shape:
                shapes = f"{tuple(tensor.shape)}, expected {tuple(wanted[name].shape)}"
                raise WeightsError(f"{self.called(name)} has shape {shapes}", path=self.path)
            if wrong := wrong_numbers(name, tensor):
                raise WeightsError(f"{self.called(name)} {wrong}", path=self.path)


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    hint = "Expected a state dict saved by torch; anything that would run code is refused."
    if path.is_dir():
        raise WeightsError("is a folder, not a checkpoint", path=path, hint=hint)
    try:
        if path.stat().st_size == 0:
            raise WeightsError("is empty", path=path, hint=hint)
        state = read_torch(path, _MOST_BYTES)
    except FileNotFoundError as error:
        raise WeightsError("no such file", path=path) from error
    except WeightsError:
        raise
    except OSError as error:
        raise WeightsError(f"can't be read ({error.strerror})", path=path, hint=hint) from error
    except Exception as error:  # torch raises many kinds for a file that isn't its own
        cause = _CUT if _is_cut(path, error) else "can't be read as a checkpoint"
        raise WeightsError(cause, path=path, hint="Copy it again." if cause is _CUT else hint) from error
    while isinstance(state, dict) and (key := next((k for k in _INSIDE if isinstance(state.get(k), dict)), None)):
        state = state[key]
    tensors = state.items() if isinstance(state, dict) else ()
    found = {str(name): tensor for name, tensor in tensors if isinstance(tensor, torch.Tensor)}
    if not found:
        raise WeightsError("holds no state dict", path=path, hint=hint)
    return found


def _is_cut(path: Path, error: Exception) -> bool:
    """Whether a file begins as torch's do, in one of its two formats, and lacks its end."""
    with path.open("rb") as file:
        begins = file.read(16)
    if begins.startswith(b"PK\3\4"):
        try:
            return not zipfile.is_zipfile(path)
        except zipfile.BadZipFile:  # its end is there, and broken
            return False
    words = ("truncated", "ran out of input", "exhausted", "unexpected eof", "not enough data", "remain")
    ended = isinstance(error, EOFError) or any(word in str(error).lower() for word in words)
    return begins.startswith(_OLD_FORMAT) and ended


def _dims(tensors: _Tensors, text_features: torch.Tensor, heads: int) -> HeadDims:
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
