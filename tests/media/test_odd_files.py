"""Files as people have them: held pictures, joined recordings, wrong clocks, several streams, turned and cropped.

Most show a white flash and sound a beep at the same times, so that what is read tells whether they are still together.
"""

from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
from av.stream import Disposition
from conftest import RATE, make_video, moving_square, tone
from hypothesis import given, settings
from hypothesis import strategies as st

from mlavl_cli.errors import MediaError
from mlavl_cli.media.clips import ClipReader
from mlavl_cli.media.container import Media
from mlavl_cli.media.decode import VideoReader
from mlavl_cli.media.picture import PictureMaker, PictureSpec
from mlavl_cli.media.sound import SoundReader

FPS = 25
TICK = Fraction(1, 90_000)


def pictures(seconds, flashes, fps=FPS):
    """Moving squares, with two white frames at each of the times."""
    shown = [moving_square(i, 96, 64) for i in range(round(seconds * fps))]
    for time_s in flashes:
        for i in (0, 1):
            shown[round(time_s * fps) + i] = np.full((64, 96, 3), 255, np.uint8)
    return shown


def beeping(seconds, beeps, rate=RATE):
    """Silence, with 80 ms of a tone at each of the times."""
    sound = np.zeros(round(seconds * rate), np.float32)
    for time_s in beeps:
        at = round(time_s * rate)
        sound[at : at + round(0.08 * rate)] = tone(0.08, 1000, rate)
    return sound


def film(path, seconds=8, at=(2, 5), rate=RATE, **options):
    return make_video(path, pictures(seconds, at), sound=beeping(seconds, at, rate), rate=rate, **options)


class Seen:
    """What VideoReader and SoundReader make of a file."""

    def __init__(self, path, video_stream=None, audio_stream=None):
        with Media(path) as media:
            reader = VideoReader(media, video_stream)
            make = PictureMaker(PictureSpec((16, 24)))
            frames = [(frame.time_s, make(frame.picture).mean()) for frame in reader.frames()]
            self.times = [time for time, _ in frames]
            white = [brightness > 200 for _, brightness in frames]
            self.flashes = [self.times[i] for i in range(len(white)) if white[i] and not (i and white[i - 1])]
            self.info, self.warnings = reader.info, list(reader.warnings)
        self.beeps, self.sound = [], None
        if self.info.has_audio:
            with Media(path) as media:
                sound = SoundReader(media, audio_stream)
                self.sound = sound.read(0.0, max(self.info.duration_s, 1) + 1)
                self.warnings += sound.warnings
            loud = np.flatnonzero(np.abs(self.sound) > 0.1) / 16_000
            self.beeps = [t for i, t in enumerate(loud) if i == 0 or t - loud[i - 1] > 0.5]


def remux(source, target, change=lambda packet: None, keep=lambda packet: True):
    """Copies packets, each changed by `change` in place."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        streams = {s.index: new.add_stream_from_template(s) for s in old.streams}
        for packet in old.demux():
            if packet.dts is not None and keep(packet):
                change(packet)
                packet.stream = streams[packet.stream.index]
                new.mux(packet)
    return target


# --- One clock -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["mp4", "mkv", "mov"])
@pytest.mark.parametrize("held_from", range(50, 58))
def test_a_picture_held_for_seconds_is_held(tmp_path, ending, held_from):
    """With B-frames a frame's stated duration is that of another: wherever in the pattern the hold begins."""
    times = [i / FPS + (3 if i >= held_from else 0) for i in range(150)]
    path = make_video(tmp_path / f"held.{ending}", pictures(6, [4]), times_s=times, sound=beeping(9, [7]))
    seen = Seen(path)
    start = seen.times[0]
    assert np.subtract(seen.times, start) == pytest.approx(times, abs=0.002)
    assert seen.flashes[0] == pytest.approx(seen.beeps[0], abs=0.04)
    assert seen.info.duration_s - start == pytest.approx(9, abs=0.05)
    assert seen.warnings == []


