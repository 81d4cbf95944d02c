"""Checkpoints in the official code's naming: read whole, or refused by name."""

import json

import numpy as np
import pytest
import torch
from heads import graphs
from torch import nn

from mlavl_cli.heads.checkpoint import load_head
from mlavl_cli.heads.window import fit_window


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
        texts = [f"a video of action {i}" for i in range(actions)]
        texts += [f"a music suitable for an action of kind {i}" for i in range(actions)]
        grades = ("bad", "poor", "fair", "good", "excellent", "perfect")
        texts += [
            f"a video of {g} action performance {fit} fitting music" for g in grades for fit in ("without", "with")
        ]
        texts += [f"a video of {g} action performance" for g in grades]
        rows = "".join(f"{i},{text}\n" for i, text in enumerate(texts))
        (tmp_path / "labels.csv").write_text("id,name\n" + rows)
        return ["weights", "import", tmp_path / "TES.pkl", "--text-features", tmp_path / "text_feature.npy",
                "--prompts", tmp_path / "labels.csv", "-t", "TES", "--range", "0:130", "--backbones", "fs1000",
                "--window", "95", "-o", tmp_path / "bundle"]  # fmt: skip

    return make


# The paper's 13 heads: target, range, D_v, M, T, and the preset they are imported on.
CONFIGURATIONS = [
    *(("fs1000", name, points, 768, 42, 95) for name, points in [("TES", 130), ("PCS", 60), *((c, 10) for c in (
        "SS", "TR", "PE", "CO", "IN"))]),
    *(("fisv", name, points, 1024, 42, 124) for name, points in (("TES", 45), ("PCS", 40))),
    *(("rg", name, 25, 1024, 32, 68) for name in ("Ball", "Clubs", "Hoop", "Ribbon")),
]  # fmt: skip


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize(("preset", "target", "points", "visual_dim", "actions", "window"), CONFIGURATIONS)
def test_every_configuration_agrees_with_an_independent_evaluation(
    run, files, tmp_path, preset, target, points, visual_dim, actions, window
):
    """Shorter and longer routines than the window, filled with zeros and cut as the official code does."""
    state, text = official(visual_dim, actions, seed=points)
    command = [str(part) for part in files(state, text, actions)]
    command[command.index("--backbones") + 1], command[command.index("0:130")] = preset, f"0:{points}"
    command[command.index("-t") + 1] = target
    at = command.index("--window")
    result = run(*command[:at], *command[at + 2 :])
    assert result.exit_code == 0, result.stderr
    assert "--window" not in result.stderr
    head = load_head(tmp_path / "bundle" / "heads" / f"{target}.safetensors")
    assert (head.window, head.score_range) == (window, (0, points))
    generator = torch.Generator().manual_seed(0)
    for clips in (window // 2, window, window + 7):
        rows = [torch.randn(clips, width, generator=generator) for width in (visual_dim, 768)]
        first = max(0, (clips - window) // 2)
        padded = [torch.cat([x[first : first + window], x.new_zeros(max(0, window - clips), x.shape[1])]) for x in rows]
        expected = reference(state, text, *padded, actions)
        ours = head.model(*(fit_window(x, head.window)[None] for x in rows)).score
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)
        reading = head.model.per_clip(head.model(*(x[None] for x in rows)))
        assert reading.consistency.shape == (1, clips)


@torch.no_grad()
@pytest.mark.parametrize(("visual_dim", "actions"), [(768, 42), (1024, 42), (1024, 32)])
def test_imported_heads_give_the_numbers_of_the_reference(run, files, tmp_path, visual_dim, actions):
    state, text = official(visual_dim, actions)
    result = run(*files(state, text, actions))
    assert result.exit_code == 0, result.stderr
    head = load_head(tmp_path / "bundle" / "heads" / "TES.safetensors")
    assert (head.target, head.score_range, head.window) == ("TES", (0.0, 130.0), 95)
    assert len(head.prompts) == 2 * actions + 18
    assert head.full_stop is True
    assert head.audio_visual_grades[:3] == tuple(
        f"{words} fitting music" for words in ("bad without", "bad with", "poor without")
    )
    visual, audio = torch.randn(3, 11, visual_dim), torch.randn(3, 11, 768)
    ours = head.model(visual, audio).score
    for i in range(3):
        expected = reference(state, text, visual[i], audio[i], actions)
        torch.testing.assert_close(ours[i : i + 1], expected, atol=1e-5, rtol=1e-5)
    assert run("weights", "verify", tmp_path / "bundle").exit_code == 0


def test_a_second_target_joins_the_bundle(run, files, tmp_path):
    state, text = official(64, 4, width=64)
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
        (lambda s: s.pop("gcn_A.conv2.lin_r.weight"), "1 tensors are missing: gcn_A.conv2.lin_r.weight"),
        (lambda s: s.pop("proj_visual.0.weight"), "proj_visual.0.weight is missing"),
        (lambda s: s.update({"surprise.weight": torch.zeros(2)}), "1 unknown tensors: surprise.weight"),
        (lambda s: s.update({"regressor_AV.bias": torch.zeros(7)}), "regressor_AV.bias has shape (7,), expected (12,)"),
        (lambda s: s.update({"regressor_AV.bias": torch.zeros(())}), "regressor_AV.bias has shape ()"),
        (lambda s: s.update({"proj_visual.0.weight": torch.zeros(())}), "proj_visual.0.weight has shape (), which no"),
        (lambda s: s.update({"regressor_V.weight": torch.zeros(0, 64)}), "regressor_V.weight has shape (0, 64)"),
        (lambda s: s.update({"SSCEncoder.norm.bias": torch.ones(64)}), "differs from its second copy"),
        (
            lambda s: s.update({"gcn_V.conv3.lin_r.weight": torch.zeros(2)}),
            "belong to no part of the head: gcn_V.conv3",
        ),
        (lambda s: s["T_decoder.norm.bias"].fill_(torch.nan), "T_decoder.norm.bias holds NaN or infinity"),
        (lambda s: s["w1"].fill_(torch.inf), "w1 holds NaN or infinity"),
        (lambda s: s["proj_text.1.running_var"].fill_(-1), "proj_text.1.running_var holds negative variances"),
        (lambda s: s.update({"w1": torch.ones(1, dtype=torch.int64)}), "w1 holds int64, where weights belong"),
    ],
)
def test_wrong_or_missing_tensors_are_named(run, files, change, cause):
    state, text = official(64, 4, width=64)
    command = files(state, text, 4)
    change(state)
    files(state, text, 4)
    result = run(*command)
    assert result.exit_code == 1
    assert cause in result.errors[0]


