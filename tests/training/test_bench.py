"""Tables of methods: cells are kept, epochs chosen apart from the test split, figures stand beside printed ones."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import layouts
from scipy import stats

from mlavl_cli.cli.bench_rows import _against
from mlavl_cli.datasets.literature import PRINTED
from mlavl_cli.datasets.load import load_dataset
from mlavl_cli.datasets.splits import with_validation
from mlavl_cli.device import place
from mlavl_cli.errors import DataError
from mlavl_cli.heads.base import Batch
from mlavl_cli.heads.methods import head_class
from mlavl_cli.training.bench import operations
from mlavl_cli.training.metrics import fisher_mean, paired_difference
from mlavl_cli.training.published import CONFIGS, published_config, published_dims


@pytest.fixture
def table(run, tmp_path):
    root, text = layouts.fisv(tmp_path / "d"), layouts.text_features(tmp_path / "text.npy")

    def call(*options, form="json", code=0):
        common = ["--text-features", text, "--width", "32", "--epochs", "3", "-t", "TES", "--output", tmp_path / "o"]
        result = run("train", "fisv", root, *common, *options, "-f", form)
        assert code in (None, result.exit_code), result.stderr
        return result

    call.runs = tmp_path / "o" / "runs" / "TES"
    return call


def test_a_table_is_gone_on_with_and_its_cells_are_kept(table):
    models = ["--model", "usdl", "--model", "gdlt", "--model", "svr", "--seeds"]
    first = table(*models, "1").json()
    kept = {path: path.stat().st_mtime_ns for path in table.runs.rglob("cell.json")}
    assert len(kept) == 3
    rows = [row for row in table(*models, "2").json() if row["seeds"]]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert [row["method"] for row in rows] == ["usdl", "gdlt", "svr"]
    assert [row["seeds"] for row in rows] == [2, 2, 2]
    for row in rows:
        name = row["method"]
        cells = [json.loads((table.runs / name / f"seed-{seed}" / "cell.json").read_text()) for seed in (0, 1)]
        assert row["SRCC"] == pytest.approx(np.mean([cell["srcc"] for cell in cells]))
        assert row["SRCC sd"] == pytest.approx(np.std([cell["srcc"] for cell in cells], ddof=1))
        assert row["M parameters"] * 1e6 == cells[0]["parameters"] > 0
        assert row["GFLOPs"] > 0
    svr = rows[2]
    assert svr["SRCC sd"] == 0  # nothing in it is drawn
    assert [row["MSE"] for row in rows] != [row["MSE"] for row in first if row["seeds"]]
    changed = table("--model", "usdl", "--model", "svr", "--seeds", "1", "--lr", "0.1", code=1)
    for name in ("usdl", "svr"):
        assert re.search(rf"TES {name}: left out, \S+: holds a run with other settings \(config\)", changed.stderr)


@pytest.mark.parametrize("what", ["labels", "features", "order", "prompts"])
def test_other_data_never_get_the_cells_of_before(table, tmp_path, what):
    """The rows of another table are of its own data, or none."""
    root, text = tmp_path / "d", tmp_path / "text.npy"
    options = ["--model", "usdl", "--model", "gdlt+mag2", "--seeds", "1"]
    before = table(*options).json()
    if what == "labels":
        lines = (root / "train.txt").read_text().splitlines()
        ids, labels = zip(*(line.split(None, 1) for line in lines[1:]), strict=True)
        rows = [f"{id} {label}" for id, label in zip(ids, reversed(labels), strict=True)]
        (root / "train.txt").write_text("\n".join([lines[0], *rows]))
    elif what == "order":
        lines = (root / "test.txt").read_text().splitlines()
        (root / "test.txt").write_text("\n".join([lines[0], *reversed(lines[1:])]))
    elif what == "features":
        features = np.load(root / "FISV_rgb_VST.npy", allow_pickle=True).item()
        features["test0"] = features["test0"] + 1
        np.save(root / "FISV_rgb_VST.npy", np.array(features, dtype=object), allow_pickle=True)
    else:
        np.save(text, 1 + np.load(text))
    after = table(*options, code=None)
    lines = " ".join(after.stderr.split())
    for name in ["gdlt+mag2", *(["usdl"] if what != "prompts" else [])]:
        assert re.search(rf"TES {re.escape(name)}: left out, \S+: holds a run with other settings \(content\)", lines)
    if what == "prompts":
        assert [row for row in after.json() if row["method"] == "usdl"] == [
            row for row in before if row["method"] == "usdl"
        ]


def test_a_method_given_twice_is_one(table):
    (row,) = (row for row in table("--model", "usdl", "--model", "usdl", "--seeds", "1").json() if row["seeds"])
    assert row["seeds"] == 1


def test_a_table_draws_no_epochs_and_begins_anew(table):
    for option, value in (("--plot", "p.svg"), ("--start-from", "mini"), ("--total", "XYZ")):
        refused = table("--model", "usdl", "--seeds", "1", option, value, code=2)
        assert option in refused.stderr


def test_a_last_batch_of_one_goes_with_the_others(table):
    """Batch norms over whole routines have nothing to learn from one."""
    rows = table("--model", "pamfn", "--seeds", "1", "--batch-size", "11").json()  # of 12 training routines
    assert [row["method"] for row in rows if row["seeds"]] == ["pamfn (AV, no flow)"]


def test_a_method_that_says_the_same_of_all_is_not_told_apart_by_chance():
    true = np.arange(20.0)
    others = [SimpleNamespace(predicted=list(true))]
    assert set(_against([SimpleNamespace(predicted=[1.0] * 20)], others, true).values()) == {None}
    opposite = _against([SimpleNamespace(predicted=list(-true))], others, true)
    assert opposite["difference"] == pytest.approx(-2)
    assert opposite["difference high"] < 0


def test_a_table_says_against_which_method(table):
    options = ("--model", "usdl", "--model", "gdlt", "--seeds", "1")
    first, second = table(*options).json()[:2]
    assert (first["against"], first["difference"]) == ("", None)
    assert second["against"] == "usdl"
    assert second["difference low"] <= second["difference"] <= second["difference high"]
    assert second["difference"] == pytest.approx(second["SRCC"] - first["SRCC"])


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        (["--model", "usdl", "--graph", "gcn"], "--graph is an option of mlavl; usdl has none such"),
        (["--model", "gdlt", "--mse-weight", "0"], "--mse-weight is an option of mlavl"),
        (["--model", "gdlt", "--without", "s2ce"], "--without is an option of mlavl"),
        (["--behaviour", "official"], "--behaviour official is of the other methods"),
        (["--model", "gdlt", "--plug", "inplace"], "--plug inplace is of MAG2 in another method"),
    ],
)
def test_options_that_would_change_nothing_are_refused(table, options, cause):
    assert cause in table(*options, code=2).stderr


def test_a_single_method_stands_beside_its_own_printed_figures(run, table, tmp_path):
    trained = table("--model", "gdlt").json()
    assert [(row["paper's SRCC"], row["paper's MSE"]) for row in trained] == [(0.685, 20.99)]
    judged = run("evaluate", "fisv", tmp_path / "d", "-w", tmp_path / "o", "-f", "json").json()
    assert judged[0]["paper's SRCC"] == 0.685
    shown = run("evaluate", "fisv", tmp_path / "d", "-w", tmp_path / "o", "--bootstrap", "20").stdout
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    assert f"{judged[0]['MSE']:.3f}" in shown


def test_too_few_routines_to_choose_epochs_on(tmp_path):
    data = load_dataset("fisv", layouts.fisv(tmp_path / "d"), place("cpu"))
    with pytest.raises(DataError, match="too few to choose epochs"):
        with_validation(replace(data, splits={**data.splits, "train": data.splits["train"][:6]}))


def test_the_best_epoch_on_the_test_split_is_told_apart(table):
    (row, *_) = table("--model", "gdlt", "--seeds", "1", "--epochs", "8").json()
    with (table.runs / "gdlt" / "seed-0" / "log.csv").open() as file:
        lines = [line.strip().split(",") for line in file]
    log = [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]
    chosen = max(log, key=lambda epoch: (float(epoch["srcc"]), -int(epoch["epoch"])))
    assert row["SRCC"] == pytest.approx(float(chosen["test_srcc"]))
    assert row["MSE"] == pytest.approx(float(chosen["test_mse"]), rel=1e-5)
    assert row["SRCC best on test"] == pytest.approx(max(float(epoch["test_srcc"]) for epoch in log))
    assert row["MSE best on test"] == pytest.approx(min(float(epoch["test_mse"]) for epoch in log))


def by_targets(routines):
    found = {}
    for one in routines:
        found.setdefault(tuple(one.scores), []).append(one)
    return found


def test_validation_is_cut_from_the_training_split_over_all_scores(tmp_path):
    for kind, write in (("fisv", layouts.fisv), ("rg", layouts.rg)):
        data = load_dataset(kind, write(tmp_path / kind), place("cpu"))
        cut = with_validation(data)
        ids = {split: {routine.id for routine in routines} for split, routines in cut.splits.items()}
        assert ids["test"] == {routine.id for routine in data.splits["test"]}
        assert ids["train"] | ids["val"] == {routine.id for routine in data.splits["train"]}
        assert not ids["train"] & ids["val"]
        assert cut.judged_split == "val"
        for routines in by_targets(data.splits["train"]).values():
            ranks = stats.rankdata([[*one.scores.values()] for one in routines], axis=0).mean(1)
            order = sorted(zip(ranks, (one.id for one in routines), strict=True))
            for first in range(0, len(order) - 4, 5):  # one of each five neighbours
                assert sum(id in ids["val"] for _, id in order[first : first + 5]) == 1
        for target in data.targets:
            assert 0.1 <= len(cut.of_target(target, "val")) / len(data.of_target(target, "train")) <= 0.25
        assert with_validation(cut) is cut


def test_formats_and_figures_of_the_paper(table):
    options = ("--model", "usdl", "--model", "qtd", "--model", "pamfn", "--seeds", "1", "--window", "8")
    rows = table(*options).json()
    by_name = {row["method"]: row for row in rows}
    assert by_name["qtd"]["paper's SRCC"] == 0.717
    assert by_name["usdl"]["paper's SRCC"] is None  # it isn't in the paper's table of Fis-V
    assert by_name["pamfn (AV, no flow)"]["paper's SRCC"] is None  # and this isn't the paper's model
    assert by_name["PAMFN, as printed"]["paper's MSE"] == 22.50
    assert by_name["SGN, as printed"]["SRCC"] is None
    narrow = table(*options, form="table").stdout
    assert "Fis-V TES, split test, epochs chosen on a validation split" in narrow
    assert max(map(len, narrow.splitlines())) <= 80
    markdown = table(*options, form="markdown").stdout.splitlines()
    assert markdown[0].startswith("| target | method | seeds |")
    assert len({line.count("|") for line in markdown}) == 1
    latex = table(*options, form="latex").stdout
    assert latex.startswith(r"\begin{tabular}{ll")
    assert latex.count(r"\\") == len(rows) + 1


def test_what_cannot_be_trained_leaves_the_others(run, tmp_path):
    """Artistic swimming has no sound here."""
    root, text = layouts.logo(tmp_path / "d"), layouts.text_features(tmp_path / "text.npy")
    options = ["--text-features", text, "--width", "32", "--epochs", "2", "--output", tmp_path / "o", "-f", "json"]
    models = [part for name in ("usdl", "pamfn", "mlp-mixer", "mcmoe") for part in ("--model", name)]
    silent = run("train", "logo", root, *options, *models, "--seeds", "1")
    assert silent.exit_code == 0
    assert [row["method"] for row in silent.json() if row["seeds"]] == ["usdl"]
    for name in ("pamfn", "mlp-mixer", "mcmoe"):
        assert any(f"LOGO {name}: left out, " in line and "sound" in line for line in silent.stderr.splitlines())
    alone = run("train", "logo", root, *options, "--model", "pamfn", "--seeds", "1")
    assert alone.exit_code == 1


def test_all_means_every_method_and_mag2_goes_where_it_can(run, tmp_path, table):
    from mlavl_cli.cli.training_request import variants_of

    names = [variant.name for variant in variants_of(["all"], mag2=True, ablation=False)]
    assert len([name for name in names if "+" not in name]) == 16
    wanted = {"lstm", "ms-lstm", "action-net", "usdl", "core", "gdlt", "tpt", "hgcn", "t2cr", "cofinal", "qtd"}
    assert {name.removesuffix("+mag2") for name in names if "+" in name} == wanted


def test_operations_are_those_counted_by_hand():
    clips, visual, width, feed = 20, 64, 32, 96
    batch = Batch(torch.zeros(1, clips, visual), None, None, torch.zeros(1))

    def linear(rows, inputs, outputs):
        return 2 * rows * inputs * outputs

    def counted(name, kind_of=torch.float32):
        kind = head_class(name)
        head = kind(kind.Dims(visual, 1, audio_dim=0, width=width, mag2=False, language=False)).eval().to(kind_of)
        with torch.no_grad():
            return operations(head.requires_grad_(False), replace(batch, visual=batch.visual.to(kind_of)))

    by_hand = clips * 2 * 4 * width * (visual + width) + linear(1, width, 1)
    assert counted("lstm") == by_hand
    assert counted("lstm", torch.float64) == by_hand  # by another kernel, which the counter knows
    tokens = linear(clips, visual, visual // 2) + linear(clips, visual // 2, width)
    layer = linear(clips, width, 3 * width) + linear(clips, width, width) + 2 * linear(clips, width, feed)
    encoder = layer + 2 * linear(clips, width, clips)  # each clip with each, and back
    queries = 4 * linear(4, width, width) + 2 * linear(4, width, 4)  # of four grades, with each other
    asked = 2 * linear(4, width, width) + 2 * linear(clips, width, width) + 2 * linear(4, width, clips)
    decoder = 2 * (queries + asked + 2 * linear(4, width, feed))
    # The readout multiplies and adds without a matrix product, but for the grades' worth.
    assert counted("gdlt") == pytest.approx(tokens + encoder + decoder, rel=0.01)


def test_a_paired_difference_is_that_of_the_correlations():
    rng = np.random.default_rng(0)
    true = rng.normal(size=60)
    good, bad = true + rng.normal(0, 0.3, (3, 60)), true + rng.normal(0, 3, (3, 60))
    difference, low, high = paired_difference(good, bad, true)
    means = [np.mean([stats.spearmanr(one, true).statistic for one in method]) for method in (good, bad)]
    assert difference == pytest.approx(means[0] - means[1])
    assert 0 < low < difference < high
    same, low, high = paired_difference(good, good + 1, true)
    assert same == low == high == 0


def test_recipes_of_the_public_code_are_read_by_method_and_target(run, tmp_path):
    assert published_config("gdlt", "Clubs")["epochs"] == 400
    assert published_config("gdlt", "TES")["optimizer"] == "sgd"
    assert published_config("pamfn", "Ball") == {**CONFIGS["pamfn"], "lr": 5e-4, "schedule": "cosine", "epochs": 400}
    assert published_config("mlavl", "TES") == {}
    assert published_config("mcmoe", "TES", "FS1000")["epochs"] == 360
    assert published_config("mcmoe", "TES", "Fis-V") == {**CONFIGS["mcmoe"], "epochs": 460}
    assert published_dims("mcmoe", "TES", "Fis-V") == published_dims("cofinal", "PCS", "Fis-V") == {"alpha": 0.5}
    assert published_dims("mcmoe", "TES", "FS1000") == published_dims("cofinal", "PCS", "FS1000") == {}
    assert [published_config("qtd", "LOGO", name)["batch_size"] for name in ("Fis-V", "LOGO")] == [32, 48]
    assert published_dims("cofinal", "Hoop") == {"activate": 2, "align": 2}
    root, text = layouts.fisv(tmp_path / "d"), layouts.text_features(tmp_path / "text.npy")
    options = ["--text-features", text, "--width", "32", "-t", "TES", "--model", "lstm", "--recipe", "published"]
    result = run("train", "fisv", root, *options, "--output", tmp_path / "b")
    assert result.exit_code == 0, result.stderr
    assert len((tmp_path / "b" / "runs" / "TES" / "lstm" / "log.csv").read_text().splitlines()) == 1 + 10
    given = run("train", "fisv", root, *options, "--epochs", "2", "--output", tmp_path / "c")
    assert given.exit_code == 0
    assert len((tmp_path / "c" / "runs" / "TES" / "lstm" / "log.csv").read_text().splitlines()) == 1 + 2


def test_printed_figures_average_as_the_paper_says():
    """By Fisher's z over the targets: a slip in the table would show."""
    averages = {
        "Fis-V": {"GDLT*": 0.761, "CoRe": 0.751, "TPT": 0.676, "PAMFN": 0.822, "CoFInAl*": 0.788, "QTD*": 0.798,
                  "MS-LSTM": 0.721, "M-BERT": 0.634, "MLP-Mixer": 0.759, "SGN": 0.773, "MSCADC": 0.557},
        "RG": {"GDLT*": 0.765, "PAMFN": 0.819, "CoFInAl* (VST)": 0.807, "QTD*": 0.842, "MS-LSTM* (VST)": 0.663,
               "ACTION-NET* (VST+ResNet)": 0.728, "C3D+SVR (C3D)": 0.483},
        "FS1000": {"QTD*": 0.85, "PAMFN+*": 0.87, "CoRe": 0.83, "GDLT*": 0.85, "TPT": 0.83, "SGN": 0.85},
    }  # fmt: skip
    for dataset, wanted in averages.items():
        rows = {row.label: row for row in PRINTED[dataset]}
        for label, average in wanted.items():
            found = fisher_mean(pair[0] for pair in rows[label].figures.values())
            assert found == pytest.approx(average, abs=0.006 if dataset == "FS1000" else 0.0016), (dataset, label)
