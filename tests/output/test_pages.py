"""Reports, as a coach opens them: in a real browser, from file://."""

import shutil
from pathlib import Path

import pytest
from conftest import make_video, shell

HOSTILE = '<img src=x onerror=alert(1)> & "it\'s" #1 100%?.mp4'
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
in_a_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium here; Debian: apt-get install chromium")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Three videos below one folder, one of them silent, one of a hostile name; reported in one run."""
    folder = tmp_path_factory.mktemp("report")
    make_video(folder / "in" / HOSTILE, 330)
    make_video(folder / "in" / "deep" / "two.mp4", 70)
    make_video(folder / "in" / "silent.mp4", 40, sound=None)
    result = shell("score", folder / "in", "--report", folder / "out", "-f", "json", "--features", folder / "store")
    assert result.exit_code == 0, result.stderr
    return folder, {Path(one["video"]["path"]).name: one for one in result.json()}


def assert_accessible(browse, path, width, scheme):
    """A page fits its window, and axe finds nothing, with all of it unfolded."""
    from axe_playwright_python.sync_playwright import Axe

    page = browse(color_scheme=scheme, viewport={"width": width, "height": 800}, bypass_csp=True).open(path).page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for summary in page.locator("summary").all():
        summary.click()
    found = Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []


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
        state = (
            "(v => [v.currentTime, v.paused, v.playbackRate, v.readyState, v.seeking])(document.querySelector('video'))"
        )
        raise AssertionError(f"never: {condition}; {self.page.evaluate(state)}; {self.said}")


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
        seen.page.evaluate("document.querySelector('.lanes').scrollIntoView({ block: 'end' })")
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
    starts = [float(one.get_attribute("data-start")) for one in page.locator(".moments [data-loop]").all()]
    ends = [float(one.get_attribute("data-end")) for one in page.locator(".moments [data-loop]").all()]
    (number,) = (i for i in range(len(starts)) if starts[i] <= weakest["start_s"] < ends[i] - 0.01)
    page.locator(".moments li > button:first-child").nth(number).click()
    seen.until(f"document.querySelector('video').currentTime >= {starts[number]:.3f}")
    seen.until("!document.querySelector('video').paused")
    box, room = lanes.bounding_box(), page.viewport_size["height"]
    assert box["y"] >= 0
    assert box["y"] + box["height"] <= room  # the row that was chosen is in sight,
    assert page.locator("video").bounding_box()["y"] >= 0  # and so is the player


@in_a_browser
def test_keys_work_wherever_the_focus_is_and_are_listed(report, browse):
    folder, scores = report
    seen = browse().open(page_of(folder))
    page, clips = seen.page, scores[HOSTILE]["clips"]
    seen.until("document.querySelector('video').readyState >= 1")
    at = lambda: page.evaluate("document.querySelector('video').currentTime")  # noqa: E731
    page.keyboard.press("ArrowRight")
    seen.until(f"Math.abs(document.querySelector('video').currentTime - {clips[1]['start_s']}) < 0.01")
    page.keyboard.press(".")
    seen.until(f"document.querySelector('video').currentTime > {clips[1]['start_s']} + 0.04")
    assert at() < clips[1]["start_s"] + 0.08  # one frame of 40 ms on
    page.keyboard.press("h")
    assert page.evaluate("document.querySelector('video').playbackRate") == 0.5
    page.keyboard.press("l")
    assert page.locator("[data-do=loop]").get_attribute("aria-pressed") == "true"
    page.keyboard.press("h")
    for _ in range(2):  # it comes to the end of the clip, and goes back
        seen.until(f"document.querySelector('video').currentTime > {clips[1]['end_s'] - 0.3}")
        seen.until(f"document.querySelector('video').currentTime < {clips[1]['end_s'] - 0.6}")
    page.keyboard.press("k")
    seen.until("document.querySelector('video').paused")
    page.keyboard.press("+")
    assert page.locator(".lanes").bounding_box()["width"] > 1.4 * page.locator(".window").bounding_box()["width"]
    page.keyboard.press("0")
    page.locator("summary", has_text="Keys").click()
    listed = page.locator("details", has_text="Keys").inner_text()
    for name in ("space", "left", "Home", "comma", "W", "L", "H", "plus", "N"):
        assert name in listed
    page.keyboard.press("n")
    page.keyboard.type("k l")  # into the note, where they are letters
    assert page.locator(".add input").input_value() == "k l"
    page.keyboard.press("Escape")
    page.keyboard.press("k")  # and after it they are keys again,
    seen.until("!document.querySelector('video').paused")
    page.locator("[data-do=slow]").click()
    page.keyboard.press(" ")  # also after a button was clicked
    seen.until("document.querySelector('video').paused")
    assert page.evaluate("document.querySelector('video').playbackRate") == 0.5
    assert seen.said == []


