"""Training uses the features that are there, whichever backbones or tool made them, and says which."""

import json
import zipfile

import numpy as np
import pytest
import torch
from conftest import make_video, moving_square
from datasets import layouts

from mlavl_cli.bundle import find_bundle
from mlavl_cli.datasets.load import load_dataset
from mlavl_cli.device import place
from mlavl_cli.features.store import read_features, write_features

CPU = place("cpu", "fp32")
SVR = ["--model", "svr", "-f", "json"]


@pytest.fixture(scope="module")
def backbones(tmp_path_factory):
    """The folders of a tiny visual and a tiny audio backbone."""
    import transformers as hf

    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("tiny")
    sizes = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    crop = {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}
    hf.VideoMAEModel(hf.VideoMAEConfig(image_size=32, patch_size=16, num_frames=16, **sizes)).save_pretrained(
        place / "seer"
    )
    hf.VideoMAEVideoProcessor(**crop).save_pretrained(place / "seer")
    hf.ASTModel(hf.ASTConfig(**sizes)).save_pretrained(place / "hearer")
    hf.ASTFeatureExtractor().save_pretrained(place / "hearer")
    return ["--visual", place / "seer", "--audio", place / "hearer"]


@pytest.fixture
def season(tmp_path):
    """Four videos in a subfolder, and a manifest beside it."""
    for at in range(4):
        make_video(tmp_path / "videos" / "day" / f"{at}.mp4", 66 + at)
    splits = ["train", "train", "test", "test"]
    rows = [f"videos/day/{at}.mp4,{split},{10 * at + 5}" for at, split in enumerate(splits)]
    path = tmp_path / "season.csv"
    path.write_text("path,split,TES\n" + "\n".join(rows) + "\n")
    return path


def stamps(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}


@pytest.mark.parametrize("below", ["videos", "videos/day"])
def test_what_lies_in_the_store_is_used_whichever_backbones_made_it(run, season, backbones, tmp_path, below):
    """By whatever name extract-features put it there: `day/0.mp4`, `0.mp4`."""
    store = tmp_path / "features"
    assert run("extract-features", tmp_path / below, "-o", store, *backbones).exit_code == 0
    before = stamps(store)
    result = run("train", "manifest", season, "-o", tmp_path / "b", *SVR)
    assert result.exit_code == 0, result.stderr
    assert stamps(store) == before
    assert "features of 4 routines are there: not-at-hand and not-at-hand" not in result.stderr
    assert "features of 4 routines are there: another tool's" in result.stderr
    assert "extracting" not in result.stderr
    video = tmp_path / "videos" / "day" / "3.mp4"
    refused = run("score", video, "-w", tmp_path / "b")
    assert refused.exit_code == 1
    assert "trained on features whose backbone isn't known here" in refused.stderr
    named = run("train", "manifest", season, "-o", tmp_path / "c", *SVR, *backbones)
    assert named.exit_code == 0, named.stderr
    assert "seer and hearer" in named.stderr
    assert stamps(store) == before
    score = run("score", video, "-w", tmp_path / "c", "-f", "json").json()
    judged = run("evaluate", "manifest", season, "-w", tmp_path / "c", "--predictions", tmp_path / "p.csv")
    assert judged.exit_code == 0, judged.stderr
    assert stamps(store) == before  # the bundle's copies are the same backbones under another name
    predicted = [line.split(",")[-1] for line in (tmp_path / "p.csv").read_text().splitlines() if "3.mp4" in line]
    assert float(predicted[0]) == pytest.approx(score["scores"]["TES"]["score"], abs=0.01)


def test_a_video_without_features_needs_the_backbones_of_the_others(run, season, backbones, tmp_path):
    store = tmp_path / "features"
    for at in range(3):
        run("extract-features", tmp_path / "videos" / "day" / f"{at}.mp4", "-o", store, *backbones)
    refused = run("train", "manifest", season, "-o", tmp_path / "b", *SVR)
    assert refused.exit_code == 1
    assert "1 videos have no features, videos/day/3.mp4 first" in refused.stderr
    assert "--visual and --audio" in refused.stderr
    given = run("train", "manifest", season, "-o", tmp_path / "b", *SVR, *backbones)
    assert given.exit_code == 0, given.stderr
    assert "extracting 1 videos into" in given.stderr
    assert read_features(store / "videos" / "day" / "3.mp4.safetensors").visual.shape[1] == 24


def test_features_of_several_backbones_are_no_training_set(run, season, backbones, tmp_path):
    store = tmp_path / "features"
    run("extract-features", tmp_path / "videos" / "day" / "0.mp4", "-o", store, *backbones)
    run("extract-features", *(tmp_path / "videos" / "day" / f"{at}.mp4" for at in (1, 2, 3)), "-o", store)
    mixed = run("train", "manifest", season, "-o", tmp_path / "b", *SVR)
    assert mixed.exit_code == 1
    assert "features of different backbones" in mixed.stderr
    kept = stamps(store)
    wanted = ["train", "manifest", season, "-o", tmp_path / "b", *SVR, "--backbones", "mini"]
    refused = run(*wanted)
    assert refused.exit_code == 1
    assert "--extract-again" in refused.stderr
    assert stamps(store) == kept
    assert run(*wanted, "--extract-again").exit_code == 0
    assert [path.name for path, when in stamps(store).items() if kept.get(path) != when] == ["0.mp4.safetensors"]
    other = run("train", "manifest", season, "-o", tmp_path / "b", *SVR, *backbones, "--features", tmp_path / "new")
    assert "holds heads on the visual backbone" in other.stderr  # before anything is extracted
    assert not (tmp_path / "new").exists()


