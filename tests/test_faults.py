"""What goes wrong around us: full disks, folders that can't be written, signals, a second process, a failing hub."""

import hashlib
import http.server
import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import make_video, shell

from mlavl_cli.bundle import find_bundle

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/dev/full, /proc and POSIX signals")


SLOW = pytest.mark.slow


@pytest.fixture(scope="module")
def season(tmp_path_factory):
    folder = tmp_path_factory.mktemp("season")
    for i in range(6):
        make_video(folder / f"{i}.mp4", 64 + 8 * i)
    return folder


def command(*args):
    return [sys.executable, "-m", "mlavl_cli", *map(str, args)]


def contents(store):
    return {path.name: path.read_bytes() for path in Path(store).iterdir() if path.suffix == ".safetensors"}


@pytest.fixture(scope="module")
def whole(season, tmp_path_factory):
    """The store of an undisturbed run."""
    store = tmp_path_factory.mktemp("whole")
    assert shell("extract-features", season, "-o", store, "-q").exit_code == 0
    return contents(store)


# --- Disks -----------------------------------------------------------------------------------------------------------


def test_a_full_disk_costs_no_more_than_what_did_not_fit(season, whole, tmp_path):
    """A limit on the size of files stands for the disk: writing fails in the middle of a file."""
    limit = sorted(map(len, whole.values()))[3]
    done = subprocess.run(
        command("extract-features", season, "-o", tmp_path / "store", "-q"), capture_output=True, text=True,
        check=False, timeout=300, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip
    kept = contents(tmp_path / "store")
    assert 0 < len(kept) < 6
    assert kept.items() <= whole.items()
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["error"] * (6 - len(kept))
    assert "can't be written (File too large)" in done.stderr
    assert not list((tmp_path / "store").glob(".*.part"))
    assert shell("extract-features", season, "-o", tmp_path / "store", "-q").exit_code == 0
    assert contents(tmp_path / "store") == whole


@pytest.mark.parametrize(
    ("form", "buffered"),
    [("json", True), ("csv", False), *(pytest.param(*one, marks=SLOW) for one in (("json", False), ("csv", True)))],
)
def test_a_full_disk_behind_the_results_is_one_line(season, form, buffered):
    """Whether Python meets it with the first word or as it ends."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    environment |= {"OMP_WAIT_POLICY": "passive"} | ({} if buffered else {"PYTHONUNBUFFERED": "1"})
    with open("/dev/full", "w") as full:  # noqa: PTH123
        both = [
            subprocess.Popen(
                command("score", season / "0.mp4", "-q", "-f", form, *options),
                stdout=full, stderr=subprocess.PIPE, text=True, env=environment,
            )
            for options in ([], ["-o", "/dev/full"])
        ]  # fmt: skip
    for process in both:
        _, said = process.communicate(timeout=120)
        errors = [line for line in said.splitlines() if "warning: " not in line]
        assert len(errors) == 1, said
        assert "No space left on device" in errors[0]
        assert process.returncode == 1


@pytest.mark.parametrize("place", ["/proc/mlavl", "/dev/null/x"])
@pytest.mark.parametrize("option", ["-o", "--features", "--report", "--vtt"])
def test_a_place_that_cannot_be_written_is_one_line(run, season, option, place):
    result = run("score", season / "0.mp4", "-q", option, f"{place}/out")
    assert result.exit_code in (1, 2)
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert place in result.stderr
    assert "internal error" not in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        "score {video} --report {file}", "score {video} --vtt {file}", "score {video} --features {file}",
        "compare {video} {video} --report {file}", "extract-features {video} -o {file}", "synthesize {file}",
        "train fisv . -o {file}", "weights import {file} -t TES --range 0:9 --backbones fisv -o {file}",
        "score {video} -o {folder}", "score {video} --clips-csv {folder}", "score {video} --plot {folder}",
        "compare {video} {video} -o {folder}", "history {folder} -o {folder}",
        "labels {file} -o {folder}", "evaluate fisv . --predictions {folder}", "evaluate fisv . --plot {folder}",
    ],
)  # fmt: skip
def test_a_file_in_a_folders_place_or_a_folder_in_a_files_is_told_before_any_work(run, season, tmp_path, words):
    (tmp_path / "file").write_bytes(b"mine")
    (tmp_path / "folder.png").mkdir()
    places = {"video": season / "0.mp4", "file": tmp_path / "file", "folder": tmp_path / "folder.png"}
    result = run(*words.format(**places).split())
    assert result.exit_code == 2, result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert "is a file" in result.stderr or "is a directory" in result.stderr
    assert result.stdout == ""
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_a_folder_that_cannot_be_made_is_told_before_any_work(run, season, tmp_path):
    (tmp_path / "file").touch()
    result = shell("synthesize", tmp_path / "file" / "x", "-n", 2)
    assert (result.exit_code, len(result.errors)) == (1, 1), result.stderr
    assert "can't be made" in result.stderr
    result = run("score", season / "0.mp4", "--report", tmp_path / "file" / "x", "-f", "csv")
    assert (result.exit_code, len(result.errors)) == (1, 1), result.stderr
    assert "pages:" not in result.stderr
    assert len(result.stdout.splitlines()) == 2


# --- Signals and other processes -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_ctrl_c_at_any_moment(season, whole, tmp_path):
    """Twelve moments from the start on: exit code 130, whole lines, whole entries, and the next run goes on."""
    heed = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731 - what a shell's children begin with
    begin = time.monotonic()
    subprocess.run(command("score", season, "-q", "-f", "jsonl"), capture_output=True, timeout=300, check=True)
    usual_s, chance, stopped = time.monotonic() - begin, random.Random(0), 0
    for i in range(12):
        store = tmp_path / str(i)
        process = subprocess.Popen(
            command("score", season, "-q", "-f", "jsonl", "--features", store),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed,
        )  # fmt: skip
        time.sleep(0.05 + chance.random() * usual_s)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=120)
        code = abs(process.returncode) % 128  # killed before Python runs, a shell calls it 130, too
        assert code in (0, signal.SIGINT), stderr
        stopped += code == signal.SIGINT
        assert "Traceback" not in stderr
        lines = [json.loads(line) for line in stdout.splitlines()]
        assert code or len(lines) == 6
        if store.exists():
            assert contents(store).items() <= whole.items()
            assert not list(store.glob(".*.part"))
    assert stopped >= 4


@SLOW
def test_two_processes_on_one_store(season, whole, tmp_path):
    for _ in range(2):
        both = [
            subprocess.Popen(
                command("extract-features", season, "-o", tmp_path / "store", "-q"), stderr=subprocess.PIPE
            )
            for _ in range(2)
        ]
        for process in both:
            _, stderr = process.communicate(timeout=300)
            assert process.returncode == 0, stderr
        assert contents(tmp_path / "store") == whole
        (tmp_path / "store" / "2.mp4.safetensors").write_bytes(b"damaged")


def test_a_file_that_vanishes_is_one_line_and_the_rest_is_scored(season, tmp_path):
    listed = [*sorted(season.glob("*.mp4")), tmp_path / "gone.mp4"]
    make_video(listed[-1], 40)
    process = subprocess.Popen(
        command("score", "-", "-q", "-f", "jsonl"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdin.write("\n".join(map(str, listed)).encode())
    process.stdin.close()
    process.stdin = None
    process.stdout.readline()  # the first is scored, so all have been looked for
    listed[-1].unlink()
    stdout, stderr = process.communicate(timeout=120)
    errors = [line for line in stderr.decode().splitlines() if line.startswith("error: ")]
    assert len(stdout.splitlines()) + 1 == 7  # one a file, gone or not
    assert len(errors) == 1
    assert "gone.mp4" in errors[0]
    assert process.returncode == 1


# --- A hub that fails ------------------------------------------------------------------------------------------------


class Hub(http.server.BaseHTTPRequestHandler):
    """A model hub with one model, the embedded visual backbone, as some/model; `server.mood` says what is wrong."""

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        mood, path = self.server.mood, find_bundle("mini").visual.folder / Path(self.path).name
        if mood == "refuses":
            return self.send_error(403)
        if mood == "breaks":
            return self.send_error(500)
        if mood == "slow":
            time.sleep(3 if self.command == "HEAD" else 1)  # longer than the client waits the first time
        if "/resolve/" not in self.path or not path.is_file():
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        body = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", "a" * 40)
        self.end_headers()
        if self.command == "GET":
            half = mood == "half" and path.suffix == ".safetensors"
            self.wfile.write(body[: len(body) // 2] if half else body)
            self.close_connection = True
        return None


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):  # the client has given up
        pass


def ask_hub(mood, season, home, store):
    server = Server(("127.0.0.1", 0), Hub)
    server.mood = mood
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = 9 if mood == "gone" else server.server_address[1]
    result = shell(
        "extract-features", season / "0.mp4", "-o", store, "--visual", "some/model", HF_HUB_OFFLINE="0",
        HF_ENDPOINT=f"http://127.0.0.1:{port}", HF_HOME=str(home), HF_HUB_ETAG_TIMEOUT="2", HF_HUB_DOWNLOAD_TIMEOUT="2",
    )  # fmt: skip
    server.shutdown()
    server.server_close()
    return result


@pytest.mark.slow
def test_a_hub_that_fails_is_one_error_and_leaves_nothing_that_is_taken_for_whole(season, tmp_path):
    moods = ("gone", "refuses", "breaks", "half", "slow")
    with ThreadPoolExecutor(len(moods)) as pool:
        results = pool.map(lambda mood: ask_hub(mood, season, tmp_path / mood, tmp_path / f"{mood}-out"), moods)
        results = dict(zip(moods, results, strict=True))
    assert results.pop("slow").exit_code == 0  # it waits longer the second time
    for mood, result in results.items():
        assert result.exit_code == 1, mood
        assert "Traceback" not in result.stderr
        (line,) = result.errors
        assert line.startswith("error: some/model: "), mood
        assert not contents(tmp_path / f"{mood}-out") if (tmp_path / f"{mood}-out").exists() else True
    assert ask_hub("well", season, tmp_path / "half", tmp_path / "half-out").exit_code == 0
    offline = shell("extract-features", season / "1.mp4", "-o", tmp_path / "off", "--visual", "some/model",
                    HF_HOME=str(tmp_path / "half"))  # fmt: skip
    assert offline.exit_code == 0
