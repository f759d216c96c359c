"""Hub: one task per process that moves all viewers on and sends each its frames, at the pace of a screen and of the viewer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Final

from mbo.view.program import Program
from mbo.view.viewer import Viewer

log: Final = logging.getLogger("mbo.view")

FRAMES_PER_S: Final = 60
_IDLE_S: Final = 0.1
"""Between two turns when nobody looks: a live stream has to be taken in all the same."""
_HEAVY_S: Final = 0.003
"""A stream that takes longer than this to take in is drawn every second time: its books come first."""
Send = Callable[[bytes], object]


class Hub:
    """Sends frames to viewers from one task of the running event loop; `frames` counts those that were sent."""

    def __init__(self) -> None:
        self._viewers: dict[Viewer, tuple[Program, Send]] = {}
        self._programs: dict[Program, None] = {}
        self._task: asyncio.Task[None] | None = None
        self.frames = self._turns = 0
        self.busy_s = 0.0
        """All the time that turns have taken."""

    def __len__(self) -> int:
        return len(self._viewers)

    def add(self, viewer: Viewer, program: Program, send: Send) -> None:
        """Send a viewer's frames from now on; begins the task where none runs."""
        self._viewers[viewer] = program, send
        self.keep(program)

    def keep(self, program: Program) -> None:
        """Take in a program's stream, whether anybody looks or not."""
        self._programs[program] = None
        with contextlib.suppress(RuntimeError):  # no loop runs, as in a plain script: nothing can be sent there
            loop = asyncio.get_running_loop()
            if self._task is None or self._task.done() or self._task.get_loop() is not loop:
                self._task = loop.create_task(self._run(), name="mbo-hub")

    def remove(self, viewer: Viewer) -> None:
        """Send it nothing more."""
        self._viewers.pop(viewer, None)

    def turn(self) -> int:
        """Move everybody on once, and send what there is to send; gives how many frames that were."""
        begin = time.perf_counter()
        sent = 0
        self._turns += 1
        heavy = set()
        for program in list(self._programs):
            try:
                since = time.perf_counter()
                program.turn()
                if time.perf_counter() - since > _HEAVY_S and self._turns % 2:
                    heavy.add(program)
            except Exception as error:
                log.exception("%r is shown no further", program)
                del self._programs[program]
                for viewer, (shown, _) in self._viewers.items():
                    if shown is program:
                        viewer.tell("error", f"The stream is shown no further: {error}")
        for viewer, (program, send) in list(self._viewers.items()):
            if program in heavy:
                continue
            try:
                frame = viewer.turn()
                if frame is not None:
                    send(frame)
                    sent += 1
            except Exception:
                log.exception("a viewer is let go")
                self.remove(viewer)
        self.frames += sent
        self.busy_s += time.perf_counter() - begin
        return sent

    async def _run(self) -> None:
        due = time.monotonic()
        while True:
            self.turn()
            pause = 1 / FRAMES_PER_S if self._viewers else _IDLE_S
            due = max(due + pause, time.monotonic())  # a turn that came late is not made up for
            await asyncio.sleep(max(0.0, due - time.monotonic()))


HUB: Final = Hub()
"""The process's own."""
