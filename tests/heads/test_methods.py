"""Every method in `HEADS` is trained, saved, evaluated and scored with, and so is one from outside."""

import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from conftest import make_video
from datasets import layouts

from mlavl_cli.heads.base import Batch, Head, HeadOutput, added
from mlavl_cli.heads.checkpoint import load_head
from mlavl_cli.heads.methods import HEADS, head_class
from mlavl_cli.scoring import measures

VISUAL = [name for name in HEADS if head_class(name).prompt_kind == "actions"]
NAMES = [*HEADS, *(f"{name}+mag2" for name in VISUAL)]
CLIPS = (20, 12, 7, 3)  # real ones of each routine


def small(name, **changes):
    """A head of a method, sizes for a test, in eval mode."""
    model_name, _, mag2 = name.partition("+")
    kind = head_class(model_name)
    sizes = {"visual_dim": 16, "actions": 4, "audio_dim": 0 if kind.visual_only else 12, "text_dim": 12, "width": 64}
    sizes |= {"heads": 4} if model_name == "mlavl" else {}
    sizes |= {"width": 128} if model_name == "t2cr" else {}  # whose tokens are a quarter as wide, and squeezed by 16
    sizes |= {"clips": 20} if kind.Dims.clips else {}
    sizes |= {"flow_dim": 10} if model_name in ("pamfn", "mcmoe") else {}
    sizes |= {"candidates": 3} if model_name == "pamfn" else {}  # each of which is chosen in some step
    dims = kind.Dims(**{**sizes, "mag2": bool(mag2) or model_name == "mlavl", **changes})
    torch.manual_seed(0)
    return kind(dims, torch.randn(dims.actions if kind.prompt_kind == "actions" else dims.prompts, 12)).eval()


def batch_of(generator, mask=True, size=4):
    rows = [torch.randn(size, 20, width, generator=generator) for width in (16, 12, 10)]
    real = torch.arange(20) < torch.tensor(CLIPS[:size])[:, None] if mask else None
    return Batch(rows[0], rows[1], real, torch.rand(size, generator=generator), rows[2])


