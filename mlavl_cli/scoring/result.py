"""RoutineScore: what is said about one routine. `to_dict` is the JSON that users build on (schema.json, version 1)."""

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from mlavl_cli.errors import DataError
from mlavl_cli.score_range import Range, to_share
from mlavl_cli.scoring.measures import MEASURES, Measure
from mlavl_cli.scoring.shown import as_html, as_line, clips_to_frame

if TYPE_CHECKING:
    import pandas

    from mlavl_cli.media.decode import VideoInfo

SCHEMA_VERSION = 1
TRUSTED_AUC = 0.7  # below it, a measured consistency is said to tell little
UNFAMILIAR = "out of domain: unlike the training data of these weights, so its scores have no meaning"

Code = Literal[
    "video",
    "out-of-range",
    "unvalidated",
    "untrusted",
    "length",
    "frame-rate",
    "no-timeline",
    "attention-only",
    "out-of-domain",
    "clips-out-of-domain",
]
OF_CONSISTENCY: tuple[Code, ...] = ("unvalidated", "untrusted")  # of the weights' consistency, not of the video


@dataclass(frozen=True)
class Notice:
    """What a user should know of a score: a code that programs match on, and a text for people."""

    code: Code
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class ScoredBy:
    """Which weights gave a score, what they were trained on, and the fingerprint of their files."""

    name: str
    trained_on: str
    sha256: str | None = None

    def __str__(self) -> str:
        return f"{self.name}: {self.trained_on}"


@dataclass(frozen=True)
class BackboneIdentity:
    """Which backbone made the features: a hub id with its revision, or the files of a folder by their SHA-256.

    `options` are what a preset sets apart from the model's own settings.
    """

    id: str
    revision: str | None = None
    sha256: dict[str, str] | None = None
    options: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """What is known, as in the JSON."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Consistency:
    """Action-music consistency of a routine: the mean over its clips, the clip that fits worst, and whether the
    consistency of these weights was ever measured."""

    mean: float
    min_clip: int
    validated: bool


@dataclass(frozen=True)
class Domain:
    """How far a routine is from the training set (1 is usual), by which of its tables, and where the limit is."""

    distance: float
    limit: float
    inside: bool
    by: str
    clips_inside: int


@dataclass(frozen=True)
class Timing:
    """Wall seconds of features and heads, and seconds of video a second."""

    features_s: float = 0.0
    head_s: float = 0.0
    total_s: float = 0.0
    real_time_factor: float = 0.0


@dataclass(frozen=True)
class TargetScore:
    """One target's score in points of its range; branches in points too (audio_visual None without sound)."""

    score: float
    range: Range
    visual: float
    audio_visual: float | None
    visual_weight: float
    grades: dict[str, dict[str, float] | None]  # branch -> grade word -> share
    interval: tuple[float, float] | None = None  # points, from and to; None: these weights know none
    confidence: float | None = None  # the share of routines whose true score lies in their interval

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TargetScore":
        low, high = values["range"]
        interval = values.get("interval")
        return cls(**{**values, "range": (low, high), "interval": tuple(interval) if interval else None})

    @property
    def share(self) -> float:
        """Where the score lies in its range, 0 to 1."""
        return _within(to_share(self.score, self.range))

    def grade(self, branch: str) -> str | None:
        """The grade word that the branch's points come nearest to; None where it has no grades.

        Not the likeliest: of a spread with two humps that may be a word far from the score it stands beside.
        """
        shares = self.grades[branch]
        if not shares:
            return None
        points = self.visual if branch == "visual" or self.audio_visual is None else self.audio_visual
        words = list(dict.fromkeys(name.split(" with")[0] for name in shares))
        return words[round(_within(to_share(points, self.range)) * (len(words) - 1))]


