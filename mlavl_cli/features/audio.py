"""The frozen Audio Spectrogram Transformer at a clip's own length: samples -> spectrogram -> one row a clip, (B, 768).

AST was trained on 10.24 s; padding a one-second clip to that length costs eleven times the work. Its authors cut the
position embeddings for shorter input instead, and so do we (docs/method.md, section 15).
"""

import math
from collections import defaultdict
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import nn

from mlavl_cli.backbone import BackboneSpec
from mlavl_cli.device import Placement
from mlavl_cli.errors import WeightsError
from mlavl_cli.features.hub import load_model, load_pretrained, unfit
from mlavl_cli.features.int8 import put
from mlavl_cli.media.sound import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from transformers import ASTModel

_MOST_PATCHES = 1 << 14  # of a clip's sound: twice those of a minute
_WINDOW_S, _SHIFT_S = 0.025, 0.010  # kaldi's defaults, which AST uses


class AudioBackbone:
    """A frozen AST. `dim` is D_a."""

    def __init__(self, model: "ASTModel", mel_bins: int, mean: float, std: float, placement: Placement):
        put(cast(nn.Module, model), placement)
        self.model, self.placement = model, placement
        self.dim = model.config.hidden_size
        self.mel_bins, self.mean, self.std = mel_bins, mean, std
        self.patch = cast(int, model.config.patch_size)  # of two sides the library itself makes no AST
        self.stride = model.config.time_stride

    def spectrogram(self, sound: np.ndarray) -> torch.Tensor:
        """float32 (samples,) at 16 kHz -> normalised log-mel frames (L, mel bins), L = patch + stride * n.

        Frames that no whole patch covers are left out, since the network would not look at them; shorter sound than
        one patch (0.175 s) is filled up with silence.
        """
        from torchaudio.compliance.kaldi import fbank

        least = round((_WINDOW_S + (self.patch - 1) * _SHIFT_S) * SAMPLE_RATE_HZ)
        if len(sound) < least:
            sound = np.pad(sound, (0, least - len(sound)))
        frames = fbank(
            torch.from_numpy(sound)[None],
            sample_frequency=SAMPLE_RATE_HZ,
            window_type="hanning",
            num_mel_bins=self.mel_bins,
            frame_length=1000 * _WINDOW_S,
            frame_shift=1000 * _SHIFT_S,
            dither=0.0,
        )
        covered = self.patch + (len(frames) - self.patch) // self.stride * self.stride
        return (frames[:covered] - self.mean) / (2 * self.std)

    @torch.inference_mode()
    def encode(self, spectrograms: list[torch.Tensor]) -> torch.Tensor:
        """B spectrograms of any lengths -> float32 (B, D_a), each as if it had come alone.

        Raises:
            WeightsError: it can't take what its own configuration asks for.
        """
        rows: list[torch.Tensor] = [torch.empty(0)] * len(spectrograms)
        by_length = defaultdict(list)
        for i, spectrogram in enumerate(spectrograms):
            by_length[len(spectrogram)].append(i)
        for members in by_length.values():
            batch = torch.stack([spectrograms[i] for i in members])
            batch = batch.to(self.placement.device, non_blocking=True).to(self.placement.dtype)
            try:
                pooled = self.pooled(batch).float()
            except (RuntimeError, ValueError, TypeError, IndexError) as error:
                if isinstance(error, torch.OutOfMemoryError):
                    raise
                raise unfit("audio", error) from error
            for i, row in zip(members, pooled, strict=True):  # an index of numbers would make a GPU be waited for
                rows[i] = row
        return torch.stack(rows)

    def pooled(self, spectrograms: torch.Tensor) -> torch.Tensor:
        """(B, L, mel bins) -> (B, D_a): the mean of class and distillation token after the last norm."""
        model, embed = self.model, self.model.embeddings
        frequency = (self.mel_bins - self.patch) // self.model.config.frequency_stride + 1
        if (patches := frequency * self._steps(spectrograms.shape[1])) > _MOST_PATCHES:
            raise ValueError(f"{len(spectrograms[0]) * _SHIFT_S:.0f} s of sound are {patches:,} patches")
        tokens = embed.patch_embeddings(spectrograms)  # (B, frequency * time, D)
        class_token, distillation_token = (
            token.expand(len(tokens), -1, -1) for token in (embed.cls_token, embed.distillation_token)
        )
        tokens = torch.cat([class_token, distillation_token, tokens], dim=1)
        tokens = tokens + self._positions(spectrograms.shape[1])
        for layer in model.layers:
            tokens = layer(tokens)
        return model.layernorm(tokens)[:, :2].mean(1)

    def _steps(self, length: int) -> int:
        """Patches side by side along `length` frames."""
        return (length - self.patch) // self.stride + 1

    def _positions(self, length: int) -> torch.Tensor:
        """Position embeddings (1, 2 + frequency * time, D) for a spectrogram of `length` frames.

        Shorter input takes the middle of the trained grid, longer input stretches it, as AST's authors do.
        """
        trained = self.model.embeddings.position_embeddings
        frequency, time = self.model.embeddings.get_shape(self.model.config)
        want = self._steps(length)
        if want == time:
            return trained
        grid = trained[:, 2:].transpose(1, 2).unflatten(2, (frequency, time))  # (1, D, frequency, time)
        if want < time:
            first = time // 2 - want // 2
            grid = grid[..., first : first + want]
        else:
            grid = nn.functional.interpolate(grid.float(), size=(frequency, want), mode="bilinear").to(grid.dtype)
        return torch.cat([trained[:, :2], grid.flatten(2).transpose(1, 2)], dim=1)


def load_audio(spec: BackboneSpec, placement: Placement) -> AudioBackbone:
    """An AST by hub id or folder.

    `options` may replace the normalisation: `mean` and `std` of log-mel values, applied as (x - mean) / (2 std).

    Raises:
        WeightsError: can't be had, is no AST, or wants another sample rate.
    """
    from transformers import ASTFeatureExtractor, ASTModel, AutoConfig

    config = load_pretrained(AutoConfig.from_pretrained, spec)
    if config.model_type != "audio-spectrogram-transformer":
        hint = "Use an Audio Spectrogram Transformer (AST)."
        raise WeightsError(f"a {config.model_type!r} model is no audio backbone", path=spec.source, hint=hint)
    extractor = load_pretrained(ASTFeatureExtractor.from_pretrained, spec)
    if extractor.sampling_rate != SAMPLE_RATE_HZ:
        raise WeightsError(f"wants {extractor.sampling_rate} Hz; clips come at {SAMPLE_RATE_HZ} Hz", path=spec.source)
    mean, std = (extractor.mean, extractor.std) if extractor.do_normalize else (0.0, 0.5)
    mean, std = spec.options.get("mean", mean), spec.options.get("std", std)
    bins = extractor.num_mel_bins
    try:
        usable = type(bins) is int and 8 <= bins <= 1024 and bins == config.num_mel_bins
        usable &= math.isfinite(mean := float(mean)) and 0 < (std := float(std)) < math.inf
    except (TypeError, ValueError, OverflowError):
        usable = False
    if not usable:
        cause = f"its settings can't be used: {bins} mel bins, mean {mean}, std {std}"
        raise WeightsError(cause, path=spec.source, hint="Is it a saved Hugging Face model?")
    model = load_model(ASTModel, spec, dtype=placement.dtype, attn_implementation="sdpa")
    return AudioBackbone(model, bins, mean, std, placement)
