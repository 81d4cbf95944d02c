"""Bundles on a hub: `user/name[@revision]` -> a folder, downloaded once through the hub's own library and its cache.

Only what the bundle's own list of files names is fetched, and only files that hold data: json, safetensors and those of
tokenizers. Each is compared with the SHA-256 of that list. Nothing of a repository is run.
"""

import filecmp
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from mlavl_cli.errors import MlavlError, WeightsError, refusing
from mlavl_cli.files import refuse_irregular
from mlavl_cli.memory import no_more_than
from mlavl_cli.parents import end_with
from mlavl_cli.untrusted import digest_of, plain_name

_NAME = re.compile(
    r"(?!.*\.\.)[A-Za-z0-9_][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}(@[A-Za-z0-9_][\w.-]{0,200})?", re.ASCII
)
_MANIFEST, _MOST_MANIFEST = "bundle.json", 4 << 20
_SUFFIXES = frozenset({".json", ".safetensors", ".txt", ".model"})
_MOST_FILES, _MOST_PARTS, _MOST_BYTES = 512, 6, 32 << 30  # of a bundle; one of full-size backbones has 2 GB
_PATIENCE_S, _SLOWEST = 60, 50_000  # until a hub answers, beside what a file takes at so many bytes a second
_MEMORY = 1_000_000_000  # bytes that the library takes; parts of large files are a hundredth of it
_SPARE = 1 << 20  # bytes of the library's own notes
_SAFE = re.compile(r"(?!.*\.\.)[\w.-]{1,200}", re.ASCII)
_LONGEST_CAUSE = 300
_SHA256 = re.compile(r"[0-9a-f]{64}")


