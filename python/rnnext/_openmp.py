"""Loads the extension and with it OpenMP, which reads how its threads should wait once: when it is loaded."""

from __future__ import annotations

import os

# A waiting thread spins for about 0.15 ms, which bridges what Python does between two calls of the engine, and then sleeps.
# libgomp's default is some 15 ms: where other programs compute too, that takes the core from the very thread that is waited for
# (a training step among five busy processes on two cores takes three times as long), and whatever computes next in this process
# (PyTorch) finds the core busy.
_SPINS = ("GOMP_SPINCOUNT", "3000")
_CHOSEN_BY_USER = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def _load() -> None:
    if any(name in os.environ for name in _CHOSEN_BY_USER):
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
