"""Bad and odd input, made anew: each case a maker, and what it must come to.

`score`: it is scored. `error`: one line on stderr. `either`: damage, of which one or the other must come.
"""

import os
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from conftest import RATE, make_sound, make_video, moving_square, tone

Maker = Callable[[Path], Path]
CASES: dict[str, tuple[str, Maker]] = {}


def case(name: str, expected: str = "score") -> Callable[[Maker], Maker]:
    def add(maker: Maker) -> Maker:
        CASES[name] = (expected, maker)
        return maker

    return add


def of_video(name: str, file: str = "v.mp4", **options: object) -> None:
    """A case of `make_video` with these options."""
    CASES[name] = ("score", lambda folder: make_video(folder / file, **options))


# --- How many frames, how large, how fast ----------------------------------------------------------------------------

for frames in (1, 2, 31, 32, 33, 63, 64, 65):
    of_video(f"{frames} frames", frames=frames)
for size in ((16, 16), (2, 2), (1, 1), (3, 5), (641, 361), (4, 1024), (1920, 4)):
    of_video(
        f"{size[0]} x {size[1]} pixels", "v.mkv", frames=34, size=size, codec="ffv1", pixels="bgr0", audio_codec="flac"
    )
of_video("8K", frames=2, size=(7680, 4320), options={"preset": "ultrafast"})
for fps in (1, 5, Fraction(24000, 1001), 120, 1000):
    of_video(f"{float(fps):.6g} frames a second", frames=40, fps=fps)
of_video("variable frame rate", frames=70, times_s=[i / 30 + (i % 7) * 0.004 for i in range(70)])
of_video("a gap of an hour", "v.mkv", frames=70, times_s=[i / 25 + 3600 * (i >= 35) for i in range(70)])
for degrees in (90, 180, 270):
    of_video(f"turned by {degrees}", frames=40, rotation=degrees)

# --- Pixels and codecs -----------------------------------------------------------------------------------------------

for pixels in ("yuv422p", "yuv444p", "gray", "yuv420p10le", "yuvj420p"):
    of_video(f"h264 {pixels}", frames=40, pixels=pixels)
of_video("12 bit", "v.mkv", frames=34, codec="ffv1", pixels="yuv420p12le", audio_codec="flac")
of_video("16 bit grey", "v.mkv", frames=34, codec="ffv1", pixels="gray16le", audio_codec="flac")
of_video("alpha", "v.mov", frames=34, codec="png", pixels="rgba")
of_video("alpha in vp9", "v.webm", frames=34, codec="libvpx-vp9", pixels="yuva420p", audio_codec="libopus", rate=48000)
of_video("interlaced", frames=40, options={"x264-params": "tff=1"})
of_video("hdr colours", frames=40, pixels="yuv420p10le", options={"x264-params": "transfer=smpte2084:colorprim=bt2020"})
of_video("hevc", frames=34, codec="libx265", options={"x265-params": "log-level=none"})
of_video("mpeg4 in avi", "v.avi", frames=40, codec="mpeg4", audio_codec="mp3")
of_video("mjpeg", "v.mkv", frames=34, codec="mjpeg", pixels="yuvj420p")
of_video("transport stream", "v.ts", frames=40)
of_video("fragmented mp4", frames=70, container_options={"movflags": "frag_keyframe+empty_moov"})


@case("palette")
def _palette(folder: Path) -> Path:
    path = folder / "v.gif"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("gif", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "rgb8"
        for i in range(36):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(moving_square(i, 96, 64), "rgb24")))
        container.mux(stream.encode())
    return path


@case("no timestamps at all")
def _annexb(folder: Path) -> Path:
    return make_video(folder / "v.h264", 50, sound=None)


@case("changing resolution")
def _changing(folder: Path) -> Path:
    parts = [make_video(folder / f"{i}.ts", 40, size=size, sound=None) for i, size in enumerate(((96, 64), (160, 90)))]
    path = folder / "v.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


