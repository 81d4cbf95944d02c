"""A backbone whose patch is the whole picture gives what the library's own model gives."""

import pytest
import torch
from transformers import AutoModel

from mlavl_cli.bundle import find_bundle
from mlavl_cli.device import place
from mlavl_cli.features.visual import load_visual


@pytest.mark.parametrize(("precision", "off"), [("fp32", 1e-4), ("bf16", 0.05)])
def test_the_embedded_backbone_is_the_librarys_model(precision, off):
    spec = find_bundle("mini").visual
    ours = load_visual(spec, place("cpu", precision))
    frames = torch.randint(0, 256, (2, ours.frames, *ours.picture.size, 3), generator=torch.manual_seed(0)).byte()
    theirs = AutoModel.from_pretrained(spec.source, dtype=torch.float32).eval()
    assert theirs.embeddings.patch_embeddings.projection.kernel_size == ours.picture.size
    pixels = frames.permute(0, 1, 4, 2, 3).float() * ours.factor + ours.offset
    with torch.inference_mode():
        expected = theirs(pixels).last_hidden_state[:, 0]
    assert torch.allclose(ours.encode(frames), expected, rtol=off, atol=off)
