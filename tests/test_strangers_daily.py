"""What is used daily, of strangers and on shared machines: pages, histories, indices, takes, odd names, states."""

import collections
import json
import os
import pickle
import shutil
import stat
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import HELD, alone, make_video, shell
from datasets import layouts

from mlavl_cli import growing
from mlavl_cli.cli.tables import print_rows
from mlavl_cli.datasets.logo import load_logo
from mlavl_cli.features.store import read_features, write_features
from mlavl_cli.groups import together
from mlavl_cli.heads.state_dicts import read_state
from mlavl_cli.output.report.index import Entry, index, read_index
from mlavl_cli.protocols.match import _plain
from mlavl_cli.untrusted import read_torch

ROOT = Path(__file__).parents[1]
AS_ROOT = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
RECORD = {
    "page": "x.html", "name": "n", "skater": "s", "date": "2026-01-01", "dated": True, "scored": "2026", "weights": "w",
    "sha256": None, "trained_on": "", "points": {"T": [1, None, None]}, "in_domain": True, "has_audio": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A video, its features, and a folder with its page."""
    folder = tmp_path_factory.mktemp("scored")
    make_video(folder / "v.mp4", 40)
    result = shell(
        "score", folder / "v.mp4", "--features", folder / "store", "--report", folder / "pages", "-f", "json"
    )
    assert result.exit_code == 0, result.stderr
    (folder / "v.json").write_text(result.stdout)
    return folder


def again(scored, run, pages, *options):
    """The video is scored once more, from its store, into another folder of pages."""
    return run("score", scored / "v.mp4", "--features", scored / "store", "--report", pages, "-f", "csv", *options)


# --- Compiled code ---------------------------------------------------------------------------------------------------


@AS_ROOT
@pytest.mark.parametrize("trick", ["link", "folder", "folder link", "open folder", "open file"])
def test_no_compiled_code_of_another_user_is_read(tmp_path, trick):
    """HOME is somebody else's, who has a zip of ours in reach of a link, or owns the folder."""
    cache = tmp_path / "home" / "mlavl"
    cache.mkdir(parents=True)
    target = tmp_path / "ours" / "librosa.zip"
    target.parent.mkdir()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("evil.nbi", b"")
    if trick == "link":
        (cache / "librosa.zip").symlink_to(target)
    elif trick == "folder":
        shutil.copy(target, cache / "librosa.zip")
        os.chown(cache, 1234, 1234)
    elif trick.startswith("open"):
        shutil.copy(target, cache / "librosa.zip")
        (cache if trick == "open folder" else cache / "librosa.zip").chmod(0o777)
    else:
        cache.rmdir()
        cache.symlink_to(target.parent)
        os.chown(cache, 1234, 1234, follow_symlinks=False)
    code = "from mlavl_cli.output.report import rhythm; print(list(rhythm._files(rhythm._own_folder())))"
    settings = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "home")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=settings, check=True)
    assert done.stdout == "[]\n"


# --- Histories and indices -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fingerprint", [{}, [], 0, False, 1.5])
def test_a_fingerprint_that_is_no_word_is_left_out(run, tmp_path, fingerprint):
    lines = [json.dumps(RECORD), json.dumps({**RECORD, "page": "y.html", "sha256": fingerprint})]
    (tmp_path / "history.jsonl").write_text("\n".join(lines) + "\n")
    result = run("history", tmp_path, "-f", "json")
    assert result.exit_code == 0, result.stderr
    assert len(result.json()) == 1


def test_a_history_of_very_many_weights_takes_time_in_proportion(run, tmp_path, monkeypatch):
    from mlavl_cli.output.report import history as drawing

    def page_of(count):
        records = [{**RECORD, "page": f"{i}.html", "skater": f"s{i % 50}", "sha256": str(i)} for i in range(count)]
        (tmp_path / "history.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
        asked = []
        monkeypatch.setattr(drawing.Record, "by", property(lambda one: asked.append(1) or (one.weights, one.sha256)))
        assert run("history", tmp_path).exit_code == 0
        return len(asked)

    assert page_of(800) <= 2.5 * page_of(400)


def test_one_endless_line_of_a_history_takes_no_memory(tmp_path):
    (tmp_path / "history.jsonl").write_text("[" + '{"":[]},' * 3_000_000 + "0]\n" + json.dumps(RECORD) + "\n")
    assert alone("history", tmp_path, "-f", "csv")[2] < 300


def test_an_index_of_very_many_parts_takes_no_memory(tmp_path):
    rows = '{"":{}},' * 3_000_000
    data = f'<script type="application/json" id="data">{{"routines":[{rows}0]}}</script>'
    (tmp_path / "index.html").write_text(data)
    code = (
        "import sys; from pathlib import Path; from mlavl_cli.output.report.index import read_index\n"
        f"print(len(read_index(Path(sys.argv[1]))), {HELD})"
    )
    settings = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, env=settings)
    count, memory = map(int, done.stdout.split())
    assert count == 0
    assert memory < 500