def test_a_still_screen_keeps_its_few_pictures_in_time(tmp_path):
    shown = pictures(8, [2, 5])
    changes = [0, 50, 52, 125, 127]
    path = make_video(
        tmp_path / "still.mp4",
        [shown[i] for i in changes],
        times_s=[i / FPS for i in changes],
        sound=beeping(8, [2, 5]),
    )
    seen = Seen(path)
    assert seen.flashes == pytest.approx([2, 5], abs=0.002)
    assert seen.beeps == pytest.approx([2, 5], abs=0.002)
    assert seen.warnings == []


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_avi_with_b_frames_shows_pictures_in_order(tmp_path, codec):
    """AVI has no presentation times."""
    seen = Seen(film(tmp_path / "v.avi", codec=codec, options={"bf": "2"}, audio_codec="pcm_s16le"))
    assert np.diff(seen.times) == pytest.approx(1 / FPS, abs=1e-6)
    assert seen.flashes == pytest.approx([2, 5], abs=0.001)
    assert seen.beeps == pytest.approx([2, 5], abs=0.002)


@pytest.mark.parametrize(
    ("file", "codec", "options", "fps", "warned"),
    [
        ("v.h264", "libx264", {"bf": "2"}, 30, False),
        ("v.h264", "libx264", {"bf": "2", "x264-params": "force-cfr=0:vui=0", "bsf": ""}, 30, False),
        ("v.hevc", "libx265", {"x265-params": "log-level=none:bframes=3"}, 30, False),
        ("v.hevc", "libx265", {"x265-params": "log-level=none:bframes=3:vui-timing-info=0"}, 25, True),
        ("v.m2v", "mpeg2video", {"bf": "2"}, 30, False),
        ("v.mjpg", "mjpeg", {}, 25, True),
    ],
)
def test_raw_streams_go_on_at_their_rate(tmp_path, file, codec, options, fps, warned):
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = make_video(tmp_path / file, 120, fps=30, codec=codec, options=options, sound=None, pixels=pixels)
    seen = Seen(path)
    assert seen.times == pytest.approx(np.arange(120) / fps, abs=1e-6)
    assert seen.info.duration_s == pytest.approx(120 / fps)
    assert seen.info.fps == pytest.approx(fps)
    assert any("frame rate" in text for text in seen.warnings) == warned


@pytest.mark.parametrize("ending", ["ts", "vob"])
@pytest.mark.parametrize("parts", [2, 5])
@pytest.mark.parametrize("small", [True, False])
def test_joined_parts_do_not_drift_apart(tmp_path, monkeypatch, ending, parts, small):
    """Each part's clock starts anew, and its sound is shorter than its picture."""
    monkeypatch.setattr("mlavl_cli.media.container._SMALL_BYTES", 1 << 30 if small else 0)
    codecs = {"codec": "mpeg2video", "audio_codec": "mp2"} if ending == "vob" else {}
    part = make_video(tmp_path / f"part.{ending}", pictures(4, [2]), sound=beeping(3.8, [2]), **codecs)
    joined = tmp_path / f"joined.{ending}"
    joined.write_bytes(part.read_bytes() * parts)
    seen = Seen(joined)
    assert len(seen.times) == parts * 100
    assert seen.flashes == pytest.approx([2 + 4 * i for i in range(parts)], abs=0.06 * parts)
    assert seen.beeps == pytest.approx(seen.flashes, abs=0.04)
    assert any("clock starts again" in text for text in seen.warnings)


def test_a_broadcast_that_moves_to_other_streams_is_followed(tmp_path):
    """Other PIDs, and another programme number."""
    one = film(tmp_path / "a.ts", 4, [2])
    for name, options in {
        "pids": {"mpegts_start_pid": "512"},
        "programme": {"mpegts_start_pid": "512", "mpegts_pmt_start_pid": "2304", "mpegts_service_id": "7"},
    }.items():
        two = film(tmp_path / "b.ts", 4, [2], container_options=options)
        both = tmp_path / f"{name}.ts"
        both.write_bytes(one.read_bytes() + two.read_bytes())
        seen = Seen(both)
        assert len(seen.times) >= 198
        assert seen.flashes == pytest.approx([2, 6], abs=0.12)
        assert seen.beeps == pytest.approx(seen.flashes, abs=0.04)


