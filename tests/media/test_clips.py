"""Clips are 32 consecutive frames; their times come from timestamps, their sound from the same span."""

import gc
import io
from fractions import Fraction
from itertools import islice

import av
import numpy as np
import pytest
from conftest import make_sound, make_video, moving_square, tone
from PIL import Image

from mlavl_cli.errors import MediaError
from mlavl_cli.media.clips import ClipReader, sampled_positions
from mlavl_cli.media.container import Media
from mlavl_cli.media.cutting import FRAMES_PER_CLIP, Cutting
from mlavl_cli.media.decode import VideoReader
from mlavl_cli.media.picture import PictureSpec

SPEC = PictureSpec((32, 32), 32)


def read(path, frames=8, spec=SPEC, **options):
    with ClipReader(path, spec, frames, Cutting(**options)) as reader:
        clips = list(reader)
    return clips, reader


def test_whole_clips_only_and_the_tail_is_dropped(routine):
    clips, reader = read(routine)
    assert [(clip.index, clip.start_s, clip.end_s) for clip in clips] == [(0, 0.0, 1.28), (1, 1.28, 2.56)]
    assert all(clip.frames.shape == (8, 32, 32, 3) and clip.sound.shape == (20_480,) for clip in clips)
    assert reader.info.duration_s == pytest.approx(3.2)
    assert reader.warnings == []


def test_the_tail_can_be_padded(routine):
    clips, _ = read(routine, frames=32, tail="pad")
    assert len(clips) == 3
    assert (clips[2].start_s, clips[2].end_s) == (2.56, pytest.approx(3.2))
    assert (clips[2].frames[15:] == clips[2].frames[15]).all()  # 16 real frames, then the last of them
    assert not (clips[2].frames[14] == clips[2].frames[15]).all()


@pytest.mark.parametrize(("frames", "clips"), [(1, 1), (31, 1), (32, 1), (33, 1), (64, 2)])
def test_few_frames(tmp_path, frames, clips):
    found, reader = read(make_video(tmp_path / "few.mp4", frames=frames))
    assert len(found) == clips
    assert any("fewer than" in text for text in reader.warnings) == (frames < FRAMES_PER_CLIP)


@pytest.mark.parametrize("count", [1, 2, 8, 16, 32])
def test_sampled_positions_are_the_middles_of_equal_parts(count):
    part = FRAMES_PER_CLIP / count
    assert sampled_positions(count) == [int(np.floor((i + 0.5) * part)) for i in range(count)]


def test_only_the_sampled_frames_come_and_in_order(tmp_path):
    """Each frame has a brightness of its own, so that the sampled ones are known again."""
    shades = [np.full((64, 64, 3), 6 * i + 20, np.uint8) for i in range(FRAMES_PER_CLIP)]
    clips, _ = read(make_video(tmp_path / "shades.mp4", shades, options={"crf": "1"}))
    means = clips[0].frames.mean((1, 2, 3))
    assert np.abs(means - [6 * i + 20 for i in sampled_positions(8)]).max() < 3


def test_variable_frame_rate_takes_times_from_the_timestamps(tmp_path):
    times = np.cumsum([0.0, *([0.02] * 31), *([0.1] * 32)])[:64]
    clips, reader = read(make_video(tmp_path / "vfr.mp4", 64, times_s=times, sound=tone(8)))
    assert clips[0].start_s == 0
    assert clips[0].end_s == clips[1].start_s == pytest.approx(times[32], abs=1e-4)
    assert len(clips[0].sound) == pytest.approx(16_000 * times[32], abs=2)
    assert clips[1].end_s == pytest.approx(reader.info.duration_s)


def test_transport_streams_start_at_zero(tmp_path):
    clips, reader = read(make_video(tmp_path / "broadcast.ts", 64))
    assert clips[0].start_s == pytest.approx(0, abs=0.1)
    assert reader.info.duration_s == pytest.approx(64 / 25, abs=0.1)


