"""Protocols, maps, hubs, labels and outputs of strangers: what the thirteenth review found, each kind with its line."""

import http.server
import json
import os
import pickle
import resource
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import make_video
from datasets import layouts

from mlavl_cli.bundle import find_bundle, read_bundle, write_bundle
from mlavl_cli.datasets.unpickle import read_array, read_pickle
from mlavl_cli.errors import DataError, WeightsError
from mlavl_cli.heads.dims import HeadDims
from mlavl_cli.protocols.words import read_pages
from mlavl_cli.simulate.collection import TARGETS
from mlavl_cli.training.push import model_card, push_bundle

ROOT = Path(__file__).parents[1]


def command(*words, **environment):
    """A run in a process of its own."""
    settings = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(
        [sys.executable, "-m", "mlavl_cli", *map(str, words)], env={**os.environ, **settings}, capture_output=True,
        timeout=90, stdin=subprocess.DEVNULL, text=True,
    )  # fmt: skip


def one_error(done, code=1):
    assert done.returncode == code, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "internal error" not in line
    return line


# --- Protocols -------------------------------------------------------------------------------------------------------


def pdf(path, content, unicode_map=b"", times=1):
    """A page that shows a content stream (several times), with a font whose letters mean what a map says."""
    parts = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Resources<</Font<</F 5 0 R>>>>/Contents["
        + b"4 0 R " * times + b"]>>",
        stream(content),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/ToUnicode 6 0 R>>",
        stream(unicode_map),
    ]  # fmt: skip
    data = b"%PDF-1.5\n"
    places = []
    for number, part in enumerate(parts, 1):
        places.append(len(data))
        data += b"%d 0 obj\n" % number + part + b"\nendobj\n"
    table = len(data)
    data += b"xref\n0 %d\n0000000000 65535 f \n" % (len(parts) + 1)
    data += b"".join(b"%010d 00000 n \n" % place for place in places)
    path.write_bytes(data + b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (len(parts) + 1, table))
    return path


def stream(content):
    packed = zlib.compress(content)
    return b"<</Length %d/Filter/FlateDecode>>stream\n" % len(packed) + packed + b"\nendstream"


def meaning(text):
    """A map by which the letter A means a text."""
    code = text.encode("utf-16-be").hex().encode()
    return (
        b"/CIDInit /ProcSet findresource begin begincmap 1 begincodespacerange <00> <ff> endcodespacerange "
        b"1 beginbfchar <41> <" + code + b"> endbfchar endcmap end"
    )


WORDS = b"BT /F 8 Tf 50 800 Td (JUDGES DETAILS PER SKATER) Tj ET BT /F 8 Tf 50 700 Td (%s) Tj ET"


@pytest.mark.parametrize("letter", ["/ ", ".", "\N{LATIN SMALL LETTER E WITH ACUTE}"])
def test_a_letter_of_a_protocol_that_means_a_book_is_no_word(tmp_path, letter):
    path = pdf(tmp_path / "p.pdf", WORDS % (b"A" * 50), meaning(letter * 100_000))
    start = time.monotonic()
    with pytest.raises(DataError, match="asks for more memory, time or pages"):
        read_pages(path)
    assert time.monotonic() - start < 30


def test_what_the_library_says_of_a_protocol_has_no_end_and_is_not_kept(tmp_path):
    bad = b"/" + b"A" * 200_000 + b" g "
    path = pdf(tmp_path / "p.pdf", bad + WORDS % b"x", times=200)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        read_pages(path)
    except DataError as error:
        assert "asks for more" in str(error)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KB


def test_an_honest_page_is_read(tmp_path):
    path = pdf(tmp_path / "p.pdf", WORDS % b"B", meaning("C"))
    assert [word.text for line in read_pages(path)[0] for word in line][-1] == "B"


def test_a_map_of_very_many_columns_takes_no_memory(tmp_path):
    from protocols.sheets import LATER, Sheet  # noqa: F401 - the PDF library is there

    (tmp_path / "videos").mkdir()
    wide = "skater,path," + ",".join(f"c{at}" for at in range(400_000)) + "\n" + "a,b\n" * 1000
    (tmp_path / "map.csv").write_text(wide)
    from mlavl_cli.protocols.match import read_map

    with pytest.raises(DataError, match="400002 columns"):
        read_map(tmp_path / "map.csv", [], [])
    (tmp_path / "map.csv").write_text("skater,path\n" + "a,b\n" * 10)
    with pytest.raises(DataError, match="10 rows for 0 performances"):
        read_map(tmp_path / "map.csv", [], [])


