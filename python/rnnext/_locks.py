"""Locks that a child of fork finds free."""

from __future__ import annotations

import os
import threading


def lock_free_in_children() -> threading.Lock:
    """A lock for the life of the process. In a child of fork the thread that holds it is not there to release it."""
    lock = threading.Lock()

    def release() -> None:
        if lock.locked():
            lock.release()

    os.register_at_fork(after_in_child=release)
    return lock
