"""Who belongs together: a skater's routines, and those of everybody who skated with them."""

from collections.abc import Sequence
from unicodedata import normalize

_MOST_PARTNERS = 7  # behind the first of a routine
_LONGEST = 1000  # letters of a name that are looked at: accents without end take time without end


def together(names: Sequence[str]) -> list[str]:
    """(n,) a name of the group of each: "Anna / Bo" joins Anna's routines and Bo's. An empty name is no group.

    Cases, kinds of spaces, and letters whose accents are written apart (as macOS does) make no difference.
    """
    above: dict[str, str] = {}

    def root(person: str) -> str:
        while above.setdefault(person, person) != person:
            above[person] = above[above[person]]  # shorter for whoever asks next
            person = above[person]
        return person

    parts = [
        [" ".join(normalize("NFC", part[:_LONGEST]).casefold().split()) for part in name.split("/", _MOST_PARTNERS)]
        for name in names
    ]
    people = [[part for part in some if part] or [""] for some in parts]
    for some in people:
        for other in some[1:]:
            above[root(other)] = root(some[0])
    return [root(some[0]) for some in people]
