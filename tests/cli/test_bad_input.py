"""Whatever is wrong: one line that names the file and the fix, the right exit code, and the others still scored."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import make_sound, make_video, shell, tone

from mlavl_cli.backbone import BackboneSpec
from mlavl_cli.bundle import Bundle, find_bundle, write_bundle


def bad_file(folder, kind):
    path = folder / f"{kind}.mp4"
    if kind == "missing":
        pass
    elif kind == "text":
        path.write_text("this is no video\n" * 50)
    elif kind == "empty":
        path.touch()
    elif kind == "truncated":
        whole = make_video(folder / "whole.mp4", 80)  # its index is at the end, and lost
        path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
        whole.unlink()
    elif kind == "unknown suffix":
        path = folder / "routine.xyz"
        path.write_bytes(b"\x00\x01\x02" * 1000)
    elif kind == "line break":
        path = folder / "two\nlines.mp4"
        path.write_text("no video")
    elif kind == "sound only":
        path = make_sound(folder / "sound.m4a")
    elif kind == "empty folder":
        path = folder / "nothing"
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "link to nowhere":
        path.symlink_to(folder / "nowhere.mp4")
    elif kind == "link to itself":
        path.symlink_to(path)
    return path


KINDS = (
    "missing", "text", "empty", "truncated", "unknown suffix", "line break", "sound only", "empty folder", "fifo",
    "link to nowhere", "link to itself",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_one_line_and_the_others_are_scored(run, routine, tmp_path, kind):
    path = bad_file(tmp_path, kind)
    result = run("score", path, routine, "-f", "jsonl")
    assert result.exit_code == 1
    records = {one["video"]["path"]: one["error"] for one in map(json.loads, result.stdout.splitlines())}
    assert set(records) == {str(path), str(routine)}
    assert records[str(routine)] is None
    assert len(result.stderr.splitlines()) == 1
    assert result.errors[0].endswith(records[str(path)])
    assert path.name.replace("\n", "\\n") in result.stderr
    assert result.stderr.rstrip().endswith(".")  # says a way out


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(run, routine, tmp_path):
    path = tmp_path / "secret.mp4"
    path.write_bytes(routine.read_bytes())
    path.chmod(0)
    result = run("score", path)
    assert result.exit_code == 1
    assert "no permission" in result.errors[0]


def test_no_permission_as_the_system_says_it(run, routine, tmp_path, monkeypatch):
    """The same through the door that root can't test: the system refuses to open the file."""
    import av

    def refused(*_, **__):
        raise av.PermissionError(13, "Permission denied", str(routine))

    monkeypatch.setattr(av, "open", refused)
    result = run("score", routine)
    assert result.exit_code == 1
    assert "no permission to read it" in result.errors[0]


def test_picture_only_and_sound_shorter_and_longer_than_the_picture(run, tmp_path):
    make_video(tmp_path / "short.mp4", 80, sound=tone(1))
    make_video(tmp_path / "long.mp4", 80, sound=tone(9))
    make_video(tmp_path / "none.mp4", 80, sound=None)
    result = run("score", tmp_path, "-f", "jsonl")
    assert result.exit_code == 0
    assert [len(json.loads(line)["clips"]) for line in result.stdout.splitlines()] == [2, 2, 2]


def mini_with(folder, **changes):
    """weights/mini in a folder of its own, with other fields."""
    import shutil

    mini = find_bundle("mini")
    shutil.copytree(mini.folder, folder)
    inside = {
        role: BackboneSpec(str(folder / getattr(mini, role).folder.relative_to(mini.folder)))
        for role in ("visual", "audio", "text")
    }
    heads = {target: folder / path.relative_to(mini.folder) for target, path in mini.heads.items()}
    domain = folder / mini.domain.relative_to(mini.folder)
    bundle = Bundle(
        **{**vars(mini), "folder": folder, "heads": heads, **inside, "domain": domain, "files": {}, **changes}
    )
    write_bundle(bundle)
    return bundle


def test_a_head_of_the_wrong_width_is_said_before_extraction(run, routine, tmp_path):
    import torch

    from mlavl_cli.heads.checkpoint import TargetHead, save_head
    from mlavl_cli.heads.dims import HeadDims
    from mlavl_cli.heads.mlavl.model import MLAVL

    bundle = mini_with(tmp_path / "wide")
    target, path = next(iter(bundle.heads.items()))
    dims = HeadDims(768, 2, audio_dim=96, text_dim=16, width=32, heads=4)
    save_head(
        path, TargetHead(MLAVL(dims, torch.zeros(dims.prompts, 16)), target, (0.0, 1.0), ("a", "b", "c", "d", "e", "f"))
    )
    result = run("score", routine, "-w", bundle.folder)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert f"visual features are 192 wide; the {target} head takes 768" in result.errors[0]


def test_weights_without_heads_extract_and_explain(run, routine, tmp_path):
    bundle = mini_with(tmp_path / "backbones", heads={})
    result = run("score", routine, "-w", bundle.folder)
    assert result.exit_code == 1
    assert "no head to score with" in result.errors[0]
    assert "mlavl train" in result.errors[0]
    assert run("extract-features", routine, "-o", tmp_path / "s", "-w", bundle.folder).exit_code == 0


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("{", "valid JSON"),
        ("{}", "lacks 'version'"),
        ('{"version": 7}', "bundle version 7"),
        ('{"version": 1, "name": 3}', "wrong kind"),
        ("[1, 2]", "wrong kind"),
    ],
)
def test_broken_bundles(run, routine, tmp_path, text, cause):
    (tmp_path / "bundle.json").write_text(text)
    result = run("score", routine, "-w", tmp_path)
    assert result.exit_code == 1
    assert cause in result.errors[0]


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd"])
def test_a_bundle_cannot_name_files_outside_itself(run, routine, tmp_path, name):
    bundle = mini_with(tmp_path / "evil")
    manifest = bundle.folder / "bundle.json"
    data = json.loads(manifest.read_text())
    data["heads"]["TES"] = name
    manifest.write_text(json.dumps(data))
    result = run("score", routine, "-w", bundle.folder)
    assert result.exit_code == 1
    assert "outside the bundle" in result.errors[0]


