"""Long runs: memory stays flat, and every repetition gives the same numbers to the last bit."""

import json
import subprocess
import sys

import pytest

CODE = """
import json, sys
from mlavl_cli import load_scorer

def resident_mb():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmRSS:")).split()[1]) / 1024

scorer, memory, results = load_scorer("mini"), [], set()
for i in range(500):
    score = scorer.score(sys.argv[1]).to_dict()
    score.pop("timing")
    results.add(json.dumps(score, sort_keys=True))
    memory.append(resident_mb())
print(json.dumps({"memory_mb": memory, "different": len(results)}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_five_hundred_scorings_in_one_process(routine):
    done = subprocess.run(
        [sys.executable, "-c", CODE, routine], capture_output=True, text=True, timeout=600, check=True
    )
    found = json.loads(done.stdout)
    # The least of each hundred: what malloc keeps for a while comes and goes.
    least = [min(found["memory_mb"][i : i + 100]) for i in range(10, 500, 100)]
    print("\nresident memory in each 100 scorings, at least, MB:", [round(mb) for mb in least])
    assert found["different"] == 1
    assert max(least) <= 1.01 * least[0]
