"""Vectors for ids, made of the vectors of what their words are written with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnext import _core
from rnnext.layers._embedding import Embedding
from rnnext.layers._layer import Gather, Shape, check_units
from rnnext.parameters import Array, Gradients, Parameter, RowGradient

_Ids = npt.NDArray[np.int32]

_LARGEST = 1 << 24  # whole numbers up to it are exact in float32, as which parts are kept among the weights


class SubwordEmbedding(Embedding):
    """y[b, t] = the mean of embeddings[r] over the parts (x[b, t], r) of x[b, t]; 0 where an id has none.

    Ids [B, T] -> vectors [B, T, output_dim]: words that are written alike have like vectors, seen or not. `parts` [N, 2] are
    (id, row of the table), as `frequent_ngrams` finds them for the runs of letters in words, or N, until weights are set.
    `dropout` drops whole words in training, for all their places in a batch.
    Weights: embeddings [rows, output_dim], and parts [N, 2], not trained.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        *,
        rows: int,
        parts: int | npt.ArrayLike,
        **options: Any,
    ) -> None:
        """`rows` is how many the table has; `options` are those of Embedding."""
        weights = options.pop("weights", None)
        super().__init__(input_dim, output_dim, embeddings_initializer, **options)
        self.rows = check_units(self, "rows", rows)
        for name, size in (("input_dim", self.input_dim), ("rows", self.rows)):
            if size > _LARGEST:
                raise ValueError(f"{self.name}: {name} is {size}, expected at most {_LARGEST}")
        self._given = None if isinstance(parts, int | np.integer) else self._checked(np.asarray(parts))
        self.parts = len(self._given) if self._given is not None else check_units(self, "parts", parts)
        self._known: tuple[int, _Ids, npt.NDArray[np.int64]] | None = None  # parts' version, rows by id, where each id's begin
        if weights is not None:
            self.build((None, None))
            self.set_weights(weights)

    def _checked(self, parts: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if parts.ndim != 2 or parts.shape[1] != 2 or not len(parts) or parts.dtype.kind not in "iu":
            raise ValueError(f"{self.name}: parts has shape {parts.shape} and dtype {parts.dtype}, expected numbers [N, 2]")
        for what, column, size in (("ids", parts[:, 0], self.input_dim), ("rows", parts[:, 1], self.rows)):
            if column.min() < 0 or column.max() >= size:
                raise ValueError(f"{self.name}: parts has {what} {column.min()} to {column.max()}, expected 0 to {size - 1}")
        return parts

    def make_weights(self, input_shape: Shape) -> list[Parameter]:
        parts = np.zeros((self.parts, 2), np.float32) if self._given is None else self._given.astype(np.float32)
        return [
            Parameter(
                f"{self.name}/embeddings",
                self.embeddings_initializer((self.rows, self.output_dim)),
                regularizer=self.embeddings_regularizer,
                constraint=self.embeddings_constraint,
            ),
            Parameter(f"{self.name}/parts", parts, trainable=False),
        ]

    def gather(self, x: Any, *, training: bool = False, checked: bool = False) -> Gather:
        """The same as `forward`: the vectors of the batch's different ids, not yet copied together."""
        ids = np.ascontiguousarray(x, np.int32) if checked else self.check_ids(x)
        self.build(ids.shape)
        embeddings = self.weights[0]
        words, places = np.unique(ids, return_inverse=True)
        rows, owners, counts = self._parts_of(words)
        scale: Array = np.float32(1) / np.maximum(counts, 1, dtype=np.float32)[:, None]
        if training and self.generator is not None:
            scale = scale * self.drawn_for(self.generator, words)
        vectors = np.zeros((len(words), self.output_dim), np.float32)
        named, sums = _core.sum_rows(owners[None], embeddings.current_rows(rows)[rows][None], len(words))
        vectors[named] = sums * scale[named]

        def backprop(dy: Any, *, need_dx: bool = True) -> Gradients:
            d = np.zeros((len(words), self.output_dim), np.float32)
            d[dy.rows] = dy.values * scale[dy.rows]
            kept = np.flatnonzero(scale[owners, 0])  # rows that had no part in y are not named
            gradient = RowGradient(*_core.sum_rows(rows[kept][None], d[owners[kept]][None], self.rows), embeddings.shape)
            return Gradients(None, self.of_trainable([gradient, gradient]))  # parts: not trained

        table = Parameter(f"{self.name}/of_batch", vectors)
        return Gather(places.reshape(ids.shape).astype(np.int32), table, backprop, lasting=False)

    def _parts_of(self, words: _Ids) -> tuple[_Ids, _Ids, npt.NDArray[np.int64]]:
        """(rows [M] of the table, the number in `words` that has each, [M], how many each word has)."""
        parts = self.weights[1]
        if self._known is None or self._known[0] != parts.version:
            ids, rows = parts.value.astype(np.int32).T
            order = np.argsort(ids, kind="stable")
            self._known = parts.version, rows[order], np.searchsorted(ids[order], np.arange(self.input_dim + 1))
        _, rows, begins = self._known
        counts = begins[words + 1] - begins[words]
        owners = np.repeat(np.arange(len(words), dtype=np.int32), counts)
        within = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
        return rows[begins[words][owners] + within], owners, counts

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rows": self.rows, "parts": self.parts}


def frequent_ngrams(
    words: Sequence[str],
    seen: int,
    count: int,
    *,
    sizes: Sequence[int] = (3, 4, 5),
    min_count: int = 2,
    reserved: int = 2,
) -> _Ids:
    """parts [N, 2] of a SubwordEmbedding: a word's number in `words`, and the number of a run of letters that it has.

    The runs are the `count` most frequent ones among the first `seen` words, of those that at least `min_count` of them have;
    "<" and ">" stand for where a word begins and ends. The first `reserved` (padding, unknown words) have none.
    """
    runs = [_ngrams(word, sizes) for word in words[reserved:]]
    counts = Counter(run for each in runs[: max(0, seen - reserved)] for run in each)
    kept = sorted((run for run, number in counts.items() if number >= min_count), key=lambda run: (-counts[run], run))[:count]
    rows = {run: row for row, run in enumerate(kept)}
    found = [(n, rows[run]) for n, each in enumerate(runs, reserved) for run in each if run in rows]
    return np.array(found, np.int32).reshape(-1, 2)


def _ngrams(word: str, sizes: Sequence[int]) -> list[str]:
    """Each of them once, in a fixed order."""
    marked = f"<{word}>"
    return list(dict.fromkeys(marked[at : at + size] for size in sizes for at in range(len(marked) - size + 1)))
