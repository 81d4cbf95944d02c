"""What only a GPU can show: a verdict and a table in one command, `make gpu`.

It runs from the sources as they lie, and writes each line to the file `MLAVL_GPU_RESULTS` (gpu-results.txt) as it is
found, so that a run that is cut short still tells what it knows. Without a GPU it skips itself; `MLAVL_GPU=cpu` goes
through all that a CPU can do, with small backbones, to try the file itself.
"""

import os
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.test_full_size import ast, timesformer
from conftest import make_video

import mlavl_cli
from mlavl_cli.backbone import BackboneSpec
from mlavl_cli.bundle import find_bundle
from mlavl_cli.cores import cores
from mlavl_cli.device import place
from mlavl_cli.errors import DeviceError
from mlavl_cli.features.audio import load_audio
from mlavl_cli.features.extract import Backbones, extract, extract_many
from mlavl_cli.features.visual import load_visual
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


def test_clips_a_second_of_the_backbones(specs):
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


def test_files_keep_the_gpu_busy(specs, video, tmp_path):
    """One file against its own decoding; as many as there are cores against what limits them."""
    backbones = load(specs, DEVICE, "auto")
    picture = backbones.visual.picture

    def decoding():
        with ClipReader(video, picture, backbones.visual.frames) as reader:
            return sum(1 for _ in reader)

    clips = decoding()
    extract(video, backbones)
    alone_s, one_s = seconds(decoding), seconds(lambda: extract(video, backbones))
    tell(f"one file of {clips} clips: {clips / one_s:.1f} clips/s, its decoding alone {clips / alone_s:.1f}")
    many = [video] * cores()
    many_s = seconds(lambda: list(extract_many(many, backbones, workers=cores())), 1)
    tell(f"{len(many)} files, {cores()} decoders: {len(many) * clips / many_s:.1f} clips/s")
    if ON_GPU:
        assert alone_s / one_s >= 0.9
