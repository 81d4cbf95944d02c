"""MLAVL: the paper's figure 2, from left to right."""

import torch
from torch import nn

from mlavl_cli.heads.base import Batch, ClipReading, Head, text_buffer
from mlavl_cli.heads.dims import HeadDims
from mlavl_cli.heads.layers import TemporalConv, TokenProjection
from mlavl_cli.heads.mlavl import losses
from mlavl_cli.heads.mlavl.avcf import AVCF
from mlavl_cli.heads.mlavl.consistency import alone, clip_consistency, consistency
from mlavl_cli.heads.mlavl.dpg import DPG, MeanGrading
from mlavl_cli.heads.mlavl.length import Length
from mlavl_cli.heads.mlavl.losses import LossWeights
from mlavl_cli.heads.mlavl.mag2 import MAG2
from mlavl_cli.heads.mlavl.output import MLAVLOutput
from mlavl_cli.heads.mlavl.s2ce import S2CE


class MLAVL(Head):
    """The head of one target (TES, PCS, ...).

    Args:
        dims: its sizes, and which boxes of the figure it has (table 5).
        text_features: (P, D_t), the prompts as the text tower encodes them; None leaves them to a state dict.

    Raises:
        WeightsError: text features of another shape.
    """

    name = "mlavl"
    visual_only = False
    prompt_kind = "all"
    text_features: torch.Tensor
    dpg: DPG | MeanGrading

    def __init__(self, dims: HeadDims, text_features: torch.Tensor | None = None):
        super().__init__(dims)
        self.proj_visual = TokenProjection(dims.visual_dim, dims.width)
        if dims.temporal_conv:
            self.in_order = TemporalConv(dims)
        if dims.has_audio:
            self.proj_audio = TokenProjection(dims.audio_dim, dims.width)
        if dims.language:
            self.proj_text = TokenProjection(dims.text_dim, dims.width)
            self.register_buffer("text_features", text_buffer(text_features, dims.prompts, dims.text_dim))
        else:
            rows = {name: rows.stop - rows.start for name, rows in dims.prompt_rows.items() if "grades" in name}
            self.learned = nn.ParameterDict({name: torch.randn(n, dims.width) for name, n in rows.items()})
        if dims.s2ce:
            self.s2ce = S2CE(dims)
        if dims.mag2:
            self.mag2_visual = MAG2(dims.width, dims.graph, dims.dropout)
            if dims.has_audio:
                self.mag2_audio = MAG2(dims.width, dims.graph, dims.dropout)
        if dims.avcf and dims.has_audio:
            self.avcf = AVCF(dims)
        if dims.length:
            self.length = Length(dims.width)
        self.dpg = DPG(dims) if dims.dpg else MeanGrading(dims)

    @classmethod
    def pads(cls, dims: HeadDims) -> bool:
        return True

    def forward(
        self, visual: torch.Tensor, audio: torch.Tensor | None = None, mask: torch.Tensor | None = None
    ) -> MLAVLOutput:
        """Visual (B, T, D_v) and audio (B, T, D_a) features -> MLAVLOutput; without audio by the visual branch."""
        text = self.prompts()
        visual = self.encode_visual(visual, text, mask)
        fused = None
        if audio is not None and self.dims.has_audio:
            fused = self.fuse(visual, self.encode_audio(audio, text, mask), mask)
        return self.grade(visual, fused, text, mask)

    def prompts(self) -> dict[str, torch.Tensor]:
        """The prompts as tokens (rows, d), by group; without language the learned grade queries."""
        if not self.dims.language:
            return dict(self.learned.items())
        tokens = self.proj_text(self.text_features[None])[0]
        return {group: tokens[rows] for group, rows in self.dims.prompt_rows.items()}

    def encode_visual(
        self, features: torch.Tensor, text: dict[str, torch.Tensor], mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(B, T, D_v) -> visual clips (B, T, d), in their context and guided by the visual actions."""
        tokens = self.proj_visual(features, mask)
        if self.dims.temporal_conv:
            tokens = self.in_order(tokens, mask)
        if self.dims.s2ce:
            tokens = self.s2ce(tokens, mask)
        return self.mag2_visual(tokens, text["visual_actions"], mask) if self.dims.mag2 else tokens

    def encode_audio(
        self, features: torch.Tensor, text: dict[str, torch.Tensor], mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(B, T, D_a) -> audio clips (B, T, d), in their context and guided by the audio actions."""
        tokens = self.proj_audio(features, mask)
        if self.dims.s2ce:
            tokens = self.s2ce(tokens, mask)
        return self.mag2_audio(tokens, text["audio_actions"], mask) if self.dims.mag2 else tokens

    def fuse(self, visual: torch.Tensor, audio: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Visual and audio clips (B, T, d) -> fused clips (B, T, d); without AVCF their mean."""
        return self.avcf(visual, audio, mask) if self.dims.avcf else (visual + audio) / 2

    def grade(
        self,
        visual: torch.Tensor,
        fused: torch.Tensor | None,
        text: dict[str, torch.Tensor],
        mask: torch.Tensor | None = None,
    ) -> MLAVLOutput:
        """Clips of both branches -> their grades and the score."""
        patterns_v, p_v, score_v = self.dpg.branch("v", self.asked(text["v_grades"], visual, mask), visual, mask)
        patterns_av = p_av = score_av = None
        if fused is not None:
            asked = self.asked(text["av_grades"], fused, mask)
            patterns_av, p_av, score_av = self.dpg.branch("av", asked, fused, mask)
        score = self.dpg.combine(score_av, score_v)
        return MLAVLOutput(
            score=score, score_v=score_v, score_av=score_av, p_v=p_v, p_av=p_av,
            patterns_v=patterns_v, patterns_av=patterns_av, visual=visual, fused=fused, text=text,
        )  # fmt: skip

    def asked(self, grades: torch.Tensor, clips: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Grade prompts (grades, d) as these clips (B, T, d) are asked about them: the same, or (B, grades, d) by T."""
        if not self.dims.length:
            return grades
        counts = clips.new_full((len(clips),), clips.shape[1]) if mask is None else mask.sum(1)
        return self.length(grades, counts)

    def loss(
        self,
        output: MLAVLOutput,
        batch: Batch,
        weights: LossWeights | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, torch.Tensor]:
        """The weighted terms of the total loss (eq. 18), by name; terms with weight 0 are left out.

        Args:
            output: of `batch`.
            batch: with labels in [0, 1].
            weights: of the terms; None: the official code's.
            generator: draws the false music of the consistency objective.
        """
        weights = weights or LossWeights()
        terms = {"mse": weights.mse * nn.functional.mse_loss(output.score, batch.label)}
        if output.p_v is not None and self.dims.language:
            if weights.triplet:
                terms["triplet"] = weights.triplet * losses.triplet_loss(output, weights.margin, weights.triplets)
            if weights.cross_entropy:
                ce = losses.grade_cross_entropy(output, weights.temperature, weights.smoothing)
                terms["cross_entropy"] = weights.cross_entropy * ce
        if weights.consistency and output.p_av is not None:
            fit = self._consistency_terms(output, batch, generator)
            terms |= {name: weights.consistency * value for name, value in fit.items()}
        return terms

    def _consistency_terms(
        self, output: MLAVLOutput, batch: Batch, generator: torch.Generator | None
    ) -> dict[str, torch.Tensor]:
        """What teaches a head whether music fits: the objective, "consistency", and the "alignment" it rests on.

        consistency: binary cross-entropy of the clips' own; the true music against another routine's and its own,
            shifted.
        alignment: of pictures and music as they are projected, and as they go into the fusion; half their sum.

        At most `JUDGED_CLIPS` places of the sequence, drawn at random, are judged: each clip is graded as a routine of
        its own, and all of them would cost several times what the rest of a step does.
        Batch norms use their running statistics here, as they will when scoring: by the statistics of a batch of true
        or of false music alone a head could tell which it is, and learn nothing else.
        """
        mask, dpg = batch.mask, self.dpg
        assert batch.audio is not None
        assert isinstance(dpg, DPG)
        music = [(batch.audio, batch.real_clips())]
        music += [losses.false_music(batch, kind, generator) for kind in losses.FALSE]
        with losses.settled_batch_norms(self):
            tokens = [self.encode_audio(audio, output.text, mask) for audio, _ in music]
            thrice = None if mask is None else mask.repeat(3, 1)
            fused = self.fuse(output.visual.repeat(3, 1, 1), torch.cat(tokens), thrice)
            places = torch.randperm(fused.shape[1], generator=generator)[: losses.JUDGED_CLIPS].to(fused.device)
            fits = clip_consistency(dpg, self.dims, output.text["av_grades"], fused[:, places])
            true, swapped, shifted = fits.chunk(3)
        judged = [clips[:, places] for _, clips in music]
        false = losses.judged_bce(1 - swapped, judged[1]) + losses.judged_bce(1 - shifted, judged[2])
        fused_side = losses.contrast(output.visual, tokens[0], mask)
        return {
            "consistency": losses.judged_bce(true, judged[0]) + false / 2,
            "alignment": (self.alignment(batch) + fused_side) / 2,
        }

    def alignment(self, batch: Batch) -> torch.Tensor:
        """`contrast` of pictures and music as they are projected, which the consistency rests on."""
        projected = self.proj_visual(batch.visual, batch.mask), self.proj_audio(batch.audio, batch.mask)
        return losses.contrast(*projected, batch.mask)

    def prompts_read(self) -> list[torch.Tensor]:
        return [self.text_features] if self.dims.language else []

    @property
    def judges_consistency(self) -> bool:
        return self.dims.has_audio and self.dims.dpg

    def consistency(
        self,
        output: MLAVLOutput,
        music: torch.Tensor,
        mask: torch.Tensor | None = None,
        judged: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """How well the clips of an output fit any music (B, T, D_a), in [0, 1]: (B, T). `judged` masks the music."""
        assert isinstance(self.dpg, DPG)
        fused = self.fuse(output.visual, self.encode_audio(music, output.text, mask), mask)
        return consistency(self.dpg, self.dims, output.text["av_grades"], fused, mask if judged is None else judged)

    def per_clip(self, output: MLAVLOutput, mask: torch.Tensor | None = None) -> ClipReading:
        """Reads an output clip by clip; values of padded clips mean nothing (attention: 0)."""
        text, visual = output.text, output.visual
        quality = alone(self.dpg, "v", text["v_grades"], visual).score.view(visual.shape[:2])
        if output.p_v is None or not isinstance(self.dpg, DPG):
            real = torch.ones_like(quality) if mask is None else mask.to(quality.dtype)
            return ClipReading(None, quality, real / real.sum(1, keepdim=True))
        attention = self.dpg.attention(self.asked(text["v_grades"], visual, mask), visual, output.p_v, mask)
        if output.fused is None or output.p_av is None:
            return ClipReading(None, quality, attention)
        asked = self.asked(text["av_grades"], output.fused, mask)
        heard = self.dpg.attention(asked, output.fused, output.p_av, mask)
        fits = consistency(self.dpg, self.dims, text["av_grades"], output.fused, mask)
        w = self.dpg.w.clamp(0, 1)
        return ClipReading(fits, quality, w * heard + (1 - w) * attention)

    @property
    def visual_weight(self) -> float:
        return 1 - self.dpg.w.item() if self.dims.has_audio else 1.0
