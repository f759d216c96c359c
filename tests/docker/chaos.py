"""`make chaos MINUTES=3 SEED=1`: the whole stack while its parts are killed, frozen, cut off and starved, in turn and by a seed.

A gateway replays a file once. At its end the store and every client have to hold what an undisturbed reading of the file gives: a
feed of our own, the API's live books, followers of the API's stream, every row and the books of ClickHouse. What happened and how
each of them ended is printed; the exit code is 1 where anything differs. `--lose` leaves one message out of the replay, and the
exit code has to be 1: else the check is blind.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

import mbo
from mbo.api import Client
from mbo.api.following import FollowedBook
from mbo.errors import MboError
from mbo.records import Flag, RecordArray
from mbo.replay import Records
from mbo.simulator import write_session
from tests.docker.stack import SERVICES, STANDINS, Stack, build
from tests.tools.clickhouse_http import library
from tests.tools.engine import Engine, home

RATE: Final = 2_000
SESSION: Final = "chaos"
DEPTH: Final = 10
DISK: Final = "512m"
FAULTS: Final = {
    **{service: ["kill", "freeze"] for service in SERVICES},
    "gateway": ["kill", "freeze", "cut"],
    "api": ["kill", "freeze", "cut"],
    "clickhouse": ["kill", "freeze", "cut", "starve"],
}
NETWORKS: Final = {"gateway": "feed", "api": "feed", "clickhouse": "store"}
_HEALTHY_S: Final = 120.0
_END_S: Final = 300.0


class Done(NamedTuple):
    """One fault: when (seconds after the beginning), to which part, how long, and how long the part took to be well again."""

    at_s: float
    service: str
    fault: str
    held_s: float
    well_s: float


# ------------------------------------------------------------ what is replayed


def write_file(path: Path, messages: int, seed: int) -> Records:
    """Write the session that all of it is about."""
    write_session(path, messages, seed=seed, instruments=3)
    return mbo.read_dbn(path)


def leave_one_out(day: Records, source: Path, out: Path) -> None:
    """Copy the file without a message that is all there is of an order, one of the best levels at the end: everybody misses it."""
    records = everything(day)
    ids, counts = np.unique(records["order_id"], return_counts=True)
    once = set(ids[counts == 1].tolist())
    book = day.book(day.symbols[0])
    candidates = [order.order_id for level in range(DEPTH) for order in book.orders("bid", level=level)]
    missed = next(int(number) for number in candidates if int(number) in once)
    (lost,) = np.flatnonzero(records["order_id"] == missed)
    data = source.read_bytes()
    head = len(data) - records.nbytes
    cut = head + int(lost) * records.itemsize
    out.write_bytes(data[:cut] + data[cut + records.itemsize :])


def everything(records: Records) -> RecordArray:
    return np.concatenate([batch.copy() for batch in records.batches()])


# ------------------------------------------------------------ who follows


class Follower(threading.Thread):
    """A client of the API's stream, which goes on whatever happens to the API."""

    def __init__(self, stack: Stack, symbol: str, key: str) -> None:
        super().__init__(name=f"follow-{symbol}", daemon=True)
        self.symbol, self._key, self._stack = symbol, key, stack
        self.book: FollowedBook | None = None
        self.trouble = ""

    def run(self) -> None:
        with self._stack.inside(), Client("http://127.0.0.1:8000", key=self._key) as api:
            try:
                for book in api.stream([self.symbol], depth=DEPTH, hz=10, reconnect_s=_END_S):
                    self.book = book
            except MboError as error:
                self.trouble = str(error)


# ------------------------------------------------------------ faults


def plan(seed: int) -> Iterator[tuple[str, str]]:
    """Every fault of every part, in an order that the seed gives, again and again."""
    luck = random.Random(seed)
    while True:
        turn = [(service, fault) for service, faults in FAULTS.items() for fault in faults]
        luck.shuffle(turn)
        yield from turn


