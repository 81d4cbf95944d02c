"""The pipeline gives what a plain loop over the clips gives, whatever the batch."""

import itertools
import os
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from conftest import make_video

import mlavl_cli
from mlavl_cli.bundle import find_bundle
from mlavl_cli.device import place
from mlavl_cli.errors import DeviceError, MediaError, WeightsError
from mlavl_cli.features import extract as extraction
from mlavl_cli.features.extract import extract, extract_many, load_backbones
from mlavl_cli.media.clips import ClipReader
from mlavl_cli.media.cutting import Cutting


@pytest.fixture(scope="module")
def backbones():
    return load_backbones(find_bundle("mini"), place("cpu", "fp32"))


def threads() -> int:
    """But for those of passes side by side, which are kept."""
    return sum(not thread.name.startswith("mlavl-lane") for thread in threading.enumerate())


@pytest.mark.parametrize("batch_size", [1, 2, 5, None])
def test_equals_a_plain_loop(tmp_path, backbones, batch_size):
    path = make_video(tmp_path / "a.mp4", 200)
    features = extract(path, backbones, batch_size=batch_size)
    with ClipReader(path, backbones.visual.picture, backbones.visual.frames) as clips:
        for i, clip in enumerate(clips):
            visual = backbones.visual.encode(torch.from_numpy(clip.frames)[None])[0]
            audio = backbones.audio.encode([backbones.audio.spectrogram(clip.sound)])[0]
            np.testing.assert_allclose(features.visual[i], visual, atol=1e-5)
            np.testing.assert_allclose(features.audio[i], audio, atol=1e-5)
            assert (features.start_s[i], features.end_s[i]) == (clip.start_s, clip.end_s)
    assert features.clips == i + 1 == 6


def test_it_repeats_to_the_bit(routine, backbones):
    first, second = (extract(routine, backbones) for _ in range(2))
    assert first.visual.tobytes() == second.visual.tobytes()
    assert first.audio.tobytes() == second.audio.tobytes()


def test_no_sound(silent_routine, backbones):
    features = extract(silent_routine, backbones)
    assert features.audio is None
    assert any("no sound" in text for text in features.warnings)


def test_provenance_says_all_it_depends_on(routine, backbones):
    made = extract(routine, backbones, Cutting(tail="pad")).provenance
    assert made["cutting"] == {"tail": "pad", "video_stream": None, "audio_stream": None, "frame_rate": None}
    assert made["precision"] == "fp32"
    assert made["clip_frames"] == 32
    assert len(made["backbones"]["visual"]["sha256"]["model.safetensors"]) == 64


def test_errors_come_through_and_no_thread_is_left(tmp_path, backbones):
    before = threads()
    with pytest.raises(MediaError):
        extract(tmp_path / "missing.mp4", backbones)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            extract(make_video(tmp_path / "b.mp4", 200), backbones, batch_size=1, on_clips=lambda *_: 1 / 0)
    assert threads() == before


def test_progress_counts_every_clip(tmp_path, backbones):
    seen = []
    extract(make_video(tmp_path / "c.mp4", 200), backbones, batch_size=4, on_clips=lambda *told: seen.append(told))
    assert [(count, time) for count, time, _ in seen] == [(4, 4 * 1.28), (2, 6 * 1.28)]


def test_public_function(routine):
    features = mlavl_cli.extract_features(routine, precision="fp32", device="cpu")
    assert features.visual.shape == (2, 192)
    assert features.audio.shape == (2, 96)


def test_many_videos_come_in_order_with_the_numbers_they_get_alone(tmp_path, backbones):
    """Batches cross their borders, a broken one stands in its place, and what is there already passes through."""
    lengths = [40, 100, 33, 70, 130]
    paths = [make_video(tmp_path / f"{i}.mp4", n, sound=None if i == 2 else "tone") for i, n in enumerate(lengths)]
    alone = [extract(path, backbones) for path in paths]
    broken = tmp_path / "broken.mp4"
    broken.write_text("no video")
    jobs = [alone[3], alone[3], alone[3], paths[0], paths[1], broken, alone[3], paths[2], paths[4]]
    for batch_size, workers in ((None, 1), (None, 3), (3, 2), (16, 2)):
        found = list(extract_many(jobs, backbones, batch_size=batch_size, workers=workers))
        assert isinstance(found[5], MediaError)
        expected = [alone[i] for i in (3, 3, 3, 0, 1, 3, 2, 4)]
        for one, other in zip([*found[:5], *found[6:]], expected, strict=True):
            np.testing.assert_allclose(one.visual, other.visual, atol=1e-5)
            assert one.video == other.video
            assert (one.audio is None) == (other.audio is None)
            if batch_size is None:  # on the CPU, to the bit
                assert one.visual.tobytes() == other.visual.tobytes()
                assert one.audio is None or one.audio.tobytes() == other.audio.tobytes()


