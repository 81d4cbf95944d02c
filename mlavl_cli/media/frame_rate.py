"""Frames of any rate -> frames of the rate at which a head's training clips were cut, so that 32 span the same time.

Existing frames only: nothing is blended. Rates that public datasets mix count as one, and keep their frames.
"""

import math
from collections import deque
from collections.abc import Iterator

from mlavl_cli.media.decode import TimedFrame

_USUAL_FPS = (23.5, 30.3)  # 23.976 to 30, and what timestamps in milliseconds make of them
_ALIKE = 0.02  # other rates count as one within this share
_OVER = 16  # intervals over which a rate is measured
_NEXT_TO_S = 0.001  # timestamps may be rounded to milliseconds
_LONGEST_S = 5.0  # a frame is shown for no longer: behind it lies a gap


def count_as_one(fps: float, other: float) -> bool:
    """Whether clips of 32 frames of both rates span the same time, as far as it matters."""
    low, high = _USUAL_FPS
    return (low <= fps <= high and low <= other <= high) or abs(fps / other - 1) <= _ALIKE


class FrameRate:
    """Takes or repeats frames so that there are `fps` of them a second, wherever the file's rate is another one.

    The file's rate is measured from the timestamps of the latest few frames: it may change on the way.

    Args:
        fps: wanted.
        stated: what the header says of the file.

    Attributes:
        repeated: how many frames were, so far.
    """

    def __init__(self, fps: float, stated: float):
        self._fps, self._step_s = fps, 1 / fps
        self._intervals = deque([1 / stated] * _OVER, maxlen=_OVER)
        self.repeated = 0

    def __call__(self, frames: Iterator[TimedFrame]) -> Iterator[TimedFrame]:
        """Frames in the order of their times -> frames in that order. A repeated one gets the time of its turn."""
        turn_s = -math.inf  # the next frame is the one that is shown then
        frame = next(frames, None)
        while frame is not None:
            following = next(frames, None)
            shown_s = self._intervals[-1] if following is None else following.time_s - frame.time_s
            self._intervals.append(min(shown_s, _LONGEST_S))
            if count_as_one(_OVER / sum(self._intervals), self._fps):
                yield frame
                turn_s = -math.inf
            else:
                begins = turn_s < frame.time_s - _NEXT_TO_S
                if begins:
                    turn_s = frame.time_s
                end_s, taken = frame.time_s + min(shown_s, _LONGEST_S) - _NEXT_TO_S, False
                while turn_s < end_s or (begins and not taken):
                    yield TimedFrame(turn_s, frame.picture) if taken else frame
                    self.repeated += taken
                    taken, turn_s = True, turn_s + self._step_s
            frame = following
