"""Blocking work beside the event loop, in threads that do not outlive it."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def apart(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of ``call``, run in a thread of its own that ends with it.

    For everything that multiplies matrices, in place of ``asyncio.to_thread``, whose threads stay. A thread
    that has multiplied keeps OpenMP's helpers as long as it lives, and once there are more of them than cores
    libgomp's helpers no longer wait awake for the next product: vLLM on two cores is a quarter slower then.
    """
    context = contextvars.copy_context()
    executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="cai-apart")
    try:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(executor, partial(context.run, call, *args, **kwargs))
    finally:
        executor.shutdown(wait=False)
