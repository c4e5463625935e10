"""The same weights, the same data: the same numbers as Keras 3. Skipped where Keras is not installed.

Run under each backend: KERAS_BACKEND=torch, KERAS_BACKEND=tensorflow. Gradients are compared under torch.
"""

from __future__ import annotations

import copy
import os
import warnings
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what Keras's own imports say
    keras = pytest.importorskip("keras", reason="Keras is not installed")

import rnnext

pytestmark = pytest.mark.filterwarnings("ignore")  # Keras's, at its first calls

T, B, D, H, V = 7, 5, 6, 9, 30
TOLERANCE = 1e-5
BACKEND = keras.backend.backend()
# Under TensorFlow Keras adds up the squares of an id's gradients where it is in a batch more than once, instead of squaring
# their sum as under torch and JAX: there only plain SGD is the same for all ids.
OPTIMIZER = "sgd" if BACKEND == "tensorflow" else "adam"

MERGE_MODES = ["concat", "sum", "mul", "ave"]
CELLS: dict[str, tuple[str, dict[str, Any]]] = {
    "lstm": ("LSTM", {}),
    "lstm_without_bias": ("LSTM", {"use_bias": False}),
    "gru_reset_after": ("GRU", {}),
    "gru_reset_before": ("GRU", {"reset_after": False}),
    "gru_without_bias": ("GRU", {"use_bias": False}),
}
cells = pytest.mark.parametrize("cell", sorted(CELLS))


def generator() -> np.random.Generator:
    return np.random.default_rng(7)


def masks() -> dict[str, np.ndarray | None]:
    lengths = np.array([T, 3, 1, 0, T - 1])
    right = np.arange(T) < lengths[:, None]
    holes = generator().random((B, T)) < 0.6
    holes[2] = False
    return {"no": None, "right": right, "left": right[:, ::-1].copy(), "holes": holes}


def random_weights(layer: Any, scale: float = 0.4) -> list[np.ndarray]:
    rng = generator()
    return [(scale * rng.standard_normal(w.shape)).astype(np.float32) for w in layer.get_weights()]


def pair_of_layers(cell: str, **options: Any) -> tuple[Any, Any]:
    """Keras's layer and ours with the same random weights."""
    name, more = CELLS[cell]
    theirs = getattr(keras.layers, name)(H, **more, **options)
    ours = getattr(rnnext.layers, name)(H, **more, **options)
    theirs.build((None, T, D))
    ours.build((None, T, D))
    theirs.set_weights(random_weights(theirs))
    ours.set_weights(theirs.get_weights())
    return theirs, ours


