"""Folders that several users share, and sizes that are bounded each but not together."""

import json
import os
import pickle
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import alone, hollow, make_video, shell
from datasets import layouts

from mlavl_cli.bundle import find_bundle, write_bundle
from mlavl_cli.datasets.logo import load_logo
from mlavl_cli.errors import DataError, WeightsError
from mlavl_cli.features.prompts import read_prompts
from mlavl_cli.features.store import FeatureStore
from mlavl_cli.features.text_features import TextFeatures, read_text_features, write_text_features
from mlavl_cli.heads.checkpoint import load_head, save_head
from mlavl_cli.heads.dims import HeadDims
from mlavl_cli.inputs import Input
from mlavl_cli.output.report.index import read_index
from mlavl_cli.protocols.match import match
from mlavl_cli.protocols.performance import Performance

AS_ROOT = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
NOBODY = 65534


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return make_video(tmp_path_factory.mktemp("shared") / "a.mp4", 36)


def theirs(path, mode=0o666):
    """A file that another user made before, open to all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o1777)
    path.touch()
    path.chmod(mode)
    os.chown(path, NOBODY, NOBODY)
    return path


@AS_ROOT
def test_a_file_that_another_user_made_opens_no_results_to_all(video, tmp_path):
    """Neither one in a result's place, nor one behind a link there, says who may write to the result."""
    names = ("scores.csv", "clips.csv", "store/a.mp4.safetensors", "vtt/a.mp4.vtt")
    results = [theirs(tmp_path / name) for name in names]
    links = [theirs(tmp_path / "pages" / "any").with_name(name) for name in ("index.html", "a.mp4.html")]
    for link in links:
        link.symlink_to(theirs(tmp_path / "open"))
    options = "--output scores.csv --clips-csv clips.csv --report pages --features store --vtt vtt".split()
    places = [tmp_path / word if word[0] != "-" else word for word in options]
    before = os.umask(0o077)
    try:
        result = shell("score", video, *places, "-q")
    finally:
        os.umask(before)
    assert result.exit_code == 0, result.stderr
    for path in (*results, *links):
        status = path.lstat()
        assert (status.st_uid, status.st_mode & 0o777) == (os.geteuid(), 0o600), path
        assert status.st_size > 0


def test_an_index_behind_a_link_brings_no_rows(run, video, tmp_path):
    assert run("score", video, "--report", tmp_path / "private").exit_code == 0
    assert len(read_index(tmp_path / "private")) == 1
    for name in ("index.html", "a.mp4.html"):
        (tmp_path / "pages").mkdir(exist_ok=True)
        (tmp_path / "pages" / name).symlink_to(tmp_path / "private" / name)
    assert read_index(tmp_path / "pages") == []
    other = shutil.copy(video, tmp_path / "b.mp4")
    assert run("score", other, "--report", tmp_path / "pages").exit_code == 0
    assert [one.name for one in read_index(tmp_path / "pages")] == ["b.mp4"]
    assert not (tmp_path / "pages" / "index.html").is_symlink()
    assert [one.name for one in read_index(tmp_path / "private")] == ["a.mp4"]


@AS_ROOT
def test_an_entry_behind_a_link_of_another_user_is_made_again(video, tmp_path):
    assert shell("extract-features", video, "-o", tmp_path / "mine", "-q").exit_code == 0
    (tmp_path / "store").mkdir()
    (tmp_path / "store").chmod(0o1777)
    link = tmp_path / "store" / "a.mp4.safetensors"
    link.symlink_to(tmp_path / "mine" / "a.mp4.safetensors")
    source, store = Input(video, video.relative_to(video.parent)), FeatureStore(tmp_path / "store")
    assert store.find(source)  # one's own is followed
    os.chown(link, NOBODY, NOBODY, follow_symlinks=False)
    assert store.find(source) is None
    assert store.get(source, {"precision": "auto"}) is None


# --- Sizes together ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("heads", "dims", "window", "fits"),
    [
        (7, {"heads": 4}, 512, True),
        (1, {"heads": 32, "encoder_layers": 12, "fusion_layers": 12, "grading_layers": 12}, 512, False),
        (48, {"heads": 8, "encoder_layers": 4, "fusion_layers": 4, "grading_layers": 4}, None, False),
        (48, {"heads": 2}, 512, True),
    ],
)
def test_heads_of_a_bundle_are_weighed_together(run, video, tmp_path, heads, dims, window, fits):
    """Each size is one that a head may have; a short video is filled up to the window."""
    folder = tmp_path / "b"
    shutil.copytree(find_bundle("mini").folder, folder)
    one = load_head(folder / "heads" / "TES.safetensors")
    model = type(one.model)(replace(one.model.dims, width=64, **dims), None).eval()
    save_head(folder / "heads" / "T.safetensors", replace(one, model=model, window=window, target="T"), half=True)
    paths = {}
    for i in range(heads):
        paths[f"T{i}"] = folder / "heads" / f"T{i}.safetensors"
        save_head(paths[f"T{i}"], replace(one, model=model, window=window, target=f"T{i}"), half=True)
    write_bundle(replace(find_bundle(folder), heads=paths, intervals={}, domain=None))
    begin = time.monotonic()
    result = run("score", video, "--weights", folder, "-f", "json")
    assert result.exit_code == (0 if fits else 1), result.stderr
    assert time.monotonic() - begin < 20
    if not fits:
        assert "heads attend" in result.errors[0]


def test_more_layers_than_any_published_head_has_are_refused():
    with pytest.raises(WeightsError, match="more than 12 layers"):
        HeadDims(visual_dim=96, actions=6, fusion_layers=13)


