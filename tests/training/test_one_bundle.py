"""What several commands do to one bundle: nothing is lost, and nothing is said of a head that isn't true of it."""

import json
import pickle
from dataclasses import replace
from unicodedata import normalize

import numpy as np
import pytest
from conftest import make_video, moving_square
from datasets import layouts

from mlavl_cli.bundle import find_bundle
from mlavl_cli.datasets.load import load_dataset
from mlavl_cli.datasets.splits import folds, with_validation
from mlavl_cli.device import place
from mlavl_cli.errors import FeatureError, WeightsError
from mlavl_cli.groups import together
from mlavl_cli.training.evaluate import evaluate_bundle, save_evaluation
from mlavl_cli.training.state import alone_in

SPLITS = {"train": range(14), "test": range(14, 22)}  # of LOGO's copy
SHORT = ("--epochs", "1", "--validation", "test")
QUICK = ("--model", "gdlt", *SHORT, "-q")
USDL = ("--model", "usdl", *SHORT, "-q")


def season(folder, seed=0, name="season", targets=("TES", "PCS")):
    """A manifest of 14 routines as arrays; in each the scores can be found."""
    rng = np.random.default_rng(seed)
    (folder / name).mkdir(parents=True)
    rows = []
    for i in range(14):
        np.save(folder / name / f"{i}.npy", layouts.features(rng, i / 13, 6))
        scores = ",".join(f"{20 + 2 * i}" for _ in targets)
        rows.append(f"{name}/{i}.npy,{'test' if i % 3 == 0 else 'train'},{scores}")
    path = folder / f"{name}.csv"
    path.write_text("\n".join(["path,split," + ",".join(targets), *rows]))
    return path


@pytest.fixture
def bundle(run, tmp_path):
    """(folder, manifest) of one with a TES head."""
    path = season(tmp_path)
    assert run("train", "manifest", path, "-t", "TES", "-o", tmp_path / "b", *QUICK).exit_code == 0
    return tmp_path / "b", path


def evaluated(folder, path):
    """An evaluation of the TES head, not saved yet: (bundle, data, what was found)."""
    before, here = find_bundle(folder), place("cpu", "fp32")
    data = load_dataset("manifest", path, here, before)
    return before, data, evaluate_bundle(before, data, ["TES"], "test", placement=here)


def test_an_evaluation_keeps_what_was_trained_meanwhile(run, bundle):
    folder, path = bundle
    before, data, found = evaluated(folder, path)
    assert run("train", "manifest", path, "-t", "PCS", "-o", folder, *QUICK).exit_code == 0
    save_evaluation(before, data, "test", found, None)
    after = find_bundle(folder)
    assert set(after.heads) == {"TES", "PCS"}
    assert after.metrics["TES"]["dataset"] == "season" and "dataset" not in after.metrics["PCS"]


def test_an_evaluation_is_not_said_of_a_head_that_was_trained_meanwhile(run, bundle):
    folder, path = bundle
    before, data, found = evaluated(folder, path)
    again = ("train", "manifest", path, "-t", "TES", "-o", folder, *USDL)
    assert run(*again).exit_code == 0
    said = find_bundle(folder).metrics
    with pytest.raises(WeightsError, match="isn't the one that the bundle listed before"):
        save_evaluation(before, data, "test", found, None)
    assert find_bundle(folder).metrics == said


def test_two_trainings_at_once_in_one_folder_are_refused(run, tmp_path):
    path = season(tmp_path)
    command = ("train", "manifest", path, "-t", "TES", "-o", tmp_path / "b")
    with alone_in(tmp_path / "b" / "runs" / "TES" / "gdlt"):
        result = run(*command, *QUICK)
        assert result.exit_code == 1
        assert result.errors == [f"error: {tmp_path}/b/runs/TES/gdlt: another process trains here. "
                                 "Wait until it is done, or choose another --output."]  # fmt: skip
        assert run(*command, *USDL).exit_code == 0  # which has a folder of its own
    assert run(*command, *QUICK).exit_code == 0