@pytest.fixture
def use_cores():
    usual = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(usual)


@pytest.mark.parametrize(("cores", "teams", "share"), [(2, 2, 1), (5, 4, 1)])
def test_passes_run_side_by_side(tmp_path, backbones, use_cores, monkeypatch, cores, teams, share):
    """As many at once as are told, each with its share of the cores; to the bit the numbers of that many threads."""
    meet(tmp_path, backbones, use_cores, monkeypatch, cores, teams, share)


def test_passes_run_side_by_side_on_two_cores_each(tmp_path):
    """In a process of its own: so many threads stay, and on fewer cores they slow down all that comes after."""
    code = (
        "import pathlib, pytest, sys, torch\nfrom features import test_extract as module\n"
        "backbones = module.load_backbones(module.find_bundle('mini'), module.place('cpu', 'fp32'))\n"
        "module.meet(pathlib.Path(sys.argv[1]), backbones, torch.set_num_threads, pytest.MonkeyPatch(), 6, 3, 2)\n"
    )
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True, timeout=120, env=here)


def meet(tmp_path, backbones, use_cores, monkeypatch, cores, teams, share):
    path, told, real = make_video(tmp_path / "a.mp4", 32 * teams), [], backbones.visual.encode
    use_cores(share)
    alone = extract(path, backbones, batch_size=2)
    together, shares = threading.Barrier(teams, timeout=60), []

    def meets_the_others(frames):
        together.wait()
        shares.append(torch.get_num_threads())
        return real(frames)

    use_cores(cores)
    monkeypatch.setattr(backbones.visual, "encode", meets_the_others)
    found = extract(path, backbones, on_clips=lambda _, time_s, __: told.append(time_s))
    assert (torch.get_num_threads(), shares) == (cores, [share] * teams)
    assert told == found.end_s.tolist()
    np.testing.assert_allclose(found.visual, alone.visual, atol=1e-5)
    monkeypatch.undo()
    use_cores(1)
    if share == 1:
        exact = extract(path, backbones)
        assert (found.visual.tobytes(), found.audio.tobytes()) == (exact.visual.tobytes(), exact.audio.tobytes())


@pytest.mark.parametrize(("cores", "batch_size"), [(1, 1), (2, 1), (2, 2)])
def test_a_result_does_not_wait_for_the_next_video(tmp_path, backbones, use_cores, monkeypatch, cores, batch_size):
    use_cores(cores)
    paths = [make_video(tmp_path / f"{i}.mp4", 32 * batch_size) for i in range(2)]
    go_on, real = threading.Event(), extraction.prepare_file

    def slow(path, *rest):
        if path == paths[1]:
            assert go_on.wait(60)
        yield from real(path, *rest)

    monkeypatch.setattr(extraction, "prepare_file", slow)
    results = extract_many(paths, backbones, batch_size=batch_size)
    assert next(results).video.path == str(paths[0])
    go_on.set()
    assert next(results).video.path == str(paths[1])


def test_clips_are_taken_from_whichever_video_has_them(tmp_path, backbones, use_cores, monkeypatch):
    """The first video hands over its second clip only after all of the others have been worked on."""
    paths = [make_video(tmp_path / f"{i}.mp4", 400 if i == 1 else 70) for i in range(3)]
    alone = [extract(path, backbones) for path in paths]
    others, real = threading.Semaphore(0), extraction.prepare_file

    def waits(path, *rest):
        for number, item in enumerate(real(path, *rest)):
            if path == paths[0] and number == 1:
                for _ in range(12 + 2 + 1):  # and its own first
                    assert others.acquire(timeout=60)
            yield item

    monkeypatch.setattr(extraction, "prepare_file", waits)
    for cores in (1, 2):
        use_cores(cores)
        results = extract_many(paths, backbones, workers=3, on_clips=lambda *_: others.release())
        found = list(results)
        assert [features.visual.tobytes() for features in found] == [features.visual.tobytes() for features in alone]
        assert [features.start_s.tolist() for features in found] == [features.start_s.tolist() for features in alone]


def test_a_long_video_does_not_let_those_behind_it_pile_up(tmp_path, backbones, monkeypatch):
    """What is done waits for the one before it, but only so much is begun."""
    begun, short = [], make_video(tmp_path / "short.mp4", 40)
    long = make_video(tmp_path / "long.mp4", 40)
    go_on, real = threading.Event(), extraction.prepare_file

    def slow(path, *rest):
        if path == long:
            assert go_on.wait(60)
        yield from real(path, *rest)

    def jobs():
        yield long
        for number in range(100):
            begun.append(number)
            if number == 30:
                go_on.set()
            yield short

    monkeypatch.setattr(extraction, "prepare_file", slow)
    results = extract_many(jobs(), backbones, workers=2)
    next(results)
    assert 30 < len(begun) < 40
    assert len(list(results)) == 100


