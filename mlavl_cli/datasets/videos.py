"""Features of a manifest's videos: what lies in the store, whichever backbones made it, else extracted ones."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlavl_cli.backbone import ELSEWHERE, BackboneSpec, content_of, parse_backbone, spec_of
from mlavl_cli.bundle import Bundle, bundled_names, find_bundle, is_frame_rate
from mlavl_cli.device import Placement
from mlavl_cli.errors import DataError, FeatureError
from mlavl_cli.features.extract import EXTRACTION_VERSION, Progress
from mlavl_cli.features.extractor import ExtractionOptions, load_extractor
from mlavl_cli.features.routine import RoutineFeatures
from mlavl_cli.features.store import FeatureStore
from mlavl_cli.inputs import Input
from mlavl_cli.media.cutting import PAPER_CUTTING, Cutting

Identity = dict[str, dict[str, Any]]  # of the backbones that made features, by role
_ROLES = ("visual", "audio")
_RATE = {"frame_rate"}  # which is compared by itself
_LISTED = 5


def with_backbones(bundle: Bundle, visual: str | None = None, audio: str | None = None) -> Bundle:
    """The bundle with other backbones in the place of its own, as `--visual` and `--audio` name them.

    Raises:
        WeightsError: no such folder.
    """
    own: dict[str, Any] = {
        role: parse_backbone(text) for role, text in zip(_ROLES, (visual, audio), strict=True) if text
    }
    return replace(bundle, **own) if own else bundle


def names_of(bundle: Bundle) -> str:
    """Its backbones as a sentence names them."""
    if all(getattr(bundle, role).source == ELSEWHERE for role in _ROLES):
        return "another tool's"
    bundled = {name: find_bundle(name) for name in bundled_names()}
    for name, own in bundled.items():
        if all(_same(getattr(own, role), getattr(bundle, role)) for role in _ROLES):
            return name
    specs = [getattr(bundle, role) for role in _ROLES]
    return " and ".join(spec.folder.name if spec.folder else spec.source for spec in specs)


def store_beside(folder: Path) -> Path:
    """Where features are kept unless another place is named.

    Raises:
        FeatureError: that is a link, perhaps of whoever made the folder.
    """
    store = folder / "features"
    if store.is_symlink():
        raise FeatureError("is a link, which is not followed unasked", path=store, hint="Name the store: --features.")
    return store


@dataclass(frozen=True, kw_only=True)
class VideoOptions:
    """How a manifest's videos become features.

    Attributes:
        store: the folder where features lie and are kept; None: `features` beside the csv.
        precision: of what is extracted.
        again: whether what lies there of other backbones, or cut otherwise, is made again.
        tell: called with what happens before it takes hours.
        on_clips: as `extract_many` takes it.
    """

    store: Path | None = None
    precision: str = "auto"
    again: bool = False
    tell: Callable[[str], None] = lambda text: None
    on_clips: Progress | None = None


class VideoFeatures:
    """Features of videos by one set of backbones.

    Args:
        bundle: whose backbones are wanted; None: those that made what is there already, else mini's.
        store: the folder of what is there, and of what is made.
        placement: where videos are extracted.
        options: the rest.
    """

    def __init__(self, bundle: Bundle | None, store: Path, placement: Placement, options: VideoOptions):
        self.wanted = bundle or (find_bundle("mini") if options.again else None)
        self.store, self.placement, self.options = FeatureStore(store), placement, options

    def of(self, sources: list[Input], ready: list[Identity | None]) -> tuple[Bundle, dict[Input, RoutineFeatures]]:
        """The bundle whose backbones made all features, and those of each video.

        Args:
            sources: the videos.
            ready: the backbones of features that are named as they are; None: of another tool.

        Raises:
            FeatureError: what is there is of other backbones than are wanted, or of several.
            DataError: some must be extracted and their backbones aren't at hand, or some can't be read.
        """
        found = {source: features for source in sources if (features := self.store.find(source))}
        made = [*ready, *(features.provenance.get("backbones") for features in found.values())]
        if self.wanted:
            bundle, cutting = self.wanted, Cutting(frame_rate=self.wanted.frame_rate)
            self._refuse_others(bundle, ready)
            found = self._as_wanted(bundle, cutting, found)
        elif made:
            bundle = self._one_of(made)
            cutting = Cutting(frame_rate=_rate_of(next(iter(found.values()), None)))
            bundle = replace(bundle, frame_rate=cutting.frame_rate)
        else:
            bundle = find_bundle("mini")
            cutting = Cutting(frame_rate=bundle.frame_rate)
        if self.wanted and (unknown := ready.count(None)):
            told = f"{unknown} feature files don't say which backbones made them: they are taken for features of"
            self.options.tell(f"{told} {names_of(bundle)}")
        if len(found) + len(ready):
            self.options.tell(f"features of {len(found) + len(ready)} routines are there: {names_of(bundle)}")
        if otherwise := [source for source, features in found.items() if _is_cut_otherwise(features)]:
            told = f"features of {len(otherwise)} videos are cut otherwise than `score` cuts, {otherwise[0].name} first"
            self.options.tell(f"{told}: by --tail, --video-stream or --audio-stream; --extract-again makes them anew")
        if coarse := [source for source, features in found.items() if _is_int8(features)]:
            told = f"features of {len(coarse)} videos were made with --precision int8, {coarse[0].name} first"
            self.options.tell(f"{told}; --extract-again makes them anew")
        if old := [source for source, features in found.items() if _is_old(features)]:
            self.options.tell(f"those of {len(old)} videos are of an older mlavl, which read files otherwise")
        if missing := [source for source in sources if source not in found]:
            found |= self._extracted(bundle, cutting, missing)
        return bundle, found

    def _one_of(self, made: list[Identity | None]) -> Bundle:
        """The bundle by whose backbones all of these were made."""
        mini = find_bundle("mini")
        known = [mini, *(find_bundle(name) for name in bundled_names())]
        different = {json.dumps(_meant(identity), sort_keys=True): identity for identity in made}
        specs: list[dict[str, Any]] = [
            {role: _spec(identity, role, [getattr(one, role) for one in known]) for role in _ROLES}
            for identity in different.values()
        ]
        bundles = [replace(mini, **by_role) for by_role in specs]
        if len(bundles) > 1:
            cause = f"features of different backbones: {'; '.join(map(names_of, bundles))[:500]}"
            hint = "Say whose count, with --backbones or --visual and --audio, and leave out the others."
            raise FeatureError(cause, hint=hint)
        return bundles[0]

    def _refuse_others(self, bundle: Bundle, ready: list[Identity | None]) -> None:
        wanted = _meant(_identity(bundle))
        for identity in ready:
            if identity and _meant(identity) != wanted:
                cause = f"feature files of other backbones than {names_of(bundle)}: {_ids(identity)}"
                raise FeatureError(cause, hint="Give the --backbones that made them.")

    def _as_wanted(
        self, bundle: Bundle, cutting: Cutting, found: dict[Input, RoutineFeatures]
    ) -> dict[Input, RoutineFeatures]:
        """Those that these backbones made, cut so.

        Raises:
            FeatureError: there are others, and they aren't to be made again.
        """
        good, own = {}, _meant(_identity(bundle))
        for source, features in found.items():
            made = features.provenance
            wrong = ""
            if _meant(made.get("backbones")) != own:
                wrong = f"those of other backbones ({_ids(made.get('backbones'))})"
            elif _rate_of(features) != cutting.frame_rate:
                rate, wanted = _rate_of(features) or "the video's own", cutting.frame_rate or "the video's own"
                wrong = f"cut at another frame rate ({rate}, not {wanted})"
            elif self.options.again and (_is_cut_otherwise(features) or _is_int8(features)):
                wrong = "cut otherwise, or in int8"
            elif _is_old(features):
                wrong = "of an older mlavl, which read files otherwise"
            if not wrong:
                good[source] = features
            elif not self.options.again:
                hint = "Give the --backbones that made them, --extract-again, or another --features folder."
                raise FeatureError(f"its features here are {wrong}", path=source.path, hint=hint)
        return good

    def _extracted(self, bundle: Bundle, cutting: Cutting, missing: list[Input]) -> dict[Input, RoutineFeatures]:
        if any(getattr(bundle, role).source == ELSEWHERE for role in _ROLES):
            cause = f"{len(missing)} videos have no features, {missing[0].name} first"
            hint = "Give the folders of the backbones that made the others: --visual and --audio."
            raise DataError(f"{cause}, and the others' backbones aren't at hand", hint=hint)
        if not self.wanted and any(_is_foreign(getattr(bundle, role)) for role in _ROLES):
            cause = f"{len(missing)} videos have no features, {missing[0].name} first; those of the others are by"
            hint = "If you trust these models, name them: --visual and --audio."
            raise DataError(f"{cause} {names_of(bundle)}", hint=hint)
        self.options.tell(f"extracting {len(missing)} videos into {self.store.folder}: {names_of(bundle)}")
        options = ExtractionOptions(store=self.store.folder, cutting=cutting)
        extractor = load_extractor(bundle, precision=self.options.precision, options=options, placement=self.placement)
        made, wrong = {}, []
        for outcome in extractor.run(missing, self.options.on_clips):
            if outcome.features is None:
                wrong.append(outcome.error)
            else:
                made[outcome.source] = outcome.features
        if len(wrong) == 1 and wrong[0]:
            raise wrong[0]
        if wrong:
            told = (f"{getattr(one, 'path', '')}: {getattr(one, 'message', one)}" for one in wrong[:_LISTED])
            listed = "; ".join(told)
            more = f"; and {len(wrong) - _LISTED} more" if len(wrong) > _LISTED else ""
            cause = f"{len(wrong)} videos can't be used: {listed}{more}"
            raise DataError(cause, hint="Leave their lines out; the features of the others are kept.")
        return made


def _is_foreign(spec: BackboneSpec) -> bool:
    """Whether only the features themselves say that they are of this model: nobody here named it."""
    known = (getattr(find_bundle(name), role) for name in bundled_names() for role in _ROLES)
    return not any(_same(spec, one) for one in known)


def _same(one: BackboneSpec, other: BackboneSpec) -> bool:
    if one.folder is None or other.folder is None:
        return one == other
    return one.folder == other.folder or content_of(one.identity()) == content_of(other.identity())


def _identity(bundle: Bundle) -> Identity:
    return {role: getattr(bundle, role).identity() for role in _ROLES}


def _meant(identity: Any) -> Any:
    """Backbones as two are compared; None: another tool's."""
    if not isinstance(identity, dict) or not all(isinstance(identity.get(role), dict) for role in _ROLES):
        return None
    return {role: content_of(identity[role]) for role in _ROLES}


