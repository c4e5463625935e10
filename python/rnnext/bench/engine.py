"""How much of a call's time is the engine's. Knows which functions a training step calls; knows no model."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from rnnext import _core

_ENGINE = (  # what a step of fit calls
    (_core, "recurrent_forward"),
    (_core, "recurrent_backward"),
    (_core, "optimizer_step"),
    (_core, "sigmoid"),
    (_core, "matmul"),
    (_core, "matmul_transposed"),
    (_core.OptimizedParameter, "settle_rows"),
)


@contextlib.contextmanager
def engine_time() -> Iterator[list[float]]:
    """A list of the seconds of each call of the engine in this block."""
    seconds: list[float] = []

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            begin = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                seconds.append(time.perf_counter() - begin)

        return call

    before = [getattr(owner, name) for owner, name in _ENGINE]
    for (owner, name), function in zip(_ENGINE, before, strict=True):
        setattr(owner, name, timed(function))
    try:
        yield seconds
    finally:
        for (owner, name), function in zip(_ENGINE, before, strict=True):
            setattr(owner, name, function)
