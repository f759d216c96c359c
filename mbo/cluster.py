"""Files into a store by many machines: Dask hands out the work, the store's ledger says what is done.

Every file is looked through first, so that damage and overlaps are known before anything is stored. Then its blocks are
inserted, and at last its entry is written. Where there are fewer files than workers, several work on one: each goes through
all of it and inserts every n-th block. A block, not a group of instruments, is the unit, for it is what the store inserts once
anyway: cut by the file's content alone, under a token of its own. MBP-10 records are numbered across instruments, so whoever
had only some of these could not number them; and going through a file is cheap beside inserting it.

So a task may be done twice, by half, or while its double runs, by workers that die or only seem to: what is there is left alone,
and rows count when the last task has found all of them and says so in the ledger.

Workers read the files themselves, under the same paths, and take MBO_CLICKHOUSE_PASSWORD from their own environment; no task
holds records or secrets.
"""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple
from uuid import uuid4

import mbo
from mbo import dbn
from mbo.errors import LostError, MboError, PeerError, RequestError
from mbo.progress import quiet, track
from mbo.replay import matches
from mbo.store import Store, filing, replacing
from mbo.store.backend import Address, Backend, connect
from mbo.store.filing import Plan
from mbo.store.ingest import Share, Written
from mbo.store.ledger import TARGETS
from mbo.store.report import Ingested, Report
from mbo.store.schema import make_durable

if TYPE_CHECKING:
    from distributed import Client

PathLike = str | os.PathLike[str]

LEAST_SHARE: Final = 1_000_000
"""Messages of a file for each that works on it; with fewer, going through it costs more than is gained."""
RETRIES: Final = 3
"""Of a task that lost its database. How often a task may lose its worker is Dask's own setting, `allowed-failures`."""
_CONNECT_LIMIT_S: Final = 10
_ALONE_LIMIT_S: Final = 60.0
_LOOK_S: Final = 0.1
_HINT: Final = "ingest with overlap='allow'"


class Failed(NamedTuple):
    """A file that is not stored, and why."""

    path: str
    error: BaseException

    def __str__(self) -> str:
        what = (isinstance(self.error, OSError) and self.error.strerror) or str(self.error)
        return what if self.path in what else f"{self.path}: {what}"


@dataclass(frozen=True, slots=True, repr=False)
class Backfilled(Report):
    """What became of every file: `files` are stored, `failed` are not, both in the order given. True if none failed."""

    failed: tuple[Failed, ...] = ()
    seconds: float = 0.0

    def __bool__(self) -> bool:
        return not self.failed


class _Job(NamedTuple):
    """What every task is told."""

    url: str
    version: str
    where: tuple[str, int]
    """The machine and the process that ask."""


# ---------------------------------------------------------------- on the workers


def step(work: Callable[..., Any], job: _Job, *arguments: Any) -> Any:
    """Do one step, and give its result, or the error that would be the same another time; `LostError` where it might not."""
    try:
        if job.version != mbo.__version__:
            raise RequestError(f"a worker on {platform.node()} has mbo {mbo.__version__}, not {job.version}")
        address = Address.parse(job.url)
        if address.path is not None and job.where != _here():
            raise RequestError(
                f"{job.url}: an embedded store belongs to one process, and this cluster's workers are others: "
                "name a ClickHouse server, http://user@host:8123/mbo"
            )
        with quiet(), closing(connect(address)) as backend:
            return work(backend, *arguments)
    except LostError:
        raise
    except (MboError, OSError) as error:
        return error


def look(backend: Backend, path: str) -> Plan:
    """Look a file through."""
    return filing.look(backend, dbn.open_file(path), TARGETS)


def insert(backend: Backend, path: str, plan: Plan, share: Share) -> Written:
    """Insert a share of a file's blocks."""
    return filing.insert(backend, dbn.open_file(path), plan, share)


def finish(
    backend: Backend, path: str, plan: Plan, overlap: str, shares: Sequence[Written | BaseException]
) -> Ingested:
    """Have a file count, unless something came in since it was looked through."""
    for share in shares:
        if isinstance(share, BaseException):
            raise share
    now = filing.plan_of(backend, plan.found, plan.name, plan.targets)
    if now.others and overlap == "error":
        raise now.beside(f"{now.others[0].name}, which is stored", _HINT)
    return filing.finish(backend, dbn.open_file(path), now, [one for one in shares if isinstance(one, Written)])


