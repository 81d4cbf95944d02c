"""Which videos a command line means, and what the outputs of each are called."""

import os
import select
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from mlavl_cli.errors import MediaError, MlavlError, UsageError

# What a folder is searched for. A file named outright is tried whatever it is called.
VIDEO_SUFFIXES = frozenset(  # as words, for the eye
    (
        ".3g2 .3gp .3gpp .360 .asf .avi .divx .dv .f4v .flv .insv .lrv .m1v .m2t .m2ts .m2v .m4v .mjpeg .mjpg .mkv "
        ".mod .mov .mp4 .mpe .mpeg .mpg .mts .mxf .ogm .ogv .qt .rm .rmvb .tod .trp .ts .vob .webm .wmv .wtv .y4m"
    ).split()
)
_CHUNK_BYTES = 1 << 16


@dataclass(frozen=True)
class Input:
    """One routine to work on: `path`, and `name`, a relative path that no other input has (for outputs)."""

    path: Path
    name: Path

    @property
    def parts(self) -> tuple[str, ...]:
        """Of its absolute path, without the root."""
        return Path(os.path.abspath(self.path)).parts[1:]  # noqa: PTH100 - a link keeps its own name

    def called(self, count: int) -> Path:
        """Its name of so many parts."""
        return self.name if count == len(self.name.parts) else Path(*self.parts[-count:])

    def names(self) -> Iterator[Path]:
        """Its name, and the names that it can have instead: below more and more of the folders that it lies in."""
        return (self.called(count) for count in range(len(self.name.parts), len(self.parts) + 1))


Found = tuple[list[Input], list[MlavlError]]


def expand_inputs(arguments: Iterable[str], as_they_come: bool = False) -> Iterator[Found]:
    """Files, folders (recursive, known video suffixes) and `-` (a list on stdin) -> inputs and what was wrong.

    Order is that of the arguments, sorted inside a folder; an input given twice is kept once, but each line of a list
    that is answered as it comes is answered. A list on stdin has one
    path a line, with blank lines and comments (#) between them, or NUL-separated paths as `find -print0` writes them.
    The good inputs go on.

    An input is named by its path below the folder that was given, a file by its name; where two would be called alike,
    both are named with as many of the folders they lie in as tell them apart.

    Args:
        arguments: as on a command line.
        as_they_come: yield what stdin has said so far, again and again, instead of everything once. A name that was
            given before is then taken.

    Raises:
        UsageError: stdin holds a video instead of a list, or a list in UTF-16.
    """
    arguments = list(arguments)
    each = as_they_come and "-" in arguments
    seen: set[Path] = set()
    names = _Names()
    for paths in _listed(arguments, as_they_come):
        found: list[Input] = []
        errors: list[MlavlError] = []
        for one in _search(paths, errors):
            if each or (identity := _identity(one.path)) not in seen:
                found.append(one)
                seen |= set() if each else {identity}
        yield names.tell_apart(found), errors


_OTHERS = {".safetensors": "features or weights", ".html": "a page"}
_NAMES = {"bundle.json": "the list of a bundle", "history.jsonl": "a folder's history"}


def refuse_taken_name(path: Path | None) -> None:
    """Results never go where, by its name, a video is: a shell's `*.mp4` behind --output names one. Nor where features,
    weights, a page or a history are.

    Raises:
        UsageError: the name is, or ends as, one of theirs.
    """
    name, ending = (path.name.lower(), path.suffix.lower()) if path else ("", "")
    if what := "a video" if ending in VIDEO_SUFFIXES else _OTHERS.get(ending) or _NAMES.get(name):
        cause = f"is named like {what}, results can't be written there"
        raise UsageError(cause, path=path, hint="Choose another name.")


class _Names:
    def __init__(self) -> None:
        self._numbers: dict[tuple[int, str], int] = {}  # of a name: by that of the name without its first part
        self._taken: set[int] = set()

    def tell_apart(self, inputs: list[Input]) -> list[Input]:
        """The inputs, named so that no two share a name; the same names in whatever order they come."""
        others = [self._names(one) for one in inputs]
        named = [next(names) for names in others]
        while True:
            counts = Counter(number for number, _ in named)
            alike = [i for i, (number, _) in enumerate(named) if counts[number] > 1 or number in self._taken]
            longer = {i: name for i in alike if (name := next(others[i], None))}
            if not longer:
                break
            for i, name in longer.items():
                named[i] = name
        self._taken.update(number for number, _ in named)
        return [replace(one, name=one.called(parts)) for one, (_, parts) in zip(inputs, named, strict=True)]

    def _names(self, one: Input) -> Iterator[tuple[int, int]]:
        """As `Input.names`: a number for each name, the same for the same, and of how many parts it is."""
        number = 0
        for count, part in enumerate(reversed(one.parts), 1):
            number = self._numbers.setdefault((number, part), len(self._numbers) + 1)
            if count >= len(one.name.parts):
                yield number, count


