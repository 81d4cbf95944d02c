"""Decoding in processes of their own: whatever a file does to its decoder is one line about this file.

A crash, memory without end or work without a clip ends a worker and not the run. Workers are forked by a process that
was forked from the command before torch was loaded, so that they are small, cost no start of an interpreter, and have
no threads to inherit. Only commands start it (`start`); the Python API decodes in its own process.
"""

import fcntl
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from mlavl_cli import errors
from mlavl_cli.errors import MediaError, MlavlError
from mlavl_cli.features.reading import End, Prepared, Read, prepare
from mlavl_cli.media.container import MOST_PIXELS
from mlavl_cli.media.cutting import Cutting
from mlavl_cli.media.decode import VideoInfo
from mlavl_cli.media.picture import PictureSpec
from mlavl_cli.memory import held_bytes, limit_memory
from mlavl_cli.parents import end_with

# A decoder keeps up to sixteen pictures, and its threads some more: of 2K they are 0.1 GB, of 8K 0.9. Of files with
# large pictures one is decoded at a time. Where larger ones were asked for, they get as much more.
LARGE_PX = 3_000_000
LITTLE = 350_000_000
MEMORY = int(1.1e9 * max(1.0, MOST_PIXELS / 64e6))
IDLE_CPU_S = 30.0  # of work without a clip, besides what the clip may take
# Work all in all: so much, and so much for each clip and its sound, each picture that was decoded, and each million of
# its pixels. The slowest real files (8K, or 10 bits at 50 Mbit/s, on an old core) take a quarter of it. What a file
# states, its rate or how wide its pixels are, counts for nothing.
START_CPU_S, CLIP_CPU_S, PICTURE_CPU_S, MEGAPIXEL_CPU_S = 20.0, 0.1, 1 / 32, 1 / 64
_LOOK_S = 1.0

Request = tuple[PictureSpec, int, Cutting, int]  # what `reading.prepare` takes behind the path


@dataclass(frozen=True)
class _Failed:
    kind: str
    message: str
    path: str | None = None
    hint: str | None = None
    last: bool = False  # of the worker, which won't read another file

    def error(self) -> Exception:
        kind = getattr(errors, self.kind, None)
        if kind is None:
            return RuntimeError(f"{self.kind}: {self.message}")
        return kind(self.message, path=self.path, hint=self.hint)


class _Worker:
    """One process, and the files that it reads one after the other.

    `fit` unless it was left in the middle of a file, crashed or was given up.
    """

    def __init__(self, pipe: Connection):
        self._pipe, self.fit = pipe, True
        self._ended = False  # by itself: its number may be another process's by now
        self.pid: int = pipe.recv()
        self._began = held_bytes(self.pid)

    def read(self, path: Path, request: Request, patient: bool) -> Read:
        self.fit = False
        begin = reached = self._cpu_s()
        clips, allowed_s = 0, 0.0
        try:
            self._pipe.send((path, request, patient))
            while True:
                while not self._pipe.poll(_LOOK_S):
                    self._refuse_too_slow(path, begin, reached, clips, allowed_s)
                item = self._pipe.recv()
                if isinstance(item, _Failed):
                    self.fit, self._ended = not item.last, item.last
                    raise item.error()
                if isinstance(item, End):
                    self.fit = not _is_large(item.info)
                    yield item
                    return
                decoded = item
                if isinstance(item, Prepared):  # else a clip was read once more
                    yield item
                    decoded = item.decoded
                clips, reached = clips + 1, self._cpu_s()
                allowed_s = _allowed_cpu_s(clips, *decoded)
                self._refuse_too_slow(path, begin, reached, clips, allowed_s)
        except (EOFError, OSError) as error:
            self._ended = True
            hint = "It is damaged or made to do this, or the system has no memory for it."
            raise MediaError("its decoder crashed", path=path, hint=hint) from error

    @property
    def lean(self) -> bool:
        """Whether it has given back what its files took: what it keeps counts against its limit."""
        return 0 < held_bytes(self.pid) < self._began + LITTLE // 4

    def kill(self) -> None:
        if not self._ended:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self._pipe.close()

    def _refuse_too_slow(self, path: Path, begin: float, reached: float, clips: int, allowed_s: float) -> None:
        now, a_clip_s = self._cpu_s(), allowed_s / max(clips, 1)
        if now - reached > IDLE_CPU_S + a_clip_s or now - begin > START_CPU_S + allowed_s + a_clip_s:
            cause = f"takes too long to decode: {now - begin:.0f} s of work for {clips} clips"
            raise MediaError(cause, path=path, hint="Convert it to H.264 of a usual size.")

    def _cpu_s(self) -> float:
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:  # it is gone, which the pipe will say
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _allowed_cpu_s(clips: int, pictures: int, pixels: int) -> float:
    return clips * CLIP_CPU_S + pictures * PICTURE_CPU_S + pixels / 1e6 * MEGAPIXEL_CPU_S


