"""Checkpoints in the official code's naming: read whole, or refused by name."""

import json

import numpy as np
import pytest
import torch
from head import graphs
from torch import nn

from mlavl_cli.head.checkpoint import load_head


def official(visual_dim=768, actions=42, seed=0, width=256, heads=8, grades=6):
    """A state dict as section 13 of the method lists it, random values and statistics; of plain torch layers."""
    torch.manual_seed(seed)

    def projection(features):
        norms = nn.BatchNorm1d(features // 2), nn.BatchNorm1d(width)
        return nn.Sequential(
            nn.Conv1d(features, features // 2, 1), norms[0], nn.ReLU(), nn.Conv1d(features // 2, width, 1), norms[1]
        )

    modules = {
        "proj_visual": projection(visual_dim),
        "proj_audio": projection(768),
        "proj_text": projection(512),
        "transformer": nn.Transformer(width, heads, 1, 3, 3 * width, batch_first=True),
        "T_decoder": nn.TransformerDecoder(
            nn.TransformerDecoderLayer(width, heads, 3 * width, batch_first=True), 2, nn.LayerNorm(width)
        ),
        "clip_fusion": projection(2 * width),
        "regressor_AV": nn.Linear(width, 2 * grades),
        "regressor_V": nn.Linear(width, grades),
    }
    state = {f"{name}.{key}": t for name, module in modules.items() for key, t in module.state_dict().items()}
    state["clip_fusion.0.weight"] = torch.zeros(width, 2 * width, 1)
    for key, shape in (
        ("0.bias", width),
        ("1.weight", width),
        ("1.bias", width),
        ("1.running_mean", width),
        ("1.running_var", width),
    ):
        state[f"clip_fusion.{key}"] = torch.zeros(shape)
    state["clip_fusion.3.weight"] = torch.zeros(width, width, 1)
    for graph in ("gcn_V", "gcn_A"):
        for conv, (inputs, outputs) in (("conv1", (width, width // 2)), ("conv2", (width // 2, width))):
            state[f"{graph}.{conv}.lin_l.weight"] = torch.zeros(outputs, inputs)
            state[f"{graph}.{conv}.lin_l.bias"] = torch.zeros(outputs)
            state[f"{graph}.{conv}.lin_r.weight"] = torch.zeros(outputs, inputs)
    state["w1"] = torch.zeros(1)
    for name, tensor in state.items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
        elif tensor.is_floating_point():
            tensor.normal_(0, 0.7 / max(tensor.shape[-1] if tensor.ndim < 3 else tensor.shape[1], 1) ** 0.5)
    for twin, name in (("SSCEncoder", "transformer.encoder"), ("GradeDecoder", "transformer.decoder")):
        state |= {key.replace(name, twin, 1): t for key, t in state.items() if key.startswith(f"{name}.")}
    state["pos_encoder.pe"] = torch.zeros(1, 5000, width)
    state["CLIP.token_embedding.weight"] = torch.zeros(9, 4)
    return state, torch.randn(2 * actions + 3 * grades, 512)


def projected(x, state, name):
    for conv, norm in ((0, 1), (3, 4)):
        x = x @ state[f"{name}.{conv}.weight"][..., 0].T + state[f"{name}.{conv}.bias"]
        x = (x - state[f"{name}.{norm}.running_mean"]) / (state[f"{name}.{norm}.running_var"] + 1e-5).sqrt()
        x = x * state[f"{name}.{norm}.weight"] + state[f"{name}.{norm}.bias"]
        x = x.relu() if conv == 0 else x
    return x


def below(state, prefix):
    return {name.removeprefix(f"{prefix}."): t for name, t in state.items() if name.startswith(f"{prefix}.")}


def reference(state, text, visual, audio, actions, heads=8, grades=6):
    """The official computation on one routine, with edge lists and plain torch layers, from the official names."""
    width = state["regressor_V.weight"].shape[1]
    whole = nn.Transformer(width, heads, 1, 3, 3 * width, batch_first=True).eval()
    whole.load_state_dict(below(state, "transformer"))
    fusion = nn.TransformerDecoder(
        nn.TransformerDecoderLayer(width, heads, 3 * width, batch_first=True), 2, nn.LayerNorm(width)
    ).eval()
    fusion.load_state_dict(below(state, "T_decoder"))
    prompts = projected(text, state, "proj_text").split([actions, actions, 2 * grades, grades])
    tokens = []
    for features, name, guide in ((visual, "visual", prompts[0]), (audio, "audio", prompts[1])):
        x = projected(features, state, f"proj_{name}")
        x = x + whole.encoder(x[None])[0]
        tokens.append(graphs.mag2(x, guide, below(state, "gcn_V" if name == "visual" else "gcn_A"), "sage"))
    fused = fusion(tokens[0][None], tokens[1][None])[0] + projected(torch.cat(tokens, 1), state, "clip_fusion")
    scores = []
    for clips, queries, name in ((fused, prompts[2], "regressor_AV"), (tokens[0], prompts[3], "regressor_V")):
        patterns = whole.decoder(queries[None], clips[None])[0]
        p = (patterns @ state[f"{name}.weight"].T + state[f"{name}.bias"]).diagonal().sigmoid()
        scores.append((p / p.sum()) @ torch.linspace(0, 1, len(p)))
    return state["w1"] * scores[0] + (1 - state["w1"]) * scores[1]


@pytest.fixture
def files(tmp_path):
    def make(state, text, actions):
        torch.save(state, tmp_path / "TES.pkl")
        torch.save(text, tmp_path / "text_feature.npy")  # a torch file despite its name, as the official ones
        rows = "".join(f"{i},action {i}\n" for i in range(actions))
        (tmp_path / "labels.csv").write_text("id,name\n" + rows)
        return ["weights", "import", tmp_path / "TES.pkl", "--text-features", tmp_path / "text_feature.npy",
                "--prompts", tmp_path / "labels.csv", "-t", "TES", "--range", "0:130", "--backbones", "fs1000",
                "--window", "95", "-o", tmp_path / "bundle"]  # fmt: skip

    return make


@torch.no_grad()
@pytest.mark.parametrize(("visual_dim", "actions"), [(768, 42), (1024, 42), (1024, 32)])
def test_imported_heads_give_the_numbers_of_the_reference(run, files, tmp_path, visual_dim, actions):
    state, text = official(visual_dim, actions)
    result = run(*files(state, text, actions))
    assert result.exit_code == 0, result.stderr
    head = load_head(tmp_path / "bundle" / "heads" / "TES.safetensors")
    assert (head.target, head.score_range, head.window) == ("TES", (0.0, 130.0), 95)
    assert len(head.prompts) == 2 * actions + 18
    visual, audio = torch.randn(3, 11, visual_dim), torch.randn(3, 11, 768)
    ours = head.model(visual, audio).score
    for i in range(3):
        expected = reference(state, text, visual[i], audio[i], actions)
        torch.testing.assert_close(ours[i : i + 1], expected, atol=1e-5, rtol=1e-5)
    assert run("weights", "verify", tmp_path / "bundle").exit_code == 0


def test_a_second_target_joins_the_bundle(run, files, tmp_path):
    state, text = official(64, 4)
    run(*files(state, text, 4))
    again = [str(a) if a != "TES" else "PCS" for a in files(state, text, 4)]
    again[again.index("0:130")] = "0:60"
    assert run(*again).exit_code == 0
    saved = json.loads((tmp_path / "bundle" / "bundle.json").read_text())
    assert saved["heads"] == {"TES": "heads/TES.safetensors", "PCS": "heads/PCS.safetensors"}
    assert saved["visual"]["id"] == "facebook/timesformer-base-finetuned-k400"
    assert saved["consistency"] is None


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda s: s.pop("gcn_A.conv2.lin_r.weight"), "mag2_audio.conv2.lin_r.weight"),
        (lambda s: s.pop("proj_visual.0.weight"), "proj_visual.layers.0.weight is missing"),
        (lambda s: s.update({"surprise.weight": torch.zeros(2)}), "1 unknown tensors: surprise.weight"),
        (lambda s: s.update({"regressor_AV.bias": torch.zeros(7)}), "regressor_av.rows.bias has shape (7,)"),
        (lambda s: s.update({"SSCEncoder.norm.bias": torch.ones(256)}), "differs from its second copy"),
    ],
)
def test_wrong_or_missing_tensors_are_named(run, files, change, cause):
    state, text = official(64, 4)
    command = files(state, text, 4)
    change(state)
    files(state, text, 4)
    result = run(*command)
    assert result.exit_code == 1
    assert cause in result.errors[0]


def test_text_features_that_do_not_belong_are_named(run, files, tmp_path):
    state, text = official(64, 4)
    command = files(state, text, 4)
    torch.save(text[:-1], tmp_path / "text_feature.npy")
    result = run(*command)
    assert result.exit_code == 1
    assert "26 prompts, but 25 text features" in result.errors[0]
    (tmp_path / "text_feature.npy").write_text("no features")
    assert "can't be read as text features" in run(*command).errors[0]


def test_a_checkpoint_that_would_run_code_is_refused(run, files, tmp_path, monkeypatch):
    import pickle

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    command = files(*official(64, 4), 4)
    (tmp_path / "TES.pkl").write_bytes(pickle.dumps({"w1": Evil()}))
    result = run(*command)
    assert result.exit_code == 1
    assert "can't be read as a checkpoint" in result.errors[0]
    assert not (tmp_path / "ran").exists()


def test_only_the_shapes_of_plain_numpy_text_features_are_taken(run, files, tmp_path):
    command = files(*official(64, 4), 4)
    np.save(tmp_path / "plain.npy", torch.load(tmp_path / "text_feature.npy").numpy())
    command[command.index("--text-features") + 1] = tmp_path / "plain.npy"
    assert run(*command).exit_code == 0
    np.save(tmp_path / "plain.npy", np.zeros(5, np.float32))
    assert "no matrix" in run(*command).errors[0]
