"""Everything that can go wrong for a reason a user can act on. Each prints as one line: file, cause, fix."""

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike, fsdecode, fspath


class MlavlError(Exception):
    """The base of all errors this package raises on purpose.

    `message` is the cause, `hint` the fix, `path` the file concerned; `str()` joins them on one line.
    """

    exit_code = 1

    def __init__(self, message: str, *, path: str | PathLike[str] | None = None, hint: str | None = None):
        self.message = message
        self.path = None if path is None else fspath(path)
        self.hint = hint
        super().__init__(message)

    def __str__(self) -> str:
        return one_line(explained(self) if self.path is None else f"{self.path}: {explained(self)}")


class UsageError(MlavlError):
    """The command line asks for something that can't be; nothing was started."""

    exit_code = 2


class MediaError(MlavlError):
    """A video can't be read."""


class FeatureError(MlavlError):
    """Features, a feature file or a feature store don't fit."""


class WeightsError(MlavlError):
    """A bundle, a head or a backbone is missing, broken or doesn't fit."""


class NoSuchWeights(WeightsError):
    """Nothing is called so, here or on the hub."""

    exit_code = 2


class DataError(MlavlError):
    """Labels or a dataset on disk don't fit."""


class DeviceError(MlavlError):
    """The requested device or precision isn't available, or can't do what is asked of it."""


class NoSuchDevice(DeviceError):
    """A device or a precision that isn't there."""

    exit_code = 2


@contextmanager
def refusing(kind: type[MlavlError], cause: str, path: str | PathLike[str], hint: str | None = None) -> Iterator[None]:
    """Any unforeseen exception while a file of unknown origin is read becomes an error of that file."""
    try:
        yield
    except (MlavlError, MemoryError):
        raise
    except Exception as error:
        said = getattr(error, "strerror", None) or type(error).__name__
        raise kind(f"{cause} ({said})", path=path, hint=hint) from error


def explained(problem: Exception) -> str:
    """The cause and the fix on one line, without the file; of what nobody raised on purpose, that it is a bug."""
    if isinstance(problem, OSError) and problem.strerror and problem.filename is not None:
        return one_line(f"{fsdecode(problem.filename)} can't be used ({problem.strerror})")
    if not isinstance(problem, MlavlError):
        cause = f"internal error ({type(problem).__name__}: {problem})"
        return one_line(f"{cause}. Run again with --verbose and report what it prints.")
    if not problem.hint:
        return one_line(problem.message)
    end = "" if problem.message.endswith("?") else "."
    return one_line(f"{problem.message.rstrip('.') if end else problem.message}{end} {problem.hint}")


def one_line(text: str) -> str:
    """`text` with every control character (a file name may hold a line break) shown as its escape."""
    if text.isprintable():  # of millions of letters, like a video inside a page, at once
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