def test_a_list_of_videos_that_breaks_off_leaves_no_thread(tmp_path, backbones):
    before = threads()

    def jobs():
        yield make_video(tmp_path / "a.mp4", 1000)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(extract_many(jobs(), backbones))
    assert threads() == before


def test_passes_of_several_callers_share_their_threads(tmp_path, backbones, use_cores):
    """However often and from however many threads, and what one of them left half done is in nobody's way."""
    path = make_video(tmp_path / "a.mp4", 200)
    use_cores(2)
    alone = extract(path, backbones)

    def lanes():
        return {thread.ident for thread in threading.enumerate() if thread.name.startswith("mlavl-lane")}

    before = lanes()
    half_done = extract_many([path] * 2, backbones)
    next(half_done)
    with ThreadPoolExecutor(3) as callers:
        found = list(callers.map(lambda _: extract(path, backbones), range(6)))
    assert {features.visual.tobytes() for features in found} == {alone.visual.tobytes()}
    assert next(half_done).visual.tobytes() == alone.visual.tobytes()
    assert lanes() == before


def test_what_goes_wrong_in_one_of_several_passes_is_told(tmp_path, backbones, use_cores, monkeypatch):
    """The clips before it were given to their videos already, and no thread is left."""
    before, calls, real = threads(), itertools.count(), backbones.visual.encode
    paths = [make_video(tmp_path / f"{i}.mp4", 40) for i in range(6)]

    def fails_in_the_fourth(frames):
        if next(calls) == 3:
            raise WeightsError("no good")
        return real(frames)

    monkeypatch.setattr(backbones.visual, "encode", fails_in_the_fourth)
    use_cores(2)
    results = extract_many(paths, backbones)
    assert len([next(results) for _ in range(2)]) == 2
    with pytest.raises(WeightsError, match="no good"):
        list(results)
    assert threads() == before


def test_stopping_early_leaves_no_thread_and_no_pass(tmp_path, backbones, use_cores, monkeypatch):
    before, passes, real = threads(), [], backbones.visual.encode

    def counted(frames):
        passes.append("begun")
        time.sleep(0.05)
        row = real(frames)
        passes.append("ended")
        return row

    monkeypatch.setattr(backbones.visual, "encode", counted)
    use_cores(2)
    paths = [make_video(tmp_path / f"{i}.mp4", 300) for i in range(4)]
    results = extract_many(paths, backbones, workers=3)
    next(results)
    results.close()
    assert passes.count("begun") == passes.count("ended") > 0
    assert threads() == before


def test_a_pass_that_outlasts_the_others_is_not_waited_for_in_vain(tmp_path, backbones, monkeypatch, use_cores):
    """The last clips find no room until the first, slowest pass is done, and no other event comes after that."""
    use_cores(2)
    paths = [make_video(tmp_path / f"{i}.mp4", 3 * 32) for i in range(2)]
    real, begun, ended = backbones.visual.encode, [], []

    def first_is_slow(frames):
        begun.append(len(frames))
        if len(begun) == 1:
            while len(ended) < 3:
                time.sleep(0.01)
            time.sleep(0.5)
        rows = real(frames)
        ended.append(len(frames))
        return rows

    monkeypatch.setattr(backbones.visual, "encode", first_is_slow)
    found = []
    thread = threading.Thread(target=lambda: found.extend(extract_many(paths, backbones)), daemon=True)
    thread.start()
    thread.join(60)
    assert [features.clips for features in found] == [3, 3]


def test_a_batch_too_large_for_the_memory_is_halved(tmp_path, backbones, monkeypatch):
    path = make_video(tmp_path / "a.mp4", 200)
    expected, sizes = extract(path, backbones), []
    real = backbones.visual.encode

    held = []  # what failed passes had computed

    def small_memory(frames):
        sizes.append(len(frames))
        assert [kept for kept in held if kept() is not None] == []  # let go before half of it is tried
        if len(frames) > 2:
            computed = frames * 2
            held.append(weakref.ref(computed))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(frames)

    monkeypatch.setattr(backbones.visual, "encode", small_memory)
    features = extract(path, backbones, batch_size=6)
    assert sizes == [6, 3, 1, 2, 3, 1, 2]
    np.testing.assert_allclose(features.visual, expected.visual, atol=1e-5)
    monkeypatch.setattr(backbones.visual, "encode", lambda frames: (_ for _ in ()).throw(torch.OutOfMemoryError("no")))
    with pytest.raises(DeviceError, match="one clip alone"):
        extract(path, backbones, batch_size=2)
