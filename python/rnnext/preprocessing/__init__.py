"""Preparing inputs, with Keras's names."""

from rnnext.preprocessing import sequence

__all__ = ["sequence"]
