"""Timestamps as files have them -> times that make sense: gaps are kept, resets and glitches are not."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

RESET_S = 1.0  # a larger step back is a clock that started anew, as where recordings were joined
GLITCH_S = 10.0  # a larger step ahead that the next timestamp takes back is a broken timestamp


class Clock:
    """Follows the timestamps of one stream. `repaired` counts those that were missing or not believed."""

    def __init__(self) -> None:
        self.repaired = 0

    def steady(self, timed: Iterable[tuple[float | None, float, T]]) -> Iterator[tuple[float, T]]:
        """(time or None, duration, item) -> (time, item), all in seconds.

        A clock that starts anew goes on where it was; so picture and sound, which start anew together, stay together.
        Small steps back are left to the caller.
        """
        offset, expected = 0.0, 0.0
        first = True
        for (time_s, duration_s, item), following_s in _with_following(timed):
            time_s = None if time_s is None else time_s + offset
            if time_s is None:
                time_s = expected
                self.repaired += 1
            elif not first and time_s < expected - RESET_S:
                offset += expected - time_s
                time_s = expected
                self.repaired += 1
            elif not first and time_s > expected + GLITCH_S and _returns(following_s, offset, time_s):
                time_s = expected
                self.repaired += 1
            yield time_s, item
            expected, first = time_s + duration_s, False


def _returns(following_s: float | None, offset: float, time_s: float) -> bool:
    return following_s is not None and following_s + offset < time_s - RESET_S


def _with_following(
    timed: Iterable[tuple[float | None, float, T]],
) -> Iterator[tuple[tuple[float | None, float, T], float | None]]:
    """Each entry with the time of the one after it."""
    held = None
    for entry in timed:
        if held is not None:
            yield held, entry[0]
        held = entry
    if held is not None:
        yield held, None
