"""Every command of the README and of docs/, run as it is written, where the files are that it speaks of."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_video, moving_square
from datasets import layouts
from heads.references import cofinal, core
from heads.test_official import official
from protocols.sheets import LATER, draw_row, write_sheet

from mlavl_cli.bundle import find_bundle
from mlavl_cli.features.prompts import sport_prompts

README = Path(__file__).parent.parent / "README.md"
PAGES = [README, *sorted((README.parent / "docs").glob("*.md"))]


def fenced(kind):
    """Blocks of a kind on all pages, each once."""
    found = [re.findall(rf"^```{kind}\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE) for page in PAGES]
    return list(dict.fromkeys(block for blocks in found for block in blocks))


ELSEWHERE = {  # by their beginning: what runs them
    "make demo": "CI runs them",
    "make test": "CI runs them",
    "pip install torch": "the Makefile installs, with the wheels that pip chooses",
    "uv tool install": "installs beside the tests",
    "pip install 'mlavl[protocols,train]'\nmlavl labels": "tests/test_tutorial.py runs them",
    "mlavl labels cup-2024.pdf": "tests/test_tutorial.py runs them",
    "mlavl train fisv data/fisv --model all": "tests/training/test_bench.py makes tables",
    "for s in 20 40 90": "its figures stand below it, and would be the same again",
}
LONG = (
    "mlavl synthesize skate",
    "mlavl train manifest",
    "mlavl prompts encode",
    "ray start",
    "seq 4",
    "again.txt",
    "done.txt",
    "scores-excel",
    "part-$i",
    "takes.json",
    "pcs.tsv",
    "inside.txt",
    "history.csv",
    "monday.mp4 friday.mp4 --report",
    "-name '*.mp4' -print0",
    "season/ --report pages",
)


def blocks():
    for block in fenced("sh"):
        if not block.startswith(tuple(ELSEWHERE)):
            slow = pytest.mark.slow if any(line in block for line in LONG) else ()
            yield pytest.param(block, id=block.splitlines()[0][:60], marks=slow)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with videos, labels, public layouts and checkpoints under the README's names."""
    folder = tmp_path_factory.mktemp("world")
    for i, name in enumerate(("routine", "short", "free", "new", "monday", "friday", "videos/anna", "videos/berta")):
        make_video(folder / f"{name}.mp4", 70 + 8 * i)
    for name in ("one", "two", "deep/three"):
        make_video(folder / "season" / f"{name}.mp4", 80)
    (folder / "list.txt").write_text("# my list\nseason/one.mp4\nseason/deep/three.mp4\n")
    rows = ["path,split,TES,PCS"]
    for i in range(6):
        pictures = [moving_square(7 * i + at, 96, 64) for at in range(70 + 32 * (i % 3))]  # no two are the same
        make_video(folder / "videos" / f"{i}.mp4", pictures)
        rows.append(f"videos/{i}.mp4,{'train' if i < 4 else 'test'},{30 + i},{20 + i}")
    (folder / "season.csv").write_text("\n".join(rows) + "\n")
    rng = np.random.default_rng(0)
    for name, segment, skater in (("men-fs", "MEN", "Bo EXAMPLE"), ("women-fs", "WOMEN", "Ana EXAMPLE")):
        row = draw_row(rng, skater, "NED", 1, [2.67] * 3)
        write_sheet(folder / f"{name}.pdf", "Made-up Trophy 2024", f"{segment} FREE SKATING", [row], LATER)
        make_video(folder / "competition" / f"{skater.replace(' ', '_')}_fs.mp4", 40)
    layouts.fs1000(folder / "data" / "fs1000")
    for labels in (folder / "data" / "fs1000").glob("*.txt"):  # as many epochs as the README says, of few routines
        labels.write_text("".join(labels.read_text().splitlines(keepends=True)[:3]))
    state, text = official()
    torch.save(state, folder / "TES.pkl")
    torch.save(text, folder / "fs1000_text_feature.npy")
    layouts.fisv(folder / "data" / "fisv")
    torch.save(cofinal.state(32), folder / "Ball_best.pkl")
    torch.save(core.file(core.state(layouts.D)), folder / "core.pth")
    actions = sport_prompts("skating").actions
    (folder / "labels.csv").write_text("id,name\n" + "".join(f"{i},{name}\n" for i, name in enumerate(actions)))
    # The text tower that the README means, in the hub's cache: the embedded one under its name.
    clip = find_bundle("fs1000").text
    cached = folder / "hub" / f"models--{clip.source.replace('/', '--')}" / "snapshots" / clip.revision
    shutil.copytree(find_bundle("mini").text.folder, cached)
    return folder


@pytest.mark.parametrize("block", list(blocks()))
def test_a_block_of_the_readme_runs_as_written(world, tmp_path, block):
    words = set(re.findall(r"^\s*(?:\||do |\$\()?\s*(\w+)|\|\s*(\w+)", block, re.MULTILINE))
    for tool in {"jq", "parallel", "ray"} & {word for pair in words for word in pair}:
        if shutil.which(tool, path=path()) is None:
            pytest.skip(f"{tool} isn't installed")
    shutil.copytree(world, tmp_path / "world")
    environment = {
        **os.environ, "PATH": path(), "HF_HOME": str(tmp_path / "world"), "HF_HUB_OFFLINE": "1",
        "DATA": str(tmp_path / "world"), "SLURM_ARRAY_TASK_ID": "1", "PYTHONPATH": str(README.parent),
        "ROUNDS": "2", "PAUSE_S": "0",
    }  # fmt: skip
    command = ["bash", "-euo", "pipefail", "-c", block]
    done = subprocess.run(
        command, cwd=tmp_path / "world", env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "error: " not in done.stderr
    for script in ("scores.csv", "pages/index.html"):
        if script in block:
            assert (tmp_path / "world" / script).stat().st_size > 100


def path() -> str:
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def test_every_option_of_the_tables_exists(run):
    """Names in prose drift."""
    helps = {name: run(*name.split(), "--help").stdout for name in ("score", "train", "extract-features", "evaluate")}
    whole = " ".join(helps.values())
    pages = "\n".join(page.read_text("utf-8") for page in PAGES)
    assert pages.count("| `--") > 30
    for row in re.findall(r"^\| (`--[^|]*?) \|", pages, re.MULTILINE):
        for option in re.findall(r"--[a-z0-9-]+", row):
            assert option in whole, option


def test_python_of_the_readme_runs(world, monkeypatch):
    monkeypatch.chdir(world)
    scope = {"clips": torch.randn(2, 9, 256), "actions": torch.randn(42, 256)}
    import mlavl_cli
    from mlavl_cli.features.store import write_features

    write_features(world / "features" / "routine.mp4.safetensors", mlavl_cli.extract_features("routine.mp4"))
    for block in fenced("python"):
        exec(block, scope)
    assert scope["clips"].shape == (2, 9, 256)
    assert isinstance(scope["features"].visual, np.ndarray)
