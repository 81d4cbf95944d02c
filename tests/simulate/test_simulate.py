"""Simulated routines: real files, truths that can be worked out by hand, and movement that follows the music or not."""

import csv
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import shell

from mlavl_cli.media.clips import ClipReader
from mlavl_cli.media.container import Media
from mlavl_cli.media.picture import PictureSpec
from mlavl_cli.media.sound import SAMPLE_RATE_HZ, SoundReader
from mlavl_cli.simulate.music import compose
from mlavl_cli.simulate.programme import draw_skater, plan
from mlavl_cli.simulate.scene import pictures
from mlavl_cli.simulate.style import ANY, STYLES, TEST, TRAINING, VALIDATION, find_style
from mlavl_cli.simulate.truth import clip_consistency
from mlavl_cli.simulate.write import Recipe, simulate, synthesize

RECIPE = Recipe(seed=5, index=0, style="arena", seconds=(12.0, 14.0), size=(128, 72))


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("made")
    truth = synthesize(RECIPE, folder / "a.mp4", folder / "a.json")
    assert json.loads((folder / "a.json").read_text())["scores"] == truth["scores"]
    return folder / "a.mp4", truth


def test_a_seed_makes_the_same_file_and_another_seed_another(made, tmp_path):
    video, truth = made
    again = synthesize(RECIPE, tmp_path / "b.mp4", tmp_path / "b.json")
    other = synthesize(replace(RECIPE, seed=6), tmp_path / "c.mp4", tmp_path / "c.json")
    assert (tmp_path / "b.mp4").read_bytes() == video.read_bytes()
    assert again == truth
    assert (tmp_path / "c.mp4").read_bytes() != video.read_bytes()
    assert other["scores"] != truth["scores"]


def test_the_file_is_a_real_video_with_the_truths_clips(made):
    video, truth = made
    with ClipReader(video, PictureSpec((36, 64)), frames=16) as clips:
        read = list(clips)
        assert clips.warnings == []
    assert clips.info.duration_s == pytest.approx(truth["seconds"], abs=0.1)
    assert [(c.start_s, c.end_s) for c in read] == [
        (pytest.approx(c["start_s"], abs=1e-6), pytest.approx(c["end_s"], abs=1e-6)) for c in truth["clips"]
    ]
    moved = [np.abs(np.diff(c.frames.astype(float), axis=0)).mean() for c in read]
    assert min(moved) > 0.5


def test_accents_are_heard_when_the_truth_says(made):
    """Rises of the spectrum of the file's own sound fall on the listed accents: picture and sound share a clock."""
    video, truth = made
    with Media(video) as media:
        sound = SoundReader(media).read(0.0, truth["seconds"])
    hop = SAMPLE_RATE_HZ // 100
    windows = np.lib.stride_tricks.sliding_window_view(sound, 2 * hop)[::hop] * np.hanning(2 * hop)
    spectrum = np.log1p(100 * np.abs(np.fft.rfft(windows)))
    rises = np.clip(np.diff(spectrum, axis=0), 0, None).sum(1)
    accents = np.zeros(len(rises))
    for at, strength in truth["music_accents"]:
        accents[round(at * 100)] = strength
    lags = np.arange(-40, 41)
    likeness = [np.roll(accents, lag) @ rises for lag in lags]
    assert abs(lags[int(np.argmax(likeness))]) <= 3  # hundredths of a second
    assert max(likeness) > 2 * np.median(likeness)


def test_tes_is_the_sum_of_base_values_and_grades(made):
    _, truth = made
    done = [segment for segment in truth["segments"] if "kind" in segment]
    assert done
    assert truth["scores"]["TES"] == pytest.approx(sum(s["base"] * (1 + 0.1 * s["grade"]) for s in done), abs=1e-3)
    parts = [truth["scores"][name] for name in ("SS", "TR", "PE", "CO", "IN")]
    assert all(0 <= part <= 10 for part in parts)
    assert truth["scores"]["PCS"] == pytest.approx(sum(parts), abs=5e-3)


