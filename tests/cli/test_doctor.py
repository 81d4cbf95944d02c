"""mlavl doctor."""

import shutil
from pathlib import Path

from conftest import shell

from mlavl_cli.bundle import find_bundle


def findings(result):
    return {row["check"]: row for row in result.json()}


def test_a_whole_machine_is_well(run):
    result = run("doctor", "-f", "json")
    found = findings(result)
    assert result.exit_code == 0
    assert {row["state"] for row in found.values()} <= {"ok", "note"}
    for check in ("packages", "device", "codecs", "weights", "temporary"):
        assert found[check]["state"] == "ok"
    assert "TES" in found["weights"]["found"]
    assert "simulated" in found["weights"]["found"]


def test_a_broken_bundle_is_found_and_the_way_out_told(run, tmp_path):
    shutil.copytree(find_bundle("mini").folder, tmp_path / "w")
    head = next((tmp_path / "w" / "heads").iterdir())
    head.write_bytes(head.read_bytes()[:-100])
    result = run("doctor", "-w", tmp_path / "w")
    assert result.exit_code == 1
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("bad"))
    assert "weights" in line
    assert str(tmp_path / "w") in line


def test_no_such_device_and_nowhere_to_write(run, tmp_path):
    result = run("doctor", "-d", "cuda:7", "-f", "json")
    assert result.exit_code == 1
    assert findings(result)["device"]["state"] == "bad"
    assert "--device" in findings(result)["device"]["fix"]


def test_the_hub_cache_is_listed(tmp_path):
    (tmp_path / "hub" / "models--some--backbone").mkdir(parents=True)
    found = findings(shell("doctor", "-f", "json", HF_HOME=str(tmp_path)))
    assert "some/backbone" in found["hub cache"]["found"]
    (tmp_path / "hub" / "models--some--backbone").rmdir()
    assert findings(shell("doctor", "-f", "json", HF_HOME=str(tmp_path)))["hub cache"]["state"] == "note"


def test_here_is_the_working_folder(tmp_path):
    found = findings(shell("doctor", "-f", "json", cwd=tmp_path, PYTHONPATH=str(Path.cwd())))
    assert str(tmp_path) in found["here"]["found"]
