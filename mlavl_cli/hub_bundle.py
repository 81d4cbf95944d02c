"""Bundles on a hub: `user/name[@revision]` -> a folder, downloaded once through the hub's own library and its cache.

Only what the bundle's own list of files names is fetched, and only files that hold data: json, safetensors and those of
tokenizers. Each is compared with the SHA-256 of that list. Nothing of a repository is run.
"""

import json
import logging
import os
import re
import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any

from mlavl_cli.errors import MlavlError, WeightsError, refusing
from mlavl_cli.files import refuse_irregular
from mlavl_cli.untrusted import digest_of, plain_name

_NAME = re.compile(
    r"(?!.*\.\.)[A-Za-z0-9_][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}(@[A-Za-z0-9_][\w.-]{0,200})?", re.ASCII
)
_MANIFEST, _MOST_MANIFEST = "bundle.json", 4 << 20
_SUFFIXES = frozenset({".json", ".safetensors", ".txt", ".model"})
_MOST_FILES, _MOST_PARTS, _MOST_BYTES = 512, 6, 32 << 30  # of a bundle; one of full-size backbones has 2 GB
_SHA256 = re.compile(r"[0-9a-f]{64}")


def is_hub_name(text: object) -> bool:
    """Whether weights are named as a hub names them, and not as a folder."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


def fetch_bundle(source: str) -> Path:
    """The folder of a bundle on the hub, below `HF_HOME/mlavl`; what is there already is not fetched again.

    Where the hub is switched off (`HF_HUB_OFFLINE`) or can't be reached, what was fetched before is used.

    Args:
        source: `user/name`, or `user/name@revision`: a branch, a tag or a commit.

    Raises:
        WeightsError: it can't be had, is no bundle, lists files that a bundle hasn't, or holds others than it lists.
    """
    from huggingface_hub.constants import HF_HOME

    name, _, revision = source.partition("@")
    manifest = _download(name, _MANIFEST, revision or None, _MOST_MANIFEST)
    commit = manifest.parent.name
    folder = Path(HF_HOME) / "mlavl" / name.replace("/", "--") / plain_name(commit, "a commit")
    if (folder / _MANIFEST).is_file():
        return folder
    with refusing(WeightsError, "is no list of a bundle's files", source, "Is it a bundle that mlavl pushed?"):
        refuse_irregular(manifest, _MOST_MANIFEST)
        files = _listed(json.loads(manifest.read_text("utf-8"))["files"])
    left = _MOST_BYTES
    found: dict[str, Path] = {}
    for path, digest in files.items():
        found[path] = _download(name, path, commit, left)
        left -= found[path].stat().st_size
        if digest_of(found[path].resolve()) != digest:
            cause = f"{path} is another file than its bundle.json lists"
            raise WeightsError(cause, path=source, hint="Was it changed by hand? Ask its owner to push it again.")
    _lay_out(folder, {**found, _MANIFEST: manifest})
    return folder


def _listed(files: dict[str, Any]) -> dict[str, str]:
    """The list of a bundle's files, once each was found to be one that a bundle has.

    Raises:
        ValueError: it isn't.
    """
    if len(files) > _MOST_FILES:
        raise ValueError("more files than a bundle has")
    for path, digest in files.items():
        parts = PurePosixPath(path).parts
        if len(parts) > _MOST_PARTS or PurePosixPath(path).suffix not in _SUFFIXES or "\\" in path:
            raise ValueError(f"{path[:80]!r} is no file of a bundle")
        try:
            for part in parts:
                plain_name(part, "a part of a path")
        except MlavlError as error:
            raise ValueError(error.message) from error
        if not _SHA256.fullmatch(digest):
            raise ValueError(f"{path} has no SHA-256")
    return files


def _download(name: str, path: str, revision: str | None, most: int) -> Path:
    """A file of a repository, in the cache."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    logger = logging.getLogger("huggingface_hub")  # which tells of each try; the last one is told here
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    source = f"{name}@{revision}" if revision else name
    try:
        known = hf_hub_download(name, path, revision=revision, dry_run=True)
        if not known.is_cached and (known.file_size or 0) > most:
            raise WeightsError(f"{path} has {known.file_size:,} bytes, more than a bundle has", path=source)
        return Path(hf_hub_download(name, path, revision=revision))
    except WeightsError:
        raise
    except LocalEntryNotFoundError as error:
        offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
        cause = f"not in the cache, and not to be had from the hub{offline}"
        raise WeightsError(
            cause, path=source, hint="Is there a network? Is it spelt as user/name[@revision]?"
        ) from error
    except Exception as error:  # the library's own, and whatever its client for HTTP raises
        cause = (str(error).strip().splitlines() or [type(error).__name__])[0]
        hint = "Run it again to go on; for a private repository run `hf auth login`."
        raise WeightsError(f"{path} can't be fetched: {cause}", path=source, hint=hint) from error
    finally:
        logger.setLevel(level)


def _lay_out(folder: Path, files: dict[str, Path]) -> None:
    """The cache's files under their names, as files of their own and not as links, all at once."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        whole = Path(place) / folder.name
        for path, cached in files.items():
            target = whole / path
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(cached.resolve(), target)
            except OSError:  # another file system, or one without links
                shutil.copyfile(cached, target)
        try:
            whole.rename(folder)
        except OSError:
            if not (folder / _MANIFEST).is_file():  # or another process was faster
                raise
