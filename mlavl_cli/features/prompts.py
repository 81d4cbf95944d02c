"""The prompts of a sport in the paper's order (section 3.2): actions to see, actions to hear, grades."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import islice
from pathlib import Path

from mlavl_cli.errors import DataError, one_line
from mlavl_cli.files import refuse_irregular

_MOST_BYTES, _MOST_COLUMNS = 4 << 20, 100  # of a list of prompts
MOST_LETTERS = 1900  # of one; a head's prompts have 2,000 with the words around an action
_MOST_ACTIONS = 4096  # that heads can tell apart

GRADES = ("bad", "poor", "fair", "good", "excellent", "perfect")
SPORTS = ("skating", "gymnastics", "swimming")
_SEEN, _HEARD = "a video of ", "a music suitable for "


def grade_names(count: int) -> tuple[str, ...]:
    """What so many grades are called, from the worst to the best."""
    return GRADES if count == len(GRADES) else tuple(f"grade {i + 1}" for i in range(count))


@dataclass(frozen=True)
class Prompts:
    """P = 2M + 3N texts in the order of their rows.

    M visual actions, M audio actions, 2N audio-visual grades (each grade without, then with fitting music), N visual
    grades.

    Attributes:
        actions: (M,) names of what is to be seen.
        texts: (P,) without the full stop that the text tower reads behind each.
        grades: (N,) words, from the worst to the best.
    """

    actions: tuple[str, ...]
    texts: tuple[str, ...]
    grades: tuple[str, ...] = GRADES


def prompts_of(actions: tuple[str, ...], grades: tuple[str, ...] = GRADES) -> Prompts:
    """The texts of actions that are heard by the same names as they are seen."""
    performances = [f"{_SEEN}{grade} action performance" for grade in grades]
    texts = (
        *(f"{_SEEN}{action}" for action in actions),
        *(f"{_HEARD}{action}" for action in actions),
        *(f"{performance} {fit} fitting music" for performance in performances for fit in ("without", "with")),
        *performances,
    )
    return Prompts(actions, texts, grades)


def as_sentences(texts: Sequence[str]) -> list[str]:
    """What the text tower reads: each text with a full stop behind it, as in the public code."""
    return [f"{text}." for text in texts]


def sport_prompts(sport: str) -> Prompts:
    """The project's own action list of one of SPORTS, written from the public rule books.

    Raises:
        DataError: no such sport.
    """
    if sport not in SPORTS:
        raise DataError(f"no prompts for {sport!r}", hint=f"Use one of {', '.join(SPORTS)}, or your own csv.")
    return read_prompts(Path(str(files("mlavl_cli.features").joinpath("actions", f"{sport}.csv"))))


def read_prompts(path: Path) -> Prompts:
    """A csv with columns id,name -> prompts.

    Its names are M actions, or all P texts as in the official lists, whose wording of an action may differ between its
    video and its music.

    Raises:
        DataError: can't be read, no such columns, no actions, one twice, or texts in another order.
    """
    try:
        refuse_irregular(path, _MOST_BYTES)
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if len(reader.fieldnames or ()) > _MOST_COLUMNS:
                raise DataError(
                    f"has {len(reader.fieldnames or ())} columns", path=path, hint="Expected columns id,name."
                )
            names = tuple(row["name"].strip() for row in islice(reader, 3 * _MOST_ACTIONS))
    except (OSError, UnicodeError, csv.Error) as error:
        raise DataError(f"can't be read as csv ({error})", path=path) from error
    except (KeyError, AttributeError) as error:
        raise DataError("has no column 'name' in every row", path=path, hint="Expected columns id,name.") from error
    whole = _holds_texts(names)
    if len(names) > (2 * _MOST_ACTIONS + 3 * len(GRADES) if whole else _MOST_ACTIONS):
        raise DataError(f"names more than the {_MOST_ACTIONS:,} actions that heads can tell apart", path=path)
    if (longest := max((len(one_line(name)) for name in names), default=0)) > MOST_LETTERS:
        raise DataError(f"has a prompt of {longest:,} letters, more than {MOST_LETTERS:,}", path=path)
    if not names or not all(names):
        raise DataError("needs one or more actions, each with a name", path=path)
    if whole:
        return _prompts_of_texts(names, path)
    if len(set(names)) < len(names):
        raise DataError("needs one or more actions, each named once", path=path)
    return prompts_of(names)


def _holds_texts(names: tuple[str, ...]) -> bool:
    """Whether these are whole prompts: they end with the grades, in their order."""
    return len(names) > len(GRADES) and all(
        _is_grade(*pair) for pair in zip(names[-len(GRADES) :], GRADES, strict=True)
    )


def _is_grade(text: str, grade: str) -> bool:
    return {grade, "performance"} <= set(text.lower().split())


def _prompts_of_texts(texts: tuple[str, ...], path: Path) -> Prompts:
    spare = len(texts) - 3 * len(GRADES)
    if spare < 2 or spare % 2:
        cause = f"holds {len(texts)} prompts, which are no 2 M + {3 * len(GRADES)}"
        raise DataError(cause, path=path, hint="Expected M actions, or all prompts of the official list.")
    wanted = [(grade, fit) for grade in GRADES for fit in ("without", "with")]
    for row, (grade, fit) in enumerate(wanted, spare):
        if not (_is_grade(texts[row], grade) and fit in texts[row].lower().split()):
            cause = f"row {row + 1} is {texts[row]!r}, where {grade} {fit} fitting music belongs"
            raise DataError(cause, path=path, hint="Each grade comes without, then with fitting music.")
    return Prompts(tuple(text.removeprefix(_SEEN) for text in texts[: spare // 2]), texts)
