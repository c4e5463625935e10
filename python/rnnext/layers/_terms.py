"""The rarer terms of LSTM and GRU (docs/equations.md, "Options"): their weights, and what the engine is told of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rnnext._checks import flag, positive, whole_number_or_none
from rnnext.initializers import first_values
from rnnext.layers._layer import Layer
from rnnext.parameters import Array


@dataclass(frozen=True)
class Terms:
    """The terms of a layer; by default none."""

    layer_norm: bool = False
    norm_epsilon: float = 1e-3
    clip: float | None = None
    peepholes: bool = False  # LSTM only, as all below
    coupled: bool = False
    projection: int | None = None

    def check(self, layer: Layer) -> Terms:
        """The same terms, in Python's own types. TypeError or ValueError for one that is not what it must be."""
        return Terms(
            layer_norm=flag(layer.name, "layer_norm", self.layer_norm),
            norm_epsilon=positive(layer.name, "norm_epsilon", self.norm_epsilon, "a number above 0"),
            clip=None if self.clip is None else positive(layer.name, "clip", self.clip, "a number above 0, or None"),
            peepholes=flag(layer.name, "peepholes", self.peepholes),
            coupled=flag(layer.name, "coupled", self.coupled),
            projection=whole_number_or_none(layer.name, "projection", self.projection),
        )

    def weights(self, states: int, gates: int, units: int, initializer: Callable[..., Array], dtype: Any) -> dict[str, Array]:
        """First values of the terms' weights by the engine's names, in the order of `get_weights`: scales 1, shifts 0."""
        found = {}
        if self.peepholes:
            found["peephole"] = first_values(initializer, (3, units), dtype)
        if self.projection is not None:
            found["projection"] = first_values(initializer, (units, self.projection), dtype)
        if self.layer_norm:
            found["kernel_norm"] = np.ones(gates * units, dtype)
            found["recurrent_norm"] = np.ones(gates * units, dtype)
            if states == 2:
                found["state_norm"] = np.stack([np.ones(units, dtype), np.zeros(units, dtype)])
        return found

    def options(self) -> dict[str, Any]:
        """The engine's arguments besides the weights."""
        options: dict[str, Any] = {}
        if self.layer_norm:
            options["norm_epsilon"] = self.norm_epsilon
        if self.clip is not None:
            options["clip"] = self.clip
        if self.coupled:
            options["coupled"] = True
        return options

    def config(self, states: int) -> dict[str, Any]:
        """The layer's arguments."""
        config = asdict(self)
        return config if states == 2 else {name: config[name] for name in ("layer_norm", "norm_epsilon", "clip")}
