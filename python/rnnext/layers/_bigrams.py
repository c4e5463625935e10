"""Vectors for ids and for pairs of neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rnnext import _core, _random, initializers
from rnnext.layers._dropout import drawn_scale
from rnnext.layers._embedding import Embedding
from rnnext.layers._layer import Gather, Shape, check_rate, check_units
from rnnext.parameters import Array, Gradients, Parameter, RowGradient

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: neighbouring keys fall far apart


class BigramEmbedding(Embedding):
    """y[b, t] = embeddings[x[b, t]] + bigrams_scale · bigrams[h(x[b, t-1], x[b, t])]: ids [B, T] -> vectors [B, T, output_dim].

    What two neighbours mean together ("not good") is added to what the second means alone. h is a hash that puts all pairs into
    `buckets` rows, where pairs may share one; a pair with an id below `reserved` (padding, unknown words), or a row's first
    token, has none. `dropout` and `bigrams_dropout` drop rows of the tables in training, for all their places in a batch.
    Adam, whose steps do not depend on a gradient's size, moves what pairs say `bigrams_scale` times as far as the rest.
    Weights: embeddings [input_dim, output_dim], bigrams [buckets, output_dim], which are zeros in the beginning.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        *,
        buckets: int = 1 << 18,
        bigrams_initializer: Any = "zeros",
        bigrams_dropout: float = 0.0,
        bigrams_scale: float = 1.0,
        reserved: int = 2,
        **options: Any,
    ) -> None:
        """`options` are those of Embedding."""
        weights = options.pop("weights", None)
        super().__init__(input_dim, output_dim, embeddings_initializer, **options)
        self.buckets = check_units(self, "buckets", buckets)
        self.bigrams_initializer = initializers.get(bigrams_initializer)
        self.bigrams_dropout = check_rate(self, "bigrams_dropout", bigrams_dropout)
        if not isinstance(bigrams_scale, int | float | np.number) or not 0 < bigrams_scale < np.inf:
            raise ValueError(f"{self.name}: bigrams_scale is {bigrams_scale!r}, expected a number above 0")
        self.bigrams_scale = float(bigrams_scale)
        self.reserved = check_units(self, "reserved", reserved, least=0)
        if self.generator is None and self.bigrams_dropout:
            self.generator = _random.generator(self.seed)
        if weights is not None:
            self.build((None, None))
            self.set_weights(weights)

    def make_weights(self, input_shape: Shape) -> list[Parameter]:
        bigrams = self.bigrams_initializer((self.buckets, self.output_dim))
        return [*super().make_weights(input_shape), Parameter(f"{self.name}/bigrams", bigrams)]

    def gather(self, x: Any, *, training: bool = False) -> Gather:
        """The same as `forward`: the vectors of the batch's different tokens-with-neighbour, not yet copied together."""
        ids = self.check_ids(x)
        self.build(ids.shape)
        embeddings, bigrams = self.weights
        # A token and the bucket of its pair, counted from 1 (0: none), as one number.
        both, places = np.unique((ids.astype(np.int64) << 32) | self._buckets_of(ids), return_inverse=True)
        words, buckets = (both >> 32).astype(np.int32), (both & 0xFFFFFFFF).astype(np.int32) - 1
        paired = np.where(buckets >= 0, np.float32(self.bigrams_scale), np.float32(0))[:, None]
        buckets = np.maximum(buckets, 0)
        scale_w, scale_b = np.ones((len(both), 1), np.float32), paired
        if training and self.generator is not None:
            scale_w = self._drawn(self.generator, self.dropout, words)
            scale_b = paired * self._drawn(self.generator, self.bigrams_dropout, buckets)
        vectors = embeddings.current_rows(words)[words] * scale_w + bigrams.current_rows(buckets)[buckets] * scale_b

        def backprop(dy: Any, *, need_dx: bool = True) -> Gradients:
            def of(table: Parameter, rows: npt.NDArray[np.int32], scale: Array) -> RowGradient:
                kept = np.flatnonzero(scale[dy.rows, 0])  # rows that had no part in y are not named
                named = dy.rows[kept]
                found = _core.sum_rows(rows[named][None], (dy.values[kept] * scale[named])[None], table.shape[0])
                return RowGradient(*found, table.shape)

            return Gradients(None, self.of_trainable([of(embeddings, words, scale_w), of(bigrams, buckets, scale_b)]))

        table = Parameter(f"{self.name}/of_batch", vectors)
        return Gather(places.reshape(ids.shape).astype(np.int32), table, backprop, lasting=False)

    def _buckets_of(self, ids: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
        """The bucket of each token's pair, counted from 1; 0 where there is none."""
        before, after = ids[:, :-1].astype(np.uint64), ids[:, 1:].astype(np.uint64)
        spread = ((before * np.uint64(self.input_dim) + after) * _MULTIPLIER) >> np.uint64(32)
        buckets = np.zeros(ids.shape, np.int64)
        buckets[:, 1:] = ((spread * np.uint64(self.buckets)) >> np.uint64(32)).astype(np.int64) + 1
        buckets[:, 1:][np.minimum(before, after) < self.reserved] = 0
        return buckets

    @staticmethod
    def _drawn(generator: np.random.Generator, rate: float, rows: npt.NDArray[np.int32]) -> Array:
        """What the named rows of a table are multiplied with, [N, 1]: the same for equal rows."""
        different, places = np.unique(rows, return_inverse=True)
        return drawn_scale(generator, rate, (len(different), 1))[places]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "buckets": self.buckets,
            "bigrams_initializer": initializers.serialize(self.bigrams_initializer),
            "bigrams_dropout": self.bigrams_dropout,
            "bigrams_scale": self.bigrams_scale,
            "reserved": self.reserved,
        }