@pytest.mark.parametrize(
    ("options", "code", "cause"),
    [
        (["--device", "gpu9"], 2, "no such device"),
        (["--device", "cuda:77"], 2, "isn't there"),
        (["--device", "cpu", "--precision", "fp16"], 2, "fp16 isn't supported"),
        (["--precision", "fp8"], 2, "fp8"),
        (["--format", "xml"], 2, "xml"),
        (["--batch-size", "0"], 2, "batch-size"),
        (["--weights", "nobody"], 2, "no such weights"),
        (["--colour"], 2, "--colour"),
    ],
)
def test_wrong_options(run, routine, options, code, cause):
    result = run("score", routine, *options)
    assert result.exit_code == code
    assert cause in result.stderr
    assert "Traceback" not in result.stderr


def test_output_that_cannot_be_written(run, routine, tmp_path):
    (tmp_path / "file").touch()
    result = run("score", routine, "-f", "csv", "-o", tmp_path / "file" / "below.csv")
    assert result.exit_code == 1
    assert "can't be written" in result.errors[0]


def test_a_bug_of_ours_is_one_line_and_the_rest_goes_on(run, routine, silent_routine, monkeypatch):
    from mlavl_cli.scoring.scorer import Scorer

    good = Scorer._grade

    def buggy(self, features):
        if features.video.path == str(routine):
            raise IndexError("oops")
        return good(self, features)

    monkeypatch.setattr(Scorer, "_grade", buggy)
    result = run("score", routine, silent_routine, "-f", "jsonl", "-q")
    assert result.exit_code == 1
    bug, good = map(json.loads, result.stdout.splitlines())
    assert bug["error"].startswith("internal error (IndexError: oops)")
    assert good["error"] is None
    assert result.stderr.count("\n") == 1
    assert "IndexError: oops" in result.stderr
    assert "Traceback" in run("score", routine, "-v").stderr


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_is_130_without_a_traceback_and_keeps_what_is_done(tmp_path):
    for name in "abcdef":
        make_video(tmp_path / "in" / f"{name}.mp4", 500, size=(320, 240))
    command = [sys.executable, "-m", "mlavl_cli", "score", tmp_path / "in", "-f", "csv", "-o", tmp_path / "out.csv"]
    command += ["--features", tmp_path / "store"]
    # A shell starts what runs in its background with Ctrl-C ignored, and children inherit that.
    heed = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, env={**os.environ}, preexec_fn=heed)
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "store").glob("*.safetensors"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in stderr
    done = list((tmp_path / "store").glob("*.safetensors"))
    assert 0 < len(done) < 6
    assert b"interrupted: " in stderr
    assert len((tmp_path / "out.csv").read_text().splitlines()) >= 2  # the columns and one video at least


def test_a_closed_pipe_is_no_error_message(routine):
    command = f"{sys.executable} -m mlavl_cli score {routine} {routine} -f jsonl | head -c 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, env={**os.environ}, timeout=120)
    assert b"Traceback" not in done.stderr
    assert done.stdout == b"{"


def test_usage():
    result = shell("score")
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("validated", [False, {}, None])
def test_nothing_but_measured_numbers_makes_consistency_validated(run, routine, tmp_path, validated):
    bundle = mini_with(tmp_path / "w")
    manifest = bundle.folder / "bundle.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "consistency": validated}))
    assert not run("score", routine, "-w", bundle.folder, "-f", "json").json()["consistency"]["validated"]


def test_a_dataset_folder_of_a_bundle_s_name_does_not_hide_it(run, routine, tmp_path, monkeypatch):
    (tmp_path / "mini").mkdir()
    monkeypatch.chdir(tmp_path)
    assert run("score", routine).exit_code == 0
    assert run("weights", "list").exit_code == 0


def test_a_bundle_without_its_backbone_or_with_half_of_it(run, routine, tmp_path):
    bundle = mini_with(tmp_path / "half")
    path = bundle.folder / "backbones" / "visual" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    result = run("score", routine, routine.parent, "-w", bundle.folder)
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert "backbones/visual/model.safetensors: can't be read as safetensors" in result.errors[0]
    bundle = mini_with(tmp_path / "gone")
    (tmp_path / "gone" / "backbones" / "audio").rename(tmp_path / "elsewhere")
    result = run("score", routine, "-w", bundle.folder)
    assert "backbones/audio: the backbone is missing" in result.errors[0]
    assert "hf download" not in result.stderr


def test_a_file_that_changes_while_it_is_read_is_not_stored(run, routine, tmp_path, monkeypatch):
    import mlavl_cli.features.extract as extract

    path = tmp_path / "growing.mp4"
    path.write_bytes(routine.read_bytes())
    real = extract._encode

    def grows(*args):
        with path.open("ab") as file:
            file.write(b"more")
        return real(*args)

    monkeypatch.setattr(extract, "_encode", grows)
    result = run("extract-features", path, "-o", tmp_path / "store")
    assert result.exit_code == 1
    assert "has changed while it was read" in result.errors[0]
    assert not list(tmp_path.glob("store/*"))