@pytest.mark.parametrize("option", ["--trained-on", "--licence"])
def test_heads_of_other_data_do_not_join_a_bundle(run, bundle, tmp_path, option):
    folder, path = bundle
    assert run("train", "manifest", path, "-t", "PCS", "-o", folder, *QUICK).exit_code == 0  # of the same data they do
    known = (folder / "bundle.json").read_bytes(), (folder / "domain.safetensors").read_bytes()
    juniors = season(tmp_path, seed=1, name="juniors", targets=("speed",))
    options = () if option == "--trained-on" else ("--trained-on", find_bundle(folder).trained_on, option, "other")
    result = run("train", "manifest", juniors, "-o", folder, *QUICK, *options)
    assert result.exit_code == 1
    assert f"holds heads (PCS, TES) of another {option[2:].replace('-', ' ')}" in result.errors[0]
    assert not (folder / "runs" / "speed").exists()
    assert known == ((folder / "bundle.json").read_bytes(), (folder / "domain.safetensors").read_bytes())
    # Where all heads are replaced, what is said of them is, too.
    both = season(tmp_path, seed=2, name="all")
    assert run("train", "manifest", both, "-o", folder, *USDL).exit_code == 0
    assert find_bundle(folder).trained_on.startswith("all (")
    assert (folder / "domain.safetensors").read_bytes() != known[1]


def test_an_imported_head_joins_no_trained_one_and_takes_no_others_metrics(run, tmp_path):
    import torch
    from heads.references import gdlt

    for name, factor in (("a", 1.0), ("b", 1.3)):
        state = {key: value * factor if value.is_floating_point() else value for key, value in gdlt.state(16).items()}
        torch.save(state, tmp_path / f"{name}.pth")

    def brought(name, target, output):
        options = ("--model", "gdlt", "-t", target, "--range", "0:45", "--backbones", "fisv", "-o", output)
        return run("weights", "import", tmp_path / f"{name}.pth", *options)

    root = layouts.fisv(tmp_path / "fisv")
    assert run("train", "fisv", root, "-t", "PCS", "-o", tmp_path / "own", *QUICK).exit_code == 0
    before = (tmp_path / "own" / "bundle.json").read_bytes()
    result = brought("a", "TES", tmp_path / "own")
    assert result.exit_code == 1
    assert "holds heads (PCS) of another trained on" in result.errors[0]
    assert (tmp_path / "own" / "bundle.json").read_bytes() == before

    bundle = tmp_path / "imported"
    for target in ("TES", "PCS"):
        assert brought("a", target, bundle).exit_code == 0
    assert run("evaluate", "fisv", root, "--weights", bundle, "--save", "-q").exit_code == 0
    judged = find_bundle(bundle).metrics
    assert set(judged) == {"TES", "PCS"}
    assert brought("b", "TES", bundle).exit_code == 0
    assert find_bundle(bundle).metrics == {"PCS": judged["PCS"]}


def test_feature_files_of_another_rate_are_refused(run, tmp_path):
    """Named as they are, and not found in a store by their videos."""
    rows = []
    for i in range(4):
        make_video(tmp_path / f"{i}.mp4", 100 + 20 * i)
        rows.append(f"f/{i}.mp4.safetensors,{'train' if i < 2 else 'test'},{10 + 10 * i}")
    path = tmp_path / "m.csv"
    path.write_text("\n".join(["path,split,PCS", *rows]))
    videos = [tmp_path / f"{i}.mp4" for i in range(4)]
    assert run("extract-features", *videos, "-o", tmp_path / "f", "--frame-rate", "12.5", "-q").exit_code == 0
    train = ("train", "manifest", path, "-o", tmp_path / "b", *QUICK)
    for command in ((*train, "--backbones", "mini"), ("evaluate", "manifest", path, "--weights", "mini")):
        result = run(*command)
        assert result.exit_code == 1
        assert "its clips were cut at 12.5 frames a second, those of mini at 25" in result.errors[0]
    assert run(*train).exit_code == 0
    assert find_bundle(tmp_path / "b").frame_rate == 12.5

    # And whoever scores at another rate than the weights' is told.
    found = [
        run("score", tmp_path / "0.mp4", "-f", "json", *options).json()
        for options in ((), ("--frame-rate", "12.5"), ("--frame-rate", "30"), ("-w", tmp_path / "b"))
    ]
    assert ["frame-rate" in one["warning_codes"] for one in found] == [False, True, False, False]


