"""Recipes by name, and the run of the learning rate."""

import json
import math

import pytest
import torch
from datasets import layouts
from torch.optim.lr_scheduler import CosineAnnealingLR

from mlavl_cli.datasets.public import PUBLIC_SETS, set_of_range
from mlavl_cli.errors import UsageError
from mlavl_cli.training.recipes import rate, recipe


def test_a_cosine_is_torch_s():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    schedule = CosineAnnealingLR(optimizer, T_max=20, eta_min=0.003)
    for epoch in range(20):
        assert 0.3 * rate(epoch, 20, "cosine") == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()


def test_warm_up_is_linear_and_the_rest_follows():
    rates = [rate(epoch, 14, "cosine", warmup=4) for epoch in range(14)]
    assert rates[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates[9] == pytest.approx(0.01 + 0.99 / 2)
    assert rates == sorted(rates[:4]) + sorted(rates[4:], reverse=True)


def test_multistep():
    assert [rate(e, 8, "multistep") for e in (0, 3, 4, 5, 6)] == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    assert [rate(e, 8, "multistep", milestones=(1,)) for e in (0, 1, 7)] == pytest.approx([1, 0.1, 0.1])
    assert {rate(e, 8, "constant") for e in range(8)} == {1.0}


def test_recipes_of_the_official_code():
    found = {name: recipe("official-example", public) for name, public in PUBLIC_SETS.items()}
    assert {name: one.epochs for name, one in found.items()} == {"fs1000": 250, "fisv": 400, "rg": 500, "logo": 150}
    assert {(one.lr, one.dropout) for one in found.values()} == {(1e-2, 0.3)}
    options = recipe("official-options", None)
    assert (options.epochs, options.lr, options.dropout) == (400, 1e-3, 0.0)
    with pytest.raises(UsageError, match="public datasets alone"):
        recipe("official-example", None)


def test_datasets_are_told_by_their_ranges():
    assert set_of_range("TES", (0.0, 130.0)).name == "FS1000"
    assert set_of_range("PCS", (0.0, 40.0)).window == 124
    assert set_of_range("Hoop", (0.0, 25.0)).window == 68
    assert set_of_range("TES", (0.0, 90.0)) is None


@pytest.mark.parametrize(
    "options",
    [
        ["--optimizer", "adamw", "--schedule", "multistep", "--milestone", "2", "--warmup", "1"],
        ["--optimizer", "rmsprop", "--schedule", "constant"],
        ["--recipe", "official-example"],
        ["--recipe", "official-options"],
    ],
)
def test_every_recipe_trains(run, tmp_path, options):
    layouts.fisv(tmp_path / "d")
    text = layouts.text_features(tmp_path / "text.npy")
    command = ["train", "fisv", tmp_path / "d", "-t", "TES", "--text-features", text, "-o", tmp_path / "out"]
    result = run(*command, "--epochs", "3", "--width", "32", "-f", "json", *options)
    assert result.exit_code == 0, result.stderr
    (row,) = json.loads(result.stdout)
    assert math.isfinite(row["MSE"])
    state = torch.load(tmp_path / "out" / "runs" / "TES" / "mlavl" / "last.pt", weights_only=True)
    config = state["settings"]["config"]
    assert config["lr"] == (1e-2 if "official-example" in options else 1e-3)
    dropout = 0.0 if "official-options" in options else 0.3
    assert state["settings"]["dims"]["dropout"] == dropout
