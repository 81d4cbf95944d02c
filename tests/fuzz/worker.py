"""The process that tries a target's inputs, one after the other, and says what each came to."""

import os
import random
import resource
import shutil
import sys
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path

_CEILING_MB = 6000  # of address space on top of what is there: ends what would take the machine's memory


def work(name: str, seed: int, first: int, folder: Path, pipe: Connection) -> None:
    """The process: inputs from `first` on, one line of the pipe before and one after each."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    sys.stderr = sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115
    import av
    import torch

    from fuzz.targets import TARGETS
    from mlavl_cli.errors import MlavlError
    from mlavl_cli.features.throughput import peak_memory_mb

    av.logging.set_level(None)
    torch.set_num_threads(1)
    attempt = TARGETS[name](folder / "good")
    held = _address_space_mb()
    limit = int(held + _CEILING_MB) << 20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    before, number = peak_memory_mb(), first
    pipe.send("ready")
    while True:
        here = folder / "input"
        shutil.rmtree(here, ignore_errors=True)
        here.mkdir()
        begin, wrong = time.monotonic(), ""
        try:
            attempt(random.Random(f"{name}-{seed}-{number}"), here)
            outcome = "read"
        except MlavlError as error:
            outcome = "clear errors"
            wrong = "" if len(str(error).splitlines()) == 1 else f"no single line: {error!r}"
        except MemoryError:  # what asks for gigabytes is refused; what has taken them shows in the peak
            outcome = "refused for memory"
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            outcome, wrong = "", f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"
        pipe.send((outcome, wrong[:500], time.monotonic() - begin, peak_memory_mb() - before))
        if pipe.recv() == "stop":
            return
        number += 1


def _address_space_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() / (1 << 20)