@case("backwards timestamps")
def _backwards(folder: Path) -> Path:
    whole = make_video(folder / "whole.ts", 40, sound=None)
    path = folder / "v.ts"
    path.write_bytes(whole.read_bytes() * 2)  # the second half begins at zero again
    return path


# --- Sound -----------------------------------------------------------------------------------------------------------

of_video("no sound", sound=None)
of_video("silence", sound=np.zeros(3 * RATE, np.float32))
of_video("clipping", sound=np.sign(tone(3)) * 4)
of_video("sound starts late", sound=tone(1), sound_start_s=1.5)
of_video("sound is much longer", frames=40, sound=tone(20))
of_video("sound is much shorter", frames=100, sound=tone(0.2))
for rate in (8000, 96_000):
    of_video(f"{rate} Hz", frames=40, rate=rate)
of_video("192 kHz", "v.mkv", frames=40, sound=tone(1.6, rate=192_000), rate=192_000, audio_codec="flac")
of_video("six channels", "v.mkv", sound=np.stack([tone(3)] * 6), layout="5.1")
of_video("ac3", "v.mkv", sound=np.stack([tone(3)] * 2), layout="stereo", audio_codec="ac3")
CASES["sound only"] = ("error", lambda folder: make_sound(folder / "v.m4a"))


@case("sound of nonsense numbers")
def _nan_sound(folder: Path) -> Path:
    """Samples that are no numbers, kept as they are by PCM."""
    path = folder / "v.mkv"
    with av.open(str(path), "w") as container:
        video, audio = container.add_stream("ffv1", rate=25), container.add_stream("pcm_f32le", rate=16_000)
        video.width, video.height, video.pix_fmt = 96, 64, "bgr0"
        audio.layout = "mono"
        for i in range(40):
            container.mux(video.encode(av.VideoFrame.from_ndarray(moving_square(i, 96, 64), "rgb24")))
        container.mux(video.encode())
        samples = tone(1.6, rate=16_000)
        samples[5000:6000], samples[9000:9100] = np.nan, np.inf
        frame = av.AudioFrame.from_ndarray(samples[None], "flt", "mono")
        frame.sample_rate, frame.pts = 16_000, 0
        container.mux(audio.encode(frame))
        container.mux(audio.encode())
    return path


@case("subtitles")
def _subtitles(folder: Path) -> Path:
    """Words in one container with picture and sound, before them."""
    whole, words, path = make_video(folder / "whole.mp4", 40), folder / "words.srt", folder / "v.mkv"
    words.write_text("".join(f"{i + 1}\n00:00:0{i},000 --> 00:00:0{i},900\na double Axel\n\n" for i in range(2)))
    with av.open(str(words)) as text, av.open(str(whole)) as film, av.open(str(path), "w") as container:
        streams = {id(s): container.add_stream_from_template(s) for s in (*text.streams, *film.streams)}
        for packet in (*film.demux(), *text.demux()):
            if packet.dts is not None:
                packet.stream = streams[id(packet.stream)]
                container.mux(packet)
    return path


# --- Damage ----------------------------------------------------------------------------------------------------------


def _damaged(kind: str, change: Callable[[bytearray], bytes], file: str = "v.mp4") -> None:
    def make(folder: Path) -> Path:
        path = make_video(folder / file, 80)
        path.write_bytes(change(bytearray(path.read_bytes())))
        return path

    CASES[kind] = ("either", make)


