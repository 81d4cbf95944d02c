"""Decoding in processes of their own: what comes out is the same, and what goes wrong is one line about one file."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import make_video

from mlavl_cli.features.reading import End, Prepared, prepare
from mlavl_cli.media.cutting import PAPER_CUTTING
from mlavl_cli.media.picture import PictureSpec

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="commands decode apart on Linux alone")
REQUEST = "PictureSpec((48, 64)), 8, PAPER_CUTTING, False"
BEGIN = (
    "import sys\nfrom pathlib import Path\nfrom mlavl_cli.features import apart, reading\n"
    "from mlavl_cli.media.cutting import PAPER_CUTTING\nfrom mlavl_cli.media.picture import PictureSpec\n"
)
READ = f"""
def read(path):
    return list(apart.prepare_file(Path(path), {REQUEST}))
apart.start()
assert apart._decoders and "torch" not in sys.modules
"""


def python(code: str, *arguments) -> str:
    """Runs it in a fresh interpreter, without torch; its stdout."""
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=120, env=here
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def below(pid: int) -> dict[int, list[int]]:
    """Processes whose parent is this one, and theirs."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if fields[0] != "Z":
            children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    return {child: children.get(child, []) for child in children.get(pid, [])}


def worker_of(command: subprocess.Popen) -> int:
    """The process that decodes for a command, once there is one."""
    for _ in range(600):
        if workers := [worker for found in below(command.pid).values() for worker in found]:
            return workers[0]
        time.sleep(0.05)
    raise AssertionError("no worker")


def begin(*arguments) -> subprocess.Popen:
    """A real command."""
    mlavl = [sys.executable, "-m", "mlavl_cli", *map(str, arguments)]
    heed = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731 - what a shell's children begin with
    return subprocess.Popen(mlavl, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed)


def test_clips_are_the_same_as_here(tmp_path):
    path = make_video(tmp_path / "a.mp4", 100)
    code = BEGIN + READ + (
        "import pickle\n*clips, end = read(sys.argv[1])\n"
        "pickle.dump([[(c.span, c.frames, c.sound, c.statistics) for c in clips], end.info, end.warnings], "
        "open(sys.argv[2], 'wb'))\n"
    )  # fmt: skip
    python(code, path, tmp_path / "there")
    there, info, warnings = np.load(tmp_path / "there", allow_pickle=True)
    *here, end = prepare(path, PictureSpec((48, 64)), 8, PAPER_CUTTING, False)
    assert (isinstance(end, End), info, warnings) == (True, end.info, end.warnings)
    assert len(there) == len(here) == 3
    for (span, frames, sound, statistics), clip in zip(there, here, strict=True):
        assert isinstance(clip, Prepared)
        assert span == clip.span
        assert frames.tobytes() == clip.frames.tobytes()
        assert sound.tobytes() == clip.sound.tobytes()
        assert [rows.tobytes() for rows in statistics] == [rows.tobytes() for rows in clip.statistics]


def test_an_error_keeps_its_words_and_the_worker_reads_on(tmp_path):
    good = make_video(tmp_path / "good.mp4", 40)
    (tmp_path / "bad.mp4").write_text("no video")
    said = python(
        BEGIN + READ + "workers = set()\n"
        "for path in sys.argv[1:]:\n"
        "    try:\n        print(len(read(path)))\n"
        "    except apart.MediaError as error:\n        print(error)\n"
        "    workers.add(apart._decoders._idle[0].pid)\n"
        "print(len(workers))\n",
        good, tmp_path / "bad.mp4", good,
    )  # fmt: skip
    first, error, again, workers = said.splitlines()
    assert (first, again, workers) == ("2", "2", "1")
    with pytest.raises(Exception, match=r"bad\.mp4") as here:
        list(prepare(tmp_path / "bad.mp4", PictureSpec((48, 64)), 8, PAPER_CUTTING, False))
    assert error == str(here.value)


def test_memory_without_end_is_one_line(tmp_path):
    large = make_video(tmp_path / "large.mp4", 40, size=(3840, 2160))
    good = make_video(tmp_path / "good.mp4", 40)
    code = BEGIN + "apart.LITTLE, apart.MEMORY = 80_000_000, 90_000_000\n" + READ + (
        "for path in sys.argv[1:]:\n    try:\n        print(len(read(path)))\n"
        "    except apart.MediaError as error:\n        print(error)\n"
    )  # fmt: skip
    error, clips = python(code, large, good).splitlines()
    assert error.startswith(f"{large}: ")
    assert "memory" in error or "no frame could be decoded" in error  # FFmpeg doesn't always say what it lacks
    assert clips == "2"


