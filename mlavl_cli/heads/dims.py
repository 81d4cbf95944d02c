"""The sizes and switches of a head: all that is needed to build it again. Travels inside the checkpoint."""

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from mlavl_cli.errors import WeightsError

Graph = Literal["sage", "gcn", "even"]
Regressor = Literal["linear", "mlp"]
GradeOrder = Literal["interleaved", "blocks"]
Behaviour = Literal["careful", "official"]
Plug = Literal["project", "inplace"]

_RENAMED = {"order": "temporal_conv", "reach": "consistency_decay"}  # since mlavl 0.1
_MOST_GRADES, _MOST_ACTIONS = 256, 4096
MOST_CLIPS = 2048  # of a routine in training, three quarters of an hour
MOST_WINDOW = 512  # clips, eleven minutes: shorter videos are filled up to it
_MOST_HEADS = 32  # of attention, whose matrices of all clips each has
_MOST_WIDE = 4096  # features; backbones give 2048 at the most, C3D 4096, and projections grow with the square
_MOST_LAYERS = 12  # of a kind; published heads have three at the most
MOST_TOKENS = 64  # of a clip, whose maps grow with the square
_MOST_SPAN, _MOST_DECAY = 64, 4096  # clips


def may_be_none(default: int = 0) -> int:
    """A size whose 0 means that the head has none of it."""
    return field(default=default, metadata={"least": 0})


