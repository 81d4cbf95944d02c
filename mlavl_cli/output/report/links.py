"""Where a page's video lies, as a relative URL, and which video a page that is there is about."""

import hashlib
import os
from pathlib import Path, PurePath, PurePosixPath
from urllib.parse import quote, unquote_to_bytes

from mlavl_cli.files import refuse_irregular
from mlavl_cli.output.report.html import video_of

_LONGEST_NAME = 244  # bytes of a page's name without .html, or .notes.json: file systems take 255
_HEAD = 1 << 16  # characters of a page, in which it says what it is about


def url(path: str | PurePath) -> str:
    """A relative path as a URL: every byte that means something else there is quoted."""
    return quote(os.fsencode(PurePath(path).as_posix()))


def path_of(url: str) -> PurePosixPath:
    """The path that a relative URL names, whatever bytes it has."""
    return PurePosixPath(os.fsdecode(unquote_to_bytes(url)))


def fitting(name: str) -> str:
    """A name for a page, as long as its file and that of its notes can be called; longer ones are cut and numbered."""
    content = os.fsencode(name)
    if len(content) <= _LONGEST_NAME:
        return name
    return f"{content[: _LONGEST_NAME - 20].decode('utf-8', 'ignore')} {hashlib.sha256(content).hexdigest()[:12]}"


def video_url(video: Path, page: Path) -> str:
    """From a page to a video."""
    return url(os.path.relpath(os.path.realpath(video), os.path.realpath(page.parent)))


def page_about(page: Path, video: str) -> bool:
    """Whether a page can be written there: nothing is, a link that is replaced, or what is about the same video."""
    return page.is_symlink() or not page.exists() or _video_on(page) == video


def _video_on(page: Path) -> str | None:
    """Which video a page that is there is about; None where there is none, or none that says so."""
    try:
        refuse_irregular(page)
        with page.open(encoding="utf-8") as file:
            return video_of(file.read(_HEAD))
    except (OSError, UnicodeDecodeError):
        return None
