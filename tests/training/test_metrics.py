import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlavl_cli.training.metrics import auc, fisher_mean, measure

SCORES = st.lists(st.integers(0, 40), min_size=3, max_size=12)


def ranks(values):
    return [sum(o < v for o in values) + (sum(o == v for o in values) + 1) / 2 for v in values]


@settings(max_examples=60, deadline=None)
@given(SCORES, st.randoms(use_true_random=False))
def test_srcc_is_pearson_of_ranks(true, random):
    predicted = [score + random.uniform(-9, 9) for score in true]
    found = measure(np.array(predicted), np.array(true, float)).srcc
    if len(set(true)) == 1:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(np.corrcoef(ranks(predicted), ranks(true))[0, 1], abs=1e-9)


def test_by_hand():
    found = measure(np.array([1.0, 3.0, 2.0]), np.array([1.0, 2.0, 5.0]))
    assert found.mse == pytest.approx((0 + 1 + 9) / 3)
    assert found.relative_l2 == pytest.approx(100 * (0 + 1 / 16 + 9 / 16) / 3)
    assert found.srcc == pytest.approx(0.5)
    assert found.n == 3


def test_intervals_hold_the_value_and_repeat():
    rng = np.random.default_rng(0)
    true = rng.normal(size=60)
    predicted = true + rng.normal(0, 0.5, 60)
    first, second = (measure(predicted, true, bootstraps=300) for _ in range(2))
    assert first == second
    for name, (low, high) in first.intervals.items():
        assert low < getattr(first, name) < high


def test_fisher_mean():
    expected = math.tanh((math.atanh(0.766) + math.atanh(0.863)) / 2)
    assert fisher_mean([0.766, 0.863]) == pytest.approx(expected)
    assert fisher_mean([1.0, 1.0]) == pytest.approx(1.0)


@settings(max_examples=60, deadline=None)
@given(SCORES, SCORES)
def test_auc_counts_pairs(positive, negative):
    pairs = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    assert auc(np.array(positive, float), np.array(negative, float)) == pytest.approx(np.mean(pairs))
