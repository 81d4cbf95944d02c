"""What heads put out -> the points, intervals and clips of a RoutineScore, and what in them is no number."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from mlavl_cli.features.routine import RoutineFeatures
from mlavl_cli.heads.base import ClipReading, HeadOutput
from mlavl_cli.heads.checkpoint import TargetHead
from mlavl_cli.media.frame_rate import count_as_one
from mlavl_cli.scoring.domain import TABLES, DomainReading
from mlavl_cli.scoring.interval import Interval
from mlavl_cli.scoring.measures import MEASURES
from mlavl_cli.scoring.result import ClipScore, Domain, TargetScore


def out_of_range(target: str, score: TargetScore) -> str | None:
    low, high = score.range
    return None if low <= score.score <= high else f"the {target} of {score.score:.2f} is not in {low:g} to {high:g}"


def other_rate(cut: float | None, learned: float | None) -> str | None:
    """What is to be said of clips that don't span the time that the weights' own do; None: nothing, or not known."""
    if cut is None or learned is None or count_as_one(cut, learned):
        return None
    told = f"clips were cut at {cut:.4g} frames a second; these weights learned from clips at {learned:.4g}"
    return f"{told}, so the scores mean something else"


def no_numbers(value: Any, name: str = "") -> Iterator[str]:
    """What in a result is NaN or infinite, such as "scores TES visual is nan"."""
    if isinstance(value, dict | list | tuple):
        for key, inside in value.items() if isinstance(value, dict) else enumerate(value):
            yield from no_numbers(inside, f"{name} {key}".strip())
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{name} is {value}"


def domain_of(reading: DomainReading) -> Domain:
    clips = int(reading.clips_inside.sum())
    return Domain(reading.distance, reading.limit, reading.inside, TABLES[reading.table], clips)


def target_score(head: TargetHead, output: HeadOutput, interval: Interval | None, clips: int) -> TargetScore:
    def shares(names: Iterable[str], p: torch.Tensor | None) -> dict[str, float] | None:
        return None if p is None else dict(zip(names, p[0].tolist(), strict=True))

    heard = output.score_av
    score = head.points(output.score.item())
    return TargetScore(
        score=score,
        range=head.score_range,
        visual=score if output.score_v is None else head.points(output.score_v.item()),
        audio_visual=None if heard is None else head.points(heard.item()),
        visual_weight=1.0 if heard is None else head.model.visual_weight,
        grades={
            "visual": shares(head.grades, output.p_v),
            "audio_visual": shares(head.audio_visual_grades, output.p_av),
        },
        interval=interval.around(score, clips, head.score_range) if interval and math.isfinite(score) else None,
        confidence=interval.confidence if interval else None,
    )


def clip_scores(
    features: RoutineFeatures, readings: list[ClipReading], domain: DomainReading | None
) -> list[ClipScore]:
    """Clips as all heads together see them."""
    found = {measure.name: measure.read(features, readings) for measure in MEASURES}
    return [
        ClipScore(
            index=i,
            start_s=round(float(features.start_s[i]), 6),
            end_s=round(float(features.end_s[i]), 6),
            in_domain=bool(domain.clips_inside[i]) if domain else None,
            measures={name: values[i] if values else None for name, values in found.items()},
        )
        for i in range(features.clips)
    ]
