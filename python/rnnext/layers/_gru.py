"""Gated recurrent unit, with the reset gate after or before the recurrent product."""

from __future__ import annotations

from typing import Any, Literal

from rnnext._checks import flag
from rnnext.initializers import first_values
from rnnext.layers._layer import RowShape
from rnnext.layers._recurrent import Cell, Recurrent
from rnnext.layers._terms import Terms
from rnnext.parameters import Array


class GRU(Recurrent):
    """Gated recurrent unit (Cho et al. 2014).

    z, r = σ(x W + h' U + b). With `reset_after` (Keras's default, PyTorch's only form) n = tanh(x W_n + b_n + r ⊙ (h' U_n +
    b'_n)), without it n = tanh(x W_n + (r ⊙ h') U_n + b_n). `update_gate="keep"`: h = z ⊙ h' + (1 - z) ⊙ n, as in Keras and
    PyTorch; `"write"`: h = (1 - z) ⊙ h' + z ⊙ n, the textbook's. Weights: kernel [I, 3H], recurrent_kernel [H, 3H], bias
    [2, 3H] (row 0 of the input, row 1 of the state) or, without `reset_after`, [3H]; gates in the order z r n. With
    `layer_norm` kernel_norm [3H] and recurrent_norm [3H] follow.

    LSTM explains the options that both have: `return_sequences`, `return_state`, `go_backwards`, `stateful`,
    `zero_output_for_mask`, the dropouts, `zoneout_h`, `layer_norm`, `clip`, `dtype`, and `segment` and `truncate` for long
    sequences. docs/layers.md lists all.
    """

    gates, state_count = 3, 1

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
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
        layer_norm: bool = False,
        norm_epsilon: float = 1e-3,
        clip: float | None = None,
        seed: int | None = None,
        dtype: Any = "float32",
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        zero_output_for_mask: bool = False,
        segment: int | None = None,
        truncate: bool = False,
        reset_after: bool = True,
        update_gate: Literal["keep", "write"] = "keep",
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
            zoneout_c=0.0,
            terms=Terms(layer_norm, norm_epsilon, clip),
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
        if update_gate not in ("keep", "write"):
            raise ValueError(f"{self.name}: update_gate is {update_gate!r}, expected 'keep' or 'write'")
        self.reset_after = flag(self.name, "reset_after", reset_after)
        self.update_gate = update_gate
        self.update_gate_writes = update_gate == "write"
        self.equations: Cell = "gru_reset_after" if self.reset_after else "gru_reset_before"

    def _make_bias(self) -> Array:
        if not self.reset_after:
            return super()._make_bias()
        return first_values(self.bias_initializer, (2, 3 * self.units), self.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "reset_after": self.reset_after, "update_gate": self.update_gate}
