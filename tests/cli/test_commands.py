"""The other commands, and the command line as a whole."""

import shutil
import subprocess
import sys
from functools import partial

import pytest
from conftest import shell, side_by_side

import mlavl_cli
from mlavl_cli.bundle import find_bundle


def test_help_and_version_need_no_torch():
    """And so come at once: nothing heavy is imported."""
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom mlavl_cli.cli.app import app\nimport mlavl_cli\n"
        "for args in (['--help'], ['score', '--help'], ['--version'], ['prompts', 'list'], ['weights', 'list']):\n"
        "    assert CliRunner().invoke(app, args).exit_code == 0, args\n"
        "heavy = {'torch', 'transformers', 'librosa', 'torchaudio', 'av', 'numpy', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
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
    measured = find_bundle("mini").consistency["exam"]["auc"]["swapped"]
    assert f"swapped {measured:.3g}" in shown  # the consistency as it was measured
    assert max(map(len, shown.splitlines())) < 1000
    assert "not validated" in run("weights", "info", "rg").stdout


@pytest.mark.parametrize("name", ["mini", "fs1000", "fisv", "rg"])
def test_bundled_weights_are_whole(run, name):
    assert run("weights", "verify", name).exit_code == 0


def test_a_folder_here_is_not_taken_for_bundled_weights(run, tmp_path, monkeypatch):
    shutil.copytree(find_bundle("rg").folder, tmp_path / "mini")
    monkeypatch.chdir(tmp_path)
    assert find_bundle("mini").trained_on in run("weights", "info", "mini").stdout
    assert find_bundle("rg").trained_on in run("weights", "info", "./mini").stdout


def test_verify_finds_damage_and_loss(run, tmp_path):
    shutil.copytree(find_bundle("mini").folder, tmp_path / "w")
    path = tmp_path / "w" / "backbones" / "audio" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    (tmp_path / "w" / "heads" / "TES.safetensors").unlink()
    result = run("weights", "verify", tmp_path / "w")
    assert result.exit_code == 1
    assert "backbones/audio/model.safetensors has changed" in result.stderr
    assert "TES.safetensors is missing" in result.stderr


def test_verify_finds_what_is_loaded_and_was_never_listed(run, tmp_path):
    shutil.copytree(find_bundle("mini").folder, tmp_path / "w")
    (tmp_path / "w" / "notes.json").write_text("{}")  # is not loaded
    assert run("weights", "verify", tmp_path / "w").exit_code == 0
    visual = tmp_path / "w" / "backbones" / "visual"
    shutil.copy(visual / "video_preprocessor_config.json", visual / "preprocessor_config.json")
    result = run("weights", "verify", tmp_path / "w")
    assert result.exit_code == 1
    assert "backbones/visual/preprocessor_config.json is loaded, and isn't among its files" in result.stderr


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


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["scroe", "x"], "Did you mean 'score'?"),
        (["score", "--fromat", "json", "x"], "--format"),
        (["score", "x", "-f", "xml"], "There are table, json, jsonl, csv."),
        (["weights", "verfy"], "Did you mean 'verify'?"),
        (["--nonsense"], "No such option: --nonsense"),
        (["compare", "a.mp4"], "Missing argument"),
    ],
)
def test_wrong_usage_is_one_line_with_the_way_out(run, words, said):
    result = run(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert "--help." in line


def test_a_command_without_arguments_shows_how_it_is_used(run):
    result = run("score")
    assert result.exit_code == 2
    assert "mlavl score routine.mp4" in result.stdout + result.stderr


def test_a_preset_without_files_has_nothing_to_verify(run):
    assert "nothing to verify" in run("weights", "verify", "fs1000").stdout


def test_a_table_fits_its_terminal(routine):
    widths = (40, 60, 100)
    tables = side_by_side([partial(shell, "score", routine, COLUMNS=str(n), NO_COLOR="1") for n in widths])
    for columns, table in zip(widths, tables, strict=True):
        lines = table.stdout.splitlines()
        assert {len(line) for line in lines} == {columns}
        assert "\x1b" not in "".join(lines)
        for name in ("TES", "consistency", "quality"):  # a row each: nothing is broken over two lines
            assert sum(line.startswith(f"│ {name} ") for line in lines) == 1
        timeline = next(line for line in lines if line.startswith("│ consistency "))
        assert timeline.rstrip(" │")[-4] == "0"  # its mean, 0.xx, at its end


def test_every_option_says_what_it_is():
    import typer.main

    from mlavl_cli.cli.app import app

    silent = []

    def walk(command, path):
        for option in command.params:
            if option.param_type_name == "option" and not option.help:
                silent.append(f"{path} {option.name}")
        for name, inner in getattr(command, "commands", {}).items():
            walk(inner, f"{path} {name}")

    walk(typer.main.get_command(app), "mlavl")
    assert silent == []