def test_a_history_that_broke_off_loses_nothing(run, scored, tmp_path):
    pages = tmp_path / "pages"
    shutil.copytree(scored / "pages", pages)
    lines = (pages / "history.jsonl").read_text().replace("v.mp4", "w.mp4")
    (pages / "history.jsonl").write_text(lines.rstrip("\n"))  # as an editor leaves it
    assert again(scored, run, pages).exit_code == 0
    assert {Path(one["name"]).name for one in run("history", pages, "-f", "json").json()} == {"v.mp4", "w.mp4"}


def test_a_large_index_keeps_its_rows_and_its_name(tmp_path):
    picture = "data:image/jpeg;base64," + "A" * 8000
    for i in range(12_000):
        (tmp_path / f"{i}.html").touch()
    entries = [Entry(f"{i}.html", f"{i}", "w", {"TES": 1.0}, None, 1.0, [], "", True, picture) for i in range(12_000)]
    (tmp_path / "index.html").write_text(index(entries))
    assert (tmp_path / "index.html").stat().st_size < 64 << 20
    known = read_index(tmp_path)
    assert [one.page for one in known] == [one.page for one in entries]
    assert known[0].thumbnail == picture
    assert known[-1].thumbnail == ""


def test_one_odd_row_of_an_index_costs_no_other(tmp_path):
    good = {
        "page": "a.html", "name": "a", "weights": "w", "scores": {"TES": 1.0}, "consistency": None, "duration_s": 1.0,
        "warnings": [],
    }  # fmt: skip
    (tmp_path / "a.html").touch()
    odd = [{**good, "spare": 1}, {**good, "page": "x" * 4000}, 3, {**good, "scores": {"<" * 5000: 1.0}}, None]
    data = json.dumps({"routines": [*odd, good]})
    (tmp_path / "index.html").write_text(f'<script type="application/json" id="data">{data}</script>')
    assert [one.page for one in read_index(tmp_path)] == ["a.html"]


def test_an_index_of_openings_without_end_is_read_at_once(tmp_path):
    """Each would be looked for its end in vain."""
    (tmp_path / "index.html").write_text('<script type="application/json" id="data">' * 200_000)
    assert read_index(tmp_path) == []


def test_rows_of_a_stranger_cost_no_others(tmp_path):
    """More targets than an index has columns, and brackets in texts, which are no parts."""
    honest = [Entry(f"{i}.html", "[" * 2000, "{" * 500, {"TES": 1.0}, None, 1.0, ['"[\\'] * 9) for i in range(60)]
    theirs = [Entry(f"x{n}.html", "x", "w", {f"{n} {i}": 1.0 for i in range(60)}, None, 1.0, []) for n in range(2)]
    for one in (*honest, *theirs):
        (tmp_path / one.page).touch()
    for _ in range(2):
        page = index([*theirs, *honest])
        (tmp_path / "index.html").write_text(page)
        assert page.count("<th ") == 64 + 5
        assert ">TES<" in page
        assert read_index(tmp_path) == [*theirs, *honest]


def test_a_history_of_long_names_and_many_targets_makes_a_bounded_page(tmp_path):
    from mlavl_cli.output.report.history import history_page
    from mlavl_cli.output.report.season import read_history

    points = {f"T{i}": [1, None, None] for i in range(64)}
    lines = [json.dumps({**RECORD, "page": f"{i}.html", "name": "&" * 4096, "points": points}) for i in range(400)]
    (tmp_path / "history.jsonl").write_text("\n".join(lines))
    page = history_page(read_history(tmp_path), "skater", "index.html")
    assert len(page) < 150 << 20
    assert "Of 400 scores the newest" in page


