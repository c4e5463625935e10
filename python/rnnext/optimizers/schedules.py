"""Learning rates that follow the steps, with Keras's names, arguments and equations; `OneCycle` is PyTorch's OneCycleLR.

A schedule is a function of the number of batches that the optimizer has seen. It has no state, so only its arguments are saved.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from rnnext._checks import number, positive

__all__ = [
    "CosineDecay",
    "ExponentialDecay",
    "LearningRateSchedule",
    "OneCycle",
    "PiecewiseConstantDecay",
    "deserialize",
    "serialize",
]


def _between(begin: float, end: float, share: float) -> float:
    """The point at `share`, from 0 to 1, of half a cosine wave from `begin` to `end`."""
    return end + (begin - end) * 0.5 * (1.0 + math.cos(math.pi * share))


class LearningRateSchedule:
    """A subclass defines `__call__(step)`, the rate after that many batches, and `get_config`.

    Only this module's schedules can be saved with a model.
    """

    def __call__(self, step: int) -> float:
        raise NotImplementedError(f"{type(self).__name__}: __call__ is not defined")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        raise NotImplementedError(f"{type(self).__name__}: get_config is not defined")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> LearningRateSchedule:
        """A schedule with these arguments."""
        return cls(**config)


class ExponentialDecay(LearningRateSchedule):
    """initial_learning_rate · decay_rate^(step / decay_steps); with `staircase` the exponent is rounded down."""

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        decay_rate: float,
        staircase: bool = False,
        name: str = "ExponentialDecay",
    ) -> None:
        self.initial_learning_rate = number(self, "initial_learning_rate", initial_learning_rate, 0)
        self.decay_steps = decay_steps
        positive(self, "decay_steps", decay_steps)
        self.decay_rate = number(self, "decay_rate", decay_rate, 0)
        self.staircase = staircase
        self.name = name

    def __call__(self, step: int) -> float:
        exponent = step / self.decay_steps
        return self.initial_learning_rate * self.decay_rate ** (math.floor(exponent) if self.staircase else exponent)

    def get_config(self) -> dict[str, Any]:
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "decay_steps": self.decay_steps,
            "decay_rate": self.decay_rate,
            "staircase": self.staircase,
            "name": self.name,
        }


class PiecewiseConstantDecay(LearningRateSchedule):
    """values[0] up to and including step boundaries[0], then values[1] up to and including boundaries[1], and so on."""

    def __init__(self, boundaries: Sequence[int], values: Sequence[float], name: str = "PiecewiseConstant") -> None:
        owner = type(self).__name__
        if not boundaries or len(boundaries) != len(values) - 1:
            raise ValueError(
                f"{owner}: there are {len(boundaries)} boundaries and {len(values)} values, expected one value more"
            )
        if any(high <= low for low, high in pairwise(boundaries)):
            raise ValueError(f"{owner}: boundaries is {list(boundaries)}, expected ascending steps")
        self.boundaries = list(boundaries)
        self.values = [number(self, f"values[{n}]", value, 0) for n, value in enumerate(values)]
        self.name = name

    def __call__(self, step: int) -> float:
        return self.values[bisect_left(self.boundaries, step)]

    def get_config(self) -> dict[str, Any]:
        return {"boundaries": self.boundaries, "values": self.values, "name": self.name}


class CosineDecay(LearningRateSchedule):
    """Half a wave of the cosine (Loshchilov & Hutter 2017), after a linear warm-up if there is a `warmup_target`.

    The rate falls within `decay_steps` from `initial_learning_rate` to `alpha` times that, where it stays. With a
    `warmup_target` it first rises from `initial_learning_rate` to that target within `warmup_steps`, and falls from there.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: int = 0,
    ) -> None:
        self.initial_learning_rate = number(self, "initial_learning_rate", initial_learning_rate, 0)
        self.decay_steps = decay_steps
        positive(self, "decay_steps", decay_steps)
        self.alpha = number(self, "alpha", alpha, 0)
        self.name = name
        self.warmup_target = None if warmup_target is None else number(self, "warmup_target", warmup_target, 0)
        self.warmup_steps = warmup_steps
        number(self, "warmup_steps", warmup_steps, 0)

    def __call__(self, step: int) -> float:
        top = self.initial_learning_rate
        if self.warmup_target is not None:
            if step < self.warmup_steps:
                return top + (self.warmup_target - top) * step / self.warmup_steps
            top, step = self.warmup_target, step - self.warmup_steps
        return _between(top, self.alpha * top, min(step / self.decay_steps, 1.0))

    def get_config(self) -> dict[str, Any]:
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "decay_steps": self.decay_steps,
            "alpha": self.alpha,
            "name": self.name,
            "warmup_target": self.warmup_target,
            "warmup_steps": self.warmup_steps,
        }


class OneCycle(LearningRateSchedule):
    """Up to `max_learning_rate` and down to almost nothing in `total_steps` (Smith & Topin 2018), both ways along a cosine.

    The rate rises from max_learning_rate / div_factor during the share `pct_start` of the steps, then falls to its first value
    / final_div_factor, where it stays. Names, defaults and numbers are those of PyTorch's OneCycleLR without its momentum.
    """

    def __init__(
        self,
        max_learning_rate: float,
        total_steps: int,
        pct_start: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        name: str = "OneCycle",
    ) -> None:
        self.max_learning_rate = number(self, "max_learning_rate", max_learning_rate, 0)
        self.total_steps = total_steps
        number(self, "total_steps", total_steps, 2)
        self.pct_start = positive(self, "pct_start", pct_start)
        if not 1.0 < self.pct_start * total_steps < total_steps:
            raise ValueError(f"OneCycle: pct_start is {pct_start}, which leaves no step of {total_steps} on one of both ways")
        self.div_factor = positive(self, "div_factor", div_factor)
        self.final_div_factor = positive(self, "final_div_factor", final_div_factor)
        self.name = name

    def __call__(self, step: int) -> float:
        first = self.max_learning_rate / self.div_factor
        top, end = self.pct_start * self.total_steps - 1.0, self.total_steps - 1.0
        if step <= top:
            return _between(first, self.max_learning_rate, step / top)
        return _between(self.max_learning_rate, first / self.final_div_factor, min((step - top) / (end - top), 1.0))

    def get_config(self) -> dict[str, Any]:
        return {
            "max_learning_rate": self.max_learning_rate,
            "total_steps": self.total_steps,
            "pct_start": self.pct_start,
            "div_factor": self.div_factor,
            "final_div_factor": self.final_div_factor,
            "name": self.name,
        }


_BY_NAME: dict[str, type[LearningRateSchedule]] = {
    cls.__name__: cls for cls in (CosineDecay, ExponentialDecay, OneCycle, PiecewiseConstantDecay)
}


def serialize(learning_rate_schedule: LearningRateSchedule) -> dict[str, Any]:
    """Class and constructor's arguments."""
    return {"class_name": type(learning_rate_schedule).__name__, "config": learning_rate_schedule.get_config()}


def deserialize(config: Mapping[str, Any]) -> LearningRateSchedule:
    """A schedule as `serialize` described it. ValueError if its class is not known."""
    name = config.get("class_name")
    if name not in _BY_NAME:
        raise ValueError(f"schedules.deserialize: {name!r} is not known, expected one of {', '.join(sorted(_BY_NAME))}")
    return _BY_NAME[str(name)].from_config(config.get("config", {}))