def test_of_files_with_large_pictures_one_is_decoded_at_a_time(tmp_path):
    """The second waits, and not for long: its first clip comes only after the first file's last."""
    large = make_video(tmp_path / "large.mp4", 200, size=(2560, 1440))
    small = make_video(tmp_path / "small.mp4", 70)
    code = BEGIN + READ + (
        "import threading\n"
        f"first = apart.prepare_file(Path(sys.argv[1]), {REQUEST})\nnext(first)\n"
        "other = threading.Thread(target=lambda: print('large', len(read(sys.argv[1])), flush=True))\nother.start()\n"
        "print('small', len(read(sys.argv[2])), flush=True)\nother.join(2)\n"
        f"print('at once', len(list(apart.prepare_file(Path(sys.argv[1]), {REQUEST}, patient=False))), flush=True)\n"
        "print('waits', other.is_alive(), flush=True)\n"
        "print('first', len(list(first)), flush=True)\nother.join()\n"
    )  # fmt: skip
    told = python(code, large, small).splitlines()
    assert told[:3] == ["small 3", "at once 7", "waits True"]
    assert sorted(told[3:]) == ["first 6", "large 7"]


def test_work_without_a_clip_is_one_line(tmp_path):
    good = make_video(tmp_path / "good.mp4", 40)
    code = BEGIN + (
        "apart.IDLE_CPU_S = apart._LOOK_S = 0.5\nreal = apart.prepare\n"
        "def burns(path, *rest):\n    while path.name == 'endless.mp4':\n        pass\n"
        "    yield from real(path, *rest)\n"
        "apart.prepare = burns\n"
    ) + READ + (
        "for path in ('endless.mp4', sys.argv[1]):\n    try:\n        print(len(read(path)))\n"
        "    except apart.MediaError as error:\n        print(error)\n"
    )  # fmt: skip
    error, clips = python(code, good).splitlines()
    assert error.startswith("endless.mp4: takes too long to decode")
    assert clips == "2"


def test_a_file_that_is_left_in_the_middle_costs_its_worker_alone(tmp_path):
    path = make_video(tmp_path / "a.mp4", 900)
    code = BEGIN + READ + (
        f"some = apart.prepare_file(Path(sys.argv[1]), {REQUEST})\nnext(some)\nsome.close()\n"
        "print(len(apart._decoders._idle), len(read(sys.argv[1])), len(apart._decoders._idle))\n"
    )  # fmt: skip
    assert python(code, path).split() == ["0", "29", "1"]


def test_a_decoder_that_crashes_costs_one_file(tmp_path):
    long, good = make_video(tmp_path / "long.mp4", 6000), make_video(tmp_path / "good.mp4", 40)
    command = begin("score", long, good, "--workers", 1, "--format", "csv", "--quiet")
    os.kill(worker_of(command), signal.SIGSEGV)
    out, err = command.communicate(timeout=120)
    assert command.returncode == 1
    assert [line.split(": ")[1:3] for line in err.splitlines() if line.startswith("error")] == [
        [
            str(long),
            "its decoder crashed. It is damaged or made to do this, or the system has no memory for it.",
        ]
    ]
    assert [line.split(",")[0] for line in out.splitlines()] == ["path", str(long), str(good)]
    assert "its decoder crashed" in out.splitlines()[1]


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, *(pytest.param(n, marks=pytest.mark.slow) for n in (signal.SIGTERM, signal.SIGINT))]
)
def test_no_decoder_outlives_its_command(tmp_path, number):
    long = make_video(tmp_path / "long.mp4", 6000)
    command = begin("extract-features", long, "-o", tmp_path / "store")
    worker = worker_of(command)
    (forker,) = below(command.pid)
    command.send_signal(number)
    command.communicate(timeout=60)
    assert command.returncode == (130 if number != signal.SIGKILL else -9)
    for _ in range(100):
        if not any(Path(f"/proc/{pid}").exists() for pid in (worker, forker)):
            return
        time.sleep(0.05)
    raise AssertionError("still there")


def test_a_worker_that_read_a_large_file_reads_no_other(tmp_path):
    """What it freed counts against the little memory of the next file."""
    large = make_video(tmp_path / "large.mp4", 40, size=(2560, 1440))
    good = make_video(tmp_path / "good.mp4", 40)
    code = BEGIN + READ + (
        "for path in sys.argv[1:]:\n    print(len(read(path)), len(apart._decoders._idle))\n"
    )  # fmt: skip
    assert python(code, large, large, good, good).splitlines() == ["2 0", "2 0", "2 1", "2 1"]


def test_work_is_allowed_by_what_was_decoded_and_not_by_what_is_stated(tmp_path):
    """A rate of 240 frames/s and pixels eight times as wide as high would excuse eighty times the work."""
    import av

    plain = make_video(tmp_path / "plain.mp4", 70)
    with av.open(str(plain)) as source, av.open(str(tmp_path / "wide.mp4"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        stream.sample_aspect_ratio = 8
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    code = BEGIN + "apart.START_CPU_S, apart.CLIP_CPU_S = 0.0, 0.0\n" + READ + (
        "asked = []\nallowed = apart._allowed_cpu_s\n"
        "def told(*what):\n    asked.append(what)\n    return 1000.0\n"
        "apart._allowed_cpu_s = told\nread(sys.argv[1])\nprint(asked)\n"
        "print(allowed(0, 32, 32 * 2_000_000) < 2.1)\n"
    )  # fmt: skip
    for path in (plain, tmp_path / "wide.mp4"):
        asked, bounded = python(code, path).splitlines()
        clips = [what[0] for what in eval(asked)]
        assert clips == [1, 2]
        assert all(pixels == pictures * 96 * 64 for _, pictures, pixels in eval(asked))
        assert bounded == "True"
