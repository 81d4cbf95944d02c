from dataclasses import replace

import pytest

from mlavl_cli.bundle import find_bundle
from mlavl_cli.errors import DataError
from mlavl_cli.features.prompts import GRADES, SPORTS, prompts_of, read_prompts, sport_prompts
from mlavl_cli.features.text import encode_prompts
from mlavl_cli.features.text_features import interleaved, read_text_features, refuse_other_texts


def test_order_of_the_paper():
    texts = prompts_of(("Axel jump", "sit spin"), ("bad", "good")).texts
    assert texts == (
        "a video of Axel jump",
        "a video of sit spin",
        "a music suitable for Axel jump",
        "a music suitable for sit spin",
        "a video of bad action performance without fitting music",
        "a video of bad action performance with fitting music",
        "a video of good action performance without fitting music",
        "a video of good action performance with fitting music",
        "a video of bad action performance",
        "a video of good action performance",
    )


@pytest.mark.parametrize(("sport", "rows"), [("skating", 102), ("gymnastics", 82), ("swimming", 162)])
def test_each_sport_has_its_actions(sport, rows):
    texts = sport_prompts(sport).texts
    assert len(texts) == len(set(texts)) == rows
    assert sport in SPORTS


def test_own_actions(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("id,name\n0, wolf turn \n1,ring leap\n", encoding="utf-8-sig")
    assert read_prompts(path) == prompts_of(("wolf turn", "ring leap"))


def write_official(path, change=lambda texts: texts):
    """All prompts of the official form; the music's wording of an action is not the video's."""
    texts = [f"a video of action {i}" for i in range(42)]
    texts += [f"a music suitable for an action of kind {i}" for i in range(42)]
    for grade in GRADES:
        texts += [f"a video of {grade} action performance {fit} fitting music" for fit in ("without", "with")]
    texts += [f"a video of {grade} action performance" for grade in GRADES]
    texts = change(texts)
    path.write_text("id,name\n" + "".join(f"{i},{text}\n" for i, text in enumerate(texts)))
    return tuple(texts)


def test_the_official_csv_of_all_prompts_is_read_as_it_is(tmp_path, run):
    path = tmp_path / "labels.csv"
    texts = write_official(path)
    found = read_prompts(path)
    assert found.texts == texts
    assert found.actions == tuple(f"action {i}" for i in range(42))
    assert run("prompts", "list", "--actions", path).stdout.splitlines() == list(texts)


def in_blocks(texts):
    return [*texts[:84], *texts[84:96:2], *texts[85:96:2], *texts[96:]]


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (in_blocks, "row 86 is 'a video of poor action performance without fitting music', where bad with"),
        (lambda texts: texts[1:], "holds 101 prompts"),
        (lambda texts: texts[84:], "holds 18 prompts"),
    ],
)
def test_texts_in_another_order_are_refused(tmp_path, change, cause):
    write_official(tmp_path / "labels.csv", change)
    with pytest.raises(DataError, match=cause):
        read_prompts(tmp_path / "labels.csv")


@pytest.mark.parametrize(
    "text", ["", "id,name\n", "id,title\n0,x\n", "id,name\n0,a\n1,a\n", "id,name\n0,\n", "id,name\n0\n"]
)
def test_broken_actions_are_refused(tmp_path, text):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=r"labels\.csv"):
        read_prompts(path)


def test_text_tower_is_the_library_s():
    import torch
    from transformers import AutoTokenizer, CLIPTextModelWithProjection

    spec = find_bundle("mini").text
    texts = sport_prompts("skating").texts[:5]
    encoded = encode_prompts(texts, spec)
    assert (encoded.texts, encoded.full_stop) == (texts, True)
    ours = encoded.rows.numpy()
    model = CLIPTextModelWithProjection.from_pretrained(spec.source).float().eval()
    tokenizer = AutoTokenizer.from_pretrained(spec.source)
    with torch.inference_mode():
        alone = [model(**tokenizer(f"{text}.", return_tensors="pt")).text_embeds for text in texts]
    torch.testing.assert_close(torch.from_numpy(ours), torch.cat(alone), atol=1e-5, rtol=1e-4)
    assert len({row.tobytes() for row in ours}) == len(texts)


def test_features_are_kept_with_their_texts(tmp_path, run):
    for name in ("t.npy", "t.safetensors"):
        tower = find_bundle("mini").text.source
        assert run("prompts", "encode", "-o", tmp_path / name, "--text", tower).exit_code == 0
    plain, whole = (read_text_features(tmp_path / name) for name in ("t.npy", "t.safetensors"))
    assert plain.rows.equal(whole.rows)
    assert (plain.texts, plain.full_stop) == ((), None)
    assert (whole.texts, whole.full_stop) == (sport_prompts("skating").texts, True)


def test_features_in_two_blocks_are_noticed_and_put_in_order(tmp_path):
    features = encode_prompts(sport_prompts("skating").texts, find_bundle("mini").text)
    assert not features.looks_like_blocks
    blocks = replace(features, rows=features.rows[in_blocks(list(range(102)))])
    assert blocks.looks_like_blocks
    assert interleaved(blocks).rows.equal(features.rows)


def test_features_of_other_texts_are_refused():
    features = encode_prompts(sport_prompts("skating").texts, find_bundle("mini").text)
    refuse_other_texts(features, sport_prompts("skating"))
    refuse_other_texts(replace(features, texts=()), prompts_of(tuple(map(str, range(42)))))
    with pytest.raises(DataError, match="text feature 1 is of 'a video of"):
        refuse_other_texts(features, prompts_of(tuple(map(str, range(42)))))
    with pytest.raises(DataError, match="82 prompts, but 102 text features"):
        refuse_other_texts(features, sport_prompts("gymnastics"))
