"""Visual backbones give what their own libraries give for the same pixels."""

import numpy as np
import pytest
import torch

from mlavl_cli.backbone import BackboneSpec
from mlavl_cli.device import place
from mlavl_cli.errors import WeightsError
from mlavl_cli.features.int8 import Int8Linear
from mlavl_cli.features.visual import load_visual

CPU = place("cpu", "fp32")
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}


def save(folder, kind):
    """A tiny model of the real class with its real processor."""
    import transformers as hf

    torch.manual_seed(0)
    crop = {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}
    if kind == "timesformer":
        model = hf.TimesformerModel(hf.TimesformerConfig(image_size=32, patch_size=16, num_frames=8, **SIZES))
        processor = hf.TimesformerVideoProcessor(**crop)
    elif kind == "videomae":
        model = hf.VideoMAEModel(hf.VideoMAEConfig(image_size=32, patch_size=16, num_frames=16, **SIZES))
        processor = hf.VideoMAEVideoProcessor(**crop)
    elif kind == "vivit":
        sizes = {"image_size": 32, "num_frames": 32, "tubelet_size": [2, 16, 16]}
        model = hf.VivitModel(hf.VivitConfig(**sizes, **SIZES))
        processor = hf.VivitVideoProcessor(**crop)
    else:
        sizes = {"crop_size": 32, "frames_per_clip": 64, "patch_size": 16, "mlp_ratio": 2.0}
        predictor = {"pred_hidden_size": 32, "pred_num_attention_heads": 4, "pred_num_hidden_layers": 1}
        few = {name: value for name, value in SIZES.items() if name != "intermediate_size"}
        model = hf.VJEPA2Model(hf.VJEPA2Config(**sizes, **few, **predictor))
        processor = hf.VJEPA2VideoProcessor(crop_size=32)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return model.eval(), processor


@pytest.mark.parametrize(
    ("kind", "frames", "class_token"),
    [("timesformer", 8, True), ("videomae", 16, False), ("vivit", 32, True), ("vjepa2", 32, False)],
)
def test_equals_the_library_on_its_own_preprocessing(tmp_path, kind, frames, class_token):
    model, processor = save(tmp_path / kind, kind)
    backbone = load_visual(BackboneSpec(str(tmp_path / kind)), CPU)
    assert (backbone.dim, backbone.frames) == (32, frames)
    size = backbone.picture.size
    clip = torch.randint(0, 256, (2, frames, *size, 3), dtype=torch.uint8)
    ready = processor(list(clip.permute(0, 1, 4, 2, 3)), return_tensors="pt", do_resize=False, do_center_crop=False)
    extra = {"skip_predictor": True} if kind == "vjepa2" else {}
    with torch.inference_mode():
        tokens = model(next(iter(ready.values())), **extra).last_hidden_state
    expected = tokens[:, 0] if class_token else tokens.mean(1)
    torch.testing.assert_close(backbone.encode(clip), expected, atol=1e-5, rtol=1e-5)


def test_picture_size_comes_from_the_processor(tmp_path):
    save(tmp_path / "m", "timesformer")
    picture = load_visual(BackboneSpec(str(tmp_path / "m")), CPU).picture
    assert (picture.size, picture.short_side) == ((32, 32), 36)


def test_bf16_stays_close(tmp_path):
    save(tmp_path / "m", "timesformer")
    clip = torch.randint(0, 256, (3, 8, 32, 32, 3), dtype=torch.uint8)
    spec = BackboneSpec(str(tmp_path / "m"))
    exact, fast = (load_visual(spec, place("cpu", p)).encode(clip) for p in ("fp32", "bf16"))
    assert torch.cosine_similarity(exact, fast).min() > 0.999
    assert fast.dtype == torch.float32


@pytest.mark.parametrize(
    ("kind", "frames", "layers"), [("timesformer", 8, 6), ("videomae", 16, 4), ("vivit", 32, 4), ("vjepa2", 32, 4)]
)
def test_feed_forward_layers_alone_are_in_int8(tmp_path, kind, frames, layers):
    save(tmp_path / "m", kind)
    spec = BackboneSpec(str(tmp_path / "m"))
    exact, fast = (load_visual(spec, place("cpu", p)) for p in ("fp32", "int8"))
    replaced = [name for name, module in fast.network.named_modules() if isinstance(module, Int8Linear)]
    assert len([name for name in replaced if "pooler" not in name and "predictor" not in name]) == layers
    assert not any("att" in name for name in replaced)
    assert fast.parameters_held == exact.parameters_held
    size = fast.picture.size
    clips = torch.randint(0, 256, (2, frames, *size, 3), dtype=torch.uint8)
    rows = fast.encode(clips)
    assert torch.cosine_similarity(exact.encode(clips), rows).min() > 0.999
    assert not torch.equal(exact.encode(clips), rows)


