"""Where a routine's music has onsets and beats, by librosa."""

import atexit
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from mlavl_cli.errors import MlavlError
from mlavl_cli.files import atomic_write, refuse_irregular
from mlavl_cli.media.sound import SAMPLE_RATE_HZ
from mlavl_cli.scoring.alignment import Onsets

_HOP = 512  # samples between two values of the strength of onsets
_LARGEST_KEPT = 64 << 20  # bytes of compiled code; with that of many former installations it is begun anew


def rhythm(sounds: list[tuple[float, np.ndarray]]) -> tuple[list[float], list[float], Onsets | None]:
    """Onsets and beats, in seconds of the video, and the strength of onsets; none where librosa can't be had.

    Args:
        sounds: (start_s, samples of 16 kHz) of successive stretches.
    """
    if not sounds:
        return [], [], None
    begin, samples = sounds[0][0], np.concatenate([sound for _, sound in sounds])
    if len(samples) < SAMPLE_RATE_HZ or not samples.any():
        return [], [], None
    try:
        with _compiled_apart():
            import librosa

            strength = librosa.onset.onset_strength(y=samples, sr=SAMPLE_RATE_HZ, hop_length=_HOP)
            known: dict[str, Any] = {"onset_envelope": strength, "sr": SAMPLE_RATE_HZ, "hop_length": _HOP}
            onsets = librosa.onset.onset_detect(**known, units="time")
            beats = librosa.beat.beat_track(**known, units="time")[1]
    except (ImportError, OSError, RuntimeError):  # where nothing can be compiled, a page has no beats
        return [], [], None
    of_music = Onsets(begin, _HOP / SAMPLE_RATE_HZ, strength)
    return [begin + float(t) for t in onsets], [begin + float(t) for t in beats], of_music


@contextmanager
def _compiled_apart() -> Iterator[None]:
    """Within it, numba reads and writes what it compiles for librosa in a folder of this process alone.

    numba writes the parts of a compiled function one by one. Where two processes fill one cache, the parts of one may
    replace some of the other's, and whoever reads them from then on ends in a segmentation fault
    (https://github.com/numba/numba/issues/10128). So what processes share is one archive, which is written whole.
    """
    import numba

    folder = _own_folder()
    config: Any = numba.config
    before, usual = _files(folder), config.CACHE_DIR
    config.CACHE_DIR = str(folder)
    try:
        yield
    finally:
        config.CACHE_DIR = usual
    if _files(folder) != before:
        with suppress(MlavlError, RuntimeError), atomic_write(_kept()) as file, zipfile.ZipFile(file, "w") as archive:
            for path in sorted(_files(folder)):
                archive.write(folder / path, path)


@cache
def _own_folder() -> Path:
    """A folder with what earlier processes compiled, which goes when this process ends."""
    folder = Path(tempfile.mkdtemp(prefix="mlavl-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    try:
        refuse_irregular(_kept(), _LARGEST_KEPT)
        if _is_mine(_kept()):
            with zipfile.ZipFile(_kept()) as archive:
                archive.extractall(folder / "kept")
        return folder / "kept"
    except (OSError, RuntimeError, zipfile.BadZipFile):  # there is none, or a part of one, which would fit no other
        return folder / "new"


def _kept() -> Path:
    """Raises RuntimeError where there is no home."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlavl" / "librosa.zip"


def _is_mine(path: Path) -> bool:
    """Compiled code of another user is not run: HOME may be somebody else's, as with sudo."""
    return not hasattr(os, "geteuid") or path.stat().st_uid == os.geteuid()


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.nb[ic]")}