def prepare(backend: Backend, url: str, durable: bool) -> None:
    """Make the tables, or bring them up to date."""
    Store(url).close()
    if durable:
        make_durable(backend)


def _here() -> tuple[str, int]:
    return platform.node(), os.getpid()


# ---------------------------------------------------------------- where it is asked for


def backfill(
    files: PathLike | Iterable[PathLike],
    *,
    store: str,
    client: Client,
    overlap: Literal["error", "allow"] = "error",
    durability: Literal["fsync"] | None = None,
) -> Backfilled:
    """Store DBN files (paths, patterns) as `Store.ingest` does, by the workers of a Dask client; again does nothing.

    A file that cannot be stored is one of the `failed`, and the others are stored. `overlap` holds between the files too: of
    two, the first given comes in. `seconds` of a file are from the beginning until it counts. `RequestError` where the store is
    an embedded one and the worker another process, `PeerError` where scheduler, workers or database are not there.
    """
    if overlap not in ("error", "allow"):
        raise RequestError(f"overlap={overlap!r}: in a cluster it is 'error' or 'allow'")
    if durability not in (None, "fsync"):
        raise RequestError(f"durability={durability!r}: it is 'fsync' or None")
    if client.asynchronous:
        raise RequestError("a backfill needs a Dask client that is not asynchronous")
    started, url, paths = time.monotonic(), Address.parse(store).url, _paths(files)
    if not (workers := _threads(client)):
        raise LostError("the Dask cluster has no workers")
    tasks = _Tasks(client, _Job(url, mbo.__version__, _here()))
    try:
        tasks.add("", prepare, url, durability is not None, retries=0)
        for _, result in tasks.results("preparing the tables"):
            if isinstance(result, BaseException):
                raise result
        for path in paths:
            tasks.add(path, look, path)
        looked = dict(tasks.results("looking through"))
        chosen = _chosen({path: looked[path] for path in paths}, overlap)
        done: dict[str, Any] = {path: one for path, one in chosen.items() if isinstance(one, BaseException)}
        _share_out(tasks, {path: one for path, one in chosen.items() if isinstance(one, Plan)}, overlap, workers)
        for path, result in tasks.results("storing"):
            if isinstance(result, Ingested):
                done[path] = replace(result, seconds=time.monotonic() - started)
            elif isinstance(result, BaseException):
                done[path] = result
    finally:
        tasks.let_go()
    for path, one in chosen.items():
        if isinstance(one, str):  # the same content, under another name
            first = done[one]
            done[path] = replace(first, new=False, inserted_blocks=0) if isinstance(first, Ingested) else first
    return Backfilled(
        tuple(done[path] for path in paths if isinstance(done[path], Ingested)),
        tuple(Failed(path, done[path]) for path in paths if isinstance(done[path], BaseException)),
        time.monotonic() - started,
    )


