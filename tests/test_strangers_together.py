"""What each is allowed by itself, and takes gigabytes where it is put together with others: batches and prompts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from conftest import make_video, shell
from datasets import layouts

from mlavl_cli.heads.methods import head_class

ROOT = Path(__file__).parents[1]
HELD = "next(int(l.split()[1]) // 1000 for l in open('/proc/self/status') if l.startswith('VmHWM'))"


def alone(*words):
    """(exit code, stderr's lines, MB that it held) of a run in a process of its own."""
    code = "import sys; from mlavl_cli.cli.app import app\ntry: app(sys.argv[1:])\nfinally: "
    code += f"print({HELD}, file=sys.stderr)"
    settings = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=settings)
    *told, held = done.stderr.splitlines()
    return done.returncode, told, int(held)


def hollow(path, shape, kind="|u1"):
    """A `.npy` of zeros that takes some kilobytes on the disk."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})
        file.truncate(file.tell() + int(np.prod(shape)) * np.dtype(kind).itemsize)


def fs1000_with_a_long_one(folder, shape, long):
    """A set of FS1000's layout whose features are of this shape, but for one of `long` clips."""
    root = layouts.fs1000(folder)
    rng = np.random.default_rng(0)
    seen = sorted((root / "output_feature_fs1000_new").iterdir())
    for path in seen:
        np.save(path, rng.normal(size=shape).astype(np.float16))
        np.save(root / "ast_feature_fs1000_new" / path.name, rng.normal(size=(shape[0], 768)).astype(np.float16))
    rows = (root / "train_fs1000_new.txt").read_text().splitlines()
    best = max((row.split() for row in rows if row), key=lambda row: float(row[1]))[0]
    hollow(root / "output_feature_fs1000_new" / f"{best}.npy", (long, *shape[1:]))
    hollow(root / "ast_feature_fs1000_new" / f"{best}.npy", (long, 768))
    return root, best


def test_very_many_prompts_are_refused_before_they_are_encoded(run, tmp_path):
    (tmp_path / "p.csv").write_text("id,name\n" + "".join(f"{i},{i} {'a ' * 140}\n" for i in range(5000)))
    result = run("prompts", "encode", "--prompts", tmp_path / "p.csv", "-o", tmp_path / "t.safetensors")
    assert (result.exit_code, len(result.errors)) == (1, 1)
    assert "names more than the 4,096 actions" in result.stderr
    (tmp_path / "p.csv").write_text(f"id,name\n0,{'a ' * 1001}\n")
    assert (
        "a prompt of 2,001 letters, more than 2,000" in run("prompts", "list", "--prompts", tmp_path / "p.csv").stderr
    )


@pytest.mark.slow
def test_memory_for_prompts_does_not_grow_with_their_number(tmp_path):
    text = ROOT / "weights" / "mini" / "backbones" / "text"
    held = []
    for count in (256, 2048):
        (tmp_path / "p.csv").write_text("id,name\n" + "".join(f"{i},{i} {'a ' * 140}\n" for i in range(count)))
        words = ("prompts", "encode", "--text", text, "--prompts", tmp_path / "p.csv", "-o", tmp_path / "t.safetensors")
        code, told, mb = alone(*words)
        assert code == 0, told
        held.append(mb)
    assert held[1] < held[0] + 200


def test_one_long_exemplar_is_not_padded_to_ten(run, tmp_path):
    root, best = fs1000_with_a_long_one(tmp_path / "fs", (5, 2, 768), 2001)
    kind = head_class("core")
    state = kind(kind.Dims(visual_dim=768, actions=1, audio_dim=0, mag2=False, language=False)).state_dict()
    torch.save({n: t for n, t in state.items() if not n.startswith(kind.private)}, tmp_path / "core.pth")
    words = ("weights", "import", tmp_path / "core.pth", "--model", "core", "-t", "TES", "--range", "0:130")
    words += ("--backbones", "fs1000", "--window", "full", "-o", tmp_path / "out", "--exemplars", "fs1000")
    assert run(*words, root).exit_code == 0  # of three quarters of an hour: ten fit
    hollow(root / "output_feature_fs1000_new" / f"{best}.npy", (9000, 2, 768))
    hollow(root / "ast_feature_fs1000_new" / f"{best}.npy", (9000, 768))
    result = run(*words, root)
    assert (result.exit_code, len(result.errors)) == (1, 1)
    assert f"{best} has 9000 clips; heads are judged on 2048 at the most" in result.stderr


