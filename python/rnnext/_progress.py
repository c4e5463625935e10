"""How a long run shows that it is alive: a bar in a terminal, a line for each epoch elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

Verbose: TypeAlias = int | Literal["auto"]


def _numbers(values: Mapping[str, float]) -> str:
    return " - ".join(f"{name}: {value:.4f}" for name, value in values.items())


def check_verbose(verbose: Verbose) -> Verbose:
    """`verbose` itself. ValueError unless it is 'auto' or 1 (a bar in a terminal, else lines), 2 (lines) or 0 (nothing)."""
    if not isinstance(verbose, int | str) or verbose not in ("auto", 0, 1, 2):
        raise ValueError(f"verbose is {verbose!r}, expected 'auto', 0, 1 or 2")
    return verbose


def in_terminal() -> bool:
    """Whether standard output is a terminal."""
    try:
        return sys.stdout.isatty()
    except (AttributeError, ValueError):  # None, a program's own object that only writes, or a closed file
        return False


class Progress:
    """Shows the steps of an epoch, an evaluation or a prediction: `step` after each, `finish` at the end. A context manager."""

    _interval = 0.1  # seconds between two updates of the bar

    def __init__(self, title: str, steps: int | None, verbose: Verbose) -> None:
        check_verbose(verbose)
        self.title = title
        self.steps = steps
        self.lines = verbose != 0
        self.bar: Any = None
        if verbose in ("auto", 1) and in_terminal():
            from tqdm import tqdm

            self.bar = tqdm(
                total=steps,
                desc=title,
                file=sys.stdout,
                leave=False,
                unit="step",
                dynamic_ncols=True,
                mininterval=self._interval,
            )
        self.count = 0
        self.begin = self.shown = time.perf_counter()

    def done(self, steps: int) -> None:
        """Count steps that were done before, in the run that is resumed."""
        if self.bar is not None:
            self.bar.update(steps)

    def step(self, numbers: Mapping[str, float] | None = None) -> None:
        """Count one step; `numbers` are shown beside the bar now and then."""
        self.count += 1
        if self.bar is None:
            return
        now = time.perf_counter()
        if numbers and now - self.shown >= self._interval:
            self.shown = now
            self.bar.set_postfix_str(_numbers(numbers), refresh=False)
        self.bar.update()

    @property
    def showing(self) -> bool:
        """Whether `step` has a use for numbers now."""
        return self.bar is not None and time.perf_counter() - self.shown >= self._interval

    def finish(self, numbers: Mapping[str, float]) -> None:
        """Remove the bar and print the result."""
        seconds = time.perf_counter() - self.begin
        self.close()
        if self.lines:
            each = seconds / max(self.count, 1) * 1e3
            print(f"{self.title} - {seconds:.1f}s - {each:.1f}ms/step - {_numbers(numbers)}", flush=True)

    def close(self) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
