"""The pictures of README.md and docs/ show the pages of today."""

import json
import re

import pytest
from screenshots import FOLDER, MADE_OF, ROOT, figures, sources

from mlavl_cli.bundle import find_bundle
from mlavl_cli.heads.checkpoint import load_head


def test_pictures_are_no_older_than_the_pages():
    made = json.loads(MADE_OF.read_text())
    assert made["sources"] == sources(), "the pages have changed: run make screenshots, and look at the pictures"


@pytest.mark.slow
def test_pictures_show_the_figures_of_today():
    made, shown = json.loads(MADE_OF.read_text()), figures()
    assert set(shown) == set(made["figures"])
    for target, path in find_bundle("mini").heads.items():
        low, high = load_head(path).score_range
        # Number formats of other machines move a score by less than half a per cent of its range.
        assert made["figures"][target] == pytest.approx(shown[target], abs=0.005 * (high - low))


def test_every_picture_that_is_named_is_there():
    named = set()
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        named |= {re.sub(r"^\.\./", "", link) for link in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text())}
    assert named == {f".github/{path.name}" for path in FOLDER.glob("*.png")}