def _search(paths: list[str], errors: list[MlavlError]) -> Iterator[Input]:
    for path in map(Path, paths):
        try:
            if path.is_dir():
                videos = _videos_below(path, errors)
                if not videos:
                    suffixes = " ".join(sorted(VIDEO_SUFFIXES))
                    raise MediaError("no video in this folder", path=path, hint=f"Looked for {suffixes}.")
                yield from (Input(video, video.relative_to(path)) for video in videos)
            elif path.exists() or path.is_symlink():
                yield Input(path, Path(path.name))
            else:
                raise MediaError("no such file or folder", path=path, hint="Check the path.")
        except OSError as error:
            errors.append(MediaError(f"can't be opened ({error.strerror})", path=path, hint="Check the path."))
        except MediaError as error:
            errors.append(error)


def _identity(path: Path) -> Path:
    return Path(os.path.realpath(path))  # of a loop of links, too: the file itself will say so when it is opened


def _videos_below(folder: Path, errors: list[MlavlError]) -> list[Path]:
    """Links to folders are followed, each folder once."""

    def note(error: OSError) -> None:
        cause = f"can't be searched ({error.strerror})"
        errors.append(MediaError(cause, path=error.filename, hint="Check its permissions; the rest is searched."))

    videos, searched = [], set()
    for root, folders, names in os.walk(folder, onerror=note, followlinks=True):
        if (identity := _identity(Path(root))) in searched:
            folders.clear()
            continue
        searched.add(identity)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        videos += [Path(root, name) for name in names if Path(name).suffix.lower() in VIDEO_SUFFIXES and name[0] != "."]
    return sorted(videos)


# --- Lists on stdin --------------------------------------------------------------------------------------------------


def _listed(arguments: Iterable[str], as_they_come: bool) -> Iterator[list[str]]:
    listed: list[str] = []
    for argument in arguments:
        if argument != "-":
            listed.append(argument)
            continue
        for paths in _stdin_paths():
            listed += paths
            if as_they_come and listed:
                yield listed
                listed = []
    if listed or not as_they_come:
        yield listed


def _stdin_paths() -> Iterator[list[str]]:
    """The paths of a list on stdin, as many at once as have come."""
    left, separator = b"", None
    for number, data in enumerate(_stdin_data()):
        if number == 0 and (data[4:8] == b"ftyp" or data.startswith((b"\x1aE\xdf\xa3", b"RIFF"))):
            hint = "mlavl reads videos from files; give - a list of their paths, one a line."
            raise UsageError("stdin holds a video", hint=hint)
        if number == 0 and _is_utf_16(data):  # its NULs would part single letters
            raise UsageError("the list on stdin is in UTF-16", hint="Write it in UTF-8.")
        left += data.removeprefix(b"\xef\xbb\xbf") if number == 0 else data  # as Windows begins its texts
        if separator is None and (b"\0" in left or b"\n" in left):
            separator = b"\0" if b"\0" in left else b"\n"
        if separator:
            *whole, left = left.split(separator)
            yield _paths(whole, separator)
    yield _paths([left], separator)


def _is_utf_16(data: bytes) -> bool:
    """A name may begin as such a text does: of a text, half of many letters is NUL."""
    halves = {b"\xff\xfe": data[3::2], b"\xfe\xff": data[2::2]}.get(data[:2], b"")
    return 4 * halves.count(0) > len(halves)


def _paths(lines: list[bytes], separator: bytes | None) -> list[str]:
    """NUL-separated names are names; of lines, blank ones and those that begin with # name nothing."""
    if separator != b"\0":
        lines = [line.removesuffix(b"\r") for line in lines]
        lines = [line for line in lines if line.strip() and not line.startswith(b"#")]
    return [os.fsdecode(line) for line in lines if line]


def _stdin_data() -> Iterator[bytes]:
    """What stdin holds, as it comes: each time as much as can be had without waiting."""
    if sys.stdin is None:  # closed by whoever started us
        return
    try:
        handle = sys.stdin.fileno()
    except (OSError, ValueError):  # no file of the system's
        yield sys.stdin.buffer.read()
        return
    while data := _read(handle):
        while _is_ready(handle) and (more := _read(handle)):
            data += more
        yield data


def _read(handle: int) -> bytes:
    try:
        return os.read(handle, _CHUNK_BYTES)
    except OSError as error:
        raise UsageError(f"stdin can't be read ({error.strerror})", hint="Give a list of paths, one a line.") from error


def _is_ready(handle: int) -> bool:
    try:
        return bool(select.select([handle], [], [], 0)[0])
    except (OSError, ValueError):  # Windows knows this of sockets alone
        return False
