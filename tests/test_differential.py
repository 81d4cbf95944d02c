"""Our reader against FFmpeg's own programs, so that a wrong reader can't agree with itself.

Every file of the corpus that holds a picture, and odd ones more: times of frames, rotation, which pictures there are,
and the sound as `aresample=async=1` puts it in time.
"""

import json
import shutil
import subprocess
from fractions import Fraction

import numpy as np
import pytest
from conftest import make_video, tone
from corpus import CASES

from mlavl_cli import extract_features
from mlavl_cli.errors import MediaError
from mlavl_cli.media.container import Media
from mlavl_cli.media.decode import VideoReader
from mlavl_cli.media.sound import SAMPLE_RATE_HZ, SoundReader

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("ffprobe") is None, reason="FFmpeg's programs aren't installed"),
]
TIMED = "frame=best_effort_timestamp_time,pts_time"
# What differs on purpose, or where the two versions of FFmpeg decode other things: each with the reason.
TIMES_ELSEWHERE = {
    "no timestamps at all": "ffprobe gives no times to raw streams",
    "changing resolution": "its clock starts anew: ffprobe goes back in time",
    "backwards timestamps": "its clock starts anew: ffprobe goes back in time",
}
SOUND_ELSEWHERE = {
    "a gap of an hour": "an hour of silence: too long to compare",
    "sound is much longer": "we stop where the picture does",
    "fragmented mp4": "its sound has a gap of 57 ms, which aresample fills from 100 ms on",
    "clipping": "what one resampler overshoots is clipped, what another does isn't",
    "sound of nonsense numbers": "infinity is silence to us",
}


def ffprobe(path, *options):
    command = ["ffprobe", "-v", "error", "-of", "json", *options, f"file:{path}"]
    done = subprocess.run(command, capture_output=True, timeout=120, check=False)
    return json.loads(done.stdout or b"{}")


def their_picture(path):
    """(times of frames as ffprobe guesses them best, rotation counter-clockwise in degrees)."""
    found = ffprobe(
        path, "-select_streams", "v:0", "-show_frames", "-show_entries", f"{TIMED}:stream_side_data=rotation"
    )
    times = [float(time) for one in found.get("frames", []) if (time := one.get("best_effort_timestamp_time"))]
    (shown, *_) = ffprobe(path, "-select_streams", "v:0", "-show_streams").get("streams") or [{}]
    turns = [side["rotation"] for side in shown.get("side_data_list", []) if "rotation" in side]
    return times, (turns or [0])[0] % 360


