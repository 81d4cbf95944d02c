"""Being told to end where Python swallows exceptions, and after everything is done."""

import signal
import subprocess
import sys
import time

import pytest

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


def told_after_a_line(code, name):
    process = subprocess.Popen(
        [sys.executable, "-c", _BEGIN + code + "\napp.main()"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    process.stdout.readline()
    process.send_signal(getattr(signal, name))
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


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
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
