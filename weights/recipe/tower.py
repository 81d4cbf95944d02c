"""The visual tower of weights/mini: its sizes, a start from which it learns, and where its attention is pointed."""

import math
from pathlib import Path

import numpy as np
import torch
from clips import FRAMES, Routine, accents_of, pictures_of
from torch import nn
from transformers import TimesformerConfig, TimesformerModel, TimesformerVideoProcessor

from mlavl_cli.training.metrics import pearson

WIDTH, LAYERS, HEADS, PICTURE = 192, 3, 4, 64  # a frame is one token
STEEP = (8.0, 16.0)  # of the attention to them, by head
MIDDLING = 0.35  # an accent that is attended to as much as the clip's token itself
WAVES = 2 * math.pi * torch.arange(2, FRAMES + 1, 2) / (2 * FRAMES)


def save_visual(folder: Path) -> None:
    config = TimesformerConfig(
        image_size=PICTURE, patch_size=PICTURE, num_frames=FRAMES, hidden_size=WIDTH, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, intermediate_size=4 * WIDTH, hidden_dropout_prob=0.0,
    )  # fmt: skip
    TimesformerModel(config).save_pretrained(folder)
    crop = {"height": PICTURE, "width": PICTURE}
    processor = TimesformerVideoProcessor(
        size={"shortest_edge": PICTURE}, crop_size=crop, image_mean=[0.75] * 3, image_std=[0.2] * 3
    )
    processor.save_pretrained(folder)  # ice and floors are light: what is near zero is background


def times() -> torch.Tensor:
    """(FRAMES, FRAMES): each time as a row of waves."""
    angles = torch.arange(FRAMES)[:, None] * WAVES
    return torch.stack([angles.cos(), angles.sin()], -1).flatten(1)


def start(timesformer: TimesformerModel) -> None:
    """A start from which so small a model learns in an hour; from the library's own (0.02) it hardly moves.

    Times are waves in the first dimensions, and each head of the temporal attention looks one frame back, at the same,
    one ahead, or two back, as a convolution would; branches begin small. In the last layer the clip's token takes the
    times of the frames it attends to: to attend to accents is to know when they are.
    """
    for module in timesformer.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
        elif isinstance(module, nn.Conv2d):
            nn.init.xavier_uniform_(module.weight.flatten(1))
    wide = WIDTH // HEADS
    found = timesformer.embeddings
    for table in (found.position_embeddings, found.time_embeddings, found.cls_token):
        nn.init.normal_(table, std=0.1)
        table.data[..., :FRAMES] = 0
    found.time_embeddings.data[0] = 0
    found.time_embeddings.data[0, :, :FRAMES] = times()
    found.patch_embeddings.projection.weight.data[:FRAMES] = 0
    for layer in timesformer.encoder.layer:
        qkv = layer.temporal_attention.attention.qkv.weight.data
        qkv[: 2 * WIDTH] *= 0.2
        for head, away in enumerate((-1, 0, 1, -2)):
            turns = [torch.tensor([[w.cos(), -w.sin()], [w.sin(), w.cos()]]) for w in WAVES * away]
            qkv[head * wide : head * wide + FRAMES, :FRAMES] = 5 * torch.block_diag(*turns)
            qkv[WIDTH + head * wide : WIDTH + head * wide + FRAMES, :FRAMES] = 5 * torch.eye(FRAMES)
        layer.attention.output.dense.weight.data *= 0.1
        layer.temporal_dense.weight.data *= 0.5
        layer.output.dense.weight.data *= 0.5
    values = layer.attention.attention.qkv.weight.data[2 * WIDTH :]
    for head in range(HEADS):
        values[head * wide : head * wide + FRAMES] = 2 * torch.eye(FRAMES, WIDTH)
    # A picture that is one patch: a product is what the convolution comes to, and much the faster one here.
    conv = found.patch_embeddings.projection
    conv.forward = lambda x: nn.functional.linear(x.flatten(1), conv.weight.flatten(1), conv.bias)[..., None, None]


@torch.no_grad()
def keep_times_apart(timesformer: TimesformerModel) -> None:
    """Nothing but a frame's time is written into the first dimensions of its token, so that it can be read there."""
    found = timesformer.embeddings
    found.time_embeddings[0, :, :FRAMES] = 4 * times()
    found.position_embeddings[..., :FRAMES] = 0
    found.cls_token[..., :FRAMES] = 0
    writers = [found.patch_embeddings.projection]
    for layer in timesformer.encoder.layer:
        writers += [layer.temporal_dense, layer.attention.output.dense, layer.output.dense]
    for writer in writers:
        writer.weight[:FRAMES], writer.bias[:FRAMES] = 0, 0


@torch.no_grad()
def point_at_accents(model: nn.Module, routines: list[Routine], rng: np.random.Generator) -> None:
    """Turns two heads of the last layer, by which the clip's token listens to frames, to those that show an accent.

    The frames' tokens tell accents long before the clip's token would find out by itself that they are worth attending
    to. Keys become the best linear guess of the accent; the clip's token is put where a middling accent would be.
    """
    layer = model.look.network.model.encoder.layer[-1]
    attention = layer.attention.attention
    taken: list[torch.Tensor] = []
    accents = []
    for _ in range(12):
        chosen = [routines[i] for i in rng.choice(len(routines), 80)]
        starts = [int(rng.integers(routine.starts)) for routine in chosen]
        model.see(pictures_of(chosen, starts))
        taken.append(model.attended.float())
        accents.append(accents_of(chosen, starts).flatten())
    tokens = torch.cat(taken).double()  # (clips * FRAMES, 2, WIDTH): the clip's token, the frame's
    given, wanted = tokens.transpose(0, 1).flatten(0, 1), torch.cat(accents).double()
    given = torch.cat([given, torch.ones(len(given), 1)], 1)
    wanted = torch.cat([torch.full_like(wanted, MIDDLING), wanted])
    ridge = torch.eye(WIDTH + 1, dtype=torch.double)
    guess = torch.linalg.solve(given.T @ given + ridge, given.T @ wanted).float()
    right = pearson((given @ guess.double()).chunk(2)[1].numpy(), torch.cat(accents).numpy())
    print(f"   keys guess accents with r = {right:.2f}", flush=True)
    wide = WIDTH // HEADS
    weight, bias = attention.qkv.weight, attention.qkv.bias
    for head, steep in enumerate(STEEP):
        query, key = head * wide + wide - 1, WIDTH + head * wide + wide - 1
        for first in (0, WIDTH):
            rows = slice(first + head * wide, first + (head + 1) * wide)
            weight[rows], bias[rows] = 0.0, 0.0
        bias[query] = math.sqrt(wide)
        weight[key], bias[key] = steep * guess[:-1], steep * guess[-1]
        values = slice(2 * WIDTH + head * wide, 2 * WIDTH + head * wide + FRAMES)
        weight[values], bias[values] = 2 * torch.eye(FRAMES, WIDTH), 0.0
        told = layer.attention.output.dense.weight[:, head * wide : head * wide + FRAMES]
        told.zero_()
        told[FRAMES * (1 + head) : FRAMES * (2 + head)] = 4 * torch.eye(FRAMES)
