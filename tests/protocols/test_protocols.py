"""Protocols drawn in both layouts: every number is read, and what doesn't add up is named and left out."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bombs import one_page
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from protocols.sheets import DANCE, FIVE, LATER, LETTERS, draw_row, write_sheet

from mlavl_cli.errors import DataError
from mlavl_cli.protocols.labels import label_rows, read_protocols, splits
from mlavl_cli.protocols.match import match

NATIONS = ("NED", "SUI", "AUT", "CZE")
NAMES = ["Ana EXAMPLE", "Bo VAN DEN BERG", "Čeda ØRSTEDŁ-ŠĆ", "Dee KIM", "Élise O'NEIL", "Fen LI"]
PAIRS = ["Tatiana MADEUPOVSKAYA / Maximilian INVENTEDOV", "Uma SHORT / Vic TALL"]


def latin(name: str) -> str:
    """What the drawing library's plain font can show."""
    return name.encode("latin-1", "ignore").decode("latin-1")


def sheet(path: Path, rows, segment="MEN FREE SKATING", titles=FIVE, event="Made-up Trophy 2014", **look):
    return write_sheet(path, event, segment, rows, titles, **look)


def drawn(seed=0, count=4, factors=(2.0,) * 5, names=NAMES, **more):
    rng = np.random.default_rng(seed)
    return [
        draw_row(rng, latin(names[i % len(names)]), NATIONS[i % 4], i + 1, factors, 7 + i % 6, i % 3, **more)
        for i in range(count)
    ]


def agree(told, rows):
    assert not told.failed
    assert not told.wrong, told.wrong
    assert [one.skater for one in told.rows] == [row.name for row in rows]
    for one, row in zip(told.rows, rows, strict=True):
        assert (one.nation, one.rank, one.deductions) == (row.nation, row.rank, row.falls)
        assert (one.tss, one.tes, one.pcs) == (row.tss, row.tes, row.pcs)
        assert tuple(one.components) == LETTERS[len(row.factors)] or set(one.components) == set(
            LETTERS[len(row.factors)]
        )
        means = [one.components[name].mean for name in LETTERS[len(row.factors)]]
        assert means == row.means
        assert [one.components[name].factor for name in LETTERS[len(row.factors)]] == list(row.factors)
        assert [(e.base, e.goe, e.panel) for e in one.elements] == [
            (base, goe, pytest.approx(base + goe)) for _, base, goe in row.elements
        ]


@pytest.mark.parametrize(
    ("segment", "titles", "factors", "names"),
    [
        ("MEN FREE SKATING", FIVE, (2.0,) * 5, NAMES),
        ("JUNIOR LADIES SHORT PROGRAM", FIVE, (0.8,) * 5, NAMES),
        ("ICE DANCE FREE DANCE", DANCE, (1.25, 1.75, 1.0, 1.0, 1.0), PAIRS),
        ("PAIRS SHORT PROGRAM", LATER, (1.33,) * 3, PAIRS),
        ("WOMEN FREE SKATING", LATER, (2.67,) * 3, NAMES),
        ("ICE DANCE RHYTHM DANCE", LATER, (1.33,) * 3, PAIRS),
    ],
)
def test_every_number_of_both_layouts(tmp_path, segment, titles, factors, names):
    rows = drawn(1, len(names), factors, names)
    told = read_protocols([sheet(tmp_path / "a.pdf", rows, segment, titles)])
    agree(told, rows)
    for one in told.rows:
        assert f"{one.category} {one.segment}" == segment
        assert one.event == "Made-up Trophy 2014"
        mean = sum(factors) / len(factors)
        assert one.pcs_by_factor == pytest.approx(one.pcs / mean)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 1000),
    foot=st.sampled_from([780.0, 500.0, 333.0]),  # where a page ends, within a row too
    size=st.sampled_from([6.0, 7.0, 7.6]),
    pitch=st.sampled_from([8.5, 9.0, 11.0]),
    later=st.booleans(),
)
def test_any_page_break_and_size(tmp_path, seed, foot, size, pitch, later):
    rows = drawn(seed, 5, (1.67,) * 3 if later else (1.6,) * 5)
    path = sheet(tmp_path / "a.pdf", rows, titles=LATER if later else FIVE, foot=foot, size=size, pitch=pitch)
    agree(read_protocols([path]), rows)