def test_sound_of_each_clip_is_the_sound_of_its_time(tmp_path):
    """Silence but for one second in the middle: it must be where it was put, to the millisecond."""
    sound = np.zeros(4 * 44_100, np.float32)
    sound[44_100 : 2 * 44_100] = tone(1)
    clips, _ = read(make_video(tmp_path / "pulse.mkv", 96, sound=sound, audio_codec="pcm_s16le"))
    heard = np.concatenate([clip.sound for clip in clips])
    loud = np.flatnonzero(np.abs(heard) > 0.05) / 16_000
    assert loud[0] == pytest.approx(1.0, abs=0.002)
    assert loud[-1] == pytest.approx(2.0, abs=0.002)


def test_sound_that_starts_late_or_ends_early_is_silence_there(tmp_path):
    path = make_video(tmp_path / "late.mkv", 96, sound=tone(1.5), sound_start_s=1.0, audio_codec="pcm_s16le")
    heard = np.concatenate([clip.sound for clip in read(path)[0]])
    assert len(heard) == round(96 / 25 * 16_000)
    loud = np.flatnonzero(np.abs(heard) > 0.05) / 16_000
    assert loud[0] == pytest.approx(1.0, abs=0.003)
    assert loud[-1] == pytest.approx(2.5, abs=0.003)


def test_stereo_is_mixed_to_the_mean_of_its_channels(tmp_path):
    left, right = tone(2, 440), np.zeros(2 * 44_100, np.float32)
    path = make_video(tmp_path / "s.mkv", 40, sound=np.stack([left, right]), layout="stereo", audio_codec="pcm_s16le")
    clip = read(path)[0][0]
    assert np.abs(clip.sound[2000:-2000]).max() == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize(
    ("rate", "layout", "channels"), [(8_000, "mono", 1), (16_000, "7.1", 8), (48_000, "5.1", 6), (96_000, "stereo", 2)]
)
def test_any_rate_and_layout_gives_16_khz_mono(tmp_path, rate, layout, channels):
    sound = np.stack([tone(2, 300, rate)] * channels)
    path = make_video(tmp_path / "a.mkv", 40, sound=sound, rate=rate, layout=layout, audio_codec="flac")
    clip = read(path)[0][0]
    spectrum = np.abs(np.fft.rfft(clip.sound * np.hanning(len(clip.sound))))
    assert spectrum.argmax() * 16_000 / len(clip.sound) == pytest.approx(300, abs=2)
    assert np.abs(clip.sound[2000:-2000]).max() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("codec", "pcm_u8 pcm_s16le pcm_s24le pcm_s32le pcm_s64le pcm_f32le pcm_f64le flac ac3".split())
@pytest.mark.parametrize(("layout", "channels"), [("mono", 1), ("5.1", 6)])
def test_any_kind_of_samples_keeps_its_level_and_time(tmp_path, codec, layout, channels):
    """The tone itself at 16 kHz: half of full scale, in phase."""
    path = make_video(
        tmp_path / "a.nut", 40, sound=np.stack([tone(2, 300, 48_000)] * channels), rate=48_000, layout=layout,
        audio_codec=codec,
    )  # fmt: skip
    heard = read(path)[0][0].sound[2000:-2000]
    expected = tone(2, 300, 16_000)[2000:][: len(heard)]
    assert np.abs(heard - expected).max() < (0.04 if codec in ("ac3", "pcm_u8") else 0.002)


