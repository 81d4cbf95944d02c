"""What the documentation promises is held by the tests that it names."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_test_that_the_documentation_names_is_there():
    for page in sorted((ROOT / "docs").glob("*.md")):
        named = set(re.findall(r"`(test_\w+|tests/[\w/]+\.py)`", page.read_text()))
        files = {name for name in named if name.startswith("tests/")}
        assert [name for name in files if not (ROOT / name).is_file()] == [], page.name
        tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
        assert [name for name in named - files if f"def {name}(" not in tests] == [], page.name


def test_every_row_about_odd_files_names_its_test():
    rows = [line for line in (ROOT / "docs" / "media.md").read_text().splitlines() if line.startswith("| ")]
    rows = [row for row in rows if not row.startswith(("| the file |", "| --- |"))]
    assert len(rows) > 25
    assert [row for row in rows if not re.search(r"`(test_\w+|tests/[\w/]+\.py)`[^|]*\|$", row)] == []


def test_the_readme_is_read_in_one_sitting():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


def test_links_between_pages_lead_somewhere():
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))):
        for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in link:
                assert (page.parent / link).exists(), f"{page.name}: {link}"
