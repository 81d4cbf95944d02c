"""Losses of the other methods against evaluations of the published facts (`references/`), on the same state dicts."""

import pytest
import torch
from heads.references import cofinal, gdlt, mcmoe, ms_lstm, qtd, t2cr, t2cr_losses, usdl

from mlavl_cli.heads.base import Batch, added
from mlavl_cli.heads.exemplars import partners
from mlavl_cli.heads.published import import_published
from mlavl_cli.heads.t2cr import views_contrast

B, D, T, POINTS = 4, 32, 20, 45.0
LABELS = torch.tensor([0.31, 0.74, 0.12, 0.55])


def drawn(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


X, SOUND, FLOW = drawn(B, T, D), drawn(B, T, 16, seed=3), drawn(B, T, 24, seed=4)
BATCH = Batch(X, SOUND, None, LABELS, FLOW)


@pytest.fixture
def head(tmp_path):
    def call(name, state, **options):
        torch.save(state, tmp_path / "public.pth")
        return import_published(tmp_path / "public.pth", name, **options)

    return call


def double(state):
    return {name: value.double() if value.is_floating_point() else value for name, value in state.items()}


def close(found, wanted, rtol=1e-5):
    torch.testing.assert_close(torch.as_tensor(found).double(), torch.as_tensor(wanted).double(), atol=1e-7, rtol=rtol)


def test_t2cr_weighs_views_against_scores_in_points(head):
    state = t2cr.state(D, clips=T)
    model = head("t2cr", state, unit=POINTS)
    terms = model.loss(model.of(BATCH), BATCH, None, torch.Generator().manual_seed(1))
    other = partners(B, torch.Generator().manual_seed(1))
    out = t2cr.outputs(double(state), X.double(), X[other].double())
    wanted = t2cr_losses.losses(out, POINTS * LABELS.double(), POINTS * LABELS[other].double())
    pairs = {
        "difference": ("cross",), "own": ("abs",), "auxiliary": ("aux",), "self": ("self",),
        "views": ("views", "info_nce"), "alike": ("soft_dtw",),
    }  # fmt: skip
    assert set(terms) == set(pairs)
    for name, parts in pairs.items():
        close(POINTS**2 * terms[name], sum(wanted[part] for part in parts), rtol=1e-4)
    # A head that learns shares of a range weighs them in the same way.
    shares = head("t2cr", state).loss(model.of(BATCH), BATCH, None, torch.Generator().manual_seed(1))
    close(shares["views"], terms["views"])


def test_contrast_is_of_dense_views_against_sparse_ones():
    dense, sparse = drawn(5, 8, 4), drawn(5, 8, 4, seed=2)
    close(views_contrast(dense.mean(1), sparse.mean(1)), t2cr_losses.info_nce(dense.double(), sparse.double()))


@pytest.mark.parametrize(("align", "alpha"), [(1, 1.0), (2, 0.5)])
def test_cofinal(head, align, alpha):
    state = cofinal.state(D)
    model = head("cofinal", state, choices={"align": align, "alpha": alpha})
    out = cofinal.outputs(double(state), X.double(), activate=3, over="batch")
    exact = torch.tensor(LABELS.tolist(), dtype=torch.float64).round(decimals=4)
    wanted = cofinal.loss(out, exact, state["etf_vec1"].double(), alpha, align)
    close(added(model.loss(model.of(BATCH), BATCH)), wanted)


def test_gdlt(head):
    state = gdlt.state(D)
    model = head("gdlt", state)
    score, q, _ = gdlt.outputs(double(state), X.double())
    close(added(model.loss(model.of(BATCH), BATCH)), gdlt.loss(score, q, LABELS.double()))


def test_usdl_means_over_steps_officially(head):
    state = usdl.state(D)
    wanted = {
        kind: usdl.divergence(usdl.logits(double(state), X.double()), usdl.target(LABELS.double()), kind)
        for kind in ("mean", "batchmean")
    }
    for official, kind in ((True, "mean"), (False, "batchmean")):
        model = head("usdl", usdl.file(state), official=official)
        close(added(model.loss(model.of(BATCH), BATCH)), wanted[kind])


def test_qtd_adds_noise_where_its_code_does(head):
    state, noise = qtd.state(D, clips=T), drawn(B, T, D, seed=6)
    wanted = qtd.outputs(double(state), X.double(), 5 * noise.double())
    for spread in (0.0, 0.05):
        model = head("qtd", qtd.file(state), choices={"noise": spread})
        torch.manual_seed(3)
        found = added(model.loss(model.drawn(X, noise), BATCH))
        torch.manual_seed(3)
        close(found, qtd.loss(wanted, LABELS.double(), spread * torch.randn(B)))


def test_ms_lstm_weighs_attention_against_points(head):
    state = ms_lstm.state(D)
    model = head("ms-lstm", state, unit=POINTS)
    starts = drawn(3, 2, B, 256, seed=5)
    terms = model.loss(model.begun(X, None, starts), BATCH)
    x = ms_lstm.clip_features(double(state), X.double())
    predicted = ms_lstm.score(double(state), X.double(), starts.double())
    wanted = ms_lstm.loss(predicted, ms_lstm.attention(double(state), x), POINTS * LABELS.double())
    close(POINTS**2 * added(terms), wanted)


@pytest.mark.parametrize("kept", [("v", "f"), ("a",), ("v", "a")])
def test_mcmoe(head, kept):
    state = mcmoe.state(D, audio=16, flow=24)
    model = head("mcmoe", state)
    model.training = True  # its parts stay as in testing: no dropout, running statistics
    given = dict(zip(("visual", "audio", "flow"), (X, SOUND, FLOW), strict=True))
    streams = encoded(model, {"v": X, "a": SOUND, "f": FLOW})
    terms = model.loss(model.mix(streams, list(kept), T, None), BATCH)
    out = mcmoe.outputs(double(state), **{name: rows.double() for name, rows in given.items()}, available=kept)
    wanted = mcmoe.losses(double(state), out, LABELS.double())
    for name, other in (("mse", "score"), ("triplet", "triplet"), ("made", "generated"), ("agree", "experts")):
        close(terms[name], wanted[other])


def test_mcmoe_compares_each_expert_with_its_own_stream(head):
    """Sound is missing in training: what an expert of flow says belongs to flow."""
    state = mcmoe.state(D, audio=16, flow=24)
    model = head("mcmoe", state)
    model.training = True
    output = model.mix(encoded(model, {"v": X, "f": FLOW}), ["v"], T, None)
    out = mcmoe.outputs(double(state), X.double(), None, FLOW.double(), available=("v",))
    wanted = sum(mcmoe.divergence(mcmoe.expert(double(state), m, out["true"][m]), out["routed"][m]) for m in "vf")
    close(model.loss(output, BATCH)["agree"], wanted)


def encoded(model, inputs):
    from mlavl_cli.heads.layers import pointwise

    return {m: model.transformer["encoder"](pointwise(model.in_proj[m], x, None)) for m, x in inputs.items()}