def test_segments_fill_the_programme_and_falls_cost_five_grades():
    found = []
    for seed in range(40):
        rngs = [np.random.default_rng([seed, i]) for i in range(3)]
        music = compose(find_style("club"), 45.0, rngs[0])
        programme = plan(draw_skater(rngs[1]), music, 45.0, rngs[2])
        ends = [0.0, *(s.end_s for s in programme.segments)]
        assert [s.start_s for s in programme.segments] == pytest.approx(ends[:-1])
        assert ends[-1] == 45.0
        found += programme.segments
    falls = [s for s in found if s.landing == "fall"]
    assert falls
    assert {s.grade for s in falls} == {-5}


def accents(of) -> tuple[np.ndarray, np.ndarray]:
    return of.accent_s, of.accent


def test_consistency_is_one_for_the_same_accents_and_none_for_others():
    rngs = [np.random.default_rng(i) for i in range(3)]
    music = compose(find_style("arena"), 30.0, rngs[0])
    programme = plan(draw_skater(rngs[1]), music, 30.0, rngs[2])
    start = np.arange(2, 26, 1.28)
    same = replace(programme, accent_s=music.accent_s, accent=0.7 * music.accent)
    between = replace(programme, accent_s=np.arange(0.5, 30.0, 1.0), accent=np.ones(30))
    off = replace(music, accent_s=np.arange(1.0, 30.0, 1.0), accent=np.ones(29))
    one = clip_consistency(accents(same), accents(music), start, start + 1.28)
    assert one[~np.isnan(one)] == pytest.approx(1)
    assert (clip_consistency(accents(between), accents(off), start, start + 1.28) < 0.05).all()
    silent = replace(music, accent_s=np.array([0.2]), accent=np.array([1.0]))
    still = replace(programme, accent_s=np.array([0.2]), accent=np.array([1.0]))
    assert np.isnan(clip_consistency(accents(still), accents(silent), start, start + 1.28)).all()


def test_whoever_follows_the_music_interprets_it_better(tmp_path):
    """Same seeds, other fidelity: nothing but the music's share in the scores goes up, on average."""
    means = {}
    for fidelity in (0.0, 1.0):
        scores = [
            synthesize(
                replace(RECIPE, index=i, fidelity=(fidelity, fidelity), seconds=(20.0, 20.0), size=(64, 64)),
                tmp_path / "v.mp4",
                tmp_path / "v.json",
            )["scores"]
            for i in range(4)
        ]
        means[fidelity] = {name: np.mean([s[name] for s in scores]) for name in scores[0]}
    assert means[1.0]["IN"] > means[0.0]["IN"] + 3
    assert means[1.0]["SS"] == pytest.approx(means[0.0]["SS"], abs=1)


def test_styles_are_kept_apart():
    assert not {*TRAINING} & {*VALIDATION} and not {*TRAINING, *VALIDATION} & {*TEST}
    assert {*TRAINING, *VALIDATION, *TEST} == {*STYLES}
    heard = {name for style in TRAINING for name in STYLES[style].instruments}
    assert {*STYLES["gala"].instruments} - heard


def test_any_style_is_another_for_each_routine(tmp_path):
    """Colours and instruments that nobody named, drawn by the seed; drawn and heard."""
    recipes = [replace(RECIPE, style=ANY, index=i, seconds=(5.0, 6.0), size=(64, 64)) for i in range(12)]
    made = [simulate(recipe) for recipe in recipes]
    styles = [one.look.style for one in made]
    assert [simulate(recipe).look.style for recipe in recipes] == styles
    assert len({style.ground for style in styles} | {style.ground for style in STYLES.values()}) == 12 + len(STYLES)
    assert len({style.instruments for style in styles}) == 12
    assert {style.setting for style in styles} == {"ice", "floor"}
    assert {style.shot_s > 0 for style in styles} == {style.crowd_noise > 0 for style in styles} == {True, False}
    assert len({one.look.fps for one in made}) > 1
    assert all(3 <= np.abs(one.music.samples).max() * 10 <= 10 for one in made)
    heard = [synthesize(r, tmp_path / f"{r.index}.mp4", tmp_path / f"{r.index}.json") for r in recipes[:2]]
    assert (tmp_path / "0.mp4").read_bytes() != (tmp_path / "1.mp4").read_bytes()
    assert [truth["recipe"]["style"] for truth in heard] == ["any", "any"]