def test_copies_of_a_routine_in_two_splits_are_found(run, tmp_path):
    path = season(tmp_path)
    np.save(tmp_path / "season" / "copy.npy", np.load(tmp_path / "season" / "1.npy"))
    path.write_text(path.read_text() + "\nseason/copy.npy,test,22,22")
    result = run("train", "manifest", path, "-o", tmp_path / "b", *QUICK[:-1])
    assert result.exit_code == 0
    told = "1 routines have the features of another, season/1.npy (train) and season/copy.npy (test) first"
    assert told in result.stderr


def test_copies_of_a_routine_stay_in_one_fold(run, tmp_path):
    """Of features that say nothing of the scores, each under two names: nothing can be learned of them."""
    rng = np.random.default_rng(0)
    rows = ["path,TES"]
    for i in range(16):
        features, score = rng.normal(size=(5, 16)).astype("f4"), rng.uniform(20, 80)
        for copy in "ab":
            np.save(tmp_path / f"{i}{copy}.npy", features)
            rows.append(f"{i}{copy}.npy,{score:.2f}")
    (tmp_path / "m.csv").write_text("\n".join(rows))
    data = load_dataset("manifest", tmp_path / "m.csv", place("cpu", "fp32"))
    assert "16 routines have the features of another, 0a.npy (train) and 0b.npy (train) first" in data.notes[0]
    for drawn in (with_validation(data), *folds(data, 4)):
        where = {}
        for split, routines in drawn.splits.items():
            for one in routines:
                assert where.setdefault(one.digest, split) == split


def test_routines_that_heads_learned_from_are_told_and_judge_nothing(run, tmp_path):
    """After folds the final heads learn from everybody, whatever the column split says."""
    path = season(tmp_path)
    judge = ("evaluate", "manifest", path, "-t", "TES")
    train = ("train", "manifest", path, "-t", "TES", "--model", "gdlt", "--epochs", "1")
    assert run(*train, "-o", tmp_path / "cut", "--validation", "test").exit_code == 0
    assert "learned from" not in run(*judge, "--weights", tmp_path / "cut", "--save").stderr
    assert "9 of the 9 routines" in run(*judge, "--weights", tmp_path / "cut", "--split", "train").stderr

    assert run(*train, "-o", tmp_path / "folded", "--folds", "4").exit_code == 0
    known = find_bundle(tmp_path / "folded").metrics
    result = run(*judge, "--weights", tmp_path / "folded", "--save")
    assert result.exit_code == 1
    assert "of the 5 routines are some that these heads learned from: the figures flatter them" in result.stderr
    assert "such metrics aren't saved" in result.errors[0]
    assert find_bundle(tmp_path / "folded").metrics == known

    # Nor when another target has joined, which learned from fewer.
    again = ("train", "manifest", path, "-t", "PCS", "-o", tmp_path / "folded", *QUICK)
    assert run(*again, "--trained-on", find_bundle(tmp_path / "folded").trained_on).exit_code == 0
    result = run(*judge, "--weights", tmp_path / "folded", "--save")
    assert result.exit_code == 1
    assert find_bundle(tmp_path / "folded").metrics["TES"] == known["TES"]


@pytest.mark.parametrize("missing", ["interval", "ranks", "consistency"])
def test_heads_of_which_different_things_are_known_stand_in_one_table(run, tmp_path, missing):
    rng = np.random.default_rng(0)
    rows = ["path,split,PCS,TES"]
    for i in range(40):
        split = "train" if i < 10 else "test" if i < 18 else "val"
        features = {name: layouts.features(rng, i / 39, 6) for name in ("visual", "audio")}
        np.savez(tmp_path / f"{i}.npz", **features)
        gone = (missing == "interval" and i > 25) or (missing == "ranks" and 13 < i < 18)
        rows.append(f"{i}.npz,{split},{10 + i},{'' if gone else 20 + i}")
    (tmp_path / "m.csv").write_text("\n".join(rows))
    models = ("mlavl", "gdlt") if missing == "consistency" else ("gdlt", "gdlt")
    text = layouts.text_features(tmp_path / "text.npy")
    for target, model in zip(("PCS", "TES"), models, strict=True):
        options = ("--text-features", text, "--width", 16) if model == "mlavl" else ()
        train = ("train", "manifest", tmp_path / "m.csv", "-t", target, "-o", tmp_path / "b", "--model", model)
        assert run(*train, "--epochs", 1, "-q", *options).exit_code == 0
    judge = ("evaluate", "manifest", tmp_path / "m.csv", "--weights", tmp_path / "b", "--bootstrap", 20)
    told = run(*judge, "-f", "json", "--save", "--predictions", tmp_path / "p.csv").json()
    assert [row["target"] for row in told] == ["PCS", "TES", "average"]
    assert len({tuple(row) for row in told}) == 1
    column = {"interval": "in 90% interval", "ranks": "SRCC", "consistency": "AUC swapped, clip"}[missing]
    assert [row[column] is None for row in told[:2]] == [False, True]
    assert told[2]["MSE"] == pytest.approx((told[0]["MSE"] + told[1]["MSE"]) / 2)
    assert set(find_bundle(tmp_path / "b").metrics) == {"PCS", "TES"}
    for form in ("table", "csv", "markdown", "latex"):
        assert "TES" in run(*judge, "-f", form).stdout


