"""What librosa compiles for the beats of a page: kept in one archive, so that processes can't break each other's."""

import os
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import make_video, shell

from mlavl_cli.leftovers import own_mark


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    return make_video(tmp_path_factory.mktemp("rhythm") / "routine.mp4", 70)


@pytest.fixture(scope="module")
def kept(tmp_path_factory, video) -> Path:
    """The archive that a first page leaves."""
    folder = tmp_path_factory.mktemp("kept")
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    assert shell("score", video, "--report", folder / "pages").exit_code == 0
    return Path(shutil.copy(Path(cache) / "mlavl" / "librosa.zip", folder))


def archive_in(cache: Path) -> Path:
    (cache / "mlavl").mkdir(parents=True, exist_ok=True)
    return cache / "mlavl" / "librosa.zip"


def test_a_page_reads_what_an_earlier_one_compiled(tmp_path, video, kept):
    archive = Path(shutil.copy(kept, archive_in(tmp_path / "cache")))
    before, elsewhere, temporary = archive.stat().st_mtime_ns, tmp_path / "numba", tmp_path / "tmp"
    elsewhere.mkdir(), temporary.mkdir()
    machine = own_mark().split("-")[0]
    marks = (f"{machine}-99999999", own_mark(), "0a1b2c3d-99999999")
    left, under_way, others = (tmp_path / "cache" / "mlavl" / f"process-{mark}-x" for mark in marks)
    for folder in (left, under_way, others):
        (folder / "new").mkdir(parents=True)
        (folder / "new" / "x").touch()
    done = shell(
        "score", video, "--report", tmp_path / "pages",
        XDG_CACHE_HOME=str(tmp_path / "cache"), NUMBA_CACHE_DIR=str(elsewhere), TMPDIR=str(temporary),
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert 'class="beat"' in (tmp_path / "pages" / "routine.mp4.html").read_text()
    assert archive.stat().st_mtime_ns == before  # nothing was compiled anew
    assert not list(elsewhere.rglob("*"))  # and numba's cache, which others share, was neither filled nor read
    assert not list(temporary.rglob("*.nb?"))
    assert not list(temporary.glob("mlavl-*"))
    assert sorted(archive.parent.glob("process-*")) == sorted([under_way, others])  # what a killed process left is gone


def test_a_page_without_a_place_for_compiled_code_has_no_beats(tmp_path, video):
    nowhere = str(tmp_path / "none")
    code = f"import tempfile; tempfile.tempdir = {nowhere!r}; from mlavl_cli.output.report.rhythm import rhythm; " + (
        "import numpy; print(rhythm([(0.0, numpy.ones(32000, 'f'))]))"
    )
    settings = {**os.environ, "XDG_CACHE_HOME": nowhere + "/cache"}
    (tmp_path / "none").touch()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=settings)
    assert (done.stdout, done.returncode) == ("([], [], None)\n", 0), done.stderr


def _cut(archive: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:-5000])


def _damage(archive: Path) -> None:
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 255
    archive.write_bytes(content)


def _give_away(archive: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    os.chown(archive, 1234, 1234)


@pytest.mark.slow
@pytest.mark.parametrize("harm", [_cut, _damage, _give_away, Path.unlink])
def test_an_archive_that_is_not_whole_or_another_users_is_made_anew(tmp_path, video, kept, harm):
    archive = Path(shutil.copy(kept, archive_in(tmp_path)))
    names = set(zipfile.ZipFile(kept).namelist())
    harm(archive)
    done = shell("score", video, "--report", tmp_path / "pages", XDG_CACHE_HOME=str(tmp_path))
    assert done.exit_code == 0, done.stderr
    with zipfile.ZipFile(archive) as made:
        assert made.testzip() is None
        assert {Path(name).name for name in made.namelist()} == {Path(name).name for name in names}
    assert not hasattr(os, "geteuid") or archive.stat().st_uid == os.geteuid()


@pytest.mark.slow
def test_first_pages_of_several_processes_at_once_end_well(tmp_path, video):
    def first_page(number: int):
        return shell("score", video, "--report", tmp_path / f"pages{number}", XDG_CACHE_HOME=str(tmp_path / "cache"))

    with ThreadPoolExecutor(3) as pool:
        runs = [*pool.map(first_page, range(3)), first_page(3)]
    assert [run.exit_code for run in runs] == [0] * 4
    assert zipfile.ZipFile(archive_in(tmp_path / "cache")).testzip() is None
