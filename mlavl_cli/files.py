"""Files: which ones a command line means, their fingerprints, and writes that are whole or not at all."""

import hashlib
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mlavl_cli.errors import MediaError, MlavlError, UsageError

# What a folder is searched for. A file named outright is tried whatever it is called.
VIDEO_SUFFIXES = frozenset(  # as words, for the eye
    ".3g2 .3gp .asf .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .mxf .ogv .ts .vob .webm .wmv".split()
)


@dataclass(frozen=True)
class Input:
    """One routine to work on: `path`, and `name`, its path below the folder that was given (for outputs)."""

    path: Path
    name: Path


def expand_inputs(arguments: Iterable[str]) -> tuple[list[Input], list[MlavlError]]:
    """Files, folders (recursive, known video suffixes) and `-` (a list on stdin) -> inputs and what was wrong.

    Order is that of the arguments, sorted inside a folder; an input given twice is kept once. A list on stdin has one
    path a line, or NUL-separated paths as `find -print0` writes them. The good inputs go on.

    Raises:
        UsageError: stdin holds a video instead of a list.
    """
    inputs: dict[Path, Input] = {}
    errors: list[MlavlError] = []
    for argument in _with_stdin(arguments):
        path = Path(argument)
        try:
            if path.is_dir():
                found = [Input(video, video.relative_to(path)) for video in _videos_below(path, errors)]
                if not found:
                    suffixes = " ".join(sorted(VIDEO_SUFFIXES))
                    raise MediaError("no video in this folder", path=path, hint=f"Looked for {suffixes}.")
            elif path.exists() or path.is_symlink():
                found = [Input(path, Path(path.name))]
            else:
                raise MediaError("no such file or folder", path=path, hint="Check the path.")
        except OSError as error:
            errors.append(MediaError(f"can't be opened ({error.strerror})", path=path, hint="Check the path."))
        except MediaError as error:
            errors.append(error)
        else:
            for one in found:
                inputs.setdefault(_identity(one.path), one)
    return list(inputs.values()), errors


def _with_stdin(arguments: Iterable[str]) -> Iterator[str]:
    for argument in arguments:
        if argument != "-":
            yield argument
            continue
        data = sys.stdin.buffer.read()
        if data[4:8] == b"ftyp" or data.startswith((b"\x1aE\xdf\xa3", b"RIFF")):
            hint = "mlavl reads videos from files; give - a list of their paths, one a line."
            raise UsageError("stdin holds a video", hint=hint)
        listed = os.fsdecode(data)
        yield from filter(None, listed.split("\0") if "\0" in listed else listed.replace("\r\n", "\n").split("\n"))


def _identity(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # a loop of links: the file itself will say so when it is opened
        return path.absolute()


def _videos_below(folder: Path, errors: list[MlavlError]) -> list[Path]:
    def note(error: OSError) -> None:
        cause = f"can't be searched ({error.strerror})"
        errors.append(MediaError(cause, path=error.filename, hint="Check its permissions; the rest is searched."))

    videos = []
    for root, folders, names in os.walk(folder, onerror=note):  # links to folders are not followed: no loops
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        videos += [Path(root, name) for name in names if Path(name).suffix.lower() in VIDEO_SUFFIXES and name[0] != "."]
    return sorted(videos)


def sha256(path: Path) -> str:
    """The hex SHA-256 of a file's content, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def csv_text(text: str) -> str:
    """A csv cell that no spreadsheet takes for a formula: text that begins like one gets an apostrophe before it."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


@contextmanager
def atomic_write(path: Path, mode: str = "wb") -> Iterator[IO]:
    """A file that appears under its name only when it is whole and on the disk.

    Written beside, synced, renamed: a killed process leaves the old file or the new one, never half of one. A link
    stays a link, and what is no regular file (a pipe, a device) is written straight through, never replaced.

    Raises:
        MlavlError: the folder can't be made or written.
    """
    path = Path(path)
    temporary = None
    # A name that isn't UTF-8 is written as the bytes it has.
    text = {} if "b" in mode else {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
    try:
        if _is_no_regular_file(path):
            with open(path, mode, **text) as file:  # noqa: PTH123
                yield file
            return
        path = Path(os.path.realpath(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.", suffix=".part")
        with os.fdopen(handle, mode, **text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # noqa: PTH101 - mkstemp makes files private
        os.replace(temporary, path)  # noqa: PTH105
        temporary = None
    except OSError as error:
        hint = "Choose another output folder or free some space."
        raise MlavlError(f"can't be written ({error.strerror})", path=path, hint=hint) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Waits until no other process is in here with the same file, which is made and stays; nothing where locks aren't.

    Raises:
        MlavlError: the file can't be made.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    try:
        file = path.open("w")
    except OSError as error:
        raise MlavlError(f"can't be written ({error.strerror})", path=path, hint="Choose another folder.") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_no_regular_file(path: Path) -> bool:
    # /dev/stdout may lead to a regular file that a shell holds open: that is not ours to replace either.
    of_the_system = any(path.absolute().is_relative_to(folder) for folder in ("/dev", "/proc"))
    return of_the_system or (path.exists() and not path.is_file())


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
