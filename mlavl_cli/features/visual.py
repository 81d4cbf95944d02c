"""Frozen visual backbones: the video transformers of the hub, and Video Swin of torchvision.

Each takes a clip's sampled frames, uint8 (B, F, height, width, 3), and gives one row a clip, (B, D_v).
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mlavl_cli.backbone import BackboneSpec
from mlavl_cli.device import Placement
from mlavl_cli.errors import DeviceError, WeightsError, refusing
from mlavl_cli.features.hub import load_model, load_pretrained, unfit
from mlavl_cli.features.int8 import put
from mlavl_cli.media.cutting import FRAMES_PER_CLIP
from mlavl_cli.media.picture import PictureSpec
from mlavl_cli.surroundings import keep_compiled_code
from mlavl_cli.untrusted import read_torch

_MOST_CLIP_PX = 1 << 24  # 64 pictures of 512 x 512
TORCHVISION = "torchvision/"  # ids like torchvision/swin3d_b
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# How each kind of model says one thing about a clip: its class token, or the mean over its tokens.
POOLING: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "timesformer": lambda tokens: tokens[:, 0],
    "vivit": lambda tokens: tokens[:, 0],
    "videomae": lambda tokens: tokens.mean(1),
    "vjepa2": lambda tokens: tokens.mean(1),
}


class VisualBackbone(nn.Module):
    """A frozen network with its own preprocessing.

    Attributes:
        dim: D_v.
        frames: how many frames of a clip it looks at.
        picture: how it wants them cut.
        parameters_held: how many numbers it has.
    """

    factor: torch.Tensor
    offset: torch.Tensor

    def __init__(
        self,
        network: nn.Module,
        dim: int,
        frames: int,
        picture: PictureSpec,
        scale: tuple[list[float], list[float]],
        placement: Placement,
    ):
        super().__init__()
        if frames * math.prod(picture.size) > _MOST_CLIP_PX:
            cause = f"its settings ask for {frames} pictures of {picture.size[0]} x {picture.size[1]} a clip"
            raise WeightsError(cause, hint="No video transformer looks at so much.")
        self.network = network
        self.dim, self.frames, self.picture, self.placement = dim, frames, picture, placement
        factor, offset = (torch.tensor(values).view(1, 1, 3, 1, 1) for values in scale)
        self.register_buffer("factor", factor, persistent=False)
        self.register_buffer("offset", offset, persistent=False)
        self.parameters_held = sum(tensor.numel() for tensor in self.parameters())
        self.to(placement.device)
        _multiply_whole_pictures(self.network, picture)
        put(self.network, placement)
        if placement.compiled:
            with refusing(DeviceError, "compiled code can't be kept there", "~/.cache", "Set XDG_CACHE_HOME."):
                keep_compiled_code()
            self.network.compile()

    @torch.inference_mode()
    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        """uint8 (B, F, height, width, 3) on any device -> float32 (B, D_v) on the backbone's.

        Raises:
            DeviceError: it is to be compiled, and can't.
            WeightsError: it can't take the pictures that its own configuration asks for.
        """
        frames = frames.to(self.placement.device, non_blocking=True)
        pixels = frames.permute(0, 1, 4, 2, 3).float() * self.factor + self.offset
        try:
            return self.network(pixels.to(self.placement.dtype)).float()
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            if not self.placement.compiled:
                raise unfit("visual", error) from error
            cause = f"torch can't compile the visual backbone here ({str(error).splitlines()[0]})"
            raise DeviceError(cause, hint="Install a C++ compiler, or leave out --compile.") from error


def _multiply_whole_pictures(network: nn.Module, picture: PictureSpec) -> None:
    """A convolution over the whole picture at once is a product, which a CPU does in a ninth of the time."""

    def product(pixels: torch.Tensor, conv: nn.Conv2d) -> torch.Tensor:
        return nn.functional.linear(pixels.flatten(1), conv.weight.flatten(1), conv.bias)[..., None, None]

    for conv in network.modules():
        if isinstance(conv, nn.Conv2d) and (conv.kernel_size, conv.padding, conv.groups) == (picture.size, (0, 0), 1):
            conv.forward = partial(product, conv=conv)  # type: ignore[method-assign]


def load_visual(spec: BackboneSpec, placement: Placement) -> VisualBackbone:
    """A hub id, a folder of a saved model, `torchvision/swin3d_*`, or a Video Swin `.pth` in mmaction naming.

    Raises:
        WeightsError: can't be had, or is of a kind not known here.
    """
    if spec.source.startswith(TORCHVISION) or (spec.folder and spec.folder.is_file()):
        return _load_swin(spec, placement)
    return _load_transformer(spec, placement)


# --- Hugging Face ----------------------------------------------------------------------------------------------------


class _Pooled(nn.Module):
    def __init__(self, model: nn.Module, kind: str):
        super().__init__()
        self.model, self.pool = model, POOLING[kind]
        self.extra = {"skip_predictor": True} if kind == "vjepa2" else {}

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.pool(self.model(pixels, **self.extra).last_hidden_state)


def _load_transformer(spec: BackboneSpec, placement: Placement) -> VisualBackbone:
    from transformers import AutoConfig, AutoModel, AutoVideoProcessor

    config = load_pretrained(AutoConfig.from_pretrained, spec)
    kind = config.model_type
    if kind not in POOLING:
        hint = f"Known kinds: {', '.join(sorted(POOLING))}, and {TORCHVISION}swin3d_b."
        raise WeightsError(f"a {kind!r} model is no visual backbone", path=spec.source, hint=hint)
    frames = config.frames_per_clip if kind == "vjepa2" else config.num_frames
    # VideoMAE's mean-pooled checkpoints and ViViT's pooler: nothing that the pooled tokens depend on.
    model = load_model(AutoModel, spec, ignore=("pooler.", "predictor."), dtype=placement.dtype)
    processor = load_pretrained(AutoVideoProcessor.from_pretrained, spec)
    try:
        picture, scale = _picture_spec(processor, spec.options), _scale(processor, -1.0 if kind == "vivit" else 0.0)
    except (TypeError, KeyError, ValueError, AttributeError, ZeroDivisionError) as error:
        cause = f"its processor's settings can't be used ({error})"
        raise WeightsError(cause, path=spec.source, hint="Is it a saved Hugging Face model?") from error
    frames = min(frames, FRAMES_PER_CLIP) if kind == "vjepa2" else frames
    return VisualBackbone(_Pooled(model, kind), config.hidden_size, frames, picture, scale, placement)


def _picture_spec(processor: Any, options: Mapping[str, Any]) -> PictureSpec:
    if options:
        return PictureSpec(tuple(options["size"]), options.get("short_side"), tuple(options["crop"]))
    size = processor.size
    short_side = size.get("shortest_edge") if processor.do_resize else None
    if short_side is None:
        return PictureSpec((size["height"], size["width"]))
    crop = processor.crop_size if processor.do_center_crop else None
    if crop is None:
        return PictureSpec((short_side, short_side), short_side)
    if isinstance(crop, int):
        return PictureSpec((crop, crop), short_side)
    return PictureSpec((crop["height"], crop["width"]), short_side)


def _scale(processor: Any, offset: float) -> tuple[list[float], list[float]]:
    """Rescaling and normalising as one multiplication and one addition a channel."""
    factor = processor.rescale_factor if processor.do_rescale else 1.0
    mean, std = (processor.image_mean, processor.image_std) if processor.do_normalize else ([0.0] * 3, [1.0] * 3)
    if len(mean) != 3:
        raise ValueError(f"{len(mean)} means for the three colours")
    return [factor / s for s in std], [(offset - m) / s for m, s in zip(mean, std, strict=True)]


# --- Video Swin (Fis-V, RG) ------------------------------------------------------------------------------------------

_SWIN = ("swin3d_t", "swin3d_s", "swin3d_b")


def _load_swin(spec: BackboneSpec, placement: Placement) -> VisualBackbone:
    """Every frame of the clip; the pictures of the public Fis-V and RG features where the options say so."""
    from torchvision.models import get_model, get_model_weights

    folder = spec.folder
    name = spec.options.get("arch", "swin3d_b") if folder is not None else spec.source.removeprefix(TORCHVISION)
    if name not in _SWIN:
        hint = f"Use {TORCHVISION} and one of {', '.join(_SWIN)}."
        raise WeightsError("no such torchvision backbone", path=spec.source, hint=hint)
    if folder is not None:
        model = get_model(name)
        load_swin_tensors(model, folder)
    else:
        try:
            model = get_model(name, weights=get_model_weights(name)[spec.revision or "DEFAULT"])
        except (OSError, RuntimeError, KeyError) as error:
            hint = (
                f'Where there is a network, run: python -c "import torchvision; torchvision.models.{name}'
                "(weights='DEFAULT')\" and copy ~/.cache/torch here, or name a local weights file with --visual."
            )
            raise WeightsError("not in torch's cache, and not to be downloaded", path=spec.source, hint=hint) from error
    dim, model.head = model.head.in_features, nn.Identity()
    options: dict[str, Any] = {"short_side": 256, "crop": [224, 224], "size": [224, 224]} | spec.options
    try:
        picture = PictureSpec(tuple(options["size"]), options["short_side"], tuple(options["crop"]))
    except (TypeError, ValueError) as error:
        raise WeightsError(f"its options make no picture ({error})", path=spec.source) from error
    return VisualBackbone(
        _ChannelsFirst(model.eval().requires_grad_(False)),
        dim,
        FRAMES_PER_CLIP,
        picture,
        ([1 / 255 / s for s in _IMAGENET_STD], [-m / s for m, s in zip(_IMAGENET_MEAN, _IMAGENET_STD, strict=True)]),
        placement,
    )


class _ChannelsFirst(nn.Module):
    """(B, F, 3, height, width), as the hub's models take it -> (B, 3, F, height, width), as torchvision's do."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.model(pixels.transpose(1, 2))


