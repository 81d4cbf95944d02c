"""mlavl score, through the real command line."""

import csv
import io
import json
import os
import subprocess
import sys
import time
from functools import partial
from importlib.resources import files
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from conftest import make_video, shell, side_by_side, tone

import mlavl_cli
from mlavl_cli.bundle import find_bundle

SCHEMA = json.loads(files("mlavl_cli.output").joinpath("schema.json").read_text())


@pytest.fixture(scope="module")
def season(tmp_path_factory):
    """A folder: two good videos in subfolders, one that isn't, one hidden, one that is no video."""
    folder = tmp_path_factory.mktemp("season")
    make_video(folder / "short" / "b.mp4", 70)
    make_video(folder / "free" / "a.MKV", 40, sound=None)
    (folder / "short" / "broken.mp4").write_text("no video")
    make_video(folder / "short" / ".hidden.mp4", 40)
    (folder / "notes.txt").write_text("notes")
    return folder


def test_json_is_the_schema(run, routine):
    result = run("score", routine, "--format", "json")
    assert result.exit_code == 0
    score = result.json()
    jsonschema.validate(score, SCHEMA)
    assert list(score["scores"]) == list(find_bundle("mini").heads)
    assert [(clip["start_s"], clip["end_s"]) for clip in score["clips"]] == [(0.0, 1.28), (1.28, 2.56)]
    assert score["weights"]["trained_on"] == find_bundle("mini").trained_on
    for one in score["scores"].values():
        low, high = one["range"]
        assert low <= one["score"] <= high
        expected = one["visual_weight"] * one["visual"] + (1 - one["visual_weight"]) * one["audio_visual"]
        assert one["score"] == pytest.approx(expected, rel=1e-4)
    assert score["consistency"]["mean"] == pytest.approx(sum(c["consistency"] for c in score["clips"]) / 2)
    assert sum(c["attention"] for c in score["clips"]) == pytest.approx(1, abs=1e-5)


def test_silent_video_is_scored_on_its_picture_alone(run, silent_routine):
    result = run("score", silent_routine, "--format", "json")
    score = result.json()
    jsonschema.validate(score, SCHEMA)
    assert all(one["audio_visual"] is None for one in score["scores"].values())
    assert all(clip["consistency"] is None for clip in score["clips"])
    assert score["consistency"] is None
    assert any("no sound" in text for text in score["warnings"])
    assert "no sound" in result.stderr


def test_the_same_numbers_twice_and_from_python(run, routine):
    first, second = (run("score", routine, "-f", "json").json() for _ in range(2))
    for score in (first, second):
        score.pop("timing")
    assert first == second
    api = mlavl_cli.load_scorer("mini").score(routine).to_dict()
    assert json.loads(json.dumps(api["scores"])) == first["scores"]


def test_a_folder_goes_on_past_what_fails(run, season):
    result = run("score", season, "-f", "jsonl")
    assert result.exit_code == 1
    scores = [json.loads(line) for line in result.stdout.splitlines()]
    assert [Path(score["video"]["path"]).name for score in scores] == ["a.MKV", "b.mp4", "broken.mp4"]
    for score in scores:
        jsonschema.validate(score, SCHEMA)
    assert [score["error"] is None for score in scores] == [True, True, False]
    assert len(result.errors) == 1
    assert "broken.mp4" in result.errors[0]
    assert "Traceback" not in result.stderr


def test_fail_fast_stops(run, season):
    result = run("score", season / "short", season / "free", "-f", "jsonl", "--fail-fast")
    names = [Path(json.loads(line)["video"]["path"]).name for line in result.stdout.splitlines()]
    assert (result.exit_code, names) == (1, ["b.mp4", "broken.mp4"])


def test_json_of_several_is_an_array(run, season, routine):
    scores = run("score", routine, season / "free", "nothing.mp4", "-f", "json").json()
    assert [one["error"] and one["error"][:7] for one in scores] == ["no such", None, None]
    jsonschema.validate(run("score", "nothing.mp4", "-f", "json").json(), SCHEMA)  # one video, one object
    assert len(run("score", season / "free", "-f", "json").json()) == 1


