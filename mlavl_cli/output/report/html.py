"""Safe pieces of HTML: escaped text, data that can't end its own element, a policy that runs nothing else."""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from html import escape, unescape
from importlib.resources import files
from string import Template
from typing import Any

from mlavl_cli.errors import one_line

_VIDEO = re.compile('<meta name="mlavl-video" content="([^"]*)">')


def document(title: str, body: str, data: Any, scripts: Sequence[str] = (), video: str = "") -> str:
    """A whole page that needs nothing beside itself.

    Its policy admits this style sheet and this script by their hashes, pictures from inside the page, and videos; what
    a file name might smuggle in would not be run, and nothing is asked of any network.

    Args:
        title: as plain text.
        body: HTML whose texts are escaped.
        data: for the script, as JSON.
        scripts: files beside this one, run one behind the other.
        video: which video the page is about, as a relative URL; nothing else is to take its place.
    """
    style, code = _read("style.css"), "\n".join(map(_read, scripts))
    policy = (
        "default-src 'none'; img-src data:; media-src 'self' file: data: blob:; base-uri 'none'; form-action 'none'; "
        f"style-src '{_hash(style)}'; script-src '{_hash(code)}'"
    )
    # "<" never appears in the data, so neither can "</script>" or "<!--".
    safe = json.dumps(data, allow_nan=False).replace("<", "\\u003c")
    parts = {"policy": policy, "title": text(title), "style": style, "body": body, "data": safe, "script": code}
    parts["video"] = text(video)
    return Template(_read("template.html")).substitute(parts)


def video_of(page: str) -> str | None:
    """Which video a page is about, by its beginning; None where it doesn't say."""
    found = _VIDEO.search(page)
    return unescape(found[1]) or None if found else None


def text(value: object) -> str:
    """Plain text as HTML, in an attribute too. Bytes of a file name that are no text show as question marks,
    control characters as their escapes."""
    return escape(one_line(str(value).encode("utf-8", "replace").decode()))


def table(label: str, heads: str, rows: str, kind: str = "") -> str:
    """A table in a window of its own, which scrolls sideways where it is narrow, by keys too; all parts are HTML."""
    window = f'<div class="scroll" tabindex="0" role="region" aria-label="{text(label)}">'
    return f'{window}<table class="{kind}"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'


def _read(name: str) -> str:
    return files("mlavl_cli.output.report").joinpath(name).read_text("utf-8")


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
