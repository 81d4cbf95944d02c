"""The backbones at full size, built from their configs with random tensors, run through the real path.

`pytest -s` prints the time a clip. Times are told, never judged: machines differ.
"""

import time

import pytest
import torch
from conftest import make_video

from mlavl_cli.backbone import BackboneSpec
from mlavl_cli.device import place
from mlavl_cli.features.audio import load_audio
from mlavl_cli.features.extract import Backbones, extract
from mlavl_cli.features.visual import load_visual

pytestmark = pytest.mark.slow


def timesformer(folder):
    from transformers import TimesformerConfig, TimesformerModel, TimesformerVideoProcessor

    TimesformerModel(TimesformerConfig()).save_pretrained(folder)
    TimesformerVideoProcessor().save_pretrained(folder)
    return BackboneSpec(str(folder))


def swin(folder):
    from torchvision.models.video import swin3d_b

    folder.mkdir()
    torch.save(swin3d_b().state_dict(), folder / "swin3d_b.pth")
    options = {"short_side": 256, "crop": [224, 300], "size": [224, 224]}
    return BackboneSpec(str(folder / "swin3d_b.pth"), options=options)


def ast(folder):
    from transformers import ASTConfig, ASTFeatureExtractor, ASTModel

    ASTModel(ASTConfig()).save_pretrained(folder)
    ASTFeatureExtractor().save_pretrained(folder)
    return BackboneSpec(str(folder))


@pytest.mark.parametrize(("make_visual", "dim"), [(timesformer, 768), (swin, 1024)])
@pytest.mark.parametrize("precision", ["fp32", "int8", "auto"])
def test_one_clip_at_full_size(tmp_path, capsys, make_visual, dim, precision):
    placement = place("cpu", precision)
    visual = load_visual(make_visual(tmp_path / "visual"), placement)
    audio = load_audio(ast(tmp_path / "audio"), placement)
    path = make_video(tmp_path / "clip.mp4", 32, size=(1280, 720))
    begin = time.perf_counter()
    features = extract(path, Backbones(visual, audio, placement, {}))
    seconds = time.perf_counter() - begin
    assert features.visual.shape == (1, dim)
    assert features.audio.shape == (1, 768)
    with capsys.disabled():
        name = f"{make_visual.__name__} + ast, {placement.precision}"
        print(f"\n{name}: {seconds:.2f} s for one clip of 720p, first call and decoding included")
