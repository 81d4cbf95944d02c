"""Pictures that nobody looks at aren't decoded, others by several decoders; clips are a full decode's, to the bit."""

import gc
import random
import threading
import time
from fractions import Fraction

import av
import numpy as np
import pytest
from conftest import make_video
from corpus import CASES
from hypothesis import given, settings
from hypothesis import strategies as st

from mlavl_cli.errors import MediaError
from mlavl_cli.media import container, decode, lanes, pictures
from mlavl_cli.media.clips import ClipReader
from mlavl_cli.media.container import Media
from mlavl_cli.media.cutting import Cutting
from mlavl_cli.media.decode import VideoReader
from mlavl_cli.media.nal import told_by
from mlavl_cli.media.picture import PictureSpec

SMALL = PictureSpec((32, 32))


@pytest.fixture(autouse=True, scope="module")
def _large():
    """Small files, and small pictures, are decoded in full by one decoder: here all count as large."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(container, "_SMALL_BYTES", 0)
        patch.setattr(lanes, "_LEAST_PX", 0)
        patch.setattr(decode, "cores", lambda: 3)
        yield


def clips_of(path, threads=None, **options):
    """(clips as bytes, what is known of the video, warnings), or the error."""
    try:
        with ClipReader(path, SMALL, 8, Cutting(**options), threads) as clips:
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
        full = in_full(path, frame_rate=rate)
        assert clips_of(path, frame_rate=rate) == full
        assert clips_of(path, threads=1, frame_rate=rate) == full


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
    full = in_full(path, **chosen)
    assert clips_of(path, **chosen) == full
    assert clips_of(path, threads=1, **chosen) == full


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
    full = in_full(path)
    for spared in (clips_of(path), clips_of(path, threads=1)):
        # Damage within a picture that nobody looks at, and that nothing is decoded from, isn't seen.
        assert spared[:2] == full[:2]
        assert [line for line in full[2] if line not in spared[2]] == [
            line for line in full[2] if "damaged pieces" in line and line not in spared[2]
        ]


@pytest.mark.parametrize("threads", [None, 1])
def test_clips_that_stand_are_not_given_again(tmp_path, threads):
    """Damage is found after some clips were given: they are read once more, and told of but not given."""
    whole = make_video(tmp_path / "v.mp4", list(noisy(480)), options={"x264-params": "bframes=3:keyint=40"})
    path = damaged(whole, tmp_path / "d.mp4", seed=1, after=440)
    repeated, given = [], []
    told = {"on_repeat": lambda decoded: repeated.append(len(given)), "threads": threads}
    with ClipReader(path, SMALL, 8, **told) as clips:
        for clip in clips:
            given.append(clip.index)
    assert repeated == [len(repeated)] * len(repeated) != []
    assert given == list(range(len(in_full(path)[0])))


def test_groups_of_pictures_are_decoded_side_by_side(tmp_path, decoders):
    """By one decoder where a group is too long to be held, and nothing is left behind where a reader stops early."""
    short = make_video(tmp_path / "short.mp4", list(noisy(160)), options={"x264-params": "bframes=3:keyint=20"})
    assert clips_of(short) == in_full(short)
    assert decoders() == 3
    with ClipReader(short, SMALL, 8) as clips:
        next(iter(clips))
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("mlavl-pictures")]
    assert decoders() == 3
    long = make_video(tmp_path / "long.mp4", list(noisy(330)), options={"x264-params": "keyint=400:scenecut=0"})
    assert clips_of(long) == in_full(long)
    assert decoders() == 0
    assert clips_of(short, threads=1) == in_full(short)
    assert decoders() == 0


@pytest.fixture
def decoders(monkeypatch):
    """How many decoders worked side by side since it was last asked."""
    threads = set()
    real = lanes._Lane._decode

    def noted(lane, part):
        threads.add(threading.get_ident())
        return real(lane, part)

    def count():
        found = len(threads)
        threads.clear()
        return found

    monkeypatch.setattr(lanes._Lane, "_decode", noted)
    return count


def joined(out, *parts, settings=None):
    """The pictures of some files behind each other, each part's first packet behind some bytes."""
    with av.open(str(out), "w") as target:
        begin, stream = 0, None
        for path, before in parts:
            with av.open(str(path)) as source:
                if stream is None:
                    stream = target.add_stream_from_template(source.streams.video[0])
                    stream.codec_context.extradata = settings or stream.codec_context.extradata
                for packet in source.demux(video=0):
                    if not packet.size:
                        continue
                    new, before = av.Packet(before + bytes(packet)), b""
                    new.pts, new.dts, new.time_base = packet.pts + begin, packet.dts + begin, packet.time_base
                    new.is_keyframe, new.duration, new.stream = packet.is_keyframe, packet.duration, stream
                    target.mux(new)
                begin += source.streams.video[0].duration
    return out


