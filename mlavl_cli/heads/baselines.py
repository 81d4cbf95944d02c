"""Visual-only heads of the field, in their own style, with and without MAG2 (paper, table 4).

Written from the papers' ideas, not from their code: MS-LSTM (Xu et al., 2019), USDL (Tang et al., 2020), CoRe (Yu et
al., 2021), GDLT (Xu et al., 2022). Each takes (B, T, D_v) features; MAG2 goes between the projection and the method.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import nn

from mlavl_cli.heads.dims import HeadDims
from mlavl_cli.heads.layers import TokenProjection, padding, transformer_decoder, transformer_encoder
from mlavl_cli.heads.mlavl.dpg import GradeRegressor
from mlavl_cli.heads.mlavl.mag2 import MAG2


@dataclass(frozen=True)
class BaselineOutput:
    """Score (B,) in [0, 1], and what the method's own loss needs."""

    score: torch.Tensor
    inside: torch.Tensor


class Baseline(nn.Module, ABC):
    """Projection, perhaps MAG2, then the method of a subclass."""

    def __init__(self, dims: HeadDims, text_features: torch.Tensor | None = None):
        super().__init__()
        self.dims = dims
        self.proj_visual = TokenProjection(dims.visual_dim, dims.width)
        if dims.mag2:
            self.proj_text = TokenProjection(dims.text_dim, dims.width)
            self.mag2 = MAG2(dims.width, dims.graph, dims.dropout)
            self.register_buffer("text_features", text_features[dims.prompt_rows["visual_actions"]].float())

    def clips(self, visual: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """(B, T, D_v) -> (B, T, d)."""
        tokens = self.proj_visual(visual, mask)
        if self.dims.mag2:
            tokens = self.mag2(tokens, self.proj_text(self.text_features[None])[0], mask)
        return tokens if mask is None else tokens * mask.unsqueeze(-1)

    def forward(self, visual: torch.Tensor, audio: None = None, mask: torch.Tensor | None = None) -> BaselineOutput:
        return self.judge(self.clips(visual, mask), mask)

    @abstractmethod
    def judge(self, clips: torch.Tensor, mask: torch.Tensor | None) -> BaselineOutput:
        """The method: clips (B, T, d) -> score."""

    def loss(self, output: BaselineOutput, label: torch.Tensor) -> torch.Tensor:
        """Labels (B,) in [0, 1] -> the method's loss; the squared error unless it has its own."""
        return nn.functional.mse_loss(output.score, label)


def _mean(clips: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    return clips.mean(1) if mask is None else clips.sum(1) / mask.sum(1, keepdim=True)


class MSLSTM(Baseline):
    """A self-attentive LSTM over a few weighted sums of clips, and LSTMs over convolutions of several scales."""

    SCALES, SUMS = (2, 4, 8), 8

    def __init__(self, dims: HeadDims, text_features: torch.Tensor | None = None):
        super().__init__(dims, text_features)
        half = dims.width // 2
        self.weigh = nn.Sequential(nn.Linear(dims.width, half), nn.Tanh(), nn.Linear(half, self.SUMS))
        self.over_sums = nn.LSTM(dims.width, half, batch_first=True)
        self.convs = nn.ModuleList(nn.Conv1d(dims.width, half, s, stride=s // 2, padding=s // 2) for s in self.SCALES)
        self.over_scales = nn.ModuleList(nn.LSTM(half, half, batch_first=True) for _ in self.SCALES)
        self.score = nn.Sequential(nn.Dropout(dims.dropout), nn.Linear(half * (1 + len(self.SCALES)), 1))

    def judge(self, clips: torch.Tensor, mask: torch.Tensor | None) -> BaselineOutput:
        weights = self.weigh(clips)
        if mask is not None:
            weights = weights.masked_fill(~mask.unsqueeze(-1), -torch.inf)
        sums = weights.softmax(1).transpose(1, 2) @ clips  # (B, SUMS, d)
        ends = [self.over_sums(sums)[1][0][-1]]
        for conv, lstm in zip(self.convs, self.over_scales, strict=True):
            ends.append(lstm(conv(clips.transpose(1, 2)).relu().transpose(1, 2))[1][0][-1])
        hidden = torch.cat(ends, dim=-1)
        return BaselineOutput(self.score(hidden).sigmoid().squeeze(-1), hidden)


class USDL(Baseline):
    """The score as a distribution over 101 steps, learned as a narrow normal distribution around the label."""

    STEPS, SPREAD = 101, 0.05

    def __init__(self, dims: HeadDims, text_features: torch.Tensor | None = None):
        super().__init__(dims, text_features)
        self.steps = nn.Sequential(
            nn.Linear(dims.width, dims.width), nn.ReLU(), nn.Dropout(dims.dropout), nn.Linear(dims.width, self.STEPS)
        )
        self.register_buffer("worth", torch.linspace(0, 1, self.STEPS), persistent=False)

    def judge(self, clips: torch.Tensor, mask: torch.Tensor | None) -> BaselineOutput:
        log_p = self.steps(_mean(clips, mask)).log_softmax(-1)
        return BaselineOutput(log_p.exp() @ self.worth, log_p)

    def loss(self, output: BaselineOutput, label: torch.Tensor) -> torch.Tensor:
        wanted = (-0.5 * ((self.worth - label[:, None]) / self.SPREAD) ** 2).softmax(-1)
        return nn.functional.kl_div(output.inside, wanted, reduction="batchmean")


class CoRe(Baseline):
    """How much better than an exemplar: first in which of 8 ranges the difference lies, then where in it.

    Trained on all pairs of a batch; in testing the mean over exemplars that `remember` was given.
    """

    GROUPS = 8

    def __init__(self, dims: HeadDims, text_features: torch.Tensor | None = None):
        super().__init__(dims, text_features)
        self.compare = nn.Sequential(
            nn.Linear(2 * dims.width + 1, dims.width), nn.ReLU(), nn.Dropout(dims.dropout),
            nn.Linear(dims.width, 2 * self.GROUPS),
        )  # fmt: skip
        self.register_buffer("exemplars", torch.zeros(1, dims.width))
        self.register_buffer("exemplar_labels", torch.full((1,), 0.5))

    @torch.no_grad()
    def remember(self, visual: torch.Tensor, mask: torch.Tensor | None, label: torch.Tensor) -> None:
        """Keeps some training routines, (B, T, D_v) with their labels (B,), to compare with."""
        was = self.training
        self.eval()
        self.exemplars, self.exemplar_labels = _mean(self.clips(visual, mask), mask), label
        self.train(was)

    def judge(self, clips: torch.Tensor, mask: torch.Tensor | None) -> BaselineOutput:
        mine = _mean(clips, mask)
        differences = self._difference(self._pairs(mine, self.exemplars, self.exemplar_labels))
        return BaselineOutput((self.exemplar_labels + differences).mean(1), mine)

    def _pairs(self, mine: torch.Tensor, others: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """(B, d), (E, d), (E,) -> what the comparison says of each pair, (B, E, 2 GROUPS)."""
        shape = (len(mine), len(others), -1)
        pair = [mine[:, None].expand(shape), others.expand(shape), labels[:, None].expand(len(mine), -1, 1)]
        return self.compare(torch.cat(pair, dim=-1))

    def _difference(self, said: torch.Tensor) -> torch.Tensor:
        """(..., 2 GROUPS) -> the expected difference in [-1, 1]."""
        group, within = said.chunk(2, dim=-1)
        starts = torch.linspace(-1, 1, self.GROUPS + 1, device=said.device)[:-1]
        return (group.softmax(-1) * (starts + within.sigmoid() * 2 / self.GROUPS)).sum(-1)

    def loss(self, output: BaselineOutput, label: torch.Tensor) -> torch.Tensor:
        said = self._pairs(output.inside, output.inside, label)  # (B, B, 2 GROUPS)
        difference = label[:, None] - label
        group = ((difference + 1) / 2 * self.GROUPS).long().clamp(0, self.GROUPS - 1)
        choice = nn.functional.cross_entropy(said[..., : self.GROUPS].flatten(0, 1), group.flatten())
        return choice + 10 * nn.functional.mse_loss(self._difference(said), difference)


class GDLT(Baseline):
    """Learned grade prototypes ask the clips in a decoder; their answers are weighted from the worst to the best."""

    def __init__(self, dims: HeadDims, text_features: torch.Tensor | None = None):
        super().__init__(dims, text_features)
        self.encoder = transformer_encoder(dims, dims.encoder_layers)
        self.decoder = transformer_decoder(dims, dims.fusion_layers)
        self.prototypes = nn.Parameter(torch.randn(dims.grades, dims.width))
        self.regressor = GradeRegressor(dims, dims.grades)

    def judge(self, clips: torch.Tensor, mask: torch.Tensor | None) -> BaselineOutput:
        hidden = padding(mask)
        clips = self.encoder(clips, src_key_padding_mask=hidden)
        patterns = self.decoder(self.prototypes.expand(len(clips), -1, -1), clips, memory_key_padding_mask=hidden)
        return BaselineOutput(self.regressor(patterns)[1], patterns)

    def loss(self, output: BaselineOutput, label: torch.Tensor) -> torch.Tensor:
        """The squared error, and grades kept apart: their patterns should not look alike."""
        unit = nn.functional.normalize(output.inside, dim=-1)
        alike = (unit @ unit.transpose(1, 2)).clamp(min=0)
        others = 1 - torch.eye(alike.shape[-1], device=alike.device)
        return 10 * nn.functional.mse_loss(output.score, label) + (alike * others).mean()


BASELINES: dict[str, type[Baseline]] = {"ms-lstm": MSLSTM, "usdl": USDL, "core": CoRe, "gdlt": GDLT}
