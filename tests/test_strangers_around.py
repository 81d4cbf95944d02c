"""What lies around a run: the current folder's files, folders for all, names of columns, and many small files."""

import collections
import fcntl
import io
import json
import os
import pickle
import select
import shutil
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from bombs import one_page
from conftest import hollow, make_video, shell
from datasets import layouts

from mlavl_cli import leftovers
from mlavl_cli.bundle import find_bundle, read_bundle
from mlavl_cli.datasets.fs1000 import load_fs1000
from mlavl_cli.datasets.logo import load_logo
from mlavl_cli.datasets.unpickle import read_pickle
from mlavl_cli.errors import DataError, MlavlError, WeightsError
from mlavl_cli.features.routine import read_features
from mlavl_cli.features.store import FeatureStore
from mlavl_cli.files import atomic_write, refuse_others
from mlavl_cli.heads.published import import_published
from mlavl_cli.inputs import Input
from mlavl_cli.pickles import check_pickle
from mlavl_cli.scoring.record import columns_of
from mlavl_cli.untrusted import RESULT_COLUMNS, read_torch

ROOT = Path(__file__).parents[1]
AS_ROOT = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
NOBODY = 65534
SLOWLY = partial(pytest.param, marks=pytest.mark.slow)


@pytest.fixture(scope="module")
def season(tmp_path_factory):
    """Three videos, two of them in folders, and their features."""
    folder = tmp_path_factory.mktemp("season")
    for name in ("0.mp4", "anna/1.mp4", "bea/2.mp4"):
        make_video(folder / "in" / name, 36)
    assert shell("extract-features", folder / "in", "-o", folder / "store", "-q").exit_code == 0
    return folder


# --- The current folder ----------------------------------------------------------------------------------------------