def test_a_history_is_read_from_its_end(run, tmp_path, monkeypatch):
    from mlavl_cli.output.report import season

    lines = [json.dumps({**RECORD, "page": f"{i}.html", "date": f"2026-01-{i:02}"}) for i in range(1, 29)]
    (tmp_path / "history.jsonl").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(season, "_MOST_BYTES", 10 * len(lines[0]))
    assert [one["date"] for one in run("history", tmp_path, "-f", "json").json()][-1] == "2026-01-28"
    monkeypatch.setattr(season, "_MOST_BYTES", 1 << 20)
    monkeypatch.setattr(season, "_MOST_RECORDS", 5)
    assert [one["date"][-2:] for one in run("history", tmp_path, "-f", "json").json()] == ["24", "25", "26", "27", "28"]


def test_very_many_short_lines_of_a_history_take_no_memory(tmp_path):
    (tmp_path / "history.jsonl").write_text("\u0100\n" * 8_000_000 + json.dumps(RECORD) + "\n", "utf-8")
    assert alone("history", tmp_path, "-f", "csv")[2] < 250


def test_the_last_scoring_of_a_video_is_the_last_of_its_history(tmp_path):
    from mlavl_cli.output.report.season import Record, append_history, read_history

    one, other = (
        Record(**{**RECORD, "points": {"T": (1.0, None, None)}, "weights": weights}) for weights in ("a", "b")
    )
    for at, record in enumerate((one, other, one, one)):
        append_history(tmp_path, [replace(record, scored=f"2026-01-0{at + 1}")])
    assert max(read_history(tmp_path), key=lambda found: found.scored).weights == "a"
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize("name", ["index.html", "history.html", "history.jsonl", ".index.lock"])
def test_a_folder_called_like_a_file_of_ours_has_pages(run, scored, tmp_path, name):
    for folder in (name, "z"):
        (tmp_path / "in" / folder).mkdir(parents=True)
        shutil.copy(scored / "v.mp4", tmp_path / "in" / folder / "v.mp4")
    inputs = [tmp_path / "in" / folder / "v.mp4" for folder in (name, "z")]
    result = run("score", *inputs, "--report", tmp_path / "pages", "-f", "csv")
    assert result.exit_code == 0, result.stderr
    assert len(run("history", tmp_path / "pages", "-f", "json").json()) == 2
    assert len(read_index(tmp_path / "pages")) == 2


def test_an_index_that_cannot_be_written_costs_no_history(run, scored, tmp_path):
    (tmp_path / "pages").mkdir()
    os.mkfifo(tmp_path / "pages" / "index.html")
    result = again(scored, run, tmp_path / "pages")
    assert result.exit_code == 1
    assert "index.html" in result.errors[0]
    assert len(run("history", tmp_path / "pages", "-f", "json").json()) == 1


# --- Names -----------------------------------------------------------------------------------------------------------


def test_a_folder_called_like_a_page_leaves_the_video_its_own(run, scored, tmp_path):
    (tmp_path / "v.mp4.html").mkdir()
    assert again(scored, run, tmp_path).exit_code == 0
    (page,) = (path for path in tmp_path.rglob("v.mp4.html") if path.is_file())
    assert "v.mp4" in (tmp_path / "index.html").read_text()
    assert page.parent != tmp_path


def test_names_too_long_for_a_page_are_cut(run, scored, tmp_path):
    names = ["x" * 247 + ".mp4", "滑" * 80 + ".mp4", "冰" * 80 + ".mp4"]
    for name in names:
        shutil.copy(scored / "v.mp4", tmp_path / name)
    for _ in range(2):  # and found again
        result = run("score", *(tmp_path / name for name in names), "--report", tmp_path / "pages", "-f", "csv")
        assert result.exit_code == 0, result.stderr
        assert len(read_index(tmp_path / "pages")) == 3
    compared = run("compare", *(tmp_path / name for name in names[1:]), "--report", tmp_path / "both")
    assert compared.exit_code == 0, compared.stderr
    assert len(list((tmp_path / "both").glob("*.html"))) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
