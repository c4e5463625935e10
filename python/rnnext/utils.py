"""Small helpers with Keras's names."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rnnext import _random
from rnnext.preprocessing.sequence import pad_sequences

__all__ = ["PyDataset", "Sequence", "clear_session", "pad_sequences", "set_random_seed", "to_categorical"]


class PyDataset:
    """Batches by their number, for `fit` and `evaluate`: a subclass defines `__len__` and `__getitem__`.

    `self[n]` is batch n, (x, y[, sample_weight]); `on_epoch_begin` and `on_epoch_end` may change what comes next. The
    arguments, which tell Keras how to prepare batches in parallel, are kept but have no effect: batches are made one by one.
    """

    def __init__(self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10) -> None:
        self.workers = workers
        self.use_multiprocessing = use_multiprocessing
        self.max_queue_size = max_queue_size

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__}: __len__, the number of batches, is not defined")

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__}: __getitem__, a batch by its number, is not defined")

    @property
    def num_batches(self) -> int:
        """The number of batches."""
        return len(self)

    def on_epoch_begin(self) -> None:
        """Called before the first batch of an epoch."""

    def on_epoch_end(self) -> None:
        """Called after the last batch of an epoch."""


Sequence = PyDataset  # Keras's older name


def clear_session(free_memory: bool = True) -> None:
    """Does nothing: names are counted within a model, so there is nothing to begin anew, and what nobody holds is freed."""


def set_random_seed(seed: int) -> None:
    """Make what follows repeat bit for bit: weights, shuffling, dropout.

    As in Keras the global generators of `random` and `numpy.random` are seeded, too; rnnext itself does not use them.
    TypeError or ValueError unless `seed` is a whole number from 0 to 2³² - 1, the range of NumPy's global generator.
    """
    if isinstance(seed, int | np.integer) and seed >= 2**32:
        raise ValueError(f"set_random_seed: seed is {seed}, expected 0 to {2**32 - 1}")
    import random  # which makes `import rnnext` longer, and is for this alone

    _random.set_seed(seed)
    random.seed(int(seed))
    np.random.seed(int(seed))  # noqa: NPY002 - Keras does, and programs ported from it count on it


def to_categorical(x: npt.ArrayLike, num_classes: int | None = None) -> npt.NDArray[np.float64]:
    """One-hot rows `[..., C]` of class numbers `[...]` or `[..., 1]`, C being `num_classes` or else the largest number plus 1.

    ValueError for numbers outside of 0 to C - 1 or not whole.
    """
    given = np.asarray(x)
    if given.dtype.kind not in "buif":
        raise TypeError(f"to_categorical: x has dtype {given.dtype}, expected whole numbers")
    shape = given.shape[:-1] if given.ndim > 1 and given.shape[-1] == 1 else given.shape
    flat = given.reshape(-1)
    if flat.dtype.kind == "f" and not np.all(flat == np.floor(flat)):
        raise ValueError(f"to_categorical: x has {flat[flat != np.floor(flat)][0]}, expected whole numbers")
    if num_classes is None and not flat.size:
        raise ValueError("to_categorical: x is empty, expected at least one number where num_classes is None")
    C = int(flat.max()) + 1 if num_classes is None else num_classes
    if flat.size and not (flat.min() >= 0 and flat.max() < C):
        raise ValueError(f"to_categorical: x has numbers from {flat.min()} to {flat.max()}, expected 0 to {C - 1}")
    categorical = np.zeros((flat.size, C))
    categorical[np.arange(flat.size), flat.astype(np.intp)] = 1
    return categorical.reshape(*shape, C)
