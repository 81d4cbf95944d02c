"""The text side of weights/mini: a tokenizer of the prompts' own words and a small CLIP text tower."""

from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizerFast


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