for percent in (1, 10, 25, 50, 75, 90, 99):
    _damaged(f"cut at {percent} % (mp4)", lambda data, p=percent: bytes(data[: len(data) * p // 100]))
    _damaged(f"cut at {percent} % (ts)", lambda data, p=percent: bytes(data[: len(data) * p // 100]), "v.ts")


def _flipped(data: bytearray, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    for at in rng.integers(0, len(data), max(1, len(data) // 400)):
        data[at] ^= 1 << int(rng.integers(8))
    return bytes(data)


for seed in range(8):
    file = ("v.mp4", "v.mkv", "v.ts", "v.avi")[seed % 4]
    _damaged(f"bits flipped, {seed} ({file[2:]})", lambda data, s=seed: _flipped(data, s), file)
_damaged("zeros in the middle", lambda d: bytes(d[: len(d) // 3]) + bytes(len(d) // 3) + bytes(d[2 * len(d) // 3 :]))
_damaged("a claimed duration of centuries", lambda d: _claim(d, b"mvhd", 16, 0xFFFFFFF0))
_damaged("a claimed picture of 65535 x 65535", lambda d: _claim(d, b"avc1", 24, 0xFFFFFFFF))
_damaged("a box that claims 4 GB", lambda d: _claim(d, b"moov", -8, 0xFFFFFFF0))


def _claim(data: bytearray, box: bytes, offset: int, value: int) -> bytes:
    at = data.index(box) + 4 + offset
    data[at : at + 4] = struct.pack(">I", value)
    return bytes(data)


# --- What is no video, or would make us read something else ----------------------------------------------------------


def _text(name: str, file: str, content: Callable[[Path], str]) -> None:
    def make(folder: Path) -> Path:
        (folder / file).write_text(content(make_video(folder / "other" / "secret.ts", 40)))
        return folder / file

    CASES[name] = ("error", make)


_text("text named as a video", "v.mp4", lambda other: "this is no video\n" * 50)
_text("a playlist", "v.m3u8", lambda other: f"#EXTM3U\n#EXTINF:2,\n{other}\n#EXT-X-ENDLIST\n")
_text("a playlist named as a video", "v.mp4", lambda other: f"#EXTM3U\n#EXTINF:2,\n{other}\n#EXT-X-ENDLIST\n")
_text("a playlist of the network", "v.m3u8", lambda other: "#EXTM3U\n#EXTINF:2,\nhttp://127.0.0.1:9/a.ts\n")
_text("a list to join", "v.ffconcat", lambda other: f"ffconcat version 1.0\nfile '{other}'\n")
_text("a session description", "v.sdp", lambda other: "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n")
_text("a web page", "v.mp4", lambda other: "<html><video src=x></html>")


@case("empty", "error")
def _empty(folder: Path) -> Path:
    (folder / "v.mp4").touch()
    return folder / "v.mp4"


@case("missing", "error")
def _missing(folder: Path) -> Path:
    return folder / "missing.mp4"


@case("a pipe", "error")
def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "v.mp4")
    return folder / "v.mp4"


@case("a link to itself", "error")
def _loop(folder: Path) -> Path:
    (folder / "v.mp4").symlink_to(folder / "v.mp4")
    return folder / "v.mp4"


@case("a link to nowhere", "error")
def _nowhere(folder: Path) -> Path:
    (folder / "v.mp4").symlink_to(folder / "nothing")
    return folder / "v.mp4"


@case("a device", "error")
def _device(folder: Path) -> Path:
    return Path("/dev/null")


@case("random bytes", "error")
def _random(folder: Path) -> Path:
    (folder / "v.mkv").write_bytes(np.random.default_rng(0).bytes(100_000))
    return folder / "v.mkv"


# --- Names -----------------------------------------------------------------------------------------------------------

of_video("the wrong suffix", "v.mkv.txt.mp4", frames=34)
of_video("a name in other scripts", "フィギュア スケート ⛸.mp4", frames=34)
of_video("a name with quotes", 'it\'s "new" & <b>.mp4', frames=34)
of_video("a name like an option", "-f.mp4", frames=34)
of_video("a name like a formula", "=1+1.mp4", frames=34)
of_video("a name like an address", "http:v.mp4", frames=34)
of_video("a name like a pattern", "v%03d.mp4", frames=34)
of_video("a very long path", "/".join(["d" * 200] * 5) + "/" + "n" * 200 + ".mp4", frames=34)


@case("a name that is no UTF-8")
def _bytes(folder: Path) -> Path:
    path = make_video(folder / "v.mp4", 34)
    return path.rename(folder / os.fsdecode(b"\xff\xfe.mp4"))


@case("a link to a video")
def _link(folder: Path) -> Path:
    (folder / "link.mp4").symlink_to(make_video(folder / "v.mp4", 34))
    return folder / "link.mp4"
