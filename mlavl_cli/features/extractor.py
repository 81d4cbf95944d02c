"""Extractor: many files through one set of backbones and one store."""

from functools import cached_property

from mlavl_cli.bundle import BackboneSpec, Bundle
from mlavl_cli.device import Placement
from mlavl_cli.features.extract import (
    PAPER_CUTTING,
    Backbones,
    Cutting,
    Progress,
    describe,
    extract,
    load_backbones,
    provenance,
)
from mlavl_cli.features.routine import RoutineFeatures
from mlavl_cli.features.store import FeatureStore
from mlavl_cli.files import Input


class Extractor:
    """Features of files by one set of backbones, through a store where there is one. Backbones load when first needed.

    Args:
        bundle: whose backbones, unless `visual` or `audio` replace them.
        placement: device and precision.
        precision: as the user asked for it; "auto" is content with stored features of any precision.
        store: where features are looked for first and kept afterwards.
    """

    def __init__(
        self,
        bundle: Bundle,
        placement: Placement,
        precision: str = "auto",
        visual: BackboneSpec | None = None,
        audio: BackboneSpec | None = None,
        store: FeatureStore | None = None,
        cutting: Cutting = PAPER_CUTTING,
        batch_size: int | None = None,
    ):
        self.bundle, self.placement, self.store = bundle, placement, store
        self.cutting, self.batch_size = cutting, batch_size
        self._specs = (visual, audio)
        self._wanted = provenance(describe(bundle, *self._specs), cutting, precision)

    @cached_property
    def backbones(self) -> Backbones:
        return load_backbones(self.bundle, self.placement, *self._specs)

    def stored(self, source: Input) -> RoutineFeatures | None:
        """The store's features of this file, if they are there and good."""
        return self.store.get(source, self._wanted) if self.store else None

    def extract(self, source: Input, on_clips: Progress | None = None) -> RoutineFeatures:
        """Fresh features, kept in the store if there is one.

        Raises:
            MediaError: the file can't be read.
            WeightsError: the backbones can't be had.
            MlavlError: the store can't be written.
        """
        features = extract(source.path, self.backbones, self.cutting, self.batch_size, on_clips)
        if self.store:
            self.store.put(source, features)
        return features