@dataclass(frozen=True)
class HeadDims:
    """Defaults are the official code's; a figure of the paper that differs is named.

    A method with other defaults, or with sizes of its own, has a subclass (`Head.Dims`).

    Raises:
        WeightsError: sizes that can't be.
    """

    visual_dim: int  # D_v: 768 TimeSformer, 1024 Video Swin-B
    actions: int  # M
    audio_dim: int = may_be_none(768)  # D_a; 0: a head that only sees
    text_dim: int = 512  # D_t
    grades: int = 6  # N
    width: int = 256  # d
    heads: int = 8
    encoder_layers: int = 1  # S2CE
    fusion_layers: int = 2  # AVCF
    grading_layers: int = 3  # PGT
    dropout: float = 0.3
    graph: Graph = "sage"  # the official code's, the paper's eq. 9, the same at any length
    regressor: Regressor = "linear"  # the official code's, or the paper's eq. 14
    grade_order: GradeOrder = "interleaved"  # of the audio-visual grades (audio_visual)
    temporal_conv: int = may_be_none()  # clips a side in convolutions over visual clips (layers.py); 0: none, the paper
    consistency_decay: int = may_be_none()  # decay length of its smoothing, in clips (consistency.py); 0: none
    behaviour: Behaviour = "careful"  # or what a method's public code does (docs/methods.md)
    clips: int = may_be_none()  # T of methods whose tensors it sizes; 0: they have none such
    flow_dim: int = may_be_none()  # D_f, of methods that take optical flow; 0: none
    tokens: int = 1  # K, visual tokens a clip, of methods that mix them; the others take their mean
    plug: Plug = "project"  # in front of a method without a projection MAG2 gets one, or stands alone
    unit: float = 1.0  # what the method puts out for a normalised 1: points, where its public code learned points
    length: bool = False  # whether T is an input of its own (length.py), for targets that are totals
    # The rows of the paper's table 5. Without language, grade queries are learned and MAG2 has no actions to use.
    language: bool = True
    s2ce: bool = True
    mag2: bool = True
    avcf: bool = True
    dpg: bool = True

    def __post_init__(self) -> None:
        for one in fields(self):
            name, value, least = one.name, getattr(self, one.name), one.metadata.get("least", 1)
            if type(value) is int and not least <= value <= 1 << 16:
                raise WeightsError(f"{name} = {value!r:.40} is no possible size of a head")
        if self.heads > _MOST_HEADS:
            raise WeightsError(f"{self.heads} attention heads, more than {_MOST_HEADS}: no published head has")
        if self.width % (2 * self.heads) or self.visual_dim < 2 or self.text_dim < 2 or self.audio_dim == 1:
            raise WeightsError(
                f"a width of {self.width} is no multiple of twice the {self.heads} heads, or inputs are narrower than 2"
            )
        if self.grades > _MOST_GRADES or self.actions > _MOST_ACTIONS:
            raise WeightsError(f"{self.grades} grades and {self.actions} actions are more than a sport has")
        if (widest := max(self.visual_dim, self.audio_dim, self.text_dim, self.flow_dim, self.width)) > _MOST_WIDE:
            raise WeightsError(f"{widest} wide, more than {_MOST_WIDE}: no features are")
        if max(self.encoder_layers, self.fusion_layers, self.grading_layers) > _MOST_LAYERS:
            raise WeightsError(f"more than {_MOST_LAYERS} layers are no possible size of a head")
        if (
            not 0 <= self.dropout < 1
            or self.graph not in ("sage", "gcn", "even")
            or self.regressor not in ("linear", "mlp")
        ):
            raise WeightsError("dropout, graph or regressor is none that a head can have")
        if self.behaviour not in ("careful", "official") or self.plug not in ("project", "inplace"):
            raise WeightsError("behaviour or plug is none that a head can have")
        if self.clips > MOST_WINDOW or not 1e-6 <= self.unit <= 1e6:
            raise WeightsError(f"{self.clips} clips, or a unit of {self.unit:g}, are no size of a head")
        if self.tokens > MOST_TOKENS or self.temporal_conv > _MOST_SPAN or self.consistency_decay > _MOST_DECAY:
            raise WeightsError("tokens, temporal_conv or consistency_decay are more than a head has")
        if self.grade_order not in ("interleaved", "blocks"):
            raise WeightsError(f"grades in the order {self.grade_order!r:.40} are not known")
        if self.mag2 and not self.language:
            raise WeightsError("MAG2 needs the action prompts: switch it off where language is off")

    @property
    def has_audio(self) -> bool:
        return self.audio_dim > 0

    @property
    def feed_forward(self) -> int:
        return 3 * self.width

    @property
    def attention_maps(self) -> int:
        """Matrices of all clips that it makes: one a layer and attention head."""
        return (self.encoder_layers + self.fusion_layers + self.grading_layers) * self.heads

    @property
    def prompt_rows(self) -> dict[str, slice]:
        """Where each group of prompts stands among the P rows (docs/method.md, section 2)."""
        counts = {"visual_actions": self.actions}
        if self.has_audio:
            counts |= {"audio_actions": self.actions, "av_grades": 2 * self.grades}
        counts["v_grades"] = self.grades
        rows, start = {}, 0
        for name, count in counts.items():
            rows[name] = slice(start, start + count)
            start += count
        return rows

    @property
    def audio_visual(self) -> list[tuple[int, bool]]:
        """(2N,) of each audio-visual row its grade, and whether its music fits.

        Interleaved is the official order: bad without, bad with, poor without, ... Heads of mlavl 0.1 learned two
        blocks, all grades without and then all with, and are read by that order.
        """
        if self.grade_order == "interleaved":
            return [(grade, fits) for grade in range(self.grades) for fits in (False, True)]
        return [(grade, fits) for fits in (False, True) for grade in range(self.grades)]

    @property
    def prompts(self) -> int:
        """P: 2M + 3N with sound, M + N without."""
        return self.prompt_rows["v_grades"].stop

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "HeadDims":
        """From a checkpoint's metadata; what mlavl 0.1 called otherwise, or didn't name, is read as it was meant.

        Raises:
            WeightsError: unknown or missing fields, or values of the wrong kind.
        """
        values = {_RENAMED.get(name, name): value for name, value in values.items()}
        kinds = {name: field.type for name, field in cls.__dataclass_fields__.items()}
        takes: dict[Any, tuple[type, ...]] = {int: (int,), bool: (bool,), float: (float, int)}
        wrong = [n for n, v in values.items() if type(v) not in takes.get(kinds.get(n), (type(v),))]
        if wrong:
            raise WeightsError(f"its dimensions hold values of the wrong kind: {', '.join(wrong)}")
        try:
            return cls(**{"grade_order": "blocks", **values})
        except TypeError as error:
            raise WeightsError(f"its dimensions can't be read ({error})") from error