def test_text_features_that_do_not_belong_are_named(run, files, tmp_path):
    state, text = official(64, 4, width=64)
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

    command = files(*official(64, 4, width=64), 4)
    (tmp_path / "TES.pkl").write_bytes(pickle.dumps({"w1": Evil()}))
    result = run(*command)
    assert result.exit_code == 1
    assert "can't be read as a checkpoint" in result.errors[0]
    assert not (tmp_path / "ran").exists()


def test_only_the_shapes_of_plain_numpy_text_features_are_taken(run, files, tmp_path):
    command = files(*official(64, 4, width=64), 4)
    np.save(tmp_path / "plain.npy", torch.load(tmp_path / "text_feature.npy").numpy())
    command[command.index("--text-features") + 1] = tmp_path / "plain.npy"
    assert run(*command).exit_code == 0
    np.save(tmp_path / "plain.npy", np.zeros(5, np.float32))
    assert "no matrix" in run(*command).errors[0]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {"state_dict": s, "epoch": 3},
        lambda s: {"model_state_dict": s, "optimizer": {"state": {}, "param_groups": []}},
        lambda s: {"model": s},
        lambda s: {"model": {"state_dict": s}},
        lambda s: {**s, "epoch": 7, "best": 0.9},
        lambda s: {f"module.{name}": tensor for name, tensor in s.items()},
        lambda s: {name: tensor for name, tensor in s.items() if "num_batches_tracked" not in name},
        lambda s: {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in s.items()},
    ],
)
@torch.no_grad()
def test_state_dicts_are_found_wherever_they_are_kept(run, files, tmp_path, wrap):
    state, text = official(64, 4, width=64)
    command = files(wrap(state), text, 4)
    assert run(*command).exit_code == 0
    visual, audio = torch.randn(1, 5, 64), torch.randn(1, 5, 768)
    head = load_head(tmp_path / "bundle" / "heads" / "TES.safetensors")
    expected = reference(state, text, visual[0], audio[0], 4)
    torch.testing.assert_close(head.model(visual, audio).score, expected, atol=1e-5, rtol=1e-5)


