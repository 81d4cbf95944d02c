"""What each is allowed by itself, and takes gigabytes where it is put together with others: batches and prompts."""

import json
import os
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from conftest import alone, hollow, make_video, shell
from datasets import layouts

from mlavl_cli.heads.methods import head_class

ROOT = Path(__file__).parents[1]


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
        "a prompt of 2,001 letters, more than 1,900" in run("prompts", "list", "--prompts", tmp_path / "p.csv").stderr
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


# --- What is copied, and what a run goes on from ---------------------------------------------------------------------


SETTINGS = ("--width", 16, "--epochs", 2, "--batch-size", 4)


def small_set(folder):
    """Features of thirty routines that anything is trained on in seconds."""
    rows, rng = ["path,split,TES"], np.random.default_rng(0)
    for i in range(30):
        np.save(folder / f"{i}.npy", rng.normal(size=(4, 8)).astype(np.float16))
        rows.append(f"{i}.npy,{('test', 'val', 'train', 'train', 'train')[i % 5]},{i * 3}")
    (folder / "m.csv").write_text("\n".join(rows) + "\n")
    return ("train", "manifest", folder / "m.csv", *SETTINGS)


def test_of_a_backbone_its_own_files_are_copied_and_no_holes(run, tmp_path):
    words = small_set(tmp_path)
    bundle = tmp_path / "bundle"
    shutil.copytree(ROOT / "weights" / "mini", bundle)
    seen = bundle / "backbones" / "visual"
    hollow(seen / "extra.dat", (1 << 30,))
    (seen / "deep").mkdir()
    (seen / "deep" / "notes").write_text("nothing loads this")
    result = run(*words, "--model", "gdlt", "--backbones", bundle, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    copied = {path.name for path in (tmp_path / "out" / "backbones" / "visual").rglob("*")}
    assert copied == {path.name for path in (ROOT / "weights" / "mini" / "backbones" / "visual").iterdir()}
    assert (tmp_path / "out" / "backbones" / "text" / "merges.txt").exists()
    hollow(seen / "extra.bin", (1 << 30,))
    result = run(*words, "--model", "gdlt", "--backbones", bundle, "-o", tmp_path / "other")
    assert (result.exit_code, len(result.errors)) == (1, 1)
    assert "extra.bin" in result.stderr
    assert not (tmp_path / "other" / "bundle.json").exists()


@pytest.mark.parametrize("folder", [".", "", "backbones//..//"])
def test_a_bundle_is_no_backbone_of_itself(run, tmp_path, folder):
    bundle = tmp_path / "bundle"
    shutil.copytree(ROOT / "weights" / "mini", bundle)
    known = json.loads((bundle / "bundle.json").read_text())
    known["visual"]["folder"] = folder
    (bundle / "bundle.json").write_text(json.dumps(known))
    result = run("weights", "info", bundle)
    assert (result.exit_code, len(result.errors)) == (1, 1)


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A table of two methods, and a bundle of one."""
    folder = tmp_path_factory.mktemp("begun")
    words = small_set(folder)
    assert shell(*words, "--model", "lstm", "--model", "gdlt", "--seeds", 1, "-o", folder / "table").exit_code == 0
    assert shell(*words, "--model", "gdlt", "-o", folder / "one").exit_code == 0
    return folder


def steps(state, value):
    for kept in state["optimizer"]["state"].values():
        kept["step"] = value


def model_name(state, value):
    state["settings"]["model"] = value


ODD = {
    "step below zero": (steps, torch.tensor(-1.0)), "step far below": (steps, torch.tensor(-1e6)),
    "complex step": (steps, torch.tensor(1 + 2j)), "true step": (steps, torch.tensor(True)),
    "endless step": (steps, torch.tensor(float("inf"))), "model": (model_name, "no\x1b[31m"),
}  # fmt: skip


def spoil(path, odd):
    """A state of a run that broke off after one epoch, with something odd in it."""
    state = torch.load(path, weights_only=True)
    state["history"] = state["history"][:1]
    change, value = ODD[odd]
    change(state, value)
    torch.save(state, path)


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_state_of_a_run_costs_its_method_alone(run, begun, tmp_path, odd):
    folder = tmp_path / "in"
    shutil.copytree(begun, folder)
    (path,) = (folder / "table").glob("runs/TES/lstm/seed-0/last.pt")
    path.with_name("cell.json").unlink()
    spoil(path, odd)
    words = ("train", "manifest", folder / "m.csv", *SETTINGS)
    result = run(*words, "--model", "lstm", "--model", "gdlt", "--seeds", 1, "-o", folder / "table")
    assert "gdlt" in result.stdout
    assert "last.pt" in result.stderr
    assert "internal error" not in result.stderr
    assert "\x1b[31m" not in result.stderr
    (path,) = (folder / "one").glob("runs/**/last.pt")
    spoil(path, odd)
    result = run(*words, "--model", "gdlt", "-o", folder / "one")
    assert (result.exit_code, len(result.errors)) == (1, 1)
    assert "last.pt" in result.stderr
    assert "internal error" not in result.stderr


def test_a_head_that_gives_no_numbers_makes_no_bundle(run, begun, tmp_path):
    folder = tmp_path / "in"
    shutil.copytree(begun, folder)
    (path,) = (folder / "one").glob("runs/**/best_srcc.pt")
    state = torch.load(path, weights_only=True)
    wild = {name: torch.full_like(one, 3e38) if one.is_floating_point() else one for name, one in state.items()}
    torch.save(wild, path)
    (folder / "one" / "bundle.json").unlink()
    result = run("train", "manifest", folder / "m.csv", *SETTINGS, "--model", "gdlt", "-o", folder / "one")
    assert (result.exit_code, len(result.errors)) == (1, 1), result.stdout
    assert "gives NaN or infinity" in result.stderr
