"""MLP-Mixer for skating (Xia et al., AAAI 2023): tokens of a clip mixed with a memory that is carried through time."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mlavl_cli.errors import FeatureError, WeightsError
from mlavl_cli.heads.base import Head, HeadOutput
from mlavl_cli.heads.dims import HeadDims
from mlavl_cli.heads.layers import last_clip

_BLOCKS = 2


@dataclass(frozen=True)
class MLPMixerDims(HeadDims):
    """The public code's width."""

    width: int = 512

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.has_audio:
            raise WeightsError("the MLP-Mixer mixes pictures with sound: it needs sound")


class _Residual(nn.Module):
    """x + fn(norm(x)), `fn` over tokens (convolutions whose channels they are) or over channels."""

    def __init__(self, width: int, fn: nn.Sequential):
        super().__init__()
        self.norm, self.fn = nn.LayerNorm(width), fn

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.fn(self.norm(x))


def _mixer(width: int, tokens: int) -> nn.Sequential:
    over_tokens = nn.Sequential(
        nn.Conv1d(tokens, 4 * tokens, 1), nn.GELU(), nn.Identity(), nn.Conv1d(4 * tokens, tokens, 1)
    )
    over_channels = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Identity(), nn.Linear(4 * width, width))
    return nn.Sequential(_Residual(width, over_tokens), _Residual(width, over_channels))


class MLPMixer(Head):
    """Forwards and backwards over the clips with the same weights; the mean of what each clip puts out.

    Official: what the backward direction puts out is kept newest first and then cut to the routine's length, so that in
    a batch a short routine counts padding and loses its last clips. Careful: padding counts nowhere.
    """

    name = "mlp-mixer"
    Dims = MLPMixerDims
    dims: MLPMixerDims
    visual_only = False
    takes_tokens = True

    def __init__(self, dims: MLPMixerDims, text_features: torch.Tensor | None = None):
        super().__init__(dims)
        width = dims.width
        self.hidden_state = nn.Parameter(torch.randn(1, width))
        self.cls_token = nn.Parameter(torch.randn(1, width))
        self.linear1 = nn.Linear(dims.visual_dim, width)
        self.shared = dims.audio_dim == dims.visual_dim  # one map for both, as in the public code
        if dims.has_audio and not self.shared:
            self.linear_audio = nn.Linear(dims.audio_dim, width)
        tokens = dims.tokens + dims.has_audio + 2
        self.linear_forward = nn.Sequential(*(_mixer(width, tokens) for _ in range(_BLOCKS)))
        self.hidden_linear = nn.Linear(width, width)
        self.output = nn.ModuleDict({"linear": nn.Linear(width, 1)})

    def forward(
        self, visual: torch.Tensor, audio: torch.Tensor | None = None, mask: torch.Tensor | None = None
    ) -> HeadOutput:
        """Visual (B, T, D_v) or (B, T, K, D_v), audio (B, T, D_a).

        Raises:
            FeatureError: no audio, which the method can't do without; or another number of visual tokens.
        """
        tokens = self.linear1(visual if visual.ndim == 4 else visual.unsqueeze(2))  # (B, T, K, width)
        if tokens.shape[2] != self.dims.tokens:
            raise FeatureError(f"{tokens.shape[2]} visual tokens a clip; the mlp-mixer head takes {self.dims.tokens}")
        if self.dims.has_audio:
            if audio is None:
                raise FeatureError("no sound: the mlp-mixer head can't do without", hint="Use a head that can.")
            heard = self.linear1(audio) if self.shared else self.linear_audio(audio)
            tokens = torch.cat([heard.unsqueeze(2), tokens], dim=2)
        lengths = tokens.new_full((len(tokens),), tokens.shape[1], dtype=torch.long) if mask is None else mask.sum(1)
        forwards, backwards = self.run(tokens, _backwards(tokens, lengths))
        backwards = backwards.flip(1) if self.official else backwards
        mean = (_mean(forwards, lengths) + _mean(backwards, lengths)) / 2
        return HeadOutput(score=self.output["linear"](mean).squeeze(-1) / self.dims.unit)

    def run(self, forwards: torch.Tensor, backwards: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens (B, T, n, width) in both orders -> what each clip puts out, (B, T, width) each.

        The memory stands before a clip's tokens on the way forwards and behind them on the way back.
        """
        count = len(forwards)
        fresh = self.cls_token.expand(count, 1, -1)
        memories = [self.hidden_state.expand(count, 1, -1)] * 2
        found = []
        for clip, other in zip(forwards.unbind(1), backwards.unbind(1), strict=True):
            ahead, back = torch.cat([memories[0], clip, fresh], dim=1), torch.cat([fresh, other, memories[1]], dim=1)
            ahead, back = self.linear_forward(torch.cat([ahead, back])).split(count)
            memories = [ahead[:, :1], back[:, -1:]]
            found.append(torch.cat([ahead[:, -1], back[:, 0]]))
        ahead, back = self.hidden_linear(torch.stack(found, dim=1)).split(count)
        return ahead, back

    @classmethod
    def sizes(cls, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
        width, visual = shapes["linear1.weight"]
        tokens = shapes["linear_forward.0.0.fn.0.weight"][1] - 3
        return {"visual_dim": visual, "audio_dim": visual, "width": width, "tokens": tokens}


def _backwards(tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Each routine's clips in reverse, padding behind them as before."""
    places = torch.arange(tokens.shape[1], device=tokens.device).expand(len(tokens), -1)
    last = lengths[:, None] - 1
    places = torch.where(places <= last, last - places, places)
    return tokens[torch.arange(len(tokens), device=tokens.device)[:, None], places]


def _mean(said: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """(B, T, width) -> the mean of the first `lengths`, (B, width)."""
    return last_clip(said.cumsum(1), lengths) / lengths[:, None]