def test_who_withdrew_is_named_and_no_row(tmp_path):
    rows = drawn(2, 3)
    rows.append(replace(rows[0], name="Gone AWAY", printed={"tss": None}))
    path = write_sheet(tmp_path / "a.pdf", "Cup", "MEN FREE SKATING", rows, withdrawn=[("Not HERE", "SUI", "WD")])
    told = read_protocols([path])
    agree(told, rows[:3])
    assert len(told.without) == 2
    for name in ("Gone AWAY", "WD Not HERE"):
        assert any(name in line for line in told.without)


def test_a_protocol_in_which_nobody_has_a_score_is_said_to_be_one(run, tmp_path):
    rows = [replace(row, printed={"tss": None}) for row in drawn(2, 2)]
    result = run("labels", write_sheet(tmp_path / "a.pdf", "Cup", "MEN FREE SKATING", rows))
    assert result.exit_code == 1
    assert "nobody has a score; 2 are named without one" in result.errors[0]


@pytest.mark.parametrize(
    ("printed", "why"),
    [
        ({"tes": 99.99}, "elements add up"),
        ({"pcs": 99.99}, "components come to"),
        ({"tss": 1.0}, "not to a TSS"),
    ],
)
def test_a_row_that_does_not_add_up_is_left_out_with_its_page(run, tmp_path, printed, why):
    rows = drawn(3, 3)
    rows[1].printed.update(printed)
    path = sheet(tmp_path / "a.pdf", rows)
    result = run("labels", path, "-f", "json")
    assert result.exit_code == 1
    assert [row["skater"] for row in result.json()] == [rows[0].name, rows[2].name]
    (line,) = result.stderr.splitlines()
    assert f"a.pdf, page 1: {rows[1].name} is left out: " in line
    assert why in line


def test_marks_that_were_read_wrongly_are_noticed(tmp_path):
    rows = drawn(4, 2)
    told = read_protocols([sheet(tmp_path / "a.pdf", rows)])
    one = told.rows[0]
    name = "SS"
    shifted = replace(one.components[name], marks=(*one.components[name].marks[1:], 10.0, 10.0))
    assert any("marks of SS" in text for text in replace(one, components={**one.components, name: shifted}).wrong())
    missing = {key: value for key, value in one.components.items() if key != "TR"}
    assert any("components are" in text for text in replace(one, components=missing).wrong())


def test_other_files_are_one_line_each(run, tmp_path):
    good = sheet(tmp_path / "good.pdf", drawn(5, 2))
    (tmp_path / "text.pdf").write_text("no pdf at all")
    (tmp_path / "damaged.pdf").write_bytes(good.read_bytes()[:900])
    empty = tmp_path / "other.pdf"
    write_sheet(empty, "A menu", "SOUP AND CHEESE", [])
    result = run(
        "labels", tmp_path / "text.pdf", tmp_path / "gone.pdf", tmp_path / "damaged.pdf", empty, good, "-f", "csv"
    )
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 3
    assert len(result.stderr.splitlines()) == 4
    for name in ("text.pdf", "gone.pdf", "damaged.pdf", "other.pdf"):
        assert sum(f"{name}: " in line for line in result.stderr.splitlines()) == 1


def test_a_small_file_that_unpacks_without_end_is_refused(tmp_path):
    told = read_protocols([one_page(tmp_path / "a.pdf", b"BT (a) Tj ET\n" * 120_000_000)])
    assert "asks for more" in str(told.failed[0])