def test_csv_has_a_row_a_video(run, season):
    rows = list(csv.DictReader(io.StringIO(run("score", season, "-f", "csv", "-q").stdout)))
    failed = rows.pop()
    targets = list(find_bundle("mini").heads)
    ends = [f"{target}_{end}" for target in targets for end in ("low", "high")]
    known = ["path", *targets, "consistency_mean", "clips", "duration_s", "warnings", "in_domain"]
    assert list(rows[0]) == [*known, *ends, "weights", "trained_on", "warning_codes", "error"]
    assert {name for name, cell in failed.items() if cell} == {"path", "error"}
    assert [row["clips"] for row in rows] == ["1", "2"]
    assert all(row["trained_on"] == find_bundle("mini").trained_on and not row["error"] for row in rows)
    assert all("simulated" not in row["warnings"] for row in rows)
    assert rows[0]["consistency_mean"] == ""
    assert "no sound" in rows[0]["warnings"]
    assert all(float(row[target]) > 0 for row in rows for target in targets)


def test_files_instead_of_stdout(run, routine, tmp_path):
    result = run("score", routine, "-f", "csv", "-o", tmp_path / "out" / "s.csv", "--clips-csv", tmp_path / "c.csv")
    assert (result.exit_code, result.stdout) == (0, "")
    assert len((tmp_path / "out" / "s.csv").read_text().splitlines()) == 2
    clips = list(csv.DictReader(io.StringIO((tmp_path / "c.csv").read_text())))
    assert [(clip["clip"], clip["start_s"]) for clip in clips] == [("0", "0.000"), ("1", "1.280")]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.csv", "out"]


def test_list_on_stdin(run, season, routine):
    listed = f"# the season\n\n{routine}\n  \n{season / 'short' / 'b.mp4'}\n"
    assert len(run("score", "-", "-f", "jsonl", stdin=listed).stdout.splitlines()) == 2
    nul = f"{season / 'short' / '.hidden.mp4'}\0{routine}\0"  # as find -print0 writes them
    assert len(run("score", "-", "-f", "jsonl", stdin=nul).stdout.splitlines()) == 2


def test_table_shows_what_matters(run, routine, monkeypatch):
    for columns in ("80", "120", "50"):
        monkeypatch.setenv("COLUMNS", columns)
        shown = run("score", routine).stdout
        assert all(target in shown for target in find_bundle("mini").heads)
        for part in ("weakest", "consistency", "quality", "0:00.0", "A demonstration" if columns != "50" else "mini"):
            assert part in shown
        assert max(map(len, shown.splitlines())) <= int(columns)


def test_features_are_kept_and_used_again(run, routine, tmp_path, monkeypatch):
    fresh = run("score", routine, "-f", "json", "--features", tmp_path / "store").json()
    assert [p.name for p in (tmp_path / "store").iterdir()] == ["routine.mp4.safetensors"]
    import mlavl_cli.features.extractor as extractor

    monkeypatch.setattr(extractor, "extract_many", lambda *_: pytest.fail("extracted again"))
    again = run("score", routine, "-f", "json", "--features", tmp_path / "store").json()
    assert again["scores"] == fresh["scores"]
    assert again["video"] == fresh["video"]


def test_stream_choice_reaches_the_reader(run, routine):
    result = run("score", routine, "--audio-stream", "3")
    assert result.exit_code == 1
    assert "has no audio stream 3" in result.errors[0]


def test_in_a_process_of_its_own(routine, tmp_path):
    """As a script sees it: results on stdout, errors on stderr, the exit code."""
    result = shell("score", routine, tmp_path / "missing.mp4", "-f", "jsonl", cwd=tmp_path)
    assert result.exit_code == 1
    missing, scored = map(json.loads, result.stdout.splitlines())
    assert (missing["error"], scored["error"]) == ("no such file or folder. Check the path.", None)
    assert result.stderr.splitlines() == [f"error: {tmp_path}/missing.mp4: {missing['error']}"]


@pytest.mark.parametrize("name", ["ball_bouncing", "real_two_people"])
def test_clip_counts_follow_the_frames(run, tmp_path, name):
    """60 and 19.62 frames a second, as real files have them."""
    fps, frames = {"ball_bouncing": (60, 330), "real_two_people": ("981/50", 100)}[name]
    from fractions import Fraction

    path = make_video(tmp_path / "v.mp4", frames, fps=Fraction(fps))
    score = run("score", path, "-f", "json", "--frame-rate", "native").json()
    assert len(score["clips"]) == frames // 32
    assert score["clips"][1]["start_s"] == pytest.approx(32 / float(Fraction(fps)), abs=1e-3)
    score = run("score", path, "-f", "json").json()  # 25 frames a second, as the embedded weights want them
    assert len(score["clips"]) == int(frames / float(Fraction(fps)) / 1.28 + 0.02)
    assert score["clips"][1]["start_s"] == pytest.approx(1.28, abs=0.02)


