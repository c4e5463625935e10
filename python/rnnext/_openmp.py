"""Loads the extension, and with it OpenMP, which reads how its threads shall wait when it is loaded and never again."""

from __future__ import annotations

import os

# A thread that waits for another looks again and again for about 0.15 ms, which bridges what Python does between two calls of
# the engine, and then sleeps. libgomp's own choice is some 15 ms: where other programs compute too, it takes the core from the
# very thread that it waits for (a training step among five busy processes on two cores takes three times as long), and whoever
# computes next in this process (PyTorch) finds the core taken.
_SPINS = ("GOMP_SPINCOUNT", "3000")
_SAID_BY = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")  # by the user


def _load() -> None:
    if any(name in os.environ for name in _SAID_BY):
        from rnnext import _core
    else:
        name, spins = _SPINS
        os.environ[name] = spins
        try:
            from rnnext import _core
        finally:
            del os.environ[name]  # children and other OpenMP libraries decide for themselves
    del _core


_load()
