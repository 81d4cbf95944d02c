"""`auto` -> device and dtype. The only file that asks torch what machine this is."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from mlavl_cli.errors import DeviceError, NoSuchDevice, UsageError

if TYPE_CHECKING:
    import torch

FloatPrecision = Literal["auto", "fp32", "bf16", "fp16"]
Precision = Literal[FloatPrecision, "int8"]
PRECISIONS = get_args(Precision)


@dataclass(frozen=True)
class Placement:
    """Where backbones run, in which number format, and whether torch compiles the visual one.

    Heads always run in fp32, uncompiled: they cost nothing.

    Attributes:
        quantized: whether feed-forward layers run in int8 (`features.int8`), all else in `dtype`.
    """

    device: "torch.device"
    dtype: "torch.dtype"
    compiled: bool = False
    quantized: bool = False

    @property
    def precision(self) -> str:
        import torch

        if self.quantized:
            return "int8"
        return {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}[self.dtype]


def place(device: str = "auto", precision: str = "auto", compiled: bool = False) -> Placement:
    """The named device (`auto`: CUDA, else MPS, else CPU) and precision (`auto`: the fastest that is safe there).

    Raises:
        UsageError: an unknown name.
        DeviceError: hardware that isn't there.
    """
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        where = torch.device(device)
    except RuntimeError as error:
        raise UsageError(f"no such device: {device!r}", hint="Use auto, cpu, cuda, cuda:N or mps.") from error
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (where.index or 0) >= count.get(where.type, 0):
        raise NoSuchDevice(f"device {device!r} isn't there", hint="Use --device auto, or cpu.")

    if precision not in PRECISIONS:
        raise UsageError(f"no such precision: {precision!r}", hint=f"Use one of {', '.join(PRECISIONS)}.")
    if precision == "auto":
        precision = _fastest_safe(where)
    if precision == "fp16" and where.type == "cpu":
        raise NoSuchDevice("fp16 isn't supported on the CPU", hint="Use --precision auto, bf16 or fp32.")
    quantized = precision == "int8"
    if quantized and (where.type != "cpu" or compiled):
        raise NoSuchDevice("int8 is for CPUs, without --compile", hint="Use --precision auto, or --device cpu.")
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
    return Placement(where, dtype, compiled, quantized)


def compute_deterministically() -> None:
    """From here on this process takes only algorithms that give the same numbers each time. On a GPU they are slower; a
    CPU takes no others."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when the GPU is first used
    torch.use_deterministic_algorithms(True)


@contextmanager
def refusing_chance() -> Iterator[None]:
    """Within it, an operation without a deterministic algorithm, where only those are taken, is a DeviceError."""
    try:
        yield
    except RuntimeError as error:
        name, known, _ = str(error).partition(" does not have a deterministic implementation")
        if not known:
            raise
        hint = "Leave out --deterministic, or give --device cpu."
        raise DeviceError(f"{name} has no deterministic algorithm on this device", hint=hint) from error


def integers_saturate() -> bool:
    """Whether this CPU adds two products of bytes in 16 bits, which may not hold them: x86 without VNNI."""
    import torch

    known = torch.cpu.get_capabilities()
    x86 = known.get("architecture") in ("x86_64", "AMD64", "i386")
    return x86 and not any(known.get(name) for name in ("avx512_vnni", "avx_vnni", "amx_int8"))


def _fastest_safe(device: "torch.device") -> str:
    import torch

    if device.type == "cuda":
        return "fp16"  # as fast as bf16, and its features were ten times closer to those of fp32
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"):
            return "bf16"
    return "fp32"
