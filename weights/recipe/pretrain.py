"""Trains the tiny backbones of weights/mini on simulated routines: TimeSformer, AST and CLIP's text tower, together.

    python weights/recipe/pretrain.py OUT

What they learn:

    frames       in each frame, from its token after all layers but the last: where the joints are, and how much of an
                 accent it shows; the latter also as a row that is zero but for the frame's own place in the clip
    attention    from step POINTED on: two heads of the clip's token attend to a frame as it shows an accent (tower.py)
    video-text   which of the sport's action prompts a clip shows (softmax over all prompts, CLIP's objective)
    audio-text   the same from the music, as far as it tells
    audio-video  which music belongs to a clip: against the other clips' and against its own, moved by 0.2 to 0.8 s
    recognition  from one linear layer each: accents of the movement and of the music, tempo, and the measures of
                 clips.py: points, grade, rotations, level, speed, control, projection, landing

Progress is saved every 250 steps in OUT/pretrain.pt; the same command goes on from there. OUT becomes a bundle without
heads, its backbones in Hugging Face's layout, with OUT/routines: features and scores, for `mlavl train`.
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from clips import (
    FRAMES,
    MEASURES,
    POSE,
    POSE_UNIT,
    Routine,
    accents_of,
    clip_truth,
    draw,
    pictures_of,
    pose_of,
    spectrograms_of,
)
from text_tower import save_tokenizer, text_tower
from torch import nn
from torch.nn import functional as F
from tower import HEADS, LAYERS, MIDDLING, PICTURE, STEEP, WIDTH, keep_times_apart, point_at_accents, save_visual, start
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTModel,
)

from mlavl_cli.backbone import BackboneSpec
from mlavl_cli.bundle import Bundle, write_bundle
from mlavl_cli.device import place
from mlavl_cli.features.audio import AudioBackbone
from mlavl_cli.features.prompts import Prompts, as_sentences, sport_prompts
from mlavl_cli.features.visual import load_visual
from mlavl_cli.files import atomic_write
from mlavl_cli.media.cutting import FRAMES_PER_CLIP
from mlavl_cli.simulate.style import TRAINING, VALIDATION
from mlavl_cli.simulate.write import Recipe
from mlavl_cli.training.metrics import auc, pearson

SEED = 20261123
APART, POINTED = 2500, 3000  # steps from which times are kept apart, and from which the keys are held to accents
MUSIC_WIDTH, MUSIC_LAYERS, MEL_BINS, TEXT_WIDTH, SHARED = 96, 2, 64, 64, 64
STYLES = TRAINING[:8]  # of one camera; the heads see more
TRAIN = [Recipe(1000, i, STYLES[i % len(STYLES)]) for i in range(960)]
VAL = [Recipe(2000, i, VALIDATION[0]) for i in range(48)]
STEPS, BATCH, LR, WARM_UP = 4400, 80, 1e-3, 60
FITS = 0.6  # clips whose movement follows the music this well have a music to be found


class Pretraining(nn.Module):
    """The three towers and the linear layers that are thrown away afterwards."""

    def __init__(self, folder: Path, prompts: Prompts):
        super().__init__()
        torch.manual_seed(SEED)
        save_visual(folder / "visual")
        self.look = load_visual(BackboneSpec(str(folder / "visual"), local=True), place("cpu", "fp32"))
        self.look.requires_grad_(True)
        start(self.look.network.model)
        self.pose, self.accent, self.placed = nn.Linear(WIDTH, POSE), nn.Linear(WIDTH, 1), nn.Linear(WIDTH, FRAMES)
        self.ear = ASTModel(
            ASTConfig(
                hidden_size=MUSIC_WIDTH, num_hidden_layers=MUSIC_LAYERS, num_attention_heads=4,
                intermediate_size=2 * MUSIC_WIDTH,
                num_mel_bins=MEL_BINS, max_length=128, frequency_stride=16, time_stride=8,
            )
        )  # fmt: skip
        self.ear.set_attn_implementation("eager")  # with so narrow heads twice as fast
        nn.init.trunc_normal_(self.ear.embeddings.position_embeddings, std=0.02)
        extractor = ASTFeatureExtractor(num_mel_bins=MEL_BINS, max_length=128)
        self.listen = AudioBackbone(self.ear, MEL_BINS, extractor.mean, extractor.std, place("cpu", "fp32"))
        extractor.save_pretrained(folder / "audio")
        tokenizer = save_tokenizer(folder / "text", as_sentences(prompts.texts))
        self.read = text_tower(tokenizer, TEXT_WIDTH)
        count = len(prompts.actions)
        self.tokens = dict(tokenizer(as_sentences(prompts.texts[: 2 * count]), padding=True, return_tensors="pt"))
        self.to_text, self.music_to_text = nn.Linear(WIDTH, TEXT_WIDTH), nn.Linear(MUSIC_WIDTH, TEXT_WIDTH)
        self.to_shared, self.music_to_shared = nn.Linear(WIDTH, SHARED), nn.Linear(MUSIC_WIDTH, SHARED)
        self.measures = nn.Linear(WIDTH, len(MEASURES))
        self.accents, self.music_accents = nn.Linear(WIDTH, FRAMES), nn.Linear(MUSIC_WIDTH, FRAMES)
        self.tempo = nn.Linear(MUSIC_WIDTH, 1)
        self.last = self.look.network.model.encoder.layer[-1].attention.attention.qkv
        self.last.register_forward_pre_hook(lambda _, given: setattr(self, "attended", given[0]))
        self.logit_scale = nn.Parameter(torch.full((3,), math.log(10.0)))

    def towers(self) -> dict[str, nn.Module]:
        return {"visual": self.look.network.model, "audio": self.ear, "text": self.read}

    def see(self, pictures: torch.Tensor, mirrored: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """uint8 (B, FRAMES, height, width, 3) -> clips (B, WIDTH), the token of each frame (B, FRAMES, WIDTH)."""
        pixels = pictures.permute(0, 1, 4, 2, 3).float()
        if self.training:
            pixels = disturbed(pixels.flip(-1) if mirrored else pixels)
        pixels = pixels * self.look.factor + self.look.offset
        with torch.autocast("cpu", torch.bfloat16):
            seen = self.look.network.model(pixels, output_hidden_states=True)
        return seen.last_hidden_state[:, 0].float(), seen.hidden_states[LAYERS - 1][:, 1:].float()

    def hear(self, spectrograms: list[torch.Tensor]) -> torch.Tensor:
        """Of one length each -> (B, WIDTH)."""
        spectrograms = torch.stack(spectrograms)
        if self.training:  # recordings differ in loudness
            spectrograms = spectrograms + 0.15 * torch.randn(len(spectrograms), 1, 1)
        with torch.autocast("cpu", torch.bfloat16):
            return self.listen.pooled(spectrograms).float()


def disturbed(pixels: torch.Tensor) -> torch.Tensor:
    """Other colours, light and places: (B, F, 3, height, width), 0 to 255."""
    count = len(pixels)
    mix = torch.eye(3) + 0.06 * torch.randn(count, 3, 3)
    pixels = torch.einsum("bij,bfjhw->bfihw", mix, pixels - 128) * (1 + 0.08 * torch.randn(count, 1, 1, 1, 1))
    up, left = torch.randint(-1, 2, ()).item(), torch.randint(-2, 3, ()).item()
    return (pixels.roll((up, left), (-2, -1)) + 128 + 6 * torch.randn(count, 1, 1, 1, 1)).clamp(0, 255)


def frame_errors(
    model: Pretraining, by_frame: torch.Tensor, routines: list[Routine], starts: list[int], mirrored: bool, hold: bool
) -> dict[str, torch.Tensor]:
    """What each frame's token should tell."""
    accents = accents_of(routines, starts)
    placed = torch.diag_embed(accents)
    keys = [WIDTH + (head + 1) * WIDTH // HEADS - 1 for head in range(len(STEEP))]
    guessed = F.linear(model.attended.float(), model.last.weight[keys], model.last.bias[keys]) / torch.tensor(STEEP)
    middling = torch.full_like(accents.flatten(), MIDDLING)
    attended = torch.stack([middling, accents.flatten()], 1)[..., None].expand_as(guessed)
    return {
        "attention": 40 * F.mse_loss(guessed, attended) if hold else torch.zeros(()),
        "pose": (((model.pose(by_frame) - pose_of(routines, starts, mirrored)) / POSE_UNIT) ** 2).mean(),
        "accent": 20 * F.mse_loss(model.accent(by_frame)[..., 0], accents),
        "placed": 10 * F.mse_loss(model.placed(by_frame), placed, reduction="sum") / accents.numel(),
    }


def losses(model: Pretraining, routines: list[Routine], rng: np.random.Generator, prompts: Prompts, hold: bool) -> dict:
    """One batch's terms, weighted."""
    starts = [int(rng.integers(routine.starts)) for routine in routines]
    true = clip_truth(routines, starts, prompts.actions)
    moved_by = rng.choice((-1, 1), len(routines)) * rng.uniform(0.2, 0.8, len(routines))
    music = [spectrograms_of(routines, starts, shift, model.listen) for shift in (np.zeros(len(routines)), moved_by)]
    mirrored = bool(rng.random() < 0.5)
    seen, by_frame = model.see(pictures_of(routines, starts), mirrored)
    heard, false = model.hear(music[0] + music[1]).chunk(2)
    texts = F.normalize(model.read(**model.tokens).text_embeds, dim=-1).chunk(2)
    logit_scale = model.logit_scale.exp().clamp(max=100)

    def against(embedded: torch.Tensor, texts: torch.Tensor, logit_scale: torch.Tensor) -> torch.Tensor:
        logits = logit_scale * F.normalize(embedded, dim=-1) @ texts.T
        return -(true.actions * logits.log_softmax(-1)).sum(-1).mean()

    seen_shared = F.normalize(model.to_shared(seen), dim=-1)
    heard_shared, false_shared = (F.normalize(model.music_to_shared(rows), dim=-1) for rows in (heard, false))
    pairs = logit_scale[2] * seen_shared @ heard_shared.T
    moved = logit_scale[2] * (seen_shared * false_shared).sum(-1, keepdim=True)
    fits = true.consistency > FITS
    right = torch.arange(len(seen))[fits]
    error = (model.measures(seen) - true.measures) ** 2 * true.known
    return {
        **frame_errors(model, by_frame, routines, starts, mirrored, hold),
        "video-text": against(model.to_text(seen), texts[0], logit_scale[0]),
        "audio-text": 0.1 * against(model.music_to_text(heard), texts[1], logit_scale[1]),
        "audio-video": F.cross_entropy(torch.cat([pairs, moved], 1)[fits], right)
        + 0.5 * F.cross_entropy(pairs.T[fits], right),
        "accents": 30 * F.mse_loss(model.accents(seen), true.moved),
        "music accents": 15 * F.mse_loss(model.music_accents(heard), true.heard),
        "tempo": 0.5 * F.mse_loss(model.tempo(heard)[:, 0], true.tempo),
        "measures": 6 * (error.sum(0) / true.known.sum(0).clamp(min=1)).sum(),
    }


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return pearson(a.flatten().numpy(), b.flatten().numpy())


@torch.no_grad()
def validate(model: Pretraining, routines: list[Routine], prompts: Prompts) -> dict[str, float]:
    """What one linear layer reads from the features of another style's clips."""
    model.eval()
    rng = np.random.default_rng(0)
    parts, far, by_frames = [], [], []
    for _ in range(6):
        starts = [int(rng.integers(routine.starts)) for routine in routines]
        true = clip_truth(routines, starts, prompts.actions)
        seen, by_frame = model.see(pictures_of(routines, starts))
        far.append(((model.pose(by_frame) - pose_of(routines, starts)) ** 2).mean())
        by_frames.append(model.accent(by_frame)[..., 0])
        heard, half = (
            model.hear(spectrograms_of(routines, starts, np.full(len(routines), shift), model.listen))
            for shift in (0.0, 0.5)
        )
        texts = F.normalize(model.read(**model.tokens).text_embeds, dim=-1).chunk(2)[0]
        named = (F.normalize(model.to_text(seen), dim=-1) @ texts.T).argmax(-1)
        fit = [
            (F.normalize(model.to_shared(seen), dim=-1) * F.normalize(model.music_to_shared(rows), dim=-1)).sum(-1)
            for rows in (heard, half, heard.roll(1, 0))
        ]
        parts.append((true, seen, heard, named, fit))
    model.train()
    known = torch.cat([p[0].known for p in parts]) > 0
    measured = torch.cat([model.measures(p[1]) for p in parts])
    truth = torch.cat([p[0].measures for p in parts])

    out = {"action": float(torch.cat([p[3] == p[0].actions.argmax(-1) for p in parts]).float().mean())}
    out |= {
        name: correlation(measured[k, i], truth[k, i])
        for i, (name, k) in enumerate(zip(MEASURES, known.T, strict=True))
    }
    out["accents"] = correlation(
        torch.cat([model.accents(p[1]) for p in parts]), torch.cat([p[0].moved for p in parts])
    )
    out["accents by frame"] = correlation(torch.cat(by_frames), torch.cat([p[0].moved for p in parts]))
    heard = torch.cat([model.music_accents(p[2]) for p in parts])
    out["music accents"] = correlation(heard, torch.cat([p[0].heard for p in parts]))
    out["tempo"] = correlation(
        torch.cat([model.tempo(p[2])[:, 0] for p in parts]), torch.cat([p[0].tempo for p in parts])
    )
    out["pose error"] = float(torch.stack(far).mean().sqrt())
    fits = torch.cat([p[0].consistency > 0.7 for p in parts])
    own, half, other = (torch.cat([p[4][i] for p in parts])[fits] for i in range(3))
    out["auc 0.5 s"] = auc(own.numpy(), half.numpy())
    out["auc swapped"] = auc(own.numpy(), other.numpy())
    return out


def train(out: Path, model: Pretraining, routines: list[Routine], judged: list[Routine], prompts: Prompts) -> None:
    """AdamW, a warm-up, a half cosine."""
    by_rate = {fps: [r for r in routines if r.fps == fps] for fps in sorted({r.fps for r in routines})}
    shares = np.array([len(found) for found in by_rate.values()]) / len(routines)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.02)

    def rate(step: int) -> float:
        if step >= APART:
            return 0.26 * (STEPS - step) / (STEPS - APART)
        high = 1.0 if step < 1000 else 0.5  # to break away from the start, then to settle
        return high * min(1, (step + 1) / WARM_UP) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / 5000)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    first, saved = 0, out / "pretrain.pt"
    if saved.exists():
        state = torch.load(saved, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        first = state["step"]
    begin, sums, counted = time.time(), {}, 0
    for step in range(first, STEPS):
        rng = np.random.default_rng([SEED, step])
        if step == APART:
            keep_times_apart(model.look.network.model)
        if step in (APART, POINTED):
            point_at_accents(model, routines, rng)
        torch.manual_seed(SEED + step)
        found = by_rate[list(by_rate)[rng.choice(len(by_rate), p=shares)]]
        chosen = [found[i] for i in rng.choice(len(found), BATCH, replace=len(found) < BATCH)]
        terms = losses(model, chosen, rng, prompts, hold=step >= POINTED)
        optimizer.zero_grad(set_to_none=True)
        sum(terms.values()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step >= APART:
            keep_times_apart(model.look.network.model)
        schedule.step()
        counted += 1
        for name, value in terms.items():
            sums[name] = sums.get(name, 0.0) + value.item()
        done = step + 1
        if done % 100 == 0:
            said = "  ".join(f"{name} {value / counted:.3f}" for name, value in sums.items())
            print(f"{done}  {(time.time() - begin) / (done - first):.2f} s a step  {said}", flush=True)
            sums, counted = {}, 0
        if done % 250 == 0 or done == STEPS:
            print("   val", {k: round(v, 3) for k, v in validate(model, judged, prompts).items()}, flush=True)
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            with atomic_write(saved) as file:
                torch.save({**state, "schedule": schedule.state_dict(), "step": done}, file)


def save_bundle(out: Path, model: Pretraining, routines: int) -> None:
    """The towers, in 16 bits, as a bundle without heads."""
    towers = model.towers()
    for name, tower in towers.items():
        tower.half().save_pretrained(out / "backbones" / name)
    write_bundle(
        Bundle(
            folder=out,
            name=out.name,
            sport="figure skating",
            trained_on=f"{routines} simulated routines",
            licence="MIT",
            clip_frames=FRAMES_PER_CLIP,
            frame_rate=25.0,  # of every simulated style
            **{name: BackboneSpec(str(out / "backbones" / name), local=True) for name in towers},
        )
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("out", type=Path)
    options.add_argument("--cache", type=Path, help="Where drawn routines are kept.  [default: OUT/cache]")
    given = options.parse_args()
    prompts, backbones = sport_prompts("skating"), given.out / "backbones"
    model = Pretraining(backbones, prompts)
    routines, val = (
        [draw(recipe, given.cache or given.out / "cache", PICTURE, model.listen) for recipe in recipes]
        for recipes in (TRAIN, VAL)
    )
    print(f"{len(routines)} routines to train on, {len(val)} to validate on", flush=True)
    train(given.out, model, routines, val, prompts)
    save_bundle(given.out, model, len(routines))


if __name__ == "__main__":
    main()