@in_a_browser
def test_hovering_shows_the_frame_and_two_fingers_zoom(report, browse):
    folder, _ = report
    seen = browse(has_touch=True).open(page_of(folder))
    page = seen.page
    page.evaluate("document.querySelector('.lanes').scrollIntoView({ block: 'end' })")
    box = page.locator(".lanes").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.55, box["y"] + 60)
    assert page.locator(".hover span").inner_text().startswith("clip 6, ")
    assert page.locator(".hover img").get_attribute("src").startswith("data:image/jpeg")
    session = page.context.new_cdp_session(page)
    middle, y = box["x"] + box["width"] / 2, box["y"] + 60

    def touch(kind, apart):
        points = [{"x": middle - apart, "y": y}, {"x": middle + apart, "y": y}] if apart else []
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", 50)
    for apart in (60, 80, 100):
        touch("touchMove", apart)
    touch("touchEnd", 0)
    seen.until(f"Math.abs(document.querySelector('.lanes').offsetWidth / {2 * box['width']} - 1) < 0.05")
    ticks = page.locator(".ticks span").count()
    page.locator("[data-do=whole]").click()
    assert page.locator(".ticks span").count() < ticks
    page.touchscreen.tap(box["x"] + box["width"] * 0.35, page.locator(".lanes").bounding_box()["y"] + 60)
    assert page.locator(".lanes").get_attribute("aria-valuenow") == "4"


@in_a_browser
def test_a_moved_video_asks_for_its_file(report, browse, tmp_path):
    folder, scores = report
    (tmp_path / "page.html").write_text(page_of(folder).read_text())  # its video isn't where the link leads from here
    seen = browse().open(tmp_path / "page.html")
    missing = seen.page.locator(".missing")
    missing.wait_for(state="visible")
    seen.page.keyboard.press("ArrowRight")  # what was asked for is kept
    missing.locator("input").set_input_files(folder / "in" / HOSTILE)
    seen.until("document.querySelector('video').readyState >= 1")
    assert missing.is_hidden()
    assert seen.page.locator(".other").is_hidden()
    start = scores[HOSTILE]["clips"][1]["start_s"]
    seen.until(f"Math.abs(document.querySelector('video').currentTime - {start}) < 0.01")
    seen.page.locator(".missing input").set_input_files(folder / "in" / "deep" / "two.mp4")
    seen.page.locator(".other", has_text="is it another?").wait_for(state="visible")
    # Where another lies in its place, too.
    seen.open(page_of(folder))
    assert seen.page.locator(".other").is_hidden()
    seen.page.evaluate(
        "url => { document.querySelector('video').src = url; }", (folder / "in" / "deep" / "two.mp4").as_uri()
    )
    seen.page.locator(".other", has_text="is it another?").wait_for(state="visible")
    # Dropped, it is taken too.
    seen.open(tmp_path / "page.html")
    missing.wait_for(state="visible")
    content = list((folder / "in" / HOSTILE).read_bytes())
    seen.page.evaluate(
        """(content) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(content)], "moved.mp4", { type: "video/mp4" }));
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
        }""",
        content,
    )
    seen.until("document.querySelector('video').readyState >= 1")
    assert missing.is_hidden()


@in_a_browser
def test_notes_are_kept_and_saved_and_found_by_the_next_report(report, browse):
    import csv
    import io

    folder, _ = report
    path = folder / "out" / "deep" / "two.mp4.html"
    seen = browse(accept_downloads=True)
    seen.page.add_init_script("delete window.showSaveFilePicker")  # which asks the person
    page = seen.open(path).page
    seen.until("document.querySelector('video').readyState >= 1")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("n")
    page.keyboard.type('=late, "again" <b>')
    page.keyboard.press("Enter")
    page.reload()
    assert page.locator(".jots li").inner_text().startswith('0:01.3 =late, "again" <b>')
    saved = {}
    for form in ("json", "csv", "vtt"):
        with page.expect_download() as download:
            page.locator(f"[data-note={form}]").click()
        assert download.value.suggested_filename == f"two.mp4.notes.{form}"
        saved[form] = Path(download.value.path()).read_text()
    (row,) = csv.DictReader(io.StringIO(saved["csv"]))
    assert row == {"time_s": "1.281", "time": "0:01.3", "note": '\'=late, "again" <b>'}
    assert '00:00:01.281 --> 00:00:05.281\n=late, "again" &lt;b>' in saved["vtt"]
    path.with_name("two.mp4.notes.json").write_text(saved["json"])
    again = ("score", folder / "in", "--report", folder / "out", "-q", "--features", folder / "store")
    assert shell(*again).exit_code == 0
    fresh = browse().open(path)  # another browser, that knows nothing
    assert fresh.page.locator(".jots li").count() == 1
    page.reload()
    assert page.locator(".jots li").count() == 1  # not twice
    page.locator(".jots li button", has_text="Remove").click()
    page.reload()
    assert page.locator(".jots li").count() == 0  # nor back again
    assert seen.said == fresh.said == []