def test_both_systems_are_never_pooled_unasked(run, tmp_path):
    five, three = drawn(6, 2), drawn(7, 2, (2.67,) * 3)
    paths = [sheet(tmp_path / "five.pdf", five, event="Old Cup"),
             sheet(tmp_path / "three.pdf", three, titles=LATER, event="New Cup")]  # fmt: skip
    refused = run("labels", *paths)
    assert refused.exit_code == 1
    assert "--pool" in refused.stderr
    rows = run("labels", *paths, "--pool", "-f", "json").json()
    for row, one in zip(rows, [*five, *three], strict=True):
        most = 50 if len(one.factors) == 5 else 30
        share = sum(one.means) / (10 * len(one.means))
        assert float(row["PCS"]) == pytest.approx(50 * share, abs=0.02 * 50 / most)
        assert float(row["PCS_printed"]) == one.pcs
    assert rows[0]["PR"] == "" and rows[2]["SS"] == "" and float(rows[2]["SK"]) == three[0].means[2]
    with pytest.raises(DataError, match="five components and with three"):
        label_rows(read_protocols(paths).rows)


def performances(tmp_path, rows, segment="MEN FREE SKATING", name="a.pdf", event="Made-up Trophy 2014"):
    return read_protocols([sheet(tmp_path / name, rows, segment, event=event)]).rows


def test_videos_are_found_by_names(tmp_path):
    rows = performances(tmp_path, drawn(8, 4, names=["Ana EXAMPLE", "Jürgen MÜLLER", "Dee KIM", "Bo VAN DEN BERG"]))
    videos = {
        "day 1/EXAMPLE_Ana_FS.mp4": "Ana EXAMPLE", "juergen-muller-free.mp4": "Jürgen MÜLLER",
        "DeeKim2014FreeSkating.mov": "Dee KIM", "bovandenberg_lp.mkv": "Bo VAN DEN BERG", "EXAMPLE_Ana_SP.mp4": None,
        "training.mp4": None,
    }  # fmt: skip
    found = {one.performance.skater: one.video and one.video.as_posix() for one in match(rows, [*map(Path, videos)])}
    assert found == {skater: path for path, skater in videos.items() if skater}


@pytest.mark.parametrize(
    "video",
    [
        "Karen_CHEN_FS.mp4", "Peng_CHENG_FS.mp4", "Kitchener_2014_FS_Smith.mp4", "2018_Nathan_CHEN_FS.mp4",
        "FS1000/Nathan_CHEN_SP.mp4", "nathanchen-shortprogram.mp4", "nathanchensp.mp4", "Nathan_Chen_gala_fs.mp4",
        "Nathan_CHEN_FS_practice.mp4", "Nathan_CHEN_junior_FS.mp4", "Hanyu_Chen_Aymoz_FS.mp4", "Chen/Karen/FS.mp4",
    ],
)  # fmt: skip
def test_somebody_elses_video_is_none(tmp_path, video):
    """Another given name, a longer surname, another year, segment or occasion."""
    rows = performances(tmp_path, drawn(8, 1, names=["Nathan CHEN"]))
    assert [one.video for one in match(rows, [Path(video)])] == [None]
    assert match(rows, [Path(video), Path("chen_nathan_fs.mp4")])[0].video == Path("chen_nathan_fs.mp4")


def test_a_cent_and_an_order_are_noticed(tmp_path):
    one = read_protocols([sheet(tmp_path / "a.pdf", drawn(4, 1))]).rows[0]
    assert not one.wrong()
    for changes in ({"tes": one.tes + 0.01}, {"tss": one.tss - 0.01}, {"deductions": one.deductions + 0.01}):
        assert replace(one, **changes).wrong()
    swapped = dict(zip(("TR", "SS", "PE", "CO", "IN"), one.components.values(), strict=True))
    assert replace(one, components=swapped).wrong()
    nothing = {name: replace(part, factor=0.0) for name, part in one.components.items()}
    assert replace(one, components=nothing, pcs=0.0, tss=one.tss - one.pcs).wrong()


