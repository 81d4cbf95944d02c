"""Many files at once, by stages that only sleep: what the pipeline itself makes of its decoders and its model."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch

import mlavl_cli.features.extract as extraction
from mlavl_cli.device import Placement
from mlavl_cli.features.extract import Backbones, extract_many
from mlavl_cli.features.reading import End, Prepared
from mlavl_cli.media.decode import VideoInfo

pytestmark = [pytest.mark.slow, pytest.mark.benchmark]
FILES, CLIPS, DECODE_S = 16, 46, 0.01


class Instant:
    """A backbone that takes `seconds` a batch."""

    frames, picture, parameters_held = 8, None, 0

    def __init__(self, seconds: float = 0.0):
        self.seconds = seconds

    def encode(self, clips):
        time.sleep(self.seconds)
        return torch.zeros(len(clips), 4)

    def spectrogram(self, sound):
        return torch.zeros(1)


def decodes(path, *_):
    info = VideoInfo(str(path), CLIPS * 1.28, 25.0, 64, 64, True)
    statistics = np.zeros(20, np.float32), np.zeros(9, np.float32)
    for number in range(CLIPS):
        time.sleep(DECODE_S)
        span = (1.28 * number, 1.28 * (number + 1))
        yield Prepared(span, np.zeros((8, 4, 4, 3), np.uint8), np.ones(4, np.float32), info, statistics)
    yield End(info, [])


def seconds(workers: int, model_s: float, device: str) -> float:
    placement = Placement(torch.device(device), torch.float32)
    backbones = Backbones(Instant(model_s), Instant(), placement, {})
    begin = time.perf_counter()
    found = extract_many([Path(f"{i}.mp4") for i in range(FILES)], backbones, batch_size=1, workers=workers)
    assert [features.clips for features in found] == [CLIPS] * FILES
    return time.perf_counter() - begin


def test_as_many_decoders_as_there_are_workers(capsys, monkeypatch):
    monkeypatch.setattr(extraction, "prepare_file", decodes)
    for workers in (2, 4, 8, 16):
        ratio = seconds(workers, 0.0, "cpu") / (FILES * CLIPS * DECODE_S / workers)
        with capsys.disabled():
            print(f"\n{FILES} files of {CLIPS} clips, {workers} workers: {ratio:.2f} of ideal")
        assert ratio <= 1.3


def test_a_device_that_sleeps_never_waits_for_decoders(capsys, monkeypatch):
    """A model in the way of all others, as a GPU is: 4 ms a clip against ten decoders of 10 ms."""
    monkeypatch.setattr(extraction, "prepare_file", decodes)
    ratio = seconds(10, 0.004, "meta") / (FILES * CLIPS * 0.004)
    with capsys.disabled():
        print(f"\na device of 4 ms a clip, 10 decoders of 10 ms: {ratio:.2f} of the device alone")
    assert ratio <= 1.25
