"""Some inputs of each target of the fuzzer, the same ones every time; `make fuzz` goes on from there."""

import os
import subprocess
import sys
from pathlib import Path

from fuzz.targets import TARGETS


def test_damaged_files_end_in_a_result_or_in_an_error_of_ours(tmp_path):
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-m", "fuzz", "--inputs", "120", "--seed", "7", "--findings", str(tmp_path / "found")],
        env={**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith(f"{120 * len(TARGETS)} inputs in ")
    assert "'other errors': 0, 'crashes': 0, 'hangs': 0" in done.stdout


def test_the_fuzzer_notices(tmp_path, monkeypatch):
    """Readers that raise what isn't ours, die, hang or take memory are all findings."""
    import fuzz.__main__ as fuzzer

    monkeypatch.setenv("FUZZ_SELF_TEST", "1")
    for name, what in (("raises", "ZeroDivisionError"), ("dies", "crashes"), ("hangs", "hangs"), ("hoards", "MB of")):
        monkeypatch.setattr(fuzzer, "HANG_S", 60 if name == "hoards" else 3)
        found = fuzzer.fuzz(name, 0, 1, float("inf"), tmp_path / name)
        assert len(found.wrong) == 1, found
        assert what in found.wrong[0]
        assert (tmp_path / name / f"{name}-0-0").is_dir()
