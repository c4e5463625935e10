"""What all optimizers have in common: parameters and their state, averages, learning rates. The steps themselves are in C++."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from rnnext import _core
from rnnext._checks import flag, number, whole_number_or_none
from rnnext.optimizers import schedules
from rnnext.optimizers.schedules import LearningRateSchedule
from rnnext.parameters import Array, Gradient, Parameter, RowGradient, sum_of

State: TypeAlias = dict[str, npt.NDArray[Any]]

_BLOCK = 1 << 15  # numbers that are averaged at once, so that they stay in the cache
_PENDING = ("anchor", "last", "rates", "decays")  # in the state of a parameter that is trained by rows


class LearningRate(float):
    """An optimizer's learning rate when it was read, with the methods of Keras's variable. A copy is a plain float."""

    _optimizer: Optimizer

    @classmethod
    def of(cls, optimizer: Optimizer, value: float) -> LearningRate:
        """The value as a rate of that optimizer."""
        rate = cls(value)
        rate._optimizer = optimizer
        return rate

    def numpy(self) -> np.float64:
        """The same as a NumPy number."""
        value: np.float64 = np.float64(self)
        return value

    def assign(self, value: float) -> None:
        """Set the optimizer's `learning_rate`, with its errors. This number stays as it is."""
        self._optimizer.learning_rate = np.asarray(value).item()

    def __reduce__(self) -> tuple[type[float], tuple[float]]:
        return float, (float(self),)


class Iterations(int):
    """An optimizer's steps when they were read, with Keras's way to a NumPy number. A copy is a plain int."""

    def numpy(self) -> np.int64:
        """The same as a NumPy number."""
        value: np.int64 = np.int64(self)
        return value

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        return int, (int(self),)


def _limit(owner: str, name: str, value: float | None) -> float | None:
    if value is None:
        return None
    limit = number(owner, name, value, 0)
    if limit == 0.0:
        raise ValueError(f"{owner}: {name} is 0, expected more than 0, or None for no clipping")
    return limit


def _divided(gradient: Gradient, by: int) -> Gradient:
    if isinstance(gradient, RowGradient):
        return RowGradient(gradient.rows, gradient.values / np.float32(by), gradient.shape)
    mean: Array = gradient / np.float32(by)
    return mean


def _blend(average: Array, value: Array, momentum: float) -> None:
    """average ← momentum · average + (1 - momentum) · value."""
    kept = np.float32(momentum)
    flat, values = average.reshape(-1), value.reshape(-1)
    scratch = np.empty(min(len(flat), _BLOCK), np.float32)
    for begin in range(0, len(flat), _BLOCK):
        part, some = flat[begin : begin + _BLOCK], values[begin : begin + _BLOCK]
        part *= kept
        part += np.multiply(some, np.float32(1) - kept, out=scratch[: len(some)])


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
        self.average: Array | None = None  # of the value over the steps
        self.accumulated: Gradient | None = None  # of the batches since the last step
        self.engine = _core.OptimizedParameter(rule, parameter.name, parameter.storage, arrays, decays=decays)


