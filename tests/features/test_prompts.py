import pytest

from mlavl_cli.bundle import find_bundle
from mlavl_cli.errors import DataError
from mlavl_cli.features.prompts import SPORTS, Prompts, read_actions, sport_prompts
from mlavl_cli.features.text import encode_prompts


def test_order_of_the_paper():
    texts = Prompts(("Axel jump", "sit spin"), ("bad", "good")).texts
    assert texts == [
        "a video of Axel jump",
        "a video of sit spin",
        "a music suitable for Axel jump",
        "a music suitable for sit spin",
        "a video of bad action performance without fitting music",
        "a video of good action performance without fitting music",
        "a video of bad action performance with fitting music",
        "a video of good action performance with fitting music",
        "a video of bad action performance",
        "a video of good action performance",
    ]


@pytest.mark.parametrize(("sport", "rows"), [("skating", 102), ("gymnastics", 82), ("swimming", 162)])
def test_each_sport_has_its_actions(sport, rows):
    texts = sport_prompts(sport).texts
    assert len(texts) == len(set(texts)) == rows
    assert sport in SPORTS


def test_own_actions(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("id,name\n0, wolf turn \n1,ring leap\n", encoding="utf-8-sig")
    assert read_actions(path).actions == ("wolf turn", "ring leap")


@pytest.mark.parametrize(
    "text", ["", "id,name\n", "id,title\n0,x\n", "id,name\n0,a\n1,a\n", "id,name\n0,\n", "id,name\n0\n"]
)
def test_broken_actions_are_refused(tmp_path, text):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=r"labels\.csv"):
        read_actions(path)


def test_text_tower_is_the_library_s():
    import torch
    from transformers import AutoTokenizer, CLIPTextModelWithProjection

    spec = find_bundle("mini").text
    texts = sport_prompts("skating").texts[:5]
    ours = encode_prompts(texts, spec)
    model = CLIPTextModelWithProjection.from_pretrained(spec.source).float().eval()
    tokenizer = AutoTokenizer.from_pretrained(spec.source)
    with torch.inference_mode():
        alone = [model(**tokenizer(text, return_tensors="pt")).text_embeds for text in texts]
    torch.testing.assert_close(torch.from_numpy(ours), torch.cat(alone), atol=1e-5, rtol=1e-4)
    assert len({row.tobytes() for row in ours}) == len(texts)
