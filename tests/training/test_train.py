"""mlavl train and evaluate, through the command line."""

import csv
import io
import json

import numpy as np
import pytest
import torch
from conftest import make_video
from datasets import layouts

from mlavl_cli.bundle import find_bundle
from mlavl_cli.heads.checkpoint import load_head

SMALL = ["--width", "32", "--batch-size", "8", "-f", "json", "-q"]


@pytest.fixture
def text(tmp_path):
    return layouts.text_features(tmp_path / "text.npy")


def train(run, kind, root, output, text, *options, epochs=2):
    command = ["train", kind, root, "-o", output, "--text-features", text, "--epochs", epochs, *SMALL, *options]
    return run(*command)


@pytest.mark.parametrize("kind", list(layouts.MAKERS))
def test_every_layout_trains_stops_goes_on_and_is_evaluated(run, tmp_path, text, kind):
    root, output = layouts.MAKERS[kind](tmp_path / kind), tmp_path / "bundle"
    result = train(run, kind, root, output, text)
    assert result.exit_code == 0, result.stderr
    rows = result.json()
    targets = list(find_bundle(output).heads)
    assert [row["target"] for row in rows][: len(targets)] == targets
    assert ("average (z)" in [row["target"] for row in rows]) == (len(targets) > 1)
    again = train(run, kind, root, output, text).json()  # it was finished: nothing is trained again
    assert again == rows
    judged = run("evaluate", kind, root, "-w", output, "--bootstrap", 20, "-f", "json").json()
    for row in judged[: len(targets)]:
        same = next(one for one in rows if one["target"] == row["target"])
        assert row["SRCC"] == pytest.approx(same["SRCC"], abs=1e-6)
        assert row["MSE"] == pytest.approx(same["MSE"], rel=1e-4)
        assert ("AUC swapped, clip" in row) == (kind != "logo")
    assert run("weights", "verify", output).exit_code == 0


def test_a_folder_that_cannot_be_made_is_told_before_an_epoch(run, tmp_path, text):
    (tmp_path / "file").touch()
    root = layouts.fisv(tmp_path / "d")
    for options in ([], ["--seeds", 2]):
        result = train(run, "fisv", root, tmp_path / "file" / "x", text, *options, epochs=10**6)
        assert result.exit_code == 1
        assert "can't be made" in result.stderr


def test_it_learns(run, tmp_path, text):
    root = layouts.fisv(tmp_path / "d")
    rows = train(run, "fisv", root, tmp_path / "b", text, "-t", "TES", "--lr", "3e-3", epochs=60).json()
    assert rows[0]["SRCC"] > 0.95
    log = list(csv.DictReader(io.StringIO((tmp_path / "b" / "runs" / "TES" / "mlavl" / "log.csv").read_text())))
    assert list(log[0]) == [
        "epoch", "loss", "loss_mse", "loss_triplet", "loss_cross_entropy", "srcc", "mse", "auc"
    ]  # fmt: skip
    assert float(log[-1]["loss"]) < 0.5 * float(log[0]["loss"])
    assert [int(row["epoch"]) for row in log] == list(range(1, 61))
    assert rows[0]["paper's SRCC"] == 0.766


def kill_in_epoch(number, monkeypatch):
    import mlavl_cli.training.train as module

    real, calls = module._Run.epoch, []

    def killed(self, *args):
        calls.append(1)
        if len(calls) == number:
            raise KeyboardInterrupt
        return real(self, *args)

    monkeypatch.setattr(module._Run, "epoch", killed)


