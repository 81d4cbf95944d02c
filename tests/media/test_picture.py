"""Pictures are what the hub's own processors would make of the same frame, within a stated tolerance."""

import av
import numpy as np
import pytest
import torch
from conftest import make_video
from hypothesis import given, settings
from hypothesis import strategies as st

from mlavl_cli.media.picture import PictureMaker, PictureSpec


def photo(height: int, width: int, scale: float = 1) -> np.ndarray:
    """Smooth shapes and some detail, as a camera sees them."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x, y = x / scale, y / scale
    planes = [128 + 90 * np.sin(x / 17 + c) * np.cos(y / (11 + 3 * c)) for c in range(3)]
    return np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(720, 1280), (480, 854), (640, 360), (240, 398), (100, 100)])
def test_equals_the_hub_processor_within_two_levels(height, width):
    from transformers import TimesformerVideoProcessor

    frame = av.VideoFrame.from_ndarray(photo(height, width), "rgb24")
    ours = PictureMaker(PictureSpec((224, 224), 224, (224, 224)))(frame)
    processor = TimesformerVideoProcessor(do_normalize=False, do_rescale=False)
    video = torch.from_numpy(frame.to_ndarray()).permute(2, 0, 1)[None]
    theirs = processor(video, return_tensors="pt")["pixel_values"][0, 0].permute(1, 2, 0).numpy()
    assert ours.shape == theirs.shape
    assert np.abs(ours.astype(float) - theirs).mean() < 2


def test_the_crop_of_the_public_features_is_squeezed():
    """Short side 256, the middle 224 x 300 of it, squeezed to 224 x 224 (docs/method.md, section 15)."""
    import torchvision.transforms.v2.functional as tv

    picture = photo(720, 1280, scale=4)  # smooth: one pass of scaling may shift half a pixel
    ours = PictureMaker(PictureSpec((224, 224), 256, (224, 300)))(av.VideoFrame.from_ndarray(picture, "rgb24"))
    scaled = tv.resize(torch.from_numpy(picture).permute(2, 0, 1), [256], antialias=True)
    theirs = tv.resize(tv.center_crop(scaled, [224, 300]), [224, 224], antialias=True).permute(1, 2, 0).numpy()
    assert np.abs(ours.astype(float) - theirs).mean() < 4


@settings(max_examples=60, deadline=None)
@given(height=st.integers(1, 400), width=st.integers(1, 400), turns=st.integers(0, 3), aspect=st.floats(0.5, 2))
def test_every_size_gives_the_size_asked_for(height, width, turns, aspect):
    frame = av.VideoFrame.from_ndarray(photo(height, width), "rgb24")
    for spec in (PictureSpec((48, 40), 56, (48, 52)), PictureSpec((30, 50))):
        assert PictureMaker(spec)(frame, aspect, turns).shape == (*spec.size, 3)


def test_frames_that_change_size_on_the_way(tmp_path):
    maker = PictureMaker(PictureSpec((32, 32), 32))
    for size in ((64, 48), (320, 240), (64, 48)):
        frame = av.VideoFrame.from_ndarray(photo(*size), "rgb24")
        assert maker(frame).shape == (32, 32, 3)


def test_colours_survive(tmp_path):
    red = [np.full((64, 64, 3), (200, 30, 40), np.uint8)] * 2
    path = make_video(tmp_path / "red.mp4", red, sound=None, options={"crf": "1"})
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    assert np.abs(PictureMaker(PictureSpec((8, 8)))(frame).astype(int) - (200, 30, 40)).max() < 6