def as_numpy(tensor: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def assert_close(actual: Any, expected: Any, what: str = "", tolerance: float = TOLERANCE) -> None:
    expected = as_numpy(expected)
    assert actual.shape == expected.shape, what
    error, allowed = np.abs(actual - expected).max(initial=0), tolerance * max(1.0, np.abs(expected).max(initial=0))
    assert error <= allowed, f"{what}: error {error:.3g}, allowed {allowed:.3g}"


@cells
@pytest.mark.parametrize("mask", sorted(masks()))
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
def test_recurrent_outputs(cell: str, mask: str, go_backwards: bool, return_sequences: bool) -> None:
    theirs, ours = pair_of_layers(cell, go_backwards=go_backwards, return_sequences=return_sequences, return_state=True)
    x = generator().standard_normal((B, T, D)).astype(np.float32)
    expected = theirs(keras.ops.convert_to_tensor(x), mask=None if mask == "no" else keras.ops.convert_to_tensor(masks()[mask]))
    for name, got, wanted in zip(("y", "h_T", "c_T"), ours(x, mask=masks()[mask]), expected, strict=False):
        assert_close(got, wanted, name)


@cells
def test_recurrent_initial_state(cell: str) -> None:
    theirs, ours = pair_of_layers(cell, return_sequences=True)
    x = generator().standard_normal((B, T, D)).astype(np.float32)
    states = [generator().standard_normal((B, H)).astype(np.float32) for _ in range(ours.state_count)]
    given = [keras.ops.convert_to_tensor(state) for state in states]
    expected = theirs(keras.ops.convert_to_tensor(x), initial_state=given if len(given) > 1 else given[0])
    assert_close(ours(x, initial_state=states), expected)


@pytest.mark.skipif(BACKEND != "torch", reason="gradients are compared under torch")
@cells
@pytest.mark.parametrize("mask", sorted(masks()))
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
def test_recurrent_gradients(cell: str, mask: str, go_backwards: bool, return_sequences: bool) -> None:
    import torch

    theirs, ours = pair_of_layers(cell, go_backwards=go_backwards, return_sequences=return_sequences)
    x = generator().standard_normal((B, T, D)).astype(np.float32)
    their_x = torch.tensor(x, requires_grad=True)
    given = masks()[mask]
    y = theirs(their_x, mask=None if given is None else torch.tensor(given))
    dy = generator().standard_normal(tuple(y.shape)).astype(np.float32)
    y.backward(torch.tensor(dy))

    _, backprop = ours.forward(x, training=True, mask=given)
    gradients = backprop(dy)
    assert their_x.grad is not None
    assert_close(gradients.inputs, their_x.grad, "x")
    for variable, parameter, gradient in zip(theirs.trainable_variables, ours.weights, gradients.weights, strict=True):
        assert_close(gradient, variable.value.grad, parameter.name)


def test_embedding() -> None:
    theirs = keras.layers.Embedding(V, D, mask_zero=True)
    ours = rnnext.layers.Embedding(V, D, mask_zero=True)
    ids = generator().integers(0, V, (B, T)).astype(np.int32)
    ids[:, -2:] = 0
    expected = theirs(keras.ops.convert_to_tensor(ids))
    ours.build((None, None))
    ours.set_weights(theirs.get_weights())
    np.testing.assert_array_equal(ours(ids), as_numpy(expected))
    np.testing.assert_array_equal(ours.compute_mask(ids), as_numpy(theirs.compute_mask(keras.ops.convert_to_tensor(ids))))


ACTIVATIONS = ["relu", "relu6", "leaky_relu", "elu", "selu", "softplus", "softsign", "exponential", "hard_sigmoid"]
ACTIVATIONS += ["sigmoid", "tanh", "softmax"]


@pytest.mark.parametrize("activation", [None, *ACTIVATIONS])
@pytest.mark.parametrize("shape", [(B, D), (B, T, D)])
def test_dense(activation: str | None, shape: tuple[int, ...]) -> None:
    theirs, ours = keras.layers.Dense(4, activation=activation), rnnext.layers.Dense(4, activation=activation)
    theirs.build(shape)
    ours.build(shape)
    theirs.set_weights(random_weights(theirs))
    ours.set_weights(theirs.get_weights())
    x = generator().standard_normal(shape).astype(np.float32)
    expected = theirs(keras.ops.convert_to_tensor(x))
    for training in (False, True):
        assert_close(ours.forward(x, training=training)[0], expected)


@pytest.mark.skipif(BACKEND != "torch", reason="gradients are compared under torch")
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_of_activations(activation: str) -> None:
    """Also where a formula could overflow, and on kinks, where a derivative is a choice."""
    import torch

    x = np.array([[-200, -8, -3, -1, -1e-3, 0, 1e-3, 1, 3, 6, 8, 200]], np.float32)
    if activation == "exponential":
        x = np.minimum(x, 20)  # it does overflow
    dy = generator().standard_normal(x.shape).astype(np.float32)
    at = torch.tensor(x, requires_grad=True)
    expected = getattr(keras.activations, activation)(at)
    expected.backward(torch.tensor(dy))
    ours = rnnext.activations.get(activation)
    assert rnnext.activations.get(getattr(keras.activations, activation)) is ours
    y = ours.forward(x)
    assert_close(y, expected.detach())
    dx = ours.backward(dy, y)
    assert (y.dtype, dx.dtype) == (np.float32, np.float32)
    assert_close(dx, at.grad)


WEIGHTLESS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "Activation": ({"activation": "softmax"}, (B, T, D)),
    "Flatten": ({}, (B, T, D)),
    "Masking": ({"mask_value": -0.9}, (B, T, D)),
    "RepeatVector": ({"n": 4}, (B, D)),
}


@pytest.mark.parametrize("name", sorted(WEIGHTLESS))
def test_layers_without_weights(name: str) -> None:
    torch = pytest.importorskip("torch")
    options, shape = WEIGHTLESS[name]
    x = generator().standard_normal(shape).astype(np.float32)
    if name == "Masking":
        x[1, 3:] = x[2, 0] = x[4, :, 0] = -0.9
    theirs, ours = getattr(keras.layers, name)(**options), getattr(rnnext.layers, name)(**options)
    at = torch.tensor(x, requires_grad=BACKEND == "torch")
    expected = theirs(at if BACKEND == "torch" else x)
    y, backprop = ours.forward(x)
    assert_close(y, expected.detach() if BACKEND == "torch" else expected)
    assert ours.compute_output_shape((None, *shape[1:])) == theirs.compute_output_shape((None, *shape[1:]))
    if name == "Masking":
        np.testing.assert_array_equal(ours.compute_mask(x), as_numpy(theirs.compute_mask(keras.ops.convert_to_tensor(x))))
    if BACKEND == "torch":
        dy = generator().standard_normal(y.shape).astype(np.float32)
        expected.backward(torch.tensor(dy))
        assert_close(backprop(dy).inputs, at.grad)


