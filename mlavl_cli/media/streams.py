"""Which streams of a file a viewer would see and hear.

A film comes before a still, however large; sound comes from the picture's programme, in the track that is marked as
the default, not in a commentary, and not in a track that is silent while another one sounds.
"""

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Generic, cast

import av
import numpy as np
from av.stream import Disposition

from mlavl_cli.errors import MediaError
from mlavl_cli.media.container import Media, StreamT, decodable
from mlavl_cli.media.mono import mono

SILENT_BELOW = 1e-4  # -80 dB of full scale
_STILL = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
_FOR_SOME = (
    Disposition.comment | Disposition.descriptions | Disposition.hearing_impaired | Disposition.visual_impaired
    | Disposition.karaoke | Disposition.clean_effects | Disposition.non_diegetic
)  # fmt: skip
_COUNTED = 1000  # packets by which films are distinguished from stills
_FEWER = 20  # a stream of that many times fewer pictures is no film beside another
# All that is listened to before the first sound is heard: some twenty minutes of several silent tracks.
_MOST_PACKETS, _MOST_SAMPLES = 200_000, 1 << 30


@dataclass(frozen=True)
class Choice(Generic[StreamT]):
    """A stream, and what a user should know where there were others."""

    stream: StreamT
    note: str | None = None


def choose_picture(media: Media, index: int | None = None) -> Choice[av.VideoStream]:
    """The film of a file, or its picture number `index` (cover art doesn't count).

    Raises:
        MediaError: there is none, or it can't be decoded here.
    """
    pictures = [s for s in media.container.streams.video if not s.disposition & Disposition.attached_pic]
    if not pictures:
        raise MediaError("has no picture, only sound", path=media.path, hint="Give a file with a video stream.")
    pictures = [stream for stream in pictures if decodable(stream)]
    if not pictures:
        raise MediaError("uses a codec that can't be decoded here", path=media.path, hint="Convert it to H.264.")
    if index is not None:
        if not 0 <= index < len(pictures):
            hint = f"Choose 0 to {len(pictures) - 1}."
            raise MediaError(f"has no video stream {index}", path=media.path, hint=hint)
        return Choice(pictures[index])
    if len(pictures) == 1:
        return Choice(pictures[0])
    candidates = _films(media, pictures)
    candidates = [s for s in candidates if s.disposition & Disposition.default] or candidates
    chosen = max(candidates, key=lambda s: s.width * s.height)  # the first of the largest
    size = f"{chosen.width} x {chosen.height}"
    note = f"of {len(pictures)} video streams number {pictures.index(chosen)} is taken ({size}), --video-stream chooses"
    return Choice(chosen, note)


def choose_sound(media: Media, index: int | None = None, beside: int | None = None) -> Choice[av.AudioStream] | None:
    """The sound that belongs to the picture in stream `beside` of the file (None: the film), or sound number `index`.

    None where no sound can be decoded.

    Raises:
        MediaError: there is no sound `index`, or it can't be decoded here.
    """
    streams = list(media.container.streams.audio)
    if index is not None:
        if not 0 <= index < len(streams):
            hint = f"It has {len(streams)}, from 0."
            raise MediaError(f"has no audio stream {index}", path=media.path, hint=hint)
        if not decodable(streams[index]):
            raise MediaError(f"audio stream {index} uses a codec that can't be decoded here", path=media.path)
        return Choice(streams[index])
    sounds = [stream for stream in streams if decodable(stream)]
    if len(sounds) < 2:
        return Choice(sounds[0]) if sounds else None
    best = None
    if media.clock.programmes:
        picture = choose_picture(media).stream if beside is None else media.container.streams[beside]
        best = cast(av.AudioStream | None, media.container.streams.best("audio", picture))
    if best is None or not decodable(best):
        candidates = [s for s in sounds if not s.disposition & _FOR_SOME] or sounds
        candidates.sort(key=lambda s: not s.disposition & Disposition.default)  # the file's order otherwise
        best = _first_to_be_heard(media, candidates) or candidates[0]
    note = f"of {len(streams)} audio streams number {streams.index(best)} is taken, --audio-stream chooses"
    return Choice(best, note)


def _films(media: Media, pictures: list[av.VideoStream]) -> list[av.VideoStream]:
    """Those that move: which are not marked as stills, and have about as many pictures as the others."""
    moving = [stream for stream in pictures if not stream.disposition & _STILL] or pictures
    counts = {stream.index: stream.frames for stream in moving}
    if not all(counts.values()):  # the header doesn't say
        with Media(media.path) as again:
            indices = [stream.index for stream in moving]
            try:
                packets = again.container.demux([again.container.streams[i] for i in indices])
                counts = Counter(packet.stream_index for packet in islice(packets, _COUNTED) if packet.size)
            except (av.FFmpegError, IndexError):
                return moving
    most = max(counts.values(), default=0)
    return [stream for stream in moving if counts[stream.index] >= max(min(most, 2), most / _FEWER)] or moving


def _first_to_be_heard(media: Media, streams: list[av.AudioStream]) -> av.AudioStream | None:
    """The first of the tracks in which anything can be heard; None if that takes too long to find out."""
    packets_left, samples_left = _MOST_PACKETS, _MOST_SAMPLES
    for stream in streams:
        with Media(media.path) as again, suppress(av.FFmpegError):
            for packet in again.packets(cast(av.AudioStream, again.container.streams[stream.index])):
                packets_left -= 1
                for frame in _decoded(packet):
                    samples_left -= frame.samples * frame.layout.nb_channels
                    if np.abs(mono(frame)).max(initial=0) >= SILENT_BELOW:
                        return stream
                if min(packets_left, samples_left) < 0:
                    return None
    return None


def _decoded(packet: "av.Packet[av.AudioStream]") -> list[av.AudioFrame]:
    try:
        return packet.decode()
    except av.FFmpegError:
        return []