def test_shots_of_several_cameras_change_the_picture_at_once():
    """A cut changes most of the picture; one camera never does."""
    jumps = {}
    for name in ("broadcast", "arena"):
        made = simulate(Recipe(3, 0, name, (30.0, 30.0)))
        frames = pictures(made.motion, made.look, (128, 72), made.scene_rng)
        grey = np.stack([frame.mean(-1) for frame in frames])
        jumps[name] = np.abs(np.diff(grey, axis=0)).mean((1, 2))
    assert 1 <= (jumps["broadcast"] > 1.5 * jumps["arena"].max()).sum() <= 8
    assert np.median(jumps["broadcast"]) < 1.5 * np.median(jumps["arena"])


def test_a_hall_is_heard_beside_the_music():
    """With the same peak: noise between the notes, and a voice where the announcer speaks."""
    quiet = find_style("arena")
    for loud in (replace(quiet, crowd_noise=0.3), replace(quiet, announcer=0.4)):
        plain, heard = (compose(style, 30.0, np.random.default_rng(4)).samples[0] for style in (quiet, loud))
        assert np.abs(heard).max() == pytest.approx(np.abs(plain).max(), rel=1e-4)
        added = heard - plain * (heard @ plain) / (plain @ plain)
        assert 0.02 < np.sqrt((added**2).mean()) / np.sqrt((plain**2).mean()) < 1.0
        assert np.corrcoef(heard, plain)[0, 1] > 0.7  # the music is still what is heard first


def test_synthesize_writes_a_set_and_goes_on_where_it_stopped(run, tmp_path):
    def make(*options):
        return run("synthesize", tmp_path / "set", "--seconds", "6:7", "--size", "64x64", "--workers", 2, *options)

    assert make("--count", 5).exit_code == 0
    rows = rows_of(tmp_path / "set")
    assert len(rows) == 5
    assert sorted(row["split"] for row in rows) == ["test", "train", "train", "train", "train"]
    first = tmp_path / "set" / rows[0]["path"]
    stamp = first.stat().st_mtime_ns
    (tmp_path / "set" / rows[1]["path"]).unlink()
    assert make("--count", 5).exit_code == 0
    assert first.stat().st_mtime_ns == stamp
    assert (tmp_path / "set" / rows[1]["path"]).exists()
    assert make("--count", 2, "--seed", 9, "--style", "gala", "--split", "test").exit_code == 0
    rows = rows_of(tmp_path / "set")
    assert [row["split"] for row in rows if "gala-9" in row["path"]] == ["test", "test"]
    assert len(rows) == 7


def test_two_commands_at_once_are_both_in_the_manifest(tmp_path):
    def make(seed):
        options = ("--seconds", "6", "--size", "64x64", "--workers", 1, "--count", 2)
        return shell("synthesize", tmp_path / "set", *options, "--seed", seed).exit_code

    with ThreadPoolExecutor() as pool:
        assert list(pool.map(make, (1, 2))) == [0, 0]
    assert len(rows_of(tmp_path / "set")) == 4


@pytest.mark.parametrize(
    "wrong",
    [
        ["--seconds", "3"],
        ["--seconds", "9:1"],
        ["--fidelity", "0:2"],
        ["--size", "63x63"],
        ["--style", "none"],
        ["--split", "x"],
    ],
)
def test_wrong_wishes_are_refused_before_anything_is_made(run, tmp_path, wrong):
    result = run("synthesize", tmp_path / "set", *wrong)
    assert result.exit_code == 2
    assert not (tmp_path / "set").exists()
