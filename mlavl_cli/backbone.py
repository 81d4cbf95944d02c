"""BackboneSpec: a frozen backbone by hub id or folder, and what features made with it are known by. No torch here."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlavl_cli.errors import WeightsError, refusing
from mlavl_cli.files import refuse_irregular
from mlavl_cli.untrusted import digest_of

MANIFEST_MAX_BYTES = 4 << 20
WEIGHTS_SUFFIXES = (".pth", ".pt", ".safetensors", ".bin", ".ckpt")
ELSEWHERE = "not-at-hand"  # stands for a backbone that made features and isn't here: heads learn from them all the same
_HUB_NAME = re.compile(r"(?!.*\.\.)[A-Za-z0-9_][\w.-]{0,200}", re.ASCII)
_MODEL_SUFFIXES = frozenset({".json", ".safetensors", ".bin", ".pth", ".pt"})
_TEXT_SUFFIXES = frozenset({".txt", ".model"})  # of tokenizers


@dataclass(frozen=True)
class BackboneSpec:
    """One frozen backbone.

    `source` is a hub id, a folder or a weights file; `revision` pins a hub id; `options` differ from what the model's
    own processor says (pictures: `short_side`, `crop`, `size`; sound: `mean`, `std`).
    """

    source: str
    revision: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    local: bool | None = None  # a path, whether it is there or not; None: if it is there
    dim: int | None = None  # width of its features; None: not stated

    @property
    def folder(self) -> Path | None:
        path = Path(self.source)
        return path if self.local or (self.local is None and there(path)) else None

    def identity(self) -> dict[str, Any]:
        """What features made with this backbone depend on: hub id and revision, or the content of local files."""
        options = {"options": self.options} if self.options else {}
        if self.folder is None:
            return {"id": self.source, "revision": self.revision or "main", **options}
        return {"id": self.folder.name, "sha256": {p.name: digest_of(p) for p in self.files()}, **options}

    def files(self) -> list[Path]:
        """The local files that anything is loaded from.

        Raises:
            WeightsError: there are none where they should be.
        """
        if self.folder is None:
            return []
        if not there(self.folder):
            raise WeightsError("the backbone is missing", path=self.folder, hint="Is the bundle whole?")
        return [self.folder] if self.folder.is_file() else model_files(self.folder)


def model_files(folder: Path) -> list[Path]:
    """The files of a saved model that anything is loaded from, sorted by name.

    Raises:
        WeightsError: an index of parts names a file that isn't one of them.
    """
    files = sorted(p for p in folder.iterdir() if p.suffix in _MODEL_SUFFIXES and p.is_file())
    names = {path.name for path in files}
    if deeper := next(folder.glob("*/**/*.index.json"), None):
        raise WeightsError("is an index of parts in a subfolder, where a backbone has none", path=deeper)
    for index in (path for path in files if path.name.endswith(".index.json")):
        try:
            if index.stat().st_size > MANIFEST_MAX_BYTES:
                raise WeightsError("far too large for an index of a model's parts", path=index)
            parts = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise WeightsError("isn't an index of a model's parts", path=index) from error
        if not parts <= names:
            raise WeightsError(f"names {min(map(str, parts - names))!r}, which isn't in its folder", path=index)
    return files


def saved_files(folder: Path) -> list[Path]:
    """`model_files`, and those of a tokenizer: what a copy of the model needs.

    Raises:
        WeightsError: one is far longer than what is stored of it; or as `model_files`.
    """
    texts = [path for path in folder.iterdir() if path.suffix in _TEXT_SUFFIXES and path.is_file()]
    found = [*model_files(folder), *texts]
    for path in found:
        with refusing(WeightsError, "can't be copied", path):
            refuse_irregular(path)
    return found


def parse_backbone(text: str) -> BackboneSpec:
    """What `--visual` and `--audio` take: a folder or file, `ID`, or `ID@REVISION`.

    Raises:
        WeightsError: it can only be a path, and nothing is there.
    """
    if there(Path(text)):
        return BackboneSpec(text)
    if text.startswith(("/", "./", "../")) or Path(text).suffix in WEIGHTS_SUFFIXES:
        raise WeightsError("no such file or folder", path=text, hint="Give a hub id, ID@REVISION, or a local folder.")
    source, _, revision = text.rpartition("@")
    return BackboneSpec(source, revision) if source else BackboneSpec(text)


def there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that no file can have
        return False


def is_hub_id(source: object, revision: object = None) -> bool:
    """Whether this can be a model of a hub, at a revision that can be one or at none."""
    names = source.split("/", 1) if isinstance(source, str) else [""]
    names += [] if revision is None else [revision] if isinstance(revision, str) else [""]
    return all(_HUB_NAME.fullmatch(name) for name in names)


def content_of(identity: dict[str, Any]) -> dict[str, Any]:
    """What a backbone is, by its `identity`, wherever its files lie and whatever their folder is called."""
    return {name: value for name, value in identity.items() if name != "id" or "sha256" not in identity}


def spec_of(identity: dict[str, Any], known: Iterable[BackboneSpec]) -> BackboneSpec:
    """The backbone that made features: a known one, one of the hub, or `ELSEWHERE`."""
    for spec in known:
        if content_of(spec.identity()) == content_of(identity):
            return spec
    source, revision = identity.get("id"), identity.get("revision")
    if "sha256" in identity or identity.get("options") or not is_hub_id(source, revision):
        return BackboneSpec(ELSEWHERE, local=False)  # settings of somebody's own aren't taken over unseen
    return BackboneSpec(str(source), revision, local=False)