def _is_large(info: VideoInfo) -> bool:
    return info.width_px * info.height_px > LARGE_PX


class Decoders:
    """Workers, by way of the process that forks them; as many as files are read at once."""

    def __init__(self, asks: socket.socket):
        self._asks, self._asking = asks, threading.Lock()
        self._idle: list[_Worker] = []

    def prepare(self, path: Path, request: Request, patient: bool) -> Read:
        """As `reading.prepare`, by a worker, which may wait for memory if it is patient.

        Raises:
            MediaError: the file can't be read; its decoder crashed, or takes too much memory or time.
        """
        try:
            worker = self._take()
        except (OSError, EOFError):  # who forks them is gone
            yield from prepare(path, *request)
            return
        try:
            yield from worker.read(path, request, patient)
        finally:
            if worker.fit:
                self._idle.append(worker)
            else:
                worker.kill()

    def _take(self) -> _Worker:
        with self._asking:
            while self._idle:
                if (worker := self._idle.pop()).lean:
                    return worker
                worker.kill()
            here, there = socket.socketpair()
            with there:
                socket.send_fds(self._asks, [b"w"], [there.fileno()])
        return _Worker(Connection(here.detach()))


_decoders: Decoders | None = None


def start() -> None:
    """Forks the process that forks workers, where this one is still small: on Linux, before torch is loaded."""
    global _decoders
    if _decoders or "torch" in sys.modules or sys.platform != "linux":
        return
    try:
        ours, theirs = socket.socketpair()
        much = os.memfd_create("mlavl")  # locked by the worker whose file needs much memory
    except OSError:  # not here: files are decoded in this process
        return
    parent = os.getpid()
    try:
        child = os.fork()
    except OSError:  # no more processes
        return
    if child == 0:
        ours.close()
        _end_with(parent)
        try:
            _fork_workers(theirs, much)
        finally:
            os._exit(0)
    theirs.close()
    os.close(much)
    _decoders = Decoders(ours)


def prepare_file(
    path: Path, picture: PictureSpec, frames: int, cutting: Cutting, threads: int, patient: bool = True
) -> Read:
    """A file's clips and its end, by a worker where there are any, else here.

    Args:
        path, picture, frames, cutting, threads: as `reading.prepare` takes them.
        patient: whether it may wait until no other file needs much memory; else it does with little.
    """
    request = (picture, frames, cutting, threads)
    return _decoders.prepare(path, request, patient) if _decoders else prepare(path, *request)


# --- In the other processes -------------------------------------------------------------------------------------------


def _end_with(parent: int) -> None:
    """Nothing outlives the command, however that ends; and only the command answers to Ctrl-C."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    end_with(parent)


def _fork_workers(asked: socket.socket, much: int) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # workers that end leave no zombies
    here = os.getpid()
    while True:
        _, (end,), _, _ = socket.recv_fds(asked, 1, 1)
        if os.fork() == 0:
            asked.close()
            _end_with(here)
            try:
                _work(Connection(end), much)
            finally:
                os._exit(0)
        os.close(end)


def _work(pipe: Connection, much: int) -> None:
    pipe.send(os.getpid())
    before = held_bytes()
    lock = os.open(f"/proc/self/fd/{much}", os.O_RDWR)  # opened anew: another worker's lock is not ours

    large = False

    def opened(info: VideoInfo) -> None:
        nonlocal large
        large = _is_large(info)
        if large and patient:
            fcntl.flock(lock, fcntl.LOCK_EX)
            limit_memory(before + MEMORY)

    while not large:  # whoever read a large file reads no other: what it freed counts against the limit
        path, request, patient = pipe.recv()
        limit_memory(before + LITTLE)
        for item in _answers(path, request, opened, pipe.send):
            if isinstance(item, _Failed):
                item = replace(item, last=item.last or large)
            pipe.send(item)
            if isinstance(item, _Failed) and item.last:
                return


def _answers(
    path: Path, request: Request, opened: Callable[[VideoInfo], object], on_repeat: Callable[[Any], object]
) -> Iterator[Prepared | End | _Failed]:
    try:
        yield from prepare(path, *request, opened, on_repeat)
    except MlavlError as error:
        yield _Failed(type(error).__name__, error.message, error.path, error.hint)
    except MemoryError:
        cause = "takes more memory to decode than files of its picture's size do"
        hint = "If it is no mistake, set MLAVL_MAX_MEGAPIXELS to more than 64."
        yield _Failed("MediaError", cause, str(path), hint, last=True)
    except Exception as error:
        yield _Failed(type(error).__name__, str(error), last=True)
