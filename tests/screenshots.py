"""The pictures of pages in README.md and docs/: `make screenshots` makes them, test_screenshots.py says when to."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / ".github"
MADE_OF = FOLDER / "screenshots.json"
SIZES = {"report": (1100, 1500), "compare": (1100, 1250), "history": (1100, 760)}
DRAW_NOTHING = ("__init__.py", "glimpse.py", "links.py", "notes.py", "season.py", "write.py")
DAYS = ("2026-09-05", "2026-10-03", "2026-11-01")


def sources() -> dict[str, str]:
    """What draws the pages: each file's SHA-256."""
    folder = ROOT / "mlavl_cli" / "output" / "report"
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.suffix in (".py", ".css", ".js", ".html") and path.name not in DRAW_NOTHING
    }


def mlavl(*args: object) -> str:
    """What a command prints."""
    command = [sys.executable, "-m", "mlavl_cli", *map(str, args), "--quiet"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


def figures() -> dict[str, float]:
    """The points that the page of the demonstration shows."""
    scores = json.loads(mlavl("score", ROOT / "weights" / "demo.mp4", "--format", "json"))["scores"]
    return {target: round(score["score"], 2) for target, score in scores.items()}


def _pages(folder: Path) -> dict[str, Path]:
    mlavl("synthesize", folder / "made", "--count", 3, "--seed", 27, "--seconds", "30:34", "--size", "320x180")
    for skater in ("anna", "berta"):
        (folder / "season" / skater).mkdir(parents=True)
    made = sorted((folder / "made" / "videos").glob("*.mp4"))
    for day, video in zip(DAYS, made, strict=True):
        shutil.copy(video, folder / "season" / "anna" / f"{day}.mp4")
    shutil.copy(ROOT / "weights" / "demo.mp4", folder / "season" / "berta" / f"{DAYS[1]}.mp4")
    shutil.copy(ROOT / "weights" / "demo.mp4", folder / "demo.mp4")
    mlavl("score", folder / "demo.mp4", "--report", folder / "demo")
    mlavl("score", folder / "season", "--report", folder / "pages")
    takes = [folder / "season" / "anna" / f"{day}.mp4" for day in DAYS[:2]]
    mlavl("compare", *takes, "--report", folder / "pages")
    return {
        "report": folder / "demo" / "demo.mp4.html",
        "compare": folder / "pages" / f"anna {takes[0].name} and anna {takes[1].name}.html",
        "history": folder / "pages" / "history.html",
    }


def main() -> None:
    from playwright.sync_api import sync_playwright

    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for name, path in _pages(Path(folder)).items():
            width, height = SIZES[name]
            page = chromium.new_page(viewport={"width": width, "height": 800}, color_scheme="light")
            page.goto(path.as_uri())
            page.wait_for_timeout(1500)
            whole = {"x": 0, "y": 0, "width": width, "height": height}
            page.screenshot(path=FOLDER / f"{name}.png", full_page=True, clip=whole)
        chromium.close()
    MADE_OF.write_text(json.dumps({"figures": figures(), "sources": sources()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