def their_sound(path):
    """(samples,) at 16 kHz, the mean of the channels, from the file's start; None where there is none."""
    streams = ffprobe(path, "-select_streams", "a:0", "-show_streams").get("streams", [])
    if not streams:
        return None
    command = ["ffmpeg", "-v", "error", "-nostdin", "-i", f"file:{path}", "-map", "0:a:0"]
    command += ["-af", f"aresample={SAMPLE_RATE_HZ}:async=1:first_pts=0,aformat=sample_fmts=flt"]
    done = subprocess.run([*command, "-f", "f32le", "-"], capture_output=True, timeout=120, check=False)
    samples = np.frombuffer(done.stdout[: len(done.stdout) // 4 * 4], np.float32)
    channels = streams[0]["channels"]
    return np.clip(samples[: len(samples) // channels * channels].reshape(-1, channels).mean(1), -1, 1)


def our_sound(path, until_s):
    with Media(path) as media:
        reader = SoundReader(media)
        return reader.read(0.0, until_s)


def origin(path):
    """By how much ffmpeg's own clock starts later than ours: it starts every file at its first packet."""
    start_s = float(ffprobe(path, "-show_format").get("format", {}).get("start_time", 0) or 0)
    with Media(path) as media:
        return start_s - media.origin_s


def aligned(ours, theirs, most=20):
    """The lag in samples at which they agree best, and the difference there as a share of their energy.

    Lags go in tenths of a sample: containers round times to milliseconds, not to samples.
    """
    count = min(len(ours), len(theirs))
    a, b = (np.fft.rfft(one[:count] * np.hanning(count), 2 * count) for one in (ours, theirs))
    turn = 2j * np.pi * np.fft.rfftfreq(2 * count)
    together = (a * np.conj(b)).real, (a * np.conj(b)).imag
    lags = np.arange(-10 * most, 10 * most + 1) / 10
    agreement = [(together[0] * np.cos(turn.imag * lag) - together[1] * np.sin(turn.imag * lag)).sum() for lag in lags]
    lag = lags[int(np.argmax(agreement))]
    energy = max((np.abs(a) ** 2).sum(), (np.abs(b) ** 2).sum(), 1e-6)
    return lag, (np.abs(a * np.exp(turn * lag) - b) ** 2).sum() / energy


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder, made = tmp_path_factory.mktemp("corpus"), {}
    for number, (name, (expected, maker)) in enumerate(CASES.items()):
        if expected == "score":
            home = folder / f"{number:03d}"
            home.mkdir()
            made[name] = maker(home)
    return made


def test_frames_are_shown_when_ffprobe_says(corpus):
    compared, wrong = 0, []
    for name, path in corpus.items():
        times, rotation = their_picture(path)
        if name in TIMES_ELSEWHERE or not times:
            continue
        with Media(path) as media:
            reader = VideoReader(media)
            ours = np.array([frame.time_s for frame in reader.frames()])
            offset = media.origin_s
        compared += 1
        if len(ours) != len(times):
            wrong.append(f"{name}: {len(ours)} frames, ffprobe has {len(times)}")
        elif np.abs(ours + offset - times - (ours[0] + offset - times[0])).max() > 0.002:
            wrong.append(f"{name}: {np.abs(ours + offset - times).max():.3f} s off")
        elif path.suffix != ".avi" and abs(ours[0] + offset - times[0]) > 0.002:
            wrong.append(f"{name}: begins at {ours[0]:.3f}, not {times[0] - offset:.3f}")
        if 90 * reader.quarter_turns != rotation:
            wrong.append(f"{name}: turned by {90 * reader.quarter_turns}, not {rotation}")
    print(f"\n{compared} files compared with ffprobe")
    assert compared > 60
    assert wrong == []


def test_sound_is_heard_when_ffmpeg_says(corpus):
    compared, wrong = 0, []
    for name, path in corpus.items():
        theirs = their_sound(path) if name not in SOUND_ELSEWHERE else None
        if theirs is None or len(theirs) < 0.2 * SAMPLE_RATE_HZ:
            continue
        start = round(origin(path) * SAMPLE_RATE_HZ)
        theirs = theirs[max(-start, 0) :]
        ours = our_sound(path, (len(theirs) + max(start, 0)) / SAMPLE_RATE_HZ)[max(start, 0) :]
        edge = 800  # where one resampler rings and the other doesn't
        lag, off = aligned(ours[edge:-edge], theirs[edge:-edge])
        compared += 1
        begins = [
            int(np.argmax(np.abs(one) > 0.1)) for one in (ours, theirs)
        ]  # tones look alike every two milliseconds
        if off > 1e-4 or (abs(lag) > 16 and theirs.any()) or abs(begins[0] - begins[1]) > 32:  # 1 ms, -40 dB
            wrong.append(f"{name}: {1000 * lag / SAMPLE_RATE_HZ:.2f} ms, {10 * np.log10(off + 1e-12):.0f} dB")
    print(f"\n{compared} files compared with aresample=async=1", *wrong, sep="\n")
    assert compared > 50
    assert wrong == []


@pytest.mark.parametrize("ending", ["mkv", "mov", "ts"])
def test_remuxing_changes_no_score(run, tmp_path, ending):
    """ffmpeg -c copy into another container: the same pictures to the bit, and scores that differ by what a millisecond
    of sound is worth (Matroska rounds times) to weights that don't know such tones."""
    sound = tone(8, 300) + tone(8, 450, level=0.2) * (np.arange(8 * 44_100) // 9000 % 2)
    source = make_video(tmp_path / "a.mp4", 200, fps=Fraction(30000, 1001), sound=np.float32(sound), size=(160, 96))
    copy = tmp_path / f"b.{ending}"
    subprocess.run(["ffmpeg", "-v", "error", "-i", source, "-c", "copy", copy], check=True)
    np.testing.assert_array_equal(*(extract_features(path).visual for path in (source, copy)))
    scores = [run("score", path, "-f", "json").json() for path in (source, copy)]
    for target, one in scores[0]["scores"].items():
        low, high = one["range"]
        assert scores[1]["scores"][target]["score"] == pytest.approx(one["score"], abs=0.005 * (high - low))


def test_programmes_of_a_broadcast_stay_together(tmp_path):
    """Two programmes in one stream: the picture that is taken has its own sound."""
    sources = [
        "testsrc2=s=160x96:r=25:d=6",
        "sine=f=440:d=6:r=48000",
        "testsrc=s=320x192:r=25:d=6",
        "sine=f=900:d=6:r=48000",
    ]
    path = tmp_path / "v.ts"
    command = ["ffmpeg", "-v", "error", *(word for source in sources for word in ("-f", "lavfi", "-i", source))]
    command += ["-map", "0", "-map", "1", "-map", "2", "-map", "3", "-c:v", "libx264", "-preset", "ultrafast"]
    command += ["-c:a", "mp2", "-b:a:0", "256k", "-b:a:1", "128k", "-program", "program_num=1:st=0:st=1"]
    subprocess.run([*command, "-program", "program_num=2:st=2:st=3", path], check=True)
    for stream, width, hz in ((None, 320, 900), (0, 160, 440)):
        with Media(path) as media:
            picture = VideoReader(media, stream)
            assert picture.info.width_px == width
            heard = SoundReader(media, beside=picture.stream.index).read(1.0, 3.0)
        spectrum = np.abs(np.fft.rfft(heard * np.hanning(len(heard))))
        assert spectrum.argmax() / 2 == pytest.approx(hz, abs=2)


def test_damaged_files_of_the_corpus_end_where_ffprobe_ends(tmp_path):
    """What can be decoded of a file that was cut is decoded: no fewer frames than ffprobe counts, but for two."""
    for percent in (25, 50, 75, 90):
        for ending in ("mp4", "ts"):
            home = tmp_path / f"{percent}{ending}"
            home.mkdir()
            path = CASES[f"cut at {percent} % ({ending})"][1](home)
            theirs, _ = their_picture(path)
            try:
                with Media(path) as media:
                    ours = sum(1 for _ in VideoReader(media).frames())
            except MediaError:
                ours = 0
            assert ours >= len(theirs) - 2, (percent, ending)
