"""Pictures that nobody looks at aren't decoded, and nothing else changes: clips are a full decode's, to the bit."""

import random
from fractions import Fraction

import av
import numpy as np
import pytest
from conftest import make_video
from corpus import CASES
from hypothesis import given, settings
from hypothesis import strategies as st

from mlavl_cli.errors import MediaError
from mlavl_cli.media import container, pictures
from mlavl_cli.media.clips import ClipReader
from mlavl_cli.media.container import Media
from mlavl_cli.media.cutting import Cutting
from mlavl_cli.media.decode import VideoReader
from mlavl_cli.media.picture import PictureSpec

SMALL = PictureSpec((32, 32))


@pytest.fixture(autouse=True, scope="module")
def _large():
    """Small files are decoded in full: here all files count as large."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(container, "_SMALL_BYTES", 0)
        yield


def clips_of(path, **options):
    """(clips as bytes, what is known of the video, warnings), or the error."""
    try:
        with ClipReader(path, SMALL, 8, Cutting(**options)) as clips:
            found = [
                (clip.start_s, clip.end_s, clip.frames.tobytes(), None if clip.sound is None else clip.sound.tobytes())
                for clip in clips
            ]
            return found, clips.info, clips.warnings
    except MediaError as error:
        return str(error)


def in_full(path, **options):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "told_by", lambda codec: None)
        return clips_of(path, **options)


def decoded(path, frames=8, **options):
    """How many pictures of a video are decoded, and how many it has."""
    seen = []
    with ClipReader(path, SMALL, frames, Cutting(**options)) as clips, pytest.MonkeyPatch.context() as patch:
        real = clips._video._pictures.in_order  # what isn't decoded can't be seen from outside

        def counted(*args):
            for stamp, picture in real(*args):
                seen.append(picture is not None)
                yield stamp, picture

        patch.setattr(clips._video._pictures, "in_order", counted)
        list(clips)
    return sum(seen), len(seen)


def noisy(count, size=(96, 64), seed=0):
    """Pictures that no codec can do without references for, and that move."""
    rng = np.random.default_rng(seed)
    back = rng.integers(0, 255, (size[1] * 2, size[0] * 2, 3), np.uint8)
    for i in range(count):
        picture = back[i % size[1] :][: size[1], (3 * i) % size[0] :][:, : size[0]].astype(int)
        yield np.clip(picture + rng.integers(-9, 9, picture.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "name", [name for name, (expected, _) in CASES.items() if expected != "error" and name != "8K"]
)
def test_clips_of_the_corpus_are_those_of_a_full_decode(name, tmp_path):
    path = CASES[name][1](tmp_path)
    for rate in (None, 25):
        assert clips_of(path, frame_rate=rate) == in_full(path, frame_rate=rate)


@given(
    encoder=st.sampled_from(["libx264", "libx264", "libx265"]),
    ending=st.sampled_from(["mp4", "mov", "mkv"]),
    fps=st.sampled_from([Fraction(24000, 1001), 25, 50, 60, 120]),
    options=st.fixed_dictionaries(
        {
            "bframes": st.integers(0, 8),
            "b-pyramid": st.sampled_from(["none", "strict", "normal"]),
            "open-gop": st.integers(0, 1),
            "keyint": st.sampled_from([1, 7, 48, 250]),
            "b-adapt": st.integers(0, 2),
            "ref": st.integers(1, 5),
            "slices": st.integers(1, 3),
        }
    ),
    layers=st.booleans(),
    jitter=st.booleans(),
    tail=st.sampled_from(["drop", "pad"]),
    rate=st.sampled_from([None, 25]),
    frames=st.integers(60, 130),
)
@settings(max_examples=40, deadline=None)
def test_clips_are_those_of_a_full_decode(
    tmp_path_factory, encoder, ending, fps, options, layers, jitter, tail, rate, frames
):
    if encoder == "libx265":
        options = options | {"b-pyramid": int(options["b-pyramid"] != "none"), "log-level": "none"}
        options |= {"temporal-layers": int(layers)}
    words = ":".join(f"{name}={value}" for name, value in options.items())
    times = [i / float(fps) + (0.3 / float(fps) * (i % 3) if jitter else 0) for i in range(frames)]
    path = make_video(
        tmp_path_factory.mktemp("v") / f"v.{ending}", list(noisy(frames)), fps, codec=encoder, times_s=times,
        options={"preset": "veryfast", f"{encoder[3:]}-params": words},
    )  # fmt: skip
    chosen = {"tail": tail, "frame_rate": rate}
    assert clips_of(path, **chosen) == in_full(path, **chosen)


@pytest.mark.parametrize("encoder", ["libx264", "libx265"])
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_what_nobody_looks_at_is_not_decoded(tmp_path, encoder, ending):
    words = (
        "bframes=3:b-adapt=0:b-pyramid=none:open-gop=0"
        if encoder == "libx264"
        else "bframes=3:b-adapt=0:b-pyramid=0:log-level=none:open-gop=0"
    )
    options = {f"{encoder[3:]}-params": words}
    path = make_video(tmp_path / f"v.{ending}", list(noisy(320)), codec=encoder, options=options)
    count, whole = decoded(path)
    assert whole == 320
    assert count < 0.6 * whole  # a quarter is looked at, a quarter of the others is what they are decoded from
    assert decoded(path, frames=32) == (320, 320)


def test_pictures_are_all_decoded_unless_it_is_known_which_are_looked_at(tmp_path):
    path = make_video(tmp_path / "v.mp4", 70)
    with Media(path) as media:
        assert all(frame.picture is not None for frame in VideoReader(media).frames())


def damaged(path, out, seed, after=20):
    """A copy, its container whole, of which some pictures' bytes are changed, zeroed or cut off."""
    rng = random.Random(seed)
    with av.open(str(path)) as source, av.open(str(out), "w") as target:
        streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for number, packet in enumerate(source.demux()):
            if not packet.size:
                continue
            if packet.stream.type == "video" and number > after and rng.random() < 0.04:
                content = bytearray(bytes(packet))
                kind = rng.choice(["flip", "zero", "cut", "none"])
                at = rng.randrange(len(content))
                if kind == "flip":
                    content[at] ^= 1 << rng.randrange(8)
                elif kind == "zero":
                    content[at : at + 200] = bytes(len(content[at : at + 200]))
                elif kind == "cut":
                    content = content[: max(at, 1)]
                else:
                    continue
                changed = av.Packet(bytes(content))
                changed.pts, changed.dts, changed.time_base = packet.pts, packet.dts, packet.time_base
                changed.is_keyframe, changed.duration = packet.is_keyframe, packet.duration
                packet, packet.stream = changed, streams[packet.stream.index]
            else:
                packet.stream = streams[packet.stream.index]
            target.mux(packet)
    return out


