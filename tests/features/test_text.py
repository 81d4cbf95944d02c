"""Text towers in OpenAI's naming, as ViFi-CLIP saves them."""

import numpy as np
import pytest
import torch

from mlavl_cli.bundle import find_bundle
from mlavl_cli.features.text import encode_prompts


def to_openai(state, prefix, token_embedding=True):
    """A Hugging Face text tower's tensors in OpenAI's names: written from the other side than the code's."""
    out = {}
    parts = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
    layers = {name.split(".")[3] for name in state if ".layers." in name}
    for layer in layers:
        old, new = f"text_model.encoder.layers.{layer}.", f"{prefix}transformer.resblocks.{layer}."
        for kind in ("weight", "bias"):
            qkv = [state[f"{old}self_attn.{letter}_proj.{kind}"] for letter in "qkv"]
            out[f"{new}attn.in_proj_{kind}"] = torch.cat(qkv)
            out[f"{new}attn.out_proj.{kind}"] = state[f"{old}self_attn.out_proj.{kind}"]
            for theirs, ours in parts.items():
                out[f"{new}{ours}.{kind}"] = state[f"{old}{theirs}.{kind}"]
    out[f"{prefix}positional_embedding"] = state["text_model.embeddings.position_embedding.weight"]
    out[f"{prefix}ln_final.weight"] = state["text_model.final_layer_norm.weight"]
    out[f"{prefix}ln_final.bias"] = state["text_model.final_layer_norm.bias"]
    out[f"{prefix}text_projection"] = state["text_projection.weight"].T
    if token_embedding:
        out["module.token_embedding.weight"] = state["text_model.embeddings.token_embedding.weight"]
    out["module.image_encoder.ln_post.weight"] = torch.zeros(3)
    out["module.image_encoder.transformer.resblocks.0.ln_1.weight"] = torch.zeros(3)
    return out


@pytest.fixture
def tuned():
    """The embedded tower with other tensors, as fine-tuning would leave it."""
    from transformers import CLIPTextModelWithProjection

    torch.manual_seed(5)
    model = CLIPTextModelWithProjection.from_pretrained(find_bundle("mini").text.source).eval()
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and "token_embedding" not in name:
            tensor += 0.05 * torch.randn_like(tensor)
    return model


@pytest.mark.parametrize("token_embedding", [True, False])
def test_vifi_clip_naming_is_mapped(run, tmp_path, tuned, token_embedding):
    state = to_openai(tuned.state_dict(), "module.text_encoder.", token_embedding)
    torch.save({"model": state, "epoch": 3}, tmp_path / "vifi.pth")
    spec = find_bundle("mini").text
    command = ["prompts", "encode", "-o", tmp_path / "t.npy", "--text", spec.source]
    assert run(*command, "--checkpoint", tmp_path / "vifi.pth").exit_code == 0
    tuned.save_pretrained(tmp_path / "tuned")
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"):
        (tmp_path / "tuned" / name).write_bytes((spec.folder / name).read_bytes())
    run("prompts", "encode", "-o", tmp_path / "expected.npy", "--text", tmp_path / "tuned")
    run("prompts", "encode", "-o", tmp_path / "plain.npy", "--text", spec.source)
    ours, expected, plain = (np.load(tmp_path / f"{name}.npy") for name in ("t", "expected", "plain"))
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    assert np.abs(ours - plain).max() > 0.01
    assert ours.shape == (102, 64)


def test_missing_and_misshapen_tensors_are_named(run, tmp_path, tuned):
    command = ["prompts", "encode", "-o", tmp_path / "t.npy", "--text", find_bundle("mini").text.source]
    state = to_openai(tuned.state_dict(), "")
    for change, cause in (
        (lambda s: s.pop("ln_final.bias"), "lacks text_model.final_layer_norm.bias"),
        (lambda s: s.update({"text_projection": torch.zeros(3, 3)}), "text_projection.weight has shape (3, 3)"),
    ):
        broken = dict(state)
        change(broken)
        torch.save(broken, tmp_path / "b.pth")
        result = run(*command, "--checkpoint", tmp_path / "b.pth")
        assert result.exit_code == 1
        assert cause in result.errors[0]


def test_the_default_is_the_pinned_clip(run, tmp_path):
    result = run("prompts", "encode", "-o", tmp_path / "t.npy")
    assert result.exit_code == 1
    assert "openai/clip-vit-base-patch16" in result.errors[0]
    assert "57c21647" in result.errors[0]


def test_encoding_does_not_depend_on_the_neighbours():
    spec = find_bundle("mini").text
    texts = ["a video of Axel jump", "a video of a very long and slow spiral on a deep outside edge"]
    together = encode_prompts(texts, spec).rows
    np.testing.assert_allclose(together[:1], encode_prompts(texts[:1], spec).rows, atol=1e-5)