@contextmanager
def connected(scheduler: str) -> Iterator[Client]:
    """Connect to a Dask scheduler at tcp://host:8786; `LostError` where none answers."""
    try:
        distributed = import_module("distributed")
    except ModuleNotFoundError as missing:
        raise RequestError("a cluster needs Dask: pip install 'mbo-books[scale]'") from missing
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # what it would log is raised here
    try:
        client = distributed.Client(scheduler, timeout=_CONNECT_LIMIT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise LostError(f"no Dask scheduler answers at {scheduler}") from error
    with client:
        yield client


class _Tasks:
    """Tasks under way, each about a file: the client's side of Dask."""

    def __init__(self, client: Any, job: _Job) -> None:
        self._client, self._job = client, job
        self._about: dict[Any, tuple[str, int]] = {}

    def add(self, path: str, work: Callable[..., Any], *arguments: Any, weight: int = 1, retries: int = RETRIES) -> Any:
        """Have work done about a file; `weight` is its part of the progress."""
        key = f"{work.__name__}-{uuid4().hex}"
        future = self._client.submit(step, work, self._job, *arguments, key=key, pure=False, retries=retries)
        self._about[future] = (path, weight)
        return future

    def results(self, label: str) -> Iterator[tuple[str, Any]]:
        """Give what the tasks did, as it comes: (path, result or error)."""
        total = sum(weight for _, weight in self._about.values())
        for future, path, _ in track(self._finished(), total, lambda one: one[2], label):
            yield path, _result(future)
        self.let_go()

    def let_go(self) -> None:
        """Forget the tasks; those that were not begun never are."""
        for future in self._about:
            future.release()
        self._about.clear()

    def _finished(self) -> Iterator[tuple[Any, str, int]]:
        """Wait as long as there are workers, for most of a task's time nothing is heard of it."""
        coming = import_module("distributed").as_completed(list(self._about), loop=self._client.loop)
        reached, heard = 0, time.monotonic()
        while not coming.is_empty():
            for future in coming.next_batch(block=False):
                path, weight = self._about[future]
                reached += weight
                yield future, path, reached
            if _threads(self._client):
                heard = time.monotonic()
            elif time.monotonic() - heard > _ALONE_LIMIT_S:
                raise LostError(f"the Dask cluster has had no workers for {_ALONE_LIMIT_S:g} s")
            time.sleep(_LOOK_S)


def _result(future: Any) -> Any:
    if future.status in ("cancelled", "lost"):
        raise LostError("the Dask scheduler is gone, or has forgotten its tasks")
    if future.status != "error":
        return future.result(_CONNECT_LIMIT_S)
    error = future.exception(_CONNECT_LIMIT_S)
    if isinstance(error, MboError | OSError):
        return error
    if isinstance(error, import_module("distributed").KilledWorker):
        return PeerError("one worker after the other died at it")
    return PeerError(f"a worker failed: {type(error).__name__}: {error}")


def _threads(client: Any) -> int:
    """Count the tasks that the cluster can do at a time; 0 where it does not answer either."""
    try:
        return sum(client.nthreads(callback_timeout=_CONNECT_LIMIT_S).values())
    except OSError:
        return 0


def _paths(files: PathLike | Iterable[PathLike]) -> list[str]:
    names = [files] if isinstance(files, str | os.PathLike) else list(files)
    paths = [os.path.abspath(path) for name in names for path in matches(os.fspath(name))]  # noqa: PTH100 - keeps links
    if not paths:
        raise RequestError("no files to store")
    return list(dict.fromkeys(paths))


def _chosen(looked: dict[str, Any], overlap: str) -> dict[str, Plan | str | BaseException]:
    """Say for every file what there is to do, or of which earlier one it is a copy, or why it may not come in."""
    chosen: dict[str, Plan | str | BaseException] = {}
    plans: dict[bytes, tuple[str, Plan]] = {}
    for path, plan in looked.items():
        if isinstance(plan, BaseException):
            chosen[path] = plan
        elif plan.found.sha256 in plans:
            chosen[path] = plans[plan.found.sha256][0]
        elif plan.others and overlap == "error":
            chosen[path] = plan.beside(f"{plan.others[0].name}, which is stored", _HINT)
        elif overlap == "error" and plan.missing and (other := _first_beside(plan, plans)):
            chosen[path] = plan.beside(f"{other}, which comes before it", _HINT)
        else:
            chosen[path] = plan
            plans[plan.found.sha256] = (path, plan)
    return chosen


def _first_beside(plan: Plan, plans: dict[bytes, tuple[str, Plan]]) -> str | None:
    others = replacing.overlapping(plan.entry, [other.entry for _, other in plans.values() if other.missing])
    return others[0].name if others else None


def _share_out(tasks: _Tasks, plans: dict[str, Plan], overlap: str, workers: int) -> None:
    """Have every file stored, the largest first, by as many tasks as it has a part of all messages, times the workers."""
    total = sum(plan.found.rows for plan in plans.values() if plan.missing)
    for path, plan in sorted(plans.items(), key=lambda one: -one[1].found.rows):
        rows = plan.found.rows
        count = min(-(-workers * rows // max(total, 1)), rows // LEAST_SHARE) if plan.missing else 0
        shares = [Share(number, count) for number in range(count)] if count > 1 else []
        inserted = [tasks.add(path, insert, path, plan, share, weight=rows // count) for share in shares]
        tasks.add(path, finish, path, plan, overlap, inserted, weight=0 if shares else rows)