def test_names_that_no_table_can_hold_are_left_out(run, tmp_path, monkeypatch):
    import mlavl_cli.protocols.labels as module
    from mlavl_cli.protocols.performance import Performance

    for name in ("Bo BERG FS;=HYPERLINK(1).mp4", "Dee \x1b[31mKIM FS.mp4", "Ana EXAMPLE FS.mp4"):
        make_video(tmp_path / "videos" / name, 34)
    names = ["Bo BERG", "Dee KIM", "Ana EXAMPLE"]
    rows = [Performance(n, "NED", "Cup", "MEN", "FREE SKATING", 1, 9, 4, 5, 0, (), {}, "p.pdf", 1, ()) for n in names]
    monkeypatch.setattr(module, "read_protocols", lambda paths: module.Protocols(rows, [], [], []))
    monkeypatch.setattr(module, "label_rows", lambda rows, pool: [{"skater": one.skater, "TES": "4"} for one in rows])
    result = run("labels", "p.pdf", "--videos", tmp_path / "videos", "-o", tmp_path / "m.csv", "--yes")
    assert "no table can hold this name" in result.stderr
    assert "\x1b" not in result.stderr + result.stdout
    written = (tmp_path / "m.csv").read_text()
    assert "Ana EXAMPLE" in written
    assert "HYPERLINK" not in written
    assert "\x1b" not in written