def test_a_name_that_is_no_utf8_stays_in_index_and_history(run, scored, tmp_path):
    name = os.fsdecode(b"\xff\xfe.mp4")
    shutil.copy(scored / "v.mp4", tmp_path / name)
    for _ in range(3):
        result = run("score", tmp_path / name, "--report", tmp_path / "pages", "-o", tmp_path / "s.csv")
        assert result.exit_code == 0, result.stderr
        assert again(scored, run, tmp_path / "pages").exit_code == 0
    assert len(read_index(tmp_path / "pages")) == 2
    assert len((tmp_path / "pages" / "history.jsonl").read_text().splitlines()) == 2


def test_a_plot_of_a_name_with_control_characters_is_an_image(run, scored, tmp_path):
    import xml.etree.ElementTree as ET

    shutil.copy(scored / "v.mp4", tmp_path / "c\x01\x1b$.mp4")
    assert run("score", tmp_path / "c\x01\x1b$.mp4", "--plot", tmp_path / "p.svg").exit_code == 0
    ET.parse(tmp_path / "p.svg")


@pytest.mark.parametrize("domain", ["x", [1], 3])
def test_a_take_of_an_odd_domain_is_one_line(run, scored, tmp_path, domain):
    written = json.loads((scored / "v.json").read_text())
    written = written[0] if isinstance(written, list) else written
    (tmp_path / "odd.json").write_text(json.dumps({**written, "domain": domain}))
    result = run("compare", scored / "v.json", tmp_path / "odd.json")
    assert result.exit_code == 1
    assert "can't be read as the score of one video" in result.stderr


# --- Links of others -------------------------------------------------------------------------------------------------


@AS_ROOT
def test_results_follow_no_link_of_another_user_in_a_folder_for_all(run, scored, tmp_path):
    everybodys = tmp_path / "tmp"
    everybodys.mkdir()
    everybodys.chmod(0o1777)
    (tmp_path / "mine").write_text("mine")
    for name, owner in (("theirs.jsonl", 1234), ("own.jsonl", 0)):
        (everybodys / name).symlink_to(tmp_path / "mine")
        os.chown(everybodys / name, owner, owner, follow_symlinks=False)
    features = ("--features", scored / "store")
    result = run("score", scored / "v.mp4", *features, "--output", everybodys / "theirs.jsonl")
    assert result.exit_code == 2
    assert "a link of another user" in result.stderr
    assert (tmp_path / "mine").read_text() == "mine"
    (tmp_path / "site").mkdir()
    (everybodys / "pages").symlink_to(tmp_path / "site")
    os.chown(everybodys / "pages", 1234, 1234, follow_symlinks=False)
    for option in ("--report", "--vtt", "--features"):
        result = run("score", scored / "v.mp4", *features, option, everybodys / "pages")
        assert (result.exit_code, len(result.errors)) == (2, 1)
        assert list((tmp_path / "site").iterdir()) == []
    assert run("score", scored / "v.mp4", *features, "--output", everybodys / "own.jsonl").exit_code == 0
    assert "mine" not in (tmp_path / "mine").read_text()


def test_lines_are_added_to_the_file_that_was_begun(tmp_path, monkeypatch):
    (tmp_path / "foreign").write_text("foreign")

    def settle_and_swap(lines):
        settled(lines)
        if not (tmp_path / "moved").exists():
            (tmp_path / "o.jsonl").rename(tmp_path / "moved")
            (tmp_path / "o.jsonl").symlink_to(tmp_path / "foreign")

    settled = growing._Lines.settle
    monkeypatch.setattr(growing._Lines, "settle", settle_and_swap)
    with growing.growing_write(tmp_path / "o.jsonl") as file:
        file.write("one\n")
        file.flush()
        file.write("two\n")
        file.flush()
    assert (tmp_path / "foreign").read_text() == "foreign"
    assert (tmp_path / "moved").read_text() == "one\ntwo\n"
    assert stat.S_IMODE((tmp_path / "moved").stat().st_mode) & 0o600 == 0o600


# --- Checkpoints, states, labels -------------------------------------------------------------------------------------


