"""What strangers' files may ask for: sizes are compared with the file before any memory is taken, names before a path.

A pickle of a few hundred bytes can name the same part so often that walking it never ends, and a checkpoint can claim
tensors of any size. Both are found by reading their instructions as text; nothing in them is run.
"""

import io
import math
import pickle
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlavl_cli.errors import DataError, MlavlError, WeightsError, refusing
from mlavl_cli.files import refuse_irregular, sha256
from mlavl_cli.pickles import check_pickle

if TYPE_CHECKING:  # commands check names with this file before they load anything
    import numpy as np
    import torch

_MOST_NAME_BYTES = 120
# Of results, besides the targets' own (scoring/record.py, and histories).
RESULT_COLUMNS = frozenset(
    "path consistency_mean clips duration_s warnings in_domain weights trained_on warning_codes error "
    "who date dated name scored has_audio".split()
)
_MOST_HEADER_BYTES = 4 << 20  # of a safetensors file
_ARCHIVE = b"PK\x03\x04"
_END_BYTES, _LOCATOR_BYTES, _RECORD_BYTES = 22, 20, 56  # of a zip archive's ends
# Of arrays in an archive: bytes, times its size, and how many.
_LEAST_UNPACKED, _MOST_UNPACKED, _UNPACKED, _MOST_ARRAYS = 1 << 20, 512 << 20, 50, 16
# Pickles of torch's old format: magic number, version, machine, the object, and the names of its numbers.
_LEGACY_OBJECT, _LEGACY_PICKLES = 3, 5


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


def plain_targets(names: Iterable[str], error: type[MlavlError] = DataError) -> list[str]:
    """Names of targets, once it is known that they are plain, and that no other column of results is called so.

    Raises:
        MlavlError: of the kind `error`: one is.
    """
    names = [plain_name(name, "a target", error) for name in names]
    ends = {f"{name}_{end}" for name in names for end in ("low", "high")}
    if taken := next((name for name in names if name in ends | RESULT_COLUMNS), None):
        raise error(f"{taken!r} can't be the name of a target: results have another column that is called so")
    return names


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


@contextmanager
def _header_read() -> Iterator[None]:
    """What Python says of an expression that is nested without end is no lack of memory."""
    try:
        yield
    except MemoryError as error:
        raise ValueError("its header can't be read") from error


def read_npy(path: Path, most: int | None = None) -> "np.ndarray":
    """A plain `.npy` of at most so many bytes; its shape is compared with the file before memory is taken.

    Raises:
        OSError, ValueError: can't be read, or no plain array.
    """
    import numpy as np

    refuse_irregular(path, most)
    # Of sizes that are multiplied; the file is too short for them.
    with np.errstate(over="ignore"), _header_read():
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    if found.dtype.kind not in "fiub" or not found.dtype.itemsize:  # texts and records without a size may be any number
        raise ValueError(f"holds {found.dtype}, no numbers")
    return np.array(found)


def read_npz(path: Path) -> "dict[str, np.ndarray]":
    """The plain arrays of an `.npz`; what they claim is compared with what lies there before memory is taken.

    Raises:
        OSError, ValueError, zipfile.BadZipFile: can't be read, holds something else, or unpacks to far more than it is.
    """
    import numpy as np

    refuse_irregular(path)
    found = {}
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        most = min(max(_LEAST_UNPACKED, _UNPACKED * path.stat().st_size), _MOST_UNPACKED)
        known = all(one.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for one in entries)
        if not known or len(entries) > _MOST_ARRAYS or sum(one.file_size for one in entries) > most:
            raise ValueError("it unpacks to far more than features take")
        for one in entries:
            with archive.open(one) as file:
                data = io.BytesIO(file.read(one.file_size))
            version = np.lib.format.read_magic(data)
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            with _header_read():
                shape, by_columns, dtype = header(data)
            if dtype.kind not in "fiub" or math.prod(shape) * dtype.itemsize != len(data.getbuffer()) - data.tell():
                raise ValueError("an array claims other numbers than it holds, or holds none")
            numbers = np.frombuffer(data.getbuffer(), dtype, offset=data.tell())
            found[one.filename.removesuffix(".npy")] = numbers.reshape(shape, order="F" if by_columns else "C")
    return found


