"""The other methods: sizes as published, checkpoints of their public code, and what is special to each.

`references/` holds evaluations of the published facts that were written without a look at the package.
"""

import numpy as np
import pytest
import torch
from datasets import layouts
from heads.references import (
    action_net,
    cofinal,
    core,
    gdlt,
    groups,
    hgcn,
    lstm,
    mcmoe,
    mlp_mixer,
    ms_lstm,
    pamfn,
    qtd,
    t2cr,
    t2cr_losses,
    tpt,
    usdl,
)
from heads.references.common import hardest_triplet

from mlavl_cli.datasets.load import load_dataset
from mlavl_cli.device import place
from mlavl_cli.heads import exemplars as ours_exemplars
from mlavl_cli.heads.checkpoint import load_head
from mlavl_cli.heads.cofinal import in_steps, simplex_frame
from mlavl_cli.heads.gdlt import grade_triplets
from mlavl_cli.heads.methods import head_class
from mlavl_cli.heads.ms_lstm import SkipLSTM
from mlavl_cli.heads.pamfn_branch import Level
from mlavl_cli.heads.qtd import relation_loss
from mlavl_cli.heads.soft_dtw import soft_dtw
from mlavl_cli.heads.tpt import ordered
from mlavl_cli.heads.usdl import around

D, T = 32, 20
LABELS = np.linspace(0.1, 0.9, 12)


def drawn(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def double(state):
    return {name: value.double() if value.is_floating_point() else value for name, value in state.items()}


X, Y = drawn(4, T, D), drawn(4, T, D, seed=2)
SOUND, FLOW = drawn(4, T, 16, seed=3), drawn(4, T, 24, seed=4)


@pytest.fixture
def imported(run, tmp_path):
    """A public file -> the head in a bundle, by the command."""

    def call(name, file, *options):
        torch.save(file, tmp_path / "public.pth")
        result = run("weights", "import", tmp_path / "public.pth", "--model", name, "-t", "TES", "--range", "0:45",
                     "--backbones", "fisv", "-o", tmp_path / "bundle", *options)  # fmt: skip
        assert result.exit_code == 0, result.stderr
        return load_head(tmp_path / "bundle" / "heads" / "TES.safetensors")

    return call


def agree(found, wanted):
    assert wanted.double().std() > 1e-3  # the routines differ
    torch.testing.assert_close(found.double(), wanted.double(), atol=1e-5, rtol=0)


# Parameters in millions, as counted in the public modules.
SIZES = [
    ("lstm", {}, 1.313), ("ms-lstm", {}, 2.662), ("ms-lstm", {"visual_dim": 768}, 2.629), ("action-net", {}, 0.919),
    ("usdl", {}, 0.308), ("core", {}, 2.510), ("core", {"visual_dim": 768}, 2.379), ("gdlt", {}, 3.163),
    ("gdlt", {"visual_dim": 768}, 2.901), ("tpt", {}, 5.656), ("hgcn", {"clips": 124}, 1.282),
    ("hgcn", {"clips": 68}, 1.260), ("hgcn", {"clips": 48}, 1.255), ("cofinal", {}, 3.716), ("qtd", {}, 22.46),
    ("mlp-mixer", {"visual_dim": 768, "audio_dim": 768, "tokens": 15}, 4.867),
    ("mlp-mixer", {"visual_dim": 768, "audio_dim": 768}, 4.862),
    ("pamfn", {"flow_dim": 1024, "audio_dim": 768}, 17.96), ("mcmoe", {"flow_dim": 1024, "audio_dim": 768}, 9.385),
    ("mcmoe", {"visual_dim": 768, "flow_dim": 1024, "audio_dim": 768}, 9.122),
]  # fmt: skip


@pytest.mark.parametrize(("name", "sizes", "millions"), SIZES)
def test_parameters_are_those_of_the_public_modules(name, sizes, millions):
    kind = head_class(name)
    dims = kind.Dims(**{"visual_dim": 1024, "actions": 1, "audio_dim": 0, "mag2": False, "language": False, **sizes})
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in kind(dims).parameters()) / 1e6
    # Parts that no score depends on aren't built: six norms in PAMFN, one in the MLP-Mixer.
    assert count == pytest.approx(millions, abs=0.006 if name in ("pamfn", "qtd") else 0.0006)


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "reference", "points"), [("lstm", lstm, True), ("action-net", action_net, False), ("gdlt", gdlt, False)]
)
def test_a_visual_checkpoint_scores_as_published(imported, name, reference, points):
    state = reference.state(D)
    if name == "action-net":
        state = action_net.state(D, clips=T)
    head = imported(name, {"module." + key: tensor for key, tensor in state.items()})
    assert head.score_range == (0, 45)
    agree(head.model(X).score * (45 if points else 1), reference.score(double(state), X.double()))