def test_a_file_that_was_there_stays_until_there_is_a_result(run, routine, tmp_path):
    kept = tmp_path / "kept.csv"
    kept.write_text("old")
    assert run("score", tmp_path / "gone.mp4", "-f", "csv", "-o", kept).exit_code == 1
    assert run("score", routine, "-w", "fs1000", "-f", "csv", "-o", kept).exit_code == 1
    assert run("score", tmp_path / "gone.mp4", bad(tmp_path), "-f", "csv", "-o", kept).exit_code == 1
    assert kept.read_text() == "old"
    assert run("score", bad(tmp_path), routine, "-f", "csv", "-o", kept).exit_code == 1
    assert len(kept.read_text().splitlines()) == 3


def bad(folder):
    path = folder / "bad.mp4"
    path.write_text("no video")
    return path


def test_an_output_that_cannot_be_written_is_known_before_the_work(run, routine, tmp_path, monkeypatch):
    from mlavl_cli.scoring.scorer import Scorer

    monkeypatch.setattr(Scorer, "score_many", lambda *_: pytest.fail("worked for nothing"))
    (tmp_path / "file").touch()
    assert run("score", routine, "-f", "csv", "-o", tmp_path / "file" / "x.csv").exit_code == 1


@pytest.mark.slow
def test_names_that_are_not_utf_8(routine, tmp_path):

    name = os.fsdecode(b"caf\xe9.mp4")
    (tmp_path / name).write_bytes(routine.read_bytes())
    for result in side_by_side(
        [
            partial(shell, "score", tmp_path / name, "-f", form, "-o", tmp_path / f"out.{form}")
            for form in ("csv", "jsonl", "json", "table")
        ]
    ):
        assert result.exit_code == 0, result.stderr
    assert b"caf\xe9.mp4" in (tmp_path / "out.csv").read_bytes()
    assert json.loads((tmp_path / "out.jsonl").read_text())["video"]["path"].endswith("\udce9.mp4")


def test_json_is_json_on_a_terminal_that_knows_ascii_only(routine, tmp_path):
    path = tmp_path / "été.mp4"
    path.write_bytes(routine.read_bytes())
    result = shell("score", path, "-f", "jsonl", PYTHONIOENCODING="ascii", LC_ALL="C")
    assert json.loads(result.stdout)["video"]["path"] == str(path)


def test_an_empty_list_says_so(run):
    result = run("score", "-", stdin="\n")
    assert result.exit_code == 1
    assert "no input" in result.errors[0]


def test_shards_share_the_work(run, routine, tmp_path):
    for name in "abcde":
        (tmp_path / "in" / f"{name}.mp4").parent.mkdir(exist_ok=True)
        (tmp_path / "in" / f"{name}.mp4").write_bytes(routine.read_bytes())
    seen = []
    for shard in ("1/3", "2/3", "3/3"):
        lines = run("score", tmp_path / "in", "-f", "jsonl", "--shard", shard).stdout.splitlines()
        seen.append([Path(json.loads(line)["video"]["path"]).stem for line in lines])
    assert seen == [["a", "d"], ["b", "e"], ["c"]]
    assert run("score", tmp_path / "in", "--shard", "9/9").exit_code == 0  # nothing left for this one
    first, last = (
        run("score", tmp_path / "in", "--shard", shard, "-o", tmp_path / f"{shard[0]}.csv") for shard in ("1/9", "9/9")
    )
    assert (first.exit_code, last.exit_code) == (0, 0)
    heads = [(tmp_path / f"{i}.csv").read_text().splitlines()[0] for i in (1, 9)]
    assert heads[0] == heads[1]  # so that parts can be joined
    assert run("score", tmp_path / "in", "-f", "json", "--shard", "9/9").json() == []
    assert run("score", tmp_path / "in", "-f", "jsonl", "--shard", "9/9").stdout == ""
    for wrong in ("0/3", "4/3", "x", "1"):
        assert run("score", tmp_path / "in", "--shard", wrong).exit_code == 2


