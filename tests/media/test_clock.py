from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlavl_cli.media.clock import Clock


def steady(times, duration=0.04):
    clock = Clock()
    return [time for time, _ in clock.steady((time, duration, None) for time in times)], clock.repaired


@given(st.lists(st.floats(0.01, 9), min_size=1, max_size=30), st.floats(-5, 100))
def test_times_that_increase_are_left_alone(steps, start):
    times = [start]
    for step in steps:
        times.append(times[-1] + step)
    assert steady(times, min(steps)) == (times, 0)


@given(st.lists(st.one_of(st.none(), st.floats(-1e5, 1e5)), min_size=1, max_size=40))
def test_nothing_goes_back_by_more_than_a_second(times):
    found, _ = steady(times)
    for before, after in pairwise(found):
        assert after > before - 1.01


def test_missing_times_follow_the_durations():
    found, repaired = steady([None, None, 0.08, None])
    assert [round(time, 6) for time in found] == [0, 0.04, 0.08, 0.12]
    assert repaired == 3


def test_one_broken_timestamp_moves_no_other():
    times = [i / 25 for i in range(20)]
    broken = [*times[:7], 4000.0, *times[8:]]
    found, repaired = steady(broken)
    assert found == pytest.approx(times)
    assert repaired == 1


def test_a_gap_that_lasts_is_kept():
    assert steady([0.0, 0.04, 30.0, 30.04]) == ([0.0, 0.04, 30.0, 30.04], 0)


def test_a_clock_that_starts_anew_goes_on():
    found, repaired = steady([100.0, 100.04, 3.0, 3.04])
    assert found == pytest.approx([100.0, 100.04, 100.08, 100.12])
    assert repaired == 1