@pytest.mark.parametrize("ahead_s", [30, 100, 1000, 40_000])
def test_a_part_whose_clock_is_far_lower_is_joined(tmp_path, ahead_s):
    """FFmpeg takes it for a clock of 33 bits that was full."""
    late = film(tmp_path / "a.ts", 4, [2])
    with av.open(str(late)) as old, av.open(str(tmp_path / "late.ts"), "w") as new:
        streams = {s.index: new.add_stream_from_template(s) for s in old.streams}
        for packet in old.demux():
            if packet.dts is not None:
                packet.pts += ahead_s * 90_000
                packet.dts += ahead_s * 90_000
                packet.stream = streams[packet.stream.index]
                new.mux(packet)
    joined = tmp_path / "joined.ts"
    joined.write_bytes((tmp_path / "late.ts").read_bytes() + late.read_bytes())
    seen = Seen(joined)
    assert seen.flashes == pytest.approx([2, 6], abs=0.12)
    assert seen.beeps == pytest.approx(seen.flashes, abs=0.04)


def test_a_part_without_sound_is_silent(tmp_path):
    one = film(tmp_path / "a.ts", 4, [2])
    silent = make_video(tmp_path / "n.ts", pictures(4, [2]), sound=None)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(one.read_bytes() + silent.read_bytes() + one.read_bytes())
    seen = Seen(joined)
    assert seen.flashes == pytest.approx([2, 6, 10], abs=0.2)
    assert seen.beeps == pytest.approx([seen.flashes[0], seen.flashes[2]], abs=0.04)