def test_results_never_replace_a_video_or_each_other(run, routine, tmp_path):
    video = tmp_path / "v.mp4"
    video.write_bytes(routine.read_bytes())
    (tmp_path / "link.csv").symlink_to(video)
    for options in (["-o", video], ["--clips-csv", video], ["-o", tmp_path / "link.csv"]):
        assert run("score", video, "-f", "csv", *options).exit_code == 2
        assert video.read_bytes() == routine.read_bytes()
    same = tmp_path / "same.csv"
    result = run("score", video, "-f", "csv", "-o", same, "--clips-csv", same)
    assert result.exit_code == 2
    assert "is used twice" in result.errors[0]


def test_a_link_stays_a_link_and_a_pipe_stays_a_pipe(run, routine, tmp_path):
    import threading

    real, link, pipe = (tmp_path / name for name in ("real.csv", "link.csv", "pipe"))
    real.write_text("old")
    link.symlink_to(real)
    assert run("score", routine, "-f", "csv", "-o", link).exit_code == 0
    assert link.is_symlink()
    assert len(real.read_text().splitlines()) == 2
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    assert run("score", routine, "-f", "csv", "--clips-csv", pipe, "-o", link).exit_code == 0
    reader.join(timeout=30)
    assert pipe.is_fifo()
    assert len(read[0].splitlines()) == 3


def test_csv_says_what_the_weights_were_trained_on(run, routine):
    (row,) = csv.DictReader(io.StringIO(run("score", routine, "-f", "csv").stdout))
    assert (row["weights"], row["trained_on"]) == ("mini", find_bundle("mini").trained_on)


def test_silence_is_told_from_music(run, tmp_path):
    silent = make_video(tmp_path / "s.mp4", sound=np.zeros(44_100 * 4, np.float32))
    faint = make_video(tmp_path / "f.mp4", sound=tone(4, level=0.01))
    assert any("the audio track is silent" in text for text in run("score", silent, "-f", "json").json()["warnings"])
    assert not any("silence" in text for text in run("score", faint, "-f", "json").json()["warnings"])


def test_the_name_of_the_output_says_its_format(run, routine, tmp_path):
    assert run("score", routine, "-o", tmp_path / "o.jsonl").exit_code == 0
    assert json.loads((tmp_path / "o.jsonl").read_text())["schema"] == 1
    assert run("score", routine, "-o", tmp_path / "o.csv").exit_code == 0
    assert (tmp_path / "o.csv").read_text().startswith("path,TES")
    assert run("score", routine, "-o", tmp_path / "o.csv", "-f", "json").exit_code == 0
    assert (tmp_path / "o.csv").read_text().startswith("{")


def test_a_video_on_stdin_is_one_clear_error(routine):
    result = shell("score", "-", stdin=routine.read_bytes())
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "stdin holds a video" in result.stderr


def test_a_missing_local_backbone_is_not_looked_for_on_the_hub(run, routine, tmp_path):
    for name in ("swin.pth", "./folder", "/no/such/folder"):
        result = run("extract-features", routine, "-o", tmp_path / "o", "--visual", name)
        assert result.exit_code == 1
        assert "no such file or folder" in result.errors[0]


def test_a_name_like_a_formula_is_text_in_every_csv(run, tmp_path, monkeypatch):
    for name in ("=1+1.mp4", "+x.mp4", "@SUM(A1).mp4", "plain.mp4"):
        make_video(tmp_path / name, 40)
    monkeypatch.chdir(tmp_path)
    result = run("score", "=1+1.mp4", "+x.mp4", "@SUM(A1).mp4", "plain.mp4", "-f", "csv", "--clips-csv", "clips.csv")
    assert result.exit_code == 0
    expected = ["'=1+1.mp4", "'+x.mp4", "'@SUM(A1).mp4", "plain.mp4"]
    for text in (result.stdout, (tmp_path / "clips.csv").read_text()):
        assert [row["path"] for row in csv.DictReader(io.StringIO(text))] == expected


def test_a_page_that_fails_costs_no_scores(run, tmp_path, routine):
    (tmp_path / "file").touch()
    result = run("score", routine, "--vtt", tmp_path / "file" / "x", "-o", tmp_path / "s.csv")
    assert result.exit_code == 1
    assert len(result.errors) == 1
    assert len((tmp_path / "s.csv").read_text().splitlines()) == 2


