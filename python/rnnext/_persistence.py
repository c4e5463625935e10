"""A model as the files of its folder, and back. Knows what must be kept of a model; `saving` knows how files are written."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from rnnext import _random, losses, metrics, optimizers, saving
from rnnext._stack import Stack
from rnnext._training import Compiled, Run
from rnnext.callbacks import Callback
from rnnext.layers._layer import Layer
from rnnext.parameters import Array, NotFiniteError, Parameter

_T = TypeVar("_T")

_OWN = "own"  # marks a part in a description that is the user's own, which no file can hold
_STATES = "states"  # of stateful layers, in a training's checkpoint

# ---------------------------------------------------------------- from a model


def files_of(
    stack: Stack, compiled: Compiled | None, *, include_optimizer: bool, extras: Mapping[str, bytes]
) -> dict[str, bytes]:
    """The files of the model's folder by name, with `extras`. ValueError for a model that could not be loaded again."""
    if stack.input_shape is None:
        raise ValueError(f"save: {stack.name} has no weights yet, call build or fit first")
    for name in (saving.CONFIG, saving.WEIGHTS, saving.OPTIMIZER):
        if name in extras:
            raise ValueError(f"save: extras has {name!r}, which is the model's own")
    config: dict[str, Any] = {
        "model": stack.get_config(),
        "input_shape": list(stack.input_shape),
        "generators": {name: generator.bit_generator.state for name, generator in _generators(stack).items()},
        "compile": None if compiled is None else described_of(compiled),
        "optimized": None,  # the names of the weights in the optimizer's state, in its order
    }
    files = {**extras, saving.WEIGHTS: saving.arrays_to_bytes(finite_weights_of(stack, who="save"))}
    if compiled is not None and include_optimizer and compiled.optimizer.parameters:
        config["optimized"] = _names_of_optimized(stack, compiled.optimizer)
        files[saving.OPTIMIZER] = saving.arrays_to_bytes(compiled.optimizer.state())
    files[saving.CONFIG] = saving.config_to_bytes(config, files)
    return files


def weights_of(stack: Stack) -> dict[str, Array]:
    """All weights by name. ValueError if two have the same name."""
    return {name: weight.value for name, weight in _parameters(stack).items()}


def finite_weights_of(stack: Stack, *, who: str) -> dict[str, Array]:
    """The same. NotFiniteError if one has NaN or infinity, which a file that is read again may not have."""
    weights = weights_of(stack)
    for name, value in weights.items():
        if not np.isfinite(value).all():
            raise NotFiniteError(f"{who}: {name} has NaN or infinity, expected finite numbers; has the training diverged?")
    return weights


def _parameters(stack: Stack) -> dict[str, Parameter]:
    return _by_name(stack, ((weight.name, weight) for weight in stack.weights))


def _generators(stack: Stack) -> dict[str, np.random.Generator]:
    """The layers' generators by the name of the layer."""
    return _by_name(stack, (each for layer in stack.layers for each in layer.generators().items()))


def _by_name(stack: Stack, named: Iterable[tuple[str, _T]]) -> dict[str, _T]:
    """The pairs as a dict. ValueError if two things have the same name, since one of them would be lost."""
    found: dict[str, _T] = {}
    for name, value in named:
        if found.setdefault(name, value) is not value:
            raise ValueError(f"{stack.name}: {name!r} is there twice, expected layers with different names: call layer.rename")
    return found


def described_of(compiled: Compiled) -> dict[str, Any]:
    """The arguments of `compile` as JSON can hold them."""
    return {
        "optimizer": _part(optimizers, compiled.optimizer),
        "loss": None if compiled.given_loss is None else _part(losses, compiled.given_loss),
        "metrics": [_part(metrics, metric) for metric in compiled.given_metrics],
        "weighted_metrics": [_part(metrics, metric) for metric in compiled.given_weighted_metrics],
    }


def _part(module: Any, given: Any) -> Any:
    """A name, or a description from which `module` can make the part again; of a user's own part, what an error calls it."""
    if isinstance(given, str):
        return given
    try:
        described = module.serialize(given)
        known = type(module.get(described)) is type(given)
    except (TypeError, ValueError, NotImplementedError):
        known = False
    return described if known else {_OWN: f"{type(given).__name__} {given.name!r}"}


