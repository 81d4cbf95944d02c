"""Which video shows which performance: by the skaters' names, the segment and the event in its path."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from mlavl_cli.csv_rows import read_csv
from mlavl_cli.errors import DataError
from mlavl_cli.protocols.performance import Performance

# Letters that no decomposition makes plain ones of.
_PLAIN = str.maketrans(
    {
        "ø": "o",
        "ł": "l",
        "ß": "ss",
        "æ": "ae",
        "œ": "oe",
        "đ": "d",
        "ð": "d",
        "þ": "th",
        "\N{LATIN SMALL LETTER DOTLESS I}": "i",
    }
)
_SEGMENTS = {
    "short": frozenset("sp short sd rd rhythm od shortprogram shortprogramme shortdance rhythmdance".split()),
    "free": frozenset("fs fp lp fd free long freeskating freeskate freeprogram freeprogramme freedance".split()),
    "pattern": frozenset("pd cd pattern compulsory patterndance compulsorydance".split()),
}
_NO_PERFORMANCE = frozenset("gala exhibition practice warmup warm training interview ceremony runthrough".split())
# What may stand in a name beside skater, segment and event without naming somebody else.
_FILLERS = frozenset(
    "program programme skating skate dance video full hd uhd vs of the and final group men man women woman ladies lady "
    "pairs pair ice senior junior novice".split()
)
_SURNAMES, _EVENT = 0.75, 0.05  # what surnames count for beside given names, and the words of an event on top
_ALIKE = 0.85  # share of equal letters of two spellings of a name
_RUN_TOGETHER = 0.95  # the score of names whose words nothing separates
_LEAST, _AHEAD = 0.6, 0.04  # a match's score, and how far the next one must lie behind
_MOST_COLUMNS = 64  # of a map
_MOST_WORDS = 24  # of a skater's name, or a couple's
_LONGEST = 1000  # letters that are compared: accents without end take time without end


@dataclass(frozen=True)
class Match:
    """A performance with its video; or None, and why.

    `score` is 1 where all names were found as they are spelt, and lower where they were spelt otherwise.
    """

    performance: Performance
    video: Path | None
    score: float = 0.0
    why: str = ""


@dataclass(frozen=True)
class _Name:
    """The words of a video's path below its folder."""

    path: Path

    @cached_property
    def own(self) -> frozenset[str]:
        """The words of the file's name alone."""
        return frozenset(_words(_apart(self.path.stem)))

    @cached_property
    def segment(self) -> str:
        """short, free, pattern; "" where the file's name, or else its folders, say none, and "?" where they say two."""
        for words in (self.own, self.words - self.own):
            kinds = {kind for kind, names in _SEGMENTS.items() if names & words}
            kinds |= {kind for kind, names in _SEGMENTS.items() for word in words for name in names
                      if len(word) > len(name) + 5 and word.endswith(name)}  # fmt: skip
            if kinds:
                return kinds.pop() if len(kinds) == 1 else "?"
        return ""

    @cached_property
    def words(self) -> frozenset[str]:
        return frozenset(_words(_apart(" ".join(self.path.with_suffix("").parts))))

    @cached_property
    def letters(self) -> str:
        return "".join(_words("".join(self.path.with_suffix("").parts)))


def match(performances: Sequence[Performance], videos: Sequence[Path]) -> list[Match]:
    """Each performance with the video that names it best, if no other comes near and it names nobody else better.

    Args:
        performances: of one or more protocols.
        videos: relative to the folder that was searched.
    """
    names = [_Name(path) for path in videos]
    if len({_kind(one) for one in performances}) > 1 or any(name.segment for name in names):
        names = [name for name in names if name.segment]  # else each names its skater's only segment
    videos = [name.path for name in names]
    table = [[_score(one, name) for name in names] for one in performances]
    found = []
    for row, one in zip(table, performances, strict=True):
        order = sorted(range(len(names)), key=lambda at: -row[at])
        if not order or row[order[0]] < _LEAST:
            found.append(Match(one, None, why="no video is named like it"))
            continue
        best = order[0]
        near = [videos[at] for at in order[1:3] if row[at] > row[best] - _AHEAD]
        others = [other for other, values in zip(performances, table, strict=True)
                  if other is not one and values[best] > row[best] - _AHEAD]  # fmt: skip
        if near:
            found.append(Match(one, None, why=f"{videos[best]} and {near[0]} are named alike"))
        elif others:
            found.append(Match(one, None, why=f"{videos[best]} may as well be {_told(others[0])}"))
        else:
            found.append(Match(one, videos[best], min(row[best], 1.0)))
    return found