@torch.no_grad()
def test_usdl_takes_the_most_probable_step_and_carefully_the_expectation(imported):
    state = usdl.state(D)
    agree(imported("usdl", usdl.file(state)).model(X).score, usdl.score(double(state), X.double()))
    careful = imported("usdl", state, "--behaviour", "careful").model
    agree(careful(X).score, usdl.expectation(double(state), X.double()))
    benchmark = imported("usdl", {f"head.{key}": tensor for key, tensor in state.items()}).model
    agree(benchmark(X).score, usdl.score(double(state), X.double()))


@torch.no_grad()
def test_ms_lstm_begins_at_random_and_carefully_at_zero(imported):
    state = ms_lstm.state(D)
    head = imported("ms-lstm", state).model
    starts = drawn(3, 2, 4, 256, seed=5)
    agree(head.begun(X, None, starts).score * 45, ms_lstm.score(double(state), X.double(), starts.double()))
    assert torch.equal(head(X).score, head(X).score)  # seeded draws
    careful = imported("ms-lstm", state, "--behaviour", "careful").model
    agree(careful(X).score * 45, ms_lstm.score(double(state), X.double()))


@torch.no_grad()
def test_cofinal_attends_over_the_batch_and_carefully_over_grades(imported):
    state = cofinal.state(D)
    head = imported("cofinal", state).model
    alone = torch.cat([head(one[None]).score for one in X])
    agree(alone, cofinal.score(double(state), X.double(), activate=3))
    agree(head(X).score, cofinal.outputs(double(state), X.double(), activate=3, over="batch")["score"])
    careful = imported("cofinal", state, "--behaviour", "careful").model
    agree(careful(X).score, cofinal.outputs(double(state), X.double(), activate=3, over="grades")["score"])
    benchmark = {f"head.{key.replace('_revert', '_neg')}": tensor for key, tensor in state.items()}
    assert torch.equal(imported("cofinal", {"model": benchmark, "optimizer": {}}).model(X).score, head(X).score)


@torch.no_grad()
def test_hgcn_has_noise_and_carefully_none(imported):
    state = hgcn.state(D, clips=T)
    careful = imported("hgcn", state, "--behaviour", "careful")
    assert careful.window == T
    agree(careful.model(X).score * 45, hgcn.score(double(state), X.double()))
    official = imported("hgcn", state).model
    mean, logvar = hgcn.outputs(double(state), X.double())
    output = official(X)
    agree(output.mean, mean)
    agree(output.std, (logvar / 2).exp())
    assert torch.equal(official(X).score, output.score)
    assert (output.score - careful.model(X).score).abs().max() > 1e-3


@torch.no_grad()
def test_qtd_asks_with_noise_and_carefully_with_what_it_learned(imported):
    state = qtd.state(D, clips=T)
    head = imported("qtd", qtd.file(state)).model
    noise = drawn(4, T, D, seed=6)
    agree(head.drawn(X, noise).score, qtd.score(double(state), X.double(), queries=5 * noise.double()))
    assert torch.equal(head(X).score, head(X).score)
    careful = imported("qtd", qtd.file(state), "--behaviour", "careful").model
    asked = careful(X).score
    careful.neck.query_embed.weight += drawn(T, D, seed=8)
    assert (careful(X).score - asked).abs().max() > 1e-4
    head.neck.query_embed.weight += drawn(T, D, seed=8)
    agree(head.drawn(X, noise).score, qtd.score(double(state), X.double(), queries=5 * noise.double()))
    reading = careful.per_clip(careful(X))
    torch.testing.assert_close(reading.attention.sum(1), torch.ones(4))
    longer = careful.per_clip(careful(drawn(1, T + 7, D)))
    assert longer.attention.shape == (1, T + 7)
    assert longer.attention[0, :3].sum() == longer.attention[0, -4:].sum() == 0
    assert longer.quality is None


