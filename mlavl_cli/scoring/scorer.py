"""Scorer: a video, or features that are there already -> RoutineScore. The one place where features meet a head."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from mlavl_cli.bundle import Bundle, find_bundle
from mlavl_cli.errors import FeatureError, MlavlError, WeightsError
from mlavl_cli.features.cluster import Cluster, ClusterExtractor, load_cluster_extractor
from mlavl_cli.features.extract import Backbones, Progress
from mlavl_cli.features.extractor import BY_DEFAULT, ExtractionOptions, Extractor, load_extractor
from mlavl_cli.features.parallel import on_one_thread
from mlavl_cli.features.routine import RoutineFeatures
from mlavl_cli.heads.base import Batch
from mlavl_cli.heads.checkpoint import TargetHead, load_head
from mlavl_cli.heads.layers import lean_attention
from mlavl_cli.inputs import Input
from mlavl_cli.scoring.domain import OutOfDomainDetector, load_detector
from mlavl_cli.scoring.interval import Interval, load_intervals
from mlavl_cli.scoring.points import clip_scores, domain_of, no_numbers, other_rate, out_of_range, target_score
from mlavl_cli.scoring.result import (
    TRUSTED_AUC,
    UNFAMILIAR,
    BackboneIdentity,
    Consistency,
    Notice,
    RoutineScore,
    ScoredBy,
    Timing,
)

# Of all heads together; twenty of the paper's sizes, with windows of 512 clips, have 960 maps and 252 million pairs.
_MOST_MAPS, _MOST_PAIRS = 4096, 1 << 28
Source = str | Path | Input | RoutineFeatures  # of one routine
Results = Generator[tuple[Source, RoutineScore | Exception], None, None]


class Scorer:
    """All heads of a bundle on one extraction.

    >>> scorer = load_scorer("mini")                      # doctest: +SKIP
    >>> scorer.score("routine.mp4").to_dict()["scores"]    # doctest: +SKIP
    """

    def __init__(
        self,
        bundle: Bundle,
        heads: dict[str, TargetHead],
        extractor: Extractor | ClusterExtractor,
        detector: OutOfDomainDetector | None = None,
        intervals: dict[str, Interval] | None = None,
    ):
        self.bundle, self.heads, self.extractor, self.detector = bundle, heads, extractor, detector
        self.intervals = intervals or {}

    def __repr__(self) -> str:
        return f"Scorer({self.bundle.name}: {', '.join(self.heads)}; trained on {self.bundle.trained_on})"

    def score(self, routine: str | Path | RoutineFeatures, on_clips: Progress | None = None) -> RoutineScore:
        """A video file, or its features -> its score.

        Raises:
            MlavlError: one of its children, with the cause and the fix.
        """
        if isinstance(routine, RoutineFeatures):
            return self._timed(routine, time.perf_counter())
        ((_, result),) = self.score_many([routine], on_clips)
        if isinstance(result, Exception):
            raise result
        return result

    def score_many(
        self,
        sources: Iterable[Source],
        on_clips: Progress | None = None,
        on_unkept: Callable[[Exception, Path], None] | None = None,
    ) -> Results:
        """Many routines in order, each with its score or what was wrong with it.

        Args:
            sources: paths, `Input`s or features, also of a generator, which is asked as far as files are read ahead.
            on_clips: as `extract_many` takes it.
            on_unkept: called with why a file's features couldn't be stored, and the file; its score comes all the same.

        Raises:
            WeightsError: the backbones can't be had, or don't fit the heads.
        """
        for ready, some in groupby(sources, lambda source: isinstance(source, RoutineFeatures)):
            with closing(self._score_kind(ready, some, on_clips, on_unkept)) as found:
                yield from found

    def _score_kind(
        self,
        ready: bool,
        sources: Iterator[Any],
        on_clips: Progress | None,
        on_unkept: Callable[[Exception, Path], None] | None,
    ) -> Results:
        """Features, or files."""
        if not ready:
            yield from self._score_files(sources, on_clips, on_unkept)
        for routine in sources if ready else ():
            try:
                result: RoutineScore | Exception = self._timed(routine, time.perf_counter())
            except Exception as error:  # of this routine alone
                result = error
            yield routine, result

    def _score_files(
        self,
        sources: Iterable[Any],
        on_clips: Progress | None,
        on_unkept: Callable[[Exception, Path], None] | None,
    ) -> Results:
        begin = time.perf_counter()
        given: deque[Source] = deque()

        def files() -> Iterator[Input]:
            for source in sources:
                given.append(source)
                yield source if isinstance(source, Input) else Input(Path(source), Path(Path(source).name))

        for outcome in self.extractor.run(files(), on_clips, self._check_backbones):
            try:
                result = outcome.error or self._timed(outcome.unwrap(), begin)
                if outcome.unkept and on_unkept:
                    on_unkept(outcome.unkept, outcome.source.path)
            except Exception as error:  # of this routine alone
                result = error
            yield given.popleft(), result
            begin = time.perf_counter()

    def _timed(self, features: RoutineFeatures, begin: float) -> RoutineScore:
        extracted = time.perf_counter()
        result = on_one_thread(partial(self._grade, features), self.extractor.placement)
        graded = time.perf_counter()
        seconds = (extracted - begin, graded - extracted, graded - begin)
        real_time = features.video.duration_s / max(graded - begin, 1e-9)
        return replace(result, timing=Timing(*(round(value, 4) for value in (*seconds, real_time))))

    def _grade(self, features: RoutineFeatures) -> RoutineScore:
        longest = max([features.clips, *(head.window or 0 for head in self.heads.values())])
        most = max(head.model.dims.heads for head in self.heads.values())
        with torch.inference_mode(), lean_attention(longest, most):
            return self._graded(features)

    def _graded(self, features: RoutineFeatures) -> RoutineScore:
        audio_width = None if features.audio is None else features.audio.shape[1]
        shape = 1 if features.tokens is None else features.tokens.shape[1], features.clips
        self._check_widths(features.visual.shape[1], audio_width, FeatureError, features.video.path, shape)
        device = self.extractor.placement.device
        streams = [
            None if rows is None else torch.tensor(rows[None], device=device)
            for rows in (features.visual, features.audio, features.flow, features.tokens)
        ]
        scores, readings = {}, []
        for target, head in self.heads.items():
            # The score from the window that the head was trained on, the timeline from all clips.
            output = head.model.of(_batch(streams, head))
            windowed = [None if rows is None else head.cut(rows[0])[None] for rows in streams]
            judged = head.model.of(_batch(windowed, head)) if head.window else output
            scores[target] = target_score(head, judged, self.intervals.get(target), features.clips)
            if (reading := head.model.per_clip(output)) is not None:
                readings.append(reading)
        domain = self.detector.read(features.tables()) if self.detector else None
        clips = clip_scores(features, readings, domain)
        heard = {clip.index: fit for clip in clips if (fit := clip.consistency) is not None}
        validated = self.bundle.consistency is not None
        consistency = None
        if heard:
            worst = min(heard, key=lambda index: heard[index])
            consistency = Consistency(sum(heard.values()) / len(heard), worst, validated)
        warnings = [Notice("video", text) for text in features.warnings]
        warnings += [Notice("out-of-range", text) for text in map(out_of_range, scores, scores.values()) if text]
        if heard and not validated:
            warnings.append(Notice("unvalidated", "consistency is not validated for these weights"))
        elif heard and (measured := _swapped_auc(self.bundle.consistency or {})) < TRUSTED_AUC:
            told = "with these weights consistency barely distinguishes matching from swapped music"
            warnings.append(Notice("untrusted", f"{told} (AUC {measured:.2f}; 0.5 is chance)"))
        windows = sorted({head.window for head in self.heads.values() if head.window and _depends_on_length(head)})
        if any(window != features.clips for window in windows):
            told = "what is said of single clips depends on how many there are with these weights"
            trained = " and ".join(map(str, windows))
            warnings.append(Notice("length", f"{told} ({features.clips} clips here, {trained} in training)"))
        if not readings:
            told = "these heads say nothing of single clips: there is a score and no timeline"
            warnings.append(Notice("no-timeline", told))
        elif not any(clip.strength is not None for clip in clips):
            told = "these heads say where in a routine they look, and not how good its clips are"
            warnings.append(Notice("attention-only", told))
        if rate := other_rate(features.frame_rate, self.bundle.frame_rate):
            warnings.append(Notice("frame-rate", rate))
        if domain and not domain.inside:
            warnings.append(Notice("out-of-domain", UNFAMILIAR))
        elif domain and not domain.clips_inside.all():
            outside = int((~domain.clips_inside).sum())
            told = f"{outside} of {features.clips} clips are out of domain: their values have no meaning"
            warnings.append(Notice("clips-out-of-domain", told))
        made = features.provenance
        result = RoutineScore(
            video=features.video,
            weights=ScoredBy(self.bundle.name, self.bundle.trained_on, self.bundle.fingerprint),
            backbones={role: BackboneIdentity(**known) for role, known in made.get("backbones", {}).items()},
            device=str(device),
            precision=made.get("precision", "fp32"),
            scores=scores,
            consistency=consistency,
            domain=domain_of(domain) if domain else None,
            clips=clips,
            warnings=warnings,
        )
        if wrong := next(no_numbers(asdict(result)), None):
            cause = f"{wrong}: these weights can't score it"
            raise WeightsError(cause, path=features.video.path, hint="Are they damaged? Try: mlavl weights verify.")
        return result

    def _check_backbones(self, have: Backbones) -> None:
        """Before an hour of extraction, not after: do these backbones give what the heads take?"""
        self._check_widths(have.visual.dim, have.audio.dim, WeightsError, self.bundle.folder)

    def _check_widths(
        self, visual: int, audio: int | None, error: type[MlavlError], path: str | Path, shape: tuple[int, int] = (1, 0)
    ) -> None:
        """`shape`: visual tokens a clip, and clips."""
        for head in self.heads.values():
            if wrong := head.wrong_width(visual, audio, *shape):
                raise error(wrong, path=path, hint="Use the backbones that the head was trained on.")


def load_scorer(
    weights: str | Path | Bundle = "mini",
    device: str = "auto",
    precision: str = "auto",
    options: ExtractionOptions = BY_DEFAULT,
    cluster: Cluster | None = None,
) -> Scorer:
    """A bundle's heads, ready to score. Backbones load with the first video that needs them.

    Args:
        weights: a bundled name, a bundle's folder, or the bundle.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: of the backbones: auto, fp32, bf16 or fp16.
        options: how features are extracted, among them the store to reuse and to fill.
        cluster: a Ray cluster to extract on; `device` is then that of its workers.

    Raises:
        WeightsError: no such bundle, no head in it, or a broken one.
        DeviceError: no such device or precision.
    """
    bundle = find_bundle(weights)
    if not bundle.heads:
        hint = "It can extract features; train a head on them with `mlavl train`, or score with --weights mini."
        raise WeightsError("these weights have backbones but no head to score with", path=bundle.folder, hint=hint)
    load = partial(load_cluster_extractor, cluster) if cluster else load_extractor
    extractor = load(bundle, device, precision, options)
    heads = {}
    for target, path in bundle.heads.items():
        heads[target] = head = load_head(path, target)
        head.model.to(extractor.placement.device)
    _refuse_slow(heads, bundle)
    detector = load_detector(bundle.domain) if bundle.domain else None
    return Scorer(bundle, heads, extractor, detector, load_intervals(bundle))


def _refuse_slow(heads: dict[str, TargetHead], bundle: Bundle) -> None:
    """Sizes that each head may have, but not all of them together."""
    maps = [head.model.dims.attention_maps for head in heads.values()]
    pairs = sum(count * (head.window or 0) ** 2 for count, head in zip(maps, heads.values(), strict=True))
    if sum(maps) > _MOST_MAPS or pairs > _MOST_PAIRS:
        cause = f"its {len(heads)} heads attend {sum(maps):,} times to all clips, or to windows that are too long"
        raise WeightsError(cause, path=bundle.folder, hint="Use fewer targets, layers, or a shorter window.")


def _batch(streams: list[torch.Tensor | None], head: TargetHead) -> Batch:
    """Visual, audio and flow features (1, T, D), and visual tokens, of a routine whose score isn't known."""
    visual, audio, flow, tokens = streams
    visual = tokens if head.model.dims.tokens > 1 else visual
    assert visual is not None
    return Batch(visual, audio, None, visual.new_zeros(1), flow)


def _swapped_auc(consistency: dict[str, Any]) -> float:
    """Own music against another routine's, of single clips: on simulated routines, or the worst of the heads."""
    if "exam" in consistency:
        return consistency["exam"]["auc"]["swapped"]
    return min((of_head["swapped_clip"] for of_head in consistency.get("auc", {}).values()), default=1.0)


def _depends_on_length(head: TargetHead) -> bool:
    """Whether what it says of a clip depends on how many clips there are, and it knows one number of them."""
    return bool(head.window) and head.model.dims.mag2 and head.model.dims.graph == "sage"