@in_a_browser
def test_no_note_is_a_formula_however_cells_are_parted(report, browse):
    import csv
    import io

    folder, _ = report
    page = browse().open(folder / "out" / "deep" / "two.mp4.html").page
    texts = ["=1", "\uff1d1+1", '"=1+1', 'x;=HYPERLINK("a")', "a\n=cmd|' /C calc'!A0", "\r=2", "x,+cmd", "-2.5", "good"]
    notes = [{"time_s": i, "text": text} for i, text in enumerate(texts)]
    saved = page.evaluate("notes => Notes.prototype.text.call({ notes, name: 'x' }, 'csv')", notes)
    for separator in ",;\t":
        cells = [cell.strip(' "') for row in csv.reader(io.StringIO(saved), delimiter=separator) for cell in row]
        assert not [cell for cell in cells if cell[:1] in tuple("=+@\uff1d") or cell.startswith("-c")], cells
    rows = list(csv.DictReader(io.StringIO(saved)))
    assert [rows[i]["note"] for i in (7, 8)] == ["-2.5", "good"]
    assert len(rows) == len(texts)


@in_a_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_prints_on_one_sheet(report, browse, scheme):
    import io

    import pdfplumber

    folder, scores = report
    seen = browse(color_scheme=scheme).open(page_of(folder))
    with pdfplumber.open(io.BytesIO(seen.page.pdf(prefer_css_page_size=True))) as sheet:
        assert len(sheet.pages) == 1
        words = sheet.pages[0].extract_text()
    for target, score in scores[HOSTILE]["scores"].items():
        assert target in words
        assert f"{score['score']:.2f}" in words
    for part in ("simulated routines", "Out of domain", "Weakest moments", "consistency"):
        assert part in words


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
    names = lambda: [Path(t).name for t in seen.page.locator("tbody a").all_inner_texts()]  # noqa: E731
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
@pytest.mark.parametrize(
    ("width", "scheme"), [(360, "light"), pytest.param(800, "dark", marks=pytest.mark.slow), (1600, "light")]
)
def test_pages_are_accessible_and_fit(report, browse, scheme, width):
    folder, _ = report
    for path in (page_of(folder), page_of(folder, "silent.mp4"), folder / "out" / "index.html"):
        assert_accessible(browse, path, width, scheme)


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
        row = html.split(f'data-target="{target}"')[1].split("</tr>")[0]
        assert f">{score['score']:.2f} <" in row
    assert scores[HOSTILE]["weights"]["trained_on"] in html
    assert html.count("<tr><td><button") == len(scores[HOSTILE]["clips"])


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A routine and the same half a second later, on one page."""
    folder = tmp_path_factory.mktemp("compared")
    for name, frames in (("one", 250), ("two", 260)):
        make_video(folder / "in" / f"{name}.mp4", frames)
    options = ("--offset", "0.5", "--report", folder / "out", "-f", "json")
    result = shell("compare", folder / "in" / "one.mp4", folder / "in" / "two.mp4", *options)
    assert result.exit_code == 0, result.stderr
    return folder / "out" / "one.mp4 and two.mp4.html", result.json()


@in_a_browser
def test_two_videos_play_in_step_by_an_offset_that_can_be_moved(compared, browse):
    path, said = compared
    seen = browse().open(path)
    page = seen.page
    ready = "[...document.querySelectorAll('video')].every((one) => one.readyState >= 1)"
    apart = "(([a, b]) => b.currentTime - a.currentTime)(document.querySelectorAll('video'))"
    seen.until(ready)
    largest = max((m for m in said["moments"] if m["change"] is not None), key=lambda m: abs(m["change"]))
    first = page.locator("button[data-start]").first
    assert float(first.get_attribute("data-start")) == pytest.approx(largest["start_s"])
    first.click()
    seen.until("[...document.querySelectorAll('video')].every((one) => !one.paused)")
    page.wait_for_timeout(700)
    assert page.evaluate(apart) == pytest.approx(0.5, abs=0.12)
    page.keyboard.press("k")
    seen.until("[...document.querySelectorAll('video')].every((one) => one.paused)")
    page.keyboard.press("ArrowLeft")
    seen.until(f"Math.abs({apart} - 0.5) < 0.05")
    page.locator("input[type=range]").fill("1.2")
    seen.until(f"Math.abs({apart} - 1.2) < 0.05")
    page.locator("button", has_text="by the start").click()
    seen.until(f"Math.abs({apart}) < 0.05")
    muted = "[...document.querySelectorAll('video')].map((one) => one.muted)"
    assert page.evaluate(muted) == [False, True]
    page.locator("button", has_text="sound of B").click()
    assert page.evaluate(muted) == [True, False]
    page.locator("summary", has_text="Keys").click()
    listed = page.locator("details", has_text="Keys").inner_text()
    assert "Home" not in listed  # which does nothing here
    assert "half speed" in listed
    page.keyboard.press("h")
    assert page.locator("[data-do=slow]").get_attribute("aria-pressed") == "true"
    for target, one in said["scores"].items():
        assert f"{one['difference']:+.2f}" in page.locator(f"tr[data-target={target}]").inner_text()
    assert seen.said == []


@in_a_browser
@pytest.mark.parametrize(
    ("width", "scheme"), [(360, "dark"), pytest.param(800, "light", marks=pytest.mark.slow), (1600, "dark")]
)
def test_pages_of_two_takes_and_of_a_season_are_accessible_and_fit(report, compared, browse, width, scheme):
    for path in (compared[0], report[0] / "out" / "history.html"):
        assert_accessible(browse, path, width, scheme)
