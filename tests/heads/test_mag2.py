import pytest
import torch
from heads import graphs
from hypothesis import given, settings
from hypothesis import strategies as st

import mlavl_cli
from mlavl_cli.heads.mlavl.mag2 import MAG2


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=3),
    actions=st.integers(1, 6),
    graph=st.sampled_from(["sage", "gcn", "even"]),
    seed=st.integers(0, 1000),
)
def test_closed_form_equals_the_edge_list(lengths, actions, graph, seed):
    """Any number of clips and actions, lone ones too, and padding that must not be seen."""
    torch.manual_seed(seed)
    guide = MAG2(16, graph).eval()
    guides = torch.randn(actions, 16)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    clips = torch.randn(len(lengths), max(lengths), 16)
    with torch.no_grad():
        out = guide(clips, guides, mask)
        for row, length in enumerate(lengths):
            expected = graphs.mag2(clips[row, :length], guides, guide.state_dict(), graph)
            torch.testing.assert_close(out[row, :length], expected, atol=1e-6, rtol=1e-5)


def test_without_a_mask_all_clips_are_real():
    torch.manual_seed(0)
    guide, clips, actions = MAG2(16).eval(), torch.randn(2, 5, 16), torch.randn(3, 16)
    masked = guide(clips, actions, torch.ones(2, 5, dtype=torch.bool))
    torch.testing.assert_close(guide(clips, actions), masked)


@pytest.mark.parametrize("graph", ["sage", "gcn", "even"])
def test_gradients_reach_clips_and_actions(graph):
    guide = MAG2(8, graph, dropout=0.0).double()
    clips = torch.randn(2, 3, 8, dtype=torch.double, requires_grad=True)
    actions = torch.randn(4, 8, dtype=torch.double, requires_grad=True)
    mask = torch.tensor([[True, True, True], [True, False, False]])
    assert torch.autograd.gradcheck(lambda c, a: guide(c, a, mask)[mask], (clips, actions))


def change_by_length(graph):
    """How far a clip's token moves, at the most, when its routine of 8 clips is skated up to 35 times in a row."""
    torch.manual_seed(0)
    guide = MAG2(32, graph).eval()
    clips, actions = torch.randn(1, 8, 32) + torch.randn(32), torch.randn(42, 32)
    with torch.no_grad():
        once = guide(clips, actions)
        return max((guide(clips.repeat(1, n, 1), actions)[:, :8] - once).abs().max().item() for n in (3, 9, 35))


def test_the_same_clips_read_alike_in_routines_of_any_length():
    """Of 8 to 280 clips. What is left is that a clip isn't its own neighbour."""
    assert change_by_length("even") < 0.15 * change_by_length("sage")


def test_is_public():
    assert mlavl_cli.MAG2 is MAG2
