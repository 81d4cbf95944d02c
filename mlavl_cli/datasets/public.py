"""What is known of the public datasets: ranges, windows, sizes, the paper's figures (docs/method.md, 9 to 12)."""

from dataclasses import dataclass, field

from mlavl_cli.score_range import Range

_TEN = dict.fromkeys(("SS", "TR", "PE", "CO", "IN"), (0.0, 10.0))


@dataclass(frozen=True)
class PublicSet:
    """A public dataset.

    Attributes:
        name: as the literature calls it.
        sport: whose prompts guide its heads.
        backbones: the preset whose features it has.
        ranges: (lowest, highest) possible score of each target, in points.
        window: clips of a routine in the official recipe; None: all.
        prompts: P of the official prompts.
        example_epochs: of the example in the official code's README.
        published: (SRCC, MSE) of the paper by target.
        sizes: routines of each published split, where the publication says.
        combined: a target made of all others, trained only where it is asked for.
    """

    name: str
    sport: str
    backbones: str
    ranges: dict[str, Range]
    window: int | None
    prompts: int
    example_epochs: int
    published: dict[str, tuple[float, float]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    combined: str | None = None


FS1000 = PublicSet(
    "FS1000", "skating", "fs1000", {"TES": (0.0, 130.0), "PCS": (0.0, 60.0), **_TEN}, window=95, prompts=102,
    example_epochs=250,
    published={
        "TES": (0.92, 64.89), "PCS": (0.89, 6.39), "SS": (0.90, 0.23), "TR": (0.90, 0.24), "PE": (0.88, 0.50),
        "CO": (0.89, 0.25), "IN": (0.88, 0.26), "average": (0.90, 10.39),
    },
)  # fmt: skip
FISV = PublicSet(
    "Fis-V", "skating", "fisv", {"TES": (0.0, 45.0), "PCS": (0.0, 40.0)}, window=124, prompts=102, example_epochs=400,
    published={"TES": (0.766, 19.44), "PCS": (0.863, 7.17), "average": (0.823, 13.31)},
    sizes={"train": 400, "test": 100},
)  # fmt: skip
RG = PublicSet(
    "RG", "gymnastics", "rg", dict.fromkeys(("Ball", "Clubs", "Hoop", "Ribbon"), (0.0, 25.0)), window=68, prompts=82,
    example_epochs=500,
    published={
        "Ball": (0.826, 5.57), "Clubs": (0.829, 4.20), "Hoop": (0.871, 4.11), "Ribbon": (0.866, 3.99),
        "average": (0.849, 4.47),
    },
    combined="all",
)  # fmt: skip
LOGO = PublicSet(
    "LOGO", "swimming", "fisv", {"LOGO": (0.0, 100.0)}, window=None, prompts=144, example_epochs=150
)  # fmt: skip
PUBLIC_SETS = {"fs1000": FS1000, "fisv": FISV, "rg": RG, "logo": LOGO}

# (lowest, highest) possible scores by their usual names, of five components and of the three since 2022/23.
KNOWN_RANGES: dict[str, Range] = {**FS1000.ranges, "PR": (0.0, 10.0), "SK": (0.0, 10.0)}

# The visual-only methods of the paper's table 4, on LOGO: SRCC of the method as it is, and with MAG2.
TABLE_4 = {
    "MS-LSTM": (0.542, 0.582), "USDL": (0.762, 0.804), "GDLT": (0.647, 0.654), "CoRe": (0.697, 0.723),
    "TPT": (0.589, 0.621), "HGCN": (0.541, 0.640), "T2CR": (0.681, 0.699), "CoFInAl": (0.661, 0.708),
    "QTD": (0.698, 0.729),
}  # fmt: skip


def set_of_range(target: str, score_range: Range) -> PublicSet | None:
    """The dataset that scores this target on this range."""
    return next((known for known in PUBLIC_SETS.values() if known.ranges.get(target) == score_range), None)