def test_a_written_score_is_read_back(run, routine):
    """`from_dict` gives what `to_dict` gave; mlavl 0.1 wrote no codes of warnings, and no domain of clips."""
    from mlavl_cli.errors import DataError
    from mlavl_cli.scoring.result import RoutineScore

    written = run("score", routine, "-f", "json").json()
    read = RoutineScore.from_dict(written)
    assert json.loads(json.dumps(read.to_dict())) == written
    assert read.clips[0].consistency == written["clips"][0]["consistency"]
    assert len(written["warning_codes"]) == len(written["warnings"])
    old = {name: value for name, value in written.items() if name != "warning_codes"}
    for clip in old["clips"]:
        clip.pop("in_domain")
    assert [notice.text for notice in RoutineScore.from_dict(old).warnings] == written["warnings"]
    for wrong in ({}, {**written, "schema": 2}, {**written, "clips": 3}, {**written, "weights": {"name": 1}}):
        with pytest.raises(DataError):
            RoutineScore.from_dict(wrong)


def test_the_whole_story_of_twelve_files_from_json_lines_alone_and_from_csv_alone(run, routine, tmp_path):
    """Which were asked for, which failed and why, what the others score, and by which weights."""
    folder = tmp_path / "season"
    for i in range(9):
        make_video(folder / f"{i}.mp4", 34 + i)
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("no video")
    (folder / "cut.mp4").write_bytes(routine.read_bytes()[:2000])
    asked = [str(path) for path in sorted(folder.iterdir())]
    output = {form: tmp_path / f"out.{form}" for form in ("jsonl", "csv")}
    results = [run("score", folder, "-o", path, "--features", tmp_path / "store") for path in output.values()]
    assert [result.exit_code for result in results] == [1, 1]
    told = [sorted(line.removeprefix("error: ") for line in result.errors) for result in results]

    records = [json.loads(line) for line in output["jsonl"].read_text().splitlines()]
    rows = list(csv.DictReader(io.StringIO(output["csv"].read_text())))
    for record in records:
        jsonschema.validate(record, SCHEMA)
    assert sorted(record["video"]["path"] for record in records) == asked
    assert sorted(row["path"] for row in rows) == asked
    assert sorted(f"{r['video']['path']}: {r['error']}" for r in records if r["error"]) == told[0]
    assert sorted(f"{row['path']}: {row['error']}" for row in rows if row["error"]) == told[1] == told[0]
    by_path = {row["path"]: row for row in rows if not row["error"]}
    assert len(by_path) == 9
    for record in (record for record in records if not record["error"]):
        row = by_path[record["video"]["path"]]
        assert {name: float(row[name]) for name in record["scores"]} == pytest.approx(
            {name: score["score"] for name, score in record["scores"].items()}, abs=6e-5
        )
        assert float(row["consistency_mean"]) == pytest.approx(record["consistency"]["mean"], abs=6e-5)
        assert (row["weights"], row["trained_on"]) == (record["weights"]["name"], record["weights"]["trained_on"])
        assert row["warnings"] == "; ".join(record["warnings"])
        assert row["warning_codes"] == "; ".join(record["warning_codes"])
        assert (row["in_domain"], row["clips"]) == ("no", str(len(record["clips"])))
        assert record["in_domain"] is False


def test_failures_alone_never_take_the_place_of_earlier_results(run, routine, tmp_path):
    for name in ("scores.csv", "scores.jsonl"):
        output = tmp_path / name
        assert run("score", "missing.mp4", "-o", output).exit_code == 1
        assert "no such file" in output.read_text()  # there was nothing to lose
        assert run("score", "missing.mp4", routine, "-o", output).exit_code == 1
        before = output.read_text()
        assert "missing.mp4" in before
        assert routine.name in before
        assert run("score", "missing.mp4", "-o", output).exit_code == 1
        assert output.read_text() == before


def test_json_lines_can_be_followed_while_they_are_written(routine, tmp_path):
    """As `tail -F` does: what is done is in the file before the next is begun."""
    output, list_of = tmp_path / "out.jsonl", tmp_path / "list"
    output.write_text("yesterday\n")
    other = make_video(tmp_path / "other.mp4", 4000, sound=None)
    list_of.write_text(f"{routine}\n{other}\n")
    command = [sys.executable, "-m", "mlavl_cli", "score", "-", "-o", output, "-q"]
    with list_of.open() as stdin, subprocess.Popen(command, stdin=stdin) as process:
        deadline = time.monotonic() + 120
        while output.read_text() == "yesterday\n" and time.monotonic() < deadline:
            time.sleep(0.02)
        seen = output.read_text()
        alive = process.poll() is None
    assert json.loads(seen)["video"]["path"] == str(routine)
    assert alive
    assert [json.loads(line)["video"]["path"] for line in output.read_text().splitlines()] == [str(routine), str(other)]