@pytest.mark.parametrize("stream", ["visual", "audio"])
def test_a_batch_of_one_is_no_clip_of_many_tokens(run, tmp_path, stream):
    path = season(tmp_path)
    for file in (tmp_path / "season").iterdir():
        rows = np.load(file)
        arrays = {"visual": rows, "audio": rows, stream: rows[None]}
        np.savez(file.with_suffix(".npz"), **arrays)
    path.write_text(path.read_text().replace(".npy", ".npz"))
    result = run("train", "manifest", path, "-t", "TES", "-o", tmp_path / "b", *QUICK)
    assert result.exit_code == 1
    assert f"its {stream} features have shape (1, 6, 16): one clip of 6 tokens, or a batch of one" in result.errors[0]


@pytest.mark.parametrize("column", ["ID", "Skater", "RANK"])
def test_a_known_column_in_other_letters_is_no_target(run, tmp_path, column):
    path = season(tmp_path)
    first, *rows = path.read_text().splitlines()
    path.write_text("\n".join([f"{first},{column}", *(f"{row},{i % 3}" for i, row in enumerate(rows))]))
    result = run("train", "manifest", path, "-o", tmp_path / "b", *QUICK)
    assert result.exit_code == 1
    assert f"has a column {column!r}, which isn't {column.lower()!r}. Call it {column.lower()}." in result.errors[0]


def test_a_skaters_name_may_be_written_in_many_ways():
    name = "Zoë Müller"
    alike = [name, normalize("NFD", name), "ZOË  müller", "Zoë\u00a0Müller ", f"Bo / {normalize('NFD', name)}"]
    assert len(set(together(alike))) == 1
    assert len(set(together([name, "Zoe Muller", "", "Bo /", "Ina /"]))) == 5


def test_logo_with_features_of_two_extractors_is_refused(run, tmp_path):
    root = layouts.logo(tmp_path / "logo")
    for path in sorted(root.glob("event*.npy")):
        event, id = path.stem.split("_")
        for kind in ("I3D", "VST"):
            (root / kind / event).mkdir(parents=True, exist_ok=True)
            np.save(root / kind / event / f"{id}.npy", np.load(path))
        path.unlink()
    train = ("train", "logo", root, "-o", tmp_path / "b", *QUICK)
    result = run(*train)
    assert result.exit_code == 1
    assert f"there are features of event0 in {root}/I3D and in {root}/VST" in result.errors[0]
    (root / "VST").rename(tmp_path / "VST")
    assert run(*train).exit_code == 0


def test_logo_takes_no_other_events_features(run, tmp_path):
    """Events number their routines anew; a copy of the set may lack a file."""
    root = layouts.logo(tmp_path / "logo")
    annotations = pickle.loads((root / "anno_dict.pkl").read_bytes())
    keys = {split: [(f"event{i % 2}", f"{i // 2}") for i in numbers] for split, numbers in SPLITS.items()}
    sources = sorted(root.glob("event*.npy"))
    for (event, id), source in zip(keys["train"] + keys["test"], sources, strict=True):
        (root / "F" / event).mkdir(parents=True, exist_ok=True)
        source.rename(root / "F" / event / f"{id}.npy")
    scores = {key: list(annotations.values())[i] for i, key in enumerate(keys["train"] + keys["test"])}
    (root / "anno_dict.pkl").write_bytes(pickle.dumps(scores))
    for split, found in keys.items():
        (root / f"{split}_split3.pkl").write_bytes(pickle.dumps(found))
    train = ("train", "logo", root, "-o", tmp_path / "b", *QUICK)
    assert run(*train).exit_code == 0
    (root / "F" / "event1" / "3.npy").unlink()
    result = run(*train)
    assert result.exit_code == 1
    assert "event1/3.npy" in result.errors[0]
    assert "no such feature file" in result.errors[0]


