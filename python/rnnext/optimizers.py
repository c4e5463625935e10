"""Optimizers with Keras's names, defaults and equations; the steps themselves are in C++."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from rnnext import _core
from rnnext.parameters import Array, Gradient, Parameter, RowGradient

State: TypeAlias = dict[str, npt.NDArray[Any]]

_PENDING = ("anchor", "last", "rates", "decays")  # of a parameter that is trained by rows


def _number(owner: str, name: str, value: object, least: float, most: float = math.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{owner}: {name} is {value!r}, expected a number")
    if not least <= value <= most or math.isinf(value):
        expected = f"{least:g} to {most:g}" if math.isfinite(most) else f"a finite number, at least {least:g}"
        raise ValueError(f"{owner}: {name} is {value}, expected {expected}")
    return float(value)


def _limit(owner: str, name: str, value: float | None) -> float | None:
    if value is None:
        return None
    limit = _number(owner, name, value, 0.0)
    if limit == 0.0:
        raise ValueError(f"{owner}: {name} is 0, expected more than 0, or None for no clipping")
    return limit


def _settle(parameter: Parameter) -> None:
    if parameter.overdue is not None:
        parameter.overdue.settle()
        parameter.overdue = None


class _Tracked:
    """One parameter with what the optimizer remembers of it."""

    def __init__(self, parameter: Parameter, rule: _core.OptimizerRule, slots: Sequence[str | None], decays: bool) -> None:
        if parameter.storage.dtype != np.float32:
            raise TypeError(
                f"{parameter.name} has dtype {parameter.storage.dtype}, expected float32: models are trained in float32"
            )
        self.parameter = parameter
        self.version = parameter.version
        self.slots: dict[str, Array] = {name: np.zeros(parameter.shape, np.float32) for name in slots if name is not None}
        arrays = tuple(None if name is None else self.slots[name] for name in slots)
        self.engine = _core.OptimizedParameter(rule, parameter.name, parameter.storage, arrays, decays=decays)


class Optimizer:
    """What SGD, RMSprop, Adam and AdamW have in common.

    `weight_decay`: each step begins with p ← p - learning_rate · weight_decay · p, for every parameter that
    `exclude_from_weight_decay` did not name. At most one of `clipnorm` (the norm of each parameter's gradient), `clipvalue`
    (each element) and `global_clipnorm` (the norm of all gradients together) limits the gradients before they are used.

    Rows that a `RowGradient` does not name move as they would with a gradient of zero. That is put off until somebody reads
    them (`Parameter.overdue`); when they are read changes nothing about any later result.
    """

    def __init__(
        self,
        rule: _core.OptimizerRule,
        slots: tuple[str | None, str | None, str | None],
        *,
        learning_rate: float,
        weight_decay: float | None,
        clipnorm: float | None,
        clipvalue: float | None,
        global_clipnorm: float | None,
        name: str | None,
    ) -> None:
        owner = type(self).__name__
        if sum(limit is not None for limit in (clipnorm, clipvalue, global_clipnorm)) > 1:
            raise ValueError(
                f"{owner}: clipnorm is {clipnorm}, clipvalue is {clipvalue}, global_clipnorm is {global_clipnorm}, "
                "expected at most one of them"
            )
        self.name = owner.lower() if name is None else name
        self.learning_rate = learning_rate
        self.weight_decay = None if weight_decay is None else _number(owner, "weight_decay", weight_decay, 0.0)
        self.clipnorm: Final = _limit(owner, "clipnorm", clipnorm)
        self.clipvalue: Final = _limit(owner, "clipvalue", clipvalue)
        self.global_clipnorm: Final = _limit(owner, "global_clipnorm", global_clipnorm)
        self.iterations = 0
        self._rule = rule
        self._slots = slots
        self._undecayed: set[int] = set()  # by id, as parameters of equal name may exist
        self._undecayed_names: re.Pattern[str] | None = None
        self._known: list[_Tracked] = []
        self._last: list[_Tracked] = []  # those of the last call

    @property
    def parameters(self) -> list[Parameter]:
        """Those of the first step, in the order by which `state` names them; none before it."""
        return [each.parameter for each in self._known]

    @property
    def learning_rate(self) -> float:
        """Of the next step; may be set at any time."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._learning_rate = _number(type(self).__name__, "learning_rate", value, 0.0)

    def exclude_from_weight_decay(
        self, var_list: Iterable[Parameter] | None = None, var_names: Iterable[str] | None = None
    ) -> None:
        """Spare some parameters the weight decay: those in `var_list`, and those in whose names one of `var_names` is found.

        As in Keras each call replaces the one before and a name may be a regular expression. ValueError after the first step.
        """
        owner = type(self).__name__
        if self._known:
            raise ValueError(f"{owner}: exclude_from_weight_decay is called after the first step, expected before it")
        if isinstance(var_names, str):
            raise TypeError(f"{owner}: var_names is one str, expected a list of them")
        names = list(var_names or [])
        self._undecayed = {id(parameter) for parameter in var_list or []}
        self._undecayed_names = re.compile("|".join(names)) if names else None

    def apply(self, gradients: Sequence[Gradient], parameters: Sequence[Parameter]) -> None:
        """One step: change each parameter by its gradient.

        A gradient is a float32 array of its parameter's shape or a `RowGradient`. The first call settles which parameters there
        are; later ones may leave some out, which then do not move. ValueError and TypeError name the parameter whose gradient
        is wrong, and then nothing has changed.
        """
        if len(gradients) != len(parameters):
            raise ValueError(
                f"{type(self).__name__}: {len(gradients)} gradients for {len(parameters)} parameters, expected one for each"
            )
        if not parameters:
            return
        tracked = self._track(parameters)
        given: list[Array | tuple[npt.NDArray[np.int64], Array]] = []
        for each, gradient in zip(tracked, gradients, strict=True):
            if not isinstance(gradient, RowGradient):
                given.append(gradient)
                continue
            if gradient.shape != each.parameter.shape:
                raise ValueError(
                    f"{type(self).__name__}: the gradient of {each.parameter.name} is of the shape {gradient.shape}, "
                    f"expected {each.parameter.shape}"
                )
            given.append((gradient.rows, gradient.values))
        for each in tracked:
            self._take_over(each)
        _core.optimizer_step(
            self._rule,
            [each.engine for each in tracked],
            given,
            rate=self._rate(),
            decay=self._learning_rate * (self.weight_decay or 0.0),
            clipnorm=self.clipnorm or 0.0,
            global_clipnorm=self.global_clipnorm or 0.0,
            clipvalue=self.clipvalue or 0.0,
        )
        self.iterations += 1
        for each, gradient in zip(tracked, gradients, strict=True):
            parameter = each.parameter
            parameter.overdue = each.engine if isinstance(gradient, RowGradient) else None
            parameter.touch()
            each.version = parameter.version
        if not self._known:
            self._known = tracked
        self._last = tracked

    def state(self) -> State:
        """What `load_state` needs for training to go on bit for bit as if it had not been interrupted.

        `iterations`, `learning_rate`, and arrays named by their parameter's position in the first step: `"0/momentum"`.
        """
        state: State = {"iterations": np.array([self.iterations], np.int64), "learning_rate": np.array([self.learning_rate])}
        for index, each in enumerate(self._known):
            self._take_over(each)
            arrays = {**each.slots, **(each.engine.pending() or {})}
            state |= {f"{index}/{name}": np.array(array) for name, array in arrays.items()}
        return state

    def load_state(self, state: Mapping[str, npt.NDArray[Any]], parameters: Sequence[Parameter]) -> None:
        """Take over what `state` returned, for the same parameters in the same order, whose values have been loaded before.

        ValueError and TypeError name what is missing, unknown or of a wrong shape, and then nothing has changed.
        """
        owner = type(self).__name__
        for name, dtype in (("iterations", np.int64), ("learning_rate", np.float64)):
            if name not in state:
                raise ValueError(f"{owner}: the state has no {name}")
            if state[name].shape != (1,) or state[name].dtype != dtype:
                raise ValueError(f"{owner}: the state's {name} is {state[name]!r}, expected one {np.dtype(dtype).name}")
        iterations = int(state["iterations"][0])
        if iterations < 0:
            raise ValueError(f"{owner}: the state's iterations is {iterations}, expected at least 0")
        learning_rate = _number(owner, "the state's learning_rate", float(state["learning_rate"][0]), 0.0)
        groups: dict[str, dict[str, npt.NDArray[Any]]] = {}
        for name, array in state.items():
            position, slash, rest = name.partition("/")
            if slash:
                groups.setdefault(position, {})[rest] = array
            elif name not in ("iterations", "learning_rate"):
                raise ValueError(f"{owner}: the state has {name!r}, which is not known")
        tracked = self._create(parameters) if iterations or groups else []
        pendings = [self._pending(each, groups.pop(str(index), {})) for index, each in enumerate(tracked)]
        if groups:
            raise ValueError(f"{owner}: the state has {', '.join(sorted(groups))}, but there are {len(parameters)} parameters")

        for each in [*self._known, *tracked]:
            _settle(each.parameter)
        for index, (each, pending) in enumerate(zip(tracked, pendings, strict=True)):
            for name, slot in each.slots.items():
                slot[...] = state[f"{index}/{name}"]
            each.engine.restore(pending)
            each.parameter.overdue = None if pending is None else each.engine
        self.iterations = iterations
        self._learning_rate = learning_rate
        self._known = tracked
        self._last = []

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, with the present learning rate."""
        return {
            "name": self.name,
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
            "clipnorm": self.clipnorm,
            "clipvalue": self.clipvalue,
            "global_clipnorm": self.global_clipnorm,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Optimizer:
        """An optimizer with these arguments that has done no step yet."""
        create: Any = cls
        optimizer: Optimizer = create(**config)
        return optimizer

    def _rate(self) -> float:
        """What the step's gradients are multiplied by."""
        return self._learning_rate

    def _create(self, parameters: Sequence[Parameter]) -> list[_Tracked]:
        owner = type(self).__name__
        for parameter in parameters:
            if not isinstance(parameter, Parameter):
                raise TypeError(f"{owner}: parameters has a {type(parameter).__name__}, expected Parameter")
        if len({id(parameter) for parameter in parameters}) < len(parameters):
            raise ValueError(f"{owner}: parameters names one twice: {', '.join(parameter.name for parameter in parameters)}")
        return [_Tracked(parameter, self._rule, self._slots, self._decays(parameter)) for parameter in parameters]

    def _decays(self, parameter: Parameter) -> bool:
        if id(parameter) in self._undecayed:
            return False
        return self._undecayed_names is None or self._undecayed_names.search(parameter.name) is None

    def _track(self, parameters: Sequence[Parameter]) -> list[_Tracked]:
        if len(self._last) == len(parameters) and all(
            each.parameter is parameter for each, parameter in zip(self._last, parameters, strict=True)
        ):
            return self._last
        if not self._known:
            return self._create(parameters)
        known = {id(each.parameter): each for each in self._known}
        for parameter in parameters:
            if id(parameter) not in known:
                raise ValueError(
                    f"{type(self).__name__}: {getattr(parameter, 'name', parameter)} was not among the parameters of the first "
                    "step, expected one of them; other parameters need another optimizer"
                )
        if len({id(parameter) for parameter in parameters}) < len(parameters):
            raise ValueError(f"{type(self).__name__}: parameters names one twice: {', '.join(p.name for p in parameters)}")
        return [known[id(parameter)] for parameter in parameters]

    @staticmethod
    def _take_over(each: _Tracked) -> None:
        """Let a parameter be ours alone: what another optimizer put off is done, what others have written is taken as it is."""
        parameter = each.parameter
        if parameter.overdue is not None and parameter.overdue is not each.engine:
            _settle(parameter)
        if parameter.version != each.version:
            each.engine.accept()
            each.version = parameter.version

    def _pending(self, each: _Tracked, arrays: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]] | None:
        """Check one parameter's part of a state; what belongs to `OptimizedParameter.restore` comes back."""
        owner, parameter = type(self).__name__, each.parameter
        for name in each.slots:
            if name not in arrays:
                raise ValueError(f"{owner}: the state has no {name} of {parameter.name}")
            array = arrays.pop(name)
            if array.shape != parameter.shape or array.dtype != np.float32:
                raise ValueError(
                    f"{owner}: the state's {name} of {parameter.name} has shape {array.shape} and dtype {array.dtype}, "
                    f"expected {parameter.shape} and float32"
                )
        if unknown := sorted(arrays.keys() - set(_PENDING)):
            raise ValueError(f"{owner}: the state has {', '.join(unknown)} of {parameter.name}, which is not known")
        pending = arrays or None
        each.engine.check(pending)
        return pending