def test_features_cut_at_another_rate_are_used_and_not_made_again(run, season, tmp_path):
    store = tmp_path / "features"
    run("extract-features", tmp_path / "videos" / "day", "-o", store, "--frame-rate", "12.5")
    before = stamps(store)
    assert run("train", "manifest", season, "-o", tmp_path / "b", *SVR).exit_code == 0
    assert stamps(store) == before
    assert find_bundle(tmp_path / "b").frame_rate == 12.5
    at_rate = run("train", "manifest", season, "-o", tmp_path / "c", *SVR, "--backbones", "mini")
    assert at_rate.exit_code == 1
    assert "cut at another frame rate (12.5, not 25.0)" in at_rate.stderr
    assert stamps(store) == before


def test_features_of_an_older_mlavl_are_not_taken_for_todays(run, season, tmp_path):
    from dataclasses import replace

    store = tmp_path / "features"
    run("extract-features", tmp_path / "videos" / "day", "-o", store)
    for path in store.rglob("*.safetensors"):
        features = read_features(path)
        write_features(path, replace(features, provenance={**features.provenance, "extraction": 1}))
    used = run("train", "manifest", season, "-o", tmp_path / "b", *SVR)
    assert used.exit_code == 0, used.stderr
    assert "those of 4 videos are of an older mlavl" in used.stderr
    judged = run("evaluate", "manifest", season, "-w", tmp_path / "b")
    assert judged.exit_code == 1
    assert "of an older mlavl" in judged.errors[0]
    assert run("evaluate", "manifest", season, "-w", tmp_path / "b", "--extract-again").exit_code == 0


def test_videos_that_cannot_be_used_are_listed_and_the_others_kept(run, season, tmp_path):
    for at in (1, 3):
        (tmp_path / "videos" / "day" / f"{at}.mp4").write_bytes(b"no video")
    result = run("train", "manifest", season, "-o", tmp_path / "b", *SVR)
    assert result.exit_code == 1
    assert "2 videos can't be used" in result.errors[0]
    assert "1.mp4" in result.errors[0]
    assert "3.mp4" in result.errors[0]
    assert len(list((tmp_path / "features").rglob("*.safetensors"))) == 2


# --- Other tools -----------------------------------------------------------------------------------------------------


def of_another_tool(folder, kind, tokens=1):
    """An rule that two numbers of 16 show, in files of a kind."""
    rng = np.random.default_rng(3)
    rows = []
    for at in range(24):
        score = rng.uniform(10, 100)
        shape = (5 + at % 3, tokens, 16) if tokens > 1 else (5 + at % 3, 16)
        visual = rng.normal(0, 0.1, shape).astype(np.float32)
        visual[..., :2] += score / 50
        audio = rng.normal(size=(len(visual), 8)).astype(np.float32)
        path = folder / f"{at}.{kind.split('-')[0]}"
        folder.mkdir(exist_ok=True)
        more = ""
        if kind == "npz":
            np.savez_compressed(path, visual=visual, audio=audio)
        elif kind == "npz-alone":
            np.savez(path, features=visual)
        elif kind == "npy":
            np.save(path, visual)
            np.save(folder / f"{at}-sound.npy", audio)
            more = f"{folder.name}/{at}-sound.npy"
        elif kind == "pt":
            torch.save(torch.from_numpy(visual).half(), path)
        else:
            torch.save({"visual": torch.from_numpy(visual), "audio": torch.from_numpy(audio)}, path)
        rows.append(f"{folder.name}/{path.name},{more},{'train' if at < 16 else 'test'},{score:.2f}")
    table = folder.parent / "others.csv"
    table.write_text("path,audio,split,TES\n" + "\n".join(rows) + "\n")
    return table


@pytest.mark.parametrize("tokens", [1, 3])
@pytest.mark.parametrize("kind", ["npz", "npz-alone", "npy", "pt", "pt-dict"])
def test_features_of_other_tools_are_trained_on(run, tmp_path, kind, tokens):
    table = of_another_tool(tmp_path / "i3d", kind, tokens)
    data = load_dataset("manifest", table, CPU)
    one = data.splits["train"][0]
    assert one.visual.shape == (5, 16)
    assert (one.audio is None) == (kind in ("npz-alone", "pt"))
    assert one.audio is None or one.audio.shape == (5, 8)
    assert (one.tokens is None) == (tokens == 1)
    if one.tokens:
        assert one.tokens().shape == (5, tokens, 16)
        np.testing.assert_allclose(one.tokens().mean(1), one.visual, rtol=1e-5, atol=1e-6)
    result = run("train", "manifest", table, *SVR, "-o", tmp_path / "b")
    assert result.exit_code == 0, result.stderr
    assert "3 of 16 training routines choose the epochs" in result.stderr
    judged = run("evaluate", "manifest", table, "-w", tmp_path / "b", "-f", "json").json()
    assert judged[0]["SRCC"] > 0.8
    assert "features: another tool's" in json.loads((tmp_path / "b" / "bundle.json").read_text())["trained_on"]
    assert "not at hand: trained on another tool's features" in run("weights", "info", tmp_path / "b").stdout