@dataclass(frozen=True)
class ClipScore:
    """One clip, and what is measured of it: by name (measures.py), None where there is nothing to measure."""

    index: int
    start_s: float
    end_s: float
    in_domain: bool | None = None  # None: the weights don't say what they were trained on
    measures: dict[str, float | None] = field(default_factory=dict)

    @property
    def consistency(self) -> float | None:
        """How well music and movement fit, 0 to 1."""
        return self.measures.get("consistency")

    @property
    def quality(self) -> float | None:
        """How good the clip looks by itself, 0 to 1."""
        return self.measures.get("quality")

    @property
    def strength(self) -> float | None:
        """What moments are compared by: consistency, or quality without sound; None without a timeline."""
        return self.quality if self.consistency is None else self.consistency

    def value(self, measure: Measure) -> float:
        """Of a measure that is known of this clip."""
        value = self.measures[measure.name]
        assert value is not None
        return value

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ClipScore":
        rest = dict(values)
        index, start_s, end_s = (rest.pop(name) for name in ("index", "start_s", "end_s"))
        return cls(index, start_s, end_s, rest.pop("in_domain", None), rest)

    def to_dict(self) -> dict[str, Any]:
        """Flat, as in the JSON."""
        times = {"index": self.index, "start_s": self.start_s, "end_s": self.end_s}
        return {**times, **self.measures, "in_domain": self.in_domain}


@dataclass(frozen=True, repr=False)
class RoutineScore:
    """The score of one routine: the fields of the JSON schema.

    Attributes:
        video: what was scored, as a viewer sees it.
        weights: which gave the score.
        backbones: by role, visual and audio.
        device, precision: where the backbones ran, and in which number format.
        scores: by target.
        consistency: None without sound, or without a timeline.
        domain: None where the weights don't say what they were trained on.
        clips: in the order of time.
        warnings: what a user should know.
        timing: of this score.
    """

    video: "VideoInfo"
    weights: ScoredBy
    backbones: dict[str, BackboneIdentity]
    device: str
    precision: str
    scores: dict[str, TargetScore]
    consistency: Consistency | None
    domain: Domain | None
    clips: list[ClipScore]
    warnings: list[Notice]
    timing: Timing = Timing()

    def __repr__(self) -> str:
        return as_line(self)

    def _repr_html_(self) -> str:
        return as_html(self)

    def to_frame(self) -> "pandas.DataFrame":
        """One row a clip (shown.clips_to_frame)."""
        return clips_to_frame(self)

    @property
    def in_domain(self) -> bool | None:
        """Whether the video is of the kind that the weights were trained on; None where they don't say."""
        return self.domain.inside if self.domain else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        texts = {
            "warnings": [notice.text for notice in self.warnings],
            "warning_codes": [notice.code for notice in self.warnings],
        }
        nested = {
            "backbones": {role: backbone.to_dict() for role, backbone in self.backbones.items()},
            "clips": [clip.to_dict() for clip in self.clips],
        }
        known = {"in_domain": self.in_domain, "error": None}  # error: only where an input gave no score (record.py)
        return {"schema": SCHEMA_VERSION, **asdict(self), **nested, **texts, **known}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "RoutineScore":
        """What `to_dict` gave, or mlavl 0.1.

        Raises:
            DataError: it is something else, or of another version.
        """
        from mlavl_cli.media.decode import VideoInfo

        if isinstance(values, list):
            raise DataError("is a list of scores", hint="Take them one by one.")
        try:
            if values.get("error"):
                raise DataError(f"was not scored: {values['error']!s:.200}", path=str(values["video"]["path"]))
            if values["schema"] != SCHEMA_VERSION:
                raise DataError(f"is a score of version {values['schema']!r:.20}, not {SCHEMA_VERSION}")
            codes = values.get("warning_codes") or ["video"] * len(values["warnings"])
            return cls(
                video=VideoInfo(**values["video"]),
                weights=ScoredBy(**values["weights"]),
                backbones={role: BackboneIdentity(**known) for role, known in values["backbones"].items()},
                device=values["device"],
                precision=values["precision"],
                scores={target: TargetScore.from_dict(score) for target, score in values["scores"].items()},
                consistency=Consistency(**values["consistency"]) if values["consistency"] else None,
                domain=Domain(**values["domain"]) if values.get("domain") else None,
                clips=[ClipScore.from_dict(clip) for clip in values["clips"]],
                warnings=[Notice(*pair) for pair in zip(codes, values["warnings"], strict=True)],
                timing=Timing(**values["timing"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                "is no score of a routine", hint="Write it with: mlavl score VIDEO --format json."
            ) from error

    @property
    def measured(self) -> list[Measure]:
        """What is known of the clips, in the order in which it is shown; empty: these heads have no timeline."""
        return [one for one in MEASURES if self.clips[0].measures.get(one.name) is not None]


def _within(share: float) -> float:
    return min(max(share, 0.0), 1.0)
