"""Vectors for the ids of a vocabulary."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rnnext import _core, _random, constraints, initializers, regularizers
from rnnext._checks import flag, number, whole_number, whole_number_or_none
from rnnext.initializers import first_values
from rnnext.layers._dropout import Rates, drawn_scale
from rnnext.layers._layer import (
    Backprop,
    Gather,
    Layer,
    Mask,
    RowShape,
    Shape,
    check_dtype,
    check_rank,
    given_array,
    output_gradient,
)
from rnnext.parameters import Array, Gradients, Parameter, RowGradient


class Embedding(Layer):
    """y[b, t] = embeddings[x[b, t]]: ids [B, T] -> vectors [B, T, output_dim].

    With `mask_zero` id 0 is padding, which the following layers skip. `input_length` is accepted as in Keras 2, and ignored as
    in Keras 3. `dropout` drops whole words in training: rows of the table, everywhere in a batch; it is one rate, or a rate
    for each id [input_dim].
    Weight: embeddings [input_dim, output_dim]; its gradient is a `RowGradient` of the ids in x.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        *,
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        input_length: int | None = None,
        weights: Any = None,
        dropout: float | npt.ArrayLike = 0.0,
        seed: int | None = None,
        dtype: Any = None,
        name: str | None = None,
        trainable: bool = True,
        input_shape: RowShape | None = None,
    ) -> None:
        super().__init__(name=name, trainable=trainable, input_shape=input_shape)
        check_dtype(self, dtype, "float32")
        self.vocabulary = self.input_dim = whole_number(self.name, "input_dim", input_dim)
        self.output_dim = whole_number(self.name, "output_dim", output_dim)
        self.embeddings_initializer = initializers.get(embeddings_initializer)
        self.embeddings_regularizer = regularizers.get(embeddings_regularizer)
        self.embeddings_constraint = constraints.get(embeddings_constraint)
        self.mask_zero = flag(self.name, "mask_zero", mask_zero)
        self.input_length = whole_number_or_none(self.name, "input_length", input_length)
        self.dropout = self._checked_rates(dropout)
        self.seed = whole_number_or_none(self.name, "seed", seed, 0)
        self.generator = _random.generator(seed) if np.any(self.dropout) else None
        if weights is not None:
            self.build((None, None))
            self.set_weights(weights if isinstance(weights, list) else [weights])

    def _checked_rates(self, dropout: Any) -> float | Rates:
        if np.ndim(dropout) == 0:
            return number(self.name, "dropout", dropout, 0, 1)
        rates = np.array(dropout)
        if rates.shape != (self.input_dim,) or rates.dtype.kind not in "iuf":
            raise ValueError(
                f"{self.name}: dropout has shape {rates.shape} and dtype {rates.dtype}, expected a rate, or ({self.input_dim},)"
            )
        if not (rates.min() >= 0 and rates.max() <= 1):
            raise ValueError(f"{self.name}: dropout has rates {rates.min()} to {rates.max()}, expected 0 to 1")
        return rates.astype(np.float64)

    def _drawn_for(self, generator: np.random.Generator, words: npt.NDArray[np.integer[Any]]) -> Array:
        """Draw what the vectors of the different words [N] are multiplied by, [N, 1]."""
        rate = self.dropout if isinstance(self.dropout, float) else self.dropout[words][:, None]
        return drawn_scale(generator, rate, (len(words), 1))

    def make_weights(self, input_shape: Shape) -> list[Parameter]:
        embeddings = Parameter(
            f"{self.name}/embeddings",
            first_values(self.embeddings_initializer, (self.input_dim, self.output_dim)),
            regularizer=self.embeddings_regularizer,
            constraint=self.embeddings_constraint,
        )
        return [embeddings]

    @property
    def embeddings(self) -> Parameter:
        """The table of vectors. AttributeError before it is made."""
        return self.weight("embeddings")

    def check_ids(self, x: Any) -> npt.NDArray[np.int32]:
        """x as int32 ids [B, T]. TypeError or ValueError unless all are whole numbers from 0 to `input_dim` - 1."""
        x = given_array(self, x, "of ids [B, T]")
        if x.dtype.kind not in "iu":
            raise TypeError(f"{self.name}: x has dtype {x.dtype}, expected integers, the ids of a vocabulary")
        if x.ndim != 2:
            raise ValueError(f"{self.name}: x has shape {x.shape}, expected [B, T] (2 dimensions)")
        if x.size and not (x.min() >= 0 and x.max() < self.input_dim):
            row, position = np.argwhere((x < 0) | (x >= self.input_dim))[0]
            raise ValueError(
                f"{self.name}: x has id {x[row, position]} at row {row}, position {position},"
                f" expected 0 to {self.input_dim - 1} (input_dim={self.input_dim})"
            )
        return np.ascontiguousarray(x, dtype=np.int32)

    def gather(self, x: Any, *, training: bool = False, checked: bool = False) -> Gather:
        """`forward` without copying the vectors together; `checked`: all ids are known to be in the vocabulary."""
        ids = np.ascontiguousarray(x, np.int32) if checked else self.check_ids(x)
        self.build(ids.shape)
        if training and self.generator is not None:
            return self._gather_dropped(ids, self.generator)
        return Gather(ids, self.weights[0], lambda dy, need_dx=True: Gradients(None, self.of_trainable([dy])))

    def _gather_dropped(self, ids: npt.NDArray[np.int32], generator: np.random.Generator) -> Gather:
        """A Gather from a table that has only the rows of these ids, scaled."""
        embeddings = self.weights[0]
        used, places = np.unique(ids, return_inverse=True)
        scale = self._drawn_for(generator, np.arange(self.input_dim))[used]
        table = Parameter(f"{embeddings.name}/dropped", embeddings.current_rows(used)[used] * scale)

        def backprop(dy: Any, *, need_dx: bool = True) -> Gradients:
            gradient = RowGradient(used[dy.rows].astype(np.int64), dy.values * scale[dy.rows], embeddings.shape)
            return Gradients(None, self.of_trainable([gradient]))

        return Gather(places.reshape(ids.shape).astype(np.int32), table, backprop, lasting=False)

    def forward(self, x: Any, *, training: bool = False, mask: Mask | None = None) -> tuple[Array, Backprop]:
        gathered = self.gather(x, training=training)
        ids, table = gathered.ids, gathered.table

        def backprop(dy: Any, *, need_dx: bool = True) -> Gradients:
            if not self.trainable_weights:
                return Gradients(None, [])
            rows, values = _core.sum_rows(ids, output_gradient(self, dy, gathered.shape), table.shape[0])
            return gathered.backprop(RowGradient(rows, values, table.shape))

        return table.current_rows(ids)[ids], backprop

    def generators(self) -> dict[str, np.random.Generator]:
        return {} if self.generator is None else {self.name: self.generator}

    def compute_mask(self, x: Any, mask: Mask | None = None) -> Mask | None:
        if not self.mask_zero:
            return mask
        tokens: Mask = x != 0
        return tokens if mask is None else mask & tokens

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        check_rank(self, input_shape, "(B, T)")
        return (*input_shape, self.output_dim)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "embeddings_initializer": initializers.serialize(self.embeddings_initializer),
            "embeddings_regularizer": regularizers.serialize(self.embeddings_regularizer),
            "embeddings_constraint": constraints.serialize(self.embeddings_constraint),
            "mask_zero": self.mask_zero,
            "input_length": self.input_length,
            "dropout": self.dropout if isinstance(self.dropout, float) else self.dropout.tolist(),
            "seed": self.seed,
        }
