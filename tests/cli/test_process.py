"""Settings of the whole process belong to the commands; the user's own stay, and an import sets nothing."""

import os
import subprocess
import sys

import pytest

from mlavl_cli.cores import cores

NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_NUM_THREADS")
SETTLED = "from mlavl_cli.cli.process import settle\nsettle()\nimport os, torch\n"


def python(code: str, *before: str, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if name not in NAMES}
    clean["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run(
        [*before, sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=clean | environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_command_waits_without_spinning_on_the_cores_it_may_use():
    told = python(SETTLED + f"print(torch.get_num_threads(), *map(os.environ.get, {NAMES}))")
    assert told == f"{cores()} PASSIVE 0 0 {cores()}"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_affinity_sets_the_number_of_threads():
    code = f"import os\nos.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}})\n" + SETTLED
    assert python(code + "print(torch.get_num_threads())") == "1"


def test_the_users_own_settings_stay():
    told = python(
        SETTLED + "print(torch.get_num_threads(), os.environ['OMP_WAIT_POLICY'])",
        OMP_NUM_THREADS="1", OMP_WAIT_POLICY="ACTIVE",
    )  # fmt: skip
    assert told == "1 ACTIVE"


def test_the_package_changes_nothing_of_the_process_that_imports_it():
    code = (
        "import os, threading, torch\nbefore = dict(os.environ), torch.get_num_threads(), threading.active_count()\n"
        "import mlavl_cli\nmlavl_cli.load_scorer('mini', 'cpu')\n"
        "after = dict(os.environ), torch.get_num_threads(), threading.active_count()\n"
        "from mlavl_cli.features import apart\nprint(before == after, apart._decoders)"
    )
    assert python(code, OMP_NUM_THREADS="2") == "True None"