def test_fragments_whose_clock_starts_again_are_joined(tmp_path):
    """A recorder that connects again goes on with fragments that begin at zero."""
    path = film(
        tmp_path / "a.mp4", 4, [2], container_options={"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    )
    data = path.read_bytes()
    begin, end = data.index(b"moof") - 4, data.index(b"mfra") - 4 if b"mfra" in data else len(data)
    joined = tmp_path / "joined.mp4"
    joined.write_bytes(data[:begin] + data[begin:end] * 3)
    seen = Seen(joined)
    assert seen.flashes == pytest.approx([seen.flashes[0] + 4 * i for i in range(3)], abs=0.3)
    assert seen.beeps == pytest.approx(seen.flashes, abs=0.09)
    assert any("clock starts again" in text for text in seen.warnings)


@settings(max_examples=12, deadline=None)
@given(
    fps=st.sampled_from([24, 25, Fraction(30_000, 1001), 50, 12]),
    b_frames=st.integers(0, 3),
    group=st.integers(5, 60),
    codec=st.sampled_from(["libx264", "libx265", "mpeg4"]),
)
def test_remuxing_changes_no_clip(tmp_path_factory, fps, b_frames, group, codec):
    """The same packets in another container: the same clips, but for the rounding of times."""
    folder = tmp_path_factory.mktemp("remux")
    options = {"bf": str(min(b_frames, 1 if codec == "mpeg4" else 3)), "g": str(group)}
    if codec == "libx265":
        options = {"x265-params": f"log-level=none:bframes={b_frames}:keyint={group}"}
    sound = beeping(100 / fps, [1])
    source = make_video(folder / "a.mp4", 100, fps=fps, sound=sound, codec=codec, options=options)
    found = {}
    for ending in ("mp4", "mkv", "mov", "nut", *(["ts"] if codec != "mpeg4" else [])):  # whose header isn't in packets
        path = source if ending == "mp4" else remux(source, folder / f"b.{ending}")
        with ClipReader(path, PictureSpec((32, 32), 32), 8) as reader:
            clips = found[ending] = list(reader)
        assert len(clips) == 3
        for clip, first in zip(clips, found["mp4"], strict=True):
            assert (clip.frames == first.frames).all(), ending
            assert clip.start_s - clips[0].start_s == pytest.approx(first.start_s, abs=0.0011), ending
            assert len(clip.sound) == pytest.approx(len(first.sound), abs=34), ending


# --- Sound -----------------------------------------------------------------------------------------------------------


def stamped(source, target, stamp):
    """The same file with the n-th packet of sound stamped stamp(n, its time in s)."""
    count = iter(range(10**6))

    def change(packet):
        if packet.stream.type == "audio":
            ticks = round(stamp(next(count), float(packet.pts * packet.time_base)) / packet.time_base)
            packet.pts = packet.dts = ticks

    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        streams = {s.index: new.add_stream_from_template(s) for s in old.streams}
        packets = [packet for packet in old.demux() if packet.dts is not None]
        for packet in packets:
            change(packet)
            packet.stream = streams[packet.stream.index]
            new.mux_one(packet)
    return target


@pytest.mark.parametrize(
    "stamp",
    [
        lambda n, t: t + (0.028 * np.sin(1.7 * n) + 0.028 * np.sin(2.9 * n) if n > 1 else 0),
        lambda n, t: t - ((n - 1) % 4) * 0.126 if n else t,  # of four frames of 128 ms; the first is never heard
        lambda n, t: n / 1000,
        lambda n, t: t * 1.07,
    ],
    ids=["an IP camera", "bursts", "a clock that is far too slow", "a clock that is too fast"],
)
def test_sound_whose_timestamps_are_off_follows_its_samples(tmp_path, stamp):
    source = film(tmp_path / "a.mkv", 12, [2, 5, 8, 10], audio_codec="aac", rate=8000)
    steady, off = Seen(source), Seen(stamped(source, tmp_path / "b.mkv", stamp))
    assert off.beeps == pytest.approx(steady.beeps, abs=0.012)  # where the first timestamp puts them
    assert (off.sound**2).sum() == pytest.approx((steady.sound**2).sum(), rel=0.001)
    assert steady.warnings == []
    assert len(off.warnings) == 1
    assert "it follows its samples" in off.warnings[0]


def test_lost_sound_is_silence_of_its_length(tmp_path):
    source = film(tmp_path / "a.mkv", 8, [2, 6], audio_codec="flac", rate=48_000)
    lost = remux(source, tmp_path / "b.mkv", keep=lambda p: p.stream.type == "video" or not 3 < p.pts * p.time_base < 4)
    seen = Seen(lost)
    assert seen.beeps == pytest.approx([2, 6], abs=0.002)
    (text,) = seen.warnings
    assert text.startswith("1 gap in the sound, ")
    assert float(text.split(", ")[1].split(" s")[0]) == pytest.approx(1, abs=0.1)


def test_sound_that_drifts_stays_with_the_picture(tmp_path):
    """A sound card that is half a percent slow, for a minute: 300 ms by the end."""
    beeps = [2, 20, 40, 58]
    slow = np.interp(np.arange(60 * 8000) * 1.005, np.arange(60 * 8000), beeping(60, beeps, 8000))
    source = make_video(
        tmp_path / "a.mkv", pictures(60, beeps), sound=slow.astype(np.float32), rate=8000, audio_codec="pcm_s16le"
    )
    seen = Seen(stamped(source, tmp_path / "b.mkv", lambda n, t: t * 1.005))
    assert seen.beeps == pytest.approx(seen.flashes, abs=0.06)
    assert any("drifts" in text for text in seen.warnings)


# --- The picture as it is shown --------------------------------------------------------------------------------------


def matrix(a, b, c, d):
    return [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]


@pytest.mark.parametrize(
    ("numbers", "shown"),
    [
        ((1, 0, 0, 1), lambda p: p),
        ((-1, 0, 0, 1), lambda p: p[:, ::-1]),
        ((1, 0, 0, -1), lambda p: p[::-1]),
        ((-1, 0, 0, -1), lambda p: p[::-1, ::-1]),
        ((0, 1, 1, 0), lambda p: p.transpose(1, 0, 2)),
        ((0, -1, -1, 0), lambda p: p[::-1, ::-1].transpose(1, 0, 2)),
        ((0, 1, -1, 0), lambda p: p[::-1].transpose(1, 0, 2)),
        ((0, -1, 1, 0), lambda p: p[:, ::-1].transpose(1, 0, 2)),
        ((0, 0, 0, 0), lambda p: p),
        ((1, 1, 1, 1), lambda p: p),
    ],
)
def test_the_display_matrix_is_followed(tmp_path, numbers, shown):
    """A picture point (x, y) is shown at (a x + c y, b x + d y): all eight ways, and two that show nothing."""
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:20, :30], picture[40:, :10] = (220, 40, 40), (40, 220, 40)
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv444p"
        stream.set_display_matrix(matrix(*numbers))
        for _ in range(32):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    with ClipReader(path, PictureSpec((64, 64)), 1) as reader:
        (clip,) = reader
    assert np.abs(clip.frames[0].astype(int) - shown(picture)).max() < 12


def test_cropping_in_mp4_and_matroska_is_applied(tmp_path):
    """A clean aperture, and PixelCrop elements, put where a muxer would put them."""
    picture = np.full((64, 96, 3), 30, np.uint8)
    picture[8:56, 16:88] = (200, 60, 60)  # what is to be seen: 72 x 48
    frames = [picture] * 32
    mp4 = make_video(tmp_path / "v.mp4", frames, sound=None, options={"crf": "1"}, pixels="yuv444p")
    data = mp4.read_bytes()
    box = b"\0\0\0\x28clap" + b"".join(n.to_bytes(4, "big") for n in (72, 1, 48, 1, 8, 2, 0, 1))
    mp4.write_bytes(
        _inserted(data, data.index(b"avcC") - 4, box, (b"avc1", b"stsd", b"stbl", b"minf", b"mdia", b"trak", b"moov"))
    )
    mkv = make_video(tmp_path / "v.mkv", frames, sound=None, options={"crf": "1"}, pixels="yuv444p")
    mkv.write_bytes(_with_pixel_crop(mkv.read_bytes(), left=16, top=8, right=8, bottom=8))
    for path in (mp4, mkv):
        with ClipReader(path, PictureSpec((48, 72)), 1) as reader:
            (clip,) = reader
            assert (reader.info.width_px, reader.info.height_px) == (72, 48)
        assert np.abs(clip.frames[0, 1:-1, 1:-1].astype(int) - (200, 60, 60)).max() < 12


def _inserted(data, at, piece, boxes):
    """mp4 bytes with a piece more; the boxes around it are made larger. The tables come last, so no offset moves."""
    data = bytearray(data[:at] + piece + data[at:])
    for kind in boxes:
        begin = data.rindex(kind) - 4  # the first "avc1" is a brand
        data[begin : begin + 4] = (int.from_bytes(data[begin : begin + 4], "big") + len(piece)).to_bytes(4, "big")
    return bytes(data)


def _with_pixel_crop(data, **sides):
    """Matroska bytes whose video track has cropping, in the place of a Void element: the Tracks are written again."""
    ids = {"left": b"\x54\xcc", "top": b"\x54\xbb", "right": b"\x54\xdd", "bottom": b"\x54\xaa"}
    crop = b"".join(ids[side] + b"\x81" + bytes([value]) for side, value in sides.items())

    def element(identity, content):
        return identity + (len(content) | 1 << 56).to_bytes(8, "big") + content

    def find(data, identity, begin, end):
        while begin < end:
            first = data[begin]
            width = 9 - first.bit_length()
            size_at = begin + width
            size_width = 9 - data[size_at].bit_length()
            size = int.from_bytes(data[size_at : size_at + size_width], "big") & ((1 << 7 * size_width) - 1)
            content = size_at + size_width
            if data[begin:size_at] == identity:
                return begin, content, content + size
            begin = content + size
        raise KeyError(identity)

    segment = find(data, b"\x18\x53\x80\x67", 0, len(data))
    tracks = find(data, b"\x16\x54\xae\x6b", segment[1], segment[2])
    entry = find(data, b"\xae", tracks[1], tracks[2])
    video = find(data, b"\xe0", entry[1], entry[2])
    new_video = element(b"\xe0", data[video[1] : video[2]] + crop)
    new_entry = element(b"\xae", data[entry[1] : video[0]] + new_video + data[video[2] : entry[2]])
    new_tracks = element(b"\x16\x54\xae\x6b", new_entry)
    first_cluster = find(data, b"\x1f\x43\xb6\x75", segment[1], segment[2])
    info = find(data, b"\x15\x49\xa9\x66", segment[1], segment[2])
    content = data[info[0] : info[2]] + new_tracks + data[first_cluster[0] : segment[2]]
    return data[: segment[0]] + element(b"\x18\x53\x80\x67", content)


def test_a_pixel_aspect_that_changes_is_followed(tmp_path):
    parts = []
    for number, aspect in enumerate((Fraction(1, 1), Fraction(2, 1))):
        path = tmp_path / f"{number}.ts"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
            stream.codec_context.sample_aspect_ratio = aspect
            for i in range(64):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(moving_square(i, 96, 64), "rgb24")))
            container.mux(stream.encode())
        parts.append(path.read_bytes())
    both = tmp_path / "both.ts"
    both.write_bytes(b"".join(parts))
    with ClipReader(both, PictureSpec((32, 32), 32), 1) as reader:
        clips = [clip.frames[0] for clip in reader]
    # The white corner is a quarter of the width: of 96 pixels, of which the middle 64 are seen, then of 192.
    assert [clip[2, 0].mean() > 150 for clip in clips] == [True, True, False, False]


