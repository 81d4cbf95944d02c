import contextlib
import json

import pytest
import torch
from heads.test_mlavl import head
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from mlavl_cli.errors import WeightsError
from mlavl_cli.heads.checkpoint import TargetHead, load_head, save_head


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "TES.safetensors"
    save_head(
        path,
        TargetHead(head(), "TES", (0.0, 130.0), ("bad", "poor", "fair", "good", "excellent", "perfect"), ("a", "b")),
    )
    return path


@torch.no_grad()
def test_round_trip_gives_the_same_scores(saved):
    loaded = load_head(saved)
    visual, audio = torch.randn(2, 4, 24), torch.randn(2, 4, 20)
    scores = loaded.model(visual, audio).score
    torch.testing.assert_close(scores, head()(visual, audio).score)
    assert torch.equal(scores, load_head(saved).model(visual, audio).score)
    assert (loaded.target, loaded.score_range, loaded.prompts) == ("TES", (0.0, 130.0), ("a", "b"))
    assert loaded.points(0.5) == 65
    assert not loaded.model.training


def test_the_same_head_gives_the_same_bytes(saved, tmp_path):
    save_head(tmp_path / "again", load_head(saved))
    assert (tmp_path / "again").read_bytes() == saved.read_bytes()


def rewrite(path, change_metadata=None, change_tensors=None):
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        metadata = json.loads(file.metadata()["mlavl"])
    tensors = load_file(path)
    (change_metadata or (lambda m: None))(metadata)
    (change_tensors or (lambda t: None))(tensors)
    save_file(tensors, path, metadata={"mlavl": json.dumps(metadata)})


@pytest.mark.parametrize(
    ("metadata", "tensors", "cause"),
    [
        (lambda m: m.update(version=99), None, "version 99"),
        (lambda m: m["dims"].update(width=64), None, "has shape"),
        (lambda m: m["dims"].update(width=4_000, heads=2), None, "has shape"),
        (lambda m: m["dims"].update(width="32"), None, "wrong kind"),
        (lambda m: m["dims"].update(surprise=1), None, "dimensions"),
        (lambda m: m["dims"].pop("actions"), None, "dimensions"),
        (lambda m: m.update(score_range=[1, 1]), None, "score range"),
        (lambda m: m.pop("target"), None, "no head of mlavl"),
        (None, lambda t: t.pop("dpg.w"), "dpg.w has shape None"),
        (None, lambda t: t.update(extra=torch.zeros(1)), "extra has shape"),
    ],
)
def test_a_head_that_does_not_fit_itself_is_named(saved, metadata, tensors, cause):
    rewrite(saved, metadata, tensors)
    with pytest.raises(WeightsError, match=cause) as caught:
        load_head(saved)
    assert str(saved) in str(caught.value)


@settings(max_examples=50, deadline=None)
@given(at=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255), cut=st.booleans())
def test_damage_is_an_error_of_ours_or_no_harm(tmp_path_factory, at, flip, cut):
    path = tmp_path_factory.mktemp("h") / "h.safetensors"
    save_head(path, TargetHead(head(), "TES", (0.0, 1.0), ("bad",) * 6))
    data = bytearray(path.read_bytes())
    where = int(at * at * len(data))  # more often in the header
    data = data[:where] if cut else data[:where] + bytes([data[where] ^ flip]) + data[where + 1 :]
    path.write_bytes(data)
    with contextlib.suppress(WeightsError):
        assert isinstance(load_head(path), TargetHead)


def test_missing(tmp_path):
    with pytest.raises(WeightsError, match="no such head"):
        load_head(tmp_path / "none.safetensors")
