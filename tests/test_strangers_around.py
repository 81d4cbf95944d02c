"""What lies around a run: the current folder's files, folders for all, names of columns, and many small files."""

import json
import os
import stat
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_video, shell
from datasets import layouts

from mlavl_cli.bundle import find_bundle, read_bundle
from mlavl_cli.errors import MlavlError, WeightsError
from mlavl_cli.files import atomic_write
from mlavl_cli.heads.published import import_published
from mlavl_cli.scoring.record import columns_of
from mlavl_cli.untrusted import RESULT_COLUMNS

ROOT = Path(__file__).parents[1]
AS_ROOT = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
NOBODY = 65534


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


@pytest.mark.parametrize("option", ["--features", "--report", "--vtt"])
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
        "score {video} --features {link}", "score {video} --features {link}/below",
        "score {video} --report {link}/below", "score {video} --vtt {link}/below",
        "score {video} -f csv -o {link}/scores.csv",
        "score {video} --clips-csv {link}/clips.csv", "score {video} --plot {link}/a.svg",
        "extract-features {video} -o {link}", "compare {video} {video} --features {link}",
        "compare {json} {json} -f csv -o {link}/scores.csv", "synthesize {link}/below -n 1",
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
    assert "is a link of another user in a folder for all" in result.stderr
    assert [path.name for path in target.iterdir()] == ["scores.csv"]
    assert (target / "scores.csv").read_text() == "precious"
    os.chown(everybodys / "link", 0, 0, follow_symlinks=False)  # one's own is followed
    if "compare {video}" not in words and "synthesize" not in words:
        assert run(*words.format(**places).split()).exit_code == 0


@AS_ROOT
@pytest.mark.parametrize("option", ["--output", "--clips-csv", "--plot"])
def test_a_pipe_of_another_user_in_a_folder_for_all_is_not_waited_for(run, season, everybodys, option):
    os.mkfifo(everybodys / "out.csv", 0o666)
    (everybodys / "out.csv").chmod(0o666)
    os.chown(everybodys / "out.csv", NOBODY, NOBODY)
    begin = time.monotonic()
    result = run("score", season / "in" / "0.mp4", "--features", season / "store", option, everybodys / "out.csv")
    assert result.exit_code == 2
    assert "is a pipe of another user in a folder for all" in result.stderr
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
        {"points": {"TES": [10, 5.0, None]}}, {"points": {"TES": [10, None, 5.0]}}, {"in_domain": 1.0}, {"dated": 1},
        {"has_audio": 0.0}, {"page": "."},
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


def hollow(path, shape):
    """A `.npy` of zeros that takes some kilobytes on the disk."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        file.truncate(file.tell() + shape[0] * shape[1])
    return path


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
