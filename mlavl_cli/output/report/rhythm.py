"""Where a routine's music has onsets and beats, by librosa."""

import errno
import os
import stat
import sys
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import IO, Any, cast

import numpy as np

from mlavl_cli.errors import MlavlError
from mlavl_cli.files import atomic_write, refuse_another_users
from mlavl_cli.media.sound import SAMPLE_RATE_HZ
from mlavl_cli.scoring.alignment import Onsets
from mlavl_cli.surroundings import cache_folder, passing_folder

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
    numba = _numba()
    folder = _own_folder()
    config: Any = numba.config
    before, usual = _files(folder), config.CACHE_DIR
    config.CACHE_DIR = str(folder)
    try:
        yield
    finally:
        config.CACHE_DIR = usual
    if _files(folder) != before:
        with suppress(OSError, MlavlError, RuntimeError):
            with atomic_write(_kept()) as file, zipfile.ZipFile(file, "w", strict_timestamps=False) as archive:
                for path in sorted(_files(folder)):
                    archive.write(folder / path, path)
            _kept().chmod(0o600)


def _numba() -> ModuleType:
    """numba, which without the library that reads them takes no settings from a file in the current folder: as it is
    imported, and again each time that it compiles."""
    with _without("yaml"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it would have read one
        import numba
        from numba.core import config

        config._config_fname = ""
    return numba


@contextmanager
def _without(module: str) -> Iterator[None]:
    """Within it, a module can't be imported."""
    there = sys.modules.get(module)
    sys.modules[module] = cast(ModuleType, None)
    try:
        yield
    finally:
        del sys.modules[module]
        if there is not None:
            sys.modules[module] = there


@cache
def _own_folder() -> Path:
    """A folder with what earlier processes compiled, which goes when this process ends."""
    folder = passing_folder()
    try:
        with _open_kept() as file, zipfile.ZipFile(file) as archive:
            archive.extractall(folder / "kept")
        return folder / "kept"
    except Exception:  # there is none, or a damaged one, of which zipfile raises many kinds: no part of it is used
        return folder / "new"


def _kept() -> Path:
    return cache_folder() / "librosa.zip"


def _open_kept() -> IO[bytes]:
    """The archive, if it is this user's.

    Raises:
        OSError: it isn't there, or may hold another user's code.
        RuntimeError: there is no home.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(_kept(), flags)
    try:  # what is looked at is what is read
        status = os.fstat(handle)
        refuse_another_users(status, _kept())
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST_KEPT:
            raise OSError(errno.EINVAL, "no archive of compiled code", str(_kept()))
    except OSError:
        os.close(handle)
        raise
    return os.fdopen(handle, "rb")


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.nb[ic]")}
