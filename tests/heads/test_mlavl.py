"""The head against torch's own layers, put together by hand; and padding that no score may notice."""

from dataclasses import asdict

import pytest
import torch
from heads import graphs
from torch import nn

from mlavl_cli.errors import WeightsError
from mlavl_cli.heads.dims import HeadDims
from mlavl_cli.heads.mlavl.mag2 import MAG2
from mlavl_cli.heads.mlavl.model import MLAVL

DIMS = HeadDims(visual_dim=24, audio_dim=20, text_dim=12, actions=5, grades=6, width=32, heads=4)


def randomise(module: nn.Module) -> None:
    """Random tensors everywhere, running statistics of batch norms included."""
    for name, tensor in module.state_dict().items():
        if "running_var" in name:
            tensor.uniform_(0.5, 2)
        elif tensor.is_floating_point() and "worth" not in name:
            tensor.normal_(0, 0.3)


def head(**changes) -> MLAVL:
    torch.manual_seed(7)
    dims = HeadDims(**{**vars(DIMS), **changes})
    model = MLAVL(dims, torch.randn(dims.prompts, dims.text_dim))
    randomise(model)
    return model.eval()


def linear_bn(x, state, prefix):
    """Pointwise convolution, batch norm, ReLU, pointwise convolution, batch norm, written out. x: (rows, features)."""
    for conv, norm in ((0, 1), (3, 4)):
        x = x @ state[f"{prefix}.{conv}.weight"][..., 0].T + state[f"{prefix}.{conv}.bias"]
        mean, var = state[f"{prefix}.{norm}.running_mean"], state[f"{prefix}.{norm}.running_var"]
        x = (x - mean) / (var + 1e-5).sqrt() * state[f"{prefix}.{norm}.weight"] + state[f"{prefix}.{norm}.bias"]
        if conv == 0:
            x = x.relu()
    return x


def tensors_below(state, prefix):
    return {name.removeprefix(f"{prefix}."): t for name, t in state.items() if name.startswith(f"{prefix}.")}


def torch_decoder(state, prefix, layers, width=32, heads=4):
    layer = nn.TransformerDecoderLayer(width, heads, 3 * width, batch_first=True)
    decoder = nn.TransformerDecoder(layer, layers, nn.LayerNorm(width)).eval()
    decoder.load_state_dict(tensors_below(state, prefix))
    return decoder


def reference(model: MLAVL, visual: torch.Tensor, audio: torch.Tensor):
    """One routine, (T, D_v) and (T, D_a), step by step as sections 3 to 7 of the method say."""
    state, n = model.state_dict(), 6
    text = linear_bn(state["text_features"], state, "proj_text.layers")
    v_actions, a_actions, av_grades, v_grades = text.split([5, 5, 12, 6])
    encoder = nn.Transformer(32, 4, 1, 3, 96, batch_first=True).encoder.eval()
    encoder.load_state_dict(tensors_below(state, "s2ce.encoder"))
    tokens = {}
    for name, features, actions in (("visual", visual, v_actions), ("audio", audio, a_actions)):
        x = linear_bn(features, state, f"proj_{name}.layers")
        x = x + encoder(x[None])[0]
        tokens[name] = graphs.mag2(x, actions, tensors_below(state, f"mag2_{name}"), "sage")
    whole = torch_decoder(state, "avcf.decoder", 2)(tokens["visual"][None], tokens["audio"][None])[0]
    both = torch.cat([tokens["visual"], tokens["audio"]], 1)
    fused = whole + linear_bn(both, state, "avcf.clip_fusion")
    pgt = torch_decoder(state, "dpg.pgt", 3)
    scores = []
    for queries, clips, name, count in ((av_grades, fused, "av", 2 * n), (v_grades, tokens["visual"], "v", n)):
        patterns = pgt(queries[None], clips[None])[0]
        everything = patterns @ state[f"dpg.regressor_{name}.rows.weight"].T + state[f"dpg.regressor_{name}.rows.bias"]
        p = everything.diagonal().sigmoid()
        p = p / p.sum()
        scores.append((p, p @ torch.linspace(0, 1, count)))
    (p_av, s_av), (p_v, s_v) = scores
    return state["dpg.w"] * s_av + (1 - state["dpg.w"]) * s_v, p_av, p_v