@pytest.mark.parametrize("name", ["series", "encoder", "flat"])
def test_models_of_layers_without_weights(name: str) -> None:
    """Where a mask goes, and where it ends."""
    found = []
    for kind, L in ((keras.Sequential, keras.layers), (rnnext.Sequential, rnnext.layers)):
        lstm = L.LSTM(H, return_sequences=True)
        stacks = {
            "series": [
                L.Masking(),
                lstm,
                L.Activation("relu"),
                L.GlobalAveragePooling1D(),
                L.Dense(2),
                L.Activation("softmax"),
            ],
            "encoder": [
                L.Masking(-1.0),
                L.GRU(H),
                L.RepeatVector(3),
                lstm,
                L.TimeDistributed(L.Dense(2)),
                L.Activation("softsign"),
            ],
            "flat": [L.Masking(), lstm, L.Flatten(), L.RepeatVector(2), L.GRU(3), L.Dense(1)],
        }
        model = kind([L.Input((T, D)), *stacks[name]])
        model.compile(optimizer="sgd", loss="mse")
        found.append(model)
    theirs, ours = found
    ours.set_weights(theirs.get_weights())
    x = generator().standard_normal((B, T, D)).astype(np.float32)
    x[1, 3:] = x[2, 0] = x[4, 2] = 0 if name != "encoder" else -1
    assert_close(ours.predict(x, verbose=0), theirs.predict(x, verbose=0))
    y = generator().standard_normal(ours.predict(x, verbose=0).shape).astype(np.float32)
    arguments = {"epochs": 2, "batch_size": 3, "shuffle": False, "verbose": 0}
    assert_same_history(ours.fit(x, y, **arguments), theirs.fit(x, y, **arguments))
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        assert_close(a, b)


@pytest.mark.parametrize("layer", ["GlobalMaxPooling1D", "GlobalAveragePooling1D"])
@pytest.mark.parametrize("masked", [False, True])
def test_pooling(layer: str, masked: bool) -> None:
    if masked and layer == "GlobalMaxPooling1D":
        pytest.skip("Keras's layer does not look at the mask")
    x = generator().standard_normal((B, T, D)).astype(np.float32)
    mask = masks()["holes"] if masked else None
    if mask is not None:
        mask[2, 0] = True  # Keras divides by 0 where there is no token
    options = {"mask": keras.ops.convert_to_tensor(mask)} if masked else {}
    expected = getattr(keras.layers, layer)()(keras.ops.convert_to_tensor(x), **options)
    assert_close(getattr(rnnext.layers, layer)()(x, mask=mask), expected)


# ---------------------------------------------------------------- models


def layers_of(module: Any, cell: str, **options: Any) -> list[Any]:
    name, more = CELLS[cell]
    return [
        module.layers.Embedding(V, D, **options),
        getattr(module.layers, name)(H, **more),
        module.layers.Dense(1, activation="sigmoid"),
    ]


def pair_of_models(cell: str, **compile_options: Any) -> tuple[Any, Any]:
    """The tutorial's program in Keras and here, with the same random weights."""
    theirs, ours = keras.Sequential(layers_of(keras, cell)), rnnext.Sequential(layers_of(rnnext, cell))
    theirs.build((None, T))
    theirs.set_weights(random_weights(theirs))
    ours.set_weights(theirs.get_weights())
    for model in (theirs, ours):
        model.compile(**{"loss": "binary_crossentropy", "optimizer": OPTIMIZER, "metrics": ["accuracy"], **compile_options})
    return theirs, ours


def data(rows: int = 32) -> tuple[np.ndarray, np.ndarray]:
    rng = generator()
    return rng.integers(0, V, (rows, T)).astype(np.int32), rng.integers(0, 2, rows).astype(np.int32)


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_after"])
def test_tutorial_predictions(cell: str) -> None:
    theirs, ours = pair_of_models(cell)
    x, _ = data()
    assert_close(ours.predict(x, verbose=0), theirs.predict(x, verbose=0))


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_after", "gru_reset_before"])
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
def test_one_step(cell: str, optimizer: str) -> None:
    theirs, ours = pair_of_models(cell, optimizer=optimizer)
    x, y = data()
    if BACKEND == "tensorflow":  # see OPTIMIZER
        x, y = generator().permutation(V)[: 4 * T].reshape(4, T), y[:4]
    theirs.fit(x, y, batch_size=32, verbose=0)
    ours.fit(x, y, batch_size=32, verbose=0)
    for parameter, expected in zip(ours.weights, theirs.get_weights(), strict=True):
        assert_close(parameter.value, expected, parameter.name)


def assert_same_history(ours: Any, theirs: Any) -> None:
    assert set(ours.history) == set(theirs.history)
    assert ours.epoch == theirs.epoch
    for name, expected in theirs.history.items():
        np.testing.assert_allclose(ours.history[name], expected, rtol=2e-4, atol=2e-5, err_msg=name)


@pytest.mark.parametrize(
    "options",
    [
        {"validation_split": 0.3},
        {"sample_weight": np.linspace(0, 2, 40).astype(np.float32), "validation_split": 0.25},
        {"class_weight": {0: 0.5, 1: 2.0}, "validation_split": 0.25},
        {"initial_epoch": 2, "epochs": 4},
        {"steps_per_epoch": 2, "epochs": 5},
        {"steps_per_epoch": 2, "batch_size": None},
        {"validation_split": 0.5, "validation_freq": 2, "validation_steps": 2},
        {"validation_split": 0.5, "validation_freq": [1, 3], "validation_steps": 2, "batch_size": None},
    ],
    ids=["validation_split", "sample_weight", "class_weight", "initial_epoch", "steps", "steps_alone", "freq", "freqs"],
)
def test_history(options: dict[str, Any]) -> None:
    theirs, ours = pair_of_models("lstm", metrics=["accuracy", "mse"], weighted_metrics=["accuracy", "mae"])
    x, y = data(40)
    arguments = {"epochs": 3, "batch_size": 8, "shuffle": False, "verbose": 0, **options}
    assert_same_history(ours.fit(x, y, **arguments), theirs.fit(x, y, **arguments))


