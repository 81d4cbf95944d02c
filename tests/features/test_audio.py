"""AST at a clip's own length: the library's own result where lengths agree, its authors' rule where they don't."""

import numpy as np
import pytest
import torch
from conftest import tone

from mlavl_cli.backbone import BackboneSpec
from mlavl_cli.device import place
from mlavl_cli.features.audio import load_audio

CPU = place("cpu", "fp32")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from transformers import ASTConfig, ASTFeatureExtractor, ASTModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    model = ASTModel(ASTConfig(**sizes))
    torch.nn.init.normal_(model.embeddings.position_embeddings)
    folder = tmp_path_factory.mktemp("ast")
    model.save_pretrained(folder)
    ASTFeatureExtractor().save_pretrained(folder)
    return folder


def noise(samples, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


def test_at_full_length_it_is_the_library(folder):
    from transformers import ASTFeatureExtractor, ASTModel

    sound = noise(400 + 160 * 1023)  # exactly AST's 1024 frames
    inputs = ASTFeatureExtractor.from_pretrained(folder)(sound, sampling_rate=16_000, return_tensors="pt")
    with torch.inference_mode():
        expected = ASTModel.from_pretrained(folder).eval()(**inputs).pooler_output
    backbone = load_audio(BackboneSpec(str(folder)), CPU)
    torch.testing.assert_close(backbone.encode([backbone.spectrogram(sound)]), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("frames", [16, 51, 126, 128, 500, 1023])
def test_shorter_sound_uses_the_middle_of_the_positions(folder, frames):
    """The library itself, given a model whose position embeddings were cut by hand: [50 - t//2, 50 - t//2 + t)."""
    from transformers import ASTModel

    sound = noise(400 + 160 * (frames - 1))
    backbone = load_audio(BackboneSpec(str(folder)), CPU)
    spectrogram = backbone.spectrogram(sound)
    patches = (frames - 16) // 10 + 1
    assert spectrogram.shape == (16 + 10 * (patches - 1), 128)

    model = ASTModel.from_pretrained(folder).eval()
    positions = model.embeddings.position_embeddings.data
    rows = [[2 + f * 101 + t for t in range(50 - patches // 2, 50 - patches // 2 + patches)] for f in range(12)]
    keep = [0, 1, *(index for row in rows for index in row)]
    model.embeddings.position_embeddings.data = positions[:, keep]
    with torch.inference_mode():
        expected = model(spectrogram[None]).pooler_output
    torch.testing.assert_close(backbone.encode([spectrogram]), expected, atol=1e-5, rtol=1e-4)


def test_longer_sound_stretches_the_positions(folder):
    backbone = load_audio(BackboneSpec(str(folder)), CPU)
    row = backbone.encode([backbone.spectrogram(noise(16_000 * 15))])
    assert row.shape == (1, 32)
    assert row.isfinite().all()


def test_the_spectrogram_is_the_library_s(folder):
    from transformers import ASTFeatureExtractor

    sound = tone(1.28, rate=16_000)
    ours = load_audio(BackboneSpec(str(folder)), CPU).spectrogram(sound).numpy()
    theirs = ASTFeatureExtractor.from_pretrained(folder)(sound, sampling_rate=16_000)["input_values"][0]
    np.testing.assert_allclose(ours, theirs[: len(ours)], atol=1e-5)


def test_normalisation_can_be_that_of_the_public_features(folder):
    plain = load_audio(BackboneSpec(str(folder)), CPU).spectrogram(tone(1, rate=16_000))
    spec = BackboneSpec(str(folder), options={"mean": 4.26, "std": 4.57})
    theirs = load_audio(spec, CPU).spectrogram(tone(1, rate=16_000))
    logmel = plain * 2 * 4.5689974 - 4.2677393
    torch.testing.assert_close(theirs, (logmel - 4.26) / (2 * 4.57), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("samples", [0, 1, 399, 2000])
def test_very_short_sound_is_filled_with_silence(folder, samples):
    backbone = load_audio(BackboneSpec(str(folder)), CPU)
    assert backbone.spectrogram(noise(samples)).shape == (16, 128)


def test_neighbours_of_any_length_change_nothing(folder):
    backbone = load_audio(BackboneSpec(str(folder)), CPU)
    spectrograms = [backbone.spectrogram(noise(n, n)) for n in (20_480, 8_533, 20_479, 26_096, 8_533)]
    together = backbone.encode(spectrograms)
    alone = torch.cat([backbone.encode([one]) for one in spectrograms])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