def test_titles_stand_nearest_to_what_says_that_details_follow(tmp_path):
    path = sheet(tmp_path / "a.pdf", drawn(5, 1), "WOMEN SHORT PROGRAM", event="Men and Ladies Free Skating Cup 2019")
    (one,) = read_protocols([path]).rows
    assert (one.event, one.category, one.segment) == ("Men and Ladies Free Skating Cup 2019", "WOMEN", "SHORT PROGRAM")


def test_a_surname_of_three_letters_is_no_nation(tmp_path):
    rows = drawn(6, 2, (1.33,) * 3, ["Anna-Maria HÄMÄLÄINEN / Christopher James CHA", "Bo LEE / Ai SUI"])
    told = read_protocols([sheet(tmp_path / "a.pdf", rows, "PAIRS SHORT PROGRAM", LATER)])
    agree(told, rows)


def test_what_is_unclear_is_not_guessed(tmp_path):
    rows = performances(tmp_path, drawn(9, 2, names=["Ana EXAMPLE", "Bea EXAMPLE"]))
    both = match(rows, [Path("ana_example_a.mp4"), Path("ana_example_b.mp4"), Path("example.mp4")])
    assert [one.video for one in both] == [None, None]
    assert "are named alike" in both[0].why


@pytest.fixture
def competition(tmp_path):
    """Twelve skaters with two segments each, their videos, and their protocols."""
    names = [f"{first} {last}" for first in ("Ana", "Bo", "Cem") for last in ("RIVER", "STONE", "FIELD", "MEADOW")]
    paths = []
    for i, (segment, factor) in enumerate((("MEN SHORT PROGRAM", 1.0), ("MEN FREE SKATING", 2.0))):
        rows = drawn(20 + i, 12, (factor,) * 5, names)
        paths.append(sheet(tmp_path / f"{i}.pdf", rows, segment))
        for row in rows:
            kind = "sp" if i == 0 else "fs"
            video = tmp_path / "videos" / f"{row.name.replace(' ', '_').lower()}_{kind}.mp4"
            video.parent.mkdir(exist_ok=True)
            video.write_bytes(b"")
    return paths, tmp_path / "videos", tmp_path / "out" / "manifest.csv"


