"""Write files beside the computing: a node that saves lets others run meanwhile, and is done when its files are complete on disk."""

from __future__ import annotations

import asyncio
import functools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
V = TypeVar("V")

_ENCODERS = min(4, os.cpu_count() or 1)


@functools.cache
def _saver() -> ThreadPoolExecutor:
    """One thread for all nodes: the next free number of a name is looked up and used before somebody else looks."""
    return ThreadPoolExecutor(1, thread_name_prefix="save")


@functools.cache
def _encoders() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_ENCODERS, thread_name_prefix="encode")


async def aside(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `work` returns, from the thread that saves; nodes that are not waiting for this one run meanwhile. Raises what it raises."""
    return await asyncio.get_running_loop().run_in_executor(_saver(), functools.partial(work, *args, **kwargs))


def each(work: Callable[[V], T], values: Iterable[V]) -> Iterator[T]:
    """`work` of every value, in their order and several at a time; no more values are asked for than are worked on.

    Raises what the first one that fails raises, after those begun have ended.
    """
    begun: deque[Future[T]] = deque()
    try:
        for value in values:
            begun.append(_encoders().submit(work, value))
            if len(begun) >= _ENCODERS:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        for future in begun:
            future.exception()
