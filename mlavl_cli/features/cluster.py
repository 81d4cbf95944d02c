"""Extraction on a Ray cluster: files go to actors that each hold the backbones, on one GPU or on some CPUs."""

import logging
import os
import signal
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from mlavl_cli.bundle import Bundle, bundled_names, find_bundle
from mlavl_cli.device import Placement, place
from mlavl_cli.errors import DeviceError, MediaError, MlavlError
from mlavl_cli.features.extract import Backbones, Progress
from mlavl_cli.features.extractor import (
    BY_DEFAULT,
    ExtractionOptions,
    Extractor,
    LookedUp,
    Outcome,
    load_extractor,
    stored_first,
)
from mlavl_cli.files import refuse_irregular
from mlavl_cli.inputs import Input
from mlavl_cli.surroundings import answering_as_before, away_from_the_current_folder

LOCAL = "local"
_MOST_ADDRESS = 4096  # bytes
_AT_ONCE = 4  # files an actor is given together: while one is in the backbones the next is decoded
_ATTEMPTS = 3  # deaths that a file is given before it is held to be their cause
_AHEAD = 16  # files an actor may be ahead of the first that isn't done: results wait in memory for their turn


@dataclass(frozen=True)
class Cluster:
    """Which cluster, and what an actor takes of it.

    Attributes:
        address: "local" for the CPUs and GPUs of this machine, "auto" for the cluster it belongs to, or HOST:PORT.
        cpus: of each actor, where there is no GPU.
    """

    address: str = LOCAL
    cpus: int = 4


class ClusterExtractor:
    """`Extractor.run` on many machines. All of them see the same files, and have mlavl installed.

    Args:
        make: makes the extractor of an actor, for a device; called on its machine.
        local: looks up the store, and says where heads run; its backbones are never loaded.
        cluster: where.
        device: of the actors: "auto" takes GPUs where the cluster has any.
    """

    def __init__(self, make: Callable[[str], Extractor], local: Extractor, cluster: Cluster, device: str = "auto"):
        self._make, self._local, self._cluster, self._device = make, local, cluster, device

    @property
    def placement(self) -> Placement:
        return self._local.placement

    def run(
        self,
        sources: Iterable[Input],
        on_clips: Progress | None = None,
        check: Callable[[Backbones], None] | None = None,
    ) -> Iterator[Outcome]:
        """As `Extractor.run`: all files in order; what is stored already never leaves this machine.

        An actor that dies (a machine that goes away, memory that runs out) is replaced and its files are tried again,
        each by itself. `on_clips` and `check` aren't called: the backbones are elsewhere.

        Raises:
            DeviceError: no Ray, no such cluster, or nothing in it to run on.
            WeightsError: the backbones can't be had on an actor's machine.
        """
        return stored_first(sources, self._local.stored, self._extract)

    def _extract(self, looked_up: Iterator[LookedUp]) -> Iterator[Outcome]:
        with _connected(self._cluster.address) as ray:
            crew = _Crew(ray, self._make, *_share(ray, self._device, self._cluster.cpus))
            yield from crew.work(looked_up)


def load_cluster_extractor(
    cluster: Cluster,
    weights: str | Path | Bundle,
    device: str = "auto",
    precision: str = "auto",
    options: ExtractionOptions = BY_DEFAULT,
) -> ClusterExtractor:
    """As `load_extractor`, for a cluster; folders must be there under the same paths on all its machines.

    Raises:
        WeightsError: no such bundle or backbone.
    """
    options = replace(
        options,
        visual=_from_anywhere(options.visual),
        audio=_from_anywhere(options.audio),
        store=Path(options.store).absolute() if options.store else None,
    )
    bundle = find_bundle(weights)
    make = partial(load_extractor, _on_any_machine(bundle), precision=precision, options=options)
    # The precision may be one that this machine hasn't: here only heads run.
    local = load_extractor(bundle, precision=precision, options=options, placement=place())
    return ClusterExtractor(make, local, cluster, device)


def _on_any_machine(bundle: Bundle) -> str | Path:
    """What came with the package by its name, which means the same wherever it is installed; others by their folder."""
    name = bundle.folder.name
    return name if name in bundled_names() and find_bundle(name) == bundle else bundle.folder.absolute()


def _from_anywhere(source: str | None) -> str | None:
    """A folder by its absolute path; a hub id as it is."""
    return str(Path(source).absolute()) if source and Path(source).exists() else source


class _Worker:
    """What runs on the other machine."""

    def __init__(self, make: Callable[[str], Extractor], device: str):
        self._make, self._device = make, device
        self._extractor: Extractor | None = None

    def extract(self, sources: list[Input]) -> list[Outcome] | MlavlError:
        """One outcome a file; or why there can't be any."""
        try:
            self._extractor = self._extractor or self._make(self._device)
            return list(self._extractor.run(sources))
        except MlavlError as error:
            return error


@dataclass
class _Job:
    """Files given to an actor together, by their places in the order, and how many actors have died of them."""

    files: list[tuple[int, Input]]
    deaths: int = 0


