"""The rows of a stranger's csv, bounded as they are read."""

import codecs
import csv
import io
from collections import Counter
from itertools import islice
from pathlib import Path

from mlavl_cli.errors import DataError
from mlavl_cli.files import refuse_irregular

MOST_TABLE_BYTES, MOST_ROWS = 64 << 20, 200_000  # of a table of labels
_MOST_CELLS = 4_000_000
_MOST_LETTERS = 4 << 20  # of a row, wherever its lines break
_LONGEST_PATH, _DEEPEST = 4096, 128  # letters, and folders

Rows = list[dict[str, str]]


def read_csv(path: Path, most_columns: int, paths: tuple[str, ...] = ("path",)) -> tuple[Rows, str]:
    """The rows of a csv by its first line's names, and what separates its cells: commas, semicolons or tabs.

    Args:
        path: UTF-8 or UTF-16.
        most_columns: that it can have.
        paths: columns whose cells are of a path's length.

    Raises:
        DataError: it can't be read, its lines have other numbers of cells, or it is larger than any such table.
    """
    try:
        refuse_irregular(path, MOST_TABLE_BYTES)
        data = path.read_bytes()
        encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
        text = data.decode(encoding)
        head = text.split("\n", 1)[0]
        separator = max(",;\t", key=head.count)
        lines = _Lines(text)
        reader = csv.DictReader(lines, delimiter=separator)
        columns = [name or "" for name in reader.fieldnames or ()]
        if len(columns) > most_columns:
            raise DataError(f"has {len(columns)} columns, more than there can be", path=path)
        rows: Rows = []
        for number, row in enumerate(islice(reader, MOST_ROWS + 1), 2):
            lines.letters = 0
            if None in row or None in row.values():
                raise DataError(f"line {number} has not as many cells as the first line", path=path)
            if number * len(columns) > _MOST_CELLS:
                raise DataError(f"has more than {_MOST_CELLS:,} cells", path=path, hint="Is it a manifest?")
            if any("\0" in cell for cell in row.values()):
                raise DataError(f"line {number} holds a NUL character", path=path)
            cells = [row.get(name) or "" for name in paths]
            if any(len(cell) > _LONGEST_PATH or cell.count("/") > _DEEPEST for cell in cells):
                cause = f"a path of more than {_LONGEST_PATH:,} letters or {_DEEPEST} folders"
                raise DataError(f"line {number} holds {cause}", path=path)
            rows.append(row)
    except DataError as error:
        raise DataError(error.message, path=path, hint=error.hint) from error
    except (OSError, UnicodeError, csv.Error) as error:
        raise DataError(f"can't be read as csv ({error})", path=path) from error
    if doubled := sorted(name for name, count in Counter(columns).items() if count > 1):
        raise DataError(f"has two columns {doubled[0]!r}", path=path, hint="Which of them counts?")
    if len(rows) > MOST_ROWS:
        raise DataError(f"has more than {MOST_ROWS:,} rows", path=path, hint="Is it a manifest?")
    return rows, separator


class _Lines:
    """The lines of a text, until those of one row are too long: a million separators would be a million cells."""

    def __init__(self, text: str):
        self.letters = 0  # of the row that is read
        self._lines = io.StringIO(text, newline="")

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.letters += len(line)
        if self.letters > _MOST_LETTERS:
            raise DataError(f"has a row of more than {_MOST_LETTERS:,} letters", hint="Is it a csv?")
        return line