class Shadowed:
    """A tensor, or a dict, with attributes in the place of its methods."""

    def __init__(self, inside, attributes):
        self.inside, self.attributes = inside, attributes

    def __reduce__(self):
        if isinstance(self.inside, dict):
            return collections.OrderedDict, (), self.attributes, None, iter(self.inside.items())
        hooks = collections.OrderedDict()
        return torch._utils._rebuild_parameter_with_state, (self.inside, False, hooks, self.attributes)


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("name", ["items", "get", "values", "keys", "is_floating_point", "float", "to", "view"])
def test_attributes_of_a_checkpoint_take_no_methods_place(tmp_path, name, old):
    weights = {"w": torch.arange(3.0)}
    evil = Shadowed({"w": Shadowed(weights["w"], {name: 5})}, {name: 5})
    torch.save(evil, tmp_path / "c.pth", _use_new_zipfile_serialization=not old)
    state = read_state(tmp_path / "c.pth")
    assert list(state) == ["w"]
    assert state["w"].float().tolist() == [0.0, 1.0, 2.0]


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_nested_tensors_are_refused(tmp_path):
    nested = torch.nested.nested_tensor([torch.zeros(2, 2), torch.zeros(3, 2)])
    torch.save({"w": nested}, tmp_path / "c.pth")
    with pytest.raises(pickle.UnpicklingError):
        read_torch(tmp_path / "c.pth")


@pytest.mark.parametrize(
    "state",
    [{1: torch.zeros(3)}, {"a.resblocks.x": torch.zeros(3)}, {"a.resblocks.0.attn.in_proj_weight": torch.zeros(2, 2)}],
)
def test_a_checkpoint_of_a_text_tower_that_is_none_is_one_line(run, tmp_path, state):
    torch.save(state, tmp_path / "c.pth")
    tower = ROOT / "weights" / "mini" / "backbones" / "text"
    result = run("prompts", "encode", "-o", tmp_path / "e.npy", "--text", tower, "--checkpoint", tmp_path / "c.pth")
    assert (result.exit_code, len(result.errors)) == (1, 1), result.stderr
    assert "c.pth" in result.errors[0]
    assert "internal error" not in result.errors[0]


def test_a_line_of_an_error_has_an_end(run, tmp_path):
    torch.save({"x" * 5_000_000: torch.zeros(1)}, tmp_path / "c.pth")
    result = run(
        "weights", "import", tmp_path / "c.pth", "--model", "usdl", "-t", "TES", "--range", "0:9",
        "--backbones", "fisv", "-o", tmp_path / "o",
    )  # fmt: skip
    assert result.exit_code == 1
    assert len(result.stderr) < 5000


def test_nan_in_the_best_weights_of_a_run_reaches_no_bundle(run, tmp_path):
    root = layouts.fisv(tmp_path / "d")
    words = ("train", "fisv", root, "-o", tmp_path / "b", "--model", "lstm", "-t", "TES", "-q", "--epochs")
    assert run(*words, 1).exit_code == 0
    before = (tmp_path / "b" / "heads" / "TES.safetensors").read_bytes()
    best = tmp_path / "b" / "runs" / "TES" / "lstm" / "best_srcc.pt"
    state = torch.load(best, weights_only=True)
    torch.save({name: torch.full_like(tensor, torch.nan) for name, tensor in state.items()}, best)
    result = run(*words, 1)
    assert (result.exit_code, len(result.errors)) == (1, 1), result.stderr
    assert "NaN" in result.errors[0]
    assert (tmp_path / "b" / "heads" / "TES.safetensors").read_bytes() == before


def test_scores_of_logo_that_are_texts_are_numbers(tmp_path):
    root = layouts.logo(tmp_path / "d")
    source = next(root.rglob("anno_dict.pkl"))
    known = pickle.loads(source.read_bytes())
    source.write_bytes(pickle.dumps({key: f"{50 + i}.25" for i, key in enumerate(known)}))
    scores = {one.scores["LOGO"] for found in load_logo(root).splits.values() for one in found}
    assert len(scores) > 3
    assert all(score >= 50 and score % 1 == 0.25 for score in scores)


def test_a_file_in_logos_place_is_one_line(run, tmp_path):
    (tmp_path / "f").touch()
    result = run("train", "logo", tmp_path / "f", "-o", tmp_path / "o")
    assert (result.exit_code, len(result.errors)) == (1, 1)
    assert "no such folder" in result.errors[0]