def test_no_sound_gives_clips_without_sound(silent_routine):
    clips, reader = read(silent_routine)
    assert [clip.sound for clip in clips] == [None, None]
    assert not reader.info.has_audio


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_applied(tmp_path, degrees):
    """The white corner goes where a player shows it: FFmpeg's display rotation turns counter-clockwise."""
    path = make_video(tmp_path / "r.mp4", 32, size=(96, 64), rotation=degrees, options={"crf": "5"})
    clips, reader = read(path, spec=PictureSpec((48, 48)))
    upright = read(make_video(tmp_path / "u.mp4", 32, size=(96, 64), options={"crf": "5"}), spec=PictureSpec((48, 48)))
    expected = np.stack([np.rot90(frame, round(degrees / 90)) for frame in upright[0][0].frames])
    assert np.abs(clips[0].frames.astype(int) - expected).mean() < 3
    size = (reader.info.width_px, reader.info.height_px)
    assert size == ((96, 64) if degrees == 180 else (64, 96))


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
@pytest.mark.parametrize("ending", ["mjpeg", "avi"])
def test_pictures_with_exif_are_read_and_turned(tmp_path, orientation, turns, ending):
    """As cameras write them; EXIF counts how a picture is to be turned from 1 to 8."""
    about = Image.Exif()
    about[0x112] = orientation
    pictures = []
    for i in range(40):
        file = io.BytesIO()
        Image.fromarray(moving_square(i, 96, 64)).save(file, "JPEG", quality=95, exif=about.tobytes())
        pictures.append(file.getvalue())
    path = tmp_path / f"camera.{ending}"
    if ending == "mjpeg":
        path.write_bytes(b"".join(pictures))
    else:
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mjpeg", rate=25)
            stream.width, stream.height, stream.pix_fmt = 96, 64, "yuvj420p"
            for i, content in enumerate(pictures):
                packet = av.Packet(content)
                packet.stream, packet.pts, packet.dts, packet.time_base = stream, i, i, Fraction(1, 25)
                container.mux(packet)
    clips, reader = read(path, spec=PictureSpec((48, 48)))
    upright = read(make_video(tmp_path / "u.mp4", 40, size=(96, 64), options={"crf": "5"}), spec=PictureSpec((48, 48)))
    expected = np.stack([np.rot90(frame, turns) for frame in upright[0][0].frames])
    assert np.abs(clips[0].frames.astype(int) - expected).mean() < 4
    assert (reader.info.width_px, reader.info.height_px) == ((96, 64) if turns % 2 == 0 else (64, 96))


@pytest.mark.parametrize(
    ("codec", "pixels", "name"),
    [
        ("libx264", "yuv420p10le", "ten_bit.mp4"),
        ("libx264", "yuv444p", "full_chroma.mp4"),
        ("libx264", "gray", "grey.mp4"),
        ("mjpeg", "yuvj420p", "full_range.avi"),
        ("qtrle", "argb", "alpha.mov"),
        ("libvpx-vp9", "yuv420p", "vp9.webm"),
    ],
)
def test_pixel_formats(tmp_path, codec, pixels, name):
    path = make_video(tmp_path / name, 32, codec=codec, pixels=pixels, sound=None)
    frame = read(path, spec=PictureSpec((64, 96)))[0][0].frames[0]
    assert frame[:14, :20].mean() > 245  # the white corner
    assert frame[20:30, 30:90].mean() < 50  # the dark ground


def test_the_best_picture_is_taken_or_the_one_asked_for(tmp_path):
    import av

    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        small, large = (container.add_stream("libx264", rate=25) for _ in range(2))
        for stream, size in ((small, (32, 32)), (large, (128, 96))):
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for i in range(32):
            for stream, size in ((small, (32, 32)), (large, (128, 96))):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(moving_square(i, *size), "rgb24")))
        for stream in (small, large):
            container.mux(stream.encode())
    assert read(path)[1].info.width_px == 128
    assert read(path, video_stream=0)[1].info.width_px == 32
    with pytest.raises(MediaError, match="has no video stream 2"):
        read(path, video_stream=2)


def test_non_square_pixels_are_stretched(tmp_path):
    import av

    path = tmp_path / "wide.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)
        for i in range(32):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(moving_square(i, 64, 64), "rgb24")))
        container.mux(stream.encode())
    clips, reader = read(path, spec=PictureSpec((32, 32), 32))
    assert (reader.info.width_px, reader.info.height_px) == (128, 64)
    assert clips[0].frames[0, :7, :4].mean() < 60  # the corner is 16 of 64 wide and left of the cut


