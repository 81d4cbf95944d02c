"""Long runs: memory stays flat, and every repetition gives the same numbers to the last bit."""

import json
import subprocess
import sys

import pytest

CODE = """
import ctypes, json, sys
from mlavl_cli import load_scorer

class Heap(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]

mallinfo = getattr(ctypes.CDLL(None), "mallinfo2", Heap)  # without a newer glibc: nothing to look at
mallinfo.restype = Heap

def resident_mb():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmRSS:")).split()[1]) / 1024

def in_use_mb():
    heap = mallinfo()
    return (heap.uordblks + heap.hblkhd) / 2**20

scorer, memory, in_use, results = load_scorer("mini"), [], [], set()
for i in range(500):
    score = scorer.score(sys.argv[1]).to_dict()
    score.pop("timing")
    results.add(json.dumps(score, sort_keys=True))
    memory.append(resident_mb())
    in_use.append(in_use_mb())
print(json.dumps({"memory": memory, "in use": in_use, "different": len(results)}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_five_hundred_scorings_in_one_process(routine):
    done = subprocess.run(
        [sys.executable, "-c", CODE, routine], capture_output=True, text=True, timeout=600, check=True
    )
    found = json.loads(done.stdout)
    assert found["different"] == 1
    least = {what: [min(found[what][i : i + 100]) for i in range(0, 500, 100)] for what in ("memory", "in use")}
    print(f"\nin each 100 scorings at least, MB: {least}")  # the least: what malloc keeps for a while comes and goes
    # In the first hundred pools are still filled. Some 3 kB a scoring are left behind by its threads.
    assert max(least["memory"][1:]) <= 1.03 * least["memory"][1]
    assert max(least["in use"][1:]) <= least["in use"][1] + 300 * 0.015
