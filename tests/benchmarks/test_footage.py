"""Embedded weights on what a camera makes, and on drawn figures: whole videos against FFmpeg's own decoder.

What is compared is run in turn, and medians are compared. A machine with nothing else to do.
"""

import shutil
import subprocess
import time

import pytest
import torch
from benchmarks.test_extraction_speed import repeated, tell

from mlavl_cli.bundle import find_bundle
from mlavl_cli.cores import cores
from mlavl_cli.device import place
from mlavl_cli.features.extract import extract, load_backbones
from mlavl_cli.media import pictures
from mlavl_cli.media.sample import FPS, write_sample

pytestmark = [
    pytest.mark.slow,
    pytest.mark.benchmark,
    pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="FFmpeg's program isn't installed"),
]
SECONDS, TIMES = 45, 4


def in_turn(rounds, **runs):
    """Median seconds of each."""
    found = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            found[name].append(time.perf_counter() - begin)
    return {name: sorted(values)[rounds // 2] for name, values in found.items()}


@pytest.mark.parametrize(
    ("look", "size", "bits_per_s"),
    [
        ("footage", (1280, 720), 1_800_000),
        ("footage", (1280, 720), 8_000_000),
        ("footage", (1920, 1080), 8_000_000),
        ("drawn", (1280, 720), 0),
    ],
)
def test_features_beside_decoding_alone(capsys, monkeypatch, tmp_path, look, size, bits_per_s):
    short = write_sample(tmp_path / "short.mp4", SECONDS, look, size, bits_per_s)
    path = repeated(short, tmp_path / "long.mp4", TIMES)
    backbones = load_backbones(find_bundle("mini"), place("cpu", "auto"))
    command = ["ffmpeg", "-v", "error", "-threads", str(cores()), "-i", path, "-f", "null", "-"]
    took = in_turn(3, features=lambda: extract(path, backbones), ffmpeg=lambda: subprocess.run(command, check=True))
    spared = extract(path, backbones)
    monkeypatch.setattr(pictures, "told_by", lambda codec: None)
    full_s = in_turn(1, full=lambda: extract(path, backbones))["full"]
    seconds = spared.clips * 32 / FPS
    tell(
        capsys,
        f"{look}, {size[0]} x {size[1]}, {bits_per_s / 1e6:g} Mbit/s, {cores()} cores: features "
        f"{took['features']:.1f} s, FFmpeg's decoding {took['ffmpeg']:.1f} s: {took['features'] / took['ffmpeg']:.2f}; "
        f"{seconds / took['features']:.1f} x real time; with every picture decoded {full_s:.1f} s",
    )
    whole = extract(path, backbones)
    assert torch.equal(torch.from_numpy(spared.visual), torch.from_numpy(whole.visual))
    assert took["features"] < full_s  # what isn't decoded costs nothing
    if look == "footage":
        assert took["features"] <= 1.15 * took["ffmpeg"]  # 1, and what a machine's speed changes meanwhile
