"""Ten thousand files of unknown origin at night: none may crash, hang, be lost, or make us read another."""

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from corpus import CASES

README = Path(__file__).parent.parent / "README.md"
RELIABILITY = README.parent / "docs" / "reliability.md"

HANG_S = 300  # for all of them together


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    made = {}
    for number, (name, (expected, maker)) in enumerate(CASES.items()):
        home = folder / f"{number:03d}"
        home.mkdir()
        made[os.fsencode(maker(home))] = (name, expected)
    return made


def test_every_case_ends_in_a_score_or_in_one_line(corpus, record_property):
    assert len(CASES) >= 60
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "mlavl_cli", "score", "-", "-f", "jsonl"],
        input=b"\0".join(corpus), capture_output=True, timeout=HANG_S, check=False,
    )  # fmt: skip
    seconds = time.monotonic() - begin
    stderr = done.stderr.decode()
    errors = [line for line in stderr.splitlines() if line.startswith("error: ")]
    records = [json.loads(line) for line in done.stdout.splitlines()]
    scored = [one for one in records if not one["error"]]
    assert sorted(one["video"]["path"] for one in records) == sorted(map(os.fsdecode, corpus))  # one an input
    outcome, documented = Counter(), documentation()
    wrong = []
    for path, (name, expected) in corpus.items():
        shown = os.fsdecode(path)
        said = [line for line in errors if line.startswith(f"error: {_as_shown(shown)}: ")]
        scores = [one for one in scored if one["video"]["path"] == shown]
        outcome["scores"] += len(scores)
        outcome["clear errors"] += len(said)
        if len(said) + len(scores) != 1 or (expected == "score" and said) or (expected == "error" and scores):
            wrong.append(f"{name}: {len(scores)} scores, {said}")
        if said and documented[name].startswith("error: ") and documented[name][7:] not in said[0]:
            wrong.append(f"{name}: docs/reliability.md says {documented[name]}, it was {said[0]}")
    print(f"\n{len(corpus)} inputs in {seconds:.0f} s: {dict(outcome)}, 0 tracebacks, 0 hangs, 0 lost")
    assert wrong == []
    assert "Traceback" not in stderr
    assert "internal error" not in stderr
    assert done.returncode == 1
    for score in scored:  # nothing but numbers, in their ranges
        for target in score["scores"].values():
            assert target["range"][0] <= target["score"] <= target["range"][1]
        for clip in score["clips"]:
            assert 0 <= clip["quality"] <= 1
            assert clip["consistency"] is None or 0 <= clip["consistency"] <= 1
            assert clip["end_s"] > clip["start_s"] >= 0


def _as_shown(path: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in path)


def documentation() -> dict[str, str]:
    """What the table in docs/reliability.md says that each input gives."""
    table = RELIABILITY.read_text().split("<summary>What bad and odd input gives</summary>")[1].split("</details>")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("|")][2:]
    return {name: gives for names, gives in rows for name in names.split("; ")}


def test_the_documentation_names_every_case_and_what_it_gives():
    documented = documentation()
    assert sorted(documented) == sorted(CASES)
    begins = {"score": "a score", "error": "error: ", "either": "a score of what can be read"}
    for name, (expected, _) in CASES.items():
        assert documented[name].startswith(begins[expected]), name
    readme = RELIABILITY.read_text()
    assert f"{len(CASES)} bad and odd inputs" in readme
    promised = readme + (README.parent / "docs" / "security.md").read_text()
    named = set(re.findall(r"`(tests/[\w/]+\.py)`", promised))
    assert len(named) > 10
    assert [name for name in named if not (README.parent / name).is_file()] == []