def read_map(path: Path, performances: Sequence[Performance], videos: Sequence[Path]) -> list[Match]:
    """Performances with the videos that a csv gives them: columns skater and path, and segment or event where needed.

    Raises:
        DataError: it can't be read, or a row names no performance, several of them, no video, or one of
            another row.
    """
    rows, _ = read_csv(path, _MOST_COLUMNS)
    if len(rows) > len(performances):
        raise DataError(f"has {len(rows)} rows for {len(performances)} performances", path=path)
    if not rows or not {"skater", "path"} <= set(rows[0]):
        raise DataError("needs the columns skater and path, and rows below", path=path)
    there = {video.as_posix(): video for video in videos}
    given: dict[int, Path] = {}
    for line, row in enumerate(rows, 2):
        meant = [at for at, one in enumerate(performances) if all(
            _plain(row.get(what) or getattr(one, what)) == _plain(getattr(one, what))
            for what in ("skater", "segment", "event", "category")
        )]  # fmt: skip
        if len(meant) != 1:
            hint = "Add columns segment and event that tell them apart." if meant else None
            raise DataError(f"line {line}: {len(meant)} performances of {row['skater']!r}", path=path, hint=hint)
        if (row["path"] or "") not in there:
            raise DataError(f"line {line}: no such video: {row['path']!r}", path=path)
        video = there[row["path"]]
        if meant[0] in given or video in given.values():
            raise DataError(f"line {line}: the performance or its video stands above already", path=path)
        given[meant[0]] = video
    return [
        Match(one, given.get(at), float(at in given), "the map doesn't name it") for at, one in enumerate(performances)
    ]


def _kind(one: Performance) -> str:
    words = one.segment.split()
    first = words[0] if words else ""
    return {"FREE": "free", "PATTERN": "pattern", "COMPULSORY": "pattern", "": ""}.get(first, "short")


def _score(one: Performance, name: _Name) -> float:
    """0 to 1, and a little more where the event is named too; 0 for what may be somebody else's, or another segment."""
    event = _words(f"{one.event} {one.category}")
    years = {word for word in name.words if re.fullmatch(r"(19|20)\d\d", word)}
    of_event = {word for word in event if re.fullmatch(r"(19|20)\d\d", word)}
    junior = "JUNIOR" in one.category
    if (
        not one.segment
        or (name.segment and name.segment != _kind(one))
        or name.words & _NO_PERFORMANCE
        or (years and of_event and not years & of_event)
        or ("junior" in name.words and not junior)
        or ("senior" in name.words and junior)
    ):
        return 0.0
    parts = one.skater.split()
    surnames = [word for part in parts if part.isupper() for word in _words(part)]
    given = [word for part in parts if not part.isupper() for word in _words(part)]
    if len(surnames) + len(given) > _MOST_WORDS:
        return 0.0
    whole = "".join(surnames)
    least = _RUN_TOGETHER if len(whole) > 5 and whole in name.letters else 0.0
    found: list[list[float]] = [[], []]
    for word in surnames or given:
        found[0].append(max(least, _found(word, name)))
        if found[0][-1] < _ALIKE:  # each of a pair is named, or none
            return 0.0
    if not found[0]:
        return 0.0
    found[1] = [_found(word, name) for word in given]
    means = [sum(some) / len(some) if some else 1.0 for some in found]
    if means[1] < _ALIKE and _strangers(name, [*surnames, *given, *event, *_words(one.nation)]):
        return 0.0  # the surname alone, beside words that may be somebody else's given name
    there = sum(word in name.words for word in event) / len(event) if event else 0.0
    return _SURNAMES * means[0] + (1 - _SURNAMES) * means[1] + _EVENT * there


def _strangers(name: _Name, known: list[str]) -> bool:
    """Whether a path holds words that nothing explains."""
    explained = {*known, *_FILLERS, *(word for words in _SEGMENTS.values() for word in words)}
    left = (word for word in name.words if len(word) > 1 and not word.isdigit() and word not in explained)
    return any(not any(_alike(word, other) for other in known) and _rest(word, known) for word in left)


def _rest(word: str, known: list[str]) -> str:
    """What of a word is left without the names that it runs together."""
    for other in sorted(known, key=len, reverse=True):
        word = word.replace(other, "", 1)
    return word


def _found(word: str, name: _Name) -> float:
    if word in name.words:
        return 1.0
    best = max((_alike(word, other) for other in name.words), default=0.0)
    return max(best, _RUN_TOGETHER) if len(word) > 5 and word in name.letters else best


@lru_cache(1 << 20)
def _alike(one: str, other: str) -> float:
    from rapidfuzz.fuzz import ratio

    one, other = (re.sub(r"([aou])e", r"\1", word) for word in (one, other))  # ae is how many write an umlaut
    alike = ratio(one, other) / 100
    shorter = min(len(one), len(other))
    return alike if alike >= _ALIKE and (shorter > 6 or (shorter > 3 and len(one) == len(other))) else 0.0


def _apart(text: str) -> str:
    """AnaEXAMPLE and anaExample in words."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)


@lru_cache(1 << 14)
def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+|\d+", _plain(text))


@lru_cache(1 << 14)
def _plain(text: str) -> str:
    """Small letters without accents."""
    apart = unicodedata.normalize("NFKD", text[:_LONGEST].lower().translate(_PLAIN))
    return " ".join("".join(letter for letter in apart if not unicodedata.combining(letter)).split())


def _told(one: Performance) -> str:
    return " ".join(filter(None, (one.skater, one.segment, one.event)))