@pytest.mark.parametrize(
    "options",
    [
        [],
        pytest.param(["--lambda-c", "0.5", "--window", "full"], marks=pytest.mark.slow),
        pytest.param(["--optimizer", "sgd"], marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_goes_on_with_the_same_losses(run, tmp_path, text, monkeypatch, options):
    root = layouts.fisv(tmp_path / "d")
    train(run, "fisv", root, tmp_path / "whole", text, "-t", "TES", *options, epochs=13)
    kill_in_epoch(12, monkeypatch)  # after a saved state
    assert train(run, "fisv", root, tmp_path / "cut", text, "-t", "TES", *options, epochs=13).exit_code == 130
    monkeypatch.undo()
    assert train(run, "fisv", root, tmp_path / "cut", text, "-t", "TES", *options, epochs=13).exit_code == 0
    logs = [(tmp_path / name / "runs" / "TES" / "mlavl" / "log.csv").read_text() for name in ("whole", "cut")]
    assert logs[0] == logs[1]
    heads = [(tmp_path / name / "heads" / "TES.safetensors").read_bytes() for name in ("whole", "cut")]
    assert heads[0] == heads[1]


def test_a_run_of_the_first_version_goes_on_in_its_order_of_grades(run, tmp_path, text, monkeypatch):
    """0.1 had grades in blocks and a cosine of torch's own, and named neither, nor what came later."""
    root = layouts.fisv(tmp_path / "d")
    prompts = tmp_path / "actions.csv"
    prompts.write_text("id,name\n" + "".join(f"{i},Jump {i}\n" for i in range(4)))
    options = ["-t", "TES", "--prompts", prompts]
    kill_in_epoch(12, monkeypatch)
    assert train(run, "fisv", root, tmp_path / "b", text, *options, epochs=20).exit_code == 130
    monkeypatch.undo()
    path = tmp_path / "b" / "runs" / "TES" / "mlavl" / "last.pt"
    state = torch.load(path, weights_only=True)
    for name in ("grade_order", "length"):
        del state["settings"]["dims"][name]
    for name in ("schedule", "warmup", "milestones", "consistency_every", "patience", "save_every"):
        del state["settings"]["config"][name]
    del state["settings"]["content"]
    weights = [torch.nn.Parameter(torch.zeros(1))]
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(torch.optim.Adam(weights, lr=1e-3), T_max=20, eta_min=1e-5)
    state["schedule"] = {**cosine.state_dict(), "last_epoch": 10}
    torch.save(state, path)
    before = state["history"]

    assert train(run, "fisv", root, tmp_path / "b", text, *options, epochs=20).exit_code == 0
    after = torch.load(path, weights_only=True)
    assert len(before) == 10
    assert after["history"][:10] == before
    assert len(after["history"]) == 20
    assert after["optimizer"]["param_groups"][0]["lr"] == pytest.approx(1e-5)
    head = load_head(find_bundle(tmp_path / "b").heads["TES"])
    assert head.model.dims.grade_order == "blocks"
    told = head.prompts[8:20]
    assert all("without" in words for words in head.audio_visual_grades[:6])
    assert [grade in prompt.lower() for grade, prompt in zip(head.grades * 2, told, strict=True)] == [True] * 12


def test_another_setting_in_the_same_folder_is_refused(run, tmp_path, text):
    root = layouts.fisv(tmp_path / "d")
    train(run, "fisv", root, tmp_path / "b", text, "-t", "TES")
    result = train(run, "fisv", root, tmp_path / "b", text, "-t", "TES", "--lr", "0.01")
    assert result.exit_code == 1
    assert "holds a run with other settings (config)" in result.errors[0]


def test_a_damaged_state_is_one_line(run, tmp_path, text):
    root = layouts.fisv(tmp_path / "d")
    train(run, "fisv", root, tmp_path / "b", text, "-t", "TES")
    (tmp_path / "b" / "runs" / "TES" / "mlavl" / "last.pt").write_bytes(b"PK\x03\x04 half a file")
    result = train(run, "fisv", root, tmp_path / "b", text, "-t", "TES")
    assert result.exit_code == 1
    assert "damaged" in result.errors[0]


@pytest.mark.parametrize("part", ["settings", "model", "optimizer", "history", "random", "best"])
@pytest.mark.parametrize("spoil", [lambda state, part: state.pop(part), lambda state, part: state.update({part: [1]})])
def test_an_odd_state_is_one_line(run, tmp_path, text, part, spoil):
    root = layouts.fisv(tmp_path / "d")
    train(run, "fisv", root, tmp_path / "b", text, "-t", "TES")
    path = tmp_path / "b" / "runs" / "TES" / "mlavl" / "last.pt"
    state = torch.load(path, weights_only=True)
    spoil(state, part)
    torch.save(state, path)
    result = train(run, "fisv", root, tmp_path / "b", text, "-t", "TES")
    assert result.exit_code == 1
    assert "last.pt" in result.errors[0]
    assert "internal error" not in result.stderr


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("optimizer", {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": []}),
        ("optimizer", {"state": {0: {"step": 1, "exp_avg": 2, "exp_avg_sq": 3}}, "param_groups": []}),
        ("optimizer", {"state": {10**6: {}}, "param_groups": []}),
        ("best", {"rank": "x"}),
        ("best", {}),
        ("settings", {"routines": torch.zeros(3)}),
    ],
)
def test_a_state_of_another_kind_is_one_line_before_it_trains(run, tmp_path, text, part, value, monkeypatch):
    root = layouts.fisv(tmp_path / "d")
    kill_in_epoch(12, monkeypatch)
    assert train(run, "fisv", root, tmp_path / "b", text, "-t", "TES", epochs=14).exit_code == 130
    monkeypatch.undo()
    path = tmp_path / "b" / "runs" / "TES" / "mlavl" / "last.pt"
    state = torch.load(path, weights_only=True)
    state[part] = {**state[part], **value} if part == "settings" else value
    torch.save(state, path)
    result = train(run, "fisv", root, tmp_path / "b", text, "-t", "TES", epochs=14)
    assert result.exit_code == 1
    assert "last.pt: is no state of a training run" in result.errors[0]


@pytest.mark.parametrize(
    "options",
    [
        ["--without", "s2ce", "--without", "tl"],
        ["--without", "mag2", "--without", "ce"],
        ["--without", "avcf"],
        ["--without", "dpg"],
        ["--modalities", "V"],
        ["--modalities", "V+A"],
        ["--modalities", "V+L"],
        ["--graph", "gcn", "--regressor", "mlp", "--triplets", "patterns", "--temperature", "0.1"],
        ["--precision", "bf16", "--clip-grad", "1", "--patience", "1"],
    ],
)
def test_every_option_trains_a_head_that_scores(run, tmp_path, text, routine, options):
    """On a manifest, so that the bundle has backbones here and can score a video."""
    for i in range(4):
        make_video(tmp_path / f"{i}.mp4", 40 + 32 * (i % 2))
    rows = [f"{i}.mp4,{split},{10 * i}" for i, split in enumerate(["train", "train", "test", "test"])]
    (tmp_path / "m.csv").write_text("path,split,TES\n" + "\n".join(rows))
    command = ["train", "manifest", tmp_path / "m.csv", "-o", tmp_path / "b", "--epochs", 2, *SMALL, *options]
    result = run(*command)
    assert result.exit_code == 0, result.stderr
    score = run("score", routine, "-w", tmp_path / "b", "-f", "json").json()
    assert 0 <= score["scores"]["TES"]["score"] <= 130
    assert sum(clip["attention"] for clip in score["clips"]) == pytest.approx(1, abs=1e-5)
    assert "m (2 train, 2 test)" in score["weights"]["trained_on"]
    sees_only = options[:1] == ["--modalities"] and "A" not in options[1]
    assert (score["scores"]["TES"]["audio_visual"] is None) == sees_only
    assert (score["scores"]["TES"]["grades"]["visual"] is None) == ("dpg" in options)


def test_the_bundle_stands_alone_and_knows_its_window(run, tmp_path, routine):
    import shutil

    for i in range(4):
        make_video(tmp_path / "v" / f"{i}.mp4", 100)
    rows = [f"v/{i}.mp4,{split},{10 * i}" for i, split in enumerate(["train", "train", "test", "test"])]
    (tmp_path / "m.csv").write_text("path,split,TES\n" + "\n".join(rows))
    command = ["train", "manifest", tmp_path / "m.csv", "-o", tmp_path / "b", "--epochs", 1, "--window", 2, *SMALL]
    assert run(*command, "--trained-on", "four drawings").exit_code == 0
    shutil.move(tmp_path / "b", tmp_path / "moved")
    assert run("weights", "verify", tmp_path / "moved").exit_code == 0
    from mlavl_cli.heads.checkpoint import load_head

    assert load_head(tmp_path / "moved" / "heads" / "TES.safetensors").window == 2
    score = run("score", tmp_path / "v" / "0.mp4", "-w", tmp_path / "moved", "-f", "json").json()
    assert score["weights"]["trained_on"] == "four drawings"
    assert len(score["clips"]) == 3
    assert any("depends on how many there are" in text and "(3 clips here, 2 in" in text for text in score["warnings"])
    # mlavl evaluate scores the same window: the same number by both ways
    out = tmp_path / "p.csv"
    run("evaluate", "manifest", tmp_path / "m.csv", "-w", tmp_path / "moved", "--predictions", out, "--bootstrap", 0)
    row = next(row for row in csv.DictReader(io.StringIO(out.read_text())) if row["id"] == "v/2.mp4")
    score = run("score", tmp_path / "v" / "2.mp4", "-w", tmp_path / "moved", "-f", "json").json()
    assert float(row["predicted"]) == pytest.approx(score["scores"]["TES"]["score"], abs=0.01)


def test_consistency_is_unvalidated_until_it_was_measured(run, tmp_path, routine):
    for i in range(4):
        make_video(tmp_path / f"{i}.mp4", 100 + 32 * i)  # copies would be judged on what was learned from
    rows = [f"{i}.mp4,{split},{10 * i}" for i, split in enumerate(["train", "train", "test", "test"])]
    (tmp_path / "m.csv").write_text("path,split,TES\n" + "\n".join(rows))
    run("train", "manifest", tmp_path / "m.csv", "-o", tmp_path / "b", "--epochs", 1, *SMALL)
    assert any(
        "not validated" in text for text in run("score", routine, "-w", tmp_path / "b", "-f", "json").json()["warnings"]
    )
    run("evaluate", "manifest", tmp_path / "m.csv", "-w", tmp_path / "b", "--save", "--bootstrap", 0)
    score = run("score", routine, "-w", tmp_path / "b", "-f", "json").json()
    assert not any("not validated" in text for text in score["warnings"])
    assert score["consistency"]["validated"]
    saved = json.loads((tmp_path / "b" / "bundle.json").read_text())
    assert set(saved["consistency"]["auc"]["TES"]) == {
        "swapped_clip", "swapped_routine", "shifted_clip", "shifted_routine"
    }  # fmt: skip
    assert saved["metrics"]["TES"]["split"] == "test"
    for auc, poor in ((0.52, True), (0.93, False)):  # measured, and said when what was measured is little
        saved["consistency"]["auc"]["TES"]["swapped_clip"] = auc
        (tmp_path / "b" / "bundle.json").write_text(json.dumps(saved))
        warnings = run("score", routine, "-w", tmp_path / "b", "-f", "json").json()["warnings"]
        assert any("barely distinguishes" in text for text in warnings) == poor


def test_ablation_prints_every_row_of_table_5(run, tmp_path, text):
    root = layouts.fs1000(tmp_path / "d")
    rows = train(run, "fs1000", root, tmp_path / "b", text, "-t", "TES", "--ablation", "all", epochs=1).json()
    names = [
        "baseline",
        "+ S2CE",
        "+ MAG2",
        "+ AVCF",
        "+ DPG (all)",
        "without TL",
        "without CE",
        "only V",
        "only V+A",
        "only V+L",
    ]
    assert [row["variant"] for row in rows] == names
    assert [row["paper's SRCC"] for row in rows[:7]] == [0.835, 0.848, 0.876, 0.887, 0.917, 0.886, 0.894]
    assert all(np.isfinite(row["MSE"]) for row in rows)


def test_mag2_plugs_into_every_baseline(run, tmp_path, text):
    root = layouts.logo(tmp_path / "d")
    models = [option for name in ("ms-lstm", "usdl", "core", "gdlt") for option in ("--model", name)]
    rows = train(run, "logo", root, tmp_path / "b", text, *models, "--mag2", "--lr", "2e-3", epochs=30).json()
    assert [(row["variant"], row["paper's SRCC"]) for row in rows] == [
        ("ms-lstm", 0.542), ("ms-lstm+mag2", 0.582), ("usdl", 0.762), ("usdl+mag2", 0.804),
        ("core", 0.697), ("core+mag2", 0.723), ("gdlt", 0.647), ("gdlt+mag2", 0.654),
    ]  # fmt: skip
    assert all(row["SRCC"] > 0.7 for row in rows), rows


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        (["-t", "XYZ"], "no such target: XYZ. There are TES, PCS."),
        (["--window", "many"], "--window many is no number"),
        (["--mag2"], "--mag2 goes with --model"),
        (["--range", "TES"], "isn't like TES=0:130"),
        (["--range", "TES=5:1"], "is no range"),
    ],
)
def test_wrong_usage(run, tmp_path, text, options, cause):
    result = train(run, "fisv", layouts.fisv(tmp_path / "d"), tmp_path / "b", text, *options)
    assert result.exit_code == 2
    assert cause in result.errors[0]


def test_text_features_of_another_number_are_named(run, tmp_path):
    np.save(tmp_path / "t.npy", np.zeros((19, 12), np.float32))
    result = train(run, "fisv", layouts.fisv(tmp_path / "d"), tmp_path / "b", tmp_path / "t.npy")
    assert result.exit_code == 1
    assert "19 text features" in result.errors[0]


def test_a_loss_that_explodes_says_so(run, tmp_path, text):
    result = train(
        run, "fisv", layouts.fisv(tmp_path / "d"), tmp_path / "b", text, "-t", "TES", "--lr", "1e30", epochs=9
    )
    assert result.exit_code == 1
    assert "Lower --lr" in result.errors[0]


def test_evaluate_tables_plots_and_csv(run, tmp_path, text):
    root = layouts.fisv(tmp_path / "d")
    train(run, "fisv", root, tmp_path / "b", text)
    shown = run("evaluate", "fisv", root, "-w", tmp_path / "b", "--plot", tmp_path / "s.svg", "--bootstrap", 10)
    assert shown.exit_code == 0, shown.stderr
    assert (tmp_path / "s.svg").read_text().startswith("<?xml")
    rows = list(csv.DictReader(io.StringIO(run("evaluate", "fisv", root, "-w", tmp_path / "b", "-f", "csv").stdout)))
    assert [row["target"] for row in rows] == ["TES", "PCS", "average"]
    assert rows[2]["paper's SRCC"] == "0.823"
    low, high = (float(rows[0][f"SRCC 95 % {end}"]) for end in ("low", "high"))
    assert low <= float(rows[0]["SRCC"]) <= high


def test_evaluate_refuses_features_of_another_width(run, tmp_path, text):
    train(run, "fisv", layouts.fisv(tmp_path / "d"), tmp_path / "b", text, "-t", "TES")
    layouts.D, before = 20, layouts.D
    try:
        other = layouts.fisv(tmp_path / "other")
    finally:
        layouts.D = before
    rng = np.random.default_rng(0)
    wide = {
        id: layouts.features(rng, 0.5, 4, 20) for split in layouts.ROUTINES for id in [f"{split}{i}" for i in range(14)]
    }
    np.save(other / "FISV_rgb_VST.npy", np.array(wide, dtype=object), allow_pickle=True)
    np.save(other / "FISV_audio_AST.npy", np.array(wide, dtype=object), allow_pickle=True)
    result = run("evaluate", "fisv", other, "-w", tmp_path / "b")
    assert result.exit_code == 1
    assert "are 20 wide; the TES head takes 16" in result.errors[0]


def test_tensorboard(run, tmp_path, text):
    root = layouts.fisv(tmp_path / "d")
    assert train(run, "fisv", root, tmp_path / "b", text, "-t", "TES", "--tensorboard").exit_code == 0
    assert list((tmp_path / "b" / "runs" / "TES" / "mlavl").glob("events.out.tfevents*"))


def test_the_official_csv_of_all_prompts_guides_a_head(run, tmp_path, text):
    """Its texts travel with the head; with actions alone they are made."""
    from mlavl_cli.heads.checkpoint import load_head

    grades = ("bad", "poor", "fair", "good", "excellent", "perfect")
    texts = [f"a video of action {i}" for i in range(4)] + [f"a music suitable for kind {i}" for i in range(4)]
    texts += [f"a video of {g} action performance {fit} fitting music" for g in grades for fit in ("without", "with")]
    texts += [f"a video of {g} action performance" for g in grades]
    root = layouts.fisv(tmp_path / "d")
    for name, rows in (("all", texts), ("actions", [f"action {i}" for i in range(4)])):
        csv_path = tmp_path / f"{name}.csv"
        csv_path.write_text("id,name\n" + "".join(f"{i},{row}\n" for i, row in enumerate(rows)))
        result = train(run, "fisv", root, tmp_path / name, text, "-t", "TES", "--prompts", csv_path)
        assert result.exit_code == 0, result.stderr
    found = {name: load_head(tmp_path / name / "heads" / "TES.safetensors") for name in ("all", "actions")}
    assert found["all"].prompts == tuple(texts)
    assert found["actions"].prompts[:5] == (
        *(f"a video of action {i}" for i in range(4)),
        "a music suitable for action 0",
    )
    assert found["all"].model.dims.grade_order == "interleaved"


def test_a_bundle_on_other_backbones_is_refused_before_anything_is_trained(run, tmp_path, text):
    root = layouts.fisv(tmp_path / "d")
    assert train(run, "fisv", root, tmp_path / "b", text, "-t", "TES").exit_code == 0
    result = train(run, "fs1000", layouts.fs1000(tmp_path / "e"), tmp_path / "b", text, "-t", "PCS")
    assert result.exit_code == 1
    assert "holds heads on the visual backbone" in result.errors[0]
    assert not (tmp_path / "b" / "runs" / "PCS").exists()


def test_a_bundle_says_which_sport_it_scores(run, tmp_path, text):
    """A head on LOGO is for artistic swimming, whatever its backbones were made for; two runs may fill one bundle."""
    for kind, sport in (("logo", "artistic swimming"), ("fisv", "figure skating"), ("rg", "rhythmic gymnastics")):
        output = tmp_path / f"bundle-{kind}"
        train(run, kind, layouts.MAKERS[kind](tmp_path / kind), output, text, epochs=1)
        assert json.loads((output / "bundle.json").read_text())["sport"] == sport


def test_training_begins_with_the_heads_of_a_bundle(run, tmp_path, text):
    from mlavl_cli.heads.checkpoint import load_head

    root = layouts.fisv(tmp_path / "d")
    train(run, "fisv", root, tmp_path / "first", text, "-t", "TES")
    still = ["-t", "TES", "--lr", "1e-12", "--weight-decay", "0"]
    again = [*still, "--start-from", tmp_path / "first"]
    train(run, "fisv", root, tmp_path / "second", text, *again, epochs=1)
    train(run, "fisv", root, tmp_path / "anew", text, *still, epochs=1)
    first, second, anew = (
        dict(load_head(tmp_path / name / "heads" / "TES.safetensors").model.named_parameters())
        for name in ("first", "second", "anew")
    )
    assert all((first[name] - second[name]).abs().max() < 1e-6 for name in first)
    assert any((first[name] - anew[name]).abs().max() > 1e-3 for name in first)
    for wrong, cause in ((["--order", "2"], "of another method or of other sizes"), (["-t", "PCS"], "no head for PCS")):
        result = train(run, "fisv", root, tmp_path / "wrong", text, *again, *wrong, epochs=1)
        assert result.exit_code in (1, 2)
        assert cause in result.errors[0]


def test_consistency_is_learned_in_some_steps(run, tmp_path, text):
    """One step in three has its terms, so that their mean over all steps is about a third."""
    root = layouts.fisv(tmp_path / "d")
    found = {}
    for every in ("1", "3"):
        options = ["-t", "TES", "--lambda-c", "1", "--align-epochs", "0", "--lr", "1e-9", "--consistency-every", every]
        train(run, "fisv", root, tmp_path / every, text, *options, epochs=2)
        rows = list(csv.DictReader(io.StringIO((tmp_path / every / "runs" / "TES" / "mlavl" / "log.csv").read_text())))
        found[every] = float(rows[-1]["loss_consistency"])
    assert 0.15 < found["3"] / found["1"] < 0.6


@pytest.mark.parametrize("model", ["mlavl", "mcmoe"])
def test_a_manifest_may_mix_silent_and_sounding_routines(run, tmp_path, model):
    """Each is scored as when it stands alone; what fuses modalities and can't do without sound says so."""
    rows = ["path,split,TES"]
    for i in range(8):
        make_video(tmp_path / f"{i}.mp4", 70 + 8 * i, **({"sound": None} if i % 3 == 1 else {}))
        rows.append(f"{i}.mp4,{'train' if i < 5 else 'test'},{20 + 10 * i}")
    (tmp_path / "m.csv").write_text("\n".join(rows) + "\n")
    options = ["--epochs", "2", "--width", "32", "--model", model, "--batch-size", "2"]
    result = run("train", "manifest", tmp_path / "m.csv", *options, "--output", tmp_path / "b")
    assert result.exit_code == 0, result.stderr
    assert "3 routines have no sound, 1.mp4 first" in result.stderr
    judged = run("evaluate", "manifest", tmp_path / "m.csv", "--weights", tmp_path / "b", "-f", "json").json()[0]
    alone = run("score", *(tmp_path / f"{i}.mp4" for i in (5, 6, 7)), "--weights", tmp_path / "b", "-f", "json").json()
    points = [one["scores"]["TES"]["score"] for one in alone]
    assert judged["n"] == 3
    assert judged["MSE"] == pytest.approx(
        np.mean([(p - t) ** 2 for p, t in zip(points, (70, 80, 90), strict=True)]), rel=1e-3
    )
    consistent = run("train", "manifest", tmp_path / "m.csv", *options, "--lambda-c", "1", "--output", tmp_path / "c")
    assert (consistent.exit_code, model) in ((1, "mlavl"), (2, "mcmoe"))
    fused = run("train", "manifest", tmp_path / "m.csv", *options[:4], "--model", "pamfn", "--output", tmp_path / "d")
    assert fused.exit_code == 1
    assert "no sound: the pamfn head can't do without" in fused.errors[-1]
