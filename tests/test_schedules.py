"""Learning rates that follow the steps: Keras's and PyTorch's numbers, in an optimizer, saved and loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnext import Sequential, optimizers
from rnnext.layers import Dense
from rnnext.models import load_model
from rnnext.optimizers import schedules
from rnnext.optimizers.schedules import (
    CosineDecay,
    ExponentialDecay,
    LearningRateSchedule,
    OneCycle,
    PiecewiseConstantDecay,
)
from rnnext.parameters import Parameter

SCHEDULES: list[tuple[str, dict[str, Any]]] = [
    ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 7, "decay_rate": 0.5}),
    ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 7, "decay_rate": 0.5, "staircase": True}),
    ("PiecewiseConstantDecay", {"boundaries": [3, 10], "values": [1.0, 0.5, 0.1]}),
    ("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 20}),
    ("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 20, "alpha": 0.2}),
    (
        "CosineDecay",
        {"initial_learning_rate": 0.01, "decay_steps": 15, "alpha": 0.1, "warmup_target": 0.2, "warmup_steps": 6},
    ),
]


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("name", "options"), SCHEDULES)
def test_rates_of_keras(name: str, options: dict[str, Any]) -> None:
    keras = pytest.importorskip("keras")
    ours, theirs = getattr(schedules, name)(**options), getattr(keras.optimizers.schedules, name)(**options)
    expected = [float(theirs(step)) for step in range(30)]
    assert [ours(step) for step in range(30)] == pytest.approx(expected, rel=2e-6, abs=1e-9)  # float32 there
    assert ours.get_config() == theirs.get_config()


def test_rates_in_closed_form() -> None:
    warm = CosineDecay(0.0, 10, warmup_target=1.0, warmup_steps=4)
    assert [warm(step) for step in (0, 1, 2, 4, 9, 14, 99)] == pytest.approx([0, 0.25, 0.5, 1, 0.5, 0, 0])
    steps = PiecewiseConstantDecay([3, 10], [1.0, 0.5, 0.1])
    assert [steps(step) for step in (0, 3, 4, 10, 11)] == [1.0, 1.0, 0.5, 0.5, 0.1]
    assert ExponentialDecay(0.8, 2, 0.5)(4) == pytest.approx(0.2)
    cycle = OneCycle(1.0, 101, pct_start=0.5)
    assert cycle(0) == pytest.approx(0.04)
    assert max(cycle(step) for step in range(101)) == pytest.approx(1.0, abs=1e-3)
    assert cycle(100) == cycle(500) == pytest.approx(0.04 / 1e4)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("options", [{}, {"pct_start": 0.11, "div_factor": 10.0, "final_div_factor": 7.0}])
def test_one_cycle_of_pytorch(options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.3, total_steps=40, cycle_momentum=False, **options)
    expected = []
    for _ in range(40):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(expected) < 40:
            theirs.step()
    ours = OneCycle(0.3, 40, **options)
    assert [ours(step) for step in range(40)] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adam", "AdamW"])
def test_steps_with_a_schedule_are_those_with_its_rates(name: str) -> None:
    schedule = CosineDecay(0.01, 8, warmup_target=0.3, warmup_steps=3)
    make = getattr(optimizers, name)
    gradients = np.random.default_rng(0).standard_normal((10, 5)).astype(np.float32)
    ends = []
    for optimizer in (make(schedule), make(0.5)):
        parameter = Parameter("p", np.ones(5, np.float32))
        for step, gradient in enumerate(gradients):
            if not isinstance(optimizer.get_config()["learning_rate"], dict):
                optimizer.learning_rate = schedule(step)
            assert optimizer.learning_rate == schedule(step)
            optimizer.apply([gradient], [parameter])
        ends.append(parameter.value.tobytes())
    assert ends[0] == ends[1]


def test_a_schedule_is_saved_with_its_model(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32)
    model = Sequential([Dense(1)])
    model.compile(optimizers.Adam(OneCycle(0.1, 30)), "mse")
    model.fit(x, x[:, 0], batch_size=4, verbose=0, shuffle=False)
    model.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    for each in (model, loaded):
        assert each.optimizer is not None
        assert each.optimizer.learning_rate == OneCycle(0.1, 30)(10)
        each.fit(x, x[:, 0], batch_size=4, verbose=0, shuffle=False)
    assert [w.tobytes() for w in loaded.get_weights()] == [w.tobytes() for w in model.get_weights()]


@pytest.mark.parametrize(("name", "options"), SCHEDULES)
def test_serialized(name: str, options: dict[str, Any]) -> None:
    schedule = getattr(schedules, name)(**options)
    again = schedules.deserialize(schedules.serialize(schedule))
    assert type(again) is type(schedule)
    assert again.get_config() == schedule.get_config()
    optimizer = optimizers.get({"class_name": "SGD", "config": {"learning_rate": schedules.serialize(schedule)}})
    assert optimizer.learning_rate == schedule(0)
    assert optimizers.deserialize(optimizers.serialize(optimizer)).get_config() == optimizer.get_config()


def test_refused() -> None:
    optimizer = optimizers.SGD(CosineDecay(0.1, 10))
    with pytest.raises(TypeError, match=r"SGD: learning_rate is set to 0\.1, but a schedule says it"):
        optimizer.learning_rate = 0.1
    optimizer.learning_rate = OneCycle(0.5, 10)
    assert optimizer.learning_rate == pytest.approx(0.02)
    with pytest.raises(ValueError, match="CosineDecay: decay_steps is 0, expected more than 0"):
        CosineDecay(0.1, 0)
    with pytest.raises(TypeError, match="ExponentialDecay: decay_rate is 'half', expected a number"):
        ExponentialDecay(0.1, 5, "half")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="there are 2 boundaries and 2 values, expected one value more"):
        PiecewiseConstantDecay([1, 2], [0.1, 0.2])
    with pytest.raises(ValueError, match=r"boundaries is \[2, 1\], expected ascending steps"):
        PiecewiseConstantDecay([2, 1], [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match=r"pct_start is 0\.1, which leaves no step of 5 on one of both ways"):
        OneCycle(0.1, 5, pct_start=0.1)
    with pytest.raises(ValueError, match="'Mine' is not known, expected one of CosineDecay"):
        schedules.deserialize({"class_name": "Mine"})
    with pytest.raises(NotImplementedError, match="LearningRateSchedule: __call__ is not defined"):
        LearningRateSchedule()(0)