@pytest.mark.parametrize(("matrix_number", "name"), [(6, "601"), (1, "709"), (9, "2020")])
@pytest.mark.parametrize("full", [False, True])
def test_matrix_and_range_of_the_stream_are_honoured(tmp_path, matrix_number, name, full):
    """The same red, written by each matrix and range by hand, is the same red."""
    red, green, blue = np.array([208, 32, 64]) / 255
    k_r, k_b = {"601": (0.299, 0.114), "709": (0.2126, 0.0722), "2020": (0.2627, 0.0593)}[name]
    luma = k_r * red + (1 - k_r - k_b) * green + k_b * blue
    planes = luma, (blue - luma) / (2 - 2 * k_b), (red - luma) / (2 - 2 * k_r)
    if full:
        codes = [round(255 * planes[0]), *(round(128 + 255 * chroma) for chroma in planes[1:])]
    else:
        codes = [round(16 + 219 * planes[0]), *(round(128 + 224 * chroma) for chroma in planes[1:])]
    path = tmp_path / "v.mp4"
    _write_planes(path, "yuv420p", [np.uint8(code) for code in codes], colorspace=matrix_number, color_range=1 + full)
    with ClipReader(path, PictureSpec((32, 32), 32), 1) as reader:
        (clip,) = reader
    assert clip.frames[0].mean((0, 1)) == pytest.approx([208, 32, 64], abs=6)