@torch.no_grad()
@pytest.mark.parametrize("clips", [1, 2, 9])
def test_equals_the_method_step_by_step(clips):
    model = head()
    visual, audio = torch.randn(3, clips, 24), torch.randn(3, clips, 20)
    output = model(visual, audio)
    for i in range(3):
        score, p_av, p_v = reference(model, visual[i], audio[i])
        torch.testing.assert_close(output.score[i : i + 1], score, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(output.p_av[i], p_av, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(output.p_v[i], p_v, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("graph", ["sage", "gcn"])
@pytest.mark.parametrize("regressor", ["linear", "mlp"])
@pytest.mark.parametrize("order", [0, 2, 9])
def test_padding_changes_no_score(graph, regressor, order):
    model = head(graph=graph, regressor=regressor, temporal_conv=order)
    lengths = [7, 1, 4]
    visual, audio = torch.randn(3, 7, 24), torch.randn(3, 7, 20)
    mask = torch.arange(7) < torch.tensor(lengths)[:, None]
    together = model(visual, audio, mask)
    for i, length in enumerate(lengths):
        alone = model(visual[i : i + 1, :length], audio[i : i + 1, :length])
        torch.testing.assert_close(together.score[i : i + 1], alone.score, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(together.p_av[i : i + 1], alone.p_av, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_only_a_head_with_order_sees_which_clip_comes_first():
    torch.manual_seed(1)
    visual, audio, mixed = torch.randn(4, 9, 24), torch.randn(4, 9, 20), torch.randperm(9)
    for order in (0, 2):
        model = head(temporal_conv=order)
        change = (model(visual, audio).score - model(visual[:, mixed], audio[:, mixed]).score).abs().max()
        assert change > 1e-4 if order else change < 1e-6


@torch.no_grad()
def test_order_is_what_it_says_clip_by_clip():
    """Two convolutions in plain loops: what lies before the first and behind the last clip has no say."""
    module = head(temporal_conv=2).in_order
    clips = torch.randn(1, 6, 32)

    def look(x, convolution):
        rows = []
        for t in range(len(x)):
            near = [s for s in range(t - 2, t + 3) if 0 <= s < len(x)]
            rows.append(sum(convolution.weight[:, :, s - t + 2] @ x[s] for s in near) + convolution.bias)
        return torch.stack(rows)

    expected = clips[0] + look(look(clips[0], module.first).relu(), module.second)
    torch.testing.assert_close(module(clips)[0], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_grades_are_distributions_and_scores_lie_between_branches():
    output = head()(torch.randn(8, 5, 24), torch.randn(8, 5, 20))
    for p in (output.p_av, output.p_v):
        assert (p >= 0).all()
        torch.testing.assert_close(p.sum(-1), torch.ones(8))
    assert ((output.score_v >= 0) & (output.score_v <= 1) & (output.score_av >= 0) & (output.score_av <= 1)).all()


@torch.no_grad()
def test_without_sound_the_visual_branch_scores_alone():
    model, visual = head(), torch.randn(2, 5, 24)
    output = model(visual)
    assert output.p_av is None
    assert output.fused is None
    torch.testing.assert_close(output.score, output.score_v)
    torch.testing.assert_close(output.score_v, model(visual, torch.randn(2, 5, 20)).score_v)


def test_batch_norm_in_training_does_not_see_padding():
    """The statistics of a padded batch are those of its real clips."""
    model = head().train()
    visual, mask = torch.randn(2, 6, 24), torch.arange(6) < torch.tensor([6, 2])[:, None]
    first = model.proj_visual(visual, mask)[mask]
    noisy = torch.where(mask[..., None], visual, torch.full_like(visual, 99.0))
    torch.testing.assert_close(model.proj_visual(noisy, mask)[mask], first)


def test_the_official_default_has_its_number_of_parameters():
    model = MLAVL(HeadDims(visual_dim=768, actions=42))
    assert sum(p.numel() for p in model.parameters()) == 6_724_627


@pytest.mark.parametrize(
    "change", [{"width": 30}, {"grades": 0}, {"actions": 1 << 20}, {"graph": "gat"}, {"dropout": 1.0}]
)
def test_impossible_sizes_are_refused(change):
    with pytest.raises(WeightsError):
        HeadDims(**{**vars(DIMS), **change})


def test_text_features_of_another_shape_are_refused():
    with pytest.raises(WeightsError, match=r"text features have shape \(3, 12\)"):
        MLAVL(DIMS, torch.zeros(3, 12))


@pytest.mark.parametrize("name", ["s2ce.encoder", "avcf.decoder", "dpg.pgt"])
def test_every_matrix_of_a_transformer_is_drawn_xavier_uniform_and_by_itself(name):
    """As the public code: torch's own are narrower in part, and layers copies of each other."""
    torch.manual_seed(0)
    model = MLAVL(HeadDims(visual_dim=64, actions=4, encoder_layers=2))
    transformer = model.get_submodule(name)
    matrices = {key: p for key, p in transformer.named_parameters() if p.ndim > 1}
    for key, matrix in matrices.items():
        edge = (6 / sum(matrix.shape)) ** 0.5
        assert matrix.abs().max() <= edge, key
        assert matrix.std().item() == pytest.approx(edge / 3**0.5, rel=0.05), key
        other = key.replace("layers.0.", "layers.1.")
        assert other == key or not torch.equal(matrix, matrices[other])


def test_each_routine_drops_other_parts_of_the_actions():
    """Two routines of the same clips: with dropout on the action nodes alone they would be alike with one mask."""
    torch.manual_seed(0)
    guide = MAG2(width=32, dropout=0.5).train()
    masks = []
    guide.dropout.register_forward_hook(lambda _, given, dropped: masks.append(dropped == 0))
    guide(torch.randn(3, 5, 32), torch.randn(7, 32))
    clips, actions = masks
    assert clips.shape == (3, 5, 16)
    assert actions.shape == (3, 7, 16)
    assert not torch.equal(actions[0], actions[1])
    guide.eval()
    alone = guide(torch.randn(1, 5, 32), torch.randn(7, 32))
    assert alone.shape == (1, 5, 32)


def test_heads_say_in_which_order_their_grades_stand():
    new = HeadDims(visual_dim=8, actions=4, grades=2)
    assert new.audio_visual == [(0, False), (0, True), (1, False), (1, True)]
    before = {name: value for name, value in asdict(new).items() if name != "grade_order"}
    old = HeadDims.from_dict(before)
    assert old.audio_visual == [(0, False), (1, False), (0, True), (1, True)]
    assert HeadDims.from_dict(asdict(new)) == new
    with pytest.raises(WeightsError, match="order"):
        HeadDims(visual_dim=8, actions=4, grade_order="reversed")


def test_dimensions_of_the_first_version_are_read_by_their_old_names():
    now = asdict(HeadDims(visual_dim=8, actions=4, temporal_conv=3, consistency_decay=4))
    old = {**now, "order": now.pop("temporal_conv"), "reach": now.pop("consistency_decay")}
    for name in ("temporal_conv", "consistency_decay", "grade_order", "length"):
        del old[name]
    read = HeadDims.from_dict(old)
    assert (read.temporal_conv, read.consistency_decay, read.grade_order, read.length) == (3, 4, "blocks", False)
