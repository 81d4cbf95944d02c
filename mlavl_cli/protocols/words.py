"""The words of a PDF, line by line, with their places. Read in a process of its own, of bounded memory and time.

A PDF is a stranger's file and its parser is Python: what is small on disk may unpack to gigabytes or never end.
"""

import json
import logging
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from mlavl_cli.errors import DataError, UsageError
from mlavl_cli.files import refuse_irregular
from mlavl_cli.parents import end_with

_MOST_BYTES, _MOST_PAGES, _MOST_WORDS = 64 << 20, 400, 20_000  # words a page; a full one has some 600
_MOST_LETTERS, _LONGEST_WORD = 4_000_000, 200  # of all pages; a full one has some 3,000
_MOST_SAID = 64 << 20  # bytes of words with their places
_MEMORY = 1 << 30
# Seconds: a page takes a third of one, and is of 4 KB or more.
_LEAST_S, _S_BYTES, _MOST_S = 20, 1 / 4096, 300
_SAME_LINE = 0.35  # of a word's height, by which two words of a line may stand apart
_TOO_MUCH = 3  # how the process says that the file asks for more


@dataclass(frozen=True)
class Word:
    """Text between `left` and `right`, its middle at `y` from the top of the page; in points."""

    text: str
    left: float
    right: float
    y: float
    height: float

    @property
    def x(self) -> float:
        return (self.left + self.right) / 2


Line = list[Word]


def read_pages(path: Path) -> list[list[Line]]:
    """A PDF's pages, each its lines from the top, each its words from the left; upright text is left out.

    Raises:
        UsageError: the library that reads PDFs isn't installed.
        DataError: it can't be read, or asks for far more than a protocol.
    """
    if find_spec("pdfplumber") is None:
        raise UsageError("reading PDFs needs a library", hint="Run: pip install 'mlavl[protocols]'.")
    try:
        refuse_irregular(path, _MOST_BYTES)
        with path.open("rb") as file:
            if b"%PDF-" not in file.read(1024):
                raise DataError("is no PDF", path=path)
    except OSError as error:
        raise DataError(f"can't be read ({error.strerror or error})", path=path) from error
    # -P: modules come from where this one does, never from the folder that the command stands in.
    command = [sys.executable, "-P", "-m", __name__, str(path.absolute()), str(os.getpid())]
    around = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONIOENCODING": "utf-8"}
    quiet = subprocess.DEVNULL  # what the library says of a file has no end
    with subprocess.Popen(command, stdin=quiet, stdout=subprocess.PIPE, stderr=quiet, env=around) as child:
        try:
            assert child.stdout is not None
            said = child.stdout.read(_MOST_SAID + 1)
        finally:
            if child.poll() is None and (sys.exc_info()[0] or len(said) > _MOST_SAID):
                child.kill()
    if child.returncode == 0 and len(said) <= _MOST_SAID:
        return [list(_lines([Word(*word) for word in page])) for page in json.loads(said)]
    if child.returncode in (0, _TOO_MUCH, -9, -24):  # told, killed, or out of time
        raise DataError("asks for more memory, time or pages than protocols do", path=path)
    raise DataError("can't be read as a PDF", path=path, hint="Is it damaged, or does it ask for a password?")


def _lines(words: list[Word]) -> Iterator[Line]:
    """Words whose middles are about as high, from the top."""
    words = sorted(words, key=lambda word: word.y)
    starts = [0]
    for at, (one, other) in enumerate(pairwise(words), 1):
        if other.y - one.y > _SAME_LINE * min(one.height, other.height):
            starts.append(at)
    for start, end in pairwise([*starts, len(words)]):
        if line := sorted(words[start:end], key=lambda word: word.left):
            yield line


def _read(path: str) -> list[list[tuple[Any, ...]]]:
    import pdfplumber

    pages, letters = [], 0
    with pdfplumber.open(path) as pdf:
        if len(list(islice(pdf.pages, _MOST_PAGES + 1))) > _MOST_PAGES:
            raise MemoryError
        for page in pdf.pages:
            level = page.filter(lambda thing: thing.get("upright", True)).dedupe_chars()  # bold that is drawn twice
            words = level.extract_words(x_tolerance_ratio=0.2, y_tolerance=1)
            letters += sum(len(word["text"]) for word in words)
            longest = max((len(word["text"]) for word in words), default=0)
            if len(words) > _MOST_WORDS or letters > _MOST_LETTERS or longest > _LONGEST_WORD:
                raise MemoryError
            pages.append([_word(word) for word in words])
            page.close()  # what it keeps of a page
    return pages


def _word(word: dict[str, Any]) -> tuple[str, float, float, float, float]:
    text = "".join(letter for letter in word["text"] if letter.isprintable() and not letter.isspace())
    top, bottom = float(word["top"]), float(word["bottom"])
    return text, float(word["x0"]), float(word["x1"]), (top + bottom) / 2, bottom - top


def _main() -> int:
    end_with(int(sys.argv[2]))
    seconds = int(min(_LEAST_S + _S_BYTES * Path(sys.argv[1]).stat().st_size, _MOST_S))
    for kind, most in ((resource.RLIMIT_AS, _MEMORY), (resource.RLIMIT_CPU, seconds)):
        resource.setrlimit(kind, (most, most))
    logging.disable()
    try:
        json.dump(_read(sys.argv[1]), sys.stdout, ensure_ascii=False)
    except Exception as error:  # the library wraps what it met into exceptions of its own
        too_much = any(isinstance(one, MemoryError | RecursionError) for one in (error, error.__context__, *error.args))
        return _TOO_MUCH if too_much else 1
    return 0


if __name__ == "__main__":
    sys.exit(_main())
