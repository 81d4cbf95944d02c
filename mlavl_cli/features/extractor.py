"""Extractor: many files through one set of backbones and one store."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

from mlavl_cli.backbone import parse_backbone
from mlavl_cli.bundle import Bundle, find_bundle
from mlavl_cli.device import Placement, place
from mlavl_cli.errors import MediaError, MlavlError
from mlavl_cli.features.extract import (
    DECODERS,
    Backbones,
    Progress,
    describe,
    extract_many,
    load_backbones,
    provenance,
)
from mlavl_cli.features.routine import RoutineFeatures
from mlavl_cli.features.store import FeatureStore
from mlavl_cli.inputs import Input
from mlavl_cli.media.cutting import Cutting


@dataclass(frozen=True, kw_only=True)
class ExtractionOptions:
    """How features are extracted.

    Attributes:
        visual, audio: a hub id (`ID@REVISION` pins it) or a folder, instead of the bundle's backbones.
        store: a folder where features are looked for first and kept afterwards.
        cutting: how files are cut into clips; None: at the bundle's frame rate, by the defaults otherwise.
        batch_size: clips a forward pass; None: by device.
        workers: how many videos are decoded at once; None: as many as there are cores, 2 to 16.
        compiled: torch compiles the visual backbone first, which takes a minute and pays on many videos.
    """

    visual: str | None = None
    audio: str | None = None
    store: str | Path | None = None
    cutting: Cutting | None = None
    batch_size: int | None = None
    workers: int | None = None
    compiled: bool = False


BY_DEFAULT = ExtractionOptions()


@dataclass(frozen=True)
class Outcome:
    """What became of one file: its features, or what was wrong; `fresh` unless they were in the store already.

    `unkept` is why features couldn't be stored, where they couldn't; they are good all the same.
    """

    source: Input
    features: RoutineFeatures | None
    error: Exception | None = None
    fresh: bool = True
    unkept: Exception | None = None

    def unwrap(self) -> RoutineFeatures:
        """The features.

        Raises:
            Exception: what was wrong.
        """
        if self.error is not None:
            raise self.error
        assert self.features is not None  # one or the other is there
        return self.features


LookedUp = tuple[Input, RoutineFeatures | None]  # a file, and its stored features where there are any


def stored_first(
    sources: Iterable[Input],
    stored: Callable[[Input], RoutineFeatures | None],
    extract: Callable[[Iterator[LookedUp]], Iterator[Outcome]],
) -> Iterator[Outcome]:
    """Outcomes in order; `extract` is called once, with the first file that isn't stored and all after it."""
    looked_up = ((source, stored(source)) for source in sources)
    for source, features in looked_up:
        if features is None:
            yield from extract(chain([(source, None)], looked_up))
        else:
            yield Outcome(source, features, fresh=False)


class Extractor:
    """Features of files by one set of backbones, through a store where there is one. Backbones load when first needed.

    Args:
        bundle: whose backbones, unless the options replace them.
        placement: device and precision.
        precision: as the user asked for it; "auto" is content with stored features of any precision.
        options: the rest.
    """

    def __init__(
        self,
        bundle: Bundle,
        placement: Placement,
        precision: str = "auto",
        options: ExtractionOptions = BY_DEFAULT,
    ):
        self.bundle, self.placement, self.options = bundle, placement, options
        self.store = FeatureStore(Path(options.store)) if options.store else None
        self.cutting = options.cutting or Cutting(frame_rate=bundle.frame_rate)
        self._specs = [parse_backbone(source) if source else None for source in (options.visual, options.audio)]
        self._wanted = provenance(describe(bundle, *self._specs), self.cutting, precision)

    @cached_property
    def backbones(self) -> Backbones:
        return load_backbones(self.bundle, self.placement, *self._specs)

    def stored(self, source: Input) -> RoutineFeatures | None:
        """The store's features of this file, if they are there and good."""
        return self.store.get(source, self._wanted) if self.store else None

    def run(
        self,
        sources: Iterable[Input],
        on_clips: Progress | None = None,
        check: Callable[[Backbones], None] | None = None,
    ) -> Iterator[Outcome]:
        """All files in order: stored features, or fresh ones, which are stored at once.

        Args:
            sources: the files.
            on_clips: as `extract_many` takes it.
            check: called with the backbones before the first file is extracted.

        Raises:
            WeightsError: the backbones can't be had.
        """
        return stored_first(sources, self.stored, lambda rest: self._extract(rest, on_clips, check))

    def _extract(
        self, looked_up: Iterator[LookedUp], on_clips: Progress | None, check: Callable[[Backbones], None] | None
    ) -> Iterator[Outcome]:
        if check:
            check(self.backbones)
        pending: deque[tuple[Input, bool, os.stat_result | None]] = deque()  # fresh?, and the file as it was

        def jobs() -> Iterator[Path | RoutineFeatures]:
            for source, features in looked_up:
                pending.append((source, features is None, _status(source.path)))
                yield source.path if features is None else features

        workers = self.options.workers or DECODERS
        results = extract_many(jobs(), self.backbones, self.cutting, self.options.batch_size, workers, on_clips)
        with closing(results):
            for result in results:
                yield self._kept(*pending.popleft(), result)

    def _kept(
        self, source: Input, fresh: bool, was: os.stat_result | None, result: RoutineFeatures | Exception
    ) -> Outcome:
        """Stores fresh features, unless the file has changed under our eyes."""
        if isinstance(result, Exception):
            return Outcome(source, None, result)
        if not fresh:
            return Outcome(source, result, fresh=False)
        if self.store:
            now = _status(source.path)
            if was is None or now is None or (was.st_size, was.st_mtime_ns) != (now.st_size, now.st_mtime_ns):
                hint = "Wait until it is whole and run again."
                return Outcome(source, None, MediaError("has changed while it was read", path=source.path, hint=hint))
            try:
                self.store.put(source, result)
            except (MlavlError, OSError) as error:
                return Outcome(source, result, unkept=error)
        return Outcome(source, result)

    def one(self, source: Input, on_clips: Progress | None = None) -> RoutineFeatures:
        """One file's features.

        Raises:
            MediaError, WeightsError, MlavlError: the file can't be read, the backbones not had, the store not written.
        """
        (outcome,) = self.run([source], on_clips)
        return outcome.unwrap()


def load_extractor(
    weights: str | Path | Bundle,
    device: str = "auto",
    precision: str = "auto",
    options: ExtractionOptions = BY_DEFAULT,
    placement: Placement | None = None,
) -> Extractor:
    """An Extractor from what a command line says: names, ids and folders; `placement` comes before `device`.

    Raises:
        WeightsError: no such bundle or backbone.
        DeviceError: no such device or precision.
    """
    where = placement or place(device, precision, options.compiled)
    return Extractor(find_bundle(weights), where, precision, options)


def extract_features(
    path: str | Path,
    weights: str | Path = "mini",
    visual: str | None = None,
    audio: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    batch_size: int | None = None,
) -> RoutineFeatures:
    """One video -> RoutineFeatures: visual (T, D_v), audio (T, D_a) or None, and the clips' times.

    Args:
        path: the video.
        weights: a bundled name or a bundle's folder, whose backbones are used.
        visual, audio: a hub id (`ID@REVISION` pins it) or a folder to use instead.
        device, precision, batch_size: as on the command line.

    Raises:
        MlavlError: one of its children, with the cause and the fix.
    """
    path = Path(path)
    options = ExtractionOptions(visual=visual, audio=audio, batch_size=batch_size)
    extractor = load_extractor(weights, device, precision, options)
    return extractor.one(Input(path, Path(path.name)))


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
