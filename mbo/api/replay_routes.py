"""Control of the replay that the server follows, for keys with the role `control`; safe to repeat with an `Idempotency-Key`."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import APIRouter, Header, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from mbo.api.answers import JSON
from mbo.api.book_routes import moment_of
from mbo.api.description import problems
from mbo.api.problems import ProblemError
from mbo.api.replaying import Replay
from mbo.api.state import State, state_of

router = APIRouter(prefix="/v1", tags=["replay"])

_MOST_REMEMBERED: Final = 1_024


class Command(BaseModel):
    """What to do: `start` (or go on), `pause`, `seek` to a record's number or an instant, set the `speed`, `stop`.

    `speed` goes with `rate`, records a second, or `speed`, times the recorded one, or neither, which is as fast as everybody reads.
    `stop` pauses at the first record. Whoever follows gets a snapshot at the new place of a `seek` or `stop`, which therefore are
    refused (409) while a recording goes on.
    """

    model_config = ConfigDict(extra="forbid")

    action: Literal["start", "pause", "seek", "speed", "stop"]
    to: str | Annotated[int, Field(ge=0, lt=2**63)] | None = Field(
        None, description="A record's number, or an instant as text: ISO 8601 or ns since 1970."
    )
    rate: float | None = Field(None, gt=0, le=1e9)
    speed: float | None = Field(None, gt=0, le=1e9)


class ReplayDocument(BaseModel):
    """How the replay stands; `records` is null where it is looped."""

    position: int
    records: int | None
    running: bool
    rate: float | None
    speed: float | None


class Remembered:
    """What was answered to the last requests that had an Idempotency-Key; a repeated one gets the same, and does nothing."""

    def __init__(self) -> None:
        self._answers: OrderedDict[tuple[str, str], tuple[bytes, asyncio.Future[bytes]]] = OrderedDict()

    def known(self, caller: str, key: str, body: bytes) -> asyncio.Future[bytes] | None:
        """Find the answer, or the future one; a problem where the key was used for something else."""
        found = self._answers.get((caller, key))
        if found is None:
            return None
        if found[0] != _mark(body):
            raise ProblemError(422, "this Idempotency-Key was used for another request")
        self._answers.move_to_end((caller, key))
        return found[1]

    def begin(self, caller: str, key: str, body: bytes) -> asyncio.Future[bytes]:
        """Remember that a request is being answered."""
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._answers[caller, key] = (_mark(body), answer)
        if len(self._answers) > _MOST_REMEMBERED:
            self._answers.popitem(last=False)
        return answer

    def forget(self, caller: str, key: str) -> None:
        """Forget a request that failed: it may be tried again."""
        self._answers.pop((caller, key), None)


def _mark(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=16).digest()


@router.get("/replay", response_model=ReplayDocument, responses=problems(401, 403, 404, 429, 503, 504))
async def replay_status(request: Request) -> Response:
    """Say how the replay stands."""
    return Response(await _run(_replay(state_of(request)).status), media_type=JSON)


@router.post(
    "/replay", response_model=ReplayDocument, responses=problems(400, 401, 403, 404, 409, 413, 422, 429, 503, 504)
)
async def replay(
    request: Request,
    command: Command,
    idempotency_key: Annotated[
        str | None,
        Header(min_length=1, max_length=128, pattern=r"^[\x21-\x7e]+$", description="Makes repeating it safe."),
    ] = None,
) -> Response:
    """Control the replay; needs a key with the role `control`."""
    state = state_of(request)
    stage, remembered = _replay(state), request.app.state.remembered
    if idempotency_key is None:
        return Response(await _obey(state, stage, command), media_type=JSON)
    caller, body = request.scope["state"]["caller"], orjson.dumps(command.model_dump())
    known = remembered.known(caller, idempotency_key, body)
    if known is None:
        known = remembered.begin(caller, idempotency_key, body)
        task = asyncio.ensure_future(
            _obey(state, stage, command)
        )  # goes on if this client hangs up: another may ask again

        def settle(done: asyncio.Task[bytes]) -> None:
            if done.cancelled() or done.exception() is not None:
                remembered.forget(caller, idempotency_key)
                error = None if done.cancelled() else done.exception()
                known.set_exception(error or ProblemError(503, "the server is closing"))
                known.exception()
            else:
                known.set_result(done.result())

        task.add_done_callback(settle)
    return Response(await asyncio.shield(known), media_type=JSON)


def _replay(state: State) -> Replay:
    if state.replay is None:
        raise ProblemError(404, "nothing is replayed here: the server follows a gateway of others")
    return state.replay


async def _obey(state: State, stage: Replay, command: Command) -> bytes:
    action, to = command.action, command.to
    if (action == "seek") != (to is not None):
        raise ProblemError(422, "`to` says where to seek, and belongs to that")
    if action != "speed" and (command.rate is not None or command.speed is not None):
        raise ProblemError(422, "`rate` and `speed` belong to the action `speed`")
    if command.rate is not None and command.speed is not None:
        raise ProblemError(422, "a replay has a rate or a speed, not both")
    place = moment_of(to) if isinstance(to, str) else to
    if action in ("seek", "stop") and _is_recorded(state):
        raise ProblemError(
            409, f"a {action} would break the recording that goes on: pause, or wait until all is stored"
        )
    answer = await _run(lambda: stage.obey(action, to=place, rate=command.rate, speed=command.speed))
    if action in ("start", "seek", "stop"):
        state.source.renew()
    return answer


def _is_recorded(state: State) -> bool:
    if state.recorded is None:
        return False
    status = state.recorded()
    return status is None or not status.ended


async def _run(call: Callable[[], dict[str, Any]]) -> bytes:
    found = await asyncio.get_running_loop().run_in_executor(None, call)
    return orjson.dumps(found)