def load_swin_tensors(model: nn.Module, path: Path) -> None:
    """Fills a torchvision Video Swin from a file in torchvision's or mmaction's naming (the K600 checkpoints).

    The classifier is left out; relative position indices are recomputed by torchvision.

    Raises:
        WeightsError: not such a file; the first missing or misshapen tensor is named.
    """
    read: Callable[[Path], dict[str, Any]] = read_torch
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        read = load_file
    try:
        state = read(path)
    except Exception as error:  # torch and safetensors raise many kinds for a file that isn't theirs
        raise WeightsError(f"can't be read as weights ({type(error).__name__})", path=path) from error
    with refusing(WeightsError, "holds no tensors of a Video Swin", path):
        _fill_swin(model, state.get("state_dict", state), path)


def _fill_swin(model: nn.Module, state: dict[str, torch.Tensor], path: Path) -> None:
    found = {_torchvision_name(name): tensor for name, tensor in state.items()}
    own = {name: t for name, t in model.state_dict().items() if not name.startswith("head.") and "_index" not in name}
    for name, tensor in own.items():
        if name not in found:
            raise WeightsError(f"lacks the tensor {name}", path=path, hint="Expected a Video Swin checkpoint.")
        if np.prod(found[name].shape) != tensor.numel():
            cause = f"{name} has shape {tuple(found[name].shape)}, expected {tuple(tensor.shape)}"
            raise WeightsError(cause, path=path, hint="Is it another size of Video Swin?")
    state = {name: found[name].reshape(tensor.shape) for name, tensor in own.items()}
    model.load_state_dict(state, strict=False)


def _torchvision_name(name: str) -> str:
    name = name.removeprefix("module.").removeprefix("backbone.")
    if not name.startswith("layers."):
        return name
    _, stage, rest = name.split(".", 2)
    if rest.startswith("downsample."):
        return f"features.{2 * int(stage) + 1}.{rest.removeprefix('downsample.')}"
    block = rest.removeprefix("blocks.").replace(".mlp.fc1.", ".mlp.0.").replace(".mlp.fc2.", ".mlp.3.")
    return f"features.{2 * int(stage)}.{block}"
