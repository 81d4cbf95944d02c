"""What is fuzzed: each target makes good files once, and an attempt damages one of them and reads it.

An attempt may end well or in an error of ours; all else is a finding: another error, a crash, a hang, too much memory,
or a result that breaks its promises.
"""

import json
import os
import random
import shutil
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np
from bombs import matroska, mov, png
from conftest import make_video, moving_square

from fuzz.mutate import damaged

Attempt = Callable[[random.Random, Path], None]
TARGETS: dict[str, Callable[[Path], Attempt]] = {}
_SPOILT = "spoilt"  # holds the file that was damaged, for whoever wants to see


def target(make: Callable[[Path], Attempt]) -> Callable[[Path], Attempt]:
    TARGETS[make.__name__] = make
    return make


def spoil(path: Path, rng: random.Random, folder: Path) -> Path:
    """A damaged copy of a file in the attempt's folder."""
    copy = folder / path.name
    copy.write_bytes(damaged(path, rng))
    return copy


def spoil_one(home: Path, rng: random.Random, folder: Path, but: str = "") -> Path:
    """A copy of a whole folder (by links) in which one file, none below `but`, is damaged; `spoilt` names it."""
    copy = folder / home.name
    shutil.copytree(home, copy, copy_function=os.link)
    path = rng.choice(sorted(p for p in home.rglob("*") if p.is_file() and but not in p.parts))
    content = damaged(path, rng)
    (copy / path.relative_to(home)).unlink()
    (copy / path.relative_to(home)).write_bytes(content)
    (folder / _SPOILT).write_text(str(path.relative_to(home)))
    return copy


@target
def media(home: Path) -> Attempt:
    """Video files of many containers and codecs -> clips."""
    from mlavl_cli.media.clips import ClipReader
    from mlavl_cli.media.cutting import Cutting
    from mlavl_cli.media.picture import PictureSpec

    pictures = [moving_square(i, 96, 64) for i in range(48)]
    seeds = [
        make_video(home / "a.mp4", pictures),
        make_video(home / "b.mkv", pictures, options={"g": "8"}),
        make_video(home / "c.ts", pictures),
        make_video(home / "d.avi", pictures, codec="mpeg4", audio_codec="mp3"),
        make_video(home / "e.webm", pictures, codec="libvpx-vp9", audio_codec="libopus", rate=48_000),
        make_video(home / "f.mov", pictures, codec="mjpeg", pixels="yuvj420p", audio_codec="pcm_s16le"),
        make_video(home / "g.mp4", pictures, container_options={"movflags": "frag_keyframe+empty_moov"}),
        make_video(home / "h.h264", pictures, sound=None),
        make_video(home / "i.mkv", pictures, codec="ffv1", pixels="yuv420p10le", audio_codec="flac"),
        make_video(home / "j.mp4", pictures, codec="libx265", options={"x265-params": "log-level=none"}),
    ]
    spec = PictureSpec((32, 32), 32, (32, 32))

    def attempt(rng: random.Random, folder: Path) -> None:
        path = spoil(rng.choice(seeds), rng, folder)
        last = 0.0
        with ClipReader(path, spec, 4, Cutting(rng.choice(("drop", "pad")))) as clips:
            for clip in islice(clips, 40):
                assert clip.frames.shape == (4, 32, 32, 3)
                assert last <= clip.start_s < clip.end_s < float("inf")
                last = clip.end_s
                if clip.sound is not None:
                    assert len(clip.sound) <= 61 * 16_000
                    assert np.isfinite(clip.sound).all()
                    assert np.abs(clip.sound).max(initial=0) <= 1
            assert all("\n" not in warning for warning in clips.warnings)

    return attempt


@target
def tables(home: Path) -> Attempt:
    """Sample tables of mp4 and element trees of Matroska with numbers of every size -> clips, in bounded memory."""
    from mlavl_cli.media.clips import ClipReader
    from mlavl_cli.media.picture import PictureSpec

    spec = PictureSpec((32, 32), 32, (32, 32))

    def attempt(rng: random.Random, folder: Path) -> None:
        def number(most: int) -> int:
            return max(1, int(most ** rng.random()))

        if rng.random() < 0.6:
            side = (number(30_000), number(30_000))
            frame = None if side[0] * side[1] < 4_000_000 else png(16, 16)
            aspect = (number(2**31 - 1), number(2**31 - 1)) if rng.random() < 0.5 else None
            turned = struct.pack(">9i", *(rng.choice((0, 1, -1, 1 << 16, 2**31 - 1, -(2**31))) for _ in range(9)))
            matrix = turned if rng.random() < 0.5 else None
            path = mov(folder / "a.mov", number(50_000), number(2000), *side, frame, aspect, matrix)
        else:
            path = matroska(folder / "a.mkv", number(500_000), number(20_000))
        if rng.random() < 0.5:
            path.write_bytes(damaged(path, rng))
        with ClipReader(path, spec, 4) as clips:
            for clip in islice(clips, 40):
                assert clip.frames.shape == (4, 32, 32, 3)

    return attempt