def test_logo_with_two_extractors_in_flat_folders_is_refused(run, tmp_path):
    root = layouts.logo(tmp_path / "logo")
    for path in sorted(root.glob("event*.npy")):
        for kind in ("I3D", "VST"):
            (root / kind).mkdir(exist_ok=True)
            np.save(root / kind / path.name, np.load(path))
        path.unlink()
    result = run("train", "logo", root, "-o", tmp_path / "b", *QUICK)
    assert result.exit_code == 1
    assert f"in {root}/I3D and in {root}/VST" in result.errors[0]


@pytest.mark.parametrize(
    ("kind", "headings", "moved"),
    [
        ("fisv", "ID PCS TES", "TES"),
        ("fisv", "id TES_score PCS_score", ""),
        ("fisv", "video technical artistic", ""),
        ("rg", "ID Total_Score Difficulty_Score Execution_Score", "Difficulty"),
        ("rg", "ID Difficulty_Score Execution_Score Total_Score", ""),
    ],
)
def test_headings_in_another_order_are_refused(run, tmp_path, kind, headings, moved):
    root = layouts.MAKERS[kind](tmp_path / "set")
    for split in ("train", "test"):
        table = root / f"{split}.txt"
        table.write_text("\n".join([headings, *table.read_text().splitlines()[1:]]))
    result = run("train", kind, root, "-o", tmp_path / "b", *QUICK)
    assert result.exit_code == (1 if moved else 0)
    assert not moved or f"have {moved} in another place" in result.errors[0]


def test_scores_by_weights_that_were_trained_again_are_not_compared(run, tmp_path, routine):
    assert run("score", routine, "-o", tmp_path / "monday.json").exit_code == 0
    found = json.loads((tmp_path / "monday.json").read_text())
    found["weights"]["sha256"] = "0" * 64
    (tmp_path / "friday.json").write_text(json.dumps(found))
    result = run("compare", tmp_path / "monday.json", tmp_path / "friday.json")
    assert result.exit_code == 2
    assert "the weights 'mini' were changed between the scores" in result.errors[0]
    found["weights"]["sha256"] = None  # of weights that list no files, or by an older mlavl
    (tmp_path / "friday.json").write_text(json.dumps(found))
    assert run("compare", tmp_path / "monday.json", tmp_path / "friday.json").exit_code == 0


def turned(path):
    """The same manifest, its splits train and test exchanged."""
    other = path.with_name(f"turned-{path.name}")
    other.write_text(path.read_text().replace(",train,", ",?,").replace(",test,", ",train,").replace(",?,", ",test,"))
    return other


def test_heads_that_begin_with_others_have_learned_what_those_have(run, tmp_path):
    path = season(tmp_path)
    other = turned(path)
    train = ("train", "manifest", path, "-t", "TES", *QUICK)
    assert run(*train, "-o", tmp_path / "first").exit_code == 0
    assert run(*train, "-o", tmp_path / "third", "--seed", "5").exit_code == 0
    begun = ("train", "manifest", other, "-t", "TES", *QUICK[:-1], "-o", tmp_path / "second", "--start-from")
    result = run(*begun, tmp_path / "first")
    assert result.exit_code == 0
    assert "split test: 9 of the 9 routines are some that the heads of --start-from learned from" in result.stderr
    assert "begun with heads trained on season" in find_bundle(tmp_path / "second").trained_on
    result = run("evaluate", "manifest", other, "-t", "TES", "--weights", tmp_path / "second", "--save")
    assert "such metrics aren't saved" in result.errors[-1]

    # Nor does a run that began with other heads count as the same.
    result = run(*begun, tmp_path / "third")
    assert result.exit_code == 1
    assert "holds a run with other settings (config)" in result.errors[-1]


