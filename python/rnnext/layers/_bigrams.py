"""Vectors for ids and for pairs of neighbours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnext import _core, _random, initializers
from rnnext._checks import number, positive, whole_number
from rnnext.initializers import first_values
from rnnext.layers._dropout import drawn_scale
from rnnext.layers._embedding import Embedding
from rnnext.layers._layer import Gather, Shape
from rnnext.parameters import Array, Gradients, Parameter, RowGradient

_Ids = npt.NDArray[np.int32]

_LARGEST_ID = (1 << 24) - 1  # pairs are kept among the weights as float32, which holds ids up to here exactly


class BigramEmbedding(Embedding):
    """y[b, t] = embeddings[x[b, t]] + bigrams_scale · bigrams[n], where pairs[n] = (x[b, t-1], x[b, t]), if there is such an n.

    Ids [B, T] -> vectors [B, T, output_dim]: what two neighbours mean together ("not good") is added to what the second means
    alone. `pairs` are the pairs [N, 2] that have a vector, as `frequent_pairs` finds them, or only their number N, if weights
    will be set. `dropout` and `bigrams_dropout` drop words and pairs in training, everywhere in a batch. Since Adam's steps do
    not depend on a gradient's size, they move a pair's part of y `bigrams_scale` times as far as a word's.
    Weights: embeddings [input_dim, output_dim], bigrams [N, output_dim], zeros at first, and pairs [N, 2], not trained.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        *,
        pairs: int | npt.ArrayLike,
        bigrams_initializer: Any = "zeros",
        bigrams_dropout: float = 0.0,
        bigrams_scale: float = 1.0,
        **options: Any,
    ) -> None:
        """`options` are those of Embedding."""
        weights = options.pop("weights", None)
        super().__init__(input_dim, output_dim, embeddings_initializer, **options)
        if self.input_dim > _LARGEST_ID + 1:
            raise ValueError(f"{self.name}: input_dim is {input_dim}, expected at most {_LARGEST_ID + 1}")
        self._given = None if isinstance(pairs, int | np.integer) else self._checked(np.asarray(pairs))
        self.pairs = len(self._given) if self._given is not None else whole_number(self.name, "pairs", pairs)
        self.bigrams_initializer = initializers.get(bigrams_initializer)
        self.bigrams_dropout = number(self.name, "bigrams_dropout", bigrams_dropout, 0, 1)
        self.bigrams_scale = positive(self.name, "bigrams_scale", bigrams_scale, "a number above 0")
        if self.generator is None and self.bigrams_dropout:
            self.generator = _random.generator(self.seed)
        self._known: tuple[int, npt.NDArray[np.int64], _Ids] | None = None  # pairs' version, their keys, their rows
        if weights is not None:
            self.build((None, None))
            self.set_weights(weights)

    def _checked(self, pairs: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if pairs.ndim != 2 or pairs.shape[1] != 2 or not len(pairs) or pairs.dtype.kind not in "iu":
            raise ValueError(f"{self.name}: pairs has shape {pairs.shape} and dtype {pairs.dtype}, expected ids [N, 2]")
        if pairs.min() < 0 or pairs.max() >= self.input_dim:
            raise ValueError(f"{self.name}: pairs has ids {pairs.min()} to {pairs.max()}, expected 0 to {self.input_dim - 1}")
        return pairs

    def make_weights(self, input_shape: Shape) -> list[Parameter]:
        bigrams = first_values(self.bigrams_initializer, (self.pairs, self.output_dim))
        pairs = np.zeros((self.pairs, 2), np.float32) if self._given is None else self._given.astype(np.float32)
        return [
            *super().make_weights(input_shape),
            Parameter(f"{self.name}/bigrams", bigrams),
            Parameter(f"{self.name}/pairs", pairs, trainable=False),
        ]

    def gather(self, x: Any, *, training: bool = False, checked: bool = False) -> Gather:
        """`forward` without copying together: a table of the vectors of the batch's different (token, pair)."""
        ids = np.ascontiguousarray(x, np.int32) if checked else self.check_ids(x)
        self.build(ids.shape)
        embeddings, bigrams, _ = self.weights
        # A token and its pair, counted from 1 (0: none), as one number.
        both, places = np.unique((ids.astype(np.int64) << 32) | self.pairs_of(ids), return_inverse=True)
        words, found = (both >> 32).astype(np.int32), (both & 0xFFFFFFFF).astype(np.int32)
        rows = np.maximum(found - 1, 0)
        scale_w = np.ones((len(both), 1), np.float32)
        scale_b = np.where(found > 0, np.float32(self.bigrams_scale), np.float32(0))[:, None]
        if training and self.generator is not None:
            generator, rate = self.generator, self.bigrams_dropout
            scale_w = _alike(words, lambda different: self._drawn_for(generator, different))
            scale_b = scale_b * _alike(rows, lambda different: drawn_scale(generator, rate, (len(different), 1)))
        vectors = embeddings.current_rows(words)[words] * scale_w + bigrams.current_rows(rows)[rows] * scale_b

        def backprop(dy: Any, *, need_dx: bool = True) -> Gradients:
            def of(table: Parameter, read: _Ids, scale: Array) -> RowGradient:
                kept = np.flatnonzero(scale[dy.rows, 0])  # without rows that had no part in y
                named = dy.rows[kept]
                summed = _core.sum_rows(read[named][None], (dy.values[kept] * scale[named])[None], table.shape[0])
                return RowGradient(*summed, table.shape)

            found_b = of(bigrams, rows, scale_b)
            return Gradients(None, self.of_trainable([of(embeddings, words, scale_w), found_b, found_b]))  # pairs: not trained

        table = Parameter(f"{self.name}/of_batch", vectors)
        return Gather(places.reshape(ids.shape).astype(np.int32), table, backprop, lasting=False)

    def pairs_of(self, ids: _Ids) -> npt.NDArray[np.int64]:
        """The number of each token's pair, counted from 1; 0 where it has none."""
        pairs = self.weights[2]
        if self._known is None or self._known[0] != pairs.version:
            keys = pairs.value.astype(np.int64) @ np.array([self.input_dim, 1])
            order = np.argsort(keys, kind="stable").astype(np.int32)
            self._known = pairs.version, keys[order], order
        _, keys, order = self._known
        wanted = ids[:, :-1].astype(np.int64) * self.input_dim + ids[:, 1:]
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        found = np.zeros(ids.shape, np.int64)
        found[:, 1:] = np.where(keys[place] == wanted, order[place] + 1, 0)
        return found

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "pairs": self.pairs,
            "bigrams_initializer": initializers.serialize(self.bigrams_initializer),
            "bigrams_dropout": self.bigrams_dropout,
            "bigrams_scale": self.bigrams_scale,
        }


