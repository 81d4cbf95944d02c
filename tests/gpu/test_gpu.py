"""What only a GPU can show: a verdict and a table in one command, `make gpu`.

It runs from the sources as they lie, and writes each line to the file `MLAVL_GPU_RESULTS` (gpu-results.txt) as it is
found, so that a run that is cut short still tells what it knows. Without a GPU it skips itself; `MLAVL_GPU=cpu` goes
through all that a CPU can do, with small backbones, to try the file itself.
"""

import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when the GPU is first used

import av
import numpy as np
import pytest
import torch
from benchmarks.test_full_size import ast, timesformer
from conftest import make_video
from datasets import layouts
from training.test_train import kill_in_epoch

import mlavl_cli
from mlavl_cli.backbone import BackboneSpec
from mlavl_cli.bundle import find_bundle
from mlavl_cli.cores import cores
from mlavl_cli.device import place
from mlavl_cli.errors import DeviceError
from mlavl_cli.features.audio import load_audio
from mlavl_cli.features.extract import Backbones, extract
from mlavl_cli.features.visual import load_visual
from mlavl_cli.heads.methods import HEADS
from mlavl_cli.media.clips import ClipReader
from mlavl_cli.media.sample import write_sample

DEVICE = os.environ.get("MLAVL_GPU") or ("cuda" if torch.cuda.is_available() else None)
ON_GPU = DEVICE is not None and DEVICE.startswith("cuda")
PRECISIONS = ("fp32", "fp16", "bf16") if ON_GPU else ("fp32", "bf16")
OF_RANGE = {"fp32": 1e-3, "fp16": 1e-2, "bf16": 2e-2}
DEMO = Path(__file__).parents[2] / "weights" / "demo.mp4"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.benchmark,
    pytest.mark.skipif(DEVICE is None, reason="no GPU here: `MLAVL_GPU=cpu make gpu` tries the rest"),
]
needs_gpu = pytest.mark.skipif(not ON_GPU, reason="a GPU alone has this")


def tell(text):
    """On the terminal, and in the file at once."""
    with Path(os.environ.get("MLAVL_GPU_RESULTS") or "gpu-results.txt").open("a") as file:
        file.write(text + "\n")
    print(f"\n{text}")


@pytest.fixture(scope="module", autouse=True)
def _who():
    card = torch.cuda.get_device_name() if ON_GPU else "CPU"
    versions = f"torch {torch.__version__}, mlavl {mlavl_cli.__version__}"
    tell(f"{time.strftime('%Y-%m-%d')}, {card}, {cores()} cores, {versions}")


@pytest.fixture(scope="module")
def specs(tmp_path_factory):
    """Backbones of full size with random tensors; on a CPU small ones."""
    folder = tmp_path_factory.mktemp("backbones")
    torch.manual_seed(0)
    if ON_GPU:
        return timesformer(folder / "visual"), ast(folder / "audio")
    from transformers import TimesformerConfig, TimesformerModel, TimesformerVideoProcessor

    sizes = {"hidden_size": 48, "num_hidden_layers": 2, "intermediate_size": 96, "num_attention_heads": 3}
    TimesformerModel(TimesformerConfig(**sizes)).save_pretrained(folder / "visual")
    TimesformerVideoProcessor().save_pretrained(folder / "visual")
    return BackboneSpec(str(folder / "visual")), find_bundle("mini").audio


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_sample(tmp_path_factory.mktemp("video") / "720p.mp4", 60 if ON_GPU else 10)


@pytest.fixture(scope="module")
def alone():
    """Clips a second of both backbones, by precision and batch, as they are measured."""
    return {}


def load(specs, device, precision):
    placement = place(device, precision)
    return Backbones(load_visual(specs[0], placement), load_audio(specs[1], placement), placement, {})


def cosine(one, other):
    return min(
        torch.cosine_similarity(*(torch.from_numpy(getattr(f, name)) for f in (one, other))).min().item()
        for name in ("visual", "audio")
    )


