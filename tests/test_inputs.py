"""Which videos a command line means, and what their outputs are called."""

import json
import os
import shutil
import subprocess
import sys
import threading
from itertools import permutations
from pathlib import Path

import pytest
from conftest import make_video, shell

from mlavl_cli.inputs import VIDEO_SUFFIXES, Input, _Names, expand_inputs


def expand(*arguments):
    ((inputs, errors),) = expand_inputs(map(str, arguments))
    return inputs, errors


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_folder_is_searched_for_every_kind_of_video(tmp_path):
    touch(*(tmp_path / f"v{suffix}" for suffix in VIDEO_SUFFIXES), tmp_path / "notes.txt", tmp_path / ".hidden.mp4")
    for suffix in ".insv .lrv .360 .f4v .qt .divx .m2v .dv .mod .tod .m2t .trp .3gpp .MP4".split():
        touch(tmp_path / "cameras" / f"v{suffix}")
    inputs, errors = expand(tmp_path)
    assert len(inputs) == len(VIDEO_SUFFIXES) + 14
    assert errors == []


def test_linked_folders_are_followed_once(tmp_path):
    touch(tmp_path / "season" / "a.mp4", tmp_path / "elsewhere" / "b.mp4", tmp_path / "elsewhere" / "deep" / "c.mp4")
    (tmp_path / "season" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "season" / "again").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(tmp_path / "season")
    inputs, errors = expand(tmp_path / "season")
    assert sorted(one.path.name for one in inputs) == ["a.mp4", "b.mp4", "c.mp4"]
    assert errors == []


def test_names_are_those_below_the_folder_that_was_given(tmp_path):
    touch(tmp_path / "in" / "x" / "a.mp4", tmp_path / "b.mp4")
    inputs, _ = expand(tmp_path / "in", tmp_path / "b.mp4")
    assert [str(one.name) for one in inputs] == ["x/a.mp4", "b.mp4"]


def test_videos_of_one_name_are_told_apart_in_the_same_way_in_any_order(tmp_path):
    paths = [tmp_path / name for name in ("a/1.mp4", "b/1.mp4", "x/b/1.mp4", "2.mp4")]
    touch(*paths)
    expected = {paths[0]: "a/1.mp4", paths[1]: f"{tmp_path.name}/b/1.mp4", paths[2]: "x/b/1.mp4", paths[3]: "2.mp4"}
    for order in permutations(paths):
        inputs, errors = expand(*order)
        assert {one.path: str(one.name) for one in inputs} == expected
        assert errors == []


def test_videos_that_differ_in_a_folder_far_above_are_named_by_it(tmp_path):
    """Each step looks at one more folder of each path, and at no path whole."""
    deep = "/".join(f"d{i}" for i in range(700))
    paths = [f"{tmp_path}/{top}/{deep}/v.mp4" for top in "abcd"]
    looked = 0

    class Parts(tuple):
        def __getitem__(self, key):
            nonlocal looked
            looked += 1
            return super().__getitem__(key)

    class Counted(Input):
        @property
        def parts(self):
            return Parts(super().parts)

    found = _Names().tell_apart([Counted(Path(path), Path("v.mp4")) for path in paths])
    assert [one.name for one in found] == [Path(top, deep, "v.mp4") for top in "abcd"]
    assert looked < 4 * 720 + 10


def test_a_name_below_a_folder_is_not_taken_twice(tmp_path):
    touch(tmp_path / "a" / "1.mp4", tmp_path / "in" / "a" / "1.mp4", tmp_path / "b" / "1.mp4")
    inputs, _ = expand(tmp_path / "in", tmp_path / "a" / "1.mp4", tmp_path / "b" / "1.mp4")
    assert len({one.name for one in inputs}) == 3


def test_an_input_given_twice_is_kept_once(tmp_path):
    touch(tmp_path / "a.mp4")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "a.mp4")
    assert len(expand(tmp_path / "a.mp4", tmp_path, tmp_path / "link.mp4")[0]) == 1


@pytest.fixture
def twins(tmp_path):
    return [make_video(tmp_path / folder / "1.mp4", 40 + 8 * i) for i, folder in enumerate("ab")]


def test_both_of_two_videos_of_one_name_get_their_files(run, twins, tmp_path):
    folders = {name: tmp_path / name for name in ("store", "pages", "vtt")}
    options = ["--features", folders["store"], "--report", folders["pages"], "--vtt", folders["vtt"]]
    result = run("score", *twins, "-f", "jsonl", *options)
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 2
    for name, ending in (("store", "safetensors"), ("pages", "html"), ("vtt", "vtt")):
        found = sorted(str(p.relative_to(folders[name])) for p in folders[name].rglob("*1.mp4.*"))
        assert found == [f"a/1.mp4.{ending}", f"b/1.mp4.{ending}"]
    assert run("extract-features", *reversed(twins), "-o", folders["store"], "-v").stderr.count("already there") == 2


def test_a_page_of_an_earlier_run_is_not_replaced_by_another_videos(run, twins, tmp_path):
    pages = tmp_path / "pages"
    first, second = twins
    for video in (first, second, first, second):  # one at a time, each twice
        assert run("score", video, "-f", "csv", "--report", pages).exit_code == 0
    found = sorted(str(p.relative_to(pages)) for p in pages.rglob("*.html"))
    assert found == ["1.mp4.html", "b/1.mp4.html", "history.html", "index.html"]
    assert "../../b/1.mp4" in (pages / "b" / "1.mp4.html").read_text()
    index = (pages / "index.html").read_text()
    assert all(f'href="{page}"' in index for page in found[:2])


# --- Lists on stdin --------------------------------------------------------------------------------------------------


