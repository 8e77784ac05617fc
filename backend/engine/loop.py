"""The event loop of asynchronous nodes. It exists only once one appears and turns only while the run waits or between nodes."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Sequence
from typing import Any


async def _all(results: Sequence[Any]) -> list[Any]:
    """Await what is awaitable, together; the rest is passed through in place."""
    waiting = [(i, asyncio.ensure_future(r)) for i, r in enumerate(results) if inspect.isawaitable(r)]
    done = list(results)
    for (i, _), value in zip(waiting, await asyncio.gather(*(w for _, w in waiting))):
        done[i] = value
    return done


async def _settle(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Wait for tasks that end, and take note of their errors, which nobody else will ask for."""
    await asyncio.gather(*tasks, return_exceptions=True)


async def _one(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


class Loop:
    """A private loop driven by the thread of the run."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._begun: list[asyncio.Task[Any]] = []

    def _get(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        return self._loop

    def complete(self, awaitable: Awaitable[Any]) -> Any:
        """Wait for one thing."""
        return self._get().run_until_complete(_one(awaitable))

    def start(self, results: Sequence[Any]) -> asyncio.Task[list[Any]]:
        """Begin to await the awaitables among `results`; what finishes at once is done when this returns."""
        loop = self._get()
        task = loop.create_task(_all(results))
        self._begun.append(task)
        for _ in range(3):  # the task, the things it gathers, and their way back each need a turn
            if not task.done():
                loop.run_until_complete(asyncio.sleep(0))
        return task

    def turn(self, tasks: Sequence[asyncio.Task[Any]], seconds: float) -> None:
        """Let the tasks go on: for one turn, or until one is done or `seconds` have passed."""
        loop = self._get()
        if seconds and not any(t.done() for t in tasks):
            loop.run_until_complete(asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED))
        else:
            loop.run_until_complete(asyncio.sleep(0))

    def close(self) -> None:
        """Cancel what is left and end the loop."""
        loop = self._loop
        if loop is None:
            return
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(_settle([*self._begun, *left]))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
        self._loop = None