def seconds(run, rounds=3):
    """The median, everything that was begun being done."""
    found = []
    for _ in range(rounds):
        begin = time.perf_counter()
        run()
        if ON_GPU:
            torch.cuda.synchronize()
        found.append(time.perf_counter() - begin)
    return sorted(found)[rounds // 2]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_demonstration_scores_as_on_a_cpu(precision):
    exact = mlavl_cli.load_scorer(device="cpu", precision="fp32").score(DEMO)
    found = mlavl_cli.load_scorer(device=DEVICE, precision=precision).score(DEMO)
    worst = 0.0
    for target, one in exact.scores.items():
        low, high = one.range
        worst = max(worst, abs(found.scores[target].score - one.score) / (high - low))
    tell(f"demo, {precision}: scores differ from the CPU's by {worst:.1e} of the range at the most")
    assert worst <= OF_RANGE[precision]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_features_are_those_of_a_cpu(specs, tmp_path, precision):
    path = make_video(tmp_path / "v.mp4", 70)
    least = cosine(extract(path, load(specs, "cpu", "fp32")), extract(path, load(specs, DEVICE, precision)))
    tell(f"features, {precision}: cosine with the CPU's in fp32 {least:.6f} at the least")
    assert least >= 0.999


def test_batches_change_nothing(specs, tmp_path):
    path = make_video(tmp_path / "v.mp4", 23 * 32)
    backbones = load(specs, DEVICE, "fp32")
    one = extract(path, backbones, batch_size=1)
    for size in (5, 16, 23):
        other = extract(path, backbones, batch_size=size)
        off = max(np.abs(getattr(one, n) - getattr(other, n)).max() for n in ("visual", "audio"))
        tell(f"batches of {size} against 1, fp32: {off:.1e}")
        assert off <= 2e-4


@needs_gpu
def test_a_batch_that_does_not_fit_is_halved(specs, tmp_path):
    path = make_video(tmp_path / "v.mp4", 64 * 32)
    backbones = load(specs, DEVICE, "fp32")
    expected = extract(path, backbones, batch_size=4)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    try:
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + (3 << 30)) / total)
        begin = time.perf_counter()
        found = extract(path, backbones, batch_size=64)
        tell(f"64 clips at once in 3 GiB: halved, {time.perf_counter() - begin:.1f} s")
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(1e-3)
        with pytest.raises(DeviceError, match="one clip alone"):
            extract(path, backbones, batch_size=2)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    np.testing.assert_allclose(found.visual, expected.visual, atol=2e-4)


@needs_gpu
def test_nothing_waits_for_the_gpu_inside_a_file(specs, video):
    backbones = load(specs, DEVICE, "fp16")
    with ClipReader(video, backbones.visual.picture, backbones.visual.frames) as reader:
        clips = list(reader)[:16]
    frames = torch.from_numpy(np.stack([clip.frames for clip in clips])).pin_memory()
    heard = [backbones.audio.spectrogram(clip.sound).pin_memory() for clip in clips]
    backbones.visual.encode(frames), backbones.audio.encode(heard)
    torch.cuda.set_sync_debug_mode("error")
    try:
        backbones.visual.encode(frames), backbones.audio.encode(heard)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    tell("no synchronisation in a batch of both backbones")


def test_clips_a_second_of_the_backbones(specs, alone):
    peak = None
    if ON_GPU:
        a = torch.randn(8192, 8192, device=DEVICE, dtype=torch.bfloat16)
        peak = 2 * 8192**3 / seconds(lambda: a @ a, 9) / 1e12
        tell(f"matrix product, bf16: {peak:.0f} TFLOP/s")
    for precision in PRECISIONS:
        backbones = load(specs, DEVICE, precision)
        height, width = backbones.visual.picture.size
        for size in (1, 4, 16, 64) if ON_GPU else (1, 4):
            frames = torch.zeros(size, backbones.visual.frames, height, width, 3, dtype=torch.uint8, device=DEVICE)
            heard = [torch.zeros(126, backbones.audio.mel_bins, device=DEVICE)] * size
            backbones.visual.encode(frames), backbones.audio.encode(heard)
            see = seconds(partial(backbones.visual.encode, frames))
            hear = seconds(partial(backbones.audio.encode, heard))
            share = f", {0.392 * size / see / peak:.0%} of it" if peak else ""
            tell(f"{precision}, batches of {size}: visual {size / see:.0f} clips/s{share}, audio {size / hear:.0f}")
            alone[precision, size] = size / (see + hear)


