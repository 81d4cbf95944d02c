"""Fuzzing for as long as one likes, each target in a process of its own with a watchdog.

    PYTHONPATH=tests python -m fuzz --minutes 60
    PYTHONPATH=tests python -m fuzz --inputs 100 --target media

An input is known by target, seed and number: the same command makes it again. What was found is kept in --findings.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from fuzz.worker import work

HANG_S = 60  # for one input
START_S = 300  # for the making of good files
MEMORY_MB = 1500  # more than before the first input


@dataclass
class Found:
    """Of one target: how many inputs came to what, the slowest, the memory they took, and what is wrong."""

    outcomes: Counter = field(default_factory=Counter)
    slowest: tuple[float, int] = (0.0, 0)  # seconds, input
    largest: tuple[float, int] = (0.0, 0)  # MB more than before, input
    wrong: list[str] = field(default_factory=list)


def fuzz(name: str, seed: int, inputs: int, until: float, findings: Path) -> Found:
    """One target until its inputs or its time are used up; a process that dies or hangs is started again."""
    found, number = Found(), 0

    def note(what: str, folder: Path) -> None:
        kept = findings / f"{name}-{seed}-{number}"
        shutil.copytree(folder / "input", kept, dirs_exist_ok=True)
        found.wrong.append(f"{name} input {number}: {what}; kept in {kept}")

    while number < inputs and time.monotonic() < until:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            (folder / "good").mkdir()
            ours, theirs = multiprocessing.get_context("spawn").Pipe()
            process = multiprocessing.get_context("spawn").Process(
                target=work, args=(name, seed, number, folder, theirs), daemon=True
            )
            process.start()
            theirs.close()
            try:
                if not ours.poll(START_S):
                    raise TimeoutError
                ours.recv()
                while True:
                    if not ours.poll(HANG_S):
                        raise TimeoutError
                    outcome, wrong, seconds, grown = ours.recv()
                    if grown > MEMORY_MB > found.largest[0]:
                        wrong = wrong or f"{grown:.0f} MB of memory"
                    if wrong:
                        note(wrong, folder)
                    found.outcomes[outcome or "other errors"] += 1
                    found.slowest, found.largest = (
                        max(found.slowest, (seconds, number)),
                        max(found.largest, (grown, number)),
                    )
                    number += 1
                    if number >= inputs or time.monotonic() >= until:
                        ours.send("stop")
                        break
                    ours.send("next")
            except (TimeoutError, EOFError) as error:
                process.kill()
                process.join()
                what = "hangs" if isinstance(error, TimeoutError) else "crashes"
                found.outcomes[what] += 1
                if (folder / "input").exists():
                    note(f"{what} (exit code {process.exitcode})", folder)
                else:
                    found.wrong.append(f"{name}: {what} before the first input")
                    break
                number += 1
            process.join(30)
    return found


def main() -> int:
    """Prints a line a target and one of all; the exit code is 1 where anything was found."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--minutes", type=float, default=1e9, help="altogether")
    options.add_argument("--inputs", type=int, default=1 << 60, help="of each target")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--target", action="append", help="only this one; may be repeated")
    options.add_argument("--jobs", type=int, default=os.cpu_count())
    options.add_argument("--findings", type=Path, default=Path("fuzz-findings"))
    given = options.parse_args()
    from fuzz.targets import TARGETS

    names = given.target or list(TARGETS)
    share_s = 60 * given.minutes * min(given.jobs, len(names)) / len(names)
    begin, results = time.monotonic(), {}

    def one(name: str) -> tuple[str, Found]:
        found = fuzz(name, given.seed, given.inputs, time.monotonic() + share_s, given.findings)
        counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(found.outcomes.items()))
        slowest, largest = ("{:.1f} s (input {})".format(*found.slowest), "{:.0f} MB (input {})".format(*found.largest))
        print(f"{name}: {counts}; at the most {slowest} and {largest}", flush=True)
        for wrong in found.wrong:
            print(f"   {json.dumps(wrong, ensure_ascii=False)}", flush=True)
        return name, found

    with ThreadPoolExecutor(given.jobs) as pool:
        results = dict(pool.map(one, names))
    total = sum((found.outcomes for found in results.values()), Counter())
    whole, minutes = sum(total.values()), (time.monotonic() - begin) / 60
    bad = {name: total[name] for name in ("other errors", "crashes", "hangs")}
    print(f"{whole} inputs in {minutes:.1f} minutes: {dict(total)}; {bad}", flush=True)
    return 1 if any(found.wrong for found in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
