"""The public layouts are read as described, and what doesn't fit is named."""

import contextlib
import json
import pickle
import shutil

import numpy as np
import pytest
from conftest import make_video
from datasets import layouts
from hypothesis import given, settings
from hypothesis import strategies as st

from mlavl_cli.bundle import find_bundle
from mlavl_cli.datasets.dataset import Routine
from mlavl_cli.datasets.load import load_dataset
from mlavl_cli.datasets.unpickle import read_pickle
from mlavl_cli.datasets.videos import VideoOptions
from mlavl_cli.device import place
from mlavl_cli.errors import DataError
from mlavl_cli.training.batches import Batches

CPU = place("cpu", "fp32")


@pytest.mark.parametrize(
    ("kind", "targets", "window"),
    [
        ("fs1000", ["TES", "PCS", "SS", "TR", "PE", "CO", "IN"], 95),
        ("fisv", ["TES", "PCS"], 124),
        ("rg", ["Ball", "Ribbon"], 68),
        ("logo", ["LOGO"], None),
    ],
)
def test_layouts(tmp_path, kind, targets, window):
    data = load_dataset(kind, layouts.MAKERS[kind](tmp_path / kind), CPU)
    assert (data.targets, data.window, data.judged_split) == (targets, window, "test")
    for target in targets:
        for split, count in layouts.ROUTINES.items():
            routines = data.of_target(target, split)
            assert len(routines) == count
            for routine in routines:
                assert routine.visual.shape[1] == layouts.D
                assert (routine.audio is None) == (kind == "logo")
                low, high = data.ranges[target]
                quality = (routine.visual[:, : layouts.D // 2].mean() + 1) / 2
                assert (routine.scores[target] - low) / (high - low) == pytest.approx(quality, abs=0.25)


def test_fs1000_averages_over_k_and_divides_pcs_by_its_factor(tmp_path):
    data = load_dataset("fs1000", layouts.fs1000(tmp_path / "d"), CPU)
    routine = data.splits["train"][0]
    raw = np.load(tmp_path / "d" / "output_feature_fs1000_new" / f"{routine.id}.npy")
    np.testing.assert_allclose(routine.visual, (raw[:, 0] + raw[:, 1]) / 2, atol=1e-6)
    assert routine.scores["PCS"] / 60 == pytest.approx(routine.scores["TES"] / 130, abs=1e-3)


@pytest.mark.parametrize("more", [-1, 1, 5])
def test_fs1000_sound_of_another_length_is_cut_or_filled(tmp_path, more):
    root = layouts.fs1000(tmp_path / "d")
    path = root / "ast_feature_fs1000_new" / "train3.npy"
    before = np.load(path)
    rows = before[:more] if more < 0 else np.concatenate([before, before[:1].repeat(more, 0)])
    np.save(path, rows)
    data = load_dataset("fs1000", root, CPU)
    (found,) = (routine for routine in data.splits["train"] if routine.id == "train3")
    expected = before.copy()
    expected[more:] = 0 if more < 0 else expected[more:]
    np.testing.assert_array_equal(found.audio, expected)
    said = "train_fs1000_new.txt: 1 routines have other numbers of clips in picture and sound: train3"
    assert any(note.startswith(said) for note in data.notes) == (more > 1)


def test_fs1000_without_a_factor_has_all_but_pcs(tmp_path, run):
    root = layouts.fs1000(tmp_path / "d")
    rewrite(root / "train_fs1000_new.txt", lambda t: "".join(line.rsplit("\t", 1)[0] + "\n" for line in t.splitlines()))
    data = load_dataset("fs1000", root, CPU)
    assert len(data.of_target("TES", "train")) == layouts.ROUTINES["train"]
    assert data.notes == ("train_fs1000_new.txt: 14 routines have no FACTOR, and so no PCS",)
    assert data.targets == ["TES", "SS", "TR", "PE", "CO", "IN"]
    with pytest.raises(DataError, match="has no target 'PCS'"):
        data.of_target("PCS", "train")


@pytest.mark.parametrize("header", [True, False])
def test_fisv_labels_with_and_without_headings(tmp_path, header):
    root = layouts.fisv(tmp_path / "d")
    for split in layouts.ROUTINES:
        rewrite(root / f"{split}.txt", lambda t: t if header else t.split("\n", 1)[1])
    data = load_dataset("fisv", root, CPU)
    assert {split: len(found) for split, found in data.splits.items()} == layouts.ROUTINES
    assert data.notes == (
        "Fis-V has 14 routines in its train split; the published split has 400",
        "Fis-V has 8 routines in its test split; the published split has 100",
    )


def test_a_first_row_with_a_damaged_score_is_no_headings(tmp_path):
    root = layouts.fisv(tmp_path / "d")
    rewrite(root / "train.txt", lambda t: "0 17.1 2x.4\n" + t.split("\n", 1)[1])
    with pytest.raises(DataError, match="line 1 holds no number where a score belongs"):
        load_dataset("fisv", root, CPU)


def test_rg_all_is_every_apparatus(tmp_path):
    data = load_dataset("rg", layouts.rg(tmp_path / "d"), CPU)
    assert data.targets == ["Ball", "Ribbon"]
    assert data.ranges["all"] == (0.0, 25.0)
    for split, count in layouts.ROUTINES.items():
        everyone = data.of_target("all", split)
        assert len(everyone) == 2 * count
        assert all(routine.scores["all"] in routine.scores.values() for routine in everyone)


@pytest.mark.parametrize("kind", [list, tuple, lambda values: np.array(values, dtype=object), "dict", "number"])
def test_logo_in_the_tree_in_which_it_is_handed_out(tmp_path, kind):
    """Annotations and features in folders of their own; an annotation is whatever it is."""
    flat = layouts.logo(tmp_path / "flat")
    tree = tmp_path / "tree"
    (tree / "annotations").mkdir(parents=True)
    for path in flat.glob("*.pkl"):
        path.rename(tree / "annotations" / path.name)
    source = tree / "annotations" / "anno_dict.pkl"
    annotations = pickle.loads(source.read_bytes())
    for (event, id), values in annotations.items():
        made = {"dict": {"level": values[0], "score": values[1]}, "number": values[1]}
        annotations[event, id] = made[kind] if isinstance(kind, str) else kind(values)
        (tree / "features" / event).mkdir(parents=True, exist_ok=True)
        (flat / f"{event}_{id}.npy").rename(tree / "features" / event / f"{id}.npy")
    scores = {key: values[1] for key, values in pickle.loads(source.read_bytes()).items()}
    source.write_bytes(pickle.dumps(annotations))
    data = load_dataset("logo", tree, CPU)
    found = {tuple(r.id.split("/")): r.scores["LOGO"] for split in data.splits.values() for r in split}
    assert found == pytest.approx(scores)
    assert {len(routine.visual) for routine in data.splits["train"]} == {6}


class Evil:
    def __reduce__(self):
        return (eval, ("open('ran', 'w')",))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_with_code_is_refused_and_does_not_run(tmp_path, monkeypatch, protocol):
    monkeypatch.chdir(tmp_path)
    for name in ("evil.pkl", "evil.npy"):
        path = tmp_path / name
        if name.endswith("npy"):
            np.save(path, np.array({"a": Evil()}, dtype=object), allow_pickle=True)
        else:
            path.write_bytes(pickle.dumps({"a": Evil()}, protocol=protocol))
        with pytest.raises(DataError, match="is refused: it names") as caught:
            read_pickle(path)
        assert "eval" in str(caught.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_of_every_protocol_is_read(tmp_path, protocol):
    value = {"a": np.arange(6.0).reshape(2, 3), ("e", 1): [1, 2.5, "x", None, True], "f": np.float32(2)}
    (tmp_path / "p.pkl").write_bytes(pickle.dumps(value, protocol=protocol))
    found = read_pickle(tmp_path / "p.pkl")
    np.testing.assert_array_equal(found["a"], value["a"])
    assert found["e", 1] == value["e", 1]
    assert float(found["f"]) == 2


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=60), at=st.integers(0, 400), flip=st.integers(0, 255))
def test_damaged_pickles_are_errors_of_ours(tmp_path_factory, data, at, flip):
    path = tmp_path_factory.mktemp("p") / "x.pkl"
    whole = bytearray(pickle.dumps({"a": np.arange(20.0), "b": (1, "two")}))
    whole[at % len(whole)] ^= flip
    for content in (data, bytes(whole)):
        path.write_bytes(content)
        with contextlib.suppress(DataError):
            read_pickle(path)


def rewrite(path, change):
    path.write_text(change(path.read_text()))


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda d: (d / "ast_feature_fs1000_new" / "train3.npy").unlink(), "no such feature file"),
        (lambda d: np.save(d / "ast_feature_fs1000_new" / "train3.npy", np.zeros((0, 16))), "have shape"),
        (lambda d: np.save(d / "ast_feature_fs1000_new" / "train3.npy", np.full((9, 16), np.nan)), "NaN"),
        (lambda d: np.save(d / "output_feature_fs1000_new" / "test0.npy", np.zeros((0, 2, 16))), "shape"),
        (lambda d: rewrite(d / "train_fs1000_new.txt", lambda t: t.replace("2\n", "0\n", 1)), "factor 0"),
        (lambda d: rewrite(d / "train_fs1000_new.txt", lambda t: t.replace("\t", "\tnan\t", 1)), "nan"),
        (lambda d: rewrite(d / "val_fs1000_new.txt", lambda t: t + "x 1 2\n"), "line 9 has 3 columns"),
        (lambda d: rewrite(d / "val_fs1000_new.txt", lambda t: t + "x a b c d e f g h\n"), "line 9 holds no number"),
        (lambda d: rewrite(d / "val_fs1000_new.txt", lambda t: ""), "no labels"),
        (lambda d: (d / "val_fs1000_new.txt").unlink(), "can't be read as a table"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, change, cause):
    root = layouts.fs1000(tmp_path / "d")
    change(root)
    with pytest.raises(DataError, match=cause):
        load_dataset("fs1000", root, CPU)


