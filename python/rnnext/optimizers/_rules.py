"""SGD, RMSprop, Adam and AdamW: their equations' constants, and how they are found by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from rnnext import _core
from rnnext._checks import flag, number
from rnnext.optimizers._optimizer import Optimizer
from rnnext.optimizers.schedules import LearningRateSchedule


class SGD(Optimizer):
    """Gradient descent, with momentum μ: m ← μ m - η g, p ← p + m; `nesterov`: p ← p + μ m - η g."""

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        *,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        ema_frequency: int = 1,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
    ) -> None:
        self.momentum: Final = number("SGD", "momentum", momentum, 0, 1)
        self.nesterov: Final = flag("SGD", "nesterov", nesterov)
        super().__init__(
            _core.OptimizerRule("sgd", momentum=self.momentum, nesterov=self.nesterov),
            ("momentum" if self.momentum else None, None, None),
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            use_ema=use_ema,
            ema_momentum=ema_momentum,
            ema_overwrite_frequency=ema_overwrite_frequency,
            ema_frequency=ema_frequency,
            gradient_accumulation_steps=gradient_accumulation_steps,
            name=name,
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, with the present learning rate."""
        return {**super().get_config(), "momentum": self.momentum, "nesterov": self.nesterov}


class RMSprop(Optimizer):
    """Gradients over the root of their mean square (Hinton 2012): v ← ρ v + (1 - ρ) g², p ← p - η g / √(v + ε).

    `centered`: the variance instead of the mean square. With `momentum` μ: m ← μ m + η g / √(v + ε), p ← p - m.
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        *,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        ema_frequency: int = 1,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
    ) -> None:
        self.rho: Final = number("RMSprop", "rho", rho, 0, 1)
        self.momentum: Final = number("RMSprop", "momentum", momentum, 0, 1)
        self.epsilon: Final = number("RMSprop", "epsilon", epsilon, 0)
        self.centered: Final = flag("RMSprop", "centered", centered)
        super().__init__(
            _core.OptimizerRule("rmsprop", rho=self.rho, momentum=self.momentum, epsilon=self.epsilon, centered=self.centered),
            ("velocity", "momentum" if self.momentum else None, "average_gradient" if self.centered else None),
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            use_ema=use_ema,
            ema_momentum=ema_momentum,
            ema_overwrite_frequency=ema_overwrite_frequency,
            ema_frequency=ema_frequency,
            gradient_accumulation_steps=gradient_accumulation_steps,
            name=name,
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, with the present learning rate."""
        return {
            **super().get_config(),
            "rho": self.rho,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "centered": self.centered,
        }


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015): m ← β₁ m + (1 - β₁) g, v ← β₂ v + (1 - β₂) g², p ← p - α m / (√v + ε).

    α is η √(1 - β₂ᵗ) / (1 - β₁ᵗ) in step t, so that ε is the paper's "epsilon hat", as in Keras. `amsgrad` takes the largest v
    so far (Reddi et al. 2018).
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        *,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        ema_frequency: int = 1,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
    ) -> None:
        owner = type(self).__name__
        self.beta_1: Final = number(owner, "beta_1", beta_1, 0, 1)
        self.beta_2: Final = number(owner, "beta_2", beta_2, 0, 1)
        if self.beta_1 == 1.0:
            raise ValueError(f"{owner}: beta_1 is 1, expected less")
        self.epsilon: Final = number(owner, "epsilon", epsilon, 0)
        self.amsgrad: Final = flag(owner, "amsgrad", amsgrad)
        super().__init__(
            _core.OptimizerRule("adam", beta_1=self.beta_1, beta_2=self.beta_2, epsilon=self.epsilon, amsgrad=self.amsgrad),
            ("momentum", "velocity", "velocity_hat" if self.amsgrad else None),
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            use_ema=use_ema,
            ema_momentum=ema_momentum,
            ema_overwrite_frequency=ema_overwrite_frequency,
            ema_frequency=ema_frequency,
            gradient_accumulation_steps=gradient_accumulation_steps,
            name=name,
        )

    def _corrected(self, rate: float) -> float:
        step = self.iterations + 1
        return rate * math.sqrt(1.0 - self.beta_2**step) / (1.0 - self.beta_1**step)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, with the present learning rate."""
        return {
            **super().get_config(),
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "amsgrad": self.amsgrad,
        }


class AdamW(Adam):
    """Adam with weight decay apart from the gradient (Loshchilov & Hutter 2019); `weight_decay` may not be None."""

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        *,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        ema_frequency: int = 1,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(
            learning_rate,
            beta_1,
            beta_2,
            epsilon,
            amsgrad,
            weight_decay=number("AdamW", "weight_decay", weight_decay, 0),
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            use_ema=use_ema,
            ema_momentum=ema_momentum,
            ema_overwrite_frequency=ema_overwrite_frequency,
            ema_frequency=ema_frequency,
            gradient_accumulation_steps=gradient_accumulation_steps,
            name=name,
        )


_BY_NAME: dict[str, type[Optimizer]] = {cls.__name__.lower(): cls for cls in (SGD, RMSprop, Adam, AdamW)}


def _class(name: object) -> type[Optimizer]:
    found = _BY_NAME.get(name.lower()) if isinstance(name, str) else None
    if found is None:
        raise ValueError(f"optimizers.get: {name!r} is not known, expected one of {', '.join(sorted(_BY_NAME))}")
    return found


def get(identifier: str | Mapping[str, Any] | Optimizer) -> Optimizer:
    """An optimizer by its name in any case ("adam"), by what `serialize` returned, or the given one itself."""
    if isinstance(identifier, Optimizer):
        return identifier
    if isinstance(identifier, str):
        return _class(identifier).from_config({})
    if isinstance(identifier, Mapping):
        return deserialize(identifier)
    raise TypeError(f"optimizers.get: identifier is a {type(identifier).__name__}, expected a str, a dict or an Optimizer")


def serialize(optimizer: Optimizer) -> dict[str, Any]:
    """Class and constructor's arguments of an optimizer, without its state."""
    return {"class_name": type(optimizer).__name__, "config": optimizer.get_config()}


def deserialize(config: Mapping[str, Any]) -> Optimizer:
    """An optimizer as `serialize` described it. ValueError if its class is not known."""
    return _class(config.get("class_name")).from_config(config.get("config", {}))