@contextmanager
def suffering(stack: Stack, service: str, fault: str, disk: Path) -> Iterator[None]:
    """Do something to a part, and take it back."""
    if fault == "kill":
        stack.kill(service)
        yield
    elif fault == "freeze":
        stack.pause(service)
        yield
        stack.resume(service)
    elif fault == "cut":
        stack.cut(service, NETWORKS[service])
        yield
        stack.heal(service, NETWORKS[service])
    else:
        filling = disk / "filling"
        with filling.open("wb") as file:
            subprocess.run(
                ["dd", "if=/dev/zero", f"of={file.name}", "bs=1M"], capture_output=True, check=False, timeout=60
            )
        yield
        filling.unlink()


def disturb(stack: Stack, seed: int, until: Callable[[], bool], disk: Path) -> list[Done]:
    """Do to the stack what the plan says, until it is time to end; each part is well again before the next has its turn."""
    luck, begun, done = random.Random(seed), time.monotonic(), []
    for service, fault in plan(seed):
        if until():
            break
        held, at = luck.uniform(1, 5), time.monotonic() - begun
        restarts = stack.restarts(service)
        with suffering(stack, service, fault, disk):
            time.sleep(held)
        ended = time.monotonic()
        if fault == "kill":
            stack.until(lambda s=service, r=restarts: stack.restarts(s) > r, f"{service} is started again", _HEALTHY_S)
        stack.until(lambda: all(stack.health(one) == "healthy" for one in SERVICES), f"{service} is well", _HEALTHY_S)
        found = Done(at, service, fault, held, time.monotonic() - ended)
        print(
            f"{found.at_s:7.1f} s  {service:<11} {fault:<7} {found.held_s:4.1f} s  well after {found.well_s:5.1f} s",
            flush=True,
        )
        done.append(found)
        time.sleep(luck.uniform(1, 3))
    return done


# ------------------------------------------------------------ who holds what


def rows_of(stored: RecordArray) -> RecordArray:
    """Leave out snapshots: a recording begins with one of its own, and may miss those of the file's first moments."""
    return stored[(stored["flags"] & int(Flag.SNAPSHOT)) == 0]


def same_levels(book: FollowedBook, ours: npt.NDArray[np.void], side: str) -> bool:
    theirs = book.levels(side).array  # type: ignore[arg-type]
    return all(np.array_equal(theirs[name], ours[name]) for name in ("price", "size", "count"))


def outcome(
    day: Records, stack: Stack, feed: mbo.live.feed.Feed, followers: list[Follower], store: mbo.Store
) -> dict[str, str]:
    """Say of each who holds a book whether it is the undisturbed one: "same", or what differs."""
    found: dict[str, str] = {}
    with stack.inside(), stack.client() as api:
        for symbol in day.symbols:
            whole = day.book(symbol)
            digest = whole.digest()
            found[f"feed {symbol}"] = judge(feed.book(symbol).digest(), digest)
            found[f"API {symbol}"] = judge(api.book(symbol, digest=True)["digest"], digest)
            found[f"store's book {symbol}"] = judge(store.book(symbol, file=SESSION).digest(), digest)
        for follower in followers:
            whole, book = day.book(follower.symbol), follower.book
            same = book is not None and all(
                same_levels(book, whole.levels(side, DEPTH).array, side) for side in ("bid", "ask")
            )
            found[f"stream {follower.symbol}"] = "same" if same else f"other levels {follower.trouble}".strip()
        ours, stored = rows_of(everything(day)), rows_of(everything(store.records(file=SESSION)))
        same = len(stored) > len(ours) // 2 and stored.tobytes() == ours[len(ours) - len(stored) :].tobytes()
        found["store's rows"] = "same" if same else f"{len(stored):,} rows are not the last of {len(ours):,}"
    return found


def judge(found: str, expected: str) -> str:
    return "same" if found == expected else f"{found[:12]}, not {expected[:12]}"


# ------------------------------------------------------------ the whole


