"""Clips of 32 frames span the same time, whatever the file's rate; frames are taken or repeated, never blended."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from conftest import make_video
from hypothesis import given
from hypothesis import strategies as st

from mlavl_cli.media.clips import ClipReader
from mlavl_cli.media.cutting import Cutting
from mlavl_cli.media.decode import TimedFrame
from mlavl_cli.media.frame_rate import FrameRate, count_as_one
from mlavl_cli.media.picture import PictureSpec


def at(fps, times_s, stated=25.0):
    """(time, which frame) of all that is taken."""
    rate = FrameRate(fps, stated)
    taken = list(rate(TimedFrame(time, number) for number, time in enumerate(times_s)))
    return [(frame.time_s, frame.picture) for frame in taken], rate


@pytest.mark.parametrize("fps", [24000 / 1001, 24, 25, 30000 / 1001, 30])
@pytest.mark.parametrize("wanted", [25, 29.97])
def test_rates_that_count_as_one_keep_every_frame(fps, wanted):
    times = [i / fps for i in range(200)]
    taken, rate = at(wanted, times, stated=fps)
    assert taken == list(zip(times, range(200), strict=True))
    assert rate.repeated == 0


@pytest.mark.parametrize(("fps", "every"), [(50, 2), (75, 3), (100, 4)])
def test_multiples_are_decimated_evenly(fps, every):
    taken, _ = at(25, [i / fps for i in range(400)], stated=fps)
    assert [number for _, number in taken] == list(range(0, 400, every))


@pytest.mark.parametrize("fps", [60, 59.94, 48, 120, 240])
def test_others_take_the_frame_that_is_shown(fps):
    taken, rate = at(25, [i / fps for i in range(int(4 * fps))], stated=fps)
    assert len(taken) == pytest.approx(100, abs=1)
    for turn, (time, number) in enumerate(taken):
        assert number / fps <= turn / 25 + 0.001
        assert (number + 1) / fps > turn / 25 - 0.001
        assert time == pytest.approx(number / fps)
    assert rate.repeated == 0


@pytest.mark.parametrize(("fps", "times"), [(12.5, 2), (5, 5)])
def test_lower_rates_repeat(fps, times):
    taken, rate = at(25, [i / fps for i in range(50)], stated=fps)
    assert [number for _, number in taken] == [i for i in range(50) for _ in range(times)]
    assert np.allclose(np.diff([time for time, _ in taken]), 0.04)
    assert rate.repeated == 50 * (times - 1)


def test_a_header_that_is_wrong_is_found_out():
    taken, _ = at(25, [i / 60 for i in range(600)], stated=25.0)
    assert len(taken) == pytest.approx(250, abs=12)


def test_a_rate_that_changes_on_the_way_is_followed():
    times = [i / 60 for i in range(300)]
    times += [5 + i / 15 for i in range(75)]
    taken, _ = at(25, times, stated=60)
    first = [time for time, _ in taken if time < 5]
    assert len(first) == pytest.approx(125, abs=2)
    assert len(taken) - len(first) == pytest.approx(125, abs=12)


def test_a_gap_is_not_filled():
    taken, rate = at(25, [i / 50 for i in range(100)] + [1000 + i / 50 for i in range(100)], stated=50)
    assert len(taken) < 100 + 60 * 25 + 10
    assert rate.repeated <= 60 * 25 + 5


@given(
    intervals=st.lists(st.floats(1e-3, 3.0), min_size=1, max_size=60),
    fps=st.sampled_from([25.0, 30.0, 50.0]),
    stated=st.floats(1, 240),
)
def test_times_increase_and_frames_keep_their_order(intervals, fps, stated):
    taken, _ = at(fps, np.cumsum(intervals).tolist(), stated)
    times, numbers = zip(*taken, strict=True) if taken else ((), ())
    assert all(b > a for a, b in pairwise(times))
    assert list(numbers) == sorted(numbers)


def test_what_counts_as_one():
    assert count_as_one(23.976, 30)
    assert count_as_one(59.94, 60)
    assert not count_as_one(50, 25)
    assert not count_as_one(60, 50)
    assert not count_as_one(20, 25)


def clips_of(path, frame_rate):
    with ClipReader(path, PictureSpec((32, 32)), 4, Cutting(frame_rate=frame_rate)) as reader:
        return list(reader), reader.warnings


def bars(count, fps):
    """Each frame as bright as its time, so that a clip's pictures tell when they were."""
    return [np.full((64, 96, 3), int(20 + 40 * i / fps), np.uint8) for i in range(count)]


@pytest.mark.parametrize("fps", [50, Fraction(60000, 1001), 60, 30, 25])
def test_clips_of_files_span_the_same_time_and_show_the_same(tmp_path, fps):
    path = make_video(tmp_path / "v.mp4", bars(round(4 * fps), float(fps)), fps)
    clips, warnings = clips_of(path, 25.0)
    span = 32 / 25 if fps != 30 else 32 / 30
    assert [clip.start_s for clip in clips] == pytest.approx([i * span for i in range(len(clips))], abs=0.021)
    assert len(clips) == int(4 / span)
    for clip in clips:
        assert len(clip.sound) == pytest.approx(16_000 * span, abs=16_000 * 0.035)
        brightness = clip.frames.mean((1, 2, 3))
        shown = clip.start_s + span * (np.arange(4) + 0.5) / 4
        assert brightness == pytest.approx(20 + 40 * shown, abs=4)
    assert warnings == []


def test_native_clips_are_consecutive_frames(tmp_path):
    path = make_video(tmp_path / "v.mp4", bars(240, 60), 60)
    clips, _ = clips_of(path, None)
    assert [clip.start_s for clip in clips] == pytest.approx([i * 32 / 60 for i in range(7)])


def test_lower_rates_warn(tmp_path):
    path = make_video(tmp_path / "v.mp4", bars(60, 15), 15)
    clips, warnings = clips_of(path, 25.0)
    assert len(clips) == 3
    assert warnings == ["15 frames/s are fewer than the weights want: 40 were repeated"]


def test_score_says_it_and_stores_do_not_mix(tmp_path, run):
    path, store = make_video(tmp_path / "v.mp4", bars(300, 60), 60), tmp_path / "s"
    auto = run("score", path, "--features", store, "-f", "json").json()
    assert len(auto["clips"]) == 3
    native = run("score", path, "--features", store, "-f", "json", "--frame-rate", "native").json()
    assert len(native["clips"]) == 9
    assert run("score", path, "--features", store, "-f", "json").json()["scores"] == auto["scores"]
    assert run("score", path, "--frame-rate", "fast").exit_code == 2
    other = run("score", path, "-f", "json", "--frame-rate", "50").json()
    assert len(other["clips"]) == 7