def test_files_of_logo_are_looked_for_in_lists(tmp_path, monkeypatch):
    """Each key once had its file asked for under three names in each of up to 200 folders."""
    root = layouts.logo(tmp_path / "logo")
    expected = [one.id for one in load_logo(root).splits["train"]]
    for i in range(150):
        (root / f"empty{i}").mkdir()
    (annotations,) = root.rglob("anno_dict.pkl")
    (split,) = root.rglob("train*.pkl")
    keys = [("one", i) for i in range(9000)]
    asked = []
    stat = os.stat
    monkeypatch.setattr(os, "stat", lambda *a, **k: asked.append(a) or stat(*a, **k))
    assert [one.id for one in load_logo(root).splits["train"]] == expected
    asked.clear()
    annotations.write_bytes(pickle.dumps(dict.fromkeys(keys, 50.0)))
    split.write_bytes(pickle.dumps(keys))
    with pytest.raises(DataError, match="no such feature file"):
        load_logo(root)
    assert len(asked) < 30_000


@pytest.mark.parametrize("odd", ["ab", (("x",) * 9000, 1), (1.0, "x" * 300), (float("nan"), 1), b"ab"])
def test_events_and_routines_of_logo_have_a_length(tmp_path, odd):
    """A text of two letters is no pair, and what many keys share would be written out for each."""
    root = layouts.logo(tmp_path / "logo")
    (split,) = root.rglob("train*.pkl")
    split.write_bytes(pickle.dumps([*pickle.loads(split.read_bytes()), odd]))
    with pytest.raises(DataError, match="which is no"):
        load_logo(root)
    (annotations,) = root.rglob("anno_dict.pkl")
    split.write_bytes(pickle.dumps(pickle.loads(split.read_bytes())[:-1]))
    annotations.write_bytes(pickle.dumps({**pickle.loads(annotations.read_bytes()), odd: 50.0}))
    assert load_logo(root).splits["train"]


@pytest.mark.slow
def test_names_of_very_many_words_cost_no_time():
    names = [" ".join(f"{chr(65 + i % 26)}{chr(65 + j % 26)}" for j in range(95)) for i in range(300)]
    performances = [
        Performance(name, "NED", "Cup", "MEN", "FREE SKATING", 1, 9, 4, 5, 0, (), {}, "p.pdf", 1, ()) for name in names
    ]
    videos = [Path(f"{'abcdefghij'[i % 10]}nna_example_cup_2023_fs_{i}.mp4") for i in range(400)]
    begin = time.process_time()
    assert not any(one.video for one in match(performances, videos))
    assert time.process_time() - begin < 8


@pytest.mark.slow
def test_a_truth_of_odd_accents_is_one_line_and_one_of_none_is_judged(run, tmp_path):
    made = run("synthesize", tmp_path / "s", "-n", 3, "--seconds", "20:24", "--size", "160x90", "--split", "test")
    assert made.exit_code == 0
    truths = sorted((tmp_path / "s" / "truth").iterdir())
    whole = [json.loads(path.read_text()) for path in truths]
    for odd in ([3e307, 1.0], [1.0, 1e308], [1.0, -1.0], [float("nan"), 1.0]):
        truths[0].write_text(json.dumps({**whole[0], "movement_accents": [odd]}))
        result = run("evaluate", "simulated", tmp_path / "s", "-f", "csv")
        assert (result.exit_code, len(result.errors)) == (1, 1)
        assert "holds no truth of a simulated routine" in result.errors[0]
    for path, truth, music in zip(truths, whole, ([[2.0, 0.0]], [], []), strict=True):
        path.write_text(json.dumps({**truth, "movement_accents": [], "music_accents": music}))
    result = run("evaluate", "simulated", tmp_path / "s", "-f", "csv", "--bootstrap", 0)
    assert result.exit_code == 0, result.stderr
    assert "SRCC" in result.stdout or "MSE" in result.stdout


def test_tokens_of_hollow_files_are_counted(tmp_path):
    """A method that mixes tokens reads all of them, where others read their mean."""
    root = layouts.fs1000(tmp_path / "d")
    for path in (root / "output_feature_fs1000_new").glob("*.npy"):
        hollow(path, (1365, 64, 768))
    for path in (root / "ast_feature_fs1000_new").glob("*.npy"):
        hollow(path, (1365, 768))
    words = ("train", "fs1000", root, "--model", "mlp-mixer", "--target", "TES", "-o", tmp_path / "o", "--epochs", 1)
    exit_code, told, held_mb = alone(*words, "-q")
    assert "unpack to far more than they are" in told[-1]
    assert (exit_code, held_mb < 2500) == (1, True)


def test_a_head_is_saved_only_if_it_can_be_read_again(tmp_path):
    one = load_head(find_bundle("mini").heads["TES"])
    save_head(tmp_path / "h.safetensors", one)
    whole = (tmp_path / "h.safetensors").read_bytes()
    for text in ("x" * 3000, "\u200b" * 427):
        with pytest.raises(WeightsError, match="more than 2000 letters"):
            save_head(tmp_path / "h.safetensors", replace(one, prompts=(text, *one.prompts[1:])))
        assert (tmp_path / "h.safetensors").read_bytes() == whole
        with pytest.raises(WeightsError, match="a text of more than 1,900 letters"):
            write_text_features(tmp_path / "t.safetensors", TextFeatures(torch.ones(1, 4), (text,)))
            read_text_features(tmp_path / "t.safetensors")
        (tmp_path / "p.csv").write_text(f"id,name\n1,{text}\n")
        with pytest.raises(DataError, match="more than 1,900"):
            read_prompts(tmp_path / "p.csv")