def _write_planes(path, pixels, values, codec="libx264", options=None, **colours):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options or {"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, pixels
        for key, value in colours.items():
            setattr(stream.codec_context, key, value)
        for _ in range(32):
            frame = av.VideoFrame(64, 64, pixels)
            for key, value in colours.items():
                setattr(frame, key, value)
            for plane, value in zip(frame.planes, values, strict=True):
                plane.update(np.full(plane.buffer_size // value.itemsize, value).tobytes())
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize("transfer", ["PQ", "HLG"])
@pytest.mark.parametrize("grey", [60, 128, 200])
def test_hdr_is_tone_mapped(tmp_path, transfer, grey):
    """Grey of a standard picture, shown at 203 cd/m2 for white (BT.2408), comes out as that grey."""
    linear = ((grey / 255 + 0.055) / 1.055) ** 2.4
    if transfer == "PQ":
        power = (203 * linear / 10_000) ** 0.1593017578125
        signal = ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    else:
        scene = (203 * linear / 1000) ** (1 / 1.2)
        signal = (3 * scene) ** 0.5 if scene <= 1 / 12 else 0.17883277 * np.log(12 * scene - 0.28466892) + 0.55991073
    values = [np.uint16(round(64 + 876 * signal)), np.uint16(512), np.uint16(512)]
    path = tmp_path / "v.mp4"
    colours = {"color_trc": 16 if transfer == "PQ" else 18, "color_primaries": 9, "colorspace": 9, "color_range": 1}
    _write_planes(path, "yuv420p10le", values, "libx265", {"x265-params": "log-level=none", "crf": "4"}, **colours)
    with ClipReader(path, PictureSpec((32, 32), 32), 1) as reader:
        (clip,) = reader
        assert any(f"HDR ({transfer})" in text for text in reader.warnings)
    assert clip.frames[0].mean((0, 1)) == pytest.approx([grey] * 3, abs=8)


# --- Which stream ----------------------------------------------------------------------------------------------------


def write(path, videos, sounds, seconds=6, **options):
    """A file of several streams: videos as (codec, size, frames, disposition), sounds as (samples, disposition)."""
    with av.open(str(path), "w", options=options) as container:
        streams = []
        for codec, size, _, disposition in videos:
            stream = container.add_stream(codec, rate=FPS)
            stream.width, stream.height = size
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.disposition = disposition
            streams.append(stream)
        heard = []
        for _, disposition in sounds:
            stream = container.add_stream("aac", rate=RATE, layout="mono")
            stream.disposition = disposition
            heard.append(stream)
        for (_, size, frames, _), stream in zip(videos, streams, strict=True):
            for i in range(frames):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(moving_square(i, *size), "rgb24")))
            container.mux(stream.encode())
        for (samples, _), stream in zip(sounds, heard, strict=True):
            for start in range(0, len(samples), 1024):
                frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1024].copy(), "fltp", "mono")
                frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    return path