def test_a_file_that_ends_early_gives_what_decodes_and_says_so(tmp_path):
    path = make_video(tmp_path / "whole.mp4", 200, container_options={"movflags": "faststart"}, options={"g": "25"})
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    clips, reader = read(cut)
    assert 0 < len(clips) < 6
    assert any("ends early" in text for text in reader.warnings)


def test_damage_in_the_middle_costs_only_the_middle(tmp_path):
    path = make_video(tmp_path / "whole.mkv", 200, options={"g": "10"}, size=(320, 240))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    path.write_bytes(data)
    clips, reader = read(path)
    assert len(clips) >= 5
    assert reader.warnings


def test_timestamps_always_increase(tmp_path):
    """A raw stream has no container to give it times."""
    path = make_video(tmp_path / "raw.h264", 64, sound=None, options={"bf": "0"})
    with Media(path) as media:
        times = [frame.time_s for frame in VideoReader(media).frames()]
    assert len(times) == 64
    assert (np.diff(times) > 0).all()


@pytest.mark.parametrize("name", ["missing.mp4", "folder.mp4", "empty.mp4", "text.mp4", "sound.m4a"])
def test_what_is_no_video_is_a_media_error(tmp_path, name):
    path = tmp_path / name
    if name == "folder.mp4":
        path.mkdir()
    elif name == "empty.mp4":
        path.touch()
    elif name == "text.mp4":
        path.write_text("once upon a time\n" * 100)
    elif name == "sound.m4a":
        make_sound(path)
    with pytest.raises(MediaError) as caught:
        read(path)
    assert caught.value.path == str(path)
    assert caught.value.hint


def test_a_playlist_never_makes_us_read_another_file(tmp_path, routine):
    for name, text in {
        "list.mp4": f"ffconcat version 1.0\nfile '{routine}'\n",
        "list.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:3,\n{routine}\n#EXT-X-ENDLIST\n",
    }.items():
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(MediaError):
            read(path)
    with pytest.raises(MediaError, match="no such file"):
        read(tmp_path / f"concat:{routine}")


def test_sixteen_channels(tmp_path):
    """More than eight channels once ended the process."""
    import av

    path = tmp_path / "many.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=16_000, layout="hexadecagonal")
        for i in range(40):
            container.mux(video.encode(av.VideoFrame.from_ndarray(moving_square(i, 64, 64), "rgb24")))
        container.mux(video.encode())
        samples = (np.stack([tone(2, 300, 16_000)] * 16) * 32_767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples.T.reshape(1, -1), "s16", "hexadecagonal")
        frame.sample_rate = 16_000
        container.mux(audio.encode(frame))
        container.mux(audio.encode())
    clip = read(path)[0][0]
    assert np.abs(clip.sound[2000:-2000]).max() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(("frames", "converted"), [(1, 2), (8, 20), (32, 80)])
def test_only_sampled_frames_are_converted(routine, monkeypatch, frames, converted):
    """Of two clips and half a third, whose fate isn't known before the file ends."""
    from mlavl_cli.media.picture import PictureMaker

    real, calls = PictureMaker.__call__, []
    monkeypatch.setattr(PictureMaker, "__call__", lambda self, *a: calls.append(1) or real(self, *a))
    read(routine, frames=frames)
    assert len(calls) == converted


def test_joined_recordings_keep_picture_and_sound_together(tmp_path):
    """The clock of a broadcast starts anew in the middle: time goes on, and so does the music."""
    one = make_video(tmp_path / "one.ts", 160)
    both = tmp_path / "both.ts"
    both.write_bytes(one.read_bytes() * 2)
    clips, reader = read(both)
    assert len(clips) == 10
    assert np.diff([clip.start_s for clip in clips]) == pytest.approx(1.28, abs=0.15)
    assert min(np.sqrt((clip.sound**2).mean()) for clip in clips[:-1]) > 0.2
    assert any("clock starts again in the middle: a part" in text for text in reader.warnings)


