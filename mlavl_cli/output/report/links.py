"""Where a page's video lies, as a relative URL, and which video a page that is there is about."""

import os
from pathlib import Path
from urllib.parse import quote

from mlavl_cli.files import refuse_irregular
from mlavl_cli.output.report.html import video_of

_HEAD = 1 << 14  # characters of a page, in which it says what it is about


def url(path: str | Path) -> str:
    """A relative path as a URL: every byte that means something else there is quoted."""
    return quote(os.fsencode(Path(path).as_posix()))


def video_url(video: Path, page: Path) -> str:
    """From a page to a video."""
    return url(os.path.relpath(video.resolve(), page.parent.resolve()))


def page_about(page: Path, video: str) -> bool:
    """Whether a page can be written there: nothing is, a link that is replaced, or what is about the same video."""
    return page.is_symlink() or not page.is_file() or _video_on(page) == video


def _video_on(page: Path) -> str | None:
    """Which video a page that is there is about; None where there is none, or none that says so."""
    try:
        refuse_irregular(page)
        with page.open(encoding="utf-8") as file:
            return video_of(file.read(_HEAD))
    except (OSError, UnicodeDecodeError):
        return None
