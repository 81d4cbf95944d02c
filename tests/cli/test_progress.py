"""What is said while many files are worked on, and what a shell completes."""

import os
import re
import subprocess
import sys

import pytest
import typer
from conftest import make_video

from mlavl_cli.bundle import bundled_names
from mlavl_cli.cli import console
from mlavl_cli.cli.app import app


def test_without_a_terminal_a_line_from_time_to_time_counts_what_is_done(run, tmp_path, monkeypatch):
    for name in ("a", "b", "c"):
        make_video(tmp_path / "in" / f"{name}.mp4", 40)
    (tmp_path / "in" / "broken.mp4").write_text("no video")
    store = ("--features", tmp_path / "store", "-f", "json")
    assert " videos done" not in run("score", tmp_path / "in", *store).stderr  # it takes no minute
    monkeypatch.setattr(console, "SPEAK_S", 0.0)
    said = run("score", tmp_path / "in", *store).stderr  # from the store now
    assert re.findall(r"^(\d) of (\d) videos done", said, re.MULTILINE)[-1] == ("4", "4")
    assert re.search(r"^1 of 4 videos done, .*about \d+ s left", said, re.MULTILINE)
    assert "videos done" not in run("score", tmp_path / "in", "-q", *store).stderr


def completed(shell, words):
    environment = {"_MLAVL_COMPLETE": f"complete_{shell}", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    environment |= {"_TYPER_COMPLETE_ARGS": words, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    return subprocess.run(
        [sys.executable, "-c", "from mlavl_cli.cli.app import app; app(prog_name='mlavl')"],
        env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False,
    ).stdout  # fmt: skip


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_weights_commands_and_options(shell):
    assert all(name in completed(shell, "mlavl score --weights ") for name in bundled_names())
    assert "history" in completed(shell, "mlavl hist")
    assert "--features" in completed(shell, "mlavl compare --feat")


def test_file_names_are_left_to_the_shell():
    assert completed("bash", "mlavl score rout").strip() == ""  # its script says: then by name
    assert "_files" in completed("zsh", "mlavl score rout")


def commands():
    def walk(command, name):
        if hasattr(command, "commands"):
            for child, found in command.commands.items():
                yield from walk(found, f"{name} {child}".strip())
        else:
            yield name, {option: one for one in command.params for option in one.opts}

    return dict(walk(typer.main.get_command(app), ""))


def test_options_are_called_alike_in_every_command():
    """One short form a name, one name a short form, help everywhere, quiet and verbose everywhere."""
    short, long = {}, {}
    for name, options in commands().items():
        assert {"--quiet", "-q", "--verbose", "-v"} <= set(options), name
        for option, one in options.items():
            if not option.startswith("-"):
                continue
            assert one.help, f"{name} {option}"
            for letter in (letter for letter in one.opts if re.fullmatch("-.", letter)):
                first = next(word for word in one.opts if word.startswith("--"))
                short.setdefault(letter, set()).add(first)
                long.setdefault(first, set()).add(letter)
    assert {letter: names for letter, names in short.items() if len(names) > 1} == {"-w": {"--weights", "--backbones"}}
    assert all(len(letters) == 1 for letters in long.values())


def test_help_shows_all_that_it_says(run, monkeypatch):
    """Brackets are no markup of the library that draws it."""
    monkeypatch.setenv("COLUMNS", "500")
    for name, options in commands().items():
        shown = "".join(run(*name.split(), "--help").stdout.split())
        for one in options.values():
            text = (one.help or "").replace("\\[", "[")
            assert "".join(text.split()) in shown, f"{name}: {text}"


def test_options_that_texts_speak_of_exist():
    from pathlib import Path

    import mlavl_cli

    known = {option for options in commands().values() for option in options} | {"--help", "--version"}
    of_others = {"--array", "--gres", "--revision", "--head", "--force-reinstall"}  # sbatch, hf, ray, pip
    for path in Path(mlavl_cli.__file__).parent.rglob("*.py"):
        for option in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", path.read_text()):
            assert option in known | of_others or any(one.startswith(option) for one in known), f"{path}: {option}"


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_no_shell_is_offered_code(shell, tmp_path, monkeypatch):
    """Shells expand what they insert, and zsh what it is offered; or print it, escape codes and all."""
    odd = [
        "weights$(touch PWNED)",
        "\\$(touch PWNED)",
        "w;x",
        "w`x`",
        "w x",
        "w'x",
        'w"x',
        "w\x1b]0;x\x07",
        "w&x",
        "w\nx",
    ]
    for name in (*odd, "weights-2026.1"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    for begun in ("", "w"):
        found = completed(shell, f"mlavl score --weights {begun}")
        assert not any(letter in found for letter in ("PWNED", ";", "`", "&", "\x1b"))
        assert "weights-2026.1/" in found
