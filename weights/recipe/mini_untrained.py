"""Makes weights/mini: tiny models of the real Hugging Face classes with random tensors from a fixed seed.

    python weights/recipe/mini_untrained.py

They prove the whole chain offline and know nothing: nobody trained them, and their scores mean nothing.
"""

import shutil
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTModel,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizerFast,
    TimesformerConfig,
    TimesformerModel,
    TimesformerVideoProcessor,
)

from mlavl_cli.bundle import BackboneSpec, Bundle, write_bundle
from mlavl_cli.features.prompts import sport_prompts
from mlavl_cli.features.text import encode_prompts
from mlavl_cli.head.checkpoint import Head, save_head
from mlavl_cli.head.dims import HeadDims
from mlavl_cli.head.mlavl import MLAVL

SEED = 20260101
WIDTH = 64
PICTURE = 64
TARGETS = {"TES": (0.0, 130.0), "PCS": (0.0, 60.0)}
TRAINED_ON = "nothing: random tensors, to show how the tool works. These scores mean nothing."


def save_visual(folder: Path) -> None:
    config = TimesformerConfig(
        image_size=PICTURE,
        patch_size=16,
        num_frames=8,
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=2 * WIDTH,
    )
    TimesformerModel(config).save_pretrained(folder)
    crop = {"height": PICTURE, "width": PICTURE}
    TimesformerVideoProcessor(size={"shortest_edge": PICTURE}, crop_size=crop).save_pretrained(folder)


def save_audio(folder: Path) -> None:
    config = ASTConfig(hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=4, intermediate_size=2 * WIDTH)
    model = ASTModel(config)
    torch.nn.init.trunc_normal_(model.embeddings.position_embeddings, std=0.02)
    model.save_pretrained(folder)
    ASTFeatureExtractor().save_pretrained(folder)


def save_tokenizer(folder: Path, prompts: list[str]) -> CLIPTokenizerFast:
    """Learns a tokenizer, or takes the one that is there: learning it again numbers the tokens in another order."""
    if (folder / "vocab.json").exists():
        return CLIPTokenizerFast.from_pretrained(folder)
    start, end = "<|startoftext|>", "<|endoftext|>"
    tokenizer = Tokenizer(models.BPE(unk_token=end, end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(vocab_size=512, special_tokens=[start, end], end_of_word_suffix="</w>")
    tokenizer.train_from_iterator([prompt.lower() for prompt in prompts], trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.model.save(str(folder))
    fast = CLIPTokenizerFast(vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"))
    fast.save_pretrained(folder)
    return fast


def text_tower(tokenizer: CLIPTokenizerFast, width: int) -> CLIPTextModelWithProjection:
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=width,
        num_hidden_layers=2,
        num_attention_heads=4,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModelWithProjection(config)


def main() -> None:
    folder = Path(__file__).parents[1] / "mini"
    shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(SEED)
    prompts = sport_prompts("skating")
    backbones = {name: folder / "backbones" / name for name in ("visual", "audio", "text")}
    save_visual(backbones["visual"])
    save_audio(backbones["audio"])
    tokenizer = save_tokenizer(backbones["text"], prompts.texts)
    text_tower(tokenizer, WIDTH).save_pretrained(backbones["text"])
    text = BackboneSpec(str(backbones["text"]))
    text_features = torch.from_numpy(encode_prompts(prompts.texts, text))
    dims = HeadDims(WIDTH, len(prompts.actions), audio_dim=WIDTH, text_dim=WIDTH, width=WIDTH)
    heads = {}
    for target, score_range in TARGETS.items():
        heads[target] = folder / "heads" / f"{target}.safetensors"
        model = MLAVL(dims, text_features)
        save_head(heads[target], Head(model, target, score_range, prompts.grades, tuple(prompts.texts)))
    write_bundle(
        Bundle(
            folder=folder,
            name="mini",
            sport="figure skating",
            trained_on=TRAINED_ON,
            licence="MIT",
            clip_frames=32,
            visual=BackboneSpec(str(backbones["visual"])),
            audio=BackboneSpec(str(backbones["audio"])),
            text=text,
            heads=heads,
        )
    )


if __name__ == "__main__":
    main()
