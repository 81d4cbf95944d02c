"""Small files that claim far more than they hold, made byte by byte: for tests and the fuzzer."""

import struct
import zlib
from pathlib import Path


def box(kind, *content):
    data = b"".join(content)
    return struct.pack(">I", 8 + len(data)) + kind + data


def mov(
    path,
    chunks,
    samples_a_chunk,
    width=16,
    height=16,
    frame=None,
    aspect=None,
    matrix=None,
    tracks=1,
    edits=0,
    packed=False,
    loose=False,
    padding=0,
    claimed=False,
):
    """A QuickTime file whose tables name the same bytes again and again.

    `edits` is how many its edit list claims; `packed` compresses the header, as old QuickTime does; `loose` puts the
    tables where they don't belong, but are found; `padding` bytes of nothing stand in the header;
    `claimed` samples of a chunk aren't even there.
    """
    frame = frame or png(width, height)
    count = chunks * samples_a_chunk
    head = box(b"ftyp", b"qt  \0\0\2\0qt  ")
    data = box(b"mdat", frame * (1 if claimed else samples_a_chunk))
    unity = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    times = struct.pack(">IIII", 0, 0, 25, count)
    movie = box(b"mvhd", bytes(4), times, struct.pack(">IH10x", 1 << 16, 256), unity, bytes(24), struct.pack(">I", 2))
    sides = struct.pack(">II", width << 16, height << 16)
    media = box(b"mdhd", bytes(4), times, bytes(4))
    handler = box(b"hdlr", bytes(4), b"mhlrvide", bytes(13))
    entry = b"png " + bytes(6) + b"\0\1" + bytes(16) + struct.pack(">HHIII", width, height, 72 << 16, 72 << 16, 0)
    entry += (
        b"\0\1"
        + bytes(32)
        + struct.pack(">Hh", 24, -1)
        + (box(b"pasp", struct.pack(">II", *aspect)) if aspect else b"")
    )
    tables = box(
        b"stbl",
        box(b"stsd", bytes(4), struct.pack(">II", 1, 4 + len(entry)), entry),
        box(b"stts", bytes(4), struct.pack(">III", 1, count, 1)),
        box(b"stsz", bytes(4), struct.pack(">II", len(frame), count)),
        box(b"stsc", bytes(4), struct.pack(">IIII", 1, 1, samples_a_chunk, 1)),
        box(b"stco", bytes(4), struct.pack(">I", chunks), struct.pack(">I", len(head) + 8) * chunks),
    )
    where = box(b"dinf", box(b"dref", bytes(4), struct.pack(">I", 1), box(b"url ", b"\0\0\0\1")))
    about = box(b"minf", box(b"vmhd", b"\0\0\0\1", bytes(8)), where, b"" if loose else tables)
    inner = box(b"mdia", media, handler, about, tables if loose else b"")
    edit = box(b"edts", box(b"elst", bytes(4), struct.pack(">I", edits), struct.pack(">IiI", 1, 0, 1 << 16) * edits))
    parts = [movie]
    for number in range(1, tracks + 1):
        track = box(b"tkhd", b"\0\0\0\3", struct.pack(">IIIII16x", 0, 0, number, 0, count), matrix or unity, sides)
        parts.append(box(b"trak", track, edit if edits else b"", inner))
    header = box(b"moov", *parts, box(b"free", bytes(padding)))
    if packed:
        kind = box(b"dcom", b"zlib")
        packed = box(b"cmvd", struct.pack(">I", len(header)), zlib.compress(header, 9))
        header = box(b"moov", box(b"cmov", kind, packed))
    path.write_bytes(head + data + header)
    return path


def png(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = zlib.compress((b"\0" + b"\x80" * width) * height, 9)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def matroska(path, strip, blocks, laced=False, tracks=1, tags=0, chapters=0):
    """Blocks of one byte, before each of which `strip` bytes are to be put (header stripping).

    `laced` makes each block 256 frames of no bytes; `tags` and `chapters` are how many it lists.
    """

    def element(identity, data):
        return bytes.fromhex(identity) + (1 << 56 | len(data)).to_bytes(8, "big") + data

    stripping = element("4254", b"\3") + element("4255", bytes(strip))
    encoding = element("5031", b"\0") + element("5032", b"\1") + element("5033", b"\0") + element("5034", stripping)
    picture = element("E0", element("B0", b"\x40") + element("BA", b"\x40"))
    entries = []
    for number in range(1, tracks + 1):
        entry = element("D7", bytes([number])) + element("73C5", bytes([number])) + element("83", b"\1")
        entry += element("86", b"V_VP8") + picture + element("6D80", element("6240", encoding))
        entries.append(element("AE", entry))
    track = element("1654AE6B", b"".join(entries))
    last = b"\x84\xff" if laced else b"\x80\0"
    block = b"".join(b"\xa3\x85\x81" + struct.pack(">h", i % 30_000) + last for i in range(blocks))
    texts = (element("67C8", element("45A3", b"%x" % i) + element("4487", b"x")) for i in range(tags))
    track += element("1254C367", element("7373", b"".join(texts))) if tags else b""
    marks = (element("B6", element("73C4", (chapters - i).to_bytes(4)) + element("91", b"\0")) for i in range(chapters))
    track += element("1043A770", element("45B9", b"".join(marks))) if chapters else b""
    head = element("1A45DFA3", element("4282", b"matroska"))
    info = element("1549A966", element("2AD7B1", (1_000_000).to_bytes(3, "big")))
    path.write_bytes(head + element("18538067", info + track + element("1F43B675", element("E7", b"\0") + block)))
    return path


def one_page(path: Path, drawing: bytes) -> Path:
    """A PDF of one page, whose drawing is packed."""
    packed = zlib.compress(drawing, 9)
    parts = [
        b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R/Resources<<>>>>",
        b"<</Length %d/Filter/FlateDecode>>stream\n%s\nendstream" % (len(packed), packed),
    ]  # fmt: skip
    data, places = b"%PDF-1.4\n", []
    for number, part in enumerate(parts, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, part)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    data += b"xref\n0 5\n0000000000 65535 f \n" + table + b"trailer<</Size 5/Root 1 0 R>>\nstartxref\n"
    path.write_bytes(data + b"%d\n%%%%EOF" % data.index(b"xref"))
    return path
