"""Reports, as a coach opens them: in a real browser, from file://."""

import re
import shutil
from pathlib import Path

import pytest
from conftest import make_video

HOSTILE = '<img src=x onerror=alert(1)> & "it\'s" #1 100%?.mp4'
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
in_a_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium here; Debian: apt-get install chromium")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Three videos below one folder, one of them silent, one of a hostile name; reported in one run."""
    from conftest import shell

    folder = tmp_path_factory.mktemp("report")
    make_video(folder / "in" / HOSTILE, 330)
    make_video(folder / "in" / "deep" / "two.mp4", 70)
    make_video(folder / "in" / "silent.mp4", 40, sound=None)
    result = shell("score", folder / "in", "--report", folder / "out", "-f", "json", "--features", folder / "store")
    assert result.exit_code == 0, result.stderr
    return folder, {Path(one["video"]["path"]).name: one for one in result.json()}


def page_of(folder: Path, name: str = HOSTILE) -> Path:
    return folder / "out" / f"{name}.html"


class Seen:
    """A page in the browser, and all that it asked for, said and raised."""

    def __init__(self, page):
        self.page, self.requests, self.said = page, [], []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("dialog", lambda dialog: (self.said.append(f"dialog: {dialog.message}"), dialog.dismiss()))

    def open(self, path: Path) -> "Seen":
        self.page.goto(path.as_uri())
        self.page.wait_for_load_state("load")
        return self

    def until(self, condition: str) -> None:
        """Asks again and again: the page's own policy forbids what wait_for_function does."""
        for _ in range(100):
            if self.page.evaluate(condition):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"never: {condition}")


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def browse(chromium):
    contexts = []

    def new(**options) -> Seen:
        contexts.append(chromium.new_context(**options))
        return Seen(contexts[-1].new_page())

    yield new
    for context in contexts:
        context.close()


@in_a_browser
def test_a_page_plays_and_a_click_on_a_clip_seeks(report, browse):
    folder, scores = report
    seen = browse().open(page_of(folder))
    clips = scores[HOSTILE]["clips"]
    seen.until("document.querySelector('video').readyState >= 1")
    for index in (7, 2):
        lanes = seen.page.locator(".lanes")
        box = lanes.bounding_box()
        begin, end = clips[0]["start_s"], clips[-1]["end_s"]
        middle = (clips[index]["start_s"] + clips[index]["end_s"]) / 2
        lanes.click(position={"x": box["width"] * (middle - begin) / (end - begin), "y": 30})
        seen.until("!document.querySelector('video').seeking")
        at = seen.page.evaluate("document.querySelector('video').currentTime")
        assert clips[index]["start_s"] <= at < clips[index]["end_s"]
        assert seen.page.locator(".said").inner_text().startswith(f"clip {index + 1}, ")
    assert seen.said == []
    assert all(url.startswith("file:") for url in seen.requests)


@in_a_browser
def test_the_timeline_goes_by_keyboard_and_the_buttons_by_time(report, browse):
    folder, scores = report
    seen = browse().open(page_of(folder))
    seen.until("document.querySelector('video').readyState >= 1")
    page = seen.page
    lanes = page.locator(".lanes")
    lanes.focus()
    count = len(scores[HOSTILE]["clips"])
    for key, now in (("ArrowRight", 2), ("End", count), ("ArrowRight", count), ("ArrowLeft", count - 1), ("Home", 1)):
        page.keyboard.press(key)
        assert lanes.get_attribute("aria-valuenow") == str(now)
    assert "quality" in lanes.get_attribute("aria-valuetext")
    weakest = min(scores[HOSTILE]["clips"], key=lambda clip: clip["consistency"])
    page.locator(f".moments button[data-start='{weakest['start_s']:.6f}']").first.click()
    assert lanes.get_attribute("aria-valuenow") == str(weakest["index"] + 1)


@in_a_browser
def test_a_hostile_name_is_a_name_and_nothing_leaves_the_page(report, browse):
    folder, _ = report
    for path in (page_of(folder), folder / "out" / "index.html"):
        seen = browse().open(path)
        seen.page.wait_for_timeout(200)
        assert seen.said == []
        assert HOSTILE in seen.page.locator("body").inner_text()
        assert all(url.startswith(("file:", "data:")) for url in seen.requests)
        assert seen.page.locator("img[onerror]").count() == 0


@in_a_browser
def test_the_index_sorts_by_any_column_and_leads_to_the_pages(report, browse):
    folder, scores = report
    seen = browse().open(folder / "out" / "index.html")
    heading = seen.page.locator("th", has_text="TES")
    names = lambda: [Path(t).name for t in seen.page.locator("tbody tr td:first-child").all_inner_texts()]  # noqa: E731
    by_score = sorted(scores, key=lambda name: scores[name]["scores"]["TES"]["score"])
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    assert names() == by_score
    heading.locator("button").click()
    assert names() == by_score[::-1]
    seen.page.locator("th", has_text="mean consistency").locator("button").click()
    assert names()[-1] == "silent.mp4"  # it has none
    seen.page.locator("a", has_text="two.mp4").click()
    assert seen.page.locator("h1").inner_text() == "deep/two.mp4"
    seen.page.locator("a", has_text="All routines").click()
    assert seen.page.locator("h1").inner_text() == "Scores of 3 routines"
    assert seen.said == []


@in_a_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1100])
def test_pages_are_accessible_and_fit(report, browse, scheme, width):
    from axe_playwright_python.sync_playwright import Axe

    folder, _ = report
    for path in (page_of(folder), page_of(folder, "silent.mp4"), folder / "out" / "index.html"):
        page = browse(color_scheme=scheme, viewport={"width": width, "height": 800}, bypass_csp=True).open(path).page
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for summary in page.locator("summary").all():
            summary.click()
        broken = [one for one in Axe().run(page).response["violations"] if one["impact"] in ("serious", "critical")]
        assert [(one["id"], one["nodes"][0]["html"]) for one in broken] == []