def read_torch(path: Path, most: int | None = None) -> Any:
    """What torch saved in at most so many bytes, on the CPU: tensors and plain values, none larger than the file.

    Raises:
        OSError: can't be read.
        pickle.UnpicklingError: it would run code, is compressed, or claims more than the file holds.
        Exception: torch raises many kinds for a file that isn't its own.
    """
    import torch

    refuse_irregular(path, most)
    check_torch(path)
    found = torch.load(path, map_location="cpu", weights_only=True)
    for tensor in _tensors(found):
        held = 0 if tensor.is_meta else tensor.untyped_storage().nbytes()
        if tensor.is_nested:  # it has no shape
            raise pickle.UnpicklingError("it holds a tensor of tensors")
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
            if archive.start_dir != _directory(path):  # torch would read another one
                raise pickle.UnpicklingError("it holds two lists of its parts")
            entries = archive.infolist()
            stored = all(one.compress_type == zipfile.ZIP_STORED for one in entries)
            if not stored or sum(one.file_size for one in entries) > size:
                raise pickle.UnpicklingError("it is compressed, which torch's own files are not")
            for one in entries:
                # Torch's reader takes either case, and the name as it stands in the list.
                if any(name.lower().endswith(".pkl") for name in (one.filename, one.orig_filename)):
                    check_pickle(io.BytesIO(archive.read(one)), one.file_size, largest=size)
        return
    if tarfile.is_tarfile(path):
        raise pickle.UnpicklingError("it is a tar archive, as only the oldest torch wrote them")
    with path.open("rb") as file:
        for number in range(_LEGACY_PICKLES):
            check_pickle(file, size, largest=size if number >= _LEGACY_OBJECT else None, plain=number > 0)


def _directory(path: Path) -> int:
    """Where the end of a zip archive says that its list of parts lies, which is where torch reads it.

    Raises:
        pickle.UnpicklingError: it doesn't end as torch's own files do.
    """
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(max(size - _END_BYTES - _LOCATOR_BYTES, 0))
        tail = file.read()
        locator, end = tail[:-_END_BYTES], tail[-_END_BYTES:]
        if not end.startswith(b"PK\5\6"):
            raise pickle.UnpicklingError("something stands behind its end")
        offset = int.from_bytes(end[16:20], "little")
        if locator.startswith(b"PK\6\7"):  # a 64-bit end stands before it, which torch writes and reads
            file.seek(int.from_bytes(locator[8:16], "little"))
            record = file.read(_RECORD_BYTES)
            if not record.startswith(b"PK\6\6") or len(record) < _RECORD_BYTES:
                raise pickle.UnpicklingError("its end is broken")
            wide = int.from_bytes(record[48:56], "little")
            if offset not in (wide, 0xFFFFFFFF):
                raise pickle.UnpicklingError("it has two ends that differ")
            offset = wide
    return offset


def _tensors(value: Any) -> "Iterator[torch.Tensor]":
    """All tensors in dicts, lists and tuples, each container looked into once.

    Attributes that a pickle gave to a dict or a tensor, which may take the place of its methods, are removed.
    """
    import torch

    todo, seen = [value], set()
    while todo:
        one = todo.pop()
        if isinstance(one, torch.Tensor):
            vars(one).clear()
            yield one
        elif isinstance(one, dict | list | tuple) and id(one) not in seen:
            seen.add(id(one))
            getattr(one, "__dict__", {}).clear()
            todo += dict.values(one) if isinstance(one, dict) else one


def wrong_numbers(name: str, tensor: "torch.Tensor") -> str | None:
    """What is wrong with the numbers of a head's tensor; None if nothing is."""
    if name.endswith("num_batches_tracked"):
        return None
    if not tensor.is_floating_point():
        return f"holds {str(tensor.dtype).removeprefix('torch.')}, where weights belong"
    if not tensor.float().isfinite().all():  # torch knows it of no numbers of 8 bits
        return "holds NaN or infinity"
    if name.endswith("running_var") and (tensor < 0).any():
        return "holds negative variances"
    return None


def digest_of(path: Path) -> str:
    """The hex SHA-256 of a file of somebody's weights.

    Raises:
        WeightsError: can't be read, or is far longer than what is stored of it.
    """
    with refusing(WeightsError, "can't be read whole", path, "Is the bundle whole?"):
        return sha256(path)


def refuse_links(folder: Path) -> None:
    """A bundle holds its own files: what is read from it or written into it lies in its folder.

    Raises:
        WeightsError: something in it is a link.
    """
    if link := next((path for path in (folder, *folder.rglob("*")) if path.is_symlink()), None):
        raise WeightsError("is a link; a bundle holds its own files", path=link)