def is_hub_name(text: object) -> bool:
    """Whether weights are named as a hub names them, and not as a folder."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


def fetch_bundle(source: str) -> Path:
    """The folder of a bundle on the hub, below `HF_HOME/mlavl`; what is there already is not fetched again.

    Where the hub is switched off (`HF_HUB_OFFLINE`) or can't be reached, what was fetched before is used. The fetching
    is done by a process of its own, whose files and waiting are bounded, whatever a hub answers.

    Args:
        source: `user/name`, or `user/name@revision`: a branch, a tag or a commit.

    Raises:
        WeightsError: it can't be had, is no bundle, lists files that a bundle hasn't, or holds others than it lists.
    """
    # -P: modules come from where this one does, never from the folder that the command stands in.
    command = [sys.executable, "-P", "-m", __name__, source, str(os.getpid())]
    around = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONIOENCODING": "utf-8"}
    around["HF_HUB_DISABLE_XET"] = "1"  # which takes memory by gigabytes, and ends the process where there is none
    quiet = subprocess.DEVNULL  # a hub's own words may be endless
    done = subprocess.run(command, stdin=quiet, stdout=subprocess.PIPE, stderr=quiet, env=around)
    with refusing(WeightsError, "can't be fetched", source, "Run it again to go on."):
        if done.returncode == -signal.SIGALRM:
            raise WeightsError("the hub doesn't answer in time", path=source, hint="Run it again to go on.")
        said = json.loads(done.stdout)
        if "folder" in said:
            return Path(said["folder"])
        raise WeightsError(said["cause"], path=source, hint=said["hint"])


def _fetched(source: str) -> Path:
    from huggingface_hub.constants import HF_HOME

    name, _, revision = source.partition("@")
    manifest = _download(name, _MANIFEST, revision or None, _MOST_MANIFEST)
    commit = manifest.parent.name
    folder = Path(HF_HOME) / "mlavl" / name.replace("/", "--") / plain_name(commit, "a commit")
    with refusing(WeightsError, "is no list of a bundle's files", source, "Is it a bundle that mlavl pushed?"):
        refuse_irregular(manifest, _MOST_MANIFEST)
        files = check_listed(json.loads(manifest.read_text("utf-8"))["files"])
    if (folder / _MANIFEST).is_file():
        _refuse_changed(folder, files, manifest)
        return folder
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


def _refuse_changed(folder: Path, files: dict[str, str], manifest: Path) -> None:
    """Others may write to the folder of a cache that they share.

    Raises:
        WeightsError: what was laid out there before is not what the hub lists.
    """
    hint = "Remove that folder, to fetch it again."
    with refusing(WeightsError, "can't be compared with what the hub lists", folder, hint):
        there = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if not path.is_dir()}
        same = there.keys() == {*files, _MANIFEST} and filecmp.cmp(folder / _MANIFEST, manifest, shallow=False)
        if not same or any(digest_of(there[path]) != digest for path, digest in files.items()):
            raise WeightsError(f"{folder} holds other files than the hub lists", hint=hint)


def check_listed(files: dict[str, Any]) -> dict[str, str]:
    """The list of a bundle's files, once each was found to be one that a bundle has.

    Raises:
        ValueError: it isn't.
    """
    if len(files) > _MOST_FILES:
        raise ValueError("more files than a bundle has")
    for path, digest in files.items():
        parts = PurePosixPath(path).parts
        if str(PurePosixPath(path)) != path or path == _MANIFEST:
            raise ValueError(f"{path[:80]!r} is no path in a bundle")
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
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.errors import LocalEntryNotFoundError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)  # which tells of each try
    source = f"{name}@{revision}" if revision else name
    try:
        with _bounded(most):
            return Path(hf_hub_download(name, path, revision=revision))
    except WeightsError as error:
        raise WeightsError(error.message, path=source, hint=error.hint) from error
    except LocalEntryNotFoundError as error:
        offline = " (HF_HUB_OFFLINE is set)" if HF_HUB_OFFLINE else ""
        cause = f"not in the cache, and not to be had from the hub{offline}"
        raise WeightsError(
            cause, path=source, hint="Is there a network? Is it spelt as user/name[@revision]?"
        ) from error
    except Exception as error:  # the library's own, and whatever its client for HTTP raises
        cause = (str(error).strip().splitlines() or [type(error).__name__])[0][:_LONGEST_CAUSE]
        hint = "Run it again to go on; for a private repository run `hf auth login`."
        raise WeightsError(f"{path} can't be fetched: {cause}", path=source, hint=hint) from error


@contextmanager
def _bounded(most: int) -> Iterator[None]:
    """Bounds what the library does for one file in this process, which has no other task.

    What a hub says of a file is looked at before the library makes paths of it; no file grows beyond `most` bytes, and
    the process ends where a hub keeps it waiting.
    """
    from huggingface_hub import file_download

    known = file_download.get_hf_file_metadata

    def checked(*args: Any, **options: Any) -> Any:
        found = known(*args, **options)
        if not all(text is None or _SAFE.fullmatch(text) for text in (found.etag, found.commit_hash)):
            raise WeightsError("the hub names a file as no file can be named")
        if found.size is None or found.size > most:
            raise WeightsError(f"it has {found.size or 'no stated number of'} bytes, more than a bundle has")
        _bound(found.size, _PATIENCE_S + int(found.size / _SLOWEST))
        return found

    _bound(most, _PATIENCE_S)
    file_download.get_hf_file_metadata = checked
    try:
        with little_memory():
            yield
    finally:
        file_download.get_hf_file_metadata = known
        _bound(None, 0)


@contextmanager
def little_memory() -> Iterator[None]:
    """A hub may answer without end, or with what unpacks to gigabytes, and the library keeps answers whole.

    Raises:
        WeightsError: it does.
    """
    try:
        with no_more_than(_MEMORY):
            yield
    except MemoryError as error:
        raise WeightsError("the hub answers with more than can be kept", hint="Is it a hub, and a model?") from error


def _bound(most: int | None, seconds: int) -> None:
    """The largest file that may be written, and how long until the process ends."""
    if sys.platform == "win32":
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = hard if most is None else most + _SPARE if hard == resource.RLIM_INFINITY else min(most + _SPARE, hard)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    signal.alarm(seconds)


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


def _main() -> None:
    end_with(int(sys.argv[2]))
    if sys.platform != "win32":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing beyond the bound is an error of its own
    try:
        said = {"folder": str(_fetched(sys.argv[1]))}
    except MlavlError as error:
        said = {"cause": error.message, "hint": error.hint or ""}
    except Exception as error:
        said = {"cause": f"can't be fetched ({type(error).__name__}: {str(error)[:_LONGEST_CAUSE]})", "hint": ""}
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    _main()
