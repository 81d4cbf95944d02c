import math
from dataclasses import replace

import pytest
import torch
from heads.test_mlavl import head


@torch.no_grad()
def test_all_clips_at_once_equal_single_runs_with_a_masked_memory():
    """The definition, word for word: the PGT with its memory masked to clip t alone (docs/method.md, section 14)."""
    model, clips = head(), 6
    output = model(torch.randn(2, clips, 24), torch.randn(2, clips, 20))
    reading = model.per_clip(output)
    for t in range(clips):
        only = (torch.arange(clips) == t).expand(2, -1)
        p_av, _ = model.dpg.regressor_av(model.dpg.patterns(output.text["av_grades"], output.fused, only))
        _, quality = model.dpg.regressor_v(model.dpg.patterns(output.text["v_grades"], output.visual, only))
        torch.testing.assert_close(reading.consistency[:, t], p_av[:, 1::2].sum(-1), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(reading.quality[:, t], quality, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("sound", [True, False])
def test_attention_is_a_share_and_padding_gets_none(sound):
    model = head()
    mask = torch.arange(5) < torch.tensor([5, 3])[:, None]
    output = model(torch.randn(2, 5, 24), torch.randn(2, 5, 20) if sound else None, mask)
    attention = model.per_clip(output, mask).attention
    torch.testing.assert_close(attention.sum(1), torch.ones(2))
    assert (attention[~mask] == 0).all()
    assert (model.per_clip(output, mask).consistency is None) != sound


@torch.no_grad()
def test_attention_is_what_the_last_layer_really_used():
    """Captured from torch's own attention while the PGT runs."""
    model = head()
    output = model(torch.randn(1, 5, 24), torch.randn(1, 5, 20))
    last, seen = model.dpg.pgt.layers[-1].multihead_attn, {}

    def with_weights(module, args, kwargs):
        return args, {**kwargs, "need_weights": True}

    hooks = [
        last.register_forward_pre_hook(with_weights, with_kwargs=True),
        last.register_forward_hook(lambda module, args, out: seen.update(weights=out[1])),
    ]
    model.dpg.patterns(output.text["v_grades"], output.visual)
    for hook in hooks:
        hook.remove()
    expected = (output.p_v[:, :, None] * seen["weights"]).sum(1)
    ours = model.dpg.attention(output.text["v_grades"], output.visual, output.p_v)
    torch.testing.assert_close(ours, expected)


@torch.no_grad()
def test_consistency_of_a_batch_is_that_of_each_routine():
    model = head()
    visual, audio = torch.randn(3, 4, 24), torch.randn(3, 4, 20)
    together = model.per_clip(model(visual, audio)).consistency
    for i in range(3):
        alone = model.per_clip(model(visual[i : i + 1], audio[i : i + 1])).consistency
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_with_a_reach_clips_lean_on_their_surroundings():
    """Against plain loops over the clips' own values; padding has no say."""
    model, lengths = head(), (7, 4)
    mask = torch.arange(7) < torch.tensor(lengths)[:, None]
    output = model(torch.randn(2, 7, 24), torch.randn(2, 7, 20), mask)
    alone = model.per_clip(output, mask).consistency
    model.dims = replace(model.dims, consistency_decay=2)
    leaning = model.per_clip(output, mask).consistency
    for row, length in enumerate(lengths):
        own = [math.log(c / (1 - c)) for c in alone[row, :length].tolist()]
        for t in range(length):
            weights = [math.exp(-abs(t - s) / 2) for s in range(length)]
            around = sum(w * x for w, x in zip(weights, own, strict=True)) / sum(weights)
            expected = 1 / (1 + math.exp(-(own[t] + 2 * around) / 3))
            assert leaning[row, t].item() == pytest.approx(expected, abs=1e-5)


@torch.no_grad()
def test_a_lone_clip_has_nothing_to_lean_on():
    model = head()
    output = model(torch.randn(1, 1, 24), torch.randn(1, 1, 20))
    alone = model.per_clip(output).consistency
    model.dims = replace(model.dims, consistency_decay=4)
    torch.testing.assert_close(model.per_clip(output).consistency, alone)