def test_ids_without_features_are_named(tmp_path):
    root = layouts.fisv(tmp_path / "d")
    rewrite(root / "test.txt", lambda t: t + "\nstranger 1 2")
    with pytest.raises(DataError, match="has no features of stranger"):
        load_dataset("fisv", root, CPU)


def test_too_few_and_constant_labels_are_refused(tmp_path):
    data = load_dataset("fisv", layouts.fisv(tmp_path / "d"), CPU)
    data.splits["test"][1:] = []
    with pytest.raises(DataError, match="1 routines with a TES score"):
        data.of_target("TES", "test")
    for routine in data.splits["train"]:
        routine.scores["PCS"] = 20.0
    with pytest.raises(DataError, match="all 14 PCS scores"):
        data.of_target("PCS", "train")


def write_manifest(path, rows):
    path.write_text("\n".join(rows) + "\n")
    return path


def test_manifest_of_videos_and_feature_files(tmp_path, run):
    for name in "abcd":
        make_video(tmp_path / "videos" / f"{name}.mp4", 40 + 32 * (name == "b"))
    run("extract-features", tmp_path / "videos" / "d.mp4", "-o", tmp_path / "ready", "--precision", "fp32")
    rows = ["path,split,TES,own", "videos/a.mp4,train,10,3", "videos/b.mp4,train,,4", "videos/c.mp4,val,30,5"]
    path = write_manifest(tmp_path / "m.csv", [*rows, "ready/d.mp4.safetensors,test,40,6"])
    data = load_dataset("manifest", path, CPU, ranges={"own": (0.0, 8.0)}, videos=VideoOptions(precision="fp32"))
    assert data.ranges == {"TES": (0.0, 130.0), "own": (0.0, 8.0)}
    assert {split: len(found) for split, found in data.splits.items()} == {"train": 2, "val": 1, "test": 1}
    assert [len(routine.visual) for routine in data.splits["train"]] == [1, 2]
    assert "TES" not in data.splits["train"][1].scores
    assert data.judged_split == "val"
    assert sorted(p.name for p in (tmp_path / "features" / "videos").iterdir()) == [
        f"{name}.mp4.safetensors" for name in "abc"
    ]