def run(minutes: float, seed: int, *, lose: bool, rebuild: bool) -> int:
    """Do all of it; gives the exit code."""
    folder = home().with_name("engine-data")
    if rebuild:
        with Engine(folder, "machine") as builder:
            build(builder)
    with ExitStack() as undo:
        engine = undo.enter_context(Engine(folder))
        work = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="mbo-chaos-")))
        work.chmod(0o755)
        (work / "recordings").mkdir()
        messages = int(minutes * 60 * RATE)
        day = write_file(work / "day.dbn", messages, seed)
        if lose:
            leave_one_out(day, work / "day.dbn", work / "recordings/day.dbn")
        else:
            shutil.copy(work / "day.dbn", work / "recordings/day.dbn")
        disk = work / "disk"
        disk.mkdir()
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=755,uid=101,gid=101", "tmpfs", str(disk)], check=True
        )
        undo.callback(subprocess.run, ["umount", "--lazy", str(disk)], check=False)
        overlay = work / "compose.chaos.yaml"
        overlay.write_text(f"volumes:\n  clickhouse:\n    driver_opts: {{type: none, o: bind, device: {disk}}}\n")
        stack = Stack(engine, library(), project="chaos", overlays=[overlay], settings={
            "MBO_RECORDINGS": str(work / "recordings"), "MBO_REPLAY": "/data/day.dbn", "MBO_SESSION": SESSION,
            "MBO_REPLAY_PACE": f"--rate {RATE}",
        })  # fmt: skip
        stack.down(volumes=True)
        undo.callback(stack.down, volumes=True)
        stack.up()
        return follow(stack, day, seed, disk, undo, lose=lose)


def follow(stack: Stack, day: Records, seed: int, disk: Path, undo: ExitStack, *, lose: bool) -> int:
    """Follow the stack through its faults to the end of the file; print what happened, and give the exit code."""
    key = stack.secret("api_key")
    followers = [Follower(stack, symbol, key) for symbol in day.symbols]
    for follower in followers:
        follower.start()
    undo.enter_context(stack.inside())
    feed = undo.enter_context(
        mbo.connect("tcp://127.0.0.1:13000", key=stack.secret("gateway_key"), snapshot=True, reconnect_s=_END_S)
    )
    total = len(everything(day))
    done = disturb(stack, seed, lambda: feed.status.ended or feed.status.applied > 0.85 * total, disk)
    stack.until(lambda: feed.status.ended, "the replay ends", _END_S)
    os.environ["MBO_CLICKHOUSE_PASSWORD"] = stack.secret("clickhouse_password")
    address = stack.inspect("clickhouse")["NetworkSettings"]["Networks"][f"{stack.project}_store"]["IPAddress"]
    store = undo.enter_context(mbo.Store(f"http://mbo@{address}:8123/mbo"))
    last = everything(day)[-1]
    stack.until(lambda: store.query(
        f"SELECT count() AS found FROM mbo.messages WHERE sequence = {last['sequence']} AND order_id = {last['order_id']}"
    ).column("found")[0].as_py() > 0, "the last message is stored", 60)  # fmt: skip
    time.sleep(2)
    found = outcome(day, stack, feed, followers, store)
    print(f"\n{len(done)} faults; {STANDINS}")
    print(f"feed: {feed.status.connections} connections, {feed.status.gaps} gaps")
    for name, verdict in found.items():
        print(f"{name:<22} {verdict}")
    differing = [name for name, verdict in found.items() if verdict != "same"]
    print("all as undisturbed" if not differing else f"{len(differing)} of {len(found)} differ")
    if lose:
        print("one message was left out of the replay: " + ("found" if differing else "NOT FOUND"))
    return 1 if differing else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lose", action="store_true", help="leave one message out: the check has to turn red")
    parser.add_argument("--no-build", action="store_true", help="take the image as it is")
    given = parser.parse_args()
    return run(given.minutes, given.seed, lose=given.lose, rebuild=not given.no_build)


if __name__ == "__main__":
    sys.exit(main())