class Optimizer:
    """What SGD, RMSprop, Adam and AdamW have in common.

    `weight_decay`: each step begins with p ← p - learning_rate · weight_decay · p, for every parameter that
    `exclude_from_weight_decay` did not name. At most one of `clipnorm` (the norm of each parameter's gradient), `clipvalue`
    (each element) and `global_clipnorm` (the norm of all gradients together) limits the gradients before they are used.

    `learning_rate` may be a schedule, which is asked for the rate of each step.

    `gradient_accumulation_steps`: a step is made after every that many batches, with the mean of their gradients. `iterations`
    counts steps, but a schedule is given the number of batches (both as in Keras).

    `use_ema`: the weights' average a ← μ a + (1 - μ) p after each step, μ being `ema_momentum`. It starts with a = p after the
    first step, so it needs no correction of a bias. The weights are replaced by it every `ema_overwrite_frequency` steps and at
    the end of fit. Averaging reads all weights, whole tables too; with `ema_frequency` n, which Keras does not have, it is done
    only after every n-th step, with μⁿ.

    Rows that a `RowGradient` does not name move as they would with a gradient of zero. That is put off until they are read
    (`Parameter.overdue`); when they are read does not affect any later result.
    """

    def __init__(
        self,
        rule: _core.OptimizerRule,
        slots: tuple[str | None, str | None, str | None],
        *,
        learning_rate: float | LearningRateSchedule,
        weight_decay: float | None,
        clipnorm: float | None,
        clipvalue: float | None,
        global_clipnorm: float | None,
        use_ema: bool,
        ema_momentum: float,
        ema_overwrite_frequency: int | None,
        ema_frequency: int,
        gradient_accumulation_steps: int | None,
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
        self.weight_decay = None if weight_decay is None else number(owner, "weight_decay", weight_decay, 0)
        self.clipnorm: Final = _limit(owner, "clipnorm", clipnorm)
        self.clipvalue: Final = _limit(owner, "clipvalue", clipvalue)
        self.global_clipnorm: Final = _limit(owner, "global_clipnorm", global_clipnorm)
        self.use_ema: Final = flag(owner, "use_ema", use_ema)
        self.ema_momentum: Final = number(owner, "ema_momentum", ema_momentum, 0, 1)
        self.ema_overwrite_frequency: Final = whole_number_or_none(owner, "ema_overwrite_frequency", ema_overwrite_frequency)
        self.ema_frequency: Final = whole_number_or_none(owner, "ema_frequency", ema_frequency) or 1
        self.gradient_accumulation_steps: Final = whole_number_or_none(
            owner, "gradient_accumulation_steps", gradient_accumulation_steps, 2
        )
        self._batches = 0  # how many batches' gradients were given
        self._averaged = 0  # the step that the averages belong to
        self._in_use = False  # whether parameters and averages have been swapped
        self._rule = rule
        self._slots = slots
        self._undecayed: set[int] = set()  # by id: two parameters may have the same name
        self._undecayed_names: re.Pattern[str] | None = None
        self._known: list[_Tracked] = []
        self._last: list[_Tracked] = []  # those of the last call, in its order

    @property
    def parameters(self) -> list[Parameter]:
        """The parameters of the first step, as `state` numbers them; none before it."""
        return [each.parameter for each in self._known]

    @property
    def iterations(self) -> Iterations:
        """Steps done."""
        return Iterations(self._batches // (self.gradient_accumulation_steps or 1))

    @property
    def learning_rate(self) -> LearningRate:
        """The rate of the next step. It may be set at any time, but in place of a schedule only to another one (TypeError)."""
        return LearningRate.of(self, self._rate())

    @learning_rate.setter
    def learning_rate(self, value: float | LearningRateSchedule) -> None:
        owner = type(self).__name__
        if isinstance(value, LearningRateSchedule):
            self._learning_rate: float | LearningRateSchedule = value
        elif isinstance(getattr(self, "_learning_rate", None), LearningRateSchedule):
            raise TypeError(f"{owner}: learning_rate is set to {value!r}, but a schedule says it; give the optimizer a number")
        else:
            self._learning_rate = number(owner, "learning_rate", value, 0)

    def _rate(self) -> float:
        given = self._learning_rate
        return given if isinstance(given, float) else float(given(self._batches))

    def exclude_from_weight_decay(
        self, var_list: Iterable[Parameter] | None = None, var_names: Iterable[str] | None = None
    ) -> None:
        """Exempt parameters from weight decay: those in `var_list`, and those whose names contain one of `var_names`.

        As in Keras a name is the weight's alone ("kernel", without its layer's), each call replaces the one before, and
        `var_names` may be regular expressions. ValueError after the first step.
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

        A gradient is a float32 array of its parameter's shape or a `RowGradient`. The first call determines which parameters
        there are; later ones may leave some out, which then do not move. ValueError or TypeError names the parameter whose
        gradient does not fit, and then nothing has changed.
        """
        if len(gradients) != len(parameters):
            raise ValueError(
                f"{type(self).__name__}: {len(gradients)} gradients for {len(parameters)} parameters, expected one for each"
            )
        if not parameters:
            return
        tracked = self._track(parameters)
        if self.gradient_accumulation_steps:
            gradients = self._accumulate(tracked, gradients)
            if (self._batches + 1) % self.gradient_accumulation_steps:
                for each, gradient in zip(tracked, gradients, strict=True):
                    each.accumulated = gradient
                self._batches += 1
                self._known, self._last = self._known or tracked, tracked
                return
            gradients = [_divided(gradient, self.gradient_accumulation_steps) for gradient in gradients]
        if self._in_use:
            self.use_averages(False)
        rate = self._rate()
        given = [self._for_engine(each, gradient) for each, gradient in zip(tracked, gradients, strict=True)]
        for each in tracked:
            self._take_over(each)
        _core.optimizer_step(
            self._rule,
            [each.engine for each in tracked],
            given,
            rate=self._corrected(rate),
            decay=rate * (self.weight_decay or 0.0),
            clipnorm=self.clipnorm or 0.0,
            global_clipnorm=self.global_clipnorm or 0.0,
            clipvalue=self.clipvalue or 0.0,
        )
        self._batches += 1
        for each, gradient in zip(tracked, gradients, strict=True):
            parameter = each.parameter
            parameter.overdue = each.engine if isinstance(gradient, RowGradient) else None
            parameter.touch()
            each.version = parameter.version
        self._known, self._last = self._known or tracked, tracked
        for each in self._known:
            each.accumulated = None
        if self.use_ema and (self.iterations == 1 or self.iterations % self.ema_frequency == 0):
            self._average()
        if self.use_ema and self.ema_overwrite_frequency and self.iterations % self.ema_overwrite_frequency == 0:
            self.finalize_variable_values(self.parameters)

    def _for_engine(self, each: _Tracked, gradient: Gradient) -> Array | tuple[npt.NDArray[np.int64], Array]:
        """A gradient as the engine takes it, which checks the rest. ValueError for one by rows of another whole shape."""
        if not isinstance(gradient, RowGradient):
            return gradient
        if gradient.shape != each.parameter.shape:
            raise ValueError(
                f"{type(self).__name__}: the gradient of {each.parameter.name} is of the shape {gradient.shape}, "
                f"expected {each.parameter.shape}"
            )
        return gradient.rows, gradient.values

    def _accumulate(self, tracked: Sequence[_Tracked], gradients: Sequence[Gradient]) -> list[Gradient]:
        """The sums of the gradients since the last step, these included."""
        sums: list[Gradient] = []
        for each, gradient in zip(tracked, gradients, strict=True):
            values = gradient.values if isinstance(gradient, RowGradient) else gradient
            if not isinstance(values, np.ndarray) or gradient.shape != each.parameter.shape or values.dtype != np.float32:
                raise ValueError(
                    f"{type(self).__name__}: the gradient of {each.parameter.name} is not a float32 array of the shape "
                    f"{each.parameter.shape}"
                )
            before = each.accumulated
            first = gradient if isinstance(gradient, RowGradient) else values.copy()
            sums.append(first if before is None else sum_of(before, gradient))
        return sums

    # ------------------------------------------------------------ averages

    def _average(self) -> None:
        """Bring the averages up to the last step."""
        steps = self.iterations - self._averaged
        for each in self._known:
            if each.average is None:
                each.average = np.array(each.parameter.value)
            elif steps:
                _blend(each.average, each.parameter.value, self.ema_momentum**steps)
        self._averaged = self.iterations

    def use_averages(self, use: bool) -> None:
        """Swap all parameters with their averages, or back, unless that has been done. ValueError without `use_ema`.

        Gradients belong to the weights themselves, so the next step swaps them back.
        """
        if not self.use_ema:
            raise ValueError(f"{type(self).__name__}: use_ema is False, expected True: there are no averages to use")
        if use == self._in_use or not self.iterations:
            return
        if use:
            self._average()
        for each in self._known:
            value = np.array(each.parameter.value)
            each.parameter.assign(value if each.average is None else each.average)
            each.average = value
        self._in_use = use

    def finalize_variable_values(self, var_list: Iterable[Parameter]) -> None:
        """Set parameters to their averages, as fit does at its end; does nothing without `use_ema` or before the first step."""
        if not self.use_ema or not self.iterations:
            return
        wanted = {id(parameter) for parameter in var_list}
        if not self._in_use:
            self._average()
        for each in self._known:
            if self._in_use:
                each.average = np.array(each.parameter.value)
            elif id(each.parameter) in wanted and each.average is not None:
                each.parameter.assign(each.average)
        self._in_use = False

    # ------------------------------------------------------------ state

    def state(self) -> State:
        """What `load_state` needs for training to go on bit for bit as if it had not been interrupted.

        `iterations` (batches), `learning_rate`, and arrays named by their parameter's position in the first step:
        `"0/momentum"`.
        """
        state: State = {"iterations": np.array([self._batches], np.int64), "learning_rate": np.array([self._rate()])}
        if self.use_ema:
            state |= {"averaged": np.array([self._averaged]), "averages_in_use": np.array([int(self._in_use)])}
        for index, each in enumerate(self._known):
            self._take_over(each)
            arrays = {**each.slots, **(each.engine.pending() or {}), **_beside(each)}
            state |= {f"{index}/{name}": np.array(array) for name, array in arrays.items()}
        return state

    def load_state(self, state: Mapping[str, npt.NDArray[Any]], parameters: Sequence[Parameter]) -> None:
        """Restore what `state` returned, for the same parameters in the same order, whose values must be loaded before.

        ValueError or TypeError names what is missing, unknown or of a wrong shape, and then nothing has changed.
        """
        owner = type(self).__name__
        alone: dict[str, type] = {"iterations": np.int64, "learning_rate": np.float64}
        if self.use_ema:
            alone |= {"averaged": np.int64, "averages_in_use": np.int64}
        for name, dtype in alone.items():
            if name not in state:
                raise ValueError(f"{owner}: the state has no {name}")
            if state[name].shape != (1,) or state[name].dtype != dtype:
                raise ValueError(f"{owner}: the state's {name} is {state[name]!r}, expected one {np.dtype(dtype).name}")
        iterations = int(state["iterations"][0])
        if iterations < 0:
            raise ValueError(f"{owner}: the state's iterations is {iterations}, expected at least 0")
        learning_rate = number(owner, "the state's learning_rate", float(state["learning_rate"][0]), 0)
        groups: dict[str, dict[str, npt.NDArray[Any]]] = {}
        for name, array in state.items():
            position, slash, rest = name.partition("/")
            if slash:
                groups.setdefault(position, {})[rest] = array
            elif name not in alone:
                raise ValueError(f"{owner}: the state has {name!r}, which is not known")
        tracked = self._create(parameters) if iterations or groups else []
        steps = iterations // (self.gradient_accumulation_steps or 1)
        pendings = [self._pending(each, groups.pop(str(index), {}), steps) for index, each in enumerate(tracked)]
        if groups:
            raise ValueError(f"{owner}: the state has {', '.join(sorted(groups))}, but there are {len(parameters)} parameters")

        for each in [*self._known, *tracked]:
            _settle(each.parameter)
        for index, (each, pending) in enumerate(zip(tracked, pendings, strict=True)):
            for name, slot in each.slots.items():
                slot[...] = state[f"{index}/{name}"]
            if self.use_ema and steps:
                each.average = np.array(state[f"{index}/average"])
            each.accumulated = _accumulated_in(state, f"{index}/", each.parameter.shape)
            each.engine.restore(pending)
            each.parameter.overdue = None if pending is None else each.engine
        self._batches = iterations
        if self.use_ema:
            self._averaged, self._in_use = int(state["averaged"][0]), bool(state["averages_in_use"][0])
        if not isinstance(self._learning_rate, LearningRateSchedule):
            self._learning_rate = learning_rate
        self._known = tracked
        self._last = []

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, with the present learning rate."""
        given = self._learning_rate
        return {
            "name": self.name,
            "learning_rate": schedules.serialize(given) if isinstance(given, LearningRateSchedule) else given,
            "weight_decay": self.weight_decay,
            "clipnorm": self.clipnorm,
            "clipvalue": self.clipvalue,
            "global_clipnorm": self.global_clipnorm,
            "use_ema": self.use_ema,
            "ema_momentum": self.ema_momentum,
            "ema_overwrite_frequency": self.ema_overwrite_frequency,
            "ema_frequency": self.ema_frequency,
            "gradient_accumulation_steps": self.gradient_accumulation_steps,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Optimizer:
        """An optimizer with these arguments that has done no step yet."""
        create: Any = cls
        rate = config.get("learning_rate")
        given = {"learning_rate": schedules.deserialize(rate)} if isinstance(rate, Mapping) else {}
        optimizer: Optimizer = create(**{**config, **given})
        return optimizer

    def _corrected(self, rate: float) -> float:
        """The learning rate with what a rule multiplies it by in the next step: Adam's bias corrections."""
        return rate

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
        return self._undecayed_names is None or self._undecayed_names.search(parameter.name.rpartition("/")[2]) is None

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
        """Claim a parameter: apply what another optimizer has put off, and accept a value that somebody else has written."""
        parameter = each.parameter
        if parameter.overdue is not None and parameter.overdue is not each.engine:
            _settle(parameter)
        if parameter.version != each.version:
            each.engine.accept()
            each.version = parameter.version

    def _pending(self, each: _Tracked, arrays: dict[str, npt.NDArray[Any]], steps: int) -> dict[str, npt.NDArray[Any]] | None:
        """Check one parameter's part of a state; returns what `OptimizedParameter.restore` takes."""
        owner, parameter = type(self).__name__, each.parameter
        for name in [*each.slots, *(["average"] if self.use_ema and steps else [])]:
            if name not in arrays:
                raise ValueError(f"{owner}: the state has no {name} of {parameter.name}")
            array = arrays.pop(name)
            if array.shape != parameter.shape or array.dtype != np.float32:
                raise ValueError(
                    f"{owner}: the state's {name} of {parameter.name} has shape {array.shape} and dtype {array.dtype}, "
                    f"expected {parameter.shape} and float32"
                )
        if self.gradient_accumulation_steps:
            _check_accumulated(owner, parameter, arrays.pop("accumulated", None), arrays.pop("accumulated_rows", None))
        if unknown := sorted(arrays.keys() - set(_PENDING)):
            raise ValueError(f"{owner}: the state has {', '.join(unknown)} of {parameter.name}, which is not known")
        pending = arrays or None
        each.engine.check(pending)
        return pending


def _beside(each: _Tracked) -> State:
    """The arrays of a parameter's state that the engine does not know of."""
    arrays: State = {} if each.average is None else {"average": each.average}
    if isinstance(each.accumulated, RowGradient):
        return arrays | {"accumulated": each.accumulated.values, "accumulated_rows": each.accumulated.rows}
    return arrays if each.accumulated is None else arrays | {"accumulated": each.accumulated}


def _accumulated_in(state: Mapping[str, npt.NDArray[Any]], prefix: str, shape: tuple[int, ...]) -> Gradient | None:
    values, rows = state.get(f"{prefix}accumulated"), state.get(f"{prefix}accumulated_rows")
    if values is None:
        return None
    return np.array(values) if rows is None else RowGradient(np.array(rows), np.array(values), shape)


def _check_accumulated(
    owner: str, parameter: Parameter, values: npt.NDArray[Any] | None, rows: npt.NDArray[Any] | None
) -> None:
    if values is None and rows is None:
        return
    shape = parameter.shape if rows is None else (len(rows), *parameter.shape[1:])
    fits = values is not None and values.shape == shape and values.dtype == np.float32
    if rows is not None:
        ascending = bool((np.diff(rows, prepend=-1) > 0).all()) and (not len(rows) or rows[-1] < parameter.shape[0])
        fits = fits and rows.ndim == 1 and rows.dtype == np.int64 and ascending
    if not fits:
        raise ValueError(
            f"{owner}: the state's accumulated gradient of {parameter.name} does not fit its shape {parameter.shape}"
        )