def test_each_line_of_stdin_is_answered_as_it_comes(twins, tmp_path):
    """The next line is only written once the line before has its answer."""
    command = [sys.executable, "-m", "mlavl_cli", "score", "-", "-f", "jsonl", "--quiet"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        watch = threading.Timer(120, process.kill)
        watch.start()
        answers = []
        for line in (twins[0], tmp_path / "missing.mp4", twins[1]):
            process.stdin.write(os.fsencode(line) + b"\n")
            process.stdin.flush()
            answers.append(process.stdout.readline().decode())
        process.stdin.close()
        watch.cancel()
        assert process.wait(60) == 1
        said = process.stderr.read().decode()
    assert [json.loads(answers[i])["video"]["path"] for i in (0, 2)] == [str(path) for path in twins]
    missing = json.loads(answers[1])
    assert said == f"error: {missing['video']['path']}: {missing['error']}\n"
    assert missing["error"].startswith("no such file")


def test_a_name_that_comes_again_is_answered_again(run, routine):
    """Who waits for the answer to a line gets one; of arguments, and of folders, a video is scored once."""
    result = run("score", "-", "-f", "jsonl", "-q", stdin=f"\ufeff{routine}\n{routine}\n# {routine}\n{routine}\n")
    assert [json.loads(line)["video"]["path"] for line in result.stdout.splitlines()] == [str(routine)] * 3
    assert len(run("score", routine, routine, "-f", "jsonl", "-q").stdout.splitlines()) == 1


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_list_in_utf_16_is_refused_and_not_taken_for_single_letters(run, routine, encoding):
    result = run("score", "-", stdin=f"\ufeff{routine}\n".encode(encoding))
    assert result.exit_code == 2
    assert "UTF-16" in result.errors[0]


@pytest.mark.parametrize("begins", [b"\xff\xfe", b"\xfe\xff", b"\xff\xfex"])
def test_a_name_may_begin_as_utf_16_does(run, routine, tmp_path, begins):
    odd = tmp_path / os.fsdecode(begins + b".mp4")
    shutil.copy(routine, odd)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        result = run(
            "score", "-", "-f", "jsonl", "-q", stdin=os.fsencode(odd.name) + b"\0" + os.fsencode(routine) + b"\0"
        )
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 2


@pytest.mark.parametrize(
    ("name", "what"), [("other.MP4", "a video"), ("v.mp4.safetensors", "features or weights"), ("v.html", "a page")]
)
def test_results_never_take_the_place_of_a_video_that_is_no_input(run, routine, tmp_path, name, what):
    other = tmp_path / name
    other.write_bytes(routine.read_bytes())
    for command in (["score", routine], ["compare", routine, routine]):
        result = run(*command, "-o", other)
        assert result.exit_code == 2
        assert f"named like {what}" in result.errors[0]
    assert other.read_bytes() == routine.read_bytes()


def test_a_closed_stdin_is_an_empty_list():
    command = f"{sys.executable} -m mlavl_cli score - <&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "no input" in done.stderr


@pytest.mark.parametrize("separator", ["\n", "\r\n", "\0"])
def test_a_list_may_come_in_pieces(monkeypatch, tmp_path, separator):
    paths = [tmp_path / f"{i:03d}.mp4" for i in range(200)]
    touch(*paths)
    listed = separator.join(map(str, paths)).encode()  # the last line without an end
    reading, writing = os.pipe()

    def write():
        with os.fdopen(writing, "wb", buffering=0) as pipe:
            for at in range(0, len(listed), 997):
                pipe.write(listed[at : at + 997])

    thread = threading.Thread(target=write)
    thread.start()
    with os.fdopen(reading) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        found = [one.path for inputs, errors in expand_inputs(["-"], as_they_come=True) for one in inputs]
    thread.join()
    assert found == paths


def test_shards_of_a_list_that_comes_in_pieces_are_those_of_the_whole(tmp_path, monkeypatch):
    from mlavl_cli.cli import batch

    touch(*(tmp_path / f"{i}.mp4" for i in range(7)))
    pieces = [[str(tmp_path / f"{i}.mp4") for i in part] for part in ((0,), (1, 2), (3, 4, 5, 6))]
    monkeypatch.setattr("mlavl_cli.inputs._stdin_paths", lambda: iter(pieces))
    shards = [
        [one.path.stem for group in batch.Batch(["-"], (n, 3), as_they_come=True).groups() for one in group]
        for n in (1, 2, 3)
    ]
    assert shards == [["0", "3", "6"], ["1", "4"], ["2", "5"]]


def test_results_in_a_file_need_the_whole_list(routine, tmp_path):
    """Else a video named later could be taken for the place to write to."""
    video = tmp_path / "v.csv"
    video.write_bytes(routine.read_bytes())
    result = shell("score", "-", "-o", video, stdin=f"{routine}\n{video}\n".encode())
    assert result.exit_code == 2
    assert "is one of the videos" in result.stderr
    assert video.read_bytes() == routine.read_bytes()


def test_what_is_no_format_of_ours_is_not_called_damaged(run, tmp_path):
    from PIL import Image

    frames = [Image.new("RGB", (32, 32), (i * 20, 0, 0)) for i in range(8)]
    path = tmp_path / "v.webp"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=40)
    (line,) = run("score", path).errors
    assert "is not in a format that mlavl reads" in line
    assert "damaged" not in line


def test_paths_are_as_the_user_wrote_them(run, monkeypatch, tmp_path):
    make_video(tmp_path / "in" / "v.mp4", 40)
    monkeypatch.chdir(tmp_path)
    assert json.loads(run("score", "in/../in/v.mp4", "-f", "json").stdout)["video"]["path"] == str(
        Path("in/../in/v.mp4")
    )
