"""Extraction on a Ray cluster: a real one on this machine."""

import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import make_video, shell

pytest.importorskip("ray", reason="needs pip install 'mlavl[ray]'")
WORKERS = ("--ray", "local", "--ray-cpus", "1")


def busy_workers() -> list[int]:
    """Processes of actors that are extracting just now."""
    listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [int(line.split()[0]) for line in listed.splitlines() if "ray::_Worker.extract" in line]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for i in range(24):
        make_video(folder / f"{i:02}.mp4", frames=160 + i, size=(320, 240))
    (folder / "07.mp4").write_bytes(b"no video")
    return folder


def store_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.slow
def test_a_killed_worker_costs_nothing(videos, tmp_path):
    alone = shell("extract-features", videos, "-o", tmp_path / "alone")
    assert alone.exit_code == 1  # 07.mp4

    command = [
        sys.executable,
        "-m",
        "mlavl_cli",
        "extract-features",
        str(videos),
        "-o",
        str(tmp_path / "ray"),
        *WORKERS,
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ})
    killed = False
    until = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < until and not killed:
        # In the midst of the work: something is done, and not all of it.
        if (tmp_path / "ray").is_dir() and any((tmp_path / "ray").iterdir()) and (pids := busy_workers()):
            os.kill(pids[0], signal.SIGKILL)
            killed = True
        time.sleep(0.01)
    stdout, stderr = process.communicate(timeout=480)
    assert killed
    assert process.returncode == 1, stderr
    assert "Traceback" not in stderr
    assert [line for line in stderr.splitlines() if line.startswith("error: ")] == alone.errors
    assert stdout.splitlines() == [line.replace("/alone/", "/ray/") for line in alone.stdout.splitlines()]
    assert store_of(tmp_path / "ray") == store_of(tmp_path / "alone")

    # What is there needs no cluster; scores are those of one machine.
    again = shell("extract-features", videos / "01.mp4", "-o", tmp_path / "ray", "--ray", "nowhere:1")
    assert (again.exit_code, again.stderr) == (0, "")
    files = [videos / f"{i:02}.mp4" for i in (0, 1, 2)]
    here, there = (
        shell("score", *files, "-f", "csv", *options).stdout
        for options in ((), ("--features", tmp_path / "f", *WORKERS))
    )
    assert here == there
    assert len(here.splitlines()) == 4


def test_no_cluster_is_one_clear_line(videos):
    result = shell("score", videos / "00.mp4", "--ray", "127.0.0.1:1")
    assert result.exit_code == 1
    assert len(result.errors) == 1
    assert "no Ray cluster at 127.0.0.1:1" in result.errors[0]
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_being_told_to_end_keeps_results(videos, tmp_path):
    out = tmp_path / "o.jsonl"
    command = [sys.executable, "-m", "mlavl_cli", "score", str(videos), "-o", str(out), *WORKERS]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < until and not (out.exists() and out.read_text()):
        time.sleep(0.01)
    process.terminate()
    _, stderr = process.communicate(timeout=60)
    kept = out.read_text().splitlines()
    assert process.returncode == 130
    assert kept
    assert stderr.splitlines()[-1].startswith("interrupted") or "interrupted: " in stderr
    assert "***" not in stderr and "Traceback" not in stderr  # as Ray's own answer to the signal has
