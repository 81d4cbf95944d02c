"""Times that make sense from timestamps that don't: pictures one by one, and the packets of a whole file."""

import time
from fractions import Fraction
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlavl_cli.media.clock import CommonClock, Repairs, picture_times

VIDEO, AUDIO = 0, 1


def times_of(stamps, interval=0.04):
    repairs = Repairs()
    times = [time for time, _ in picture_times(((stamp, None) for stamp in stamps), interval, repairs)]
    return times, repairs.missing + repairs.broken


@given(st.lists(st.floats(0.01, 9), min_size=1, max_size=30), st.floats(0, 100))
def test_times_that_increase_are_left_alone(steps, start):
    stamps = [start]
    for step in steps:
        stamps.append(stamps[-1] + step)
    assert times_of(stamps, min(steps)) == (stamps, 0)


@given(st.lists(st.one_of(st.none(), st.floats(-1e5, 1e5)), min_size=1, max_size=40))
def test_times_always_increase(stamps):
    found, _ = times_of(stamps)
    assert len(found) == len(stamps)
    assert found[0] >= 0
    for before, after in pairwise(found):
        assert after > before


def test_missing_times_follow_the_frame_rate():
    found, repaired = times_of([None, None, 0.08, None])
    assert [round(time, 6) for time in found] == [0, 0.04, 0.08, 0.12]
    assert repaired == 3


def test_one_broken_timestamp_moves_no_other():
    times = [i / 25 for i in range(20)]
    found, repaired = times_of([*times[:7], 4000.0, *times[8:]])
    assert found == pytest.approx(times)
    assert repaired == 1


def test_a_gap_that_lasts_is_kept():
    assert times_of([0.0, 0.04, 30.0, 30.04]) == ([0.0, 0.04, 30.0, 30.04], 0)


def test_a_clock_that_stands_still_does_not_stop_time():
    found, repaired = times_of([0.0, 0.04, *[0.08] * 10])
    assert found[-1] == pytest.approx(0.08 + 8 * 0.04, abs=1e-3)
    assert repaired == 8


# --- Packets of several streams --------------------------------------------------------------------------------------


def packet(index, dts, pts=None, duration=40):
    """In milliseconds."""
    return index, SimpleNamespace(
        dts=dts, pts=dts if pts is None else pts, duration=duration, time_base=Fraction(1, 1000), size=9
    )


def part(start, seconds, sound_less=0, sound_first=0):
    """Picture (B-frames: shown two frames after they are decoded) and sound, interleaved, in milliseconds."""
    pictures = [packet(VIDEO, start + i * 40, start + 80 + i * 40) for i in range(seconds * 25)]
    sounds = [packet(AUDIO, start + 80 + i * 20, duration=20) for i in range(seconds * 50 - sound_less // 20)]
    return sorted(pictures + sounds, key=lambda one: one[1].dts - (sound_first if one[0] == AUDIO else 0))


def follow(packets, programmes=None):
    clock = CommonClock(programmes)
    found = list(clock.follow(packets))
    return {index: [one.pts for at, one in found if at == index] for index in (VIDEO, AUDIO)}, clock


def test_one_recording_is_left_alone():
    found, clock = follow(part(1000, 4))
    assert found[VIDEO] == [1080 + i * 40 for i in range(100)]
    assert clock.restarts == 0


@pytest.mark.parametrize("sound_first", [-100, 0, 100])
def test_recordings_joined_end_to_end_stay_on_one_clock(sound_first):
    """Each part's sound ends before its picture: neither may drift against the other, part by part."""
    found, clock = follow([one for _ in range(5) for one in part(1400, 4, sound_less=200, sound_first=sound_first)])
    assert clock.restarts == 4
    for number in range(5):
        assert found[VIDEO][number * 100] == found[AUDIO][number * 190] == 1480 + number * 4000


def test_what_an_earlier_part_still_holds_stays_with_it():
    """Readers of transport streams hand out the last packet of a stream late."""
    first, second = part(0, 2), part(0, 2)
    late = first.pop()
    found, _ = follow([*first, *second[:5], late, *second[5:]])
    assert sorted(found[VIDEO]) == found[VIDEO]


@pytest.mark.parametrize("broken", [3_600_000, 0])
def test_one_broken_timestamp_is_no_restart(broken):
    packets = part(100_000, 4)
    packets[70][1].dts = packets[70][1].pts = broken
    found, clock = follow(packets)
    assert clock.restarts == 0
    assert found[VIDEO][-1] == 100_080 + 99 * 40
    assert found[AUDIO][-1] == 100_080 + 199 * 20


def test_a_gap_in_all_streams_stays():
    found, clock = follow([*part(0, 2), *part(30_000, 2)])
    assert (found[VIDEO][50], clock.restarts) == (30_080, 0)


def test_programmes_have_clocks_of_their_own():
    found, clock = follow([*part(0, 2), *[p for p in part(0, 2) if p[0] == AUDIO]], {VIDEO: 7, AUDIO: 8})
    assert clock.restarts == 1
    assert found[AUDIO][100] == 2080


def test_packets_without_times_pass():
    found, _ = follow([packet(VIDEO, 0), (VIDEO, SimpleNamespace(dts=None, pts=None, duration=0, size=0))])
    assert found[VIDEO] == [0, None]


def test_a_part_without_sound_leaves_its_sound_to_no_other():
    """Sound, then none, then sound again: each part as old as the others when it begins."""
    silent = [one for one in part(0, 4) if one[0] == VIDEO]
    found, clock = follow([*part(0, 4), *silent, *part(0, 4)])
    assert clock.restarts == 2
    assert found[AUDIO][200] == found[VIDEO][200] == found[VIDEO][0] + 8000


def test_a_clock_of_33_bits_that_is_full_goes_on():
    """The last frames are decoded before it is full and shown behind."""
    full = 1 << 33
    packets = []
    for i in range(100):
        dts, pts = full - 50 * 3600 + i * 3600, full - 48 * 3600 + i * 3600
        one = SimpleNamespace(dts=dts % full, pts=pts % full, duration=3600, time_base=Fraction(1, 90_000), size=9)
        packets.append((VIDEO, one))
    clock = CommonClock()
    shown = [one.pts for _, one in clock.follow(packets)]
    assert np.diff(shown) == pytest.approx(3600, abs=7200)
    assert shown[-1] - shown[0] == pytest.approx(99 * 3600, abs=7200)


def test_a_clock_that_starts_again_without_end_is_none():
    packets = [packet(AUDIO, -30_000 * i) for i in range(3000)]
    clock = CommonClock()
    assert len(list(clock.follow(packets))) == 3000
    assert clock.restarts == 1000


@pytest.mark.parametrize("streams", [(AUDIO,), (AUDIO, VIDEO)])
def test_broken_timestamps_without_end_cost_no_time(streams):
    """Every other packet stands at another place far behind, and the next one takes it back."""
    packets = []
    for i in range(60_000):
        back = 2500 * i + 5000 if i % 2 and i > 4 else 0
        packets += [packet(index, 300_000_000 + 40 * i - back) for index in streams]
    begin = time.process_time()
    found, clock = follow(packets)
    assert time.process_time() - begin < 5
    assert clock.restarts <= 1000
    assert sum(map(len, found.values())) == len(packets)
