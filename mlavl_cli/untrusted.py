"""What strangers' files may ask for: sizes are compared with the file before any memory is taken, names before a path.

A pickle of a few hundred bytes can name the same part so often that walking it never ends, and a checkpoint can claim
tensors of any size. Both are found by reading their instructions as text; nothing in them is run.
"""

import io
import math
import pickle
import pickletools
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mlavl_cli.errors import DataError, MlavlError
from mlavl_cli.files import refuse_irregular

if TYPE_CHECKING:  # commands check names with this file before they load anything
    import numpy as np
    import torch

_MOST_NAME_BYTES = 120
_MOST_HEADER_BYTES = 4 << 20  # of a safetensors file
_DEEPEST = 500  # levels of a pickle; Python takes as many calls of its own to hash or to compare them
# What torch lets a pickle make of any size, and what no checkpoint holds.
_MAKES_ROOM = ("bytearray", "UntypedStorage", "TypedStorage")
_SHARED = 16  # a pickle that names each of its parts so often, on the average, is made to be endless
# Keys of dicts and sets can be made so that each is compared with all others: from larger numbers, and from tuples and
# fractions of any size, of which data sets have some thousands.
_COLLIDES = 1 << 60
_MOST_ODD_KEYS = 10_000
_ARCHIVE = b"PK\x03\x04"
_LEGACY_HEADS = 3  # pickles before the object in torch's old format: magic number, version, machine


def plain_name(text: str, what: str, error: type[MlavlError] = DataError) -> str:
    """`text`, once it is known that a file can be called so and that it leads nowhere else.

    Args:
        text: a target, an id, a column.
        what: of what it is the name, for the message.
        error: what is raised.
    """
    wrong = not text or text != text.strip() or text.startswith(".") or any(c in text for c in "/\\:")
    if wrong or not text.isprintable() or len(text.encode("utf-8", "replace")) > _MOST_NAME_BYTES:
        hint = "Names are printable, without / \\ : and without a dot in front."
        raise error(f"{text[:60]!r} can't be the name of {what}", hint=hint)
    return text


# --- Pickles ---------------------------------------------------------------------------------------------------------


class _Node:
    """An object that a pickle would build."""

    __slots__ = ("depth", "parts", "weight")

    def __init__(self, parts: list["_Node"]):
        self.parts, self.weight, self.depth = parts, 0, 0  # weight 0: not weighed yet; -1: being weighed


_LEAF, _FRACTION = _Node([]), _Node([])


def _leaf(argument: Any, plain: bool) -> _Node:
    """A value that is written out. It weighs what it is long: whoever names it again may make a copy."""
    number = isinstance(argument, int | float) and not isinstance(argument, bool)
    if plain and number and _COLLIDES <= abs(argument) < math.inf:
        raise pickle.UnpicklingError(f"it holds the number {argument:.3g}, which is no label")
    if not isinstance(argument, str | bytes | bytearray):
        return _FRACTION if isinstance(argument, float) else _LEAF
    node = _Node([])
    node.weight = 1 + len(argument)
    return node


_FILLS = frozenset("APPEND APPENDS SETITEM SETITEMS ADDITEMS BUILD".split())
_PUTS = frozenset("PUT BINPUT LONG_BINPUT".split())
_GETS = frozenset("GET BINGET LONG_BINGET".split())


