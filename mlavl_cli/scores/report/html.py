"""Safe pieces of HTML: escaped text, data that can't end its own element, a policy that runs nothing else."""

import base64
import hashlib
import json
from html import escape
from importlib.resources import files
from string import Template
from typing import Any


def document(title: str, body: str, data: Any, script: str) -> str:
    """A whole page that needs nothing beside itself.

    Its policy admits this style sheet and this script by their hashes, pictures from inside the page, and videos; what
    a file name might smuggle in would not be run, and nothing is asked of any network.

    Args:
        title: as plain text.
        body: HTML whose texts are escaped.
        data: for the script, as JSON.
        script: a file beside this one.
    """
    style, code = _read("style.css"), _read(script)
    policy = (
        "default-src 'none'; img-src data:; media-src 'self' file: data:; base-uri 'none'; form-action 'none'; "
        f"style-src '{_hash(style)}'; script-src '{_hash(code)}'"
    )
    # "<" never appears in the data, so neither can "</script>" or "<!--".
    safe = json.dumps(data, allow_nan=False).replace("<", "\\u003c")
    parts = {"policy": policy, "title": text(title), "style": style, "body": body, "data": safe, "script": code}
    return Template(_read("template.html")).substitute(parts)


def text(value: object) -> str:
    """Plain text as HTML, in an attribute too. Bytes of a file name that are no text show as question marks."""
    return escape(str(value).encode("utf-8", "replace").decode())


def _read(name: str) -> str:
    return files("mlavl_cli.scores.report").joinpath(name).read_text("utf-8")


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