def _stateful(stack: Stack) -> list[Layer]:
    """The stateful layers, which start from their last states."""
    return [part for layer in stack.layers for part in layer.with_parts() if part.stateful]


def _names_of_optimized(stack: Stack, optimizer: optimizers.Optimizer) -> list[str]:
    names = {id(weight): weight.name for weight in stack.weights}
    for parameter in optimizer.parameters:
        if id(parameter) not in names:
            raise ValueError(f"save: the optimizer has trained {parameter.name}, which is not a weight of {stack.name}")
    return [names[id(parameter)] for parameter in optimizer.parameters]


# ---------------------------------------------------------------- to a model


class NotDamagedError(ValueError):
    """What a file holds cannot be used, though it is whole: a part of it is the user's own, or a callback cannot continue."""


@contextlib.contextmanager
def damage_in(what: Path | str) -> Iterator[None]:
    """Turn whatever a damaged configuration raises into a ValueError that names the file, or says what it is."""
    try:
        yield
    except NotDamagedError as error:
        raise ValueError(f"{what}: {error}") from error
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{what}: damaged ({type(error).__name__}: {error})") from error


def own_part(described: Mapping[str, Any]) -> str:
    """What of the arguments of `compile` is the user's own, as an error says it; "" if nothing is."""
    for what, given in described.items():
        for part in given if isinstance(given, list) else [given]:
            if isinstance(part, Mapping) and _OWN in part:
                return f"{what} has {part[_OWN]}"
    return ""


def compiled_from(described: Mapping[str, Any]) -> Compiled:
    """The arguments of `compile` that `described_of` described. NotDamagedError if a part was the user's own."""
    if own := own_part(described):
        raise NotDamagedError(
            f"{own}, somebody's own, which a file cannot hold;"
            " load_model(..., compile=False) loads the model, to be compiled anew"
        )
    return Compiled(
        optimizers.get(described["optimizer"]),
        described["loss"],
        [m if isinstance(m, str) else metrics.get(m) for m in described["metrics"]],
        [m if isinstance(m, str) else metrics.get(m) for m in described["weighted_metrics"]],
    )


def load_weights(stack: Stack, found: saving.Arrays, path: Path) -> None:
    """Set all weights from those of the file `path`. ValueError if one is missing or does not fit; then nothing has changed."""
    saving.check_arrays(path, found, {name: weight.shape for name, weight in _parameters(stack).items()})
    for weight in stack.weights:
        weight.assign(found[weight.name])


def restore_generators(stack: Stack, path: Path, config: Mapping[str, Any]) -> None:
    """Restore the layers' generators, so that they continue where they were."""
    with damage_in(path):
        for name, generator in _generators(stack).items():
            generator.bit_generator.state = config["generators"][name]


def restore_optimizer(
    stack: Stack, compiled: Compiled, folder: Path, config: Mapping[str, Any], read: Callable[[str], bytes]
) -> None:
    """Restore the optimizer's state, if it was saved."""
    if config.get("optimized") is None:
        return
    path = folder / saving.OPTIMIZER
    by_name = _parameters(stack)
    with damage_in(folder / saving.CONFIG):
        parameters = [by_name[name] for name in config["optimized"]]
    state = saving.arrays_from_bytes(read(saving.OPTIMIZER), path)
    try:
        compiled.optimizer.load_state(state, parameters)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error


# ---------------------------------------------------------------- a training in progress


