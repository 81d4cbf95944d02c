"""Reports: a folder of pages and their index, each file written whole."""

import base64
import mimetypes
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import IO

from mlavl_cli.errors import MlavlError, UsageError, explained
from mlavl_cli.files import atomic_write, make_folder, one_at_a_time, refuse_outside
from mlavl_cli.inputs import Input
from mlavl_cli.media.cutting import PAPER_CUTTING, Cutting
from mlavl_cli.output.report.glimpse import Glimpse, look
from mlavl_cli.output.report.history import By, history_page
from mlavl_cli.output.report.index import HISTORY, INDEX, Entry, entry, index, read_index, set_foreign_aside
from mlavl_cli.output.report.links import fitting, page_about, url, video_url
from mlavl_cli.output.report.notes import read_notes
from mlavl_cli.output.report.page import page, shown_clips
from mlavl_cli.output.report.season import HISTORY_DATA, Record, append_history, label_of, read_history, record_of
from mlavl_cli.scoring.result import RoutineScore

LARGEST_EMBEDDED = 200 << 20  # bytes; browsers give up on far larger pages
LOCK = ".index.lock"
_OWN = (INDEX, HISTORY, HISTORY_DATA, LOCK)  # what lies beside the pages
_INDEX_EVERY_S = 5.0  # a long batch is not to write its index ten thousand times


class Report:
    """Pages of routines under one folder, and an index that keeps those of earlier runs.

    Args:
        folder: made when it isn't there.
        embed: put each video into its page, instead of a link to where it lies.
        cutting: as the clips were cut.
    """

    def __init__(self, folder: Path, embed: bool = False, cutting: Cutting = PAPER_CUTTING):
        self.folder, self.embed, self.cutting = folder, embed, cutting
        self.entries: dict[str, Entry] = {}
        self.failed: list[tuple[str, str]] = []  # path and cause of the inputs of this run that gave no score
        self.fresh: list[Record] = []  # that the history doesn't have yet
        self._indexed = 0.0
        self._place = secrets.token_hex()  # stands in a page for the video's content, which is written piece by piece

    def check(self, sources: list[Input]) -> None:
        """Before any work: is every video small enough to be embedded, if it is to be?

        Raises:
            UsageError: naming the first that isn't.
        """
        for source in sources if self.embed else ():
            size = source.path.stat().st_size if source.path.is_file() else 0
            if size > LARGEST_EMBEDDED:
                cause = f"is too large to be put into a page ({size >> 20} MB)"
                raise UsageError(cause, path=source.path, hint="Leave out --report-embed-video: the page links to it.")

    def add(self, source: Input, result: RoutineScore) -> Path:
        """Writes a routine's page, and from time to time the index; returns the page's path.

        Raises:
            MediaError: the video can't be read again.
            MlavlError: the folder can't be written.
        """
        size_px = (result.video.width_px, result.video.height_px)
        glimpse = look(source.path, shown_clips(result), size_px, self.cutting)
        make_folder(self.folder)
        with one_at_a_time(self.folder / LOCK):  # another process may be about to take the same name
            path = self._page_path(source)
            refuse_outside(path, self.folder)
            up = os.path.relpath(self.folder, path.parent)
            urls = (video_url(source.path, path), f"{url(up)}/{INDEX}", self._embedded(source.path))
            label = label_of(source.path, PurePosixPath(path.relative_to(self.folder)).with_suffix(""))
            with atomic_write(path, "w") as file:
                before, *after = page(result, label, glimpse, urls, read_notes(path)).split(self._place)
                file.write(before)
                for rest in after:
                    _write_base64(file, source.path)
                    file.write(rest)
        relative = url(path.relative_to(self.folder))
        self.entries[relative] = entry(result, relative, label, _portrait(glimpse))
        self.fresh.append(record_of(source, result, relative))
        if time.monotonic() - self._indexed > _INDEX_EVERY_S:
            with suppress(MlavlError):  # it is tried again, and said, at the end
                self.write_index()
        return path

    def fail(self, path: Path, problem: Exception) -> None:
        """The index is to name an input that gave no score, until the next run."""
        self.failed.append((str(path), explained(problem)))

    def write_index(self) -> None:
        """Writes the index of these pages and of those that are there already, if there are any.

        Several processes may fill one folder: each reads what the others have written, one at a time.

        Raises:
            MlavlError: the folder can't be written.
        """
        if self.entries or (self.failed and (self.folder / INDEX).is_file()):
            with one_at_a_time(self.folder / LOCK):
                entries = {one.page: one for one in read_index(self.folder)} | self.entries
                set_foreign_aside(self.folder / INDEX)
                with atomic_write(self.folder / INDEX, "w") as file:
                    file.write(index(sorted(entries.values(), key=lambda one: one.page), self.failed))
        self._indexed = time.monotonic()

    def close(self) -> None:
        """Writes the index, adds to the history, and writes its page.

        Raises:
            MlavlError: the folder can't be written.
        """
        try:
            self.write_index()
        finally:  # neither is lost with the other
            if self.fresh:
                with one_at_a_time(self.folder / LOCK):
                    append_history(self.folder, self.fresh)
                self.fresh.clear()
                self.write_history("skater")

    def write_history(self, by: By) -> Path:
        """Writes the page of all scores that the folder remembers, and returns its path.

        Raises:
            MlavlError: it can't be written.
        """
        path = self.folder / HISTORY
        make_folder(self.folder)
        set_foreign_aside(path)
        with atomic_write(path, "w") as file:
            file.write(history_page(read_history(self.folder), by, INDEX))
        return path

    def _page_path(self, source: Input) -> Path:
        """Where its page goes: where it went before, and not where another video's or somebody else's is."""
        known = [self._page_of(Path(*source.parts[-count:])) for count in range(1, len(source.parts) + 1)]
        for path in known:  # whatever folder was scored then
            if path.is_file() and not path.is_symlink() and page_about(path, video_url(source.path, path)):
                return path
        for name in source.names():
            path = self._page_of(name)
            if page_about(path, video_url(source.path, path)):
                break
        return path

    def _page_of(self, name: Path) -> Path:
        *folders, last = name.parts
        if folders and folders[0] in _OWN:
            folders[0] += ".videos"
        path = self.folder.joinpath(*folders, f"{fitting(last)}.html")
        return path.with_name(f"{path.stem}.video.html") if path.name in (INDEX, HISTORY) else path

    def _embedded(self, video: Path) -> str | None:
        kind = mimetypes.guess_type(video.name)[0] or "video/mp4"
        return f"data:{kind};base64,{self._place}" if self.embed else None


def _write_base64(file: IO[str], path: Path) -> None:
    with path.open("rb") as content:
        while piece := content.read(3 << 20):  # a multiple of three, so that pieces follow each other without padding
            file.write(base64.b64encode(piece).decode())


def _portrait(glimpse: Glimpse) -> str:
    """The picture that stands for a video: from its middle."""
    known = sorted(glimpse.thumbnails)
    return glimpse.thumbnails[known[len(known) // 2]] if known else ""
