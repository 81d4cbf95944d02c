"""Sound follows its samples: what jitters is contiguous, what is missing is a gap, what drifts is caught up slowly."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlavl_cli.media.sound_clock import SoundClock

RATE, SAMPLES = 48_000, 1024
FRAME_S = SAMPLES / RATE


def place(stamps, samples=SAMPLES):
    frame = SimpleNamespace(samples=samples, sample_rate=RATE)
    clock = SoundClock()
    placed = list(clock.place((stamp, frame) for stamp in stamps))
    return [one.time_s for one in placed], clock.warnings, placed


def even(count, start=0.0):
    return start + np.arange(count) * FRAME_S


def test_even_sound_stays_where_it_is():
    times, warnings, placed = place(even(500, 3.2))
    assert times == pytest.approx(even(500, 3.2), abs=1e-9)
    assert warnings == []
    assert [one.contiguous for one in placed] == [False] + [True] * 499


@given(st.lists(st.floats(-0.039, 0.039), min_size=2, max_size=80))
def test_rounding_moves_nothing(jitter):
    jitter[0] = 0.0
    times, warnings, _ = place(even(len(jitter)) + jitter)
    assert times == pytest.approx(even(len(jitter)), abs=1e-9)
    assert warnings == []


@pytest.mark.parametrize("largest_s", [0.06, 0.15, 0.4])
def test_jitter_of_a_network_camera_moves_nothing(largest_s):
    wobble = np.sin(1.7 * np.arange(1400)) + np.sin(2.9 * np.arange(1400))
    times, warnings, _ = place(even(1400) + largest_s / 2 * wobble)
    assert times == pytest.approx(even(1400), abs=1e-9)
    (text,) = warnings
    assert text.startswith("the sound's timestamps jitter by up to ")
    assert 0.9 * largest_s < float(text.split("up to ")[1].split(" ms")[0]) / 1000 < 1.1 * largest_s


@pytest.mark.parametrize("together", [3, 4, 8, 16])
def test_packets_stamped_in_bursts_are_contiguous(together):
    stamps = even(600)
    times, warnings, _ = place(stamps[np.arange(600) // together * together])
    assert times == pytest.approx(stamps, abs=1e-9)
    assert len(warnings) == 1


@pytest.mark.parametrize("gap_s", [0.05, 0.1, 1.3, 40.0])
def test_lost_packets_leave_a_gap_of_their_length(gap_s):
    stamps = even(400)
    stamps[150:] += gap_s
    times, warnings, placed = place(stamps)
    assert times == pytest.approx(stamps, abs=1e-9)
    assert warnings == [f"1 gap in the sound, {gap_s:.2f} s in all: silence there"]
    assert not placed[150].contiguous


def test_a_gap_is_found_among_jitter():
    rng = np.random.default_rng(0)
    stamps = even(600)
    stamps[300:] += 0.8
    times, _, _ = place(stamps + np.where(np.arange(600) > 0, rng.uniform(-0.06, 0.06, 600), 0))
    assert times[:300] == pytest.approx(stamps[:300], abs=1e-9)
    assert times[302:] == pytest.approx(stamps[302:], abs=0.03)


def test_single_lost_packets_add_up_to_gaps():
    """Every twentieth is lost: the sound stays within two frames of its timestamps."""
    kept = np.array([i for i in range(2000) if i % 20])
    stamps = even(2001)[kept]
    times, warnings, _ = place(stamps)
    assert np.abs(np.array(times) - stamps).max() < 0.045
    assert "gaps in the sound" in warnings[0]


def test_what_overlaps_goes_back():
    stamps = even(400)
    stamps[200:] -= 0.3
    times, warnings, _ = place(stamps)
    assert times == pytest.approx(stamps, abs=1e-9)
    assert warnings == ["1 overlap in the sound, 0.30 s in all: left out"]


@pytest.mark.parametrize("rate", [1.001, 0.999, 1.0003, 1.005])
def test_a_slow_drift_is_caught_up_slowly(rate):
    """Ten minutes of a sound card whose clock is off by a thousandth."""
    stamps = even(28_000) * rate
    times, warnings, placed = place(stamps)
    assert np.abs(np.array(times) - stamps).max() < 0.06
    assert {round(one.stretch, 6) for one in placed} <= {1.0, 1.01 if rate > 1 else 0.99}
    assert all(one.contiguous for one in placed[1:])
    assert [text.split(":")[0] for text in warnings] == ["the sound drifts against its timestamps"]


@pytest.mark.parametrize("rate", [0.05, 0.5, 0.92, 1.09, 2.0])
def test_timestamps_at_a_wrong_rate_are_not_believed(rate):
    times, warnings, _ = place(np.round(even(1400) * rate, 3))
    assert times == pytest.approx(even(1400), abs=1e-9)
    (text,) = warnings
    assert "run at another rate" in text
    off_s = (rate - 1) * even(1400)[-1]
    assert float(text.split("off by up to ")[1].split(" s")[0]) == pytest.approx(off_s, abs=0.1)


def test_timestamps_in_milliseconds_are_rounded_and_no_more():
    times, warnings, _ = place(np.round(even(3000), 3))
    assert (times[0], warnings) == (0, [])
    assert times == pytest.approx(even(3000), abs=1e-9)


def test_missing_timestamps_follow_the_samples():
    stamps = [None if i % 3 else t for i, t in enumerate(even(90, 1.0))]
    times, warnings, _ = place(stamps)
    assert times == pytest.approx(even(90, 1.0), abs=1e-9)
    assert warnings == []
    assert place([None] * 5)[0] == pytest.approx(even(5), abs=1e-9)


def test_one_broken_timestamp_moves_nothing():
    stamps = even(200)
    stamps[77] = 5000.0
    assert place(stamps)[0] == pytest.approx(even(200), abs=1e-9)


# --- Timestamps that are wrong for a while ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        lambda t: np.where((t > 20) & (t < 22.5), 22.5, t),
        lambda t: np.where((t > 20) & (t < 25), 20.0, t),
        lambda t: np.where((t > 20) & (t < 28), 28.0, t),
        lambda t: np.where((t > 20) & (t < 25), 20 + (t - 20) * 0.8, t),
        lambda t: np.where((t > 20) & (t < 25), 20 + (t - 20) * 1.2, t),
    ],
    ids=["held up", "stands still", "one far ahead, and its like until time catches up", "slow", "fast"],
)
def test_what_comes_right_again_was_never_off(wrong):
    stamps = even(2800)
    times, warnings, _ = place(np.round(wrong(stamps), 3))
    assert times[-400:] == pytest.approx(stamps[-400:], abs=1e-9)
    assert times == pytest.approx(stamps, abs=1e-9)
    assert warnings
    assert all("it follows its samples" in text for text in warnings)


@pytest.mark.parametrize("back_s", [0.3, 1.0, 2.0])
def test_sound_that_is_set_back_for_good_goes_back(back_s):
    """As a muxer writes it that lets no timestamp go back: it stands still until time has caught up."""
    stamps = even(2800)
    wanted = np.where(stamps > 30, stamps - back_s, stamps)
    times, _, _ = place(np.round(np.maximum.accumulate(wanted), 3))
    assert np.array(times[-400:]) - wanted[-400:] == pytest.approx(np.zeros(400), abs=0.041)


@pytest.mark.parametrize("rate", [0.96, 0.97, 0.985, 1.015, 1.02, 1.03, 1.0417])
@pytest.mark.parametrize("samples", [960, 1024, 1152])
def test_wrong_rates_are_known_whatever_rounds_them(rate, samples):
    steady = np.arange(2000) * samples / RATE
    times, warnings, _ = place(np.round(steady * rate, 3), samples)
    assert times == pytest.approx(steady, abs=1e-9)
    assert ["another rate" in text for text in warnings] == [True]


@pytest.mark.parametrize("rate", [0.995, 0.999, 1.001, 1.005])
def test_plain_drift_is_no_jitter_and_is_told_as_it_is(rate):
    stamps = np.round(even(4000) * rate, 3)
    _, warnings, _ = place(stamps)
    (text,) = warnings
    told_s = float(text.split("by ")[1].split(" ms")[0]) / 1000
    assert told_s == pytest.approx((rate - 1) * even(4000)[-1], abs=0.06)


@pytest.mark.parametrize("together", [16, 40])
def test_bursts_are_no_wrong_rate(together):
    stamps = even(1000)
    times, warnings, _ = place(stamps[np.arange(1000) // together * together])
    assert times == pytest.approx(stamps, abs=1e-9)
    assert [text.split(" by ")[0] for text in warnings] == ["the sound's timestamps jitter"]


def test_sound_of_single_samples_is_not_judged_at_each(monkeypatch):
    judged = []
    real = SoundClock._moved
    monkeypatch.setattr(SoundClock, "_moved", lambda *args: judged.append(1) or real(*args))
    jitter = np.where(np.arange(9600) // 2 % 2, 0.12, -0.12)
    times, _, _ = place(np.arange(9600) / RATE + jitter, samples=1)
    assert np.all(np.diff(times) >= 0)
    assert len(judged) <= 21  # of 0.2 s: one in 10 ms
