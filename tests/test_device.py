"""What a forward pass of a command frees is there for the next one."""

import ctypes
import subprocess
import sys

import pytest

CODE = """
import resource, torch
from mlavl_cli.cli.process import settle

def faults_of_passes():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        torch.ones(20 << 20, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

untouched = faults_of_passes()
settle()
faults_of_passes()  # until the heap has room for a pass, wherever it lies
print(untouched, faults_of_passes())
"""


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="glibc's malloc alone"
)
def test_freed_memory_is_kept_for_the_next_pass_on_a_cpu():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    untouched, kept = map(int, done.stdout.split())
    assert untouched > 1000  # else this shows nothing
    assert kept < untouched / 20
