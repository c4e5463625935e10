"""The one source of randomness: a seed and a count of the generators that were derived from it.

The n-th generator after `set_seed` depends on the seed and on n alone, so that the order of creation determines everything, and
two numbers are all that a checkpoint has to keep.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

_lock = threading.Lock()
_entropy: int | None = None  # None until it is asked for or set; then the operating system's
_derived = 0  # generators derived so far


def _checked_seed(name: str, seed: object) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(f"{name} is {seed!r}, expected a whole number")
    if seed < 0:
        raise ValueError(f"{name} is {seed}, expected at least 0")
    return int(seed)


def _current_entropy() -> int:
    """The seed in use; the lock must be held."""
    global _entropy
    if _entropy is None:
        drawn = np.random.SeedSequence().entropy
        assert isinstance(drawn, int)
        _entropy = drawn
    return _entropy


def set_seed(seed: int) -> None:
    """Start again from `seed`. TypeError or ValueError if that is not a whole number from 0 on."""
    global _entropy, _derived
    checked = _checked_seed("set_seed: seed", seed)
    with _lock:
        _entropy, _derived = checked, 0


def generator(seed: int | np.random.Generator | None = None) -> np.random.Generator:
    """A generator: a new one from an int, the next one of the global state from None; one that is given passes through."""
    global _derived
    if isinstance(seed, np.random.Generator):
        return seed
    if seed is not None:
        return np.random.Generator(np.random.PCG64(_checked_seed("generator: seed", seed)))
    with _lock:
        sequence = np.random.SeedSequence(_current_entropy(), spawn_key=(_derived,))
        _derived += 1
    return np.random.Generator(np.random.PCG64(sequence))


def get_state() -> dict[str, int]:
    """The global state as two numbers, to be kept in a checkpoint as JSON."""
    with _lock:
        return {"entropy": _current_entropy(), "derived": _derived}


def set_state(state: Mapping[str, Any]) -> None:
    """Go on from where `get_state` was called. ValueError if `state` is not what it returned."""
    global _entropy, _derived
    if set(state) != {"entropy", "derived"}:
        raise ValueError(f"set_state: state has the keys {sorted(state)}, expected ['derived', 'entropy']")
    entropy, derived = (_checked_seed(f"set_state: {key}", state[key]) for key in ("entropy", "derived"))
    with _lock:
        _entropy, _derived = entropy, derived