@torch.no_grad()
def test_mlp_mixer_counts_padding_and_carefully_does_not(imported):
    state, tokens = mlp_mixer.state(D, tokens=3), drawn(4, T, 3, D, seed=7)
    lengths = torch.tensor([20, 12, 7, 20])
    mask = torch.arange(T) < lengths[:, None]
    visual, audio = tokens * mask[..., None, None], X * mask[..., None]
    head = imported("mlp-mixer", state).model
    agree(
        head(visual, audio, mask).score * 45, mlp_mixer.score(double(state), visual.double(), audio.double(), lengths)
    )
    careful = imported("mlp-mixer", state, "--behaviour", "careful").model
    alone = [mlp_mixer.score(double(state), v[None, :n].double(), a[None, :n].double())
             for v, a, n in zip(visual, audio, lengths, strict=True)]  # fmt: skip
    agree(careful(visual, audio, mask).score * 45, torch.cat(alone))


@torch.no_grad()
@pytest.mark.parametrize("flow", [24, None])
def test_pamfn_with_and_without_flow(imported, flow):
    state, given = pamfn.state(D, flow=flow, audio=16), FLOW if flow else None
    careful = imported("pamfn", state, "--behaviour", "careful").model
    of_flow = None if given is None else given.double()
    agree(careful(X, SOUND, None, given).score, pamfn.score(double(state), X.double(), of_flow, SOUND.double()))
    official = imported("pamfn", state).model
    assert torch.equal(official(X, SOUND, None, given).score, official(X, SOUND, None, given).score)


