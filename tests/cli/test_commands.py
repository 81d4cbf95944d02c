"""The other commands, and the command line as a whole."""

import shutil
import subprocess
import sys

import pytest
from conftest import shell

import mlavl_cli
from mlavl_cli.bundle import find_bundle


def test_help_and_version_need_no_torch():
    """And so come at once: nothing heavy is imported."""
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom mlavl_cli.cli.app import app\nimport mlavl_cli\n"
        "for args in (['--help'], ['score', '--help'], ['--version'], ['prompts', 'list'], ['weights', 'list']):\n"
        "    assert CliRunner().invoke(app, args).exit_code == 0, args\n"
        "heavy = {'torch', 'transformers', 'librosa', 'torchaudio', 'av'} & set(sys.modules)\nassert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_version():
    assert shell("--version").stdout == f"mlavl {mlavl_cli.__version__}\n"


def test_weights_list_says_what_each_was_trained_on(run):
    rows = [line.split("\t") for line in run("weights", "list").stdout.splitlines()]
    assert [row[0] for row in rows] == ["fisv", "fs1000", "mini", "rg"]
    assert all(len(row) == 4 and row[3] for row in rows)


def test_weights_info(run):
    shown = run("weights", "info", "mini").stdout
    for part in (find_bundle("mini").trained_on, "backbones/visual", *find_bundle("mini").heads):
        assert part in shown
    assert "'swapped': 0.6" in shown  # the consistency as it was measured
    assert "not validated" in run("weights", "info", "rg").stdout


@pytest.mark.parametrize("name", ["mini", "fs1000", "fisv", "rg"])
def test_bundled_weights_are_whole(run, name):
    assert run("weights", "verify", name).exit_code == 0


def test_verify_finds_damage_and_loss(run, tmp_path):
    shutil.copytree(find_bundle("mini").folder, tmp_path / "w")
    path = tmp_path / "w" / "backbones" / "audio" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    (tmp_path / "w" / "heads" / "TES.safetensors").unlink()
    result = run("weights", "verify", tmp_path / "w")
    assert result.exit_code == 1
    assert "backbones/audio/model.safetensors has changed" in result.stderr
    assert "TES.safetensors is missing" in result.stderr


def test_prompts(run, tmp_path):
    assert len(run("prompts", "list").stdout.splitlines()) == 102
    (tmp_path / "own.csv").write_text("id,name\n1,Biellmann spin\n")
    assert run("prompts", "list", "--actions", tmp_path / "own.csv").stdout.startswith("a video of Biellmann spin\n")
    result = run("prompts", "list", "chess")
    assert result.exit_code == 2
    assert "chess" in result.stderr


def test_unknown_command_suggests(run):
    result = run("scoer")
    assert result.exit_code == 2
    assert "score" in result.stderr
