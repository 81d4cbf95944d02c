"""Who belongs together: a skater's routines, and those of everybody who skated with them."""

from collections.abc import Sequence

_MOST_PARTNERS = 7  # behind the first of a routine


def together(names: Sequence[str]) -> list[str]:
    """(n,) a name of the group of each: "Anna / Bo" joins Anna's routines and Bo's. An empty name is no group."""
    above: dict[str, str] = {}

    def root(person: str) -> str:
        while above.setdefault(person, person) != person:
            above[person] = above[above[person]]  # shorter for whoever asks next
            person = above[person]
        return person

    people = [[part.strip().casefold() for part in name.split("/", _MOST_PARTNERS)] for name in names]
    for some in people:
        for other in some[1:]:
            above[root(other)] = root(some[0])
    return [root(some[0]) for some in people]