@pytest.mark.parametrize(
    ("table", "cause"),
    [
        ([np.zeros((4000, 64), bool)] * 14, "many ids"),
        ([b"a" * 100_000, *[b"b"] * 300], "no array of numbers"),
        (["1", "2"], "no array of numbers"),
        (np.zeros((5, 1024), complex), "no array of numbers"),
        (np.full((5, 1024), 1e300), "NaN or infinity"),
    ],
)
def test_tables_of_fisv_are_arrays_of_their_own_numbers(run, tmp_path, table, cause):
    root = layouts.fisv(tmp_path / "d")
    source = root / "FISV_rgb_VST.npy"
    known = np.load(source, allow_pickle=True).item()
    with source.open("wb") as file:
        np.save(file, np.array({**known, next(iter(known)): table}, object), allow_pickle=True)
    result = run("train", "fisv", root, "-o", tmp_path / "o", "--model", "gdlt", "--epochs", 1, "-t", "TES")
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1), result.stderr
    assert cause in result.stderr


def test_a_list_of_prompts_is_not_cut(run, tmp_path):
    rows = "".join(f"{i},action {i}\n" for i in range(20_001))
    (tmp_path / "p.csv").write_text("id,name\n" + rows)
    result = run("prompts", "list", "--prompts", tmp_path / "p.csv")
    assert result.exit_code == 1
    assert "more than the 4,096 actions" in result.stderr


def test_a_target_is_text_in_markdown(run, scored, tmp_path):
    name = "<img src=x onerror=alert(1)>"
    written = json.loads((scored / "v.json").read_text())
    written = written[0] if isinstance(written, list) else written
    written["scores"] = {name: next(iter(written["scores"].values()))}
    (tmp_path / "a.json").write_text(json.dumps(written))
    result = run("compare", tmp_path / "a.json", tmp_path / "a.json", "-f", "markdown")
    assert result.exit_code == 0, result.stderr
    assert "<img" not in result.stdout
    assert "&lt;img" in result.stdout
    written["scores"] = {"![x](http://example.org/p.png)": next(iter(written["scores"].values()))}
    (tmp_path / "a.json").write_text(json.dumps(written))
    assert "](" not in run("compare", tmp_path / "a.json", tmp_path / "a.json", "-f", "markdown").stdout


def test_a_note_of_many_dashes_takes_no_time(run, tmp_path):
    """In a timeline `-->` means something; what looked at each dash anew took a minute."""
    video = make_video(tmp_path / "v.mp4", 40)
    assert run("extract-features", video, "-o", tmp_path / "s").exit_code == 0
    (stored,) = (tmp_path / "s").glob("*.safetensors")
    features = read_features(stored)
    write_features(stored, replace(features, warnings=("-" * 4096,) * 1000))
    command = ("score", video, "--features", tmp_path / "s", "--vtt", tmp_path / "t", "-f", "csv", "-q")
    assert run(*command).exit_code == 0
    (timeline,) = (tmp_path / "t").rglob("*.vtt")
    assert "-" * 4096 in timeline.read_text()


def test_accents_without_end_are_cut():
    """Which are put in an order of their own, each compared with all before it."""
    marks = "\u0301\u0316" * 400_000
    assert together(["Anna" + marks, "Anna" + marks, "Bo"])[0] != "bo"
    assert len(_plain("Anna" + marks)) < 1000


def test_a_table_shows_as_much_of_a_cell_as_a_terminal_can(capsys):
    print_rows([{"who": " " * 4000 + "x", "name": "y" * 9000}], "table")
    shown = capsys.readouterr().out
    assert "x" in shown
    assert len(shown) < 9000


def test_scores_that_span_no_range_are_refused_before_training(run, tmp_path):
    rng = np.random.default_rng(0)
    rows = ["path,split,Foo"]
    for i in range(4):
        np.save(tmp_path / f"{i}.npy", rng.normal(size=(4, 8)).astype("f4"))
        rows.append(f"{i}.npy,{'train' if i < 2 else 'test'},{'1e300' if i == 0 else i}")
    (tmp_path / "m.csv").write_text("\n".join(rows))
    result = run("train", "manifest", tmp_path / "m.csv", "-o", tmp_path / "b", "--model", "svr")
    assert result.exit_code == 1
    assert "span no range" in result.errors[-1]
