"""The one source of randomness: a seed and a count of the generators that were derived from it.

The n-th generator after `set_seed` depends only on the seed and on n. So the order of creation determines everything, and a
checkpoint has to keep two numbers only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnext._checks import whole_number
from rnnext._locks import lock_free_in_children

_lock = lock_free_in_children()


@dataclass
class _Source:
    entropy: int | None = None  # the seed; None until it is set, or drawn by the operating system when it is first needed
    derived: int = 0  # generators derived so far


_global = _Source()
_current: ContextVar[_Source] = ContextVar("rnnext_randomness", default=_global)


def _entropy_of(source: _Source) -> int:
    """The seed in use; the lock must be held."""
    if source.entropy is None:
        drawn = np.random.SeedSequence().entropy
        assert isinstance(drawn, int)
        source.entropy = drawn
    return source.entropy


def set_seed(seed: int) -> None:
    """Start again from `seed`. TypeError or ValueError unless that is a whole number from 0 on."""
    checked, source = whole_number("set_seed", "seed", seed, 0), _current.get()
    with _lock:
        source.entropy, source.derived = checked, 0


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Give this thread a source of its own in the block, so that the global one is not touched."""
    token = _current.set(_Source(whole_number("seeded", "seed", seed, 0)))
    try:
        yield
    finally:
        _current.reset(token)


def generator(seed: int | np.random.Generator | None = None) -> np.random.Generator:
    """A generator: a new one from an int, the next one of the current source from None; a Generator is returned as it is."""
    if isinstance(seed, np.random.Generator):
        return seed
    if seed is not None:
        return np.random.Generator(np.random.PCG64(whole_number("generator", "seed", seed, 0)))
    source = _current.get()
    with _lock:
        sequence = np.random.SeedSequence(_entropy_of(source), spawn_key=(source.derived,))
        source.derived += 1
    return np.random.Generator(np.random.PCG64(sequence))


def get_state() -> dict[str, int]:
    """The state as two numbers, which a checkpoint keeps as JSON."""
    source = _current.get()
    with _lock:
        return {"entropy": _entropy_of(source), "derived": source.derived}


def set_state(state: Mapping[str, Any]) -> None:
    """Continue from where `get_state` was called. ValueError if `state` is not what it returned."""
    if set(state) != {"entropy", "derived"}:
        raise ValueError(f"set_state: state has the keys {sorted(state)}, expected ['derived', 'entropy']")
    entropy, derived = (whole_number("set_state", key, state[key], 0) for key in ("entropy", "derived"))
    source = _current.get()
    with _lock:
        source.entropy, source.derived = entropy, derived