class SGD(Optimizer):
    """Gradient descent, with momentum μ: m ← μ m - η g, p ← p + m; `nesterov`: p ← p + μ m - η g."""

    def __init__(
        self,
        learning_rate: float = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        *,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str | None = None,
    ) -> None:
        self.momentum: Final = _number("SGD", "momentum", momentum, 0.0, 1.0)
        self.nesterov: Final = nesterov
        super().__init__(
            _core.OptimizerRule("sgd", momentum=self.momentum, nesterov=nesterov),
            ("momentum" if self.momentum else None, None, None),
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
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
        learning_rate: float = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        *,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str | None = None,
    ) -> None:
        self.rho: Final = _number("RMSprop", "rho", rho, 0.0, 1.0)
        self.momentum: Final = _number("RMSprop", "momentum", momentum, 0.0, 1.0)
        self.epsilon: Final = _number("RMSprop", "epsilon", epsilon, 0.0)
        self.centered: Final = centered
        super().__init__(
            _core.OptimizerRule("rmsprop", rho=self.rho, momentum=self.momentum, epsilon=self.epsilon, centered=centered),
            ("velocity", "momentum" if self.momentum else None, "average_gradient" if centered else None),
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
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
        learning_rate: float = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        *,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str | None = None,
    ) -> None:
        owner = type(self).__name__
        self.beta_1: Final = _number(owner, "beta_1", beta_1, 0.0, 1.0)
        self.beta_2: Final = _number(owner, "beta_2", beta_2, 0.0, 1.0)
        if self.beta_1 == 1.0:
            raise ValueError(f"{owner}: beta_1 is 1, expected less")
        self.epsilon: Final = _number(owner, "epsilon", epsilon, 0.0)
        self.amsgrad: Final = amsgrad
        super().__init__(
            _core.OptimizerRule("adam", beta_1=self.beta_1, beta_2=self.beta_2, epsilon=self.epsilon, amsgrad=amsgrad),
            ("momentum", "velocity", "velocity_hat" if amsgrad else None),
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            name=name,
        )

    def _rate(self) -> float:
        step = self.iterations + 1
        return self._learning_rate * math.sqrt(1.0 - self.beta_2**step) / (1.0 - self.beta_1**step)

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
        learning_rate: float = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        *,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(
            learning_rate,
            beta_1,
            beta_2,
            epsilon,
            amsgrad,
            weight_decay=_number("AdamW", "weight_decay", weight_decay, 0.0),
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
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