DEFAULT, NOTHING = Disposition.default, Disposition(0)
BEEPS, NOISE, SILENCE = beeping(6, [2]), np.float32(tone(6, 300, level=0.3)), np.zeros(6 * RATE, np.float32)


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
@pytest.mark.parametrize("still_first", [True, False])
def test_a_film_comes_before_a_larger_still(tmp_path, ending, still_first):
    """Motion photos, covers that are no attached pictures, thumbnails."""
    film, still = ("libx264", (96, 64), 150, DEFAULT), ("mjpeg", (640, 480), 1, DEFAULT)
    path = write(tmp_path / f"v.{ending}", [still, film] if still_first else [film, still], [(BEEPS, DEFAULT)])
    seen = Seen(path)
    assert (len(seen.times), seen.info.width_px) == (150, 96)
    number = 1 if still_first else 0
    assert f"of 2 video streams number {number} is taken (96 x 64), --video-stream chooses" in seen.warnings
    assert Seen(path, video_stream=1 - number).info.width_px == 640


def test_the_default_picture_comes_before_a_larger_one(tmp_path):
    streams = [("libx264", (160, 96), 40, NOTHING), ("libx264", (96, 64), 40, DEFAULT)]
    assert Seen(write(tmp_path / "v.mkv", streams, [])).info.width_px == 96


@pytest.mark.parametrize(
    ("sounds", "number"),
    [
        ([(BEEPS, DEFAULT), (NOISE, DEFAULT)], 0),
        ([(NOISE, NOTHING), (BEEPS, DEFAULT)], 1),
        ([(SILENCE, DEFAULT), (BEEPS, NOTHING)], 1),
        ([(NOISE, Disposition.comment), (BEEPS, NOTHING)], 1),
        ([(NOISE, Disposition.visual_impaired), (BEEPS, NOTHING)], 1),
    ],
    ids=["the first default", "the default", "the one that sounds", "no commentary", "no description"],
)
def test_the_sound_that_a_viewer_hears(tmp_path, sounds, number):
    path = write(tmp_path / "v.mkv", [("libx264", (96, 64), 150, DEFAULT)], sounds)
    seen = Seen(path)
    assert seen.beeps == pytest.approx([2], abs=0.03)
    assert f"of 2 audio streams number {number} is taken, --audio-stream chooses" in seen.warnings
    assert Seen(path, audio_stream=1 - number).beeps != seen.beeps


def test_one_stream_of_each_kind_is_no_choice(tmp_path):
    assert Seen(film(tmp_path / "v.mp4")).warnings == []


# --- True facts ------------------------------------------------------------------------------------------------------