def test_features_of_other_backbones_are_not_extracted_anew_unasked(tmp_path, run):
    """Hours of somebody's work would be gone without a word."""
    for name in "abcd":
        make_video(tmp_path / "videos" / f"{name}.mp4", 40)
    splits = dict(zip("abcd", ["train", "train", "test", "test"], strict=True))
    rows = [f"videos/{name}.mp4,{split},{10 + i}" for i, (name, split) in enumerate(splits.items())]
    path = write_manifest(tmp_path / "m.csv", ["path,split,TES", *rows])
    load_dataset("manifest", path, CPU)
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "features").rglob("*.safetensors")}
    shutil.copytree(find_bundle("mini").folder, tmp_path / "other")
    about = json.loads((tmp_path / "other" / "bundle.json").read_text())
    about["audio"]["options"] = {"mean": -4.0, "std": 4.5}
    (tmp_path / "other" / "bundle.json").write_text(json.dumps(about))
    options = ["--model", "svr", "-o", tmp_path / "o", "--backbones", tmp_path / "other"]
    refused = run("train", "manifest", path, *options)
    assert refused.exit_code == 1
    assert "its features here are those of other backbones" in refused.stderr
    assert {file: file.stat().st_mtime_ns for file in before} == before
    anew = run("train", "manifest", path, *options, "--features", tmp_path / "anew")
    assert anew.exit_code == 0, anew.stderr
    assert {file: file.stat().st_mtime_ns for file in before} == before


