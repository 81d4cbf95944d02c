"""Content -> damaged content. What has a structure is also damaged within it, where a plain flip would never get."""

import copy
import json
import random
import struct
from pathlib import Path
from typing import Any

_INTS = (0, 1, -1, 127, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1, -(2**31), 2**63 - 1, 2**64)
_ODD: tuple[Any, ...] = (
    None, True, False, *_INTS, 10**30, 0.5, -1.5, 1e308, float("nan"), float("inf"), "", "x", "x" * 5000, "../../etc",
    "/dev/zero", "\x00", "nan", "=1+1", "é\ud800", "</script>", [], {}, [[]], [0] * 1000, {"a": {"b": []}},
)  # fmt: skip


def damaged(path: Path, rng: random.Random) -> bytes:
    """A file's content, damaged as its kind allows; now and then only as bytes, whatever it is."""
    data = path.read_bytes()
    way = _WAYS.get(path.suffix, any_bytes)
    return any_bytes(data, rng) if rng.random() < 0.3 else way(data, rng)


def any_bytes(data: bytes, rng: random.Random) -> bytes:
    """Bits flipped, pieces cut, doubled, moved, set to zero or to numbers at the edge of a type."""
    found = bytearray(data)
    for _ in range(1 + int(rng.expovariate(0.7))):
        size = len(found)
        if not size:
            break
        at, length = rng.randrange(size), min(1 + int(rng.expovariate(0.02)), size)
        kind = rng.randrange(8)
        if kind < 2:
            for _ in range(rng.choice((1, 4, max(1, size // 500)))):
                found[rng.randrange(size)] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del found[at:]
        elif kind == 3:
            del found[at : at + length]
        elif kind == 4:
            found[at:at] = found[at : at + length] * rng.choice((1, 1, 50))
        elif kind == 5:
            found[at : at + length] = bytes(min(length, size - at))
        elif kind == 6:
            found[at : at + length] = rng.randbytes(length)
        else:
            width = rng.choice((1, 2, 4, 8))
            number = (rng.choice(_INTS) & (1 << 8 * width) - 1).to_bytes(width, rng.choice(("big", "little")))
            at = rng.randrange(min(size, rng.choice((64, 512, size))))  # headers more often than the rest
            found[at : at + width] = number
    return bytes(found)


def _json(data: bytes, rng: random.Random) -> bytes:
    return _dumped(_other_values(json.loads(data), rng)).encode("utf-8", "surrogatepass")


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _other_values(value: Any, rng: random.Random) -> Any:
    """The same with one to three of its values left out, doubled under another name, or replaced by odd ones."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = list(_places(value))
        if not places:
            return copy.deepcopy(rng.choice(_ODD))
        inside, key = rng.choice(places)
        kind = rng.randrange(6)
        if kind == 0:
            del inside[key]
        elif kind == 1 and isinstance(inside, dict):
            inside[f"{key}2"] = copy.deepcopy(inside[key])
        elif kind == 2 and isinstance(inside[key], int | float):
            inside[key] = inside[key] * rng.choice((-1, 0, 2, 10, 1000, 10**9))
        else:
            inside[key] = copy.deepcopy(rng.choice(_ODD))
    return value


def _places(value: Any) -> Any:
    """(container, key) of every value, however deep."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _table(data: bytes, rng: random.Random) -> bytes:
    """A csv or a table of words: cells replaced, lines doubled, left out or moved."""
    lines = data.decode("utf-8", "replace").split("\n")
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(lines))
        kind = rng.randrange(6)
        if kind == 0 and len(lines) > 1:
            del lines[at]
        elif kind == 1:
            lines.insert(rng.randrange(len(lines)), lines[at])
        else:
            between = "," if "," in lines[at] else "\t" if "\t" in lines[at] else " "
            cells = lines[at].split(between)
            odd = rng.choice(_ODD)
            cells[rng.randrange(len(cells))] = '"' if kind == 2 else odd if isinstance(odd, str) else _dumped(odd)
            lines[at] = between.join(cells)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _safetensors(data: bytes, rng: random.Random) -> bytes:
    """Its header with other values, and the length of it made right again; the metadata's own json likewise."""
    (length,) = struct.unpack("<Q", data[:8])
    header, rest = json.loads(data[8 : 8 + length]), data[8 + length :]
    held = header.get("__metadata__", {})
    if held and rng.random() < 0.5:
        name = rng.choice(sorted(held))
        held[name] = _dumped(_other_values(json.loads(held[name]), rng)) if held[name][:1] == "{" else "x"
    elif rng.random() < 0.3:  # tensors of numbers that are none, or huge
        at = rng.randrange(0, max(len(rest) - 4, 1), 2)
        odd = rng.choice((b"\x00\x00\xc0\x7f", b"\x00\x00\x80\x7f", b"\xff\xff\x7f\x7f", b"\x00\x7e\x00\x7e"))
        rest = rest[:at] + odd * rng.choice((1, 1, 1000)) + rest[at + 4 :]
        rest = rest[: len(data) - 8 - length]
    else:
        header = _other_values(header, rng)
    text = _dumped(header).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text)) + text + rest


_WAYS = {".json": _json, ".csv": _table, ".txt": _table, ".safetensors": _safetensors}