def test_settings_that_change_in_the_middle_hold_for_all_behind(tmp_path):
    """Of pictures and not of all: PPS that stand with one group alone, as where two recordings are joined."""
    words = "keyint=16:scenecut=0:bframes=2:cabac=0:qp={}"  # else a wrong one would be noticed
    first, second = (
        make_video(tmp_path / f"{qp}.mp4", list(noisy(96, seed=qp)), options={"x264-params": words.format(qp)})
        for qp in (20, 34)
    )
    with av.open(str(second)) as source:
        settings = source.streams.video[0].codec_context.extradata
    with av.open(str(first)) as source:
        own = source.streams.video[0].codec_context.extradata
    assert settings != own
    at = 8 + int.from_bytes(settings[6:8])
    assert settings[:at] == own[:at]  # SPS
    detail = bytes(2) + settings[at + 1 :]  # a length of four bytes, and the PPS
    detail = detail[: 4 + int.from_bytes(detail[:4])]
    # Behind a start code within a unit that is left out as it stands.
    hidden = b"\x0c\xff\xff\0\0\1" + detail[4:]
    hidden = len(hidden).to_bytes(4) + hidden
    own_detail = own[at + 1 :][: 2 + int.from_bytes(own[at + 1 : at + 3])]
    both = own[:at] + b"\2" + detail[2:] + own_detail  # of one number: the last is in effect
    for name, settings, before in (("once", own, detail), ("twice", both, detail), ("hidden", own, hidden)):
        path = joined(tmp_path / f"{name}.mp4", (first, b""), (second, before), settings=settings)
        full = in_full(path)
        assert len(full[0]) == 6
        assert full[2] == []  # no damage
        assert clips_of(path) == full


@pytest.mark.parametrize(
    ("codec", "pixels", "options"),
    [
        ("libx264", "yuv420p", {"x264-params": "keyint=16"}),
        (
            "libx265",
            "yuv420p10le",
            {"x265-params": "log-level=none:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:max-cll=1000,400"},
        ),
    ],
)
def test_pictures_are_let_go_of_once_they_are_drawn(tmp_path, codec, pixels, options):
    """At once, and not when Python next looks for what refers to itself: of HDR in 4K that would be gigabytes."""
    path = make_video(tmp_path / "v.mp4", list(noisy(256)), codec=codec, pixels=pixels, options=options, rotation=90)
    gc.collect()
    gc.disable()
    try:
        with ClipReader(path, SMALL, 8) as clips:
            count = sum(1 for _ in clips)
            alive = [one for one in gc.get_objects() if type(one) is av.VideoFrame and one.width > SMALL.size[1]]
    finally:
        gc.enable()
    assert count == 8
    assert len(alive) < 8


def test_few_packets_are_held_wherever_groups_begin(tmp_path, monkeypatch):
    """The header lists groups that don't begin anew: all are one decoder's."""
    words = "keyint=16:scenecut=0:open-gop=1:bframes=3"
    path = make_video(tmp_path / "v.mp4", list(noisy(480)), options={"x264-params": words})
    with av.open(str(path)) as source:
        bytes_of = sum(packet.size for packet in source.demux(video=0))
    monkeypatch.setattr(lanes, "_MOST_HELD", bytes_of // 4)
    waiting, most, real, decode_part = 0, 0, lanes._Lane._decode, lanes._Lane.decode

    def submitted(lane, part):
        nonlocal waiting, most
        waiting += sum(step.packet.size for step in part)
        most = max(most, waiting)
        return decode_part(lane, part)

    def slowly(lane, part):
        nonlocal waiting
        time.sleep(0.02)
        found = real(lane, part)
        waiting -= sum(step.packet.size for step in part)
        return found

    monkeypatch.setattr(lanes._Lane, "decode", submitted)
    monkeypatch.setattr(lanes._Lane, "_decode", slowly)
    assert clips_of(path) == in_full(path)
    assert 0 < most < bytes_of // 2


_OF_X264 = bytes.fromhex("dc45e9bde6d948b7962cd820d923eeef")  # its texts begin so


@pytest.mark.parametrize("said", ["text", "transfer", "cut", "old x264"])
def test_what_is_said_for_later_groups_keeps_them_together(tmp_path, said):
    """SEI in one group that a decoder remembers: which curve is preferred (147), one that is cut off, and a version of
    x264 whose pictures are decoded in another way (33 and before)."""
    path = make_video(tmp_path / "v.mp4", list(noisy(160)), options={"x264-params": "keyint=16:scenecut=0"})
    unit = {
        "text": b"\x06\x05\x12" + bytes(range(1, 19)) + b"\x80",
        "transfer": b"\x06\x93\x01\x10\x80",
        "cut": b"\x06\x93\xff",
        "old x264": b"\x06\x05\x1e" + _OF_X264 + b"x264 - core 20\0\x80",
    }[said]
    path = joined(tmp_path / "said.mp4", (path, b""), (path, len(unit).to_bytes(4) + unit))
    assert clips_of(path) == in_full(path)
    with av.open(str(path)) as source:
        told = told_by(source.streams.video[0].codec_context)
        anew = [told(packet).anew for packet in source.demux(video=0) if packet.size]
    assert sum(anew) == (20 if said == "text" else 10)


def test_a_second_description_of_the_samples_keeps_groups_together(tmp_path):
    """FFmpeg hands it over once, beside the first packet that it holds for."""
    path = make_video(tmp_path / "v.mp4", list(noisy(160)), options={"x264-params": "keyint=16:scenecut=0"})
    with av.open(str(path)) as source:
        stream = source.streams.video[0]
        told, packets = told_by(stream.codec_context), [packet for packet in source.demux(stream) if packet.size]
        av.packet.PacketSideData(1, 8).to_packet(packets[64])
        assert packets[64].has_sidedata("new_extradata")
        anew = [number for number, packet in enumerate(packets) if told(packet).anew]
    assert anew == [0, 16, 32, 48]
