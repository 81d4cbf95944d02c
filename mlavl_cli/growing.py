"""A file of lines that others follow while it is written."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, cast

from mlavl_cli.files import atomic_write, is_written_through


@contextmanager
def growing_write(path: Path) -> Iterator[IO]:
    """A file of lines that others may follow: the first takes the place of what stood there, others are added.

    Args:
        path: named by a user, as of `atomic_write`. What is no regular file is written straight through.

    Raises:
        MlavlError: the folder can't be made or written.
    """
    if is_written_through(path):
        with atomic_write(path, "w", named=True) as file:
            yield file
        return
    with ExitStack() as stack:
        lines = _Lines(path, stack)
        yield cast(IO, lines)
        lines.flush()


class _Lines:
    """What `growing_write` gives: a file that is begun beside, and put in its place by the first flush."""

    def __init__(self, path: Path, stack: ExitStack):
        self._stack, self._grows = stack, False
        self._file = stack.enter_context(atomic_write(path, named=True))
        self._waiting: list[str] = []

    def write(self, text: str) -> None:
        self._waiting.append(text)

    def flush(self) -> None:
        """Writes what waits, whole or not at all."""
        lines, self._waiting = "".join(self._waiting).encode("utf-8", "surrogateescape"), []
        if self._file.closed:  # it couldn't be put in its place, which was said
            return
        if not self._grows:
            self._file.write(lines)
            handle = os.dup(self._file.fileno())  # by its name another file may be there by then
            self.settle()
            self._file = self._stack.enter_context(os.fdopen(handle, "wb", buffering=0))
            return
        whole = self._file.tell()
        try:
            while lines:
                lines = lines[self._file.write(lines) :]
        except OSError:
            self._file.truncate(whole)
            raise

    def settle(self) -> None:
        """Puts in its place what was begun."""
        grew, self._grows = self._grows, True
        if not grew:
            self._stack.pop_all().close()