@pytest.mark.parametrize("folder", ["-", "a.mp4", "gone"])
def test_videos_are_a_folder(run, tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    make_video(tmp_path / "a.mp4", 34)
    result = run("labels", "p.pdf", "--videos", folder)
    assert result.exit_code == 2
    assert "no such folder" in result.errors[0]


# --- Hubs ------------------------------------------------------------------------------------------------------------


class Odd(http.server.BaseHTTPRequestHandler):
    """A hub that answers each question in its own way."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        kind, size = self.server.kind, "250"
        etag = {"etag": str(self.server.outside / "evil"), "up": "../../../../../evil"}.get(kind, "a" * 40)
        self.send_response(200)
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", "c" * 40)
        endless = kind.startswith("endless") and self.command == "GET"
        if endless or kind == "endless-unknown":
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", size)
        self.end_headers()
        if self.command == "HEAD":
            return
        try:
            if endless:
                for _ in range(300):
                    self.wfile.write(b" " * (1 << 20))
                self.close_connection = True
            else:
                self.wfile.write(b" " * 250)
        except OSError:
            pass


@pytest.mark.parametrize("kind", ["etag", "up", "endless", "endless-unknown"])
def test_a_hub_writes_nothing_elsewhere_and_no_more_than_it_says(tmp_path, kind):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Odd)
    server.kind, server.outside = kind, tmp_path / "outside"
    server.outside.mkdir()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        done = command(
            "weights", "info", "me/x", HF_HUB_OFFLINE="0", HF_HOME=str(tmp_path / "home"), HF_HUB_DISABLE_XET="1",
            HF_ENDPOINT=f"http://127.0.0.1:{server.server_address[1]}",
        )  # fmt: skip
    finally:
        server.shutdown()
        server.server_close()
    line = one_error(done)
    assert line.startswith("error: me/x")
    assert not list(server.outside.iterdir())
    assert not list(tmp_path.glob("evil*"))
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 8 << 20


@pytest.fixture
def bundle(tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(find_bundle("mini").folder, folder)
    return folder


@pytest.mark.parametrize("name", ["README.md", ".env", "a//b.json", "./a.json", "bundle.json", "../x.json", "id_rsa"])
def test_only_what_can_be_fetched_is_pushed(bundle, name):
    (bundle / "README.md").write_text("my own notes")
    about = json.loads((bundle / "bundle.json").read_text())
    about["files"][name] = "0" * 64
    (bundle / "bundle.json").write_text(json.dumps(about))
    with pytest.raises(WeightsError, match="lists files that nobody could fetch"):
        push_bundle(read_bundle(bundle), "me/x")
    assert (bundle / "README.md").read_text() == "my own notes"


def test_a_card_holds_no_markup_of_a_bundle(bundle):
    from dataclasses import replace

    odd = "x\n# Heading\n<script>alert(1)</script>[a](javascript:1)|```"
    own = read_bundle(bundle)
    metrics = {odd: {"dataset": odd, "split": "test", "n": 3, "srcc": 0.5, "mse": 1.0}}
    card = model_card(replace(own, sport=odd, trained_on=odd, licence=odd, name=odd, metrics=metrics), "me/x")
    _, head, card = card.split("---\n", 2)
    assert len(head.splitlines()) == 8  # yaml, in quotes
    assert "<script" not in card
    assert "\n# Heading" not in card
    assert "[a](" not in card.replace("\\[a\\](", "")
    assert not [line for line in card.splitlines() if line.startswith("```") and line not in ("```", "```sh")]
    with pytest.raises(WeightsError, match="metrics that are none"):
        write_bundle(replace(own, metrics={"TES": {"n": "many"}}))
        push_bundle(read_bundle(bundle), "me/x")


# --- Labels ----------------------------------------------------------------------------------------------------------


def test_an_array_is_never_made_of_a_number(tmp_path):
    made = b"\x80\x02}U\x011cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nU\x02i1\x85R"
    made += b"\x8a\x08" + struct.pack("<q", 4_000_000_000) + b"\x86Rs."
    (tmp_path / "a.pkl").write_bytes(made)
    with pytest.raises(DataError, match="an array of int"):
        read_pickle(tmp_path / "a.pkl")


def test_zeros_behind_a_pickle_buy_it_nothing(tmp_path):
    made = b"\x80\x02}U\x011]q\x000"
    for at in range(6):
        made += b"](" + (b"h" + bytes([at])) * 10 + b"eq" + bytes([at + 1]) + b"0"
    made += b"h\x06s."
    with (tmp_path / "a.pkl").open("wb") as file:
        file.write(made + bytes(2_000_000))
    with pytest.raises(DataError, match="the same parts again and again"):
        read_pickle(tmp_path / "a.pkl")


def test_what_is_shared_stays_shared(tmp_path):
    scores = [1.0, np.arange(3.0)]
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"a": scores, "b": scores}))
    found = read_pickle(tmp_path / "a.pkl")
    assert found["a"] is found["b"]
    np.testing.assert_array_equal(found["b"][1], [0, 1, 2])


@pytest.mark.parametrize("dtype", ["'<U0'", "'|S0'", "[('a','<f4',(0,))]", "'<M8[s]'", "'<c16'"])
def test_arrays_of_no_numbers_are_refused_at_once(tmp_path, dtype):
    header = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': (500000, 2048), }}".encode()
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + header.ljust(117) + b"\n"
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(DataError, match="no plain numpy array"):
        read_array(tmp_path / "a.npy")


@pytest.mark.parametrize("link", [os.link, os.symlink])
@pytest.mark.parametrize("kind", ["logo", "fs1000", "manifest"])
def test_one_file_is_one_routine_under_whatever_links(run, tmp_path, link, kind):
    if kind == "manifest":
        for at in range(3):
            np.save(tmp_path / f"{at}.npy", np.full((4, 8), at, np.float32))
        np.save(tmp_path / "flow.npy", np.zeros((4, 8), np.float32))
        link(tmp_path / "flow.npy", tmp_path / "other.npy")
        rows = ["0.npy,train,1,flow.npy", "1.npy,train,2,other.npy", "2.npy,test,3,"]
        (tmp_path / "m.csv").write_text("path,split,TES,flow\n" + "\n".join(rows) + "\n")
        result = run("train", "manifest", tmp_path / "m.csv", "--model", "svr", "-o", tmp_path / "o")
    else:
        root = layouts.MAKERS[kind](tmp_path / kind)
        one, other = sorted(next(path.parent for path in root.rglob("*.npy")).glob("*.npy"))[:2]
        other.unlink()
        link(one, other)
        result = run("train", kind, root, "--model", "svr", "-o", tmp_path / "o")
    assert result.exit_code == 1
    assert "gives two routines one file of features" in result.errors[-1]


def test_a_wide_window_costs_no_memory_by_batches(tmp_path):
    from mlavl_cli.datasets.dataset import Routine
    from mlavl_cli.heads.checkpoint import TargetHead
    from mlavl_cli.heads.methods import head_class
    from mlavl_cli.training.evaluate import of_head

    kind = head_class("gdlt")
    head = TargetHead(kind(kind.Dims(visual_dim=8, actions=1, audio_dim=0)), "TES", (0.0, 130.0), ("bad",), window=512)
    routines = [Routine(str(at), np.zeros((4, 8), np.float32), None, {"TES": 5.0}) for at in range(70)]
    batches = list(of_head(head, routines, 64).in_order())
    assert max(batch.visual.shape[0] for batch in batches) * 512**2 <= 1 << 22
    assert sum(batch.visual.shape[0] for batch in batches) == 70
    with pytest.raises(WeightsError, match="64 attention heads"):
        HeadDims(visual_dim=8, actions=1, width=256, heads=64)


# --- Outputs ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for at in range(5):
        make_video(folder / f"{at}.mp4", 330)
    return folder


@pytest.mark.parametrize("how", ["pipe", "limit"])
def test_results_that_cannot_be_written_end_the_run(videos, tmp_path, how):
    """Videos are left to decode, and nobody reads on."""
    script = {
        "pipe": f"{sys.executable} -m mlavl_cli score {videos} -q -f jsonl | head -c 10 >{tmp_path}/head",
        "limit": f"ulimit -f 8; {sys.executable} -m mlavl_cli score {videos} -q -f jsonl -o {tmp_path}/o.jsonl",
    }[how]
    begun = subprocess.Popen(
        ["bash", "-c", script], start_new_session=True, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        _, said = begun.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        os.killpg(begun.pid, signal.SIGKILL)
        raise
    assert b"Traceback" not in said
    assert how == "pipe" or b"can't be written" in said


@pytest.mark.slow
@pytest.mark.parametrize("names", [["SIGINT"] * 4, ["SIGHUP", "SIGTERM", "SIGINT"], ["SIGTERM", "SIGTERM"]])
def test_being_told_again_and_again_is_no_traceback(videos, tmp_path, names):
    process = subprocess.Popen(
        [sys.executable, "-m", "mlavl_cli", "score", videos, "-q", "-f", "jsonl", "-o", tmp_path / "o.jsonl"],
        stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    time.sleep(5)  # somewhere in the middle
    for name in names:
        process.send_signal(getattr(signal, name))
        time.sleep(0.02)
    _, said = process.communicate(timeout=60)
    assert process.returncode in (
        130,
        *(-getattr(signal, name) for name in ["SIGINT", *names]),
    )  # it may be over
    assert "Traceback" not in said
    if (tmp_path / "o.jsonl").exists():
        assert all(json.loads(line)["scores"] for line in (tmp_path / "o.jsonl").read_text().splitlines())
    assert not list(tmp_path.glob(".*.part"))


@pytest.mark.parametrize(
    "options",
    [
        ["-f", "json", "--output", "o.svg", "--plot", "o.svg"],
        ["--report", "rep", "--output", "rep/v.mp4.html"],
        ["--report", "rep", "--output", "rep/index.html"],
        ["--clips-csv", "vt/v.mp4.vtt", "--vtt", "vt"],
    ],
)
def test_results_do_not_take_each_others_place(run, tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    make_video(tmp_path / "v.mp4", 40)
    result = run("score", "v.mp4", *options)
    assert result.exit_code == 2
    assert "is used twice" in result.errors[0]


@pytest.mark.parametrize("name", ["bundle.json", "history.jsonl"])
def test_results_take_no_place_of_a_bundles_list_or_of_a_history(run, tmp_path, name):
    (tmp_path / name).write_text("{}")
    result = run("score", make_video(tmp_path / "v.mp4", 40), "--format", "csv", "--output", tmp_path / name)
    assert result.exit_code == 2
    assert "results can't be written there" in result.errors[0]
    assert (tmp_path / name).read_text() == "{}"


def test_predictions_do_not_take_the_place_of_the_labels(run, tmp_path):
    for at in range(4):
        make_video(tmp_path / f"{at}.mp4", 40)
    labels = tmp_path / "m.csv"
    labels.write_text("path,split,TES\n" + "\n".join(f"{at}.mp4,test,{at + 1}" for at in range(4)) + "\n")
    before = labels.read_text()
    result = run("evaluate", "manifest", labels, "--predictions", labels)
    assert result.exit_code == 2
    assert "holds what is read" in result.errors[0]
    assert labels.read_text() == before
    video = (tmp_path / "0.mp4").read_bytes()
    assert run("evaluate", "manifest", labels, "--predictions", tmp_path / "0.mp4").exit_code == 2
    assert (tmp_path / "0.mp4").read_bytes() == video
    (tmp_path / "m.svg").write_text(before)
    assert (
        run("train", "manifest", tmp_path / "m.svg", "--plot", tmp_path / "m.svg", "-o", tmp_path / "o").exit_code == 2
    )
    assert (tmp_path / "m.svg").read_text() == before
    shutil.copytree(find_bundle("mini").folder, tmp_path / "w")
    into = tmp_path / "w" / "bundle.json"
    assert run("evaluate", "manifest", labels, "-w", tmp_path / "w", "--predictions", into).exit_code == 2
    assert read_bundle(tmp_path / "w").heads


def test_a_page_of_somebody_else_is_kept(run, tmp_path):
    video = make_video(tmp_path / "in" / "v.mp4", 40)
    (tmp_path / "rep").mkdir()
    (tmp_path / "rep" / "v.mp4.html").write_text("my home page")
    assert run("score", video, "--report", tmp_path / "rep", "-q").exit_code == 0
    assert (tmp_path / "rep" / "v.mp4.html").read_text() == "my home page"
    assert (tmp_path / "rep" / "in" / "v.mp4.html").exists()


def test_where_one_result_has_no_room_the_others_are_written(run, videos, tmp_path, monkeypatch):
    from mlavl_cli.output.formats import FORMATS

    class Full:
        def __init__(self, stream, targets, many):
            pass

        def add(self, result):
            raise OSError(28, "No space left on device")

        def close(self):
            pass

    module = type(sys)("no_room")
    module.Full = Full
    monkeypatch.setitem(sys.modules, "no_room", module)
    monkeypatch.setitem(FORMATS, "full", "no_room:Full")
    result = run("score", videos / "0.mp4", videos / "1.mp4", "-q", "-f", "full", "--vtt", tmp_path / "vt")
    assert result.exit_code == 1
    assert (tmp_path / "vt" / "0.mp4.vtt").exists()


# --- Simulated folders of strangers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", ["folder", "bytes", "pipe", "row", "formula", "truth-list", "truth-pipe", "links"])
def test_a_foreign_folder_of_simulated_routines_is_one_line_or_made_again(run, tmp_path, trouble):
    folder = tmp_path / "h"
    (folder / "truth").mkdir(parents=True)
    (folder / "videos").mkdir()
    if trouble == "folder":
        (folder / "manifest.csv").mkdir()
    elif trouble == "bytes":
        (folder / "manifest.csv").write_bytes(b"\xff\xff")
    elif trouble == "pipe":
        os.mkfifo(folder / "manifest.csv")
    elif trouble == "row":
        (folder / "manifest.csv").write_text("path,split,TES,PCS,SS,TR,PE,CO,IN\nx\n")
    elif trouble == "formula":
        (folder / "manifest.csv").write_text("path,split,TES,PCS,SS,TR,PE,CO,IN\n=cmd.mp4,train,1,1,1,1,1,1,1\n")
    elif trouble == "truth-list":
        (folder / "truth" / "arena-0-0000.json").write_text("[1]")
    elif trouble == "truth-pipe":
        os.mkfifo(folder / "truth" / "arena-0-0000.json")
    else:
        for name in ("videos", "truth"):
            (folder / name).rmdir()
            (tmp_path / "outside").mkdir(exist_ok=True)
            (folder / name).symlink_to(tmp_path / "outside")
    result = run("synthesize", folder, "-n", 1, "--seconds", "8:8", "--size", "64x64", "--style", "arena")
    assert "internal error" not in result.stderr
    assert result.exit_code == (0 if trouble == "truth-list" else 1)
    assert len(result.errors) == result.exit_code
    assert trouble != "links" or not list((tmp_path / "outside").iterdir())


@pytest.mark.parametrize("score", ["NaN", "-1e300", "1" + "0" * 400, '"x"'])
def test_a_score_that_is_none_in_a_truth_is_made_again(run, tmp_path, score):
    command = ["synthesize", tmp_path / "h", "-n", 1, "--seconds", "8:8", "--size", "64x64", "--style", "arena"]
    assert run(*command).exit_code == 0
    honest = (tmp_path / "h" / "manifest.csv").read_text()
    (path,) = (tmp_path / "h" / "truth").iterdir()
    truth = json.loads(path.read_text())
    text = path.read_text().replace(f'"TES": {truth["scores"]["TES"]}', f'"TES": {score}', 1)
    assert text != path.read_text()
    path.write_text(text)
    assert run(*command).exit_code == 0
    assert (tmp_path / "h" / "manifest.csv").read_text() == honest


@pytest.mark.parametrize(
    "changes",
    [
        {"movement_accents": [1, 2, 3]}, {"movement_accents": [["a", "b"]]}, {"fps": "x"}, {"seconds": float("nan")},
        {"scores": ["TES"]}, {"scores": None}, {"seconds": 1e9}, {"music_accents": None}, {"scores": {"TES": -1e300}},
        {"movement_accents": [[1, 1]] * 30_000}, {"scores": {"TES": 10**400}}, "deep",
    ],
)  # fmt: skip
def test_a_truth_of_somebody_else_is_one_line(tmp_path, changes):
    from mlavl_cli.training.consistency_eval import _truth

    scores = dict.fromkeys(TARGETS, 3.0)
    accents = {key: [[1, 1]] for key in ("movement_accents", "music_accents")}
    honest = {"seconds": 9.0, "fps": 25, "scores": scores, **accents}
    path = tmp_path / "truth" / "a.json"
    path.parent.mkdir()
    path.write_text(json.dumps(honest))
    assert _truth(tmp_path, "a")["fps"] == 25
    if isinstance(changes, dict) and isinstance(changes.get("scores"), dict):
        changes = {"scores": {**scores, **changes["scores"]}}
    path.write_text("[" * 100_000 if changes == "deep" else json.dumps({**honest, **changes}))
    with pytest.raises(DataError, match="holds no truth of a simulated routine"):
        _truth(tmp_path, "a")


def test_a_truth_without_one_of_the_targets_is_none(tmp_path):
    from mlavl_cli.training.consistency_eval import _truth

    accents = {key: [[1, 1]] for key in ("movement_accents", "music_accents")}
    (tmp_path / "truth").mkdir()
    scores = {target: 3.0 for target in TARGETS if target != "TES"}
    (tmp_path / "truth" / "a.json").write_text(json.dumps({"seconds": 9.0, "fps": 25, "scores": scores, **accents}))
    with pytest.raises(DataError, match="holds no truth of a simulated routine"):
        _truth(tmp_path, "a")


# --- The fourteenth review: features of other tools, and stores of others ---------------------------------------------


def peak_of(*words):
    """A run and by how many MB its peak is above that of a run that loads as much and does nothing."""
    code = (
        "import resource, sys\nfrom mlavl_cli.cli.app import app\n"
        "import mlavl_cli.datasets.load, mlavl_cli.training.folds, torch\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    app(sys.argv[1:], standalone_mode=False)\nexcept BaseException as error:\n    print(repr(error))\n"
        "print('PEAK', (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return int(done.stdout.rsplit("PEAK", 1)[1]), done.stdout + done.stderr


@pytest.mark.parametrize("kind", ["shared", pytest.param("packed", marks=pytest.mark.slow)])
def test_small_files_of_many_numbers_take_no_memory(tmp_path, kind):
    import torch

    if kind == "shared":
        rows = torch.zeros(1000, 2048, dtype=torch.float16)
        torch.save({f"n{at}": rows for at in range(300)}, tmp_path / "a.pt")
    else:
        np.savez_compressed(
            tmp_path / "a.npz", visual=np.random.default_rng(0).integers(0, 2, (70_000, 4096), np.uint8)
        )
    name = next(path.name for path in tmp_path.iterdir())
    (tmp_path / "m.csv").write_text(f"path,split,TES\n{name},train,5\n{name.replace('a', 'b')},test,5\n")
    shutil.copy(tmp_path / name, tmp_path / name.replace("a", "b"))
    more, said = peak_of("train", "manifest", tmp_path / "m.csv", "--model", "svr", "-o", tmp_path / "o", "-q")
    assert "no plain arrays" in said or "more numbers than any routine" in said
    assert more < 700


@pytest.fixture
def own_store(run, tmp_path):
    """Three routines to learn from in a store, whose entries a test may change, and a fourth video without an entry."""
    from dataclasses import replace

    from mlavl_cli.features.store import read_features, write_features

    for at in range(5):
        make_video(tmp_path / "v" / f"{at}.mp4", 66)
    assert run("extract-features", *(tmp_path / "v" / f"{at}.mp4" for at in range(4)), "-o", tmp_path / "features")
    rows = [f"v/{at}.mp4,{'train' if at < 2 else 'test'},{at + 5}" for at in range(5)]
    (tmp_path / "all.csv").write_text("path,split,TES\n" + "\n".join(rows[:4]) + "\n")
    (tmp_path / "more.csv").write_text("path,split,TES\n" + "\n".join(rows) + "\n")

    def change(**fields):
        for path in (tmp_path / "features").rglob("*.safetensors"):
            features = read_features(path)
            write_features(path, replace(features, provenance={**features.provenance, **fields}))

    return change


@pytest.mark.parametrize("rate", [1e7, -5, 1e-300, 10**400, float("nan"), "x", True, 0])
@pytest.mark.parametrize("table", ["all.csv", "more.csv"])
def test_a_stores_rate_is_one_at_which_clips_are_cut(run, own_store, tmp_path, rate, table):
    own_store(cutting={"frame_rate": rate})
    result = run("train", "manifest", tmp_path / table, "--model", "svr", "-o", tmp_path / "o")
    assert result.exit_code == 1
    assert len(result.errors) == 1
    assert "internal error" not in result.errors[0]


def test_a_stores_model_is_not_fetched_unless_it_is_named(run, own_store, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    made = {role: {"id": f"evil/{role}", "revision": "main"} for role in ("visual", "audio")}
    own_store(backbones=made)
    refused = run("train", "manifest", tmp_path / "more.csv", "--model", "svr", "-o", tmp_path / "o")
    assert refused.exit_code == 1
    assert "If you trust these models, name them" in refused.errors[0]
    used = run("train", "manifest", tmp_path / "all.csv", "--model", "svr", "-o", tmp_path / "o")
    assert used.exit_code == 0, used.stderr
    assert read_bundle(tmp_path / "o").visual.source == "evil/visual"
    own_store(backbones={role: {**one, "options": {"size": 10**9}} for role, one in made.items()})
    used = run("train", "manifest", tmp_path / "all.csv", "--model", "svr", "-o", tmp_path / "p")
    assert used.exit_code == 0, used.stderr
    assert "evil" not in (tmp_path / "p" / "bundle.json").read_text()


def test_a_linked_store_beside_a_manifest_is_not_followed(run, tmp_path):
    make_video(tmp_path / "v.mp4", 40)
    (tmp_path / "outside").mkdir()
    (tmp_path / "features").symlink_to(tmp_path / "outside")
    (tmp_path / "m.csv").write_text("path,split,TES\nv.mp4,train,5\n")
    result = run("train", "manifest", tmp_path / "m.csv", "--model", "svr", "-o", tmp_path / "o")
    assert result.exit_code == 1
    assert "is a link, which is not followed unasked" in result.errors[0]
    assert not list((tmp_path / "outside").iterdir())


def test_folds_write_through_no_link_of_an_output(run, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "o" / "runs" / "TES").mkdir(parents=True)
    (tmp_path / "o" / "runs" / "TES" / "svr").symlink_to(tmp_path / "outside")
    for at in range(12):
        np.save(tmp_path / f"{at}.npy", np.full((4, 8), at, np.float32))
    rows = [f"{at}.npy,{at + 1}" for at in range(12)]
    (tmp_path / "m.csv").write_text("path,TES\n" + "\n".join(rows) + "\n")
    options = ["--model", "svr", "-o", tmp_path / "o", "--folds", "2"]
    result = run("train", "manifest", tmp_path / "m.csv", *options)
    assert result.exit_code == 1
    assert "is a link" in result.errors[0]
    assert not list((tmp_path / "outside").iterdir())


@pytest.mark.parametrize("fps", [240, 480])
def test_a_bundle_of_fast_videos_can_be_read_again(run, tmp_path, fps):
    for at in range(4):
        make_video(tmp_path / "v" / f"{at}.mp4", 70, fps=fps, sound=None)
    run("extract-features", tmp_path / "v", "-o", tmp_path / "features", "--frame-rate", "native")
    rows = [f"v/{at}.mp4,{'train' if at < 2 else 'test'},{at + 5}" for at in range(4)]
    (tmp_path / "m.csv").write_text("path,split,TES\n" + "\n".join(rows) + "\n")
    result = run("train", "manifest", tmp_path / "m.csv", "--model", "svr", "-o", tmp_path / "o")
    assert result.exit_code == 0, result.stderr
    assert read_bundle(tmp_path / "o").frame_rate == pytest.approx(fps)
    assert run("score", tmp_path / "v" / "3.mp4", "-w", tmp_path / "o").exit_code == 0


def test_a_routine_of_one_clip_that_alone_has_sound_ends_no_training(run, tmp_path):
    rows = []
    for at in range(12):
        np.save(tmp_path / f"{at}.npy", np.random.default_rng(at).normal(at, 1, (1 if at == 0 else 4, 8)))
        rows.append(f"{at}.npy,{'sound.npy' if at == 0 else ''},{'train' if at < 8 else 'test'},{at + 1}")
    np.save(tmp_path / "sound.npy", np.ones((1, 6)))
    (tmp_path / "m.csv").write_text("path,audio,split,TES\n" + "\n".join(rows) + "\n")
    options = ["--epochs", "2", "--width", "16", "-o", tmp_path / "o", "--validation", "test"]
    result = run("train", "manifest", tmp_path / "m.csv", *options)
    assert result.exit_code == 0, result.stderr


def test_partners_and_paths_are_few(tmp_path):
    from mlavl_cli.csv_rows import read_csv
    from mlavl_cli.groups import together

    assert len(set(together(["/".join(map(str, range(10_000)))]))) == 1
    (tmp_path / "m.csv").write_text("path,split\n" + "a/../" * 200 + "v.mp4,train\n")
    with pytest.raises(DataError, match="or 128 folders"):
        read_csv(tmp_path / "m.csv", 10)


@pytest.mark.parametrize("row", ["," * 5_000_000, ('"\n"' + "," * 2_500_000) * 2], ids=["one line", "lines in quotes"])
def test_a_row_of_a_csv_has_an_end(tmp_path, row):
    from mlavl_cli.csv_rows import read_csv

    (tmp_path / "m.csv").write_text(f"path,split\n{row}\n")
    with pytest.raises(DataError, match=r"m\.csv: has a row of more than 4,194,304 letters"):
        read_csv(tmp_path / "m.csv", 10)
    (tmp_path / "m.csv").write_text("path,split\nv.mp4,train\n" * 100_000)
    assert len(read_csv(tmp_path / "m.csv", 10)[0]) == 199_999


def test_a_manifest_takes_no_videos_place(run, tmp_path, monkeypatch):
    import mlavl_cli.protocols.labels as module
    from mlavl_cli.protocols.performance import Performance

    video = make_video(tmp_path / "videos" / "Ana EXAMPLE FS.mp4", 34)
    before = video.read_bytes()
    one = Performance("Ana EXAMPLE", "NED", "Cup", "MEN", "FREE SKATING", 1, 9, 4, 5, 0, (), {}, "p.pdf", 1, ())
    monkeypatch.setattr(module, "read_protocols", lambda paths: module.Protocols([one], [], [], []))
    result = run("labels", "p.pdf", "--videos", tmp_path / "videos", "-o", video, "--yes")
    assert result.exit_code == 2
    assert "results can't be written there" in result.errors[0]
    assert video.read_bytes() == before


# --- The fifteenth review ---------------------------------------------------------------------------------------------


def rows_of(tmp_path, count=12, **arrays):
    """A manifest of routines, of which the first has further arrays."""
    rows = []
    for at in range(count):
        visual = np.full((4, 8), at, np.float32)
        np.savez(tmp_path / f"{at}.npz", visual=visual, **(arrays if at == 0 else {}))
        rows.append(f"{at}.npz,{'train' if at < 8 else 'test'},{at + 1}")
    (tmp_path / "m.csv").write_text("path,split,TES\n" + "\n".join(rows) + "\n")
    return ["train", "manifest", tmp_path / "m.csv", "--model", "svr", "-o", tmp_path / "o", "-q"]


@pytest.mark.parametrize(
    "arrays",
    [
        {"picture_statistics": np.full((4, 20), np.nan)}, {"picture_statistics": np.zeros((0, 0, 0))},
        {"picture_statistics": np.ones((12, 20))}, {"picture_statistics": np.ones((4, 3))},
        {"sound_statistics": np.full((4, 9), 1e30)}, {"tokens": np.ones((4, 2, 9, 1))}, {"tokens": np.ones((5, 2, 8))},
    ],
)  # fmt: skip
def test_all_tables_of_another_tool_are_checked(run, tmp_path, arrays):
    result = run(*rows_of(tmp_path, **arrays))
    assert result.exit_code == 1
    assert len(result.errors) == 1
    assert "0.npz" in result.errors[0]
    assert "internal error" not in result.errors[0]
    assert not (tmp_path / "o").exists()


def test_many_small_files_of_many_numbers_take_no_memory(tmp_path, monkeypatch, run):
    import mlavl_cli.datasets.budget as module

    monkeypatch.setattr(module, "_LEAST_MADE", 1 << 20)
    for at in range(4):
        np.savez_compressed(tmp_path / f"{at}.npz", visual=np.zeros((2000, 100), np.uint8) + at)
    rows = [f"{at}.npz,{'train' if at < 2 else 'test'},{at}" for at in range(4)]
    (tmp_path / "m.csv").write_text("path,split,TES\n" + "\n".join(rows) + "\n")
    result = run("train", "manifest", tmp_path / "m.csv", "--model", "svr", "-o", tmp_path / "o")
    assert "unpack to far more than they are, up to 1.npz" in result.errors[0]


@pytest.mark.parametrize("rate", [-25.0, 1e300, True, float("nan")])
def test_a_feature_files_rate_is_one_at_which_clips_are_cut(run, own_store, tmp_path, rate):
    own_store(cutting={"frame_rate": rate})
    files = sorted((tmp_path / "features").glob("*.safetensors"))
    rows = [f"features/{path.name},{'train' if at < 2 else 'test'},{at}" for at, path in enumerate(files)]
    (tmp_path / "f.csv").write_text("path,split,TES\n" + "\n".join(rows) + "\n")
    result = run("train", "manifest", tmp_path / "f.csv", "--model", "svr", "-o", tmp_path / "o")
    assert result.exit_code == 1
    assert "frames a second" in result.errors[0]


@pytest.mark.parametrize(
    ("arrays", "clip_s"),
    [
        ({"visual": np.zeros((0, 4)), "start_s": np.zeros(0), "end_s": np.zeros(0)}, None),
        ({"visual": np.zeros((3, 4)), "start_s": np.zeros(0), "end_s": np.zeros(0)}, None),
        ({"visual": np.zeros((0, 4))}, 0.5), ({"visual": np.zeros((3, 4))}, "x"), ({"visual": np.zeros((3, 4))}, [1]),
        ({"visual": np.zeros((3, 4))}, -1.0), ({"visual": np.zeros((3, 4))}, float("nan")),
        ({"visual": np.zeros((1, 4)), "start_s": np.zeros(1), "end_s": np.array([np.inf])}, None),
        ({"visual": np.zeros((1, 4)), "start_s": np.array([-np.inf]), "end_s": np.ones(1)}, None),
        ({"visual": np.zeros((1, 4)), "start_s": np.array([-2.0]), "end_s": np.array([-1.0])}, None),
        ({"visual": np.zeros((1, 4)), "picture_statistics": np.zeros((1, 7))}, 1.0),
        ({"visual": np.full((1, 4), 1e300)}, 1.0),
    ],
)  # fmt: skip
def test_what_are_no_features_of_a_routine_is_one_error(tmp_path, arrays, clip_s):
    from mlavl_cli import FeatureError, RoutineFeatures

    np.savez(tmp_path / "f.npz", **arrays)
    with pytest.raises(FeatureError):
        RoutineFeatures.load(tmp_path / "f.npz", clip_s)


def test_an_array_of_any_name_is_a_stream(run, tmp_path):
    words = rows_of(tmp_path)
    for at in range(12):
        np.savez(tmp_path / f"s{at}.npz", audio=np.full((4, 6), at, np.float32))
    lines = (tmp_path / "m.csv").read_text().splitlines()
    lines = [lines[0] + ",audio", *(f"{line},s{at}.npz" for at, line in enumerate(lines[1:]))]
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    result = run(*words)
    assert result.exit_code == 0, result.stderr


def test_folds_of_a_target_with_few_scores_are_refused_before_any_is_trained(run, tmp_path):
    words = rows_of(tmp_path, 40)
    lines = (tmp_path / "m.csv").read_text().splitlines()
    lines = [lines[0] + ",PCS", *(f"{line},{at if at < 3 else ''}" for at, line in enumerate(lines[1:]))]
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    result = run(*words, "--folds", "2")
    assert result.exit_code == 1
    assert "PCS score" in result.errors[0]
    assert not (tmp_path / "o" / "runs").exists()


@pytest.mark.parametrize(
    "closed", ["2>&-", *(pytest.param(one, marks=pytest.mark.slow) for one in ("0<&-", "1>&- 2>&-"))]
)
def test_a_job_without_streams_does_its_work(tmp_path, closed):
    video = make_video(tmp_path / "v.mp4", 40)
    line = f"{sys.executable} -m mlavl_cli score {video} -o {tmp_path}/o.csv {closed}"
    settings = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    assert subprocess.run(["bash", "-c", line], env=settings, timeout=90).returncode == 0
    assert len((tmp_path / "o.csv").read_text().splitlines()) == 2
