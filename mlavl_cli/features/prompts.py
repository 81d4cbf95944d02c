"""The prompts of a sport in the paper's order (section 3.2): actions to see, actions to hear, grades."""

import csv
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from mlavl_cli.errors import DataError

GRADES = ("bad", "poor", "fair", "good", "excellent", "perfect")
SPORTS = ("skating", "gymnastics", "swimming")


@dataclass(frozen=True)
class Prompts:
    """M actions, heard as well as seen unless `audio` is false, and N grade words."""

    actions: tuple[str, ...]
    grades: tuple[str, ...] = GRADES

    @property
    def texts(self) -> list[str]:
        """P = 2M + 3N prompts: M visual actions, M audio actions, 2N audio-visual grades, N visual grades."""
        performance = "a video of {} action performance"
        return [
            *(f"a video of {action}" for action in self.actions),
            *(f"a music suitable for {action}" for action in self.actions),
            *(f"{performance.format(grade)} without fitting music" for grade in self.grades),
            *(f"{performance.format(grade)} with fitting music" for grade in self.grades),
            *(performance.format(grade) for grade in self.grades),
        ]


def sport_prompts(sport: str) -> Prompts:
    """The project's own action list of one of SPORTS, written from the public rule books.

    Raises:
        DataError: no such sport.
    """
    if sport not in SPORTS:
        raise DataError(f"no prompts for {sport!r}", hint=f"Use one of {', '.join(SPORTS)}, or your own csv.")
    return read_actions(Path(str(files("mlavl_cli.features").joinpath("actions", f"{sport}.csv"))))


def read_actions(path: Path) -> Prompts:
    """A csv with columns id,name (also the official lists') -> prompts.

    Raises:
        DataError: can't be read, no such columns, no actions, or one twice.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        actions = tuple(row["name"].strip() for row in rows)
    except (OSError, UnicodeError, csv.Error) as error:
        raise DataError(f"can't be read as csv ({error})", path=path) from error
    except (KeyError, AttributeError) as error:
        raise DataError("has no column 'name' in every row", path=path, hint="Expected columns id,name.") from error
    if not actions or not all(actions) or len(set(actions)) < len(actions):
        raise DataError("needs one or more actions, each named once", path=path)
    return Prompts(actions)
