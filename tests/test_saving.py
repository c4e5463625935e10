"""What is saved comes back bit for bit; what is damaged, foreign or from later is refused, and nothing is half done."""

from __future__ import annotations

import ast
import copy
import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from model_cases import bits
from saving_cases import T, V, data, trained

import rnnext
from rnnext import Sequential, _random, initializers, layers, losses, metrics, optimizers, saving
from rnnext.callbacks import BackupAndRestore, ModelCheckpoint
from rnnext.initializers import Constant
from rnnext.layers import GRU, LSTM, Dense, Dropout, Embedding
from rnnext.models import load_model
from rnnext.optimizers.schedules import LearningRateSchedule
from rnnext.utils import set_random_seed

OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "adam": lambda: optimizers.Adam(0.01, clipnorm=1.0, amsgrad=True),
    "adamw": lambda: optimizers.AdamW(0.01, weight_decay=0.1),
    "rmsprop": lambda: optimizers.RMSprop(0.01, momentum=0.5, centered=True),
    "sgd": lambda: optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "plain_sgd": lambda: optimizers.SGD(0.1, global_clipnorm=2.0),
}


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_going_on_after_loading_is_going_on_without(optimizer: str, tmp_path: Path) -> None:
    """Weights, optimizer, rows with steps put off, dropout's generators and metrics are the same, bit for bit."""
    model = trained(OPTIMIZERS[optimizer](), weighted_metrics=[metrics.AUC(50, name="area")])
    model.save(tmp_path / "model")
    randomness = _random.get_state()
    loaded = load_model(tmp_path / "model")
    assert bits(loaded) == bits(model)
    x, y = data()
    histories = []
    for each in (model, loaded):
        _random.set_state(randomness)
        histories.append(each.fit(x, y, batch_size=10, epochs=2, validation_split=0.2, verbose=0).history)
    assert histories[0] == histories[1]
    assert set(histories[0]) == {f"{val}{name}" for val in ("", "val_") for name in ("loss", "accuracy", "area")}
    assert bits(loaded) == bits(model)


def test_saving_changes_nothing(tmp_path: Path) -> None:
    """A model that is saved while it trains ends with the bits of one that is not."""
    x, y = data()
    ends = []
    for saves in (False, True):
        model = trained()
        if saves:
            model.save(tmp_path / "model")
        set_random_seed(2)
        model.fit(x, y, batch_size=10, epochs=2, verbose=0)
        ends.append(bits(model))
    assert ends[0] == ends[1]


def test_frozen_layers_come_back_frozen_and_the_optimizer_goes_on(tmp_path: Path) -> None:
    model = trained()
    model.layers[0].trainable = False  # after the optimizer has seen it
    model.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert not loaded.layers[0].trainable
    for each in (model, loaded):
        set_random_seed(2)
        each.fit(*data(), verbose=0)
    assert bits(loaded) == bits(model)


@pytest.mark.parametrize(
    "compiled",
    [
        {"loss": "binary_crossentropy", "metrics": ["acc", "auc", metrics.AUC(curve="PR", name="pr")]},
        {"loss": losses.BinaryCrossentropy(label_smoothing=0.1), "weighted_metrics": [metrics.Precision(0.4)]},
        {"loss": "crossentropy", "optimizer": optimizers.SGD(0.5)},
    ],
)
def test_what_compile_was_told_comes_back(compiled: dict[str, Any], tmp_path: Path) -> None:
    x, y = data()
    model = Sequential([Embedding(V, 6), LSTM(5), Dense(1, "sigmoid")])
    model.compile(**compiled)
    model.save(tmp_path / "model")  # before any step, too
    loaded = load_model(tmp_path / "model")
    assert type(loaded.optimizer) is type(model.optimizer)
    expected = model.evaluate(x, y, verbose=0, return_dict=True)
    assert loaded.evaluate(x, y, verbose=0, return_dict=True) == expected
    assert load_model(tmp_path / "model", compile=False).optimizer is None


@pytest.mark.parametrize(
    "stack",
    [
        [LSTM(4), Dense(2, "softmax")],
        [Dense(5, "relu"), Dense(1)],
        [Dropout(0.2), GRU(4, reset_after=False, update_gate="write")],
        [layers.Input((None, 3)), GRU(4, use_bias=False, return_sequences=True), Dense(2)],
    ],
    ids=["lstm", "dense", "dropout", "input"],
)
def test_models_of_floats(stack: list[Any], tmp_path: Path) -> None:
    model = Sequential(stack)
    x = np.random.default_rng(0).standard_normal((5, 3) if "dense" in stack[0].name else (5, T, 3)).astype(np.float32)
    expected = model.predict(x, verbose=0)
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(load_model(tmp_path / "model").predict(x, verbose=0), expected)
    assert not (tmp_path / "model" / saving.OPTIMIZER).exists()


