"""Where fit's batches come from: rows that are cut into batches, batches by number, or a stream of batches.

Knows nothing of the model but a function that checks a batch and turns it into examples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from rnnext._inputs import Examples

Index: TypeAlias = npt.NDArray[np.int64]
Piece: TypeAlias = tuple[Examples, Index | slice]  # a step's batch: these rows of these examples
Check: TypeAlias = Callable[[Any], Examples]  # a batch (x, y[, sample_weight]) as examples

_END = object()


class Feed(Protocol):
    """The batches of all epochs."""

    steps: int | None  # of an epoch; None: as many as come

    def begin(self, epoch: int, skip: int) -> bool:
        """Begin an epoch without its first `skip` batches; False if there are no data left. Epochs come in ascending order."""

    def pieces(self, generator: np.random.Generator) -> Iterator[Piece]:
        """The epoch's other batches. `generator` draws the order of all, which does not depend on how many are skipped."""


class RowsFeed:
    """Batches of `size` rows, in a new order in each epoch if they are shuffled.

    With `pool` above 1 the rows of that many batches are sorted by length before they are cut, so that the rows of a batch are
    about equally long; the batches then come in random order.

    With `steps` an epoch is that many batches, and the next epoch continues after them, to the end of the rows; the last epoch
    of a pass over them may be shorter.
    """

    def __init__(
        self, examples: Examples, size: int, *, shuffle: bool, pool: int = 1, steps: int | None = None, first: int = 0
    ) -> None:
        self.examples, self.size, self.shuffle, self.pool, self.first = examples, size, shuffle, pool, first
        self.count = -(-len(examples.x) // size)
        self.steps: int | None = self.count if steps is None else min(steps, self.count)
        self._begin = self._end = 0  # of the epoch's batches among those of the pass

    def begin(self, epoch: int, skip: int) -> bool:
        assert self.steps is not None
        passed = (epoch - self.first) % -(-self.count // self.steps) * self.steps
        self._begin, self._end = passed + skip, passed + self.steps
        return True

    def pieces(self, generator: np.random.Generator) -> Iterator[Piece]:
        rows, before = len(self.examples.x), generator.bit_generator.state
        order = generator.permutation(rows) if self.shuffle else np.arange(rows)
        batches = [order[begin : begin + self.size] for begin in range(0, rows, self.size)]
        if self.pool > 1:
            batches = self._pooled(order, generator)
        if self._end < self.count:  # the next epoch draws the same order, of which it has other batches
            generator.bit_generator.state = before
        for batch in batches[self._begin : self._end]:
            yield self.examples, batch

    def _pooled(self, order: Index, generator: np.random.Generator) -> list[Index]:
        offsets, pool = self.examples.x.offsets, self.size * self.pool
        assert offsets is not None
        lengths = np.diff(offsets)
        batches: list[Index] = []
        for begin in range(0, len(order), pool):
            rows = order[begin : begin + pool]
            rows = rows[np.argsort(lengths[rows], kind="stable")]
            batches += [rows[first : first + self.size] for first in range(0, len(rows), self.size)]
        return [batches[n] for n in generator.permutation(len(batches))]


class NumberedFeed:
    """Keras's PyDataset: `data[n]` is batch n of `len(data)`; `on_epoch_begin` and `on_epoch_end` are called if they are there.

    Shuffling changes the order of the batches, not the batches. With `steps` an epoch uses only that many.
    """

    def __init__(self, data: Any, steps: int | None, check: Check, first: int, *, shuffle: bool) -> None:
        self.data, self.check, self.shuffle = data, check, shuffle
        self.count = len(data)
        self.steps: int | None = self.count if steps is None else min(steps, self.count)
        self._next, self._skip = first, 0

    def begin(self, epoch: int, skip: int) -> bool:
        # The hooks may change the data, so they are called for the epochs, too, that an interrupted run has completed.
        for _ in range(self._next, epoch):
            self._call("on_epoch_begin")
            self._call("on_epoch_end")
        self._call("on_epoch_begin")
        self._next, self._skip = epoch + 1, skip
        return self.count > 0

    def pieces(self, generator: np.random.Generator) -> Iterator[Piece]:
        order = generator.permutation(self.count) if self.shuffle else np.arange(self.count)
        for number in order[self._skip : self.steps]:
            yield self.check(self.data[int(number)]), slice(None)
        self._call("on_epoch_end")

    def _call(self, hook: str) -> None:
        getattr(self.data, hook, lambda: None)()


class StreamFeed:
    """Batches as an iterable yields them.

    With `steps` an epoch is that many of them, and the iterable is restarted as often as it takes; without, it is one pass.
    With `anew` each epoch begins with the iterable's first batch and ends with its last. A resumed run takes the batches that
    were used before once more, and skips them. `begin` is False when a generator is exhausted.
    """

    def __init__(self, data: Iterable[Any], steps: int | None, check: Check, first: int, *, anew: bool = False) -> None:
        self.data, self.check, self.anew = data, check, anew
        self.steps: int | None = steps
        self._iterator = iter(data)
        self._once = self._iterator is data  # a generator, which cannot be restarted
        self._peeked: Any = _END
        self._epoch, self._taken = first, 0  # where the next batch belongs

    def begin(self, epoch: int, skip: int) -> bool:
        while self._epoch < epoch:
            self._finish_epoch()
        while self._taken < skip and self._take() is not _END:
            pass
        return skip > 0 or self._peek() is not _END  # an epoch that has begun is completed, even if nothing is left of it

    def pieces(self, generator: np.random.Generator) -> Iterator[Piece]:
        while (batch := self._take()) is not _END:
            yield self.check(batch), slice(None)

    def peek(self) -> Any:
        """The first batch, without taking it. ValueError if there is none."""
        if self._peek() is _END:
            raise ValueError("fit: x hands out no batch, expected (x, y) or (x, y, sample_weight)")
        return self._peeked

    def _peek(self) -> Any:
        """The epoch's next batch, without taking it; _END if there is none."""
        if self.steps is not None and self._taken >= self.steps:
            return _END
        if self._peeked is _END:
            self._peeked = next(self._iterator, _END)
            goes_on = self.steps is not None and not self.anew
            if self._peeked is _END and not self._once and (goes_on or not self._taken):
                self._iterator = iter(self.data)
                self._peeked = next(self._iterator, _END)
        return self._peeked

    def _take(self) -> Any:
        batch = self._peek()
        if batch is not _END:
            self._peeked = _END
            self._taken += 1
        return batch

    def _finish_epoch(self) -> None:
        """Skip what is left of the epoch."""
        while self._take() is not _END:
            pass
        self._epoch, self._taken = self._epoch + 1, 0
        if self.anew:
            self._iterator, self._peeked = iter(self.data), _END


def feed_of(
    data: Any, steps: int | None, check: Check, first: int, *, shuffle: bool, anew: bool = False
) -> NumberedFeed | StreamFeed:
    """Batches by their number where data has both `__len__` and `__getitem__`, else one after the other.

    TypeError if it has neither them nor `__iter__`.
    """
    if hasattr(data, "__len__") and hasattr(data, "__getitem__"):
        return NumberedFeed(data, steps, check, first, shuffle=shuffle)
    if isinstance(data, Iterable):
        return StreamFeed(data, steps, check, first, anew=anew)
    raise TypeError(f"fit: x is a {type(data).__name__}, expected an array, a list of sequences, or batches (x, y)")