class _Crew:
    """The actors, and who of them works on what."""

    def __init__(self, ray: Any, make: Callable[[str], Extractor], device: str, options: dict[str, float], count: int):
        self._ray, self._make, self._device, self._count = ray, make, device, count
        self._actor = ray.remote(**options)(_Worker)
        self._idle = [self._hire() for _ in range(count)]
        self._busy: dict[Any, tuple[Any, _Job]] = {}
        self._again: deque[_Job] = deque()
        self._done: dict[int, Outcome] = {}

    def _hire(self) -> Any:
        return self._actor.remote(self._make, self._device)

    def work(self, looked_up: Iterator[LookedUp]) -> Iterator[Outcome]:
        """Outcomes in order."""
        numbered = enumerate(looked_up)
        told, taken, exhausted = 0, 0, False
        while True:
            while self._idle and (self._again or (not exhausted and taken - told < _AHEAD * self._count)):
                if self._again:
                    self._give(self._again.popleft())
                    continue
                rows = list(islice(numbered, _AT_ONCE))
                taken, exhausted = taken + len(rows), len(rows) < _AT_ONCE
                self._done |= {i: Outcome(source, kept, fresh=False) for i, (source, kept) in rows if kept is not None}
                if missing := [(i, source) for i, (source, kept) in rows if kept is None]:
                    self._give(_Job(missing))
            while told in self._done:
                yield self._done.pop(told)
                told += 1
            if not self._busy and not self._again and exhausted:
                return
            if self._busy:
                self._collect()

    def _give(self, job: _Job) -> None:
        actor = self._idle.pop()
        # By absolute path: an actor's working folder is another one.
        sources = [replace(source, path=source.path.absolute()) for _, source in job.files]
        self._busy[actor.extract.remote(sources)] = (actor, job)

    def _collect(self) -> None:
        """Waits for the next actor to be done, or to be dead."""
        (ready,), _ = self._ray.wait(list(self._busy), num_returns=1)
        actor, job = self._busy.pop(ready)
        try:
            outcomes = self._ray.get(ready)
        except self._ray.exceptions.RayActorError:
            self._idle.append(self._hire())
            self._bury(job)
            return
        self._idle.append(actor)
        if isinstance(outcomes, MlavlError):
            raise outcomes
        for (i, source), outcome in zip(job.files, outcomes, strict=True):
            path = str(source.path)  # as it was given
            features = outcome.features and replace(outcome.features, video=replace(outcome.features.video, path=path))
            if isinstance(outcome.error, MlavlError) and outcome.error.path == str(source.path.absolute()):
                outcome.error.path = path
            # Fresh for us, even where the worker found in the store what a dead one had finished.
            self._done[i] = replace(outcome, source=source, features=features, fresh=True)

    def _bury(self, job: _Job) -> None:
        deaths = job.deaths + 1
        if deaths < _ATTEMPTS:
            self._again.extend(_Job([file], deaths) for file in job.files)
            return
        for i, source in job.files:
            cause = f"{deaths} workers of the cluster died over it"
            hint = "Try it without --ray; --verbose and Ray's own logs tell more."
            self._done[i] = Outcome(source, None, MediaError(cause, path=source.path, hint=hint))


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Ray, connected for as long as it takes.

    Raises:
        DeviceError: it isn't installed, or there is no such cluster.
    """
    try:
        import ray
    except ImportError as error:
        raise DeviceError("Ray isn't installed", hint="pip install 'mlavl[ray]'.") from error
    hint = "Start one with `ray start --head`, name its HOST:PORT, or use --ray local."
    if address != LOCAL and not _answers(_current_cluster() if address == "auto" else address):
        # Ray itself would wait for minutes, and talk.
        raise DeviceError(f"no Ray cluster at {address}", hint=hint)
    dashboard = False if address == LOCAL else None
    try:
        # Away from modules that its workers would take for the libraries'; and Ray's answer to SIGTERM loses results.
        with away_from_the_current_folder(), answering_as_before(signal.SIGTERM):
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=dashboard)
    except (ConnectionError, RuntimeError, ValueError) as error:
        hint += " Of one with tokens, set RAY_AUTH_MODE=token."
        raise DeviceError(f"no Ray cluster at {address}", hint=hint) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _current_cluster() -> str:
    """The address that Ray would take for "auto", unless another user says which it is: whom Ray connects to may run
    code here.

    Raises:
        DeviceError: none is said, or by another user.
    """
    if said := os.environ.get("RAY_ADDRESS"):
        return said
    folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    path = Path(folder, "ray", "ray_current_cluster")
    hint = "Name its HOST:PORT, or use --ray local."
    try:
        status = path.lstat()
        if hasattr(os, "geteuid") and status.st_uid not in (0, os.geteuid()):
            raise DeviceError("another user says which Ray cluster it is", path=path, hint=hint)
        refuse_irregular(path, _MOST_ADDRESS)
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeError) as error:
        raise DeviceError("no Ray cluster runs here", hint=hint) from error


def _answers(address: str) -> bool:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=10):
            return True
    except (OSError, ValueError):
        return False


def _share(ray: Any, device: str, cpus: int) -> tuple[str, dict[str, float], int]:
    """Device of the actors, what each reserves, and how many there are room for.

    Raises:
        DeviceError: GPUs are asked for, and the cluster has none.
    """
    there = ray.cluster_resources()
    gpus = int(there.get("GPU", 0))
    if device.startswith("cuda") and not gpus:
        raise DeviceError("the Ray cluster has no GPU", hint="Use --device auto or cpu.")
    if gpus and device != "cpu":
        return "cuda", {"num_gpus": 1, "num_cpus": 1}, gpus
    cpus = max(1, min(cpus, int(there.get("CPU", 1))))
    return "cpu", {"num_cpus": cpus}, max(1, int(there.get("CPU", 1)) // cpus)