def test_files_of_a_model(tmp_path: Path) -> None:
    model = trained()
    model.save(tmp_path / "model", extras={"vocabulary.json": b"[]"})
    assert {path.name for path in (tmp_path / "model").iterdir()} == {
        "config.json",
        "model.safetensors",
        "optimizer.safetensors",
        "vocabulary.json",
    }
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["format"] == 1
    assert config["rnnext"] == rnnext.__version__
    found = safetensors.numpy.load_file(tmp_path / "model" / "model.safetensors")
    assert set(found) == {weight.name for weight in model.weights}
    np.testing.assert_array_equal(found["gru/kernel"], model.layers[2].get_weights()[0])
    model.save(tmp_path / "model", include_optimizer=False)
    assert {path.name for path in (tmp_path / "model").iterdir()} == {"config.json", "model.safetensors"}
    loaded = load_model(tmp_path / "model")
    assert loaded.optimizer is not None
    assert loaded.optimizer.iterations == 0
    with pytest.raises(ValueError, match=r"extras has 'config.json', which is the model's own"):
        model.save(tmp_path / "other", extras={"config.json": b""})
    for name in ("../stray", "a/b", ".hidden"):
        with pytest.raises(ValueError, match="is not a plain file name"):
            model.save(tmp_path / "other", extras={name: b""})
    assert {path.name for path in tmp_path.iterdir()} == {"model"}


def test_weights_alone(tmp_path: Path) -> None:
    model, other = trained(), trained()
    other.set_weights([w + 1 for w in other.get_weights()])
    model.save_weights(tmp_path / "weights.safetensors")
    other.load_weights(tmp_path / "weights.safetensors")
    assert bits(other) == bits(model)
    model.save(tmp_path / "model")
    other.set_weights([w + 1 for w in other.get_weights()])
    other.load_weights(tmp_path / "model")
    assert bits(other) == bits(model)


# ---------------------------------------------------------------- damage


