"""The frozen text tower (CLIP): prompts -> (P, D_t). Needed once, when a head is made; never for scoring."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlavl_cli.backbone import BackboneSpec
from mlavl_cli.errors import WeightsError, refusing
from mlavl_cli.features.hub import load_model, load_pretrained
from mlavl_cli.features.prompts import as_sentences
from mlavl_cli.features.text_features import TextFeatures

if TYPE_CHECKING:
    import torch

_AT_ONCE = 256  # texts
_RENAMES = {  # OpenAI's names of a text block -> Hugging Face's
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}


def encode_prompts(texts: Sequence[str], spec: BackboneSpec, checkpoint: Path | None = None) -> TextFeatures:
    """P prompts -> (P, D_t): CLIP's projected text features, as they come (not normalised).

    The tower reads a full stop behind each text, as in the public code.

    Args:
        texts: P of them.
        spec: the text tower, with its tokenizer.
        checkpoint: a `.pth` in OpenAI's naming (ViFi-CLIP) whose text tensors replace the tower's.

    Raises:
        WeightsError: the text tower can't be had, or the checkpoint doesn't fit it.
    """
    import torch
    from transformers import CLIPTextModelWithProjection, CLIPTokenizer

    tokenizer = load_pretrained(CLIPTokenizer.from_pretrained, spec)
    model = load_model(CLIPTextModelWithProjection, spec, dtype=torch.float32)
    if checkpoint:
        load_openai_tensors(model, checkpoint)
    length = model.config.max_position_embeddings
    sentences, found = as_sentences(texts), []
    try:
        for at in range(0, len(sentences), _AT_ONCE):
            some = sentences[at : at + _AT_ONCE]
            tokens = tokenizer(some, padding=True, truncation=True, max_length=length, return_tensors="pt")
            with torch.inference_mode():
                found.append(model(**tokens).text_embeds)
        rows = torch.cat(found)
    except Exception as error:  # a tokenizer of another model makes the library raise nearly anything
        cause = f"its tokenizer and its text tower don't go together ({type(error).__name__})"
        raise WeightsError(cause, path=spec.source, hint="Do its files belong together?") from error
    if not rows.isfinite().all():
        raise WeightsError("the text tower gives NaN or infinity", path=spec.source, hint="Are its weights damaged?")
    return TextFeatures(rows.clone(), tuple(texts), full_stop=True)


def load_openai_tensors(model: "torch.nn.Module", path: Path) -> None:
    """Fills a Hugging Face CLIP text tower from a checkpoint in OpenAI's naming, wherever the tower is in it.

    The token embedding may be absent (ViFi-CLIP keeps it frozen outside); everything else must be there.

    Raises:
        WeightsError: can't be read, or a tensor is missing or of another shape; it is named.
    """
    import torch

    from mlavl_cli.untrusted import read_torch

    try:
        state = read_torch(path)
    except FileNotFoundError as error:
        raise WeightsError("no such file", path=path) from error
    except Exception as error:  # torch raises many kinds for a file that isn't its own
        raise WeightsError("can't be read as a checkpoint", path=path, hint="Expected a .pth of ViFi-CLIP.") from error
    for key in ("model", "state_dict"):
        state = state.get(key, state) if isinstance(state, dict) else {}
    with refusing(WeightsError, "can't be read as a checkpoint", path, "Expected a .pth of ViFi-CLIP."):
        ours = _from_openai({str(name): one for name, one in state.items() if isinstance(one, torch.Tensor)})
    wanted = model.state_dict()
    for name, tensor in wanted.items():
        if name.endswith("position_ids") or (name.endswith("token_embedding.weight") and name not in ours):
            continue
        if name not in ours:
            raise WeightsError(f"lacks {name}", path=path, hint="Is it a CLIP of this size, in OpenAI's naming?")
        if ours[name].shape != tensor.shape:
            cause = f"{name} has shape {tuple(ours[name].shape)}, expected {tuple(tensor.shape)}"
            raise WeightsError(cause, path=path, hint="Is it a CLIP of this size?")
    model.load_state_dict({name: ours.get(name, tensor).float() for name, tensor in wanted.items()})


def _from_openai(state: "dict[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    """Text tensors of any prefix (module., text_encoder., ...) in OpenAI's names -> Hugging Face's names."""
    found = {}
    for name, tensor in state.items():
        if "visual" in name or "image_encoder" in name:
            continue
        if ".resblocks." in name:
            number, rest = name.split(".resblocks.")[1].split(".", 1)
            block = f"text_model.encoder.layers.{number}"
            part, kind = (
                rest.rsplit(".", 1) if not rest.startswith("attn.in_proj") else ("in_proj", rest.split("_")[-1])
            )
            if part == "in_proj":
                for letter, rows in zip("qkv", tensor.chunk(3), strict=True):
                    found[f"{block}.self_attn.{letter}_proj.{kind}"] = rows
            elif part in _RENAMES:
                found[f"{block}.{_RENAMES[part]}.{kind}"] = tensor
        elif name.endswith("token_embedding.weight"):
            found["text_model.embeddings.token_embedding.weight"] = tensor
        elif name.endswith("positional_embedding"):
            found["text_model.embeddings.position_embedding.weight"] = tensor
        elif name.endswith(("ln_final.weight", "ln_final.bias")):
            found[f"text_model.final_layer_norm.{name.rsplit('.', 1)[1]}"] = tensor
        elif name.endswith("text_projection"):
            found["text_projection.weight"] = tensor.T
    return found
