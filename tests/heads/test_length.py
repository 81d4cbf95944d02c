"""T as an input of its own: by hand, nothing at the usual length, and the same behind padding."""

import math

import pytest
import torch
from heads.test_mlavl import DIMS, head

from mlavl_cli.heads.dims import HeadDims
from mlavl_cli.heads.mlavl.length import USUAL, Length


def test_what_is_added_is_a_function_of_the_logarithm_of_t():
    torch.manual_seed(0)
    length, queries = Length(8), torch.randn(6, 8)
    added = length(queries, torch.tensor([USUAL, 2 * USUAL, 15])) - queries
    w, b, out = length.hidden.weight[:, 0], length.hidden.bias, length.out.weight
    for row, octaves in zip(added, (0.0, 1.0, math.log2(15 / USUAL)), strict=True):
        by_hand = out @ ((w * octaves + b).relu() - b.relu())
        torch.testing.assert_close(row, by_hand.expand(6, -1), atol=1e-6, rtol=1e-5)
    assert added[0].abs().max() < 1e-6 < added[1].abs().max()


@torch.no_grad()
def test_only_a_head_that_is_told_t_hears_that_the_same_clips_came_twice():
    torch.manual_seed(1)
    visual, audio = torch.randn(1, 9, DIMS.visual_dim), torch.randn(1, 9, DIMS.audio_dim)
    changes = {}
    for told in (False, True):
        model = head(graph="even", length=told)
        once, again = model(visual, audio), model(visual.repeat(1, 8, 1), audio.repeat(1, 8, 1))
        changes[told] = (again.patterns_av - once.patterns_av).abs().mean().item()
    assert changes[True] > 3 * changes[False]


@torch.no_grad()
@pytest.mark.parametrize("hears", [True, False])
def test_padding_is_no_length(hears):
    model = head(graph="even", length=True, audio_dim=DIMS.audio_dim if hears else 0)
    visual = torch.randn(2, 12, DIMS.visual_dim)
    audio = torch.randn(2, 12, DIMS.audio_dim) if hears else None
    mask = torch.arange(12) < torch.tensor([[12], [5]])
    together = model(visual, audio, mask)
    alone = model(visual[1:, :5], audio[1:, :5] if hears else None)
    torch.testing.assert_close(together.score[1:], alone.score, atol=1e-5, rtol=1e-5)
    readings = model.per_clip(together, mask), model.per_clip(alone)
    torch.testing.assert_close(readings[0].attention[1:, :5], readings[1].attention, atol=1e-5, rtol=1e-5)


def test_heads_made_before_have_no_length():
    values = {name: value for name, value in vars(DIMS).items() if name != "length"}
    assert not HeadDims.from_dict(values).length
