"""Long short-term memory."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from rnnext._checks import flag
from rnnext.initializers import first_values
from rnnext.layers._layer import RowShape
from rnnext.layers._recurrent import Recurrent
from rnnext.layers._terms import Terms
from rnnext.parameters import Array


class LSTM(Recurrent):
    """Long short-term memory (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000).

    i, f, o = σ(x W + h' U + b), g = tanh(likewise); c = f ⊙ c' + i ⊙ g; h = o ⊙ tanh(c). Weights: kernel [I, 4H],
    recurrent_kernel [H, 4H], bias [4H], gates in the order i f g o; with `unit_forget_bias` f's bias starts at 1.

    `peepholes` lets the gates see the state (Gers & Schmidhuber 2000), `coupled` makes f = 1 - i, `projection` is the width P
    of h = (o ⊙ tanh(c)) R (Sak et al. 2014). Their weights follow the others: peephole [3, H] (of i f o), projection [H, P],
    with `layer_norm` kernel_norm [4H], recurrent_norm [4H], state_norm [2, H] (scale, shift).

    For long sequences: with `segment` training keeps the states only after every that many steps, and computes the steps
    between them again on the way back, for about a third more time; `truncate` cuts the gradients there (truncated
    back-propagation). `unroll`, `use_cudnn` and `implementation`, which tell Keras how to compute, are accepted and ignored.

    What LSTM and GRU have in common. `return_sequences`: all states [B, T, H] instead of the last [B, H]; `return_state`: the
    last states besides. `go_backwards`: from a row's last token to its first. `stateful`: a call starts, row by row, from the
    last states of the call before it, until `reset_state()`; no gradient flows back into that call. `zero_output_for_mask`:
    the outputs of `return_sequences` are 0 where there is no token. In training `dropout` drops features of the inputs and
    `recurrent_dropout` units of the state that the gates see, the same ones in all steps of a row (Gal & Ghahramani 2016);
    `recurrent_weight_dropout` drops weights of the recurrent kernel, the same ones in a whole batch (DropConnect); `seed` is
    that of all these draws. `zoneout_h` and an LSTM's `zoneout_c`: the probability that a unit keeps its state in a step
    (Krueger et al. 2017); outside training it keeps that share of its state instead. `layer_norm` normalises the products of
    input and state, and an LSTM's c (Ba et al. 2016); `norm_epsilon` is added to variances. `clip` bounds the pre-activations.
    `dtype`: "float32", or "float64" for the layer by itself. docs/layers.md lists all options.
    """

    gates, state_count = 4, 2
    equations = "lstm"

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        *,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        recurrent_weight_dropout: float = 0.0,
        zoneout_h: float = 0.0,
        zoneout_c: float = 0.0,
        layer_norm: bool = False,
        norm_epsilon: float = 1e-3,
        clip: float | None = None,
        peepholes: bool = False,
        coupled: bool = False,
        projection: int | None = None,
        seed: int | None = None,
        dtype: Any = "float32",
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        zero_output_for_mask: bool = False,
        segment: int | None = None,
        truncate: bool = False,
        unroll: bool = False,
        use_cudnn: bool | Literal["auto"] = "auto",
        implementation: int = 2,
        name: str | None = None,
        trainable: bool = True,
        input_shape: RowShape | None = None,
    ) -> None:
        super().__init__(
            units,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            recurrent_constraint=recurrent_constraint,
            bias_constraint=bias_constraint,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            recurrent_weight_dropout=recurrent_weight_dropout,
            zoneout_h=zoneout_h,
            zoneout_c=zoneout_c,
            terms=Terms(layer_norm, norm_epsilon, clip, peepholes, coupled, projection),
            seed=seed,
            dtype=dtype,
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            zero_output_for_mask=zero_output_for_mask,
            segment=segment,
            truncate=truncate,
            name=name,
            trainable=trainable,
            input_shape=input_shape,
        )
        self._expect_activations(activation, recurrent_activation)
        self.unit_forget_bias = flag(self.name, "unit_forget_bias", unit_forget_bias)

    def _make_bias(self) -> Array:
        if not self.unit_forget_bias:
            return super()._make_bias()
        part = first_values(self.bias_initializer, (self.units,), self.dtype)
        rest = first_values(self.bias_initializer, (2 * self.units,), self.dtype)
        return np.concatenate([part, np.ones(self.units, self.dtype), rest])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "unit_forget_bias": self.unit_forget_bias}