def check_pickle(file: IO[bytes], size: int, largest: int | None = None, plain: bool = True) -> None:
    """Follows a pickle's instructions from where the file stands, without building anything.

    Args:
        file: left behind the pickle.
        size: of all the bytes it may come from.
        largest: no whole number in it may be larger; None: any may.
        plain: whether its numbers are labels, which are never so large that a dict of them takes for ever.

    Raises:
        pickle.UnpicklingError: what it describes is far larger than itself, or numbers its parts beyond its length.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, _Node] = {}
    odd_keys = 0
    whole = _Node([])  # the object, and what is built and thrown away on the way
    for opcode, argument, _ in pickletools.genops(file):
        name = opcode.name
        if name in _PUTS or name == "MEMOIZE":
            number = len(memo) if name == "MEMOIZE" else int(argument)
            if number > size:  # the reader makes room for the highest number, whatever it is
                raise pickle.UnpicklingError("it numbers its parts beyond its own length")
            memo[number] = stack[-1]
        elif name in _GETS:
            stack.append(memo.get(int(argument), _LEAF))
        elif name == "MARK":
            marks.append(len(stack))
        elif name == "DUP":
            stack.append(stack[-1])
        elif name == "POP":
            if marks and marks[-1] == len(stack):
                marks.pop()
            else:
                whole.parts.append(stack.pop())
        else:
            if isinstance(argument, str) and any(name in argument for name in _MAKES_ROOM):
                raise pickle.UnpicklingError(f"it names {argument:.40}, which no checkpoint or label holds")
            if (
                largest is not None
                and isinstance(argument, int)
                and not isinstance(argument, bool)
                and argument > largest
            ):
                raise pickle.UnpicklingError(f"it holds the number {argument}, more than it has bytes")
            before = opcode.stack_before
            if pickletools.markobject in before:
                at = marks.pop()
                taken = stack[at:]
                del stack[at:]
                count = before.index(pickletools.markobject)
            else:
                taken, count = [], len(before)
            held = stack[len(stack) - count :]
            del stack[len(stack) - count :]
            odd_keys += sum(one.parts != [] or one is _FRACTION for one in _keys(name, held, taken))
            if odd_keys > _MOST_ODD_KEYS:
                raise pickle.UnpicklingError(f"more than {_MOST_ODD_KEYS} of its keys are neither words nor numbers")
            if name in _FILLS and held:
                held[0].parts.extend([*held[1:], *taken])
                stack.append(held[0])
            elif name == "STOP":
                whole.parts.extend([*stack, *held])
            elif before or name.startswith("EMPTY"):
                if opcode.stack_after:
                    stack.append(_Node([*held, *taken]))
            elif opcode.stack_after:
                stack.append(_leaf(argument, plain))
    if _weight(whole) > _SHARED * size:
        raise pickle.UnpicklingError("it names the same parts again and again, without end")


def _keys(opcode: str, held: list[_Node], taken: list[_Node]) -> list[_Node]:
    """What an instruction hashes."""
    if opcode == "SETITEM":
        return held[1:2]
    if opcode in ("SETITEMS", "DICT"):
        return taken[::2]
    return taken if opcode in ("ADDITEMS", "FROZENSET") else []


def _weight(node: _Node) -> int:
    """How many objects it comes to when each is counted wherever it is named; without recursion."""
    todo = [node]
    while todo:
        one = todo[-1]
        if one.weight > 0:
            todo.pop()
            continue
        if one.weight == 0:
            one.weight = -1
            for part in one.parts:
                if part.weight == -1:
                    raise pickle.UnpicklingError("a part of it holds itself")
                if part.weight == 0:
                    todo.append(part)
            if todo[-1] is not one:
                continue
        one.weight = 1 + sum(part.weight for part in one.parts)
        one.depth = 1 + max((part.depth for part in one.parts), default=0)
        if one.depth > _DEEPEST:
            raise pickle.UnpicklingError(f"its parts lie more than {_DEEPEST} deep in each other")
        todo.pop()
    return node.weight


# --- Arrays and tensors ----------------------------------------------------------------------------------------------


def open_safetensors(path: Path, framework: str) -> Any:
    """`safe_open`, once it is known that the header, which is json, is of a size that a header has.

    Raises:
        OSError, ValueError, SafetensorError: it can't be read.
    """
    from safetensors import safe_open

    refuse_irregular(path)
    with path.open("rb") as file:
        if int.from_bytes(file.read(8), "little") > _MOST_HEADER_BYTES:
            raise ValueError("its header is far too large")
    return safe_open(path, framework=framework)


def read_npy(path: Path) -> "np.ndarray":
    """A plain `.npy`; its shape is compared with the file before memory is taken.

    Raises:
        OSError, ValueError: can't be read, or no plain array.
    """
    import numpy as np

    refuse_irregular(path)
    return np.array(np.load(path, mmap_mode="r", allow_pickle=False))


def read_torch(path: Path) -> Any:
    """What torch saved, on the CPU: tensors and plain values, none larger than the file.

    Raises:
        OSError: can't be read.
        pickle.UnpicklingError: it would run code, is compressed, or claims more than the file holds.
        Exception: torch raises many kinds for a file that isn't its own.
    """
    import torch

    check_torch(path)
    found = torch.load(path, map_location="cpu", weights_only=True)
    for tensor in _tensors(found):
        held = 0 if tensor.is_meta else tensor.untyped_storage().nbytes()
        if tensor.layout is not torch.strided or tensor.numel() * tensor.element_size() > held:
            raise pickle.UnpicklingError(f"it holds a tensor of shape {tuple(tensor.shape)} without the numbers for it")
    return found


def check_torch(path: Path) -> None:
    """Follows the pickles of a file that torch saved, as torch would read it, without building anything.

    Raises:
        OSError: can't be read.
        pickle.UnpicklingError: it is compressed, of no format of torch's, or describes far more than it holds.
        Exception: pickletools and zipfile raise many kinds for a damaged file.
    """
    refuse_irregular(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        is_archive = file.read(len(_ARCHIVE)) == _ARCHIVE  # as torch tells it; zipfile looks at a file's end
    if is_archive:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            stored = all(one.compress_type == zipfile.ZIP_STORED for one in entries)
            if not stored or sum(one.file_size for one in entries) > size:
                raise pickle.UnpicklingError("it is compressed, which torch's own files are not")
            for one in entries:
                if one.filename.lower().endswith(".pkl"):  # torch's reader takes either case
                    check_pickle(io.BytesIO(archive.read(one)), one.file_size, largest=size)
        return
    if tarfile.is_tarfile(path):
        raise pickle.UnpicklingError("it is a tar archive, as only the oldest torch wrote them")
    with path.open("rb") as file:
        for number in range(_LEGACY_HEADS + 1):
            whole = number == _LEGACY_HEADS
            check_pickle(file, size, largest=size if whole else None, plain=whole)


def _tensors(value: Any) -> "Iterator[torch.Tensor]":
    """All tensors in dicts, lists and tuples, each container looked into once."""
    import torch

    todo, seen = [value], set()
    while todo:
        one = todo.pop()
        if isinstance(one, torch.Tensor):
            yield one
        elif isinstance(one, dict | list | tuple) and id(one) not in seen:
            seen.add(id(one))
            todo += dict.values(one) if isinstance(one, dict) else one


def wrong_numbers(name: str, tensor: "torch.Tensor") -> str | None:
    """What is wrong with the numbers of a head's tensor; None if nothing is."""
    if name.endswith("num_batches_tracked"):
        return None
    if not tensor.is_floating_point():
        return f"holds {str(tensor.dtype).removeprefix('torch.')}, where weights belong"
    if not tensor.isfinite().all():
        return "holds NaN or infinity"
    if name.endswith("running_var") and (tensor < 0).any():
        return "holds negative variances"
    return None
