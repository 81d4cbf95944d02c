"""The frozen text tower (CLIP): prompts -> (P, D_t). Needed once, when a head is made; never for scoring."""

import numpy as np

from mlavl_cli.bundle import BackboneSpec
from mlavl_cli.features.hub import load_model, load_pretrained


def encode_prompts(prompts: list[str], spec: BackboneSpec) -> np.ndarray:
    """P prompts -> float32 (P, D_t): CLIP's projected text features, as they come (not normalised).

    Raises:
        WeightsError: the text tower can't be had.
    """
    import torch
    from transformers import CLIPTextModelWithProjection, CLIPTokenizerFast

    tokenizer = load_pretrained(CLIPTokenizerFast.from_pretrained, spec)
    model = load_model(CLIPTextModelWithProjection.from_pretrained, spec, dtype=torch.float32)
    length = model.config.max_position_embeddings
    tokens = tokenizer(prompts, padding=True, truncation=True, max_length=length, return_tensors="pt")
    with torch.inference_mode():
        return model(**tokens).text_embeds.numpy()
