"""Two takes of one programme: what differs in the scores, and when."""

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Moment:
    """A clip of take A, and take B over the same stretch of the programme; None where B has nothing there.

    Times are A's, in seconds. Consistency is None without sound, quality without a timeline.
    """

    start_s: float
    end_s: float
    consistency_a: float | None
    consistency_b: float | None
    quality_a: float | None
    quality_b: float | None

    @property
    def change(self) -> float | None:
        """B less A: of consistency where both have it, else of quality."""
        if self.consistency_a is not None and self.consistency_b is not None:
            return self.consistency_b - self.consistency_a
        if self.quality_a is None or self.quality_b is None:
            return None
        return self.quality_b - self.quality_a


@dataclass(frozen=True)
class Difference:
    """A target's points in both takes, and how far their intervals reach from them; None where there is no interval."""

    a: float
    b: float
    reach_a: float | None = None
    reach_b: float | None = None
    incomparable: str = ""

    @property
    def why_not(self) -> str:
        """Why nothing says whether the difference is beyond the intervals."""
        return self.incomparable or "no interval"

    @property
    def difference(self) -> float:
        """B less A, in points."""
        return self.b - self.a

    @property
    def beyond(self) -> bool | None:
        """Whether it is more than the intervals explain, where the errors of both takes are independent; None where
        an interval is missing, or the takes can't be compared."""
        if self.incomparable or self.reach_a is None or self.reach_b is None:
            return None
        return abs(self.difference) > math.hypot(self.reach_a, self.reach_b)


@dataclass(frozen=True)
class Comparison:
    """Two takes.

    Attributes:
        offset_s: how much later the programme begins in B's video than in A's.
        aligned_by: what says so: music, start, or given.
        scores: by target.
        moments: clip by clip of take A.
        note: what is unusual of the takes together; empty: nothing.
    """

    offset_s: float
    aligned_by: str
    scores: dict[str, Difference]
    moments: list[Moment]
    note: str = ""

    def differing(self, most: int) -> list[Moment]:
        """The moments that differ most, the largest change first."""
        known = [moment for moment in self.moments if moment.change is not None]
        return sorted(known, key=lambda moment: -abs(moment.change or 0))[:most]


def compare_takes(a: dict[str, Any], b: dict[str, Any], offset_s: float, aligned_by: str) -> Comparison:
    """Both takes as `mlavl score --format json` gives them."""
    moments = compare_moments(a, b, offset_s)
    timed = any(moment.quality_a is not None or moment.consistency_a is not None for moment in moments)
    return Comparison(offset_s, aligned_by, compare_scores(a, b), moments if timed else [])


def compare_scores(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Difference]:
    """Target -> points of both takes, as `mlavl score --format json` gives them; of the targets that both have.

    Those that differ by more than their intervals come first.
    """
    why = _incomparable(a, b)
    found = {
        target: Difference(score["score"], other["score"], _reach(score), _reach(other), why)
        for target, score in a["scores"].items()
        if (other := b["scores"].get(target))
    }
    return dict(sorted(found.items(), key=lambda one: not one[1].beyond))


def _incomparable(a: dict[str, Any], b: dict[str, Any]) -> str:
    """Why two takes' scores mean different things, if they do."""
    if any((one.get("domain") or {}).get("inside") is False for one in (a, b)):
        return "out of domain"
    heard = [(one.get("video") or {}).get("has_audio", True) for one in (a, b)]
    return "one without sound" if heard[0] != heard[1] else ""


def _reach(score: dict[str, Any]) -> float | None:
    """The longer side of an interval: the other may end at the range's end."""
    ends = score.get("interval")
    return max(ends[1] - score["score"], score["score"] - ends[0]) if ends else None


def compare_moments(a: dict[str, Any], b: dict[str, Any], offset_s: float = 0.0) -> list[Moment]:
    """Clip by clip of take A: what take B was like then.

    B's clips begin at other moments; their values are averaged by how long each shares A's clip.

    Args:
        a, b: as `mlavl score --format json` gives them.
        offset_s: how much later the programme begins in B's video than in A's.
    """
    moments = []
    others = sorted(b["clips"], key=lambda clip: clip["start_s"])
    first = 0  # of the others, that is not over yet
    for clip in sorted(a["clips"], key=lambda clip: clip["start_s"]):
        start, end = clip["start_s"] + offset_s, clip["end_s"] + offset_s
        while first < len(others) and others[first]["end_s"] <= start:
            first += 1
        behind = next((i for i in range(first, len(others)) if others[i]["start_s"] >= end), len(others))
        shares = [(min(end, c["end_s"]) - max(start, c["start_s"]), c) for c in others[first:behind]]
        shares = [(share, c) for share, c in shares if share > 0]
        moments.append(
            Moment(
                clip["start_s"], clip["end_s"],
                clip["consistency"], _mean(shares, "consistency"), clip["quality"], _mean(shares, "quality"),
            )
        )  # fmt: skip
    return moments


def _mean(shares: list[tuple[float, dict[str, Any]]], name: str) -> float | None:
    known = [(share, clip[name]) for share, clip in shares if clip[name] is not None]
    whole = sum(share for share, _ in known)
    return sum(share * value for share, value in known) / whole if whole else None