def _spec(identity: Identity | None, role: str, known: list[BackboneSpec]) -> BackboneSpec:
    if identity is None or _meant(identity) is None:
        return BackboneSpec(ELSEWHERE, local=False)
    return spec_of(identity[role], known)


def _ids(identity: Any) -> str:
    if _meant(identity) is None:
        return "another tool's"
    return " and ".join(str(identity[role].get("id")) for role in _ROLES)


def _is_old(features: RoutineFeatures) -> bool:
    return features.provenance.get("extraction", EXTRACTION_VERSION) != EXTRACTION_VERSION


def _is_cut_otherwise(features: RoutineFeatures) -> bool:
    """Whether another tail rule or other streams than the usual were asked for."""
    cutting = features.provenance.get("cutting")
    usual = vars(PAPER_CUTTING)
    return isinstance(cutting, dict) and any(cutting.get(key, usual[key]) != usual[key] for key in usual.keys() - _RATE)


def _is_int8(features: RoutineFeatures) -> bool:
    return features.provenance.get("precision") == "int8"


def _rate_of(features: RoutineFeatures | None) -> float | None:
    """Frames a second at which stored features were cut; None: the video's own.

    Raises:
        FeatureError: no clip can be cut so.
    """
    cutting = features.provenance.get("cutting") if features else None
    rate = cutting.get("frame_rate") if isinstance(cutting, dict) else None
    if features and rate is not None and not is_frame_rate(rate):
        raise FeatureError(f"its features say {rate!r:.40} frames a second", path=features.video.path)
    return None if rate is None else float(rate)