def _alike(rows: _Ids, draw: Callable[[_Ids], Array]) -> Array:
    """What `draw` draws for the different rows, repeated for equal rows."""
    different, places = np.unique(rows, return_inverse=True)
    return draw(different)[places]


def frequent_pairs(rows: Sequence[_Ids], count: int, *, min_count: int = 2, reserved: int = 2) -> _Ids:
    """The `count` most frequent pairs of neighbours in rows of ids [T], as [N, 2]; equally frequent ones in order of their ids.

    Pairs that occur less than `min_count` times are left out, and pairs with an id below `reserved` (padding, unknown words).
    """
    flat = np.concatenate([np.zeros(0, np.int32), *rows]).astype(np.int64)
    begins = np.zeros(len(flat) + 1, np.bool_)
    begins[np.cumsum([len(row) for row in rows], dtype=np.int64)] = True
    before, after = flat[:-1], flat[1:]
    inside = ~begins[1 : len(flat)] & (np.minimum(before, after) >= reserved)
    keys, counts = np.unique(before[inside] << 32 | after[inside], return_counts=True)
    keys, counts = keys[counts >= min_count], counts[counts >= min_count]
    keys = keys[np.argsort(-counts, kind="stable")[:count]]
    return np.stack([keys >> 32, keys & 0xFFFFFFFF], axis=1).astype(np.int32)