def test_batches_that_a_generator_hands_out() -> None:
    theirs, ours = pair_of_models("lstm", metrics=["accuracy"])
    x, y = data(40)

    def batches() -> Any:
        while True:
            for n in range(0, 40, 8):
                yield x[n : n + 8], y[n : n + 8]

    found = []
    for model in (theirs, ours):
        told = {"epochs": 2, "steps_per_epoch": 4, "validation_steps": 2, "verbose": 0}
        history = model.fit(batches(), validation_data=batches(), **told)
        measured = model.evaluate(batches(), steps=3, verbose=0), model.evaluate(x, y, batch_size=8, steps=3, verbose=0)
        found.append((history, measured, model.predict(batches(), steps=3, verbose=0), model.predict(x, steps=3, verbose=0)))
    assert_same_history(found[1][0], found[0][0])
    for a, b in zip(found[1][1:], found[0][1:], strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


def test_layers_of_a_model_with_an_input() -> None:
    models = []
    for kind, layers in ((keras.Sequential, keras.layers), (rnnext.Sequential, rnnext.layers)):
        model = kind([layers.Input((T,)), layers.Embedding(V, D), layers.LSTM(H), layers.Dense(1)])
        model.layers[0].trainable = False
        models.append(model)
    theirs, ours = models
    assert [type(layer).__name__ for layer in ours.layers] == [type(layer).__name__ for layer in theirs.layers]
    assert [w.shape for w in ours.trainable_weights] == [tuple(w.shape) for w in theirs.trainable_weights]
    assert type(ours.get_layer(index=1)).__name__ == type(theirs.get_layer(index=1)).__name__
    described = [[layer["class_name"] for layer in model.get_config()["layers"]] for model in models]
    assert described[0] == described[1]


@cells
def test_input_shape_of_the_first_layer(cell: str) -> None:
    models = []
    for kind, layers in ((keras.Sequential, keras.layers), (rnnext.Sequential, rnnext.layers)):
        name, options = CELLS[cell]
        models.append(kind([getattr(layers, name)(H, input_shape=(T, D), **options), layers.Dense(2)]))
    theirs, ours = models
    assert ours.built
    assert ours.input_shape == theirs.input_shape
    assert len(ours.layers) == len(theirs.layers)
    theirs.set_weights(random_weights(theirs))
    ours.set_weights(theirs.get_weights())
    x = generator().standard_normal((B, T, D)).astype(np.float32)
    np.testing.assert_allclose(ours.predict(x, verbose=0), theirs.predict(x, verbose=0), atol=TOLERANCE)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_whole_floats_as_ids(dtype: str) -> None:
    theirs, ours = (
        kind([layers.Embedding(V, D, mask_zero=True), layers.GRU(H), layers.Dense(1)])
        for kind, layers in ((keras.Sequential, keras.layers), (rnnext.Sequential, rnnext.layers))
    )
    x = rnnext.utils.pad_sequences([[3, 4, V - 1], [5], [1, 2]], maxlen=T, dtype=dtype)
    theirs.predict(x, verbose=0)
    ours.build((None, T))
    ours.set_weights(random_weights(theirs))
    theirs.set_weights(ours.get_weights())
    np.testing.assert_allclose(ours.predict(x, verbose=0), theirs.predict(x, verbose=0), atol=TOLERANCE)


def test_a_stateful_model() -> None:
    """Batch after batch from where the one before it ended, of the size that the Input says."""
    theirs, ours = (
        kind([layers.Input(batch_shape=(4, T, D)), layers.LSTM(H, stateful=True), layers.Dense(1)])
        for kind, layers in ((keras.Sequential, keras.layers), (rnnext.Sequential, rnnext.layers))
    )
    theirs.set_weights(random_weights(theirs))
    ours.set_weights(theirs.get_weights())
    x = generator().standard_normal((16, T, D)).astype(np.float32)
    for _ in range(2):
        expected = theirs.predict(x, batch_size=4, verbose=0)
        np.testing.assert_allclose(ours.predict(x, verbose=0), expected, atol=TOLERANCE)
    converted = rnnext.interop.to_keras(ours)
    assert converted.input_shape == theirs.input_shape
    assert rnnext.interop.from_keras(converted).get_config()["layers"][0]["config"]["batch_size"] == 4


def test_lists_of_one_array() -> None:
    """What is not a list of sequences is one input of several, and one output of several."""
    models = []
    for module in (keras, rnnext):
        layers = module.layers
        model = module.Sequential([module.Input((T,)), layers.Embedding(V, D), layers.GRU(H), layers.Dense(1, "sigmoid")])
        model.set_weights([(n + 1) / 10 * np.ones(w.shape) for n, w in enumerate(model.get_weights())])
        model.compile(OPTIMIZER, "binary_crossentropy", metrics=["accuracy"])
        models.append(model)
    theirs, ours = models
    x, y = data(40)
    arguments: dict[str, Any] = {"sample_weight": [np.linspace(0, 2, 40)], "shuffle": False, "verbose": 0}
    histories = [model.fit([x], [y], validation_data=([x], [y]), **arguments) for model in (ours, theirs)]
    assert_same_history(*histories)
    assert ours.evaluate([x], y, verbose=0) == pytest.approx(theirs.evaluate([x], y, verbose=0), rel=1e-5)
    assert_close(ours.predict([x], verbose=0), theirs.predict([x], verbose=0))


def test_what_compile_leaves_open() -> None:
    for module in (keras, rnnext):
        model = module.Sequential([module.Input((T,)), module.layers.Embedding(V, D), module.layers.GRU(H)])
        assert (model.compiled, model.metrics) == (False, [])
        model.compile()
        assert (model.compiled, model.loss, type(model.optimizer).__name__) == (True, None, "RMSprop")
        assert [metric.name for metric in model.metrics] == model.metrics_names == ["loss"]
        assert model.optimizer.iterations.numpy() == int(model.optimizer.iterations) == 0
        assert model.predict(data(3)[0], verbose=0).shape == (3, H)
        for call in (model.fit, model.evaluate, model.train_on_batch):
            with pytest.raises(ValueError, match="loss"):
                call(data(3)[0], np.zeros((3, H)))
        assert module.utils.clear_session() is module.backend.clear_session() is None


def test_names_of_equal_metrics() -> None:
    x, y = data(16)
    histories = []
    for module, model in zip((keras, rnnext), pair_of_models("lstm"), strict=True):
        two = [module.metrics.AUC(name="auc"), module.metrics.AUC(name="auc")]
        model.compile(OPTIMIZER, "crossentropy" if module is rnnext else "binary_crossentropy", metrics=two)
        histories.append(model.fit(x, y, shuffle=False, verbose=0))
    assert_same_history(histories[1], histories[0])
    assert set(histories[1].history) == {"loss", "auc", "auc_1"}


def test_evaluate() -> None:
    theirs, ours = pair_of_models("gru_reset_after", metrics=["accuracy", "mae"], weighted_metrics=["accuracy"])
    x, y = data(40)
    weights = np.linspace(0, 2, 40).astype(np.float32)
    expected = theirs.evaluate(x, y, sample_weight=weights, verbose=0, return_dict=True)
    found = ours.evaluate(x, y, sample_weight=weights, verbose=0, return_dict=True)
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("classes", [1, 4])
@pytest.mark.parametrize("weighted", [False, True])
def test_loss_of_masked_steps(classes: int, weighted: bool) -> None:
    """An output for each step; steps without a token do not count."""
    models = [
        module.Sequential(
            [
                module.layers.Embedding(V, D, mask_zero=True),
                module.layers.GRU(H, return_sequences=True),
                module.layers.Dense(classes, activation="sigmoid" if classes == 1 else "softmax"),
            ]
        )
        for module in (keras, rnnext)
    ]
    theirs, ours = models
    x, _ = data(24)
    x[:12, 4:] = 0
    y = generator().integers(0, max(classes, 2), (24, T, 1) if classes == 1 else (24, T)).astype(np.int32)
    theirs.build((None, T))
    theirs.set_weights(random_weights(theirs))
    ours.set_weights(theirs.get_weights())
    weights = np.linspace(0, 2, 24 * T).reshape(24, T).astype(np.float32) if weighted else None
    for model in models:
        model.compile(OPTIMIZER, "binary_crossentropy" if classes == 1 else "sparse_categorical_crossentropy")
    for _ in range(2):
        arguments = {"sample_weight": weights, "batch_size": 8, "shuffle": False, "verbose": 0}
        assert_same_history(ours.fit(x, y, **arguments), theirs.fit(x, y, **arguments))
    for parameter, expected in zip(ours.weights, theirs.get_weights(), strict=True):
        np.testing.assert_allclose(parameter.value, expected, atol=2e-5, err_msg=parameter.name)


# ---------------------------------------------------------------- both directions, kept states, options


def pair_of_bidirectional(cell: str, merge_mode: str | None, **options: Any) -> tuple[Any, Any]:
    name, more = CELLS[cell]
    cells = [getattr(module.layers, name)(H, **more, **options) for module in (keras, rnnext)]
    theirs = keras.layers.Bidirectional(cells[0], merge_mode=merge_mode, dtype=options.get("dtype"))
    ours = rnnext.layers.Bidirectional(cells[1], merge_mode=merge_mode)
    theirs.build((None, T, D))
    ours.build((None, T, D))
    theirs.set_weights(random_weights(theirs))
    ours.set_weights(theirs.get_weights())
    return theirs, ours


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_after", "gru_reset_before"])
@pytest.mark.parametrize("mask", sorted(masks()))
@pytest.mark.parametrize("merge_mode", ["concat", "sum", "mul", "ave", None])
@pytest.mark.parametrize("return_sequences", [False, True])
def test_bidirectional(cell: str, mask: str, merge_mode: str | None, return_sequences: bool) -> None:
    theirs, ours = pair_of_bidirectional(cell, merge_mode, return_sequences=return_sequences, return_state=True)
    x = generator().standard_normal((B, T, D)).astype(np.float32)
    states = [generator().standard_normal((B, H)).astype(np.float32) for _ in range(2 * ours.forward_layer.state_count)]
    given = masks()[mask]
    if mask != "no":
        states = [state * given.any(axis=1, keepdims=True) for state in states]  # Keras's row without tokens yields 0
    expected = theirs(
        keras.ops.convert_to_tensor(x),
        initial_state=[keras.ops.convert_to_tensor(state) for state in states],
        mask=None if given is None else keras.ops.convert_to_tensor(given),
    )
    found = ours(x, mask=given, initial_state=states)
    assert len(found) == len(expected)
    for n, (got, wanted) in enumerate(zip(found, expected, strict=True)):
        assert_close(got, wanted, f"output {n}")


@pytest.mark.skipif(BACKEND != "torch", reason="gradients are compared under torch")
@pytest.mark.parametrize("cell", ["lstm", "gru_reset_after", "gru_reset_before"])
@pytest.mark.parametrize("mask", sorted(masks()))
@pytest.mark.parametrize("merge_mode", MERGE_MODES)
def test_bidirectional_gradients(cell: str, mask: str, merge_mode: str) -> None:
    """Outputs go round, last or all, so that both meet each mask, each mode and each cell."""
    import torch

    turn = sorted(CELLS).index(cell) + sorted(masks()).index(mask) + MERGE_MODES.index(merge_mode)
    theirs, ours = pair_of_bidirectional(cell, merge_mode, return_sequences=turn % 2 == 1)
    x = generator().standard_normal((B, T, D)).astype(np.float32)
    their_x, given = torch.tensor(x, requires_grad=True), masks()[mask]
    y = theirs(their_x, mask=None if given is None else torch.tensor(given))
    dy = generator().standard_normal(tuple(y.shape)).astype(np.float32)
    y.backward(torch.tensor(dy))
    gradients = ours.forward(x, training=True, mask=given)[1](dy)
    assert their_x.grad is not None
    assert_close(gradients.inputs, their_x.grad, "x")
    for variable, parameter, gradient in zip(theirs.trainable_variables, ours.weights, gradients.weights, strict=True):
        assert_close(gradient, variable.value.grad, parameter.name)


@pytest.fixture
def _exact_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras's product rounds float64 to float32 (its result_type of two float64 is float32); PyTorch's does not."""
    import torch

    monkeypatch.setattr("keras.src.backend.torch.numpy.matmul", torch.matmul)


@pytest.mark.skipif(BACKEND != "torch", reason="gradients are compared under torch")
@pytest.mark.usefixtures("_exact_products")
@pytest.mark.parametrize("cell", ["lstm", "gru_reset_after", "gru_reset_before"])
@pytest.mark.parametrize("mask", sorted(masks()))
@pytest.mark.parametrize("direction", ["forward", "backward", "concat", "mul"])
def test_double_precision(cell: str, mask: str, direction: str) -> None:
    """Outputs, last states and all gradients to 1e-11."""
    import torch

    options: Any = {"dtype": "float64", "return_sequences": True, "return_state": True}
    if direction in ("forward", "backward"):
        theirs, ours = pair_of_layers(cell, go_backwards=direction == "backward", **options)
    else:
        theirs, ours = pair_of_bidirectional(cell, direction, **options)
    rng = generator()
    exact = [0.4 * rng.standard_normal(w.shape) for w in ours.weights]
    theirs.set_weights(exact)
    ours.set_weights(exact)
    x = rng.standard_normal((B, T, D))
    their_x, given = torch.tensor(x, requires_grad=True), masks()[mask]
    expected = theirs(their_x, mask=None if given is None else torch.tensor(given))
    found, backprop = ours.forward(x, training=True, mask=given)
    upstream = tuple(rng.standard_normal(y.shape) for y in found)
    torch.autograd.backward(list(expected), [torch.tensor(d) for d in upstream])
    gradients = backprop(upstream)
    pairs = [*zip(found, expected, strict=True), (gradients.inputs, their_x.grad)]
    pairs += [(g, v.value.grad) for g, v in zip(gradients.weights, theirs.trainable_variables, strict=True)]
    for n, (got, wanted) in enumerate(pairs):
        assert got.dtype == np.float64
        assert_close(got, wanted, f"array {n}", 1e-11)


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_after", "gru_reset_before"])
@pytest.mark.parametrize("mask", ["right", "left", "holes"])
@pytest.mark.parametrize("go_backwards", [False, True])
def test_zero_output_for_mask(cell: str, mask: str, go_backwards: bool) -> None:
    theirs, ours = pair_of_layers(cell, go_backwards=go_backwards, return_sequences=True, zero_output_for_mask=True)
    x = generator().standard_normal((B, T, D)).astype(np.float32)
    expected = theirs(keras.ops.convert_to_tensor(x), mask=keras.ops.convert_to_tensor(masks()[mask]))
    assert_close(ours(x, mask=masks()[mask]), expected)


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_after", "gru_reset_before"])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_stateful(cell: str, both: bool, dtype: str, request: pytest.FixtureRequest) -> None:
    if dtype == "float64" and BACKEND != "torch":
        pytest.skip("Keras computes products in float32")
    if dtype == "float64":
        request.getfixturevalue("_exact_products")
    name, more = CELLS[cell]
    pair = []
    for module in (keras, rnnext):
        layer = getattr(module.layers, name)(H, **more, stateful=True, dtype=dtype)
        wrapper: Any = {"dtype": dtype} if module is keras else {}
        pair.append(module.layers.Bidirectional(layer, **wrapper) if both else layer)
    theirs, ours = pair
    theirs.build((B, T, D))
    ours.build((B, T, D))
    theirs.set_weights(random_weights(theirs)[: len(ours.weights)])
    ours.set_weights(theirs.get_weights())
    rng, mask = generator(), masks()["right"]
    for n in range(5):
        x = rng.standard_normal((B, T, D)).astype(dtype)
        given = mask if n % 2 else None
        expected = theirs(keras.ops.convert_to_tensor(x), mask=None if given is None else keras.ops.convert_to_tensor(given))
        got, wanted = ours(x, mask=given), as_numpy(expected)
        there = np.ones(B, bool) if given is None else given[:, 0]  # Keras's row without tokens yields 0, ours its state
        assert_close(got[there], wanted[there], f"call {n}", TOLERANCE if dtype == "float32" else 1e-11)
        if n == 2:
            theirs.reset_state()
            ours.reset_state()


@pytest.mark.parametrize("name", ["LSTM", "GRU"])
def test_states_that_another_layer_goes_on_from(name: str) -> None:
    x, found = generator().standard_normal((B, T, D)).astype(np.float32), []
    for module in (keras, rnnext):
        make = getattr(module.layers, name)
        kept, other = make(H, stateful=True), make(H)
        for layer in (kept, other):
            layer.build((B, T, D))
            layer.set_weights(random_weights(layer))
        given = keras.ops.convert_to_tensor(x) if module is keras else x
        kept(given)
        found.append(as_numpy(other(given, initial_state=kept.states)))
        assert other.states is None
    assert_close(found[1], found[0])


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_after", "gru_reset_before"])
def test_dropout_of_inputs(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what we drew given to Keras's layer."""
    from rnnext.layers._dropout import drawn_scale

    theirs, ours = pair_of_layers(cell, dropout=0.4, seed=3)
    scale = drawn_scale(copy.deepcopy(ours.generator), 0.4, (B, 1, D))
    monkeypatch.setattr(type(theirs.cell), "get_dropout_mask", lambda cell, x: keras.ops.convert_to_tensor(scale[:, 0]))
    x = generator().standard_normal((B, T, D)).astype(np.float32)
    assert_close(ours(x, training=True), theirs(keras.ops.convert_to_tensor(x), training=True))
    assert_close(ours(x), theirs(keras.ops.convert_to_tensor(x), training=False))


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_after", "gru_reset_before"])
@pytest.mark.parametrize("mask", ["no", "right"])
def test_dropout_of_states(cell: str, mask: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what we drew given to Keras's layer, for each gate the same: Keras draws one for each."""
    from rnnext.layers._dropout import drawn_scale

    theirs, ours = pair_of_layers(cell, recurrent_dropout=0.4, seed=3, return_sequences=True)
    scale = keras.ops.convert_to_tensor(drawn_scale(copy.deepcopy(ours.generator), 0.4, (B, H)))
    monkeypatch.setattr(type(theirs.cell), "get_recurrent_dropout_mask", lambda cell, h: [scale] * ours.gates)
    x, given = generator().standard_normal((B, T, D)).astype(np.float32), masks()[mask]
    their_mask = None if given is None else keras.ops.convert_to_tensor(given)
    assert_close(ours(x, training=True, mask=given), theirs(keras.ops.convert_to_tensor(x), mask=their_mask, training=True))
    assert_close(ours(x, mask=given), theirs(keras.ops.convert_to_tensor(x), mask=their_mask, training=False))


def test_time_distributed() -> None:
    theirs, ours = (module.layers.TimeDistributed(module.layers.Dense(4, activation="tanh")) for module in (keras, rnnext))
    theirs.build((None, T, D))
    ours.build((None, T, D))
    theirs.set_weights(random_weights(theirs))
    ours.set_weights(theirs.get_weights())
    x = generator().standard_normal((B, T, D)).astype(np.float32)
    assert_close(ours(x), theirs(keras.ops.convert_to_tensor(x)))


def test_weights_by_their_names() -> None:
    found = []
    for module in (keras, rnnext):
        embedding, lstm, dense = module.layers.Embedding(V, D), module.layers.LSTM(H), module.layers.Dense(2, use_bias=False)
        for layer, shape in ((embedding, (None, T)), (lstm, (None, T, D)), (dense, (None, H))):
            with pytest.raises(AttributeError):  # before there are weights
                layer.embeddings if layer is embedding else layer.cell.kernel if layer is lstm else layer.kernel  # noqa: B018
            layer.build(shape)
            layer.set_weights(random_weights(layer))
        named = (embedding.embeddings, lstm.cell.kernel, lstm.cell.recurrent_kernel, lstm.cell.bias, dense.kernel)
        found.append([weight.numpy() for weight in named])
        assert dense.bias is None
    for ours, theirs in zip(found[1], found[0], strict=True):
        np.testing.assert_array_equal(ours, theirs, strict=True)


@pytest.mark.parametrize("name", ["L1", "L2", "L1L2", "MaxNorm", "NonNeg", "UnitNorm", "MinMaxNorm"])
def test_regularizers_and_constraints(name: str) -> None:
    w = 3 * generator().standard_normal((6, 5)).astype(np.float32)
    module = "regularizers" if name.startswith("L") else "constraints"
    options: dict[str, Any] = {"L1L2": {"l1": 0.2, "l2": 0.3}, "MinMaxNorm": {"min_value": 5, "max_value": 6, "rate": 0.3}}
    pair = [getattr(getattr(library, module), name)(**options.get(name, {})) for library in (keras, rnnext)]
    assert pair[1].get_config() == pytest.approx(pair[0].get_config())
    assert_close(np.asarray(pair[1](w), np.float32), pair[0](keras.ops.convert_to_tensor(w)))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_model_with_all_of_it(optimizer: str) -> None:
    """Two bidirectional layers over masked words, with penalties and constraints: the same history and weights."""
    models = []
    for module in (keras, rnnext):
        penalties = {"kernel_regularizer": "l2", "recurrent_regularizer": "l1", "bias_regularizer": "l2"}
        limits = {"kernel_constraint": module.constraints.MaxNorm(1.0), "bias_constraint": "non_neg"}
        layers = [
            module.layers.Embedding(V, D, mask_zero=True, embeddings_regularizer="l2", embeddings_constraint="unit_norm"),
            module.layers.Bidirectional(module.layers.LSTM(H, return_sequences=True, **penalties, **limits)),
            module.layers.Bidirectional(module.layers.GRU(H, **penalties), merge_mode="ave"),
            module.layers.Dense(
                1, activation="sigmoid", kernel_regularizer="l1", kernel_constraint=module.constraints.UnitNorm()
            ),
        ]
        models.append(module.Sequential(layers))
    theirs, ours = models
    x, y = data(24)
    x[:12, 4:] = 0
    x[12:14, :3] = 0
    theirs.build((None, T))
    theirs.set_weights(random_weights(theirs))
    ours.set_weights(theirs.get_weights())
    for model in models:
        model.compile(optimizer, "binary_crossentropy", metrics=["accuracy"])
    arguments = {"batch_size": 8, "epochs": 2, "shuffle": False, "verbose": 0, "validation_data": (x[:5], y[:5])}
    assert_same_history(ours.fit(x, y, **arguments), theirs.fit(x, y, **arguments))
    assert_close(ours.predict(x, verbose=0), theirs.predict(x, verbose=0))
    for parameter, expected in zip(ours.weights, theirs.get_weights(), strict=True):
        np.testing.assert_allclose(parameter.value, expected, atol=2e-5, err_msg=parameter.name)


@pytest.mark.parametrize("padding", ["pre", "post"])
@pytest.mark.parametrize("truncating", ["pre", "post"])
@pytest.mark.parametrize("maxlen", [None, 4, 20])
def test_pad_sequences(padding: Any, truncating: Any, maxlen: int | None) -> None:
    rows = [list(range(1, n + 1)) for n in (3, 0, 9, 4)]
    options = {"maxlen": maxlen, "padding": padding, "truncating": truncating, "value": 7}
    expected = keras.utils.pad_sequences(rows, **options)
    np.testing.assert_array_equal(rnnext.preprocessing.sequence.pad_sequences(rows, **options), expected, strict=True)


def test_early_stopping_waits_as_long() -> None:
    """The same losses: the same epoch of stopping."""
    nan, inf = float("nan"), float("inf")
    tenths, last_bits = [0.5, 0.4, 0.3, 0.2, 0.1], [1, 1 - 1e-9, 1 - 2e-9, 1 - 6e-8, 0]
    for losses in ([5, 4, 4, 3, 3, 3, 3], [1, 2, 3], [3, 2, 1], [inf, 3, 3, 3], [nan] * 4, [2, nan, 1, 1], tenths, last_bits):
        for patience in (0, 1, 2):
            for options in ({}, {"min_delta": 1}, {"min_delta": 0.1}, {"baseline": 2}, {"start_from_epoch": 2}):
                stopped = []
                for module in (keras, rnnext):
                    stop = module.callbacks.EarlyStopping("loss", patience=patience, mode="min", **options)
                    model = module.Sequential([module.layers.Dense(1)])
                    model.stop_training = False
                    stop.set_model(model)
                    stop.set_params({"validation": False})
                    stop.on_train_begin()
                    epochs = 0
                    for epoch, loss in enumerate(losses):
                        stop.on_epoch_end(epoch, {"loss": loss})
                        epochs += 1
                        if model.stop_training:
                            break
                    stopped.append(epochs)
                assert stopped[0] == stopped[1], (losses, patience, options)