def rewritten(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    found = dict(safetensors.numpy.load_file(path))
    change(found)
    path.write_bytes(safetensors.numpy.save(found))


def config_changed(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def compiled_with(**changes: Any) -> dict[str, Any]:
    return {"optimizer": "adam", "loss": "mse", "metrics": [], "weighted_metrics": [], **changes}


def model_of(*described: Any) -> dict[str, Any]:
    return {"name": "x", "layers": described}


Damage = Callable[[Path], Any]
DAMAGES: dict[str, tuple[Damage, str]] = {
    "truncated weights": (
        lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-7]),
        r"model\.safetensors: not a safetensors file, or a damaged one",
    ),
    "no weights at all": (lambda f: (f / "model.safetensors").write_bytes(b""), r"model\.safetensors: not a safetensors file"),
    "other file": (lambda f: (f / "model.safetensors").write_bytes(b"PK\x03\x04" * 99), "not a safetensors file"),
    "tensor missing": (
        lambda f: rewritten(f / "model.safetensors", lambda found: found.pop("gru/bias")),
        r"model\.safetensors: weights missing: \['gru/bias'\]; not of this model: none",
    ),
    "tensor of another model": (
        lambda f: rewritten(f / "model.safetensors", lambda found: found.update(extra=np.zeros(1, np.float32))),
        r"weights missing: none; not of this model: \['extra'\]",
    ),
    "tensor of another shape": (
        lambda f: rewritten(f / "model.safetensors", lambda found: found.update({"dense/bias": np.zeros(2, np.float32)})),
        r"dense/bias is float32 \(2,\), expected float32 \(1,\)",
    ),
    "tensor of another type": (
        lambda f: rewritten(f / "model.safetensors", lambda found: found.update({"dense/bias": np.zeros(1)})),
        r"dense/bias is float64 \(1,\), expected float32 \(1,\)",
    ),
    "truncated optimizer": (
        lambda f: (f / "optimizer.safetensors").write_bytes((f / "optimizer.safetensors").read_bytes()[:-7]),
        r"optimizer\.safetensors: not a safetensors file, or a damaged one",
    ),
    "optimizer's tensor missing": (
        lambda f: rewritten(f / "optimizer.safetensors", lambda found: found.pop("2/momentum")),
        r"optimizer\.safetensors: Adam: the state has no momentum of gru/recurrent_kernel",
    ),
    "optimizer of another shape": (
        lambda f: rewritten(f / "optimizer.safetensors", lambda found: found.update({"1/velocity": np.zeros(3, np.float32)})),
        r"optimizer\.safetensors: Adam: the state's velocity of gru/kernel has shape \(3,\)",
    ),
    "later format": (lambda f: config_changed(f / "config.json", format=2), r"config\.json: format is 2, expected 1; a later"),
    "no format": (lambda f: (f / "config.json").write_text("{}"), r"config\.json: format is None, expected 1"),
    "no JSON": (lambda f: (f / "config.json").write_text("{"), r"config\.json: not JSON"),
    "no UTF-8": (lambda f: (f / "config.json").write_bytes(b"\xff\xfe"), r"config\.json: not JSON"),
    "a list": (lambda f: (f / "config.json").write_text("[1]"), r"config\.json: format is None"),
    "layers missing": (
        lambda f: config_changed(f / "config.json", model={}),
        r"config\.json: damaged \(KeyError: 'layers'\)",
    ),
    "foreign layer": (
        lambda f: config_changed(f / "config.json", model=model_of({"class_name": "os", "config": {}})),
        r"config\.json: damaged \(ValueError: layer class is 'os'",
    ),
    "foreign argument": (
        lambda f: config_changed(f / "config.json", model=model_of({"class_name": "LSTM", "config": {"a": 1}})),
        r"config\.json: damaged \(TypeError",
    ),
    "foreign loss": (
        lambda f: config_changed(f / "config.json", compile=compiled_with(loss="eval")),
        r"config\.json: damaged \(ValueError: losses.get: no loss 'eval'",
    ),
    "more units than the file has numbers": (
        lambda f: (f / "config.json").write_text((f / "config.json").read_text().replace('"units": 5', '"units": 300000')),
        r"config\.json: damaged \(ValueError: a weight has shape \(6, 900000\), expected at most the \d+ numbers",
    ),
    "a shape that is none": (
        lambda f: config_changed(f / "config.json", input_shape=[None, float("inf")]),
        r"config\.json: damaged \(ValueError: the model: input_shape is \[None, inf\], expected sizes from 1 on or None",
    ),
    "generators missing": (lambda f: config_changed(f / "config.json", generators={}), r"config\.json: damaged \(KeyError"),
    "generators damaged": (
        lambda f: config_changed(f / "config.json", generators={"spatial_dropout1d": {}, "dropout": {}}),
        r"config\.json: damaged",
    ),
}


@pytest.mark.parametrize("name", sorted(DAMAGES))
def test_damage_is_said_and_nothing_is_half_loaded(name: str, tmp_path: Path) -> None:
    model = trained()
    folder = tmp_path / "model"
    model.save(folder)
    damage, message = DAMAGES[name]
    damage(folder)
    with pytest.raises(ValueError, match=message):
        load_model(folder)
    if "optimizer" not in name and "config" not in message:
        before = bits(model)
        with pytest.raises(ValueError, match=message):
            model.load_weights(folder)
        assert bits(model) == before


def test_too_little_memory_is_not_called_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained().save(tmp_path / "model")

    def fails(*_: object, **__: object) -> None:
        raise MemoryError("Unable to allocate 4 MiB")

    monkeypatch.setattr(Embedding, "build", fails)
    with pytest.raises(MemoryError, match=r"^Unable to allocate 4 MiB$"):
        load_model(tmp_path / "model")