def test_a_method_that_reads_prompts_learns_from_features_of_other_tools(run, tmp_path):
    table, text = of_another_tool(tmp_path / "i3d", "npz"), layouts.text_features(tmp_path / "text.npy")
    options = ["--text-features", text, "--epochs", "2", "--width", "16", "-f", "json"]
    result = run("train", "manifest", table, *options, "-o", tmp_path / "b")
    assert result.exit_code == 0, result.stderr
    with_mini = run("train", "manifest", table, "--epochs", "2", "--width", "16", "-f", "json", "-o", tmp_path / "c")
    assert with_mini.exit_code == 0, with_mini.stderr  # the text tower is mini's


def spoiled(path, kind):
    if kind == "names":
        np.savez(path, one=np.zeros((2, 3)), other=np.zeros((2, 3)))
    elif kind == "shape":
        np.savez(path, visual=np.zeros(3))
    elif kind == "words":
        np.savez(path, visual=np.array([["a", "b"]]))
    elif kind == "objects":
        np.savez(path, visual=np.array([[{}]], object))
    elif kind == "nan":
        np.savez(path, visual=np.full((2, 3), np.nan))
    elif kind == "clips":
        np.savez(path, visual=np.zeros((2, 3)), audio=np.zeros((3, 3)))
    elif kind == "bomb":
        np.savez_compressed(path, visual=np.zeros((20_000, 4096), np.float32))
    elif kind == "forged":
        header = b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (99999, 99999), }"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("visual.npy", header.ljust(127) + b"\n")
    elif kind == "wide":
        np.savez(path, visual=np.zeros((2, 5000)))
    else:
        path.write_bytes(b"nothing of the kind")


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("names", "holds arrays of other names: one, other"),
        ("shape", "not (clips, width) of numbers"),
        ("words", "holds no plain arrays"),
        ("objects", "holds no plain arrays"),
        ("nan", "NaN or infinity"),
        ("clips", "3 clips of audio features against 2 of visual ones"),
        ("bomb", "holds no plain arrays"),
        ("forged", "holds no plain arrays"),
        ("wide", "which no backbone's have"),
        ("none", "holds no plain arrays"),
    ],
)
def test_other_arrays_are_one_line(run, tmp_path, kind, cause):
    spoiled(tmp_path / "a.npz", kind)
    (tmp_path / "m.csv").write_text("path,split,TES\na.npz,train,5\n")
    result = run("train", "manifest", tmp_path / "m.csv", *SVR, "-o", tmp_path / "b")
    assert result.exit_code == 1
    assert len(result.errors) == 1
    assert cause in result.errors[0]
    assert "a.npz" in result.errors[0]


def test_a_routine_whose_picture_breaks_off_is_no_routine_to_learn_from(run, tmp_path):
    """Music alone doesn't say how somebody skated."""
    whole = make_video(tmp_path / "whole.mkv", 400, size=(320, 240))
    data = whole.read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) // 3])
    (tmp_path / "m.csv").write_text("path,split,TES\nwhole.mkv,train,5\ncut.mkv,train,6\n")
    result = run("train", "manifest", tmp_path / "m.csv", *SVR, "-o", tmp_path / "b")
    assert result.exit_code == 1
    assert "cut.mkv" in result.errors[0]
    assert "its picture is damaged: the file ends early" in result.errors[0]


def test_features_that_are_cut_otherwise_are_told_and_made_anew_where_asked(run, tmp_path):
    rows = []
    for i in range(4):
        make_video(tmp_path / f"{i}.mp4", [moving_square(5 * i + k, 96, 64) for k in range(70 + 8 * i)])
        rows.append(f"{i}.mp4,test,{20 + i}")
    (tmp_path / "m.csv").write_text("\n".join(["path,split,TES", *rows]))
    videos = [tmp_path / f"{i}.mp4" for i in range(4)]
    assert run("extract-features", *videos, "-o", tmp_path / "s", "--tail", "pad", "-q").exit_code == 0
    judge = ("evaluate", "manifest", tmp_path / "m.csv", "-w", "mini", "-t", "TES", "--features", tmp_path / "s")
    result = run(*judge)
    assert "features of 4 videos are cut otherwise than `score` cuts" in result.stderr
    assert run(*judge, "--extract-again").exit_code == 0
    assert "cut otherwise" not in run(*judge).stderr