def test_no_interval_is_of_routines_that_the_first_heads_learned_from(run, tmp_path):
    rng = np.random.default_rng(0)
    rows = ["path,split,TES"]
    for i in range(80):
        np.save(tmp_path / f"{i}.npy", layouts.features(rng, i / 79, 4))
        rows.append(f"{i}.npy,{('train', 'val', 'val', 'test')[i % 4]},{20 + i / 2}")
    old, new = tmp_path / "old.csv", tmp_path / "new.csv"
    new.write_text("\n".join(rows))
    old.write_text("\n".join(rows).replace(",train,", ",?,").replace(",val,", ",train,").replace(",?,", ",val,"))
    train = ("train", "manifest", new, *QUICK)
    assert run("train", "manifest", old, *QUICK, "-o", tmp_path / "old").exit_code == 0
    for options, known in (((), True), (("--start-from", tmp_path / "old"), False)):
        output = tmp_path / f"b{len(options)}"
        assert run(*train, "-o", output, *options).exit_code == 0
        assert bool(find_bundle(output).intervals) is known


def test_routines_of_the_folds_last_fifth_were_learned_from_too(run, tmp_path):
    """By them the final heads' best epoch was chosen."""
    path = season(tmp_path)
    train = ("train", "manifest", path, "-t", "TES", "--model", "gdlt", "--epochs", "1", "-q")
    assert run(*train, "-o", tmp_path / "b", "--folds", "4").exit_code == 0
    for split, count in (("train", 9), ("test", 5)):
        result = run("evaluate", "manifest", path, "-t", "TES", "--weights", tmp_path / "b", "--split", split)
        assert f"{count} of the {count} routines are some that these heads learned from" in result.stderr


def test_a_video_is_known_again_by_another_extraction(run, tmp_path):
    """Of another precision, in which features differ."""
    rows = ["path,split,TES"]
    for i in range(6):
        make_video(tmp_path / f"{i}.mp4", [moving_square(7 * i + k, 96, 64) for k in range(70 + 8 * i)])
        rows.append(f"{i}.mp4,{'train' if i < 4 else 'test'},{20 + i}")
    path = tmp_path / "m.csv"
    path.write_text("\n".join(rows))
    videos = [tmp_path / f"{i}.mp4" for i in range(6)]
    for store, options in (("one", ("--precision", "fp32")), ("two", ("--precision", "bf16"))):
        assert run("extract-features", *videos, "-o", tmp_path / store, *options, "-q").exit_code == 0
    train = ("train", "manifest", path, "--features", tmp_path / "one", "-o", tmp_path / "b", *QUICK)
    assert run(*train).exit_code == 0
    judge = (
        "evaluate",
        "manifest",
        turned(path),
        "--weights",
        tmp_path / "b",
        "--features",
        tmp_path / "two",
        "--save",
    )
    result = run(*judge)
    assert "4 of the 4 routines are some that these heads learned from" in result.stderr
    assert "such metrics aren't saved" in result.errors[-1]


def test_the_packages_own_weights_stay_as_they_are(run, tmp_path):
    result = run("evaluate", "manifest", season(tmp_path), "--save")
    assert result.exit_code == 2
    assert "weights of the package stay as they are" in result.errors[0]


@pytest.mark.parametrize(
    "words",
    [
        ("train", "fisv", ".", "--output", "o", "--seed", "-5"),
        ("train", "fisv", ".", "--output", "o", "--seed", "99999999999999999999"),
        ("evaluate", "fisv", ".", "--shift", "1000000000000000000000"),
    ],
)
def test_numbers_beyond_all_measure_are_wrong_usage(run, words):
    result = run(*words)
    assert result.exit_code == 2
    assert "Input should be" in result.stderr


def test_features_of_other_backbones_are_refused_where_they_are_as_wide(run, tmp_path, bundle):
    """By the function that the command calls, too."""
    folder, path = bundle
    before, here = find_bundle(folder), place("cpu", "fp32")
    data = load_dataset("manifest", path, here, before)
    other = replace(before, visual=replace(before.visual, source="me/other"))
    with pytest.raises(FeatureError, match="features of other backbones"):
        evaluate_bundle(before, replace(data, backbones=other), ["TES"], "test", placement=here)