@pytest.mark.parametrize("compiled", [False, True])
def test_nothing_is_drawn_while_loading(compiled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = trained()
    model.save(tmp_path / "model")
    drew: list[object] = []
    for kind in (initializers.Orthogonal, initializers.GlorotUniform, initializers.RandomUniform):
        monkeypatch.setattr(kind, "__call__", lambda self, *given: drew.append(self))
    state = _random.get_state()
    found = load_model(tmp_path / "model", compile=compiled)
    assert not drew
    assert _random.get_state() == state
    assert bits(found) == bits(model)
    theirs = {name: generator.bit_generator.state for layer in model.layers for name, generator in layer.generators().items()}
    ours = {name: generator.bit_generator.state for layer in found.layers for name, generator in layer.generators().items()}
    assert len(ours) == 2
    assert ours == theirs


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing: no model here, expected a folder with config.json"):
        load_model(tmp_path / "nothing")
    trained().save(tmp_path / "model")
    (tmp_path / "model" / "optimizer.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"optimizer\.safetensors"):
        load_model(tmp_path / "model")
    with pytest.raises(ValueError, match="sequential has no weights yet"):
        Sequential([LSTM(3)]).save(tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    class OwnDense(Dense):
        pass

    model = Sequential([Embedding(V, 4), LSTM(3), OwnDense(1)])
    with pytest.raises(ValueError, match="is a OwnDense, expected one of this module's layers"):
        model.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def own_metric(y_true: Any, y_pred: Any) -> Any:
    return np.abs(np.asarray(y_true).reshape(-1) - np.asarray(y_pred)[:, 0])


class OwnLoss(losses.BinaryCrossentropy):
    pass


class OwnMetric(metrics.Mean):
    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        super().update_state(y_pred, sample_weight)


class OwnRate(LearningRateSchedule):
    def __call__(self, step: int) -> float:
        return 0.1


AUC = type("AUC", (metrics.AUC,), {})  # of a name that is known


@pytest.mark.parametrize(
    ("compiled", "message"),
    [
        (lambda: {"metrics": ["accuracy", own_metric]}, "metrics has MeanMetricWrapper 'own_metric'"),
        (lambda: {"weighted_metrics": [OwnMetric("mine")]}, "weighted_metrics has OwnMetric 'mine'"),
        (lambda: {"metrics": [AUC()]}, "metrics has AUC 'auc'"),
        (lambda: {"loss": OwnLoss()}, "loss has OwnLoss 'binary_crossentropy'"),
        (lambda: {"optimizer": optimizers.SGD(OwnRate())}, "optimizer has SGD 'sgd'"),
    ],
)
@pytest.mark.parametrize("include_optimizer", [False, True])
def test_what_is_somebodys_own_is_not_loaded_but_the_model_is(
    compiled: Callable[[], dict[str, Any]], message: str, include_optimizer: bool, tmp_path: Path
) -> None:
    x, y = data()
    model = Sequential([Embedding(V, 6), LSTM(5), Dense(1, "sigmoid")])
    model.compile(**{"loss": "binary_crossentropy", "optimizer": "adam", **compiled()})
    watchers = [ModelCheckpoint(tmp_path / "{epoch}"), BackupAndRestore(tmp_path / "backup", delete_checkpoint=False)]
    history = model.fit(x, y, epochs=2, validation_split=0.2, callbacks=watchers, verbose=0)
    assert model.fit(x, y, epochs=2, validation_split=0.2, callbacks=watchers, verbose=0).history == history.history
    model.save(tmp_path / "model", include_optimizer=include_optimizer)
    for name in ("1", "2", "model"):
        said = rf"config\.json: {message}, somebody's own, .* load_model\(\.\.\., compile=False\) loads the model"
        with pytest.raises(ValueError, match=said):
            load_model(tmp_path / name)
    loaded = load_model(tmp_path / "model", compile=False)
    assert bits(loaded) == bits(model)
    for copied in (copy.deepcopy, pickle.dumps):
        with pytest.raises(ValueError, match=rf"sequential: {message}, somebody's own, which a copy or pickle cannot hold"):
            copied(model)


def test_an_initializer_of_ones_own_is_refused(tmp_path: Path) -> None:
    class Halves(Constant):
        pass

    model = Sequential([Embedding(V, 6), LSTM(5, bias_initializer=Halves(0.5)), Dense(1)])
    with pytest.raises(ValueError, match="initializer is a Halves, expected one of this module's, to be read again"):
        model.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_names_that_are_there_twice_are_not_written(tmp_path: Path) -> None:
    model = trained()
    model.save_weights(tmp_path / "weights")
    model.layers[3].rename("gru")
    for call in (model.save, model.save_weights, model.load_weights):
        with pytest.raises(ValueError, match=r"reviews: 'gru/kernel' is there twice, expected layers with different names"):
            call(tmp_path / "weights")
    model.layers[3].rename("lstm")
    before = bits(model)
    model.load_weights(tmp_path / "weights")
    assert bits(model) == before
    model.layers[4].rename(model.layers[1].name)
    with pytest.raises(ValueError, match="reviews: 'spatial_dropout1d' is there twice"):
        model.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_what_is_there_is_kept_if_asked_for(tmp_path: Path) -> None:
    model = trained()
    for save, name in ((model.save, "model"), (model.save_weights, "a.safetensors")):
        save(tmp_path / name, overwrite=False)
        save(tmp_path / name)
        with pytest.raises(FileExistsError, match=rf"{save.__name__}: .*{name} is there already and overwrite is False"):
            save(tmp_path / name, overwrite=False)
    with pytest.raises(TypeError, match="save: overwrite is 'no', expected True or False"):
        model.save(tmp_path / "other", "no")  # type: ignore[arg-type]


def test_load_takes_what_keras_does(tmp_path: Path) -> None:
    trained().save(tmp_path / "model")
    assert load_model(tmp_path / "model", None, False, safe_mode=False).optimizer is None
    with pytest.raises(ValueError, match="load_model: custom_objects is given, expected None: a saved model has parts"):
        load_model(tmp_path / "model", custom_objects={"Own": Dense})  # type: ignore[arg-type]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_copy_goes_on_as_the_model_does(copied: Callable[[Sequential], Sequential], optimizer: str) -> None:
    model = trained(optimizer)
    again = copied(model)
    assert again.get_config() == model.get_config()
    assert weights_of(again) == weights_of(model)
    histories = [each.fit(*data(), shuffle=False, verbose=0).history for each in (model, again)]
    assert histories[0] == histories[1]
    assert weights_of(again) == weights_of(model)
    again.set_weights([weight + 1 for weight in again.get_weights()])
    assert weights_of(again) != weights_of(model)  # nothing is shared


def test_a_copy_of_a_model_that_is_not_built() -> None:
    layer = GRU(3)
    layer.build((None, None, 2))
    given = Sequential([layer, Dense(1)])
    given.compile("adam", "mse")
    for again in (copy.deepcopy(given), pickle.loads(pickle.dumps(given))):
        assert not again.built
        np.testing.assert_array_equal(again.layers[0].get_weights()[0], layer.get_weights()[0])
        assert again.fit(np.zeros((4, T, 2)), np.zeros(4), verbose=0).epoch == [0]


def test_a_damaged_pickle_is_refused() -> None:
    state = trained().__getstate__()
    state["files"]["model.safetensors"] = b"something else"
    with pytest.raises(ValueError, match=r"pickle/model\.safetensors: not a safetensors file"):
        Sequential().__setstate__(state)


def weights_of(model: Sequential) -> list[bytes]:
    return [weight.tobytes() for weight in model.get_weights()]


def test_nothing_is_pickled() -> None:
    package = Path(rnnext.__file__).parent
    for path in package.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not {name.split(".")[0] for name in imported} & {"pickle", "marshal", "shelve", "dill", "cloudpickle"}, path
        calls = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
        assert not calls & {"eval", "exec", "compile"}, path
        assert "allow_pickle" not in path.read_text(encoding="utf-8"), path


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    model = trained()
    model.save(tmp_path / "model")
    weights = safetensors.numpy.load_file(tmp_path / "model" / saving.WEIGHTS)
    name = next(iter(weights))
    weights[name].reshape(-1)[0] = np.nan
    safetensors.numpy.save_file(weights, tmp_path / "model" / saving.WEIGHTS)
    with pytest.raises(ValueError, match=f"{re.escape(name)} has NaN or infinity, expected finite numbers"):
        load_model(tmp_path / "model")


def test_a_model_that_has_diverged_does_not_take_a_good_ones_place(tmp_path: Path) -> None:
    model = trained()
    model.save(tmp_path / "model")
    model.save_weights(tmp_path / "weights")
    good = model.get_weights()
    model.weights[0].assign(np.full(model.weights[0].shape, np.inf))
    message = f"{re.escape(model.weights[0].name)} has NaN or infinity, expected finite numbers"
    with pytest.raises(ValueError, match=f"save: {message}"):
        model.save(tmp_path / "model")
    with pytest.raises(ValueError, match=f"save_weights: {message}"):
        model.save_weights(tmp_path / "weights")
    for weight, value in zip(load_model(tmp_path / "model").weights, good, strict=True):
        np.testing.assert_array_equal(weight.value, value)
    model.load_weights(tmp_path / "weights")
    np.testing.assert_array_equal(model.weights[0].value, good[0])