def test_a_real_gap_stays_a_gap(tmp_path):
    times = [i / 25 + (30 if i >= 40 else 0) for i in range(96)]
    clips, _ = read(make_video(tmp_path / "gap.mkv", 96, times_s=times, sound=None, options={"bf": "0"}))
    assert [clip.start_s for clip in clips] == pytest.approx([0, 1.28, 32.56], abs=0.01)


def test_damaged_sound_is_told_of(tmp_path):
    path = make_video(tmp_path / "d.mkv", 200, codec="mjpeg", pixels="yuvj420p", sound=tone(8))
    import av

    with av.open(str(path)) as container:
        spots = [p.pos for p in container.demux(audio=0) if p.pos and p.size > 50][60:90]
    data = bytearray(path.read_bytes())
    for spot in spots:
        data[spot + 30 : spot + 60] = b"\xff" * 30
    path.write_bytes(data)
    assert any("of the sound" in text for text in read(path)[1].warnings)


def test_pictures_before_the_start_are_shown_at_the_start(routine, monkeypatch):
    monkeypatch.setattr(Media, "origin_s", 0.4)
    times = [(clip.start_s, clip.end_s) for clip in read(routine)[0]]
    assert times[0] == pytest.approx((0, 0.88), abs=1e-9)
    assert times[0][0] == 0
    assert times[1] == pytest.approx((0.88, 2.16), abs=1e-9)


def test_sound_of_an_impossible_rate_is_silence(tmp_path):
    path = make_video(tmp_path / "v.mov", 40, audio_codec="pcm_s16le")
    data = path.read_bytes()
    at = data.index(b"sowt") + 4 + 24  # of the sound's description, the rate as 16.16
    assert int.from_bytes(data[at : at + 2], "big") == 44_100
    path.write_bytes(data[:at] + (2).to_bytes(2, "big") + data[at + 2 :])
    clips, reader = read(path)
    assert not clips[0].sound.any()
    assert any("pieces of the sound were replaced by silence" in warning for warning in reader.warnings)


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts", "avi"])
@pytest.mark.parametrize("state", ["whole", "cut", "damaged"])
def test_a_small_file_read_through_one_opening_gives_what_two_give(tmp_path, monkeypatch, ending, state):
    path = make_video(tmp_path / f"v.{ending}", 100, options={"g": "10"})
    data = bytearray(path.read_bytes())
    if state == "cut":
        data = data[: len(data) * 2 // 3] if ending != "mp4" else data + bytes(500)
    elif state == "damaged":
        data[len(data) // 2 : len(data) // 2 + 200] = b"\xa5" * 200
    path.write_bytes(data)
    found = {}
    for small in (1 << 20, 0):
        monkeypatch.setattr("mlavl_cli.media.container._SMALL_BYTES", small)
        with Media(path) as media:
            assert media.small == bool(small)
        found[small] = read(path)
    (clips, reader), (others, other) = found.values()
    assert len(clips) >= 1
    assert len(clips) == len(others)
    for clip, one in zip(clips, others, strict=True):
        assert (clip.start_s, clip.end_s) == (one.start_s, one.end_s)
        np.testing.assert_array_equal(clip.frames, one.frames)
        np.testing.assert_array_equal(clip.sound, one.sound)
    assert (reader.warnings, reader.info) == (other.warnings, other.info)


@pytest.mark.parametrize("clips", [1, 2], ids=["in the middle", "to the end"])
def test_nothing_of_a_file_waits_for_the_garbage_collector(tmp_path, clips):
    # Packets and decoders are megabytes behind a handful of objects: the collector would come after thousands of files.
    path = make_video(tmp_path / "a.mp4", frames=64, sound=tone(4.0))
    gc.collect()
    gc.disable()
    try:
        with ClipReader(path, SPEC, 8) as reader:
            list(islice(reader, clips))
        del reader
        kept = [o for o in gc.get_objects() if type(o) in (av.Packet, av.container.InputContainer)]
    finally:
        gc.enable()
    assert not kept
