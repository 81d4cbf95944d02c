"""Extraction with full-size backbones (random tensors) on 720p video. `pytest -s` prints the figures.

Ratios are taken in one run: what is compared is run in turn, and medians are compared.
"""

import os
import random
import signal
import subprocess
import sys
import time
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from benchmarks.test_full_size import ast, timesformer
from conftest import make_video

from mlavl_cli.device import place
from mlavl_cli.features.audio import load_audio
from mlavl_cli.features.extract import Backbones, extract, extract_many
from mlavl_cli.features.throughput import measure_throughput
from mlavl_cli.features.visual import load_visual
from mlavl_cli.media.sample import write_sample

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def specs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("full")
    torch.manual_seed(0)
    return timesformer(folder / "visual"), ast(folder / "audio")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_sample(tmp_path_factory.mktemp("video") / "720p.mp4", 16)  # twelve clips and a tail


def load(specs, precision):
    placement = place("cpu", precision)
    return Backbones(load_visual(specs[0], placement), load_audio(specs[1], placement), placement, {})


def tell(capsys, text):
    with capsys.disabled():
        print(f"\n{text}")


def plain_loop(path, specs):
    """What one would write first: every frame to RGB, the library's processors, one clip at a time, fp32."""
    from transformers import ASTFeatureExtractor, ASTModel, TimesformerModel, TimesformerVideoProcessor

    visual, audio = TimesformerModel.from_pretrained(specs[0].source), ASTModel.from_pretrained(specs[1].source)
    processor, extractor = (kind.from_pretrained(spec.source) for kind, spec in
                            ((TimesformerVideoProcessor, specs[0]), (ASTFeatureExtractor, specs[1])))  # fmt: skip

    def run():
        with av.open(str(path)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        with av.open(str(path)) as container:
            resampler = av.AudioResampler("flt", "mono", 16_000)
            chunks = [out.to_ndarray()[0] for frame in container.decode(audio=0) for out in resampler.resample(frame)]
        sound, rows = np.concatenate(chunks), []
        with torch.inference_mode():
            for i in range(len(frames) // 32):
                clip = [torch.from_numpy(frames[32 * i + k]).permute(2, 0, 1) for k in range(2, 32, 4)]
                pixels = processor(torch.stack(clip), return_tensors="pt")["pixel_values"]
                heard = extractor(sound[20_480 * i : 20_480 * (i + 1)], sampling_rate=16_000, return_tensors="pt")
                rows.append((visual(pixels).last_hidden_state[0, 0], audio(**heard).pooler_output[0]))
        return rows

    return run


@pytest.mark.benchmark
def test_three_times_as_fast_as_the_plain_loop(capsys, specs, video):
    runs = {
        precision: partial(extract, video, load(specs, precision))
        for precision in dict.fromkeys(("fp32", place("cpu").precision, "int8"))
    }
    runs["plain loop"] = plain_loop(video, specs)
    rounds = {name: [] for name in runs}
    for _ in range(3):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            rounds[name].append(time.perf_counter() - begin)
    seconds = {name: sorted(values)[1] for name, values in rounds.items()}
    theirs = seconds.pop("plain loop")
    for name, ours in seconds.items():
        tell(capsys, f"twelve clips of 720p, {name}: {ours:.2f} s, plain loop {theirs:.2f} s, {theirs / ours:.2f} x")
    assert theirs >= 3 * seconds.get("bf16", 0.0)


@pytest.mark.benchmark
def test_decoding_hides_behind_the_backbones(capsys, specs, video):
    found = measure_throughput(video, load(specs, "auto"), rounds=5)
    tell(capsys, f"pipeline by backbones alone: {found.overhead:.3f} ({1000 * found.pipeline_s:.0f} ms a clip)")
    assert found.overhead <= 1.08


@pytest.mark.parametrize("precision", ["bf16", pytest.param("int8", marks=pytest.mark.slow)])
def test_faster_features_are_those_of_fp32(capsys, specs, video, precision):
    exact, fast = (extract(video, load(specs, one)) for one in ("fp32", precision))
    for name in ("visual", "audio"):
        a, b = (torch.from_numpy(getattr(features, name)) for features in (exact, fast))
        worst = torch.cosine_similarity(a, b).min().item()
        tell(capsys, f"{name} features, {precision} against fp32: cosine {worst:.5f} at the least")
        assert worst >= 0.999


def repeated(path: Path, target: Path, times: int) -> Path:
    """The packets of a video again and again, without decoding them."""
    with av.open(str(target), "w") as out:
        streams = {}
        with av.open(str(path)) as container:
            for stream in container.streams:
                streams[stream.type] = out.add_stream_from_template(stream)
        for i in range(times):
            with av.open(str(path)) as container:
                length = container.duration / av.time_base + 0.2  # decoding starts before what is shown first
                for packet in container.demux():
                    if packet.dts is None:
                        continue
                    shift = round(Fraction(i * length) / packet.time_base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = streams[packet.stream.type]
                    out.mux(packet)
    return target


def test_memory_does_not_grow_with_the_video(capsys, tmp_path):
    """Peak memory of whole processes, on the embedded backbones: 1 minute and 10 minutes of 720p."""
    one = write_sample(tmp_path / "one.mp4", 60)
    ten = repeated(one, tmp_path / "ten.mp4", 10)
    code = (
        "import sys; from mlavl_cli import extract_features; from mlavl_cli.features.throughput import peak_memory_mb\n"
        "clips = extract_features(sys.argv[1]).clips; print(clips, peak_memory_mb())"
    )
    peaks = {}
    for path in (one, ten):
        done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, check=True, timeout=600)
        clips, peak = done.stdout.split()
        peaks[int(clips)] = float(peak)
    (few, small), (many, large) = sorted(peaks.items())
    tell(capsys, f"peak memory: {small:.0f} MB for {few} clips, {large:.0f} MB for {many}: {large / small - 1:+.1%}")
    assert many >= 9 * few
    assert large <= 1.05 * small


def short_by_long(tmp_path, backbones, files, rounds):
    """Seconds of so many one-clip files by those of one file as long, in turn: the median of the rounds' ratios."""
    short = make_video(tmp_path / "short.mp4", 32, size=(320, 240))
    ten = make_video(tmp_path / "ten.mp4", 320, size=(320, 240))
    long = repeated(ten, tmp_path / "long.mp4", files // 10)
    ratios = []
    for _ in range(rounds):
        seconds = []
        for jobs in ([short] * files, [long]):
            begin = time.perf_counter()
            assert sum(features.clips for features in extract_many(jobs, backbones)) == files
            seconds.append(time.perf_counter() - begin)
        ratios.append(seconds[0] / seconds[1])
    return sorted(ratios)[rounds // 2]


@pytest.mark.benchmark
def test_short_files_do_not_starve_the_model(capsys, tmp_path, specs):
    """200 files of one clip, in rounds that a machine's changing speed does not get in between."""
    ratio = short_by_long(tmp_path, load(specs, "auto"), files=40, rounds=5)
    tell(capsys, f"5 x 40 files of a clip by one file of 40, full-size backbones: {ratio:.3f}")
    assert ratio <= 1.1


def small_backbones(folder, width, layers):
    """A TimeSformer of three heads, with random tensors, beside the embedded AST."""
    from transformers import TimesformerConfig, TimesformerModel, TimesformerVideoProcessor

    from mlavl_cli.backbone import BackboneSpec
    from mlavl_cli.bundle import find_bundle

    sizes = {"hidden_size": width, "num_hidden_layers": layers, "intermediate_size": 4 * width}
    TimesformerModel(TimesformerConfig(num_attention_heads=3, **sizes)).save_pretrained(folder)
    TimesformerVideoProcessor().save_pretrained(folder)
    placement = place("cpu", "auto")
    visual = load_visual(BackboneSpec(str(folder)), placement)
    return Backbones(visual, load_audio(find_bundle("mini").audio, placement), placement, {})


@pytest.mark.benchmark
def test_short_files_through_small_backbones(capsys, tmp_path):
    """A TimeSformer of 6 layers and 192 channels: opening a file is a part of the cost."""
    ratio = short_by_long(tmp_path, small_backbones(tmp_path / "m", 192, 6), files=200, rounds=5)
    tell(capsys, f"200 files of a clip by one file of 200, small backbones: {ratio:.3f}")
    assert ratio <= 1.1


@pytest.mark.benchmark
def test_short_files_at_thirty_milliseconds_a_clip(capsys, tmp_path):
    """Backbones as small as that on this machine, whatever it is: what a file costs of its own weighs alike on all."""
    forty = make_video(tmp_path / "forty.mp4", 1280, size=(320, 240))
    layers, clip_ms = 0, 0.0
    while clip_ms < 30:
        layers += 1
        backbones = small_backbones(tmp_path / f"{layers}", 96, layers)
        extract(forty, backbones)
        begin = time.perf_counter()
        extract(forty, backbones)
        clip_ms = (time.perf_counter() - begin) * 1000 / 40
    ratio = short_by_long(tmp_path, backbones, files=200, rounds=9)
    tell(capsys, f"200 files of a clip by one file of 200, {layers} layers, {clip_ms:.0f} ms a clip: {ratio:.3f}")
    assert ratio <= 1.1


def test_twenty_kills_lose_nothing(capsys, tmp_path):
    """A folder's extraction killed at random moments: the store in the end is that of an uninterrupted run."""
    for i in range(40):
        make_video(tmp_path / "in" / f"{i:02d}.mp4", 64 + 16 * (i % 5), size=(640, 360))
    command = [sys.executable, "-m", "mlavl_cli", "extract-features", tmp_path / "in", "-q", "-o"]
    begin = time.perf_counter()
    subprocess.run([*command, tmp_path / "whole"], check=True, capture_output=True, timeout=600)
    whole_s = time.perf_counter() - begin
    chance, kills, done = random.Random(0), 0, 0
    while kills < 20:
        process = subprocess.Popen([*map(str, command), str(tmp_path / "cut")], stdout=subprocess.DEVNULL)
        time.sleep(chance.uniform(0.6, 1.0) * min(whole_s, 6))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        else:
            done += 1
        process.wait()
        kills += 1
        if done:  # it was whole already: lose some of it, and go on
            for path in chance.sample(sorted((tmp_path / "cut").glob("*.safetensors")), 20):
                path.unlink()
            done = 0
    subprocess.run([*command, tmp_path / "cut"], check=True, capture_output=True, timeout=600)
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    kept = [path.name for path in (tmp_path / "cut").iterdir() if path.suffix == ".safetensors"]
    assert sorted(kept) == names
    for name in names:
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    tell(capsys, f"20 runs killed with SIGKILL: {len(names)} files, all as in an uninterrupted run, byte for byte")