def test_files_keep_the_gpu_busy(specs, video, alone):
    """One file against its own decoding; twice as many as there are cores against what limits them."""
    call = [sys.executable, Path(__file__).with_name("files.py"), specs[0].source, specs[1].source, video, DEVICE]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    precision = place(DEVICE).precision
    backbones = alone[precision, max(size for which, size in alone if which == precision and size <= 16)]
    tell(f"one file: {found['one']:.1f} clips/s, its decoding alone {found['one decoded']:.1f}")
    told = f"{found['all']:.1f} clips/s, their decoding alone {found['all decoded']:.1f}, {precision} backbones alone"
    tell(f"{2 * cores()} files, {cores()} decoders: {told} {backbones:.1f}")
    if ON_GPU:
        assert found["one"] >= 0.9 * found["one decoded"]
        assert found["all"] >= 0.8 * min(found["all decoded"], backbones)


def plain_loop(specs, device, dtype, size):
    """What one would write first: all frames to RGB, the library's processors, `size` clips at once."""
    from transformers import ASTFeatureExtractor, ASTModel, TimesformerModel, TimesformerVideoProcessor

    visual, audio = (
        model.from_pretrained(spec.source, dtype=dtype).to(device)
        for model, spec in ((TimesformerModel, specs[0]), (ASTModel, specs[1]))
    )
    processor, listener = (
        kind.from_pretrained(spec.source)
        for kind, spec in ((TimesformerVideoProcessor, specs[0]), (ASTFeatureExtractor, specs[1]))
    )

    @torch.inference_mode()
    def loop(path):
        with av.open(str(path)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        with av.open(str(path)) as container:
            resampler = av.AudioResampler("flt", "mono", 16_000)
            chunks = [out.to_ndarray()[0] for frame in container.decode(audio=0) for out in resampler.resample(frame)]
        sound, count = np.concatenate(chunks), len(frames) // 32
        for first in range(0, count, size):
            seen, heard = [], []
            for i in range(first, min(first + size, count)):
                clip = [torch.from_numpy(frames[32 * i + k]).permute(2, 0, 1) for k in range(2, 32, 4)]
                seen.append(processor(torch.stack(clip), return_tensors="pt")["pixel_values"])
                heard.append(sound[20_480 * i : 20_480 * (i + 1)])
            spectrograms = listener(heard, sampling_rate=16_000, return_tensors="pt")["input_values"]
            visual(torch.cat(seen).to(device, dtype)).last_hidden_state[:, 0].cpu()
            audio(spectrograms.to(device, dtype)).pooler_output.cpu()
        return count

    return loop


def test_a_plain_loop_is_slower(specs, video):
    backbones = load(specs, DEVICE, "auto")
    clips = extract(video, backbones).clips
    ours = clips / seconds(lambda: extract(video, backbones))
    for name, dtype, size in (("fp32, one by one", torch.float32, 1), ("bf16, 16 at once", torch.bfloat16, 16)):
        loop = plain_loop(specs, DEVICE, dtype, size)
        loop(video)
        plain = seconds(partial(loop, video), 1)
        tell(f"a plain loop, {name}: {clips / plain:.1f} clips/s, ours {ours:.1f}: {ours * plain / clips:.1f} x")


@pytest.fixture
def train(run, tmp_path):
    """Calls `mlavl train --deterministic` on made-up features."""
    root, text = layouts.fisv(tmp_path / "fisv"), layouts.text_features(tmp_path / "text.npy")
    told = ["--device", DEVICE, "--deterministic", "--text-features", text, "-t", "TES", "--width", 32]
    yield lambda name, *options: run("train", "fisv", root, "-o", tmp_path / name, *told, "--batch-size", 8, *options)
    torch.use_deterministic_algorithms(False)


def test_a_resumed_training_has_the_same_losses(train, tmp_path, monkeypatch):
    options = ["--epochs", 13, "--lambda-c", 0.5]
    assert train("whole", *options).exit_code == 0
    kill_in_epoch(12, monkeypatch)  # after a saved state
    assert train("killed", *options).exit_code == 130
    monkeypatch.undo()
    assert train("killed", *options).exit_code == 0
    logs = [(tmp_path / name / "runs" / "TES" / "mlavl" / "log.csv").read_text() for name in ("whole", "killed")]
    assert logs[0] == logs[1]
    tell("a training that was killed and resumed: the same losses, to the last digit")


def test_every_method_trains_deterministically_or_says_why_not(train):
    for name in HEADS:
        done = train(name, "--model", name, "--epochs", 2)
        if done.exit_code:
            tell(f"--model {name} --deterministic: {done.stderr.strip().splitlines()[-1]}")
            assert "has no deterministic algorithm" in done.stderr
    tell(f"{len(HEADS)} methods trained with --deterministic, but for those above")