def test_a_silent_video_has_no_fit_and_no_waveform(report):
    folder, _ = report
    html = page_of(folder, "silent.mp4").read_text()
    assert "<span>consistency</span>" not in html
    assert 'class="wave"' not in html
    assert "no sound: only the visual branch can score it" in html
    heard = page_of(folder).read_text()
    assert "<span>consistency</span>" in heard
    assert 'class="wave"' in heard


def test_numbers_on_the_page_are_those_of_the_json(report):
    folder, scores = report
    html = page_of(folder).read_text()
    for target, score in scores[HOSTILE]["scores"].items():
        card = html.split(f'aria-label="{target}"')[1].split("</section>")[0]
        assert f">{score['score']:.2f} <" in card
    assert scores[HOSTILE]["weights"]["trained_on"] in html
    assert html.count("<tr><td><button") == len(scores[HOSTILE]["clips"])


def test_the_index_keeps_earlier_runs_and_forgets_pages_that_are_gone(run, tmp_path):
    for name in ("a", "b", "c"):
        make_video(tmp_path / f"{name}.mp4", 40)
    out = tmp_path / "out"
    names = lambda: re.findall(r'<a href="([^"]+)">', (out / "index.html").read_text())  # noqa: E731
    assert run("score", tmp_path / "a.mp4", tmp_path / "b.mp4", "--report", out, "-q").exit_code == 0
    assert names() == ["a.mp4.html", "b.mp4.html"]
    (out / "a.mp4.html").unlink()
    assert run("score", tmp_path / "c.mp4", "--report", out, "-q").exit_code == 0
    assert names() == ["b.mp4.html", "c.mp4.html"]
    (out / "index.html").write_text('<script type="application/json" id="data">{"routines": [{"page": 1}]}</script>')
    assert run("score", tmp_path / "c.mp4", "--report", out, "-q").exit_code == 0
    assert names() == ["c.mp4.html"]


def test_a_video_can_be_embedded_and_is_linked_otherwise(run, tmp_path, routine):
    for name, options in (("linked", []), ("whole", ["--report-embed-video"])):
        assert run("score", routine, "--report", tmp_path / name, "-q", *options).exit_code == 0
    sources = [
        re.search(r'<video[^>]* src="([^"]*)"', (tmp_path / name / "routine.mp4.html").read_text())[1]
        for name in ("linked", "whole")
    ]
    assert (tmp_path / "linked" / sources[0]).resolve() == routine
    assert sources[1].startswith("data:video/mp4;base64,")
    assert run("score", routine, "--report-embed-video").exit_code == 2


def test_a_video_too_large_to_embed_is_refused_before_any_work(run, tmp_path, routine, monkeypatch):
    monkeypatch.setattr("mlavl_cli.output.report.write.LARGEST_EMBEDDED", 1000)
    result = run("score", routine, "--report", tmp_path / "r", "--report-embed-video")
    assert result.exit_code == 2
    assert "too large" in result.errors[0]
    assert result.stdout == ""


def test_a_report_that_cannot_be_written_fails_for_that_video_alone(run, tmp_path):
    for name in ("a", "b"):
        make_video(tmp_path / "in" / f"{name}.mp4", 40)
    (tmp_path / "out" / "a.mp4.html").mkdir(parents=True)
    result = run("score", tmp_path / "in", "--report", tmp_path / "out", "-f", "csv")
    assert result.exit_code == 1
    assert len(result.errors) == 1
    assert (tmp_path / "out" / "b.mp4.html").exists()
    assert len(result.stdout.splitlines()) == 3  # the scores are there all the same


def test_webvtt_has_a_cue_a_clip_at_its_time(run, tmp_path):
    make_video(tmp_path / "in" / "deep" / "one.mp4", 100)
    result = run("score", tmp_path / "in", "--vtt", tmp_path / "vtt", "-f", "json")
    (score,) = result.json()
    text = (tmp_path / "vtt" / "deep" / "one.mp4.vtt").read_text()
    assert text.startswith("WEBVTT\n\nNOTE ")
    cues = re.findall(r"\n(\d+)\n(\S+) --> (\S+)\nconsistency (\S+)  quality (\S+)\n", text)
    seconds = lambda t: sum(float(p) * u for p, u in zip(t.split(":"), (3600, 60, 1), strict=True))  # noqa: E731
    for clip, (number, start, end, fit, quality) in zip(score["clips"], cues, strict=True):
        assert int(number) == clip["index"] + 1
        assert seconds(start) == pytest.approx(clip["start_s"], abs=1e-3)
        assert seconds(end) == pytest.approx(clip["end_s"], abs=1e-3)
        assert float(fit) == pytest.approx(clip["consistency"], abs=0.006)
        assert float(quality) == pytest.approx(clip["quality"], abs=0.006)


def test_two_processes_share_an_index(tmp_path):
    import subprocess
    import sys

    for i in range(6):
        make_video(tmp_path / "in" / f"{i}.mp4", 40)
    command = [sys.executable, "-m", "mlavl_cli", "score", tmp_path / "in", "--report", tmp_path / "out", "-q"]
    running = [subprocess.Popen([*command, "--shard", f"{i}/2"], stdout=subprocess.DEVNULL) for i in (1, 2)]
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    names = re.findall(r'<a href="([^"]+)">', (tmp_path / "out" / "index.html").read_text())
    assert names == [f"{i}.mp4.html" for i in range(6)]
