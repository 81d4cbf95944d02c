"""MS-LSTM (Xu et al., TCSVT 2019): an LSTM over attended sums of clips, and LSTMs that skip over three scales."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mlavl_cli.heads.base import Batch, HeadOutput
from mlavl_cli.heads.dims import HeadDims
from mlavl_cli.heads.layers import last_clip, over_clips, pointwise
from mlavl_cli.heads.noise import draws
from mlavl_cli.heads.visual import VisualHead

SUMS = 50  # rows of the attention
SCALES = ((2, 1), (4, 2), (8, 4))  # kernel and stride, in clips


_POINTS = 45.0  # of Fis-V's TES: the public code weighs squared errors in points against the attention's rows


@dataclass(frozen=True, kw_only=True)
class MSLSTMOutput(HeadOutput):
    """`attention`: (B, SUMS, T)."""

    attention: torch.Tensor


class SkipLSTM(nn.Module):
    """An LSTM that learns at which steps to keep its state as it is.

    Careful: the gate's rounding lets gradients pass. Official: it doesn't, and the gate never learns.
    """

    def __init__(self, width: int, official: bool):
        super().__init__()
        self.official = official
        draw = torch.empty
        self.weight_ih = nn.ParameterList([nn.init.xavier_uniform_(draw(4 * width, width))])
        self.weight_hh = nn.ParameterList([nn.init.xavier_uniform_(draw(4 * width, width))])
        self.bias_ih = nn.ParameterList([torch.zeros(4 * width)])
        self.bias_hh = nn.ParameterList([torch.zeros(4 * width)])
        self.weight_uh = nn.Parameter(nn.init.xavier_uniform_(draw(1, width)))
        self.bias_uh = nn.Parameter(torch.ones(1))

    def forward(self, steps: torch.Tensor, lengths: torch.Tensor | None, start: torch.Tensor) -> torch.Tensor:
        """Steps (B, T', width) -> the last real state (B, width); `start` (2, B, width): c and h before the first."""
        cell, hidden = start
        update, held = steps.new_ones(len(steps), 1), steps.new_zeros(len(steps), 1)
        given = steps @ self.weight_ih[0].T + self.bias_ih[0] + self.bias_hh[0]
        states = []
        for at in range(steps.shape[1]):
            i, f, g, o = (given[:, at] + hidden @ self.weight_hh[0].T).chunk(4, dim=-1)
            new_cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
            new_hidden = o.sigmoid() * new_cell.tanh()
            new_update = (new_cell @ self.weight_uh.T + self.bias_uh).sigmoid()
            held = held + torch.minimum(update, 1 - held)
            gate = held.round()
            if not self.official:
                gate = gate + held - held.detach()
            cell, hidden = (gate * a + (1 - gate) * b for a, b in ((new_cell, cell), (new_hidden, hidden)))
            update, held = gate * new_update + (1 - gate) * update, (1 - gate) * held
            states.append(hidden)
        return last_clip(torch.stack(states, dim=1), lengths)


class _Scale(nn.Module):
    def __init__(self, inputs: int, width: int, kernel: int, stride: int, official: bool):
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.conv = nn.Sequential(nn.Conv1d(inputs, width, kernel, stride), nn.ReLU(), nn.BatchNorm1d(width))
        self.lstm = SkipLSTM(width, official)

    def forward(self, clips: torch.Tensor, lengths: torch.Tensor | None, start: torch.Tensor) -> torch.Tensor:
        """(B, inputs, T) -> (B, width). Routines shorter than the kernel are filled with zeros."""
        clips = nn.functional.pad(clips, (0, max(self.kernel - clips.shape[-1], 0)))
        conv, relu, norm = self.conv
        steps = relu(conv(clips)).transpose(1, 2)
        counts = None if lengths is None else ((lengths - self.kernel) // self.stride + 1).clamp(min=1)
        real = None if counts is None else torch.arange(steps.shape[1], device=steps.device) < counts[:, None]
        return self.lstm(pointwise(norm, steps, real), counts, start)


class _Attention(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.linear_1 = nn.Linear(width, width // 2, bias=False)
        self.linear_2 = nn.Linear(width // 2, SUMS, bias=False)
        self.bn = nn.BatchNorm1d(width)

    def forward(self, clips: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, width) -> sums (B, SUMS, width), attention (B, SUMS, T)."""
        attention = over_clips(self.linear_2(self.linear_1(clips).tanh()).transpose(1, 2), mask)
        return self.bn((attention @ clips).transpose(1, 2)).transpose(1, 2), attention


class MSLSTM(VisualHead):
    """A convolution of width 1, self-attention with an LSTM over its rows, three scales, and two linear maps.

    The skipping LSTMs begin at zero. Official: at random, of which the score is the mean over `DRAWS` seeded draws.
    """

    name = "ms-lstm"

    def __init__(self, dims: HeadDims, text_features: torch.Tensor | None = None):
        super().__init__(dims, text_features)
        width = dims.width
        half, quarter = width // 2, width // 4
        self.conv = nn.Sequential(nn.Conv1d(self.inputs, half, 1), nn.ReLU(), nn.BatchNorm1d(half))
        self.attn = _Attention(half)
        self.lstm = nn.LSTM(half, width, batch_first=True)
        for number, (kernel, stride) in enumerate(SCALES, 1):
            setattr(self, f"scale{number}", _Scale(half, width, kernel, stride, self.official))
            setattr(self, f"linear_skip{number}", nn.Linear(width, quarter))
        self.linear_attn = nn.Linear(width, quarter)
        self.linear_merge = nn.Linear(4 * quarter, quarter)
        self.cls = nn.Linear(quarter, 1)

    def judge(self, clips: torch.Tensor, mask: torch.Tensor | None) -> MSLSTMOutput:
        shape = (len(SCALES), 2, 1, self.dims.width)
        if not self.official:
            return self.begun(clips, mask, clips.new_zeros(shape))
        if self.training:
            return self.begun(clips, mask, torch.randn(*shape[:2], len(clips), shape[-1], device=clips.device))
        outputs = [self.begun(clips, mask, start) for start in draws(clips, *shape)]
        score = torch.stack([output.score for output in outputs]).mean(0)
        return MSLSTMOutput(score=score, attention=outputs[0].attention)

    def begun(self, clips: torch.Tensor, mask: torch.Tensor | None, start: torch.Tensor) -> MSLSTMOutput:
        """With the states before the first step, (scales, 2, B or 1, width): c and h."""
        clips = pointwise(self.conv, clips, mask)
        sums, attention = self.attn(clips, mask)
        lengths = None if mask is None else mask.sum(1)
        found = []
        for number, begin in enumerate(start.expand(-1, -1, len(clips), -1), 1):
            last = getattr(self, f"scale{number}")(clips.transpose(1, 2), lengths, begin)
            found.append(getattr(self, f"linear_skip{number}")(last).relu())
        found.append(self.linear_attn(self.lstm(sums)[0][:, -1]).relu())
        score = self.cls(self.linear_merge(torch.cat(found, dim=-1)).relu()).squeeze(-1)
        return MSLSTMOutput(score=score / self.dims.unit, attention=attention)

    def loss(
        self, output: MSLSTMOutput, batch: Batch, weights: Any = None, generator: torch.Generator | None = None
    ) -> dict[str, torch.Tensor]:
        """The squared error, and that rows of the attention look at different clips: |A^T A - I|^2.

        A is (T, SUMS) in the paper, each column summing to 1 over the clips.
        """
        rows = output.attention
        alike = rows @ rows.transpose(1, 2) - torch.eye(SUMS, device=rows.device)
        return {
            "mse": nn.functional.mse_loss(output.score, batch.label),
            "alike": alike.square().sum() / len(rows) / max(self.dims.unit, _POINTS) ** 2,
        }

    @classmethod
    def sizes(cls, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
        half, visual, _ = shapes["conv.0.weight"]
        return {"visual_dim": visual, "width": 2 * half}