def test_a_routine_without_end_is_named_before_heads_are_judged_on_it(run, tmp_path):
    rows = ["path,audio,split,TES"]
    for i in range(12):
        clips = 4000 if i == 7 else 20
        hollow(tmp_path / f"v{i}.npy", (clips, 192)), hollow(tmp_path / f"a{i}.npy", (clips, 96))
        rows.append(f"v{i}.npy,a{i}.npy,test,{i * 3 + 20}")
    (tmp_path / "m.csv").write_text("\n".join(rows) + "\n")
    result = run("evaluate", "manifest", tmp_path / "m.csv", "-t", "TES")
    assert (result.exit_code, len(result.errors)) == (1, 1)
    assert "v7.npy has 4000 clips; heads are judged on 2048 at the most" in result.stderr


@pytest.mark.slow
def test_judging_consistency_of_a_long_routine_takes_no_gigabytes(tmp_path):
    rows = ["path,audio,split,TES"]
    rng = np.random.default_rng(0)
    for i in range(6):
        clips = 2048 if i == 2 else 20
        np.save(tmp_path / f"v{i}.npy", rng.normal(size=(clips, 192)).astype(np.float16))
        np.save(tmp_path / f"a{i}.npy", rng.normal(size=(clips, 96)).astype(np.float16))
        rows.append(f"v{i}.npy,a{i}.npy,test,{i * 3 + 20}")
    (tmp_path / "m.csv").write_text("\n".join(rows) + "\n")
    code, told, mb = alone("evaluate", "manifest", tmp_path / "m.csv", "-t", "TES", "-q")
    assert code == 0, told
    assert mb < 2000


def test_tokens_count_in_what_a_batch_takes(run, tmp_path):
    """A clip of 64 tokens is as large as 64 clips."""
    root, best = fs1000_with_a_long_one(tmp_path / "fs", (5, 64, 768), 100)
    words = ("train", "fs1000", root, "-t", "TES", "--model", "mlp-mixer", "--epochs", 1, "--window", "full")
    result = run(*words, "-o", tmp_path / "out")
    assert (result.exit_code, len(result.errors)) == (1, 1)
    assert f"{best} has 100 clips; a batch of" in result.stderr
    assert "Give --batch-size 13, or a shorter --window." in result.stderr


def test_text_features_of_a_table_are_fingerprinted_by_their_bytes(run, tmp_path):
    """Another file of text features is another table; the same one is not trained again."""
    root = layouts.fs1000(tmp_path / "fs")
    rows = np.random.default_rng(0).normal(size=(102, 32)).astype(np.float16)
    words = ("train", "fs1000", root, "-t", "TES", "--seeds", 1, "--model", "mlavl", "--epochs", 1, "--width", 16)
    found = []
    for scale, out in ((1, tmp_path / "one"), (1, tmp_path / "one"), (2, tmp_path / "two")):
        np.save(tmp_path / "t.npy", rows * scale)
        result = run(*words, "-o", out, "--text-features", tmp_path / "t.npy", "-q")
        assert result.exit_code == 0, result.stderr
        (cell,) = out.glob("**/cell.json")
        found.append(json.loads(cell.read_text())["asked"]["content"])
    assert found[0] == found[1] != found[2]
    assert len(found[0]) == 64


def test_no_file_is_lost_by_what_another_left_in_the_decoder(tmp_path):
    """A container with fonts of tens of megabytes; a process that read one still holds some of it."""
    made = make_video(tmp_path / "plain.mp4", 40)
    for name, mb in (("a.mkv", 30), ("b.mkv", 45)):
        with av.open(str(made)) as source, av.open(str(tmp_path / name), "w") as target:
            streams = {one: target.add_stream_from_template(one) for one in source.streams}
            target.add_attachment("font.ttf", "font/ttf", os.urandom(mb << 20))
            for packet in source.demux():
                if packet.dts is not None:
                    packet.stream = streams[packet.stream]
                    target.mux(packet)
    result = shell("score", tmp_path / "a.mkv", tmp_path / "b.mkv", made, "--workers", 1, "-f", "csv", "-q")
    assert result.exit_code == 0, result.stderr
    assert len(result.stdout.splitlines()) == 4