def part(batch, rows, clips=20):
    """Some routines of a batch, the first clips of them."""
    cut = [None if x is None else x[rows, :clips] for x in (batch.visual, batch.audio, batch.flow)]
    mask = None if batch.mask is None else batch.mask[rows, :clips]
    return Batch(cut[0], cut[1], None if mask is None or mask.all() else mask, batch.label[rows], cut[2])


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_padding_and_batch_mates_change_no_score(name):
    model = small(name)
    batch = batch_of(torch.Generator().manual_seed(1))
    for buffer in (getattr(model, "exemplars", None), getattr(model, "exemplar_labels", None)):
        if buffer is not None:
            buffer.uniform_()
    together = model.of(batch).score
    alone = [model.of(part(batch, slice(i, i + 1), n)).score[0] for i, n in enumerate(CLIPS)]
    order = [2, 0, 3, 1]
    torch.testing.assert_close(together, torch.stack(alone), atol=1e-5, rtol=0)
    torch.testing.assert_close(model.of(part(batch, order)).score, together[order], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "behaviour"), [*((name, "careful") for name in NAMES), *((name, "official") for name in HEADS)]
)
def test_every_parameter_learns_and_the_loss_falls(name, behaviour):
    """But for what methods have that no output depends on."""
    model = small(name, behaviour=behaviour)
    if model.fits:
        return
    batch = batch_of(torch.Generator().manual_seed(2), mask=behaviour == "careful")
    model.prepare(batch.label)
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses, touched = [], set()
    for step in range(12):
        torch.manual_seed(step % 3)
        total = added(model.loss(model.of(batch), batch, None, torch.Generator().manual_seed(step % 3)))
        optimizer.zero_grad()
        total.backward()
        touched |= {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
        optimizer.step()
        losses.append(float(total.detach()))
    assert sum(losses[-3:]) < sum(losses[:3])
    idle = {name for name, _ in model.named_parameters()} - touched
    allowed = IDLE.get(name.partition("+")[0], {}).get(behaviour, ())
    left = {one for one in idle if not one.endswith(allowed)}
    assert {one for one in left if not (one.startswith("generators.") and one.endswith(_ASKED_BY_ZEROS))} == set()


# MCMoE leaves out other modalities in other steps; not every generator has its turn here.
_ASKED_BY_ZEROS = tuple(f"{name}.{kind}" for name in ("gate.0", "out_proj") for kind in ("weight", "bias"))
_ASKED_BY_ZEROS += ("in_proj_weight", "in_proj_bias")
_OF_ZEROS = tuple(
    f"stage1.{part}.{i}.{kind}" for part in ("conv", "short_cut") for i in (0, 1) for kind in ("weight", "bias")
)
IDLE = {
    "ms-lstm": {"official": ("weight_uh", "bias_uh")},  # the gate is rounded, which has no gradient
    "qtd": {"official": ("query_embed.weight",)},  # overwritten by noise
    # Two squeezed units, which may begin where their rectifiers are closed.
    "t2cr": dict.fromkeys(("careful", "official"), ("cbam.ca.se.0.weight", "cbam.ca.se.2.weight")),
    # The first stage reads a constant, of which batch norms leave zero.
    "pamfn": dict.fromkeys(("careful", "official"), _OF_ZEROS),
}


class Loudest(Head):
    """A toy: the mean of the first feature, through one weight."""

    name = "loudest"

    def __init__(self, dims, text_features=None):
        super().__init__(dims)
        self.map = torch.nn.Linear(1, 1)

    def forward(self, visual, audio=None, mask=None):
        real = visual.new_ones(visual.shape[:2]) if mask is None else mask.to(visual.dtype)
        mean = (visual[..., 0] * real).sum(1, keepdim=True) / real.sum(1, keepdim=True)
        return HeadOutput(score=self.map(mean).sigmoid().squeeze(-1))


@pytest.fixture
def toy(monkeypatch):
    """A method from outside: one class, and one line in the table."""
    module = ModuleType("toy_of_a_test")
    module.Loudest = Loudest
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(HEADS, "loudest", "toy_of_a_test:Loudest")


def trained(run, name, manifest, output):
    options = ["--range", "TES=0:130", "-t", "TES", "--epochs", "2", "--width", "32", "--model", name]
    return run("train", "manifest", manifest, "--output", output, *options)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Six short videos with scores."""
    folder = tmp_path_factory.mktemp("methods")
    rows = ["path,split,TES"]
    for i in range(6):
        make_video(folder / f"{i}.mp4", frames=70)
        rows.append(f"{i}.mp4,{'train' if i < 4 else 'test'},{20 + 10 * i}")
    (folder / "m.csv").write_text("\n".join(rows) + "\n")
    return folder / "m.csv"


# What it says of single clips: nothing, where it looks, or how good they are as well.
SAYS = {
    "svr": (), "lstm": (), "ms-lstm": (), "usdl": (), "core": (), "tpt": (), "hgcn": (), "t2cr+mag2": (),
    "mlp-mixer": (), "pamfn": (), "loudest": (), "gdlt+mag2": ("attention",), "cofinal": ("attention",),
    "action-net": ("attention",), "mcmoe": ("attention",), "qtd": ("attention", "quality"),
}  # fmt: skip
_QUICK = ("core", "gdlt+mag2", "qtd", "loudest")


@pytest.mark.parametrize(
    "name", [name if name in _QUICK else pytest.param(name, marks=pytest.mark.slow) for name in SAYS]
)
def test_what_is_trained_is_saved_and_scored_with(run, manifest, tmp_path, toy, name):
    output = tmp_path / "bundle"
    result = trained(run, name, manifest, output)
    assert result.exit_code == 0, result.stderr
    head = load_head(output / "heads" / "TES.safetensors")
    assert head.model.name == name.partition("+")[0]
    assert head.model.dims.mag2 == name.endswith("mag2")
    video = manifest.parent / "5.mp4"
    scored = run("score", video, "--weights", output, "-f", "json")
    assert scored.exit_code == 0, scored.stderr
    score = scored.json()
    judged = run("evaluate", "manifest", manifest, "--weights", output, "-f", "json")
    assert judged.exit_code == 0, judged.stderr
    points = score["scores"]["TES"]["score"]
    assert 0 <= points <= 130 or any("is not in 0 to 130" in text for text in score["warnings"])
    assert score["scores"]["TES"]["visual"] == points
    assert score["scores"]["TES"]["audio_visual"] is None
    for measure in ("consistency", "quality", "attention"):
        assert all((clip[measure] is not None) == (measure in SAYS[name]) for clip in score["clips"])
    if SAYS[name]:
        assert sum(clip["attention"] for clip in score["clips"]) == pytest.approx(1, abs=1e-4)
    table = run("score", video, "--weights", output, "--report", tmp_path / "pages")
    assert table.exit_code == 0
    for said in (" ".join(score["warnings"]), table.stdout):
        assert ("no timeline" in said) == (not SAYS[name])
    assert run("score", video, "--weights", output, "-f", "csv").exit_code == 0
    assert run("score", video, "--weights", output, "--plot", tmp_path / "p.svg").exit_code == (0 if SAYS[name] else 1)
    (tmp_path / "a.json").write_text(scored.stdout)
    assert run("compare", tmp_path / "a.json", tmp_path / "a.json").exit_code == 0
    assert run("weights", "verify", output).exit_code == 0
    about = run("weights", "info", output)
    assert about.exit_code == 0
    assert f": {name}, D_v " in about.stdout


def test_a_few_exemplars_are_kept_with_the_head(run, tmp_path):
    """CoRe compares with training routines: the saved head gives what the trained one gave."""
    root, text = layouts.fisv(tmp_path / "d"), layouts.text_features(tmp_path / "text.npy")
    options = ["--text-features", text, "--width", "32", "-t", "TES", "--epochs", "3", "--model", "core"]
    result = run("train", "fisv", root, "--output", tmp_path / "b", *options, "-f", "json")
    head = load_head(tmp_path / "b" / "heads" / "TES.safetensors")
    assert len(head.model.exemplars.unique(dim=0)) > 1
    again = run("evaluate", "fisv", root, "--weights", tmp_path / "b", "-f", "json").json()
    assert np.isclose(result.json()[0]["MSE"], again[0]["MSE"], rtol=1e-5)


def test_unknown_methods_are_named(run, tmp_path):
    root = layouts.fisv(tmp_path / "d")
    for name, cause in (("swin", "There are mlavl, svr, lstm"), ("mlavl+mag2", "+mag2 goes with the visual methods")):
        result = run("train", "fisv", root, "--output", tmp_path / "b", "--model", name)
        assert result.exit_code == 2
        assert cause in result.errors[0]


def test_a_measure_from_outside_is_shown_everywhere(run, tmp_path):
    """One line in `MEASURES`: json, csv, WebVTT, table, plot and page show it."""

    def place(features, readings):
        return [i / features.clips for i in range(features.clips)]

    measures.MEASURES.append(measures.Measure("place", "whereabouts", place))
    try:
        video = make_video(tmp_path / "v.mp4", frames=150)
        outputs = ["--report", tmp_path / "pages", "--vtt", tmp_path / "vtt", "--clips-csv", tmp_path / "c.csv"]
        score = run("score", video, "-f", "json", *outputs, "--plot", tmp_path / "p.svg").json()
        assert [clip["place"] for clip in score["clips"]] == [
            i / len(score["clips"]) for i in range(len(score["clips"]))
        ]
        assert (tmp_path / "c.csv").read_text().splitlines()[0].endswith("attention,place,in_domain")
        assert "whereabouts 0." in next((tmp_path / "vtt").rglob("*.vtt")).read_text()
        assert "whereabouts" in run("score", video).stdout
        assert (
            "whereabouts"
            in next(
                p for p in (tmp_path / "pages").glob("*.html") if p.name not in ("index.html", "history.html")
            ).read_text()
        )
    finally:
        measures.MEASURES.pop()