def swin_file(path, naming):
    """A Video Swin-T with random tensors, in torchvision's or in mmaction's names."""
    from torchvision.models.video import swin3d_t

    torch.manual_seed(1)
    model = swin3d_t().eval()
    state = model.state_dict()
    if naming == "mmaction":
        state = {f"backbone.{to_mmaction(name)}": tensor for name, tensor in state.items() if "head" not in name}
        state["cls_head.fc_cls.weight"] = torch.zeros(600, 768)
        torch.save({"state_dict": state}, path)
    else:
        torch.save(state, path)
    model.head = torch.nn.Identity()
    return model


def to_mmaction(name):
    """The renaming written from the other side, block by block."""
    if not name.startswith("features."):
        return name
    _, number, rest = name.split(".", 2)
    stage, odd = divmod(int(number), 2)
    if odd:
        return f"layers.{stage}.downsample.{rest}"
    block, rest = rest.split(".", 1)
    rest = {"mlp.0.weight": "mlp.fc1.weight", "mlp.0.bias": "mlp.fc1.bias"}.get(rest, rest)
    rest = {"mlp.3.weight": "mlp.fc2.weight", "mlp.3.bias": "mlp.fc2.bias"}.get(rest, rest)
    return f"layers.{stage}.blocks.{block}.{rest}"


@pytest.mark.parametrize("naming", ["torchvision", "mmaction"])
def test_video_swin_from_a_local_file(tmp_path, naming):
    model = swin_file(tmp_path / "swin.pth", naming)
    options = {"arch": "swin3d_t", "short_side": 36, "crop": [32, 43], "size": [32, 32]}
    backbone = load_visual(BackboneSpec(str(tmp_path / "swin.pth"), options=options), CPU)
    assert (backbone.dim, backbone.frames, backbone.picture.crop) == (768, 32, (32, 43))
    clip = torch.randint(0, 256, (1, 32, 32, 32, 3), dtype=torch.uint8)
    mean, std = (torch.tensor(v).view(3, 1, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    with torch.inference_mode():
        expected = model((clip[0].permute(3, 0, 1, 2) / 255 - mean)[None] / std)
    torch.testing.assert_close(backbone.encode(clip), expected, atol=1e-5, rtol=1e-5)


def test_video_swin_in_int8(tmp_path):
    swin_file(tmp_path / "swin.pth", "torchvision")
    options = {"arch": "swin3d_t", "short_side": 36, "crop": [32, 43], "size": [32, 32]}
    spec = BackboneSpec(str(tmp_path / "swin.pth"), options=options)
    clips = torch.randint(0, 256, (2, 32, 32, 32, 3), dtype=torch.uint8)
    exact, fast = (load_visual(spec, place("cpu", p)).encode(clips) for p in ("fp32", "int8"))
    assert torch.cosine_similarity(exact, fast).min() > 0.999


def test_a_swin_of_another_size_is_named(tmp_path):
    swin_file(tmp_path / "swin.pth", "mmaction")
    with pytest.raises(WeightsError, match=r"patch_embed.proj.weight has shape|lacks the tensor|has shape"):
        load_visual(BackboneSpec(str(tmp_path / "swin.pth")), CPU)


def test_a_pickle_with_code_in_it_does_not_run(tmp_path):
    import pickle

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"state_dict": Evil()}))
    with pytest.raises(WeightsError, match="can't be read as weights"):
        load_visual(BackboneSpec(str(tmp_path / "evil.pth")), CPU)
    assert not (tmp_path / "ran").exists()


def test_what_cannot_be_had_says_id_cache_and_way(monkeypatch):
    with pytest.raises(WeightsError) as caught:
        load_visual(BackboneSpec("nobody/no-such-model", "abc123"), CPU)
    text = str(caught.value)
    for part in ("nobody/no-such-model", "cache at", "HF_HUB_OFFLINE is set", "hf download", "--revision abc123"):
        assert part in text


def test_a_model_of_another_kind_is_refused(tmp_path):
    from transformers import ASTConfig, ASTModel

    ASTModel(ASTConfig(**SIZES)).save_pretrained(tmp_path / "ast")
    with pytest.raises(WeightsError, match="no visual backbone"):
        load_visual(BackboneSpec(str(tmp_path / "ast")), CPU)


def test_missing_tensors_are_refused_not_made_up(tmp_path):
    from safetensors.numpy import load_file, save_file

    save(tmp_path / "m", "timesformer")
    path = tmp_path / "m" / "model.safetensors"
    tensors = load_file(path)
    tensors = {name: np.array(t) for name, t in tensors.items() if "layer.1.output" not in name}
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="tensors are missing"):
        load_visual(BackboneSpec(str(tmp_path / "m")), CPU)