@pytest.mark.parametrize("seed", range(24))
def test_a_damaged_video_has_the_clips_of_a_full_decode(tmp_path, seed):
    path = make_video(tmp_path / "v.mp4", list(noisy(160, seed=seed)), options={"x264-params": "bframes=3:keyint=40"})
    path = damaged(path, tmp_path / f"d.{'mp4' if seed % 2 else 'mkv'}", seed)
    spared, full = clips_of(path), in_full(path)
    # Damage within a picture that nobody looks at, and that nothing is decoded from, isn't seen.
    assert spared[:2] == full[:2]
    assert [line for line in full[2] if line not in spared[2]] == [
        line for line in full[2] if "damaged pieces" in line and line not in spared[2]
    ]


def test_clips_that_stand_are_not_given_again(tmp_path):
    """Damage is found after three clips were given: they are read once more, the first three told of but not given."""
    whole = make_video(tmp_path / "v.mp4", list(noisy(160)), options={"x264-params": "bframes=3:keyint=40"})
    path = damaged(whole, tmp_path / "d.mp4", seed=1, after=110)
    repeated, given = [], []
    with ClipReader(path, SMALL, 8, on_repeat=lambda decoded: repeated.append(len(given))) as clips:
        for clip in clips:
            given.append(clip.index)
    assert repeated == [len(repeated)] * len(repeated) != []
    assert given == list(range(len(in_full(path)[0])))