@torch.no_grad()
def test_pamfn_stops_at_the_candidate_that_noise_chooses(imported):
    state = pamfn.state(D, flow=24, audio=16)
    head = imported("pamfn", state).model
    levels = [getattr(head, f"model_{m}")(x, None)[0] for m, x in (("r", X), ("f", FLOW), ("a", SOUND))]
    for seed in range(4):
        noise = 3 * drawn(3, 4, T, 6, seed=seed)
        of_stages = [noise[stage, :, :steps].mT.double() for stage, steps in enumerate((T // 2, T // 4, 1))]
        wanted = pamfn.score(double(state), X.double(), FLOW.double(), SOUND.double(), of_stages)
        agree(head.fused(levels, noise), wanted)


@torch.no_grad()
def test_mcmoe_with_any_modalities_and_its_slots(imported):
    state = mcmoe.state(D, flow=24, audio=16)
    official = imported("mcmoe", state).model
    careful = imported("mcmoe", state, "--behaviour", "careful").model
    first = torch.zeros(4, dtype=torch.long)
    for there, given in (("vaf", (X, SOUND, None, FLOW)), ("va", (X, SOUND)), ("v", (X,))):
        named = dict(zip(("visual", "audio", "flow"), (X.double(), SOUND.double(), FLOW.double()), strict=True))
        named = {name: rows for name, rows in named.items() if name[0] in there}
        agree(official(*given).score, mcmoe.score(double(state), available=tuple(there), **named))
        agree(careful(*given).score, mcmoe.score(double(state), available=tuple(there), slots=first, **named))


@pytest.fixture
def training_routines(tmp_path):
    """Fis-V's layout with routines of T clips, D wide: (folder, features by id, labels by id)."""
    root, rng = layouts.fisv(tmp_path / "fisv"), np.random.default_rng(3)
    rows = {f"r{i}": rng.normal(0, 1, (T, D)).astype(np.float32) for i in range(len(LABELS))}
    np.save(root / "FISV_rgb_VST.npy", np.array(rows, dtype=object), allow_pickle=True)
    np.save(root / "FISV_audio_AST.npy", np.array(rows, dtype=object), allow_pickle=True)
    labels = dict(zip(rows, rng.permutation(LABELS), strict=True))
    lines = [f"{id} {45 * label} {40 * label}" for id, label in labels.items()]
    (root / "train.txt").write_text("\n".join(lines[:10] + lines[10:]))
    (root / "test.txt").write_text("\n".join(lines[:2]))
    return root, rows, labels


@torch.no_grad()
@pytest.mark.parametrize("reference", [core, tpt])
def test_a_difference_to_exemplars_of_the_training_split(imported, training_routines, reference):
    """Ten routines from the worst to the best in equal steps of rank; groups by the quantiles of all differences."""
    root, rows, labels = training_routines
    state = reference.state(D)
    head = imported(reference.NAME, reference.file(state), "--exemplars", "fisv", root, "--window", T)
    ranked = sorted(labels, key=labels.get)
    chosen = [ranked[round(rank)] for rank in np.linspace(0, len(ranked) - 1, 10)]
    kept = torch.tensor([labels[id] for id in chosen])
    torch.testing.assert_close(head.model.exemplar_labels.double(), kept.double(), atol=1e-6, rtol=0)
    edges = groups.edges(list(labels.values()), 1.0)
    features = torch.stack([torch.from_numpy(rows[id]) for id in chosen]).double()
    extra = () if reference is tpt else (1.0,)
    wanted = reference.mean_score(double(state), X.double(), features, kept.double(), edges, *extra)
    found = head.model(X).score
    torch.testing.assert_close(found.double(), wanted, atol=1e-5, rtol=0)


@torch.no_grad()
def test_t2cr_compares_both_views_and_scores_by_itself(imported, training_routines):
    root, rows, labels = training_routines
    state = t2cr.state(D, clips=T)
    head = imported("t2cr", state, "--exemplars", "fisv", root).model
    ranked = sorted(labels, key=labels.get)
    found = []
    for rank in np.linspace(0, len(ranked) - 1, 10):
        id = ranked[round(rank)]
        exemplar = torch.from_numpy(rows[id]).double().expand(4, -1, -1)
        label = torch.full((4,), 45 * labels[id], dtype=torch.float64)
        found.append(t2cr.score(double(state), X.double(), exemplar, label))
    agree(head(X).score * 45, torch.stack(found).mean(0))


def test_official_heads_are_evaluated_as_they_score(run, imported, tmp_path):
    """One by one: no padding of batch mates, whatever the batch."""
    root = layouts.fisv(tmp_path / "fisv")
    for name, state in (("gdlt", gdlt.state(layouts.D)), ("cofinal", cofinal.state(layouts.D))):
        head = imported(name, state)
        options = ["--weights", tmp_path / "bundle", "-t", "TES", "-f", "json", "--batch-size"]
        found = [run("evaluate", "fisv", root, *options, size) for size in (2, 64)]
        assert found[0].stdout == found[1].stdout
        data = load_dataset("fisv", root, place("cpu")).splits["test"]
        with torch.no_grad():
            points = [45 * float(head.model(torch.from_numpy(one.visual)[None]).score) for one in data]
        errors = [(point - one.scores["TES"]) ** 2 for point, one in zip(points, data, strict=True)]
        assert found[0].json()[0]["MSE"] == pytest.approx(np.mean(errors), rel=1e-4)


# --- What can be wrong with a file -----------------------------------------------------------------------------------


def refused(run, tmp_path, file, name="gdlt", *options):
    torch.save(file, tmp_path / "public.pth")
    result = run("weights", "import", tmp_path / "public.pth", "--model", name, "-t", "TES", "--range", "0:45",
                 "--backbones", "fisv", "-o", tmp_path / "bundle", *options)  # fmt: skip
    assert result.exit_code in (1, 2)
    (line,) = result.errors
    assert not (tmp_path / "bundle").exists()
    return line


def test_tensors_that_do_not_fit_are_named(run, tmp_path):
    state = gdlt.state(D)
    without = {name: tensor for name, tensor in state.items() if name != "transformer.decoder.norm.weight"}
    assert "transformer.decoder.norm.weight" in refused(run, tmp_path, without)
    assert "prototype.weight is missing" in refused(run, tmp_path, {"in_proj.0.weight": state["in_proj.0.weight"]})
    assert "1 tensors belong to no part of the head: module.extra" in refused(
        run, tmp_path, {**{f"module.{k}": v for k, v in state.items()}, "module.extra": torch.zeros(3)}
    )
    wrong = {**state, "regressor.bias": torch.zeros(7)}
    assert "regressor.bias has shape (7,), expected (4,)" in refused(run, tmp_path, wrong)
    assert "holds NaN" in refused(run, tmp_path, {**state, "regressor.bias": torch.full((4,), torch.nan)})


def test_a_whole_module_is_refused_with_the_way_to_a_state_dict(run, tmp_path):
    line = refused(run, tmp_path, torch.nn.Linear(2, 2))
    assert "state_dict()" in line


def test_methods_without_checkpoints_or_exemplars_are_told(run, tmp_path):
    assert "no public checkpoints of svr are known" in refused(run, tmp_path, gdlt.state(D), "svr")
    assert "--exemplars KIND PATH" in refused(run, tmp_path, core.state(D), "core")
    assert "no such model" in refused(run, tmp_path, gdlt.state(D), "swin")
    assert "--text-features" in refused(run, tmp_path, gdlt.state(D), "mlavl")
    for option, value in (("--outputs", "points"), ("--heads", "2")):
        assert option in refused(run, tmp_path, pamfn.state(D, flow=24, audio=16), "pamfn", option, value)
    assert "--window 9" in refused(run, tmp_path, hgcn.state(D, clips=T), "hgcn", "--window", "9")


# --- What is special -------------------------------------------------------------------------------------------------


def test_groups_are_quantiles_of_differences():
    labels = torch.rand(40, generator=torch.Generator().manual_seed(1)).round(decimals=1)  # with ties
    wanted = groups.edges(labels, 1.0)
    edges = ours_exemplars.group_edges(labels)
    torch.testing.assert_close(edges.double(), wanted[8:], atol=1e-6, rtol=0)
    exact = wanted.float()[8:]
    delta = torch.cat([torch.linspace(-1, 1, 401), exact, -exact])
    group, place = ours_exemplars.in_group(delta, exact)
    torch.testing.assert_close(group, groups.group_of(delta, wanted.float(), clamp=True))
    torch.testing.assert_close(place, groups.position(delta, wanted.float(), group), atol=1e-5, rtol=0)


@pytest.mark.parametrize("reference", [core, tpt])
def test_losses_of_pairs_are_added_over_both_orders(imported, training_routines, reference):
    root = training_routines[0]
    state = reference.state(D)
    head = imported(reference.NAME, reference.file(state), "--exemplars", "fisv", root, "--window", T).model
    labels = torch.tensor([0.31, 0.74, 0.12, 0.55])
    generator = torch.Generator().manual_seed(1)
    other = ours_exemplars.partners(4, torch.Generator().manual_seed(1))
    terms = head.group_terms(head.view(X, None), labels, generator)
    edges = torch.cat([-head.edges.flip(0), head.edges[1:]]).double()
    query, exemplar = X.double(), X[other].double()
    known = (labels.double(), labels[other].double())
    given = [(known[1],), (known[0],)] if reference is core else [(), ()]
    one = reference.outputs(double(state), query, exemplar, *given[0])
    two = reference.outputs(double(state), exemplar, query, *given[1])
    delta = known[0] - known[1]
    wanted = groups.pair_loss(*one, delta, edges) + groups.pair_loss(*two, -delta, edges)
    torch.testing.assert_close((terms["group"] + terms["place"]).double(), wanted, atol=1e-4, rtol=1e-4)


def test_choices_that_tensors_do_not_show_are_the_targets(run, imported, tmp_path):
    state = cofinal.state(D)
    assert imported("cofinal", state).model.dims.activate == 3
    torch.save(state, tmp_path / "ball.pth")
    result = run("weights", "import", tmp_path / "ball.pth", "--model", "cofinal", "-t", "Ball", "--range", "0:25",
                 "--backbones", "rg", "-o", tmp_path / "rg")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    head = load_head(tmp_path / "rg" / "heads" / "Ball.safetensors")
    assert (head.model.dims.activate, head.window) == (2, None)  # scored whole
    alone = torch.cat([head.model(one[None]).score for one in X])
    agree(alone, cofinal.score(double(state), X.double(), activate=2))


@torch.no_grad()
def test_official_exemplars_are_kept_as_routines_are_scored(imported, training_routines):
    """One by one: padding would change them."""
    root, rows, _ = training_routines
    shorter = {id: table[: 4 + at] for at, (id, table) in enumerate(rows.items())}
    for name in ("rgb_VST", "audio_AST"):
        np.save(root / f"FISV_{name}.npy", np.array(shorter, dtype=object), allow_pickle=True)
    state = core.state(D)
    head = imported("core", core.file(state), "--exemplars", "fisv", root, "--window", "full").model
    data = load_dataset("fisv", root, place("cpu")).splits["train"]
    alone = torch.cat([head(torch.from_numpy(one.visual)[None]).views for one in data])
    assert len({len(one.visual) for one in data}) > 1
    for kept in head.exemplars:
        assert (alone - kept).abs().amax(1).min() < 1e-6


def test_what_is_taken_for_granted_is_said(run, tmp_path):
    for name, state, told in (("lstm", lstm.state(D, width=100), "--outputs shares"),):
        torch.save(state, tmp_path / "public.pth")
        result = run("weights", "import", tmp_path / "public.pth", "--model", name, "-t", "TES", "--range", "0:45",
                     "--backbones", "fisv", "-o", tmp_path / "bundle")  # fmt: skip
        assert result.exit_code == 0, result.stderr
        assert told in result.stderr
    assert load_head(tmp_path / "bundle" / "heads" / "TES.safetensors").model.dims.width == 100


@torch.no_grad()
def test_pamfn_keeps_a_lone_clip_as_it_is():
    level = Level(torch.full((2, 4, 3), 3.0), torch.tensor([[True, False, False, False], [True] * 4]))
    level = Level(level.x * level.mask.unsqueeze(-1), level.mask)
    halved = level.halved()
    assert halved.x[0, 0].tolist() == [3.0] * 3
    assert halved.x[1].flatten().tolist() == [3.0] * 6
    assert halved.halved().x[:, 0].flatten().tolist() == [3.0] * 6


def test_the_frame_is_a_simplex():
    frame = simplex_frame(100)
    cosines = frame.T @ frame
    torch.testing.assert_close(cosines.diagonal(), torch.ones(100))
    torch.testing.assert_close(
        cosines[~torch.eye(100, dtype=torch.bool)], torch.full((9900,), -1 / 99), atol=1e-5, rtol=0
    )
    coarse, fine = in_steps(torch.tensor([0.0, 0.57, 0.5734, 0.9999, 1.0]))
    torch.testing.assert_close(coarse, torch.tensor([0.0, 0.57, 0.57, 0.99, 1.0]))
    assert fine.tolist() == [0, 0, 34, 99, 0]


def test_usdl_learns_a_normal_distribution_of_five_steps():
    labels = torch.tensor([0.0, 0.303, 0.98])
    torch.testing.assert_close(around(labels), usdl.target(labels.double()).float(), atol=1e-6, rtol=0)


def test_soft_dtw_is_the_softest_way_through():
    one, other = drawn(3, 6, 4), drawn(3, 9, 4, seed=2)
    torch.testing.assert_close(soft_dtw(one, other), t2cr_losses.soft_dtw(one, other), atol=1e-4, rtol=1e-5)


def test_parts_are_in_order():
    attention = drawn(3, 5, T).softmax(-1)
    terms = ordered(attention, torch.full((3,), T))
    torch.testing.assert_close(terms["order"], tpt.hinges(attention).sum(1).mean(), atol=1e-4, rtol=0)
    torch.testing.assert_close(terms["spread"], 0.05 * tpt.spread(attention).mean(), atol=1e-5, rtol=0)


def test_relations_and_triplets():
    cross, own = drawn(3, 7, 8), drawn(3, 7, 8, seed=2)
    torch.testing.assert_close(relation_loss(cross, own, None).sum(), qtd.agreement([own], [cross]), atol=1e-4, rtol=0)
    patterns = drawn(3, 4, 8)
    rows, grades = patterns.flatten(0, 1), torch.arange(4).repeat(3)
    torch.testing.assert_close(grade_triplets(patterns), hardest_triplet(rows, grades, 1.0), atol=1e-5, rtol=0)


def test_the_gate_of_a_skipping_lstm_learns_in_careful_training_alone():
    for official in (False, True):
        torch.manual_seed(0)
        lstm_of_a_scale = SkipLSTM(8, official)
        steps, start = drawn(2, 12, 8), torch.zeros(2, 2, 8)
        lstm_of_a_scale(steps, None, start).sum().backward()
        gradient = lstm_of_a_scale.weight_uh.grad
        assert (gradient is None or not gradient.any()) == official