def run_to_bytes(stack: Stack, compiled: Compiled, run: Run, *, stopped: bool) -> bytes:
    """Everything that a training needs to continue, as one file."""
    optimizer = compiled.optimizer
    state = {
        "of": _identity(stack, compiled, run),
        "epoch": run.epoch,
        "step": run.step,
        "rows": run.at_epoch,
        "logs": run.logs,
        "stopped": stopped,
        "randomness": _random.get_state(),
        "generators": {name: generator.bit_generator.state for name, generator in _generators(stack).items()},
        "optimized": _names_of_optimized(stack, optimizer),
        "results": compiled.get_state(),
        "callbacks": [callback.get_state() for callback in run.watchers.callbacks],
    }
    states = {f"{part.name}/{n}": h for part in _stateful(stack) for n, h in enumerate(part.kept_states)}
    parts = {saving.WEIGHTS: weights_of(stack), saving.OPTIMIZER: optimizer.state(), _STATES: states}
    return saving.state_to_bytes(state, {f"{part}/{name}": a for part, arrays in parts.items() for name, a in arrays.items()})


def restore_run(stack: Stack, compiled: Compiled, run: Run, path: Path) -> bool:
    """Continue from such a file; True if training had been stopped. ValueError if it does not fit; then nothing has changed."""
    state, arrays = saving.state_from_file(path)
    with damage_in(path):
        given, expected = state["of"], json.loads(json.dumps(_identity(stack, compiled, run)))
    for name, value in expected.items():
        if given.get(name) != value:
            raise ValueError(f"{path}: of another training: its {name} is {given.get(name)!r}, expected {value!r}")
    weights, optimizer_state, states = (
        {name.removeprefix(f"{part}/"): array for name, array in arrays.items() if name.startswith(f"{part}/")}
        for part in (saving.WEIGHTS, saving.OPTIMIZER, _STATES)
    )
    optimizer, by_name = compiled.optimizer, _parameters(stack)
    saving.check_arrays(path, weights, {name: weight.shape for name, weight in by_name.items()}, finite=False)
    before = {name: np.array(value) for name, value in weights_of(stack).items()}
    optimizer_before = optimizer.state(), optimizer.parameters
    with damage_in(path):
        try:
            _assign(stack, weights)
            optimizer.load_state(optimizer_state, [by_name[name] for name in state["optimized"]])
            for callback, each in zip(run.watchers.callbacks, state["callbacks"], strict=True):
                _continue(callback, each)
        except BaseException:
            _assign(stack, before)
            optimizer.load_state(*optimizer_before)
            raise
        for name, generator in _generators(stack).items():
            generator.bit_generator.state = state["generators"][name]
        for part in _stateful(stack):
            part.kept_states = tuple(array for name, array in sorted(states.items()) if name.rpartition("/")[0] == part.name)
        compiled.set_state(state["results"])
        _random.set_state(state["randomness"])
        run.generator.bit_generator.state = state["rows"]
        run.epoch, run.step, run.at_epoch, run.logs = state["epoch"], state["step"], state["rows"], state["logs"]
        return bool(state["stopped"])


def _continue(callback: Callback, state: Mapping[str, Any]) -> None:
    try:
        callback.set_state(state)
    except ValueError as error:
        raise NotDamagedError(f"{type(callback).__name__} cannot continue: {error}") from error


def _assign(stack: Stack, values: Mapping[str, Array]) -> None:
    for weight in stack.weights:
        weight.assign(values[weight.name])


def _identity(stack: Stack, compiled: Compiled, run: Run) -> dict[str, Any]:
    """What must agree for a checkpoint to belong to this training. `epochs` may change, and so may numbers of the rate."""
    told = described_of(compiled)
    optimizer: dict[str, Any] = dict(told["optimizer"].get("config", told["optimizer"]))
    if isinstance(rate := optimizer.get("learning_rate"), Mapping):
        optimizer["learning_rate"] = rate["class_name"]
    else:
        optimizer.pop("learning_rate", None)
    return {
        "model": stack.get_config(),
        "optimizer": type(compiled.optimizer).__name__,
        "optimizer_config": optimizer,
        "loss": told["loss"],
        "metrics": ["loss", *(compiled.metrics or {})],
        "steps": run.steps,
        "labels": run.labels,
        "validation": run.validates,
        "batch_size": run.plan.size,
        "shuffle": run.plan.shuffle,
        "pool": run.plan.pool,
        "initial_epoch": run.plan.first,
        "callbacks": [type(callback).__name__ for callback in run.watchers.callbacks],
    }