def test_the_frame_rate_is_counted_where_the_header_is_nonsense(tmp_path):
    path = make_video(
        tmp_path / "v.dv", 50, size=(720, 576), codec="dvvideo", audio_codec="pcm_s16le", rate=48_000, layout="stereo",
        sound=np.stack([tone(2, rate=48_000)] * 2),
    )  # fmt: skip
    assert Seen(path).info.fps == pytest.approx(25)


def test_encrypted_streams_are_refused_as_encrypted(tmp_path):
    keys = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "76" * 16, "encryption_kid": "a7" * 16}
    path = film(tmp_path / "v.mp4", container_options=keys)
    with pytest.raises(MediaError, match="is encrypted") as caught:
        Seen(path)
    assert caught.value.hint


def test_a_cut_mp4_gives_every_picture_that_is_in_it(tmp_path):
    """Sound and picture in pieces of seconds: the end of one must not end the other."""
    layout = {"movflags": "faststart", "chunk_duration": "4000000"}
    whole = film(tmp_path / "whole.mp4", 20, [2], container_options=layout, audio_codec="pcm_s16le")
    data = whole.read_bytes()
    for percent in (40, 55, 70, 85):
        cut = tmp_path / f"cut{percent}.mp4"
        cut.write_bytes(data[: len(data) * percent // 100])
        with av.open(str(cut)) as container:
            entries = list(container.streams.video[0].index_entries)
        there = sum(entry.pos + entry.size <= cut.stat().st_size for entry in entries)
        seen = Seen(cut)
        assert there <= len(seen.times) <= there + 1  # half a packet may be decodable
        assert any("ends early" in text for text in seen.warnings)


def test_a_cut_flv_says_that_it_ends_early(tmp_path):
    whole = film(tmp_path / "whole.flv", 12, [2])
    assert Seen(whole).warnings == []
    cut = tmp_path / "cut.flv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    assert any("ends early" in text for text in Seen(cut).warnings)


def test_a_held_last_picture_is_no_early_end(tmp_path):
    times = [*(i / FPS for i in range(99)), 7.0]
    for ending in ("mp4", "mkv"):
        path = make_video(tmp_path / f"v.{ending}", 100, times_s=times, sound=beeping(10, [2]))
        assert Seen(path).warnings == []


def test_warnings_that_are_not_true_are_not_given(tmp_path):
    for name, options in {
        "adpcm.avi": {"codec": "mpeg4", "audio_codec": "adpcm_ima_wav"},
        "adpcm.mov": {"audio_codec": "adpcm_ima_qt"},
        "windows.asf": {"codec": "wmv2", "audio_codec": "mp2"},
        "flv.flv": {"codec": "flv", "audio_codec": "adpcm_swf", "rate": 22_050},
        "opus.webm": {"codec": "libvpx", "audio_codec": "libopus", "rate": 48_000},
    }.items():
        rate = options.pop("rate", RATE)
        path = make_video(tmp_path / name, pictures(8, [2, 5]), sound=beeping(8, [2, 5], rate), rate=rate, **options)
        seen = Seen(path)
        assert seen.warnings == [], name
        assert seen.beeps == pytest.approx(seen.flashes, abs=0.04), name


@pytest.mark.parametrize("ending", ["y4m", "apng", "wtv"])
def test_more_formats_are_read(tmp_path, ending):
    codec, pixels = {
        "y4m": ("wrapped_avframe", "yuv420p"),
        "apng": ("apng", "rgb24"),
        "wtv": ("mpeg2video", "yuv420p"),
    }[ending]
    path = make_video(tmp_path / f"v.{ending}", 50, codec=codec, pixels=pixels, sound=None)
    assert len(Seen(path).times) == 50


def test_times_increase_in_every_format(tmp_path):
    for ending, codec in (
        ("mp4", "libx264"),
        ("avi", "mpeg4"),
        ("ts", "libx264"),
        ("ogv", "libvpx"),
        ("mxf", "mpeg2video"),
    ):
        path = make_video(tmp_path / f"v.{ending}", 60, codec=codec, sound=None)
        for before, after in pairwise(Seen(path).times):
            assert after > before