@pytest.mark.parametrize(
    ("rows", "cause"),
    [
        (["split,TES", "train,1"], "needs a column path"),
        (["path,split,TES"], "needs a column path, and rows below"),
        (["path,split,TES", "a.mp4,train,1", "s.mp4,,2"], "line 3: no such split: ''"),
        (["path,split", "a.mp4,train"], "no column with scores"),
        (["path,split,TES", "a.mp4,train,1,2"], "line 2 has not as many cells"),
        (["path,split,TES", "a.mp4,learn,1"], "no such split: 'learn'"),
        (["path,split,TES", "a.mp4,train,many"], "'many' is no number"),
        (["path,split,TES", "a.mp4,train,nan"], "TES nan is not in 0 to 130"),
        (["path,split,TES", "gone.safetensors,train,1"], "no such feature file"),
    ],
)
def test_broken_manifests(tmp_path, rows, cause):
    make_video(tmp_path / "a.mp4", 32)
    make_video(tmp_path / "s.mp4", 32, sound=None)
    with pytest.raises(DataError, match=cause):
        load_dataset("manifest", write_manifest(tmp_path / "m.csv", rows), CPU)


def routine(clips, id="r"):
    rows = np.arange(clips, dtype=np.float32)[:, None].repeat(3, 1)
    return Routine(id, rows, rows + 100, {"X": 5.0})


def test_windows_of_testing_are_central_and_short_routines_get_zeros():
    import torch

    (batch,) = Batches([routine(9), routine(2)], "X", (0.0, 10.0), 2, window=4).in_order()
    assert batch.visual[0, :, 0].tolist() == [2, 3, 4, 5]
    assert batch.audio[0, :, 0].tolist() == [102, 103, 104, 105]
    assert batch.visual[1, :, 0].tolist() == [0, 1, 0, 0]
    assert batch.mask is None
    assert torch.equal(batch.label, torch.tensor([0.5, 0.5]))


def test_windows_of_training_are_random_but_whole_and_the_same_for_both_modalities():
    import torch

    batches, starts = Batches([routine(9)], "X", (0.0, 10.0), 2, window=4), set()
    for seed in range(60):
        (batch,) = batches.shuffled(torch.Generator().manual_seed(seed))
        first = batch.visual[0, 0, 0].item()
        assert batch.visual[0, :, 0].tolist() == [first + i for i in range(4)]
        assert torch.equal(batch.audio, batch.visual + 100)
        starts.add(first)
    assert starts == {0, 1, 2, 3, 4, 5}


def test_without_a_window_all_clips_come_behind_a_mask():
    (batch,) = Batches([routine(5), routine(2)], "X", (0.0, 10.0), 2).in_order()
    assert batch.mask.sum(1).tolist() == [5, 2]
    assert batch.visual.shape == (2, 5, 3)


def test_a_pickle_cannot_claim_memory_by_a_number(tmp_path):
    (tmp_path / "p.pkl").write_bytes(b"\x80\x02]r\xff\xff\xff\x1f.")  # an empty list, kept under number 536870911
    with pytest.raises(DataError, match="beyond its own length"):
        read_pickle(tmp_path / "p.pkl")