def manifest(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_a_manifest_by_names_is_written_once_it_was_agreed_to(run, competition):
    paths, videos, output = competition
    asked = run("labels", *paths, "--videos", videos, "-o", output, "-f", "csv")
    assert asked.exit_code == 2
    assert "--yes" in asked.stderr
    assert not output.exists()
    assert len(asked.stdout.splitlines()) == 25
    done = run("labels", *paths, "--videos", videos, "-o", output, "--yes", "-f", "csv")
    assert done.exit_code == 0, done.stderr
    rows = manifest(output)
    assert len(rows) == 24
    for row in rows:
        assert (output.parent / row["path"]).exists()
        assert row["skater"].replace(" ", "_").lower() in row["path"]
        assert ("_sp" in row["path"]) == (row["segment"] == "SHORT PROGRAM")
        assert float(row["PCS"]) == pytest.approx(float(row["PCS_printed"]) / float(row["factor"]), abs=1e-4)
    by_split = {split: {row["skater"] for row in rows if row["split"] == split} for split in ("train", "val", "test")}
    assert all(by_split.values())
    assert not by_split["train"] & (by_split["val"] | by_split["test"])
    assert not by_split["val"] & by_split["test"]

    # Through a link, of which `..` leads elsewhere.
    (output.parent / "far" / "deep").mkdir(parents=True)
    (output.parent / "link").symlink_to("far/deep")
    through = output.parent / "link" / "m.csv"
    assert run("labels", *paths, "--videos", videos, "-o", through, "--yes", "-f", "csv").exit_code == 0
    assert all((through.parent / row["path"]).exists() for row in manifest(through))


def test_a_map_says_which_video(run, competition, tmp_path):
    paths, videos, output = competition
    lines = ["skater,segment,path", "ana river,SHORT PROGRAM,bo_stone_fs.mp4", "Bo STONE,FREE SKATING,cem_field_sp.mp4"]
    (tmp_path / "map.csv").write_text("\n".join(lines))
    result = run("labels", *paths, "--videos", videos, "-o", output, "--map", tmp_path / "map.csv", "-f", "csv", "-q")
    assert result.exit_code == 0, result.stderr
    assert {(row["skater"], Path(row["path"]).name) for row in manifest(output)} == {
        ("Ana RIVER", "bo_stone_fs.mp4"), ("Bo STONE", "cem_field_sp.mp4")}  # fmt: skip
    for wrong, cause in (
        ("Ana RIVER,,bo_stone_fs.mp4", "2 performances"),
        ("No one,,bo_stone_fs.mp4", "0 performances"),
        ("Ana RIVER,SHORT PROGRAM,gone.mp4", "no such video"),
        (
            "Ana RIVER,SHORT PROGRAM,bo_stone_fs.mp4\nBo STONE,FREE SKATING,bo_stone_fs.mp4",
            "line 3: the performance or",
        ),
        (
            "Ana RIVER,SHORT PROGRAM,bo_stone_fs.mp4\nAna RIVER,SHORT PROGRAM,cem_field_sp.mp4",
            "line 3: the performance",
        ),
    ):
        (tmp_path / "map.csv").write_text(f"skater,segment,path\n{wrong}")
        refused = run("labels", *paths, "--videos", videos, "-o", output, "--map", tmp_path / "map.csv")
        assert refused.exit_code == 1
        assert cause in refused.stderr


def test_who_skated_together_stays_together(tmp_path):
    rows = performances(tmp_path, drawn(10, 3, names=["A ONE / B TWO", "B TWO / C THREE", "C THREE / D FOUR"]))
    rows += performances(tmp_path, drawn(11, 6, names=[f"X{i} ALONE" for i in range(6)]), name="b.pdf")
    for seed in range(5):
        found = splits(rows, {"test": 30, "val": 20}, seed)
        assert len(set(found[:3])) == 1
        assert found == splits(rows, {"test": 30, "val": 20}, seed)
        assert {"train", "val", "test"} >= set(found)
    assert len({tuple(splits(rows, {"test": 30, "val": 20}, seed)) for seed in range(8)}) > 1


def test_the_manifest_is_one_that_training_reads(run, competition):
    """Columns about the skater are nobody's scores."""
    from mlavl_cli.datasets.manifest import load_manifest

    paths, videos, output = competition
    run("labels", *paths, "--videos", videos, "-o", output, "--yes")

    class Asked:
        def of(self, sources, ready):
            raise DataError(f"asked for {sources[0].path.name}")

    with pytest.raises(DataError, match="asked for"):
        load_manifest(output, "skating", {}, Asked())


def test_training_on_both_systems_says_so(tmp_path):
    """CO has one name and two meanings."""
    from test_strangers_methods import entry

    from mlavl_cli.datasets.load import load_dataset
    from mlavl_cli.device import place

    def load(rows):
        lines = ["path,split,CO,SS,PR,skater"]
        for i, (split, ss, pr) in enumerate(rows):
            entry(tmp_path / f"{i}.safetensors")
            lines.append(f"{i}.safetensors,{split},{5 + i},{ss},{pr},Ana {i}")
        (tmp_path / "m.csv").write_text("\n".join(lines))
        return load_dataset("manifest", tmp_path / "m.csv", place("cpu"))

    mixed = load([("train", 7, ""), ("train", "", 8), ("test", 7, "")])
    assert [note for note in mixed.notes if "1 routines have five components, 1 have three" in note]
    assert mixed.ranges == {"CO": (0, 10), "SS": (0, 10), "PR": (0, 10)}
    assert not load([("train", 7, ""), ("train", 6, ""), ("test", "", 8)]).notes
