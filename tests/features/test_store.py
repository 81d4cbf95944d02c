"""A store gives back what was put in, and only for the very file and settings it was made from."""

import os
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlavl_cli.errors import FeatureError
from mlavl_cli.features.routine import RoutineFeatures
from mlavl_cli.features.store import FeatureStore, read_features, write_features
from mlavl_cli.inputs import Input
from mlavl_cli.media.decode import VideoInfo

MADE = {"extraction": 2, "backbones": {"visual": {"id": "v"}}, "cutting": {"tail": "drop"}, "precision": "fp32"}


def features(path="a.mp4", clips=3, audio=True, **provenance):
    rng = np.random.default_rng(clips)
    times = np.arange(clips, dtype=np.float64)
    return RoutineFeatures(
        rng.normal(size=(clips, 8)).astype(np.float32),
        rng.normal(size=(clips, 6)).astype(np.float32) if audio else None,
        times,
        times + 1,
        VideoInfo(str(path), float(clips), 25.0, 96, 64, audio),
        {**MADE, **provenance},
        ("a warning",),
    )


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in" / "sub" / "a.mp4"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"picture and sound")
    return Input(path, path.relative_to(tmp_path / "in"))


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path / "out")


@pytest.mark.parametrize("audio", [True, False])
def test_round_trip(store, source, audio):
    kept = features(source.path, audio=audio)
    path = store.put(source, kept)
    assert path == store.folder / "sub" / "a.mp4.safetensors"
    found = store.get(source, MADE)
    np.testing.assert_array_equal(found.visual, kept.visual)
    assert (found.audio is None) == (not audio)
    assert (found.video, found.warnings) == (kept.video, kept.warnings)


def test_any_safetensors_reader_opens_it(store, source):
    from safetensors.numpy import load_file

    kept = features(source.path)
    np.testing.assert_array_equal(load_file(store.put(source, kept))["visual"], kept.visual)


def test_the_same_features_give_the_same_bytes(tmp_path):
    for name in "xy":
        write_features(tmp_path / name, features())
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


def test_other_settings_make_it_stale(store, source):
    store.put(source, features(source.path))
    assert store.get(source, {**MADE, "cutting": {"tail": "pad"}}) is None
    assert store.get(source, {**MADE, "backbones": {"visual": {"id": "w"}}}) is None
    assert store.get(source, {**MADE, "precision": "bf16"}) is None
    assert store.get(source, {**MADE, "precision": "auto"}) is not None


def test_another_content_makes_it_stale_but_a_copy_does_not(store, source):
    store.put(source, features(source.path))
    os.utime(source.path, (1, 1))  # as a copied folder looks
    assert store.get(source, MADE) is not None
    source.path.write_bytes(b"other sound, same s")
    assert store.get(source, MADE) is None
    source.path.write_bytes(b"picture and sounD")  # same size
    assert store.get(source, MADE) is None


def test_nothing_of_this_machine_is_kept(store, source):
    data = store.put(source, features(source.path)).read_bytes()
    assert str(source.path.parent).encode() not in data


@settings(max_examples=80, deadline=None)
@given(at=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255), cut=st.booleans())
def test_a_damaged_entry_is_noticed(tmp_path_factory, at, flip, cut):
    path = tmp_path_factory.mktemp("s") / "a.safetensors"
    write_features(path, features(clips=2))
    data = bytearray(path.read_bytes())
    where = int(at * len(data))
    if cut:
        data = data[:where]
    else:
        data[where] ^= flip
    path.write_bytes(data)
    try:
        found = read_features(path)
    except FeatureError:
        return
    np.testing.assert_array_equal(found.visual, features(clips=2).visual)  # only the description can have changed


def test_a_damaged_entry_is_made_again(store, source):
    path = store.put(source, features(source.path))
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert store.get(source, MADE) is None


def test_a_killed_write_leaves_the_old_file(tmp_path, monkeypatch):
    import mlavl_cli.files as files

    path = tmp_path / "a.safetensors"
    write_features(path, features(clips=2))
    old = path.read_bytes()

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_features(path, features(clips=3))
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.skipif(shutil.which("true") is None, reason="needs a POSIX system")
def test_new_files_obey_the_umask(store, source):
    mask = os.umask(0o027)
    try:
        assert store.put(source, features(source.path)).stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(mask)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"visual": np.full((3, 8), np.nan, np.float32)}, "NaN"),
        ({"audio": np.zeros((2, 6), np.float32)}, "2 clips of audio"),
        ({"visual": np.zeros(3, np.float32)}, "shape"),
        ({"start_s": np.array([0.0, 2.0, 1.0])}, "increase"),
        ({"end_s": np.zeros(2)}, "as many clip times"),
    ],
)
def test_features_that_do_not_fit_are_refused(change, cause):
    values = {**vars(features()), **change}
    with pytest.raises(FeatureError, match=cause):
        RoutineFeatures(**values)