def command_in(folder, *words, **environment):
    """The console script, run in a folder: unlike `python -m` it doesn't itself look for modules there."""
    script = folder.parent / "bin" / "mlavl"
    script.parent.mkdir(exist_ok=True)
    script.write_text("from mlavl_cli.__main__ import main\nif __name__ == '__main__':\n    main()\n")
    known = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    return subprocess.run(
        [sys.executable, script, *map(str, words)], cwd=folder, capture_output=True, text=True, timeout=300,
        env={**known, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip


@pytest.fixture
def hostile(tmp_path):
    """A folder whose files libraries would take for theirs."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    for name in ("multiprocessing", "signal", "socket", "selectors", "numpy", "torch", "av", "json", "pickle", "yaml"):
        seen = f"open({str(tmp_path / 'run')!r}, 'a').write('{name} ')"
        (folder / f"{name}.py").write_text(f"{seen}\nraise SystemExit\n")
    return folder


def test_synthesize_runs_nothing_of_the_current_folder(hostile, tmp_path):
    done = command_in(hostile, "synthesize", tmp_path / "out", "-n", 1, "--seconds", 5, "--size", "64x64", "-q")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_rays_workers_run_nothing_of_the_current_folder(hostile, season, tmp_path):
    pytest.importorskip("ray")
    done = command_in(hostile, "score", season / "in" / "0.mp4", "--ray", "local", "--ray-cpus", 1, "-q", "-f", "csv")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_pages_and_plots_obey_no_settings_of_the_current_folder(hostile, season, tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "mine").write_text("mine")
    (hostile / ".numba_config.yaml").write_text(f"chrome_trace: {tmp_path / 'mine'}\ndisable_jit: 1\n")
    (hostile / "matplotlibrc").write_text("font.size: 400\ntext.usetex: True\nsavefig.bbox: tight\n")
    words = ("score", season / "in" / "0.mp4", "--features", season / "store", "-q", "-f", "csv")
    done = command_in(hostile, *words, "--report", tmp_path / "pages", "--plot", tmp_path / "a.svg")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert (tmp_path / "mine").read_text() == "mine"
    assert (tmp_path / "pages" / "0.mp4.html").exists()
    away = tmp_path / "away"
    away.mkdir()
    assert command_in(away, *words, "--plot", tmp_path / "b.svg").returncode == 0
    sizes = [(tmp_path / name).read_text().split("viewBox")[1][:30] for name in ("a.svg", "b.svg")]
    assert sizes[0] == sizes[1]
    assert not (tmp_path / "run").exists()


@AS_ROOT
def test_compiled_code_of_another_user_is_not_where_torch_looks(tmp_path):
    code = "import os; from mlavl_cli.surroundings import keep_compiled_code as keep; keep(); "
    code += "print(os.environ['TORCHINDUCTOR_CACHE_DIR']); print(os.environ['TRITON_CACHE_DIR'])"

    def places(cache):
        known = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(cache), "TMPDIR": str(tmp_path)}
        for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
            known.pop(name, None)
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=known).stdout.split()

    own, theirs = tmp_path / "own", tmp_path / "theirs"
    assert all(Path(place).is_relative_to(own / "mlavl") for place in places(own))
    assert stat.S_IMODE((own / "mlavl").stat().st_mode) == 0o700
    (theirs / "mlavl").mkdir(parents=True)
    os.chown(theirs / "mlavl", NOBODY, NOBODY)
    found = places(theirs)
    assert len(found) == 2
    assert not any(Path(place).is_relative_to(theirs) for place in found)


# --- Folders for all -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("named", [True, False])
def test_a_half_written_file_that_another_takes_away_leads_nowhere(tmp_path, named):
    secret = tmp_path / "secret"
    secret.write_text("private")
    secret.chmod(0o600)
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "scores.csv").touch(0o666)
    (shared / "scores.csv").chmod(0o666)
    with (
        pytest.raises(MlavlError, match="can't be written"),
        atomic_write(shared / "scores.csv", "w", named=named) as file,
    ):
        file.write("1")
        (half,) = shared.glob(".*.part")
        half.rename(shared / "taken")
        half.symlink_to(secret)
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert secret.read_text() == "private"


@pytest.mark.parametrize("option", ["--features", SLOWLY("--report"), "--vtt"])
def test_a_link_to_itself_costs_its_own_results_alone(run, season, tmp_path, option):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "anna").symlink_to("anna")
    result = run("score", season / "in", option, tmp_path / "there", "-f", "jsonl", "-q")
    assert result.exit_code == 1
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [bool(one.get("scores")) for one in found] == [True] * 3
    assert len(result.errors) == 1
    assert "internal error" not in result.stderr
    assert "anna" in result.stderr


@pytest.fixture
def everybodys(tmp_path):
    folder = tmp_path / "tmp"
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


@AS_ROOT
@pytest.mark.parametrize(
    "words",
    [
        "score {video} --features {link}/below", "score {video} --report {link}/below",
        "score {video} -f csv -o {link}/scores.csv", "synthesize {link}/below -n 1",
        SLOWLY("score {video} --features {link}"), SLOWLY("score {video} --vtt {link}/below"),
        SLOWLY("score {video} --clips-csv {link}/clips.csv"), SLOWLY("score {video} --plot {link}/a.svg"),
        SLOWLY("extract-features {video} -o {link}"), SLOWLY("compare {video} {video} --features {link}"),
        SLOWLY("compare {json} {json} -f csv -o {link}/scores.csv"),
    ],
)  # fmt: skip
def test_results_go_behind_no_link_of_another_user_in_a_folder_for_all(run, season, tmp_path, everybodys, words):
    target = tmp_path / "target"
    target.mkdir()
    (target / "scores.csv").write_text("precious")
    (everybodys / "link").symlink_to(target)
    os.chown(everybodys / "link", NOBODY, NOBODY, follow_symlinks=False)
    scored = run("score", season / "in" / "0.mp4", "--features", season / "store", "-f", "json", "-q")
    (tmp_path / "score.json").write_text(scored.stdout)
    places = {"video": season / "in" / "0.mp4", "link": everybodys / "link", "json": tmp_path / "score.json"}
    result = run(*words.format(**places).split())
    assert result.exit_code in (1, 2)
    assert len(result.errors) == 1, result.stderr
    assert "is a link of another user in a folder that others write to" in result.stderr
    assert [path.name for path in target.iterdir()] == ["scores.csv"]
    assert (target / "scores.csv").read_text() == "precious"
    os.chown(everybodys / "link", 0, 0, follow_symlinks=False)  # one's own is followed
    if "compare {video}" not in words and "synthesize" not in words:
        assert run(*words.format(**places).split()).exit_code == 0


@AS_ROOT
@pytest.mark.parametrize("mode", [0o1777, 0o777, 0o755])
def test_links_of_who_owns_the_folder_are_links_of_another_user(run, season, tmp_path, mode):
    home, theirs = tmp_path / "home", tmp_path / "theirs"
    home.mkdir(), theirs.mkdir()
    theirs.chmod(mode)
    (home / "settings").write_text("precious")
    (theirs / "scores.csv").symlink_to(home / "settings")
    (theirs / "pages").symlink_to(home)
    for one in (theirs, *theirs.iterdir()):
        os.chown(one, NOBODY, NOBODY, follow_symlinks=False)
    words = ("score", season / "in" / "0.mp4", "--features", season / "store", "-f", "csv")
    for option in (("-o", theirs / "scores.csv"), ("--report", theirs / "pages")):
        result = run(*words, *option)
        assert (result.exit_code in (1, 2), len(result.errors)) == (True, 1)
        assert "is a link of another user" in result.stderr
    assert [path.name for path in home.iterdir()] == ["settings"]
    assert (home / "settings").read_text() == "precious"
    assert run(*words, "-o", theirs / "mine.csv").exit_code == 0


@pytest.fixture
def in_memory():
    folder = Path("/dev/shm")
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        pytest.skip("no /dev/shm here")
    folder = Path(tempfile.mkdtemp(dir=folder))
    yield folder
    shutil.rmtree(folder)


def test_a_folder_in_memory_is_a_folder_like_any_other(run, season, tmp_path, in_memory):
    """/dev/shm lies beside the devices, and isn't one: links are replaced, pipes refused, old results kept."""
    (tmp_path / "keep").write_text("precious")
    places = [in_memory / "store" / "0.mp4.safetensors", in_memory / "vtt" / "0.mp4.vtt", in_memory / "pages" / "x"]
    for place in places:
        place.parent.mkdir()
        place.symlink_to(tmp_path / "keep")
    video = season / "in" / "0.mp4"
    output = in_memory / "scores.csv"
    words = ("--features", in_memory / "store", "--vtt", in_memory / "vtt", "-f", "csv", "-o", output, "-q")
    assert run("score", video, *words).exit_code == 0
    assert (tmp_path / "keep").read_text() == "precious"
    assert not places[0].is_symlink() and not places[1].is_symlink()
    whole = output.read_text()
    assert run("score", tmp_path / "missing.mp4", *words).exit_code == 1
    assert output.read_text() == whole
    places[0].unlink()
    os.mkfifo(places[0])
    result = run("score", video, *words)
    assert "not a regular file" in result.stderr


@pytest.mark.parametrize("name", ["/dev/stdout", SLOWLY("/dev/fd/1")])
def test_what_the_system_calls_by_a_path_is_written_through(tmp_path, season, name):
    """/dev/stdout and /dev/fd/N may lead to a file that a shell holds open, which isn't ours to replace."""
    with (tmp_path / "log").open("w") as log:
        number = os.fstat(log.fileno()).st_ino
        words = ("score", season / "in" / "0.mp4", "--features", season / "store", "-f", "csv", "-q", "-o", name)
        done = subprocess.run([sys.executable, "-m", "mlavl_cli", *map(str, words)], stdout=log, cwd=ROOT)
        assert done.returncode == 0
    assert (tmp_path / "log").stat().st_ino == number
    assert "0.mp4" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("reads", ["late", SLOWLY("never")])
def test_results_to_a_pipe_that_is_full_wait_for_room(season, tmp_path, reads):
    """Somebody who shares the pipe has set it so that it takes what it can, and says nothing of the rest."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    fcntl.fcntl(write, 1031, 4096)  # F_SETPIPE_SZ: a page
    words = ("score", season / "in", "--features", season / "store", "-f", "json", "-q")
    with (tmp_path / "told").open("w") as told:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlavl_cli", *map(str, words)], stdout=write, stderr=told, cwd=ROOT
        )
    os.close(write)
    assert select.select([read], [], [], 60)[0]
    time.sleep(1)  # it is full by now
    if reads == "never":
        os.close(read)
        assert process.wait(60) != 0
        return
    with open(read, encoding="utf-8") as end:  # noqa: PTH123
        found = json.loads(end.read())
    assert process.wait(60) == 0, (tmp_path / "told").read_text()
    assert len(found) == 3


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A video, one that is none, one without sound (which is warned of), and another."""
    folder = tmp_path_factory.mktemp("mixed")
    for name, sound in (("a", True), ("c", False), ("d", True)):
        make_video(folder / f"{name}.mp4", 36, **({} if sound else {"sound": None}))
    (folder / "b.mp4").write_bytes(os.urandom(3000))
    return folder


@pytest.mark.parametrize(
    ("command", "stderr"),
    [
        ("score", "/dev/full"), SLOWLY("extract-features", "/dev/full"),
        *(SLOWLY(command, way) for command in ("score", "extract-features") for way in ("/dev/null", "no reader")),
    ],
)  # fmt: skip
def test_words_that_cannot_be_said_cost_no_result(mixed, tmp_path, command, stderr):
    """stderr on a full disk, without a reader, or open only to be read."""
    read, write = os.pipe()
    os.close(read)
    mode = os.O_RDONLY if stderr == "/dev/null" else os.O_WRONLY
    handle = os.open(stderr, mode) if stderr.startswith("/") else write
    words = {"score": ["-f", "jsonl"], "extract-features": ["-o", tmp_path / "features"]}[command]
    done = subprocess.run(
        [sys.executable, "-m", "mlavl_cli", command, *map(str, [mixed, *words])], stdout=subprocess.PIPE, stderr=handle,
        cwd=ROOT, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    if command == "score":
        assert [bool(json.loads(line).get("scores")) for line in done.stdout.splitlines()] == [True, False, True, True]
    else:
        assert len(list((tmp_path / "features").rglob("*.safetensors"))) == 3
    if handle != write:
        os.close(handle)
    os.close(write)


def test_results_on_a_stream_that_is_only_read_are_one_line(season):
    with Path(os.devnull).open() as only_read:
        words = ("score", season / "in" / "0.mp4", "--features", season / "store", "-f", "jsonl", "-q")
        done = subprocess.run(
            [sys.executable, "-m", "mlavl_cli", *map(str, words)], stdout=only_read, stderr=subprocess.PIPE, cwd=ROOT,
            timeout=120, text=True,
        )  # fmt: skip
    assert done.returncode == 1
    assert "can't be written" in done.stderr
    assert "internal error" not in done.stderr


@AS_ROOT
def test_a_file_that_nobody_else_can_replace_is_told_before_any_work(everybodys, monkeypatch):
    """In a folder for all with the sticky bit: the results of a night would have no place."""
    (everybodys / "scores.csv").write_text("theirs")
    os.chown(everybodys / "scores.csv", NOBODY, NOBODY)
    refuse_others(everybodys / "scores.csv")  # root replaces it
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(OSError, match="another user's, and nobody else can replace it there"):
        refuse_others(everybodys / "scores.csv")
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    refuse_others(everybodys / "scores.csv")


@pytest.mark.slow
def test_a_list_of_names_on_a_stream_that_does_not_wait(season):
    read, write = os.pipe()
    os.set_blocking(read, False)
    words = ("score", "-", "--features", season / "store", "-f", "jsonl", "-q")
    with subprocess.Popen(
        [sys.executable, "-m", "mlavl_cli", *map(str, words)], stdin=read, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, cwd=ROOT, text=True,
    ) as process:  # fmt: skip
        os.close(read)
        time.sleep(3)
        os.write(write, f"{season / 'in' / '0.mp4'}\n".encode())
        os.close(write)
        out, told = process.communicate(timeout=60)
    assert (process.returncode, len(out.splitlines())) == (0, 1), told


def test_a_list_of_names_that_cannot_be_read_is_one_line(season, tmp_path):
    with (tmp_path / "log").open("w") as only_written:
        done = subprocess.run(
            [sys.executable, "-m", "mlavl_cli", "score", "-", "-q"],
            stdin=only_written, capture_output=True, text=True, cwd=ROOT, timeout=60,
        )  # fmt: skip
    assert done.returncode == 2
    assert "stdin can't be read" in done.stderr
    assert "internal error" not in done.stderr


@AS_ROOT
@pytest.mark.parametrize("owner", [NOBODY, 0])
def test_another_user_does_not_say_which_cluster_it_is(season, tmp_path, owner):
    pytest.importorskip("ray")
    (tmp_path / "ray").mkdir(mode=0o777)
    said = tmp_path / "ray" / "ray_current_cluster"
    said.write_text("127.0.0.1:1")  # where nobody listens
    os.chown(said, owner, owner)
    words = ("extract-features", season / "in", "-o", tmp_path / "out", "--ray", "auto", "-q")
    done = subprocess.run(
        [sys.executable, "-m", "mlavl_cli", *map(str, words)], capture_output=True, text=True, cwd=ROOT, timeout=120,
        env={**os.environ, "RAY_TMPDIR": str(tmp_path), "RAY_ADDRESS": ""},
    )  # fmt: skip
    assert done.returncode != 0
    expected = "another user says which Ray cluster it is" if owner else "no Ray cluster at auto"
    assert expected in done.stderr


@AS_ROOT
@pytest.mark.parametrize("option", ["--output", "--clips-csv", "--plot"])
def test_a_pipe_of_another_user_in_a_folder_for_all_is_not_waited_for(run, season, everybodys, option):
    os.mkfifo(everybodys / "out.csv", 0o666)
    (everybodys / "out.csv").chmod(0o666)
    os.chown(everybodys / "out.csv", NOBODY, NOBODY)
    begin = time.monotonic()
    result = run("score", season / "in" / "0.mp4", "--features", season / "store", option, everybodys / "out.csv")
    assert result.exit_code == 2
    assert "is a pipe of another user in a folder that others write to" in result.stderr
    assert time.monotonic() - begin < 20


@pytest.mark.parametrize(
    "words",
    [
        "score {long}", "score {video} --report {long}", "score {video} --vtt {long}",
        "score {video} -f jsonl -o {long}", "score {video} -w {long}",
        "score {video} --features {long}", "evaluate manifest {long} -w mini",
        "history {long}", "compare {video} {long}", "labels {long} -o x.csv",
        "prompts encode --prompts {long} -o x.npy",
    ],
)  # fmt: skip
def test_a_name_that_no_file_can_have_is_one_line(run, season, tmp_path, words):
    long = tmp_path / ("x" * 300)
    result = run(*words.format(video=season / "in" / "0.mp4", long=long).split())
    assert result.exit_code in (1, 2)
    assert len(result.errors) == 1, result.stderr
    assert "internal error" not in result.stderr


# --- Histories -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "odd",
    [
        {"points": {"TES": [10, 5.0, None]}}, {"in_domain": 1.0}, {"name": "\ud800"},
        SLOWLY({"points": {"TES": [10, None, 5.0]}}), SLOWLY({"dated": 1}), SLOWLY({"has_audio": 0.0}),
        SLOWLY({"page": "."}), SLOWLY({"points": {"TES_low": [1, None, None], "TES": [1, None, None]}}),
    ],
)  # fmt: skip
def test_a_record_that_is_not_one_of_ours_is_left_out_of_the_history(run, season, tmp_path, odd):
    words = ("score", season / "in" / "0.mp4", "--features", season / "store", "--report", tmp_path, "-q")
    assert run(*words).exit_code == 0
    (line,) = (tmp_path / "history.jsonl").read_text().splitlines()
    (tmp_path / "history.jsonl").write_text(json.dumps({**json.loads(line), "skater": "odd", **odd}) + f"\n{line}\n")
    assert run(*words).exit_code == 0
    result = run("history", tmp_path, "-f", "json")
    assert result.exit_code == 0, result.stderr
    assert [one["who"] for one in result.json()] == [json.loads(line)["skater"]]
    assert "odd" not in (tmp_path / "history.html").read_text()


# --- Words and names of a bundle -------------------------------------------------------------------------------------


def test_results_have_no_columns_that_a_target_can_be_called_like(run):
    assert set(columns_of([])) <= RESULT_COLUMNS


@pytest.mark.parametrize("target", ["path", "clips", "error", "in_domain", "TES_low", "PCS_high"])
def test_a_target_called_like_a_column_of_results_is_refused(run, season, tmp_path, target):
    manifest = json.loads((find_bundle("mini").folder / "bundle.json").read_text())
    manifest["heads"] = {"TES": "heads/TES.safetensors", "PCS": "heads/PCS.safetensors", target: "heads/SS.safetensors"}
    (tmp_path / "bundle.json").write_text(json.dumps(manifest))
    with pytest.raises(WeightsError, match="another column"):
        read_bundle(tmp_path)
    (tmp_path / "m.csv").write_text(f"path,split,TES,PCS,{target}\na.npy,train,1,2,3\n")
    result = run("train", "manifest", tmp_path / "m.csv", "-o", tmp_path / "out")
    assert (result.exit_code, len(result.errors)) == (1, 1)
    assert ("two columns" if target == "path" else "another column") in result.stderr


@pytest.mark.parametrize("field", ["name", "trained_on", "licence", "sport"])
def test_words_of_a_bundle_have_an_end(run, tmp_path, field):
    manifest = json.loads((find_bundle("mini").folder / "bundle.json").read_text())
    (tmp_path / "bundle.json").write_text(json.dumps({**manifest, field: "x" * 10_000}))
    with pytest.raises(WeightsError, match="10,000 letters"):
        read_bundle(tmp_path)


def test_words_that_no_bundle_takes_are_refused_before_any_training(run, tmp_path):
    result = run("train", "manifest", tmp_path / "m.csv", "-o", tmp_path / "out", "--trained-on", "x" * 3000)
    assert result.exit_code == 2
    assert "3,000 letters" in result.stderr


# --- Many small files ------------------------------------------------------------------------------------------------


def packed(path, shape):
    """A `.npz` of zeros, which unpacks to a thousand times what it is."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as file:
        np.lib.format.write_array(file, np.zeros(shape, np.uint8))
    return path


@pytest.mark.parametrize("column", ["path", "audio", "flow"])
@pytest.mark.parametrize("make", [hollow, packed])
def test_small_files_do_not_unpack_to_gigabytes(run, tmp_path, make, column):
    rows = ["path,split,TES" if column == "path" else f"path,split,TES,{column}"]
    shape, ending = ((15_000, 4000), "npy") if make is hollow else ((256, 4000), "npz")
    for i in range(5 if make is hollow else 200):
        made = make(tmp_path / f"{column}{i}.{ending}", shape).name
        split = "train" if i % 4 else "test"
        if column == "path":
            rows.append(f"{made},{split},{i / 2}")
        else:
            np.save(tmp_path / f"v{i}.npy", np.full((shape[0], 1), i, np.float16))
            rows.append(f"v{i}.npy,{split},{i / 2},{made}")
    (tmp_path / "m.csv").write_text("\n".join(rows) + "\n")
    result = run("train", "manifest", tmp_path / "m.csv", "-o", tmp_path / "out", "--model", "svr")
    assert (result.exit_code, len(result.errors)) == (1, 1)
    assert "unpack to far more than they are" in result.stderr


def test_hollow_features_of_a_public_set_are_refused(run, tmp_path):
    root = layouts.fs1000(tmp_path / "fs")
    for path in sorted((root / "output_feature_fs1000_new").iterdir())[:4]:
        path.unlink()
        hollow(path, (95, 600_000))
    result = run("train", "fs1000", root, "-o", tmp_path / "out")
    assert (result.exit_code, len(result.errors)) == (1, 1)


# --- Checkpoints -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["tpt", "qtd", "pamfn", "gdlt", "t2cr"])
def test_long_names_of_tensors_take_time_in_proportion(tmp_path, model):
    for part in ("pos_encoder.", "a.norm.weight", "module._orig_mod."):
        torch.save({part * 60_000 + "\n": torch.zeros(1)}, tmp_path / "long.pth")
        begin = time.process_time()
        with pytest.raises(WeightsError):
            import_published(tmp_path / "long.pth", model)
        assert time.process_time() - begin < 3


def test_one_tensor_under_many_names_is_compared_once(tmp_path):
    same = torch.zeros(500_000), torch.zeros(500_000)
    names = ("".join(("module.", "_orig_mod.")[c == "1"] for c in f"{i:014b}") + "w" for i in range(16_000))
    torch.save({name: same[i % 2] for i, name in enumerate(names)}, tmp_path / "same.pth")
    begin = time.process_time()
    with pytest.raises(WeightsError):
        import_published(tmp_path / "same.pth", "lstm")
    assert time.process_time() - begin < 4


def test_best_weights_of_a_run_under_many_names_are_refused_at_once(run, tmp_path):
    layouts.fisv(tmp_path / "fisv")
    words = (
        "train",
        "fisv",
        tmp_path / "fisv",
        "-o",
        tmp_path / "out",
        "-t",
        "TES",
        "--model",
        "gdlt",
        "--width",
        16,
        "-q",
    )
    assert run(*words, "--epochs", 1).exit_code == 0
    (best,) = (tmp_path / "out" / "runs").rglob("best*.pt")
    state, large = dict(torch.load(best, weights_only=True)), torch.zeros(1_000_000)
    torch.save({**state, **{f"x{i}": large for i in range(20_000)}}, best)
    begin = time.process_time()
    result = run(*words, "--epochs", 2)
    assert (result.exit_code, len(result.errors)) == (1, 1)
    assert "other weights" in result.stderr
    assert time.process_time() - begin < 10


# --- More of folders that others write to ----------------------------------------------------------------------------


@AS_ROOT
@pytest.mark.parametrize("mode", [0o777, 0o2775, 0o1777])
def test_links_of_others_are_not_followed_where_they_can_be_put(run, season, tmp_path, mode):
    target, shared, own = tmp_path / "target", tmp_path / "shared", tmp_path / "own"
    target.mkdir(), shared.mkdir()
    shared.chmod(mode)
    (target / "keep.csv").write_text("keep")
    (shared / "o.csv").symlink_to(target / "keep.csv")
    (shared / "evil").symlink_to(target)
    for link in shared.iterdir():
        os.chown(link, NOBODY, NOBODY, follow_symlinks=False)
    own.symlink_to(shared / "evil")
    for output in (
        shared / "o.csv",
        shared / "evil" / "keep.csv",
        own / "keep.csv",
        own / ".." / "target" / "keep.csv",
    ):
        result = run("score", season / "in" / "0.mp4", "--features", season / "store", "-o", output)
        assert result.exit_code == 2, output
        assert "is a link of another user" in result.stderr
    assert (target / "keep.csv").read_text() == "keep"


@AS_ROOT
def test_a_cache_below_a_folder_of_another_user_is_not_trusted(tmp_path):
    code = "from mlavl_cli.surroundings import cache_folder\ntry: print(cache_folder())\n"
    code += "except OSError as error: print(error.strerror)"

    def found(cache):
        known = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(cache)}
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=known).stdout.strip()

    home = tmp_path / "home"
    (home / ".cache").mkdir(parents=True)
    assert found(home / ".cache") == str(home / ".cache" / "mlavl")
    os.chown(home, NOBODY, NOBODY)
    assert found(home / ".cache") == "belongs to another user"
    os.chown(home, 0, 0)
    home.chmod(0o777)
    assert found(home / ".cache") == "belongs to another user"


def test_a_folder_of_a_process_that_lives_is_not_swept(tmp_path, monkeypatch):
    """In a container of the same name processes have other numbers; whoever lives holds a lock."""
    monkeypatch.setattr(leftovers, "_alive", lambda number: False)
    code = "import sys\nfrom pathlib import Path\nfrom mlavl_cli.leftovers import folder_of_process\n"
    code += "print(folder_of_process(Path(sys.argv[1])), flush=True)\nsys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    theirs = Path(process.stdout.readline().strip())
    mine = leftovers.folder_of_process(tmp_path)
    assert theirs.exists()
    process.kill()
    process.communicate()
    leftovers.folder_of_process(tmp_path)
    assert not theirs.exists()
    assert mine.exists()


@pytest.mark.parametrize("blocks", [SLOWLY(0), 1, SLOWLY(6)])
def test_lines_that_have_no_room_are_one_error_and_leave_whole_lines(season, tmp_path, blocks):
    words = f"score {season / 'in'} --features {season / 'store'} -q -f jsonl -o {tmp_path / 'o.jsonl'}"
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f {blocks}; {sys.executable} -m mlavl_cli {words}"], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "can't be written" in done.stderr
    if (tmp_path / "o.jsonl").exists():
        assert all(json.loads(line)["scores"] for line in (tmp_path / "o.jsonl").read_text().splitlines())


def test_plots_look_the_same_whatever_the_home_says(tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "matplotlib").mkdir()
    (tmp_path / "matplotlib" / "matplotlibrc").write_text("savefig.facecolor: red\ntext.usetex: True\n")
    code = (
        "from pathlib import Path\nfrom mlavl_cli.output.plot import Sheet\nSheet(Path('a.svg'))\nimport matplotlib\n"
    )
    code += "print(matplotlib.rcParams['savefig.facecolor'], matplotlib.rcParams['text.usetex'])"
    known = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CONFIG_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=known)
    assert done.stdout == "auto False\n", done.stderr


@pytest.mark.parametrize("said", ["abc", *map(SLOWLY, ("nan", "inf", "-1", "0"))])
def test_a_variable_that_is_no_number_is_one_line(routine, said):
    result = shell("score", routine, MLAVL_MAX_MEGAPIXELS=said)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert "MLAVL_MAX_MEGAPIXELS" in result.stderr


# --- Data sets -------------------------------------------------------------------------------------------------------


def manifest_of(folder, lengths):
    rows = ["path,split,TES"]
    for i, clips in enumerate(lengths):
        np.save(folder / f"{i}.npy", np.random.default_rng(i).normal(size=(clips, 8)).astype(np.float16))
        rows.append(f"{i}.npy,{'train' if i % 4 else 'test'},{i}")
    (folder / "m.csv").write_text("\n".join(rows) + "\n")
    return "manifest", folder / "m.csv", "-o", folder / "out", "--epochs", 1


def test_a_long_routine_among_short_ones_takes_no_gigabytes(run, tmp_path):
    words = manifest_of(tmp_path, [1, 2000, *[1] * 62])
    result = run("train", *words, "--model", "gdlt")
    assert (result.exit_code, len(result.errors)) == (1, 1)
    assert "1.npy has 2000 clips; a batch of 48 as long takes too much memory. Give --batch-size 3" in result.stderr
    assert run("train", *words, "--model", "svr").exit_code == 0


class Set:
    """Pickled as a set, or a Counter, that is made of these."""

    def __init__(self, kind, values):
        self.kind, self.values = kind, values

    def __reduce__(self):
        return self.kind, (self.values,)


def alike(count):
    """Tuples of fractions, which can be made to have one hash; here they only could."""
    return [(i + 0.5, i + 0.25) for i in range(count)]


@pytest.mark.parametrize("kind", [set, frozenset, collections.Counter, collections.OrderedDict])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_keys_that_are_handed_over_are_counted(kind, protocol):
    for count in (100, 20_000):
        values = alike(count) if kind in (set, frozenset, collections.Counter) else [(key, 1) for key in alike(count)]
        content = pickle.dumps({"a": Set(kind, values)}, protocol)
        if count == 100:
            check_pickle(io.BytesIO(content), len(content))
        else:
            with pytest.raises(pickle.UnpicklingError, match="keys"):
                check_pickle(io.BytesIO(content), len(content))


@pytest.mark.parametrize("opcode", ["INST", "OBJ"])
def test_keys_that_old_instructions_hand_over_are_counted(opcode):
    values = pickle.dumps(alike(20_000), 0)[:-1]
    call = b"(" + values + b"ibuiltins\nset\n." if opcode == "INST" else b"(cbuiltins\nset\n" + values + b"o."
    with pytest.raises(pickle.UnpicklingError, match="keys"):
        check_pickle(io.BytesIO(call), len(call))


def test_the_magic_number_of_old_checkpoints_is_a_number(tmp_path):
    path = tmp_path / "old.pth"
    torch.save({"a": torch.zeros(2)}, path, _use_new_zipfile_serialization=False)
    assert read_torch(path)["a"].shape == (2,)
    whole = path.read_bytes()
    end = io.BytesIO(whole)
    pickle.load(end)
    path.write_bytes(pickle.dumps({k * (2**61 - 1): 0 for k in range(100)}, 2) + whole[end.tell() :])
    with pytest.raises(pickle.UnpicklingError, match="parts"):
        read_torch(path)


def test_events_and_routines_of_logo_are_words(run, tmp_path):
    """Keys of one hash are compared with each other; those of words can't be made."""
    root = layouts.logo(tmp_path / "logo")
    (split,) = root.rglob("train*.pkl")
    split.write_bytes(pickle.dumps([*pickle.loads(split.read_bytes()), *((k * 0.5, k * 0.25) for k in range(100))]))
    result = run("train", "logo", root, "-o", tmp_path / "out", "--model", "svr")
    assert (result.exit_code, len(result.errors)) == (1, 1)
    assert "no annotation" in result.stderr


def logo_scored(root, change):
    layouts.logo(root)
    (path,) = root.rglob("anno_dict.pkl")
    known = {key: change(value) for key, value in pickle.loads(path.read_bytes()).items()}
    path.write_bytes(pickle.dumps(known))
    return [one.scores["LOGO"] for one in load_logo(root).splits["train"]]


def score_of(value):
    while isinstance(value, dict | list | tuple | np.ndarray) and np.ndim(value):
        value = value[1]
    return float(value["score"] if isinstance(value, dict) else value)


def test_scores_of_logo_that_are_bytes_are_read_as_numbers(tmp_path):
    plain = logo_scored(tmp_path / "plain", score_of)
    assert logo_scored(tmp_path / "bytes", lambda value: str(score_of(value)).encode()) == pytest.approx(plain)
    for i, odd in enumerate((True, np.frombuffer(b"85.60", np.uint8), [0, True])):
        with pytest.raises(DataError, match="no score"):
            logo_scored(tmp_path / f"odd{i}", lambda value, odd=odd: odd)


def test_a_folder_of_links_to_itself_is_searched_once(run, tmp_path):
    layouts.logo(tmp_path / "logo")
    for i in range(300):
        (tmp_path / "logo" / f"l{i}").symlink_to(".")
    begin = time.process_time()
    assert load_logo(tmp_path / "logo").splits["train"]
    assert time.process_time() - begin < 5


def test_scores_beyond_their_range_are_listed_in_public_sets(tmp_path):
    root = layouts.fs1000(tmp_path)
    path = root / "train_fs1000_new.txt"
    first, *others = path.read_text().splitlines()
    cells = first.split()
    for score, wanted in ((140, "note"), (99_999, "error")):
        path.write_text("\n".join([" ".join([cells[0], str(score), *cells[2:]]), *others]) + "\n")
        if wanted == "error":
            with pytest.raises(DataError, match="TES 99999 is not in 0 to 130"):
                load_fs1000(root)
        else:
            assert any("TES 140 is not in 0 to 130" in note for note in load_fs1000(root).notes)


# --- What torch reads ------------------------------------------------------------------------------------------------


def old_file(path):
    torch.save({"a": torch.zeros(2)}, path, _use_new_zipfile_serialization=False)
    return path.read_bytes()


def test_the_last_pickle_of_an_old_checkpoint_is_followed_too(tmp_path):
    """The names of its numbers; a pickle of any kind is read there."""
    path = tmp_path / "old.pth"
    whole = io.BytesIO(old_file(path))
    for number in range(4):
        check_pickle(whole, 10_000, plain=number > 0)
    begin = whole.tell()
    assert read_torch(path)["a"].shape == (2,)
    shared = b"\x80\x02(K\x01K\x02t" + b"".join(b"q%c(h%ch%ct" % (i, i, i) for i in range(45)) + b"."
    path.write_bytes(whole.getvalue()[:begin] + shared)
    with pytest.raises(pickle.UnpicklingError, match="again and again"):
        read_torch(path)


def archive_of(path, pickled):
    """A file of torch's whose object is this pickle."""
    honest = io.BytesIO()
    torch.save({"a": torch.zeros(8)}, honest)
    with zipfile.ZipFile(honest) as found, zipfile.ZipFile(path, "w") as file:
        for entry in found.infolist():
            is_object = entry.filename.endswith("data.pkl")
            file.writestr(entry.filename, pickled(found.read(entry)) if is_object else found.read(entry))
    return path


@pytest.mark.parametrize(
    ("called", "arguments"),
    [
        (b"ctorch._utils\n_rebuild_device_tensor_from_cpu_tensor\n", b"(K\x01K\x02t"),
        (b"ctorch._utils\n_rebuild_sparse_tensor\n", b"(K\x01K\x02t"), (b"ctorch\nTensor\n", b"(K\x09K\x09t"),
        (b"ctorch._tensor\n_rebuild_from_type_v2\n", b"(ctorch\nTensor\nctorch\nTensor\n(K\x09K\x09t}t"),
        (b"c_codecs\nencode\n", b"(X\x01\x00\x00\x00aX\x08\x00\x00\x00punycodet"),
    ],
)  # fmt: skip
def test_what_no_checkpoint_calls_is_not_called(tmp_path, called, arguments):
    path = archive_of(tmp_path / "odd.pth", lambda _: b"\x80\x02" + called + arguments + b"R.")
    with pytest.raises(pickle.UnpicklingError, match="as no checkpoint does"):
        read_torch(path)


def test_what_checkpoints_do_call_is_read(tmp_path):
    held = {
        "tensor": torch.arange(4.0), "parameter": torch.nn.Parameter(torch.ones(2)), "bytes": b"\x00\xff",
        "ordered": collections.OrderedDict(a=torch.zeros(1)), "size": torch.Size([2, 3]), "half": torch.ones(2).half(),
    }  # fmt: skip
    for new in (True, False):
        torch.save(held, tmp_path / "a.pth", _use_new_zipfile_serialization=new)
        found = read_torch(tmp_path / "a.pth")
        assert found.keys() == held.keys()
        assert torch.equal(found["parameter"], held["parameter"])


def test_arrays_of_objects_are_made_of_lists(tmp_path):
    letters = pickle.dumps(np.array([1, "x"], dtype=object), 2)
    assert b"]" in letters
    (tmp_path / "a.pkl").write_bytes(letters)
    assert list(read_pickle(tmp_path / "a.pkl")) == [1, "x"]
    text = b"U\x02ab"  # in the place of the list
    begin, end = letters.index(b"]"), letters.rindex(b"t")
    (tmp_path / "a.pkl").write_bytes(letters[:begin] + text + letters[end:])
    with pytest.raises(DataError, match="plain data"):
        read_pickle(tmp_path / "a.pkl")


@pytest.mark.parametrize("id", [None, float("nan"), [], "x" * 5000])
def test_an_entry_of_a_backbone_without_a_name_is_made_again(run, season, tmp_path, id):
    store = FeatureStore(shutil.copytree(season / "store", tmp_path / "store"))
    source = Input(season / "in" / "0.mp4", Path("0.mp4"))
    features = read_features(store.path(source))
    wanted = {name: value for name, value in features.provenance.items() if name != "source"}
    assert store.get(source, wanted)
    made = {role: {k: v for k, v in one.items() if k != "id"} for role, one in wanted["backbones"].items()}
    made = made if id is None else {role: {**one, "id": id} for role, one in made.items()}
    store.put(source, replace(features, provenance={**wanted, "backbones": made}))
    assert store.get(source, wanted) is None
    result = run("score", source.path, "--features", store.folder, "-f", "json")
    assert result.exit_code == 0, result.stderr


# --- Where compiled code lies ----------------------------------------------------------------------------------------


@AS_ROOT
@pytest.mark.parametrize(("mode", "safe"), [(0o700, True), (0o1777, True), (0o777, False), (0o2775, False)])
def test_no_code_is_kept_where_others_can_exchange_it(tmp_path, mode, safe):
    theirs, temporary = tmp_path / "theirs", tmp_path / "tmp"
    theirs.mkdir(), temporary.mkdir()
    os.chown(theirs, NOBODY, NOBODY)
    os.chown(temporary, 0, NOBODY)
    temporary.chmod(mode)
    code = "import tempfile\nfrom mlavl_cli.surroundings import passing_folder\ntry: print(passing_folder())\n"
    code += "except OSError as error: print('refused')"

    def place(**settings):
        known = {**os.environ, "PYTHONPATH": str(ROOT), **settings}
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=known).stdout.strip()

    assert place(XDG_CACHE_HOME=str(theirs), TMPDIR=str(temporary)).startswith(str(temporary) if safe else "refused")
    in_cache = place(XDG_CACHE_HOME=str(temporary), TMPDIR=str(theirs))
    assert in_cache.startswith(str(temporary) if safe else "refused")


def test_pixels_of_ever_other_shapes_are_warned_of_once(run, tmp_path):
    """Each picture of a Motion JPEG says how wide its pixels are."""
    made = make_video(tmp_path / "plain.mkv", 80, codec="mjpeg", pixels="yuvj420p", sound=None)
    with av.open(str(made)) as source, av.open(str(tmp_path / "odd.mkv"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.dts is not None:
                said = b"\xff\xe0\x00\x10JFIF\x00\x01\x02\x00" + struct.pack(">HH", 1100 + number * 10, 100) + b"\0\0"
                odd = av.Packet(b"\xff\xd8" + said + bytes(packet)[2:])
                odd.pts, odd.dts, odd.time_base, odd.stream, odd.is_keyframe = (
                    packet.pts, packet.dts, packet.time_base, stream, True,
                )  # fmt: skip
                target.mux(odd)
    result = run("score", tmp_path / "odd.mkv", "-f", "csv", "--features", tmp_path / "store")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.count("its pixels claim to be") == 1


def children_of(process):
    """The processes that were begun by it and are there."""
    found = []
    for about in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = about.read_text().rsplit(")", 1)[1].split()
            found += [int(about.parent.name)] if int(fields[1]) == process and fields[0] != "Z" else []
    return found


@pytest.mark.parametrize("helper", ["pdf", "hub"])
def test_no_helper_outlives_a_command_that_is_killed(tmp_path, helper):
    """The reader of protocols and the fetcher from a hub, which nobody is there to stop."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        words = {
            "pdf": ["labels", one_page(tmp_path / "p.pdf", b"q Q " * 6_000_000)],
            "hub": ["weights", "info", "some/bundle"],
        }[helper]
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        around = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home")}
        command = subprocess.Popen([sys.executable, "-m", "mlavl_cli", *map(str, words)], env=around)
        try:
            for _ in range(600):
                if helpers := [
                    one for one in children_of(command.pid)
                    if b"mlavl_cli.protocols.words" in (said := Path(f"/proc/{one}/cmdline").read_bytes())
                    or b"mlavl_cli.hub_bundle" in said
                ]:  # fmt: skip
                    break
                time.sleep(0.1)
            time.sleep(3)  # until it has begun to work
        finally:
            command.kill()
            command.wait()
    assert helpers
    for _ in range(50):
        if not any(Path(f"/proc/{one}").exists() for one in helpers):
            return
        time.sleep(0.1)
    pytest.fail("a helper is still there")


@pytest.mark.parametrize("name", ["mine.mp4", "f.safetensors", "bundle.json"])
def test_no_command_writes_over_what_is_named_like_a_video_or_weights(run, tmp_path, name):
    kept = tmp_path / "other" / name
    kept.parent.mkdir()
    kept.write_text("mine")
    (tmp_path / "v").mkdir()
    labels = tmp_path / "m.csv"
    labels.write_text("path,split,TES\na.npy,test,1\n")
    for words in (
        ("labels", tmp_path / "p.pdf", "--videos", tmp_path / "v", "-o", kept),
        ("evaluate", "manifest", labels, "--predictions", kept),
    ):
        result = run(*words)
        assert result.exit_code == 2
        assert "results can't be written there" in result.errors[0]
    assert kept.read_text() == "mine"


def test_a_header_nested_without_end_is_an_error_of_its_file(run, tmp_path):
    header = b"-" * 9000 + b"1\n"
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    (tmp_path / "m.csv").write_text("path,split,TES\na.npy,train,1\nb.npy,test,2\n")
    result = run("train", "manifest", tmp_path / "m.csv", "-o", tmp_path / "b")
    assert result.exit_code == 1
    assert "a.npy" in result.errors[-1]


def test_a_target_in_other_letters_is_refused(run, tmp_path):
    for heading, meant in (("tes", "TES"), ("TES,tes", "TES"), ("Foo,foo", "foo")):
        cells = ",1" * (heading.count(",") + 1)
        (tmp_path / "m.csv").write_text(f"path,split,{heading}\na.npy,train{cells}\nb.npy,test{cells}\n")
        result = run("train", "manifest", tmp_path / "m.csv", "-o", tmp_path / "b")
        assert result.exit_code == 1
        assert f"Call it {meant}." in result.errors[-1]
