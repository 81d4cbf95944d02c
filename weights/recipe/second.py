"""Second part of the towers' training: from what pretrain.py left, with new linear layers, the music first.

    python weights/recipe/second.py FIRST OUT

    music     the audio tower alone: accents and tempo of the music. It costs a quarter of a step with pictures.
    readers   towers held, all linear layers of pretrain.py learned anew
    all       pretrain.py's losses, the clip's accents twice, at a third of its rate, falling to nothing

FIRST is what pretrain.py made. Progress is saved every 250 steps in OUT/second.pt; the same command goes on from there.
OUT becomes a bundle without heads.
"""

import argparse
import math
import shutil
import time
from pathlib import Path

import numpy as np
import torch
from clips import Routine, clip_truth, draw, spectrograms_of
from pretrain import BATCH, SEED, TRAIN, VAL, Pretraining, losses, save_bundle, validate
from torch import nn
from torch.nn import functional as F
from tower import PICTURE, keep_times_apart

from mlavl_cli.features.prompts import Prompts, sport_prompts
from mlavl_cli.files import atomic_write

MUSIC, READERS, ALL = 2000, 300, 2000  # steps
MUSIC_BATCH = 160


def take_towers(model: Pretraining, first: Path) -> None:
    for name, tower in model.towers().items():
        begun = type(tower).from_pretrained(first / "backbones" / name, dtype=torch.float32)
        tower.load_state_dict(begun.state_dict())


def rate(step: int) -> float:
    if step < MUSIC:
        return 1e-3 * min(1, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * step / MUSIC))
    if step < MUSIC + READERS:
        return 2e-3
    done = (step - MUSIC - READERS) / ALL
    return 3e-4 * min(1, 25 * done) * (1 - done)


def music_losses(model: Pretraining, routines: list[Routine], rng: np.random.Generator, prompts: Prompts) -> dict:
    starts = [int(rng.integers(routine.starts)) for routine in routines]
    true = clip_truth(routines, starts, prompts.actions)
    heard = model.hear(spectrograms_of(routines, starts, np.zeros(len(routines)), model.listen))
    return {
        "music accents": 15 * F.mse_loss(model.music_accents(heard), true.heard),
        "tempo": 0.5 * F.mse_loss(model.tempo(heard)[:, 0], true.tempo),
    }


def train(out: Path, model: Pretraining, routines: list[Routine], judged: list[Routine], prompts: Prompts) -> None:
    by_rate = {fps: [r for r in routines if r.fps == fps] for fps in sorted({r.fps for r in routines})}
    shares = np.array([len(found) for found in by_rate.values()]) / len(routines)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.02)
    first, saved = 0, out / "second.pt"
    if saved.exists():
        state = torch.load(saved, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    begin, sums, counted = time.time(), {}, 0
    for step in range(first, MUSIC + READERS + ALL):
        rng = np.random.default_rng([SEED, 2, step])
        torch.manual_seed(SEED + 100_000 + step)
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        music, held = step < MUSIC, MUSIC <= step < MUSIC + READERS
        for tower in model.towers().values():
            tower.requires_grad_(not held)
        found = by_rate[list(by_rate)[rng.choice(len(by_rate), p=shares)]]
        count = MUSIC_BATCH if music else BATCH
        chosen = [found[i] for i in rng.choice(len(found), count, replace=len(found) < count)]
        asked = music_losses(model, chosen, rng, prompts) if music else losses(model, chosen, rng, prompts, hold=True)
        if not music:
            asked["accents"] = 2 * asked["accents"]  # the rest is learned well by now
        optimizer.zero_grad(set_to_none=True)
        sum(asked.values()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        keep_times_apart(model.look.network.model)
        counted += 1
        for name, value in asked.items():
            sums[name] = sums.get(name, 0.0) + value.item()
        done = step + 1
        if done % 100 == 0:
            said = "  ".join(f"{name} {value / counted:.3f}" for name, value in sums.items())
            print(f"{done}  {(time.time() - begin) / (done - first):.2f} s a step  {said}", flush=True)
        if done % 250 == 0 or done in (MUSIC, MUSIC + READERS, MUSIC + READERS + ALL):
            print("   val", {k: round(v, 3) for k, v in validate(model, judged, prompts).items()}, flush=True)
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": done}
            with atomic_write(saved) as file:
                torch.save(state, file)
        if done % 100 == 0 or done in (MUSIC, MUSIC + READERS):
            sums, counted = {}, 0


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("first", type=Path)
    options.add_argument("out", type=Path)
    options.add_argument("--cache", type=Path, help="Where drawn routines are kept.  [default: FIRST/cache]")
    given = options.parse_args()
    prompts, backbones = sport_prompts("skating"), given.out / "backbones"
    # The towers' words keep their numbers.
    shutil.copytree(given.first / "backbones" / "text", backbones / "text", dirs_exist_ok=True)
    model = Pretraining(backbones, prompts)
    take_towers(model, given.first)
    routines, val = (
        [draw(recipe, given.cache or given.first / "cache", PICTURE, model.listen) for recipe in recipes]
        for recipes in (TRAIN, VAL)
    )
    train(given.out, model, routines, val, prompts)
    save_bundle(given.out, model, len(routines))


if __name__ == "__main__":
    main()
