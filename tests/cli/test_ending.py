"""Being told to end where Python swallows exceptions, and after everything is done."""

import signal
import subprocess
import sys
import time

import pytest
from conftest import make_video

_BEGIN = """
import atexit, time
import mlavl_cli.cli.app
import sys
app = sys.modules["mlavl_cli.cli.app"]
class Slow:
    def __init__(self, words): self.words = words
    def __del__(self):
        print(self.words, flush=True)
        time.sleep(1)
"""


def told_after_a_line(code, name, times=1):
    process = subprocess.Popen(
        [sys.executable, "-c", _BEGIN + code + "\napp.main()"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    process.stdout.readline()
    for _ in range(times):
        process.send_signal(getattr(signal, name))
        time.sleep(0.1)
    begin = time.monotonic()
    stdout, stderr = process.communicate(timeout=60)
    return process.returncode, stdout, stderr, time.monotonic() - begin


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_what_is_done_as_python_leaves_is_not_interrupted(name):
    code = """
app.app = lambda: None
atexit.register(print, "the last")
atexit.register(time.sleep, 1)
atexit.register(print, "all is done", flush=True)
"""
    exit_code, stdout, stderr, _ = told_after_a_line(code, name)
    assert (exit_code, stdout, stderr) == (0, "the last\n", "")


@pytest.mark.parametrize(
    "name", ["SIGINT", "SIGXCPU", *(pytest.param(n, marks=pytest.mark.slow) for n in ("SIGTERM", "SIGUSR1"))]
)
def test_a_finalizer_does_not_swallow_the_end(name):
    code = """
def work():
    Slow("finalized")
    time.sleep(30)
app.app = lambda: app.typer.run(work)
"""
    exit_code, stdout, stderr, took_s = told_after_a_line(code, name)
    assert exit_code == 130
    assert "Traceback" not in stderr
    assert "ignored" not in stderr
    assert took_s < 10
    assert stdout == ""


@pytest.mark.parametrize("where", ["weights", "a video"])
def test_a_library_that_makes_its_own_error_of_the_end_ends_no_less(tmp_path, where):
    """As safetensors does of what interrupts a call into Python: weights and videos are no worse for it."""
    videos = [str(make_video(tmp_path / name)) for name in ("a.mp4", "b.mp4")]
    code = f"""
def told(*args, **kwargs):
    try:
        print("begins", file=sys.__stdout__, flush=True)
        time.sleep(30)
    except KeyboardInterrupt:
        pass
    raise RuntimeError("Error while loading")
import mlavl_cli.heads.checkpoint, mlavl_cli.scoring.scorer
if {where == "weights"}:
    mlavl_cli.heads.checkpoint.open_safetensors = told
else:
    mlavl_cli.scoring.scorer.Scorer._timed = told
sys.argv = ["mlavl", "score", *{videos!r}, "-q", "-f", "jsonl"]
"""
    exit_code, stdout, stderr, took_s = told_after_a_line(code, "SIGINT")
    assert exit_code == 130
    assert "error" not in stderr
    assert stdout == ""
    assert took_s < 10


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_before_a_command_has_begun_its_end_is_no_traceback(name):
    exit_code, _, stderr, took_s = told_after_a_line(
        "app.app = lambda: (print('builds', flush=True), time.sleep(9))", name
    )
    assert (exit_code, stderr) == (130, "")
    assert took_s < 5


@pytest.mark.parametrize(("begun", "times"), [(False, 1), (True, 1), (True, 4)])
def test_an_import_is_not_interrupted(tmp_path, begun, times):
    """Compiled code that begins might end the process; where nothing has begun the end is at once."""
    (tmp_path / "slow.py").write_text("print('imports', flush=True)\nimport time\ntime.sleep(1.5)\nprint('whole')\n")
    code = f"""
sys.path.insert(0, {str(tmp_path)!r})
from mlavl_cli.cli import ending
def work():
    {"ending.before_the_end(lambda: None)" if begun else ""}
    import slow
    time.sleep(20)
app.app = lambda: app.typer.run(work)
"""
    exit_code, stdout, stderr, took_s = told_after_a_line(code, "SIGINT", times)
    assert exit_code == 130
    assert "Traceback" not in stderr
    assert stdout == ("whole\n" if begun else "")
    assert took_s < 5
