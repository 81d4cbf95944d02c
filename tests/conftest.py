"""Routines made with PyAV, tiny backbones of the real classes, and the command line run for real."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports the hub's library: tests never touch a network
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # and before torch: as the commands set it
if "PYTEST_XDIST_WORKER" in os.environ:  # several test processes share the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from mlavl_cli.scoring.result import UNFAMILIAR

RATE = 44_100
# Code for the MB that a process held at the most; of a child's getrusage counts what its parent held, too.
HELD = "next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('VmHWM')) // 1000"


def tone(seconds: float, hz: float = 440.0, rate: int = RATE, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def moving_square(index: int, width: int, height: int) -> np.ndarray:
    """A picture whose top left corner is white and in which a square moves; each frame differs."""
    picture = np.full((height, width, 3), 40, np.uint8)
    picture[: height // 4, : width // 4] = 255
    left = (index * 5) % max(width - 8, 1)
    picture[height // 2 : height // 2 + 8, left : left + 8] = (200, 30, 90)
    return picture


def make_video(
    path: Path,
    frames: int | Sequence[np.ndarray] = 80,
    fps: Fraction | int = 25,
    size: tuple[int, int] = (96, 64),
    sound: np.ndarray | str | None = "tone",
    rate: int = RATE,
    layout: str = "mono",
    codec: str = "libx264",
    audio_codec: str = "aac",
    pixels: str = "yuv420p",
    times_s: Sequence[float] | None = None,
    sound_start_s: float = 0.0,
    rotation: float = 0.0,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """A real file: frames (how many, or pictures), at `fps` or at given times, with sound (samples (C, n) or (n,))."""
    pictures = [moving_square(i, *size) for i in range(frames)] if isinstance(frames, int) else list(frames)
    if isinstance(sound, str):
        sound = tone(len(pictures) / float(fps), rate=rate)
    path.parent.mkdir(parents=True, exist_ok=True)
    if codec == "libx265":  # whose threads may wait for each other without end
        params = (options or {}).get("x265-params", "log-level=none")
        options = {**(options or {}), "x265-params": f"{params}:pools=none:frame-threads=1"}
    with av.open(str(path), "w", options=container_options or {}) as container:
        video = container.add_stream(codec, rate=Fraction(fps), options=options or {})
        video.width, video.height, video.pix_fmt = pictures[0].shape[1], pictures[0].shape[0], pixels
        if times_s is not None:
            video.codec_context.time_base = Fraction(1, 90_000)
        if rotation:
            video.set_display_rotation(rotation)
        audio = container.add_stream(audio_codec, rate=rate, layout=layout) if sound is not None else None
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            if times_s is not None:
                frame.pts, frame.time_base = round(times_s[i] * 90_000), Fraction(1, 90_000)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if audio is not None:
            channels = np.atleast_2d(sound)
            step = 1024
            for start in range(0, channels.shape[1], step):
                chunk = np.ascontiguousarray(channels[:, start : start + step])
                # Packed: as planes, eight and more channels crash PyAV.
                frame = av.AudioFrame.from_ndarray(chunk.T.reshape(1, -1).copy(), "flt", layout)
                frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
                frame.pts = start + round(sound_start_s * rate)
                container.mux(audio.encode(frame))
            container.mux(audio.encode())
    return path


def make_sound(path: Path) -> Path:
    """A file with a second of sound and no picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone(1)[None], "fltp", "mono")
        frame.sample_rate = RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@dataclass(frozen=True)
class Run:
    exit_code: int
    stdout: str
    stderr: str

    @property
    def errors(self) -> list[str]:
        return [line for line in self.stderr.splitlines() if line.startswith("error: ")]

    def json(self) -> dict | list:
        return json.loads(self.stdout)


@pytest.fixture
def run() -> Callable[..., Run]:
    """The command line in this process; a crash that escapes it fails the test.

    Without torch here, a command would fork processes for its decoders, which keep what is patched and where they began
    for all later tests; `shell` has them.
    """
    import torch  # noqa: F401

    from mlavl_cli.cli.app import app

    def call(*args: object, stdin: str | bytes | None = None) -> Run:
        result = CliRunner().invoke(app, [str(arg) for arg in args], input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Run(result.exit_code, result.stdout, _expected(result.stderr))

    return call


def shell(*args: object, stdin: bytes | None = None, cwd: Path | None = None, **environment: str) -> Run:
    """The command line in a process of its own, as a script would run it."""
    done = subprocess.run(
        [sys.executable, "-m", "mlavl_cli", *map(str, args)],
        input=stdin,
        capture_output=True,
        cwd=cwd,
        env={**os.environ, **environment},
        timeout=300,
    )
    return Run(done.returncode, done.stdout.decode(), _expected(done.stderr.decode()))


def alone(*args: object) -> tuple[int, list[str], int]:
    """(exit code, lines of stderr, MB that it held at the most) of a run in a process of its own."""
    code = "import sys; from mlavl_cli.cli.app import app\ntry: app(sys.argv[1:])\nfinally: "
    done = subprocess.run(
        [sys.executable, "-c", f"{code}print({HELD}, file=sys.stderr)", *map(str, args)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"},
        timeout=200,
    )
    *told, held_mb = done.stderr.splitlines()
    return done.returncode, told, int(held_mb)


def hollow(path: Path, shape: Sequence[int], kind: str = "|u1") -> Path:
    """A `.npy` of zeros that takes some kilobytes on the disk."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": tuple(shape)})
        file.truncate(file.tell() + math.prod(shape) * np.dtype(kind).itemsize)
    return path


def side_by_side(calls: Sequence[Callable[..., Run]]) -> list[Run]:
    """What several processes give: each of them takes one core for seconds before it does anything."""
    with ThreadPoolExecutor(2) as pool:
        return [result.result() for result in [pool.submit(call) for call in calls]]


def _expected(stderr: str) -> str:
    """Without what the embedded weights say of nearly every video that tests draw: that they know nothing like it.

    tests/scores/test_domain.py looks at what really is printed.
    """
    return "".join(line for line in stderr.splitlines(keepends=True) if not line.rstrip().endswith(UNFAMILIAR))


@pytest.fixture(scope="session")
def routine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3.2 s at 25 fps with sound: 80 frames, so two clips and a tail of 16."""
    return make_video(tmp_path_factory.mktemp("routine") / "routine.mp4")


@pytest.fixture(scope="session")
def silent_routine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("silent") / "silent.mp4", sound=None)