@target
def pickles(home: Path) -> Attempt:
    """Label pickles whose parts are shared at random, without end too."""
    import pickle

    from mlavl_cli.datasets.unpickle import read_pickle

    def attempt(rng: random.Random, folder: Path) -> None:
        made: list = [1.0, "id", 7]
        for _ in range(rng.randrange(2, 80)):
            parts = [rng.choice(made[-6:]) for _ in range(rng.randrange(1, 6))]
            kind = rng.choice(("list", "tuple", "dict", "key"))
            if kind == "key":
                made.append({tuple(p for p in parts if isinstance(p, str | float | int)): parts[0]})
            else:
                made.append({"list": list, "tuple": tuple}.get(kind, lambda p: dict(enumerate(p)))(parts))
        path = folder / "a.pkl"
        path.write_bytes(pickle.dumps(made[-1], rng.randrange(6)))
        if rng.random() < 0.3:
            path.write_bytes(damaged(path, rng))
        read_pickle(path)

    return attempt


@target
def store(home: Path) -> Attempt:
    """Feature files."""
    from mlavl_cli.features.routine import RoutineFeatures
    from mlavl_cli.features.store import read_features, write_features
    from mlavl_cli.media.decode import VideoInfo

    rows = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    edges = np.arange(6) * 1.28
    info = VideoInfo("a.mp4", 6.4, 25.0, 96, 64, True)
    whole = RoutineFeatures(rows, rows[:, :4], edges[:-1], edges[1:], info, {"backbones": {"x": "y"}}, ("odd",))
    write_features(home / "a.mp4.safetensors", whole)

    def attempt(rng: random.Random, folder: Path) -> None:
        read = read_features(spoil(home / "a.mp4.safetensors", rng, folder))
        assert np.isfinite(read.visual).all()

    return attempt


def _mini(folder: Path) -> Path:
    """The embedded bundle with one head alone, so that reading it is quick."""
    from mlavl_cli.bundle import find_bundle

    home = find_bundle("mini").folder
    for path in sorted(home.rglob("*")):
        if path.is_file() and (path.parent.name != "heads" or path.stem == "PCS"):
            (folder / path.relative_to(home)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / path.relative_to(home))
    described = json.loads((folder / "bundle.json").read_text())
    described["heads"] = {"PCS": "heads/PCS.safetensors"}
    described["files"] = {k: v for k, v in described["files"].items() if "heads" not in k or "PCS" in k}
    (folder / "bundle.json").write_text(json.dumps(described))
    return folder


def checked(result) -> None:
    """Scores are numbers, and say so when they leave their range."""
    text = json.dumps(result.to_dict(), allow_nan=False)
    for name, score in json.loads(text)["scores"].items():
        low, high = score["range"]
        assert low <= score["score"] <= high or any(name in warning for warning in result.warnings)


@target
def bundle(home: Path) -> Attempt:
    """bundle.json, heads, the training set's domain -> the score of given features."""
    from mlavl_cli.features.routine import RoutineFeatures
    from mlavl_cli.media.decode import VideoInfo
    from mlavl_cli.scoring.scorer import load_scorer

    whole = _mini(home / "mini")
    rng = np.random.default_rng(0)
    edges = np.arange(6) * 1.28
    info = VideoInfo("a.mp4", 6.4, 25.0, 96, 64, True)
    visual, audio = (rng.normal(size=(5, width)).astype(np.float32) for width in (192, 96))
    features = RoutineFeatures(visual, audio, edges[:-1], edges[1:], info)

    def attempt(rng: random.Random, folder: Path) -> None:
        copy = spoil_one(whole, rng, folder, but="backbones")
        checked(load_scorer(copy, "cpu").score(features))

    return attempt


@target
def backbones(home: Path) -> Attempt:
    """Hugging Face folders: configurations, tensors, tokenizer -> features of a video and of prompts."""
    from mlavl_cli.bundle import read_bundle
    from mlavl_cli.device import place
    from mlavl_cli.features.extract import extract, load_backbones
    from mlavl_cli.features.text import encode_prompts

    whole = _mini(home / "mini")
    shutil.rmtree(whole / "heads")
    shutil.copy(whole / "bundle.json", home / "bundle.json")
    video = make_video(home / "a.mp4", 34)
    parts = home / "mini" / "backbones"

    def attempt(rng: random.Random, folder: Path) -> None:
        spoil_one(parts, rng, folder)
        shutil.copy(home / "bundle.json", folder / "bundle.json")
        found = read_bundle(folder)
        if (folder / _SPOILT).read_text().startswith("text"):
            assert encode_prompts(["a jump", "a spin"], found.text).rows.isfinite().all()
        else:
            assert np.isfinite(extract(video, load_backbones(found, place("cpu", "fp32"))).visual).all()

    return attempt


