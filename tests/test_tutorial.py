"""docs/tutorial.md from an empty folder to a head that was pushed, fetched again, and scores."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import make_video, moving_square
from protocols.sheets import LATER, draw_row, write_sheet
from test_hub_weights import hub  # noqa: F401 - a fixture

PAGE = Path(__file__).parents[1] / "docs" / "tutorial.md"
FIRST = ("Ana", "Bo", "Cem", "Dee", "Eli")
LAST = ("RIVER", "STONE", "FIELD", "MEADOW", "HILL")


def commands():
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines()]


@pytest.fixture
def competition(tmp_path):
    """Two cups of 24 and of 8 skaters: their videos, and their protocols."""
    names = [f"{first} {last}" for first in FIRST for last in LAST]
    rng = np.random.default_rng(4)
    for cup, count in (("cup-2023", 24), ("cup-2024", 8)):
        rows = [draw_row(rng, name, "NED", rank, [2.67] * 3) for rank, name in enumerate(names[:count], 1)]
        write_sheet(tmp_path / f"{cup}.pdf", f"Made-up Cup {cup[-4:]}", "WOMEN FREE SKATING", rows, LATER)
        for rank, row in enumerate(rows):
            begin = 5 * rank + 150 * (cup == "cup-2024")  # no two videos are the same
            pictures = [moving_square(begin + i, 96, 64) for i in range(66 + int(row.tes) % 7)]
            make_video(tmp_path / cup / f"{row.name.replace(' ', '_')}_fs.mp4", pictures)
    make_video(tmp_path / "new.mp4", 70)
    return tmp_path


@pytest.mark.slow
def test_from_an_empty_folder_to_a_pushed_head(competition, hub):  # noqa: F811
    settings = {
        "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.address, "HF_HOME": str(competition / "home"), "HF_TOKEN": "secret",
        "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PAGE.parents[1]),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip
    said = {}
    for line in commands():
        if line.startswith("pip install"):
            continue
        done = subprocess.run(
            ["bash", "-c", line], cwd=competition, env={**os.environ, **settings}, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        assert "error: " not in done.stderr
        said[line.split()[1]] = done
    assert "features of 24 routines are there: mini" in said["train"].stderr
    assert "extracting" not in said["train"].stderr
    assert re.search(r"TES\s*│\s*5\s*│\s*24", said["train"].stdout)
    (files,) = hub.repos["me/judge"].values()
    about = json.loads(files["bundle.json"])
    assert set(about["heads"]) == {"TES", "PCS"}
    assert about["metrics"]["TES"]["split"] == "5 folds"
    assert about["intervals"]["TES"]["routines"] == 24
    card = files["README.md"].decode()
    assert "5 folds" in card
    assert "24 routines" in card
    assert "TES" in said["score"].stdout
    assert "extracting 8 videos" in said["evaluate"].stderr
    assert (competition / "features" / "cup-2024").is_dir()