def on_many_disks(data):
    """A zip whose 64-bit end record, put in front of its end, says that it spans several disks."""
    at = data.rindex(b"PK\5\6")
    locator = b"PK\6\7" + (0).to_bytes(4, "little") + at.to_bytes(8, "little") + (7).to_bytes(4, "little")
    return data[:at] + locator + data[at:]


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda path: (path.unlink(), path.mkdir()), "is a folder, not a checkpoint"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(path.read_bytes()[:-2000]), "is cut short"),
        (lambda path: path.write_text("no checkpoint"), "can't be read as a checkpoint"),
        (lambda path: path.write_bytes(on_many_disks(path.read_bytes())), "can't be read as a checkpoint"),
        (lambda path: torch.save({"epoch": 3}, path), "holds no state dict"),
        (lambda path: torch.save([1, 2], path), "holds no state dict"),
        (lambda path: path.unlink(), "no such file"),
    ],
)
def test_files_that_are_no_checkpoint_are_told_apart(run, files, tmp_path, spoil, cause):
    command = files(*official(64, 4, width=64), 4)
    spoil(tmp_path / "TES.pkl")
    result = run(*command)
    assert result.exit_code == 1
    assert len(result.errors) == 1
    assert cause in result.errors[0]


def test_what_no_tensor_shows_is_warned_about(run, files, tmp_path):
    state, text = official(64, 42, width=64)
    command = [str(part) for part in files(state, text, 42)]
    result = run(*command)
    assert "holds pos_encoder.pe, and no tensor shows whether it was used" in result.stderr
    assert "it takes visual features of width 64, but those of fs1000 have 768" in result.stderr
    state, text = official(1024, 42)
    del state["pos_encoder.pe"]
    command = [str(part) for part in files(state, text, 42)][:-1]
    command[command.index("--backbones") + 1], command[command.index("0:130")] = "rg", "0:25"
    command[command.index("-t") + 1] = "Ball"
    result = run(*command, tmp_path / "other")
    assert "pos_encoder" not in result.stderr
    assert "102 text features are those of skating, but RG is gymnastics" in result.stderr


def test_an_unknown_window_is_warned_about(run, files, tmp_path):
    command = [str(part) for part in files(*official(192, 4, width=64), 4)]
    at = command.index("--window")
    command = command[:at] + command[at + 2 :]
    command[command.index("--backbones") + 1], command[command.index("0:130")] = "mini", "0:77"
    assert "needs it as --window" in run(*command).stderr
    assert load_head(tmp_path / "bundle" / "heads" / "TES.safetensors").window is None
    assert "needs it as" not in run(*command, "--window", "full").stderr


def test_a_target_on_other_backbones_is_refused(run, files, tmp_path):
    command = [str(part) for part in files(*official(64, 4, width=64), 4)]
    assert run(*command).exit_code == 0
    before = (tmp_path / "bundle" / "bundle.json").read_bytes()
    command[command.index("--backbones") + 1] = "fisv"
    command[command.index("TES")] = "PCS"
    result = run(*command)
    assert result.exit_code == 1
    assert "holds heads on the visual backbone" in result.errors[0]
    assert (tmp_path / "bundle" / "bundle.json").read_bytes() == before


@pytest.mark.parametrize(("name", "value"), [("w1", torch.nan), ("proj_text.layers.1.running_var", -1.0)])
def test_verify_refuses_what_is_no_number(run, files, tmp_path, name, value):
    from safetensors import safe_open
    from safetensors.torch import save_file

    run(*files(*official(64, 4, width=64), 4))
    path = tmp_path / "bundle" / "heads" / "TES.safetensors"
    with safe_open(path, "pt") as file:
        tensors, metadata = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118
    tensors[{"w1": "dpg.w"}.get(name, name)].fill_(value)
    save_file(tensors, path, metadata)
    result = run("weights", "verify", tmp_path / "bundle")
    assert result.exit_code == 1
    assert "holds NaN" in result.stderr or "holds negative variances" in result.stderr