@target
def manifest(home: Path) -> Attempt:
    """Manifests of one's own features, and lists of actions."""
    from datasets.layouts import features

    from mlavl_cli.datasets.load import load_dataset
    from mlavl_cli.device import place
    from mlavl_cli.features.prompts import read_prompts
    from mlavl_cli.features.routine import RoutineFeatures
    from mlavl_cli.features.store import write_features
    from mlavl_cli.media.decode import VideoInfo

    whole = home / "set"
    rng = np.random.default_rng(0)
    lines = ["path,split,TES,PCS"]
    for i in range(6):
        rows = features(rng, i / 6, 4)
        edges = np.arange(5) * 1.28
        info = VideoInfo(f"{i}.mp4", 5.2, 25.0, 96, 64, True)
        write_features(whole / f"{i}.safetensors", RoutineFeatures(rows, rows, edges[:-1], edges[1:], info))
        lines.append(f"{i}.safetensors,{('train', 'val', 'test')[i % 3]},{10 * i},{5 * i}")
    (whole / "manifest.csv").write_text("\n".join(lines) + "\n")
    (whole / "actions.csv").write_text("id,name\n0,jump\n1,spin\n")

    def attempt(rng: random.Random, folder: Path) -> None:
        copy = spoil_one(whole, rng, folder)
        if "actions" in (folder / _SPOILT).read_text():
            assert read_prompts(copy / "actions.csv").texts
        else:
            found = load_dataset("manifest", copy / "manifest.csv", place("cpu", "fp32"))
            for name in found.targets:
                with suppress_data():
                    found.of_target(name, "train")

    return attempt


def suppress_data():
    from mlavl_cli.errors import DataError

    return suppress(DataError)


@target
def labels(home: Path) -> Attempt:
    """The public datasets' labels, arrays and pickles."""
    from datasets.layouts import MAKERS

    from mlavl_cli.datasets.load import load_dataset
    from mlavl_cli.device import place

    kinds = sorted(MAKERS)
    for kind in kinds:
        MAKERS[kind](home / kind)

    def attempt(rng: random.Random, folder: Path) -> None:
        kind = rng.choice(kinds)
        found = load_dataset(kind, spoil_one(home / kind, rng, folder), place("cpu", "fp32"))
        for routines in found.splits.values():
            for routine in routines:
                assert np.isfinite(routine.visual).all()
                assert all(np.isfinite(score) for score in routine.scores.values())

    return attempt


@target
def checkpoints(home: Path) -> Attempt:
    """The official code's checkpoints and text features."""
    import torch
    from datasets.layouts import text_features

    from mlavl_cli.features.text_features import read_text_features
    from mlavl_cli.heads.mlavl.official import import_official

    state = {"proj_visual.0.weight": torch.randn(8, 16, 1), "w1": torch.ones(1), "regressor_V.weight": torch.ones(6, 8)}
    torch.save(state, home / "head.pkl")
    seeds = [home / "head.pkl", text_features(home / "text.npy"), text_features(home / "text.pth", official=True)]
    good = read_text_features(seeds[1]).rows

    def attempt(rng: random.Random, folder: Path) -> None:
        path = spoil(rng.choice(seeds), rng, folder)
        if path.suffix == ".pkl":
            import_official(path, good)
        else:
            assert read_text_features(path).rows.isfinite().all()

    return attempt


@target
def written(home: Path) -> Attempt:
    """What mlavl wrote itself and reads again: scores to compare, the index of reports."""
    from typer.testing import CliRunner

    from mlavl_cli.cli.app import app
    from mlavl_cli.errors import MlavlError
    from mlavl_cli.output.report.index import Entry, index, read_index

    run = CliRunner()
    video = make_video(home / "a.mp4", 70)
    result = run.invoke(app, ["score", str(video), "-o", str(home / "a.json")])
    assert result.exit_code == 0, result.output
    entries = [Entry(f"{i}.html", f"{i}.mp4", "mini", {"TES": 4.5}, 0.5, 3.2, ["odd"]) for i in range(3)]
    (home / "index.html").write_text(index(entries))

    def attempt(rng: random.Random, folder: Path) -> None:
        if rng.random() < 0.5:
            spoil(home / "index.html", rng, folder)
            for i in range(3):
                (folder / f"{i}.html").touch()
            index(read_index(folder))
            return
        path = spoil(home / "a.json", rng, folder)
        form = rng.choice(("table", "json", "csv"))
        done = run.invoke(app, ["compare", str(home / "a.json"), str(path), "-f", form])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert "internal error" not in done.stderr, done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        if done.exit_code:
            raise MlavlError(done.stderr.strip())

    return attempt


if "FUZZ_SELF_TEST" in os.environ:  # readers as they must not be, for the test of the fuzzer itself

    @target
    def raises(home: Path) -> Attempt:
        return lambda rng, folder: 1 / 0

    @target
    def dies(home: Path) -> Attempt:
        return lambda rng, folder: os.abort()

    @target
    def hangs(home: Path) -> Attempt:
        return lambda rng, folder: time.sleep(100)

    @target
    def hoards(home: Path) -> Attempt:
        return lambda rng, folder: bytearray(b"x") * (2 << 30)
