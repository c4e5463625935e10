"""Sequential: the layers that it is made of, the input that it declares, and the words in which both may be said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_cases import D, T, V, X, Y, bits, tutorial

from rnnext import Sequential, models
from rnnext.layers import (
    GRU,
    LSTM,
    Activation,
    AttentionPooling1D,
    Bidirectional,
    BigramEmbedding,
    Branches,
    ConcatPooling1D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalAveragePooling1D,
    GlobalMaxPool1D,
    GlobalMaxPooling1D,
    Input,
    InputLayer,
    Masking,
    RepeatVector,
    SpatialDropout1D,
    TimeDistributed,
)
from rnnext.utils import set_random_seed


@pytest.fixture(autouse=True)
def _same_weights_each_time() -> None:
    set_random_seed(11)


def test_frozen_layers_stay_as_they_are() -> None:
    for n in range(3):
        model = tutorial()
        model.layers[n].trainable = False
        before = [layer.get_weights() for layer in model.layers]
        model.fit(X, Y, epochs=2, verbose=0)
        for m, layer in enumerate(model.layers):
            same = all((a == b).all() for a, b in zip(layer.get_weights(), before[m], strict=True))
            assert same == (m == n)
        assert len(model.non_trainable_weights) == len(model.layers[n].weights)
    model = tutorial()
    model.fit(X, Y, verbose=0)
    table = model.layers[0].get_weights()[0]
    model.layers[0].trainable = False  # after the first step: the optimizer goes on with the others
    model.fit(X, Y, verbose=0)
    np.testing.assert_array_equal(model.layers[0].get_weights()[0], table)
    model.trainable = False
    assert not model.trainable_weights
    with pytest.warns(UserWarning, match="no weights that are trainable"):
        model.fit(X, Y, verbose=0)


def test_layers_with_weights_are_put_into_a_model() -> None:
    table = np.random.default_rng(0).standard_normal((V, D)).astype(np.float32)
    lstm = LSTM(5)
    lstm.build((None, None, D))
    kernel = lstm.get_weights()[0]
    model = Sequential([Embedding(V, D, weights=[table])])
    model.add(lstm)
    model.add(Dense(1))
    np.testing.assert_array_equal(model.get_weights()[0], table)
    np.testing.assert_array_equal(model.get_weights()[1], kernel)
    with pytest.raises(ValueError, match=r"lstm: input has shape \(None, None, 7\), expected I=6"):
        Sequential([Embedding(V, 7), lstm])


def test_names_of_layers_and_weights_are_different() -> None:
    table = np.zeros((V, D), np.float32)
    model = Sequential([Input((T, D)), LSTM(4, return_sequences=True), LSTM(4, return_sequences=True), LSTM(4, name="last")])
    assert [layer.name for layer in model.layers] == ["lstm", "lstm_1", "last"]
    assert len({weight.name for weight in model.weights}) == 9
    model = Sequential([Embedding(V, D, weights=[table])])
    other = GRU(4, return_sequences=True)
    other.build((None, None, D))
    model.add(GRU(D, return_sequences=True))
    model.add(other)
    assert [weight.name for weight in other.weights] == ["gru_1/kernel", "gru_1/recurrent_kernel", "gru_1/bias"]
    with pytest.raises(ValueError, match="there is a layer named 'gru' already"):
        model.add(Dense(1, name="gru"))
    with pytest.raises(ValueError, match="gru_1 is in the model already"):
        model.add(other)
    with pytest.raises(TypeError, match="add got a str, expected a layer"):
        model.add("dense")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="return_state=True"):
        model.add(LSTM(2, return_state=True))
    assert len(model.layers) == 3


def test_an_error_names_the_layer_as_the_model_would() -> None:
    model, refused = Sequential([Embedding(V, D), LSTM(4)]), LSTM(4)
    with pytest.raises(
        ValueError, match=r"lstm_1: input has shape \(None, 4\), expected \(B, T, I\); .* return_sequences=True"
    ):
        model.add(refused)
    assert (refused.name, [layer.name for layer in model.layers]) == ("lstm", ["embedding", "lstm"])


def test_a_layer_of_two_models_keeps_its_name() -> None:
    shared = LSTM(4, return_sequences=True)
    first = Sequential([Input((T, D)), shared, LSTM(4)])
    with pytest.raises(ValueError, match="a layer named 'lstm' already, and this one has its name in another model, too"):
        Sequential([Input((T, 3)), LSTM(D, return_sequences=True), shared])
    wrapped = Branches([shared, Dense(2)])
    second = Sequential([Input((T, D)), wrapped])
    with pytest.raises(ValueError, match="a layer named 'branches' already, and this one"):
        Sequential([Input((T, D)), Branches([Dense(D)]), wrapped])
    assert [layer.name for layer in first.layers] == ["branches/lstm", "lstm_1"]
    for model in (first, second):
        model.pop()
    first.pop()
    other = Sequential([Input((T, D)), Branches([Dense(D)]), wrapped])  # nobody else has it now
    assert [layer.name for layer in other.layers] == ["branches", "branches_1"]


def test_a_layer_is_in_a_model_once_whatever_holds_it() -> None:
    backward = LSTM(4, go_backwards=True)
    model = Sequential([Bidirectional(LSTM(4), backward_layer=backward)])
    with pytest.raises(ValueError, match="bidirectional/backward_lstm is in the model already"):
        model.add(backward)
    dense = Dense(2)
    for stack in ([dense, TimeDistributed(dense)], [Branches([TimeDistributed(dense), dense])]):
        with pytest.raises(ValueError, match="dense is in the model already"):
            Sequential(stack)


def test_layers_that_do_not_follow_each_other() -> None:
    model = Sequential([Embedding(V, D), LSTM(4)])
    with pytest.raises(ValueError, match=r"gru: input has shape \(None, 4\), expected \(B, T, I\)"):
        model.add(GRU(3))
    model.add(Dense(1))
    assert model.output_shape == (None, 1)
    assert model.pop().name == "dense"
    assert model.output_shape == (None, 4)
    assert model.predict(X, verbose=0).shape == (50, 4)
    with pytest.raises(ValueError, match="there are no layers yet"):
        Sequential().predict(X)


def test_model_with_declared_input() -> None:
    model = Sequential([Input((T,)), Embedding(V, D), GRU(4), Dense(1, "sigmoid")])
    assert model.built
    model.compile("adam", "binary_crossentropy")
    model.fit(X, Y, verbose=0)
    with pytest.raises(ValueError, match=r"input_layer: input has shape \(None, 8\), expected \(None, 9\)"):
        model.predict(X[:, :8])


def test_layers_are_counted_without_the_input() -> None:
    model = Sequential([Input((T,)), Embedding(V, D), GRU(4), Dense(1, "sigmoid")])
    assert [layer.name for layer in model.layers] == ["embedding", "gru", "dense"]
    assert model.get_layer(index=0) is model.layers[0]
    with pytest.raises(ValueError, match="no layer 'input_layer', expected one of embedding, gru, dense"):
        model.get_layer("input_layer")
    lines: list[str] = []
    model.summary(print_fn=lines.append)
    assert "input_layer" not in "\n".join(lines)
    model.layers[0].trainable = False
    assert len(model.trainable_weights) == len(model.weights) - 1
    model.trainable = False
    assert not model.trainable
    described = model.get_config()
    assert [layer["class_name"] for layer in described["layers"]] == ["InputLayer", "Embedding", "GRU", "Dense"]
    again = Sequential.from_config(described)
    assert again.built
    assert again.get_config() == described
    model.layers.clear()  # a list of the caller's own
    assert len(model.layers) == 3


FIRST: dict[str, tuple[Callable[..., Any], tuple[int, ...]]] = {
    "embedding": (lambda **o: Embedding(V, D, **o), (T,)),
    "bigrams": (lambda **o: BigramEmbedding(V, D, pairs=3, **o), (T,)),
    "lstm": (lambda **o: LSTM(3, **o), (T, D)),
    "gru": (lambda **o: GRU(3, **o), (T, D)),
    "bidirectional": (lambda **o: Bidirectional(GRU(3), **o), (T, D)),
    "time_distributed": (lambda **o: TimeDistributed(Dense(3), **o), (T, D)),
    "branches": (lambda **o: Branches([GlobalMaxPooling1D(), GRU(3)], **o), (T, D)),
    "dense": (lambda **o: Dense(3, **o), (D,)),
    "dropout": (lambda **o: Dropout(0.5, **o), (T, D)),
    "spatial_dropout": (lambda **o: SpatialDropout1D(0.5, **o), (T, D)),
    "maximum": (lambda **o: GlobalMaxPooling1D(**o), (T, D)),
    "average": (lambda **o: GlobalAveragePooling1D(**o), (T, D)),
    "several": (lambda **o: ConcatPooling1D(**o), (T, D)),
    "attention": (lambda **o: AttentionPooling1D(**o), (T, D)),
    "activation": (lambda **o: Activation("relu", **o), (T, D)),
    "masking": (lambda **o: Masking(-1.0, **o), (T, D)),
    "flatten": (lambda **o: Flatten(**o), (T, D)),
    "repeat_vector": (lambda **o: RepeatVector(3, **o), (D,)),
}


@pytest.mark.parametrize("form", ["float32", "float64", "lists", "mapped"])
def test_ids_may_be_whole_floats(form: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X.astype(float))
    x: Any = {
        "float32": X.astype(np.float32),
        "float64": X.astype(np.float64),
        "lists": [row.tolist() for row in X.astype(float)],
        "mapped": np.load(tmp_path / "x.npy", mmap_mode="r"),
    }[form]
    pair = []
    for ids in (X if form != "lists" else list(X), x):
        set_random_seed(3)
        model = tutorial(mask_zero=True)
        model.fit(ids, Y, epochs=2, validation_data=(ids, Y), verbose=0)
        pair.append(model)
    assert bits(pair[0]) == bits(model)
    np.testing.assert_array_equal(model.predict(x, verbose=0), model.predict(X, verbose=0))
    np.testing.assert_array_equal(model(x), model(X))
    assert model.evaluate(x, Y, verbose=0) == model.evaluate(X, Y, verbose=0)


def test_masked_steps_of_a_series_are_as_if_they_were_not_there() -> None:
    x = np.random.default_rng(1).standard_normal((6, T, D)).astype(np.float32)
    lengths = [T, 3, 1, 4, T - 1, 2]
    for row, length in zip(x, lengths, strict=True):
        row[length:] = -1
    model = Sequential([Masking(-1.0), GRU(3, return_sequences=True), Activation("relu"), LSTM(2), Dense(1)])
    y = model.predict(x, verbose=0)
    rows = [row[:length] for row, length in zip(x, lengths, strict=True)]
    np.testing.assert_allclose(model.predict(rows, verbose=0), y, rtol=1e-6)
    rows[0] = np.concatenate([rows[0][:2], np.full((1, D), -1, np.float32), rows[0][2:]])  # a hole, beside the padding
    np.testing.assert_allclose(model.predict(rows, verbose=0), y, rtol=1e-6)
    model.compile("adam", "mse")
    model.fit(rows, y, verbose=0)


def test_rows_that_are_flattened_have_as_many_steps() -> None:
    """Said of all rows before any, also where an Input has said how many there are to be."""
    model = Sequential([Input((T,)), Embedding(V, D), Flatten(), Dense(1, "sigmoid")])
    model.compile("adam", "binary_crossentropy")
    model.fit(X, Y, verbose=0)
    before = bits(model)
    rows = [row[: 1 + n % T] for n, row in enumerate(X)]
    for call in (lambda: model.fit(rows, Y, verbose=0), lambda: model.predict(rows, verbose=0)):
        with pytest.raises(ValueError, match=rf"dense: input has shape \(None, None\), expected F={T * D} features"):
            call()
    assert bits(model) == before
    with pytest.raises(ValueError, match=r"dense: input has shape \(None, None\), expected \(B, ..., F\) with F known"):
        Sequential([Input((None, D)), Flatten(), Dense(1)])


def test_how_many_steps_are_flattened_may_be_left_to_the_data(tmp_path: Path) -> None:
    """As in Keras, where an Embedding does not say it; until then the Dense behind has no weights."""
    model = Sequential([Embedding(V, D), GRU(3, return_sequences=True), Flatten()])
    assert model.built
    model.add(Dense(1, "sigmoid"))
    assert (model.built, model.input_shape, model.output_shape) == (False, None, ())
    with pytest.raises(ValueError, match="sequential has no weights yet, call build or fit first"):
        model.save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"expected \(B, ..., F\) with F known"):
        model.build((None, None))
    model.compile("adam", "binary_crossentropy")
    model.fit(X, Y, verbose=0)
    assert (model.input_shape, model.output_shape) == ((None, T), (None, 1))
    with pytest.raises(ValueError, match=rf"dense: input has shape \(None, {3 * T - 3}\), expected F={3 * T} features"):
        model.predict(X[:, 1:], verbose=0)
    model.save(tmp_path / "model")
    loaded = models.load_model(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), model.predict(X, verbose=0))


def test_tags_of_lists_beside_an_input_that_says_how_many_steps() -> None:
    rows = [row[: 1 + n % T] for n, row in enumerate(X)]
    model = Sequential([Input((T,)), Embedding(V, D), GRU(3, return_sequences=True), Dense(2, "softmax")])
    assert [len(tags) for tags in model.predict(rows, verbose=0)] == [len(row) for row in rows]


@pytest.mark.parametrize("name", sorted(FIRST))
def test_the_first_layer_may_say_the_shape_of_the_input(name: str, tmp_path: Path) -> None:
    make, shape = FIRST[name]
    model, same = Sequential([make(input_shape=shape)]), Sequential([Input(shape), make()])
    assert model.built
    assert model.input_shape == (None, *shape)
    assert len(model.layers) == 1
    assert model.get_config() == same.get_config()
    model.save(tmp_path / "model")
    loaded = models.load_model(tmp_path / "model")
    assert loaded.get_config() == model.get_config()
    assert bits(loaded) == bits(model)


def test_the_shape_that_a_layer_says_is_checked() -> None:
    with pytest.raises(ValueError, match=r"lstm: input_shape is \(-1, 2\), expected sizes from 1 on or None, as \(200,\)"):
        LSTM(3, input_shape=(-1, 2))
    with pytest.raises(ValueError, match=r"a: input_shape is 4, expected sizes from 1 on or None"):
        Dense(3, name="a", input_shape=4)  # type: ignore[arg-type]
    model = Sequential()
    with pytest.raises(ValueError, match=r"lstm: input has shape \(None, 9\), expected \(B, T, I\)"):
        model.add(LSTM(3, input_shape=(T,)))
    assert not model.built
    model.add(LSTM(3, input_shape=(T, D)))
    model.add(Dense(1, input_shape=(99,)))  # as in Keras: not the first one's is not looked at
    assert model.output_shape == (None, 1)
    with pytest.raises(ValueError, match=r"input_layer: input has shape \(None, 8, 6\), expected \(None, 9, 6\)"):
        model.predict(np.zeros((2, T - 1, D), np.float32))


def test_inputs_as_stateful_programs_say_them() -> None:
    model = Sequential([Input(batch_shape=(4, 3, 2)), LSTM(3, stateful=True), Dense(1)])
    assert model.input_shape == (None, 3, 2)
    assert model.predict(np.ones((4, 3, 2), np.float32), verbose=0).shape == (4, 1)
    assert Input((3,), batch_size=2).shape == Input(batch_shape=(2, 3)).shape == (3,)
    for wrong in ({}, {"shape": (3,), "batch_shape": (2, 3)}, {"batch_shape": 3}, {"shape": (3,), "batch_size": 0}):
        with pytest.raises(ValueError, match=r"(Input|input_layer): (shape|batch_shape|batch_size) "):
            Input(**wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"input_layer: batch_size is 2\.5, expected a whole number"):
        Input(batch_shape=(2.5, 3))  # type: ignore[arg-type]
    for shape in ((-1,), (2.5,), "ab", 3):
        with pytest.raises(ValueError, match=r"input_layer: shape is .*, expected sizes from 1 on or None"):
            Input(shape)  # type: ignore[arg-type]


def test_a_model_that_is_not_trained_trains_no_layer(tmp_path: Path) -> None:
    model = tutorial()
    model.trainable = False
    model.layers[-1].trainable = True
    assert model.trainable_weights == []
    before = bits(model)
    with pytest.warns(UserWarning, match="no weights that are trainable"):
        model.fit(X, np.zeros(len(X)), verbose=0)
    assert bits(model) == before
    model.save(tmp_path / "model")
    for again in (models.load_model(tmp_path / "model"), models.clone_model(model)):
        assert not again.trainable
        assert again.layers[-1].trainable
    for layer in model.layers:
        layer.trainable = False
    model.trainable = True
    assert all(layer.trainable for layer in model.layers)
    model.layers[0].trainable = model.layers[1].trainable = False
    assert model.trainable


def test_input_length_is_only_said() -> None:
    model = tutorial(input_length=T)
    assert model.input_shape == (None, T)
    assert model.predict(X[:, :4], verbose=0).shape == (50, 1)


def test_summary() -> None:
    lines: list[str] = []
    model = Sequential([Embedding(1000, 64, input_length=T, trainable=False), LSTM(32), Dense(1)])
    model.summary(print_fn=lines.append)
    text = "\n".join(lines)
    assert "embedding (Embedding)  (None, 9, 64)   64,000" in text
    assert "lstm (LSTM)            (None, 32)      12,416" in text
    assert "Parameters: 76,449 (0.3 MB), trainable 12,449, not trainable 64,000" in text
    lines.clear()
    Sequential([GRU(3)]).summary(print_fn=lines.append)
    assert "? (unbuilt)" in "\n".join(lines)


def test_summary_takes_what_keras_does() -> None:
    lines: list[str] = []
    model = Sequential([Embedding(1000, 64, trainable=False), LSTM(32)])
    model.summary(line_length=80, positions=[0.3, 0.6, 1.0], print_fn=lines.append, expand_nested=True, show_trainable=True)
    assert lines[1].endswith("Param #  Trainable")
    assert lines[3].endswith("64,000  no")
    assert lines[4].endswith("12,416  yes")


def test_weights_by_their_older_names() -> None:
    model = Sequential([Embedding(V, D, trainable=False), GRU(3), Dense(1)])
    for part in (model, *model.layers):
        assert part.variables == part.weights
        assert part.trainable_variables == part.trainable_weights
        assert part.non_trainable_variables == part.non_trainable_weights
    assert [w.name for w in model.non_trainable_variables] == ["embedding/embeddings"]
    assert model.layers[0].non_trainable_weights == model.layers[0].weights
    assert model.layers[1].non_trainable_weights == []


def test_forms_of_the_arguments_of_compile() -> None:
    found = []
    for arguments, options in (
        (("adam", "binary_crossentropy"), {"metrics": ["accuracy"], "weighted_metrics": ["mae"]}),
        (("adam", "binary_crossentropy", None, ["accuracy"], ["mae"]), {}),
        (("adam", ["binary_crossentropy"]), {"metrics": "accuracy", "weighted_metrics": ("mae",)}),
        (("adam", ("bce",)), {"metrics": [["accuracy"]], "weighted_metrics": "mae"}),
        (("adam", {"dense": "bce"}), {"metrics": {"dense": ["accuracy"]}, "weighted_metrics": {"dense": "mae"}}),
    ):
        set_random_seed(1)
        model = Sequential([Embedding(V, D), LSTM(3), Dense(1, "sigmoid")])
        model.compile(*arguments, **options)  # type: ignore[arg-type]
        found.append((model.fit(X, Y, verbose=0).history, bits(model)))
    assert all(each == found[0] for each in found)
    assert list(found[0][0]) == ["loss", "accuracy", "mae"]
    for argument, given in (
        ("loss", {"out": "mse"}),
        ("metrics", {"dense": "mae", "b": "mae"}),
        ("weighted_metrics", {"a": []}),
    ):
        with pytest.raises(ValueError, match=rf"compile: {argument} is for .*, expected 'dense' alone, the last layer"):
            model.compile(**{"loss": "mse", argument: given})  # type: ignore[arg-type]


def test_parameters_as_arrays() -> None:
    model = tutorial()
    kernel = model.layers[-1].weights[0]
    assert str(kernel.dtype) == "float32"
    array = kernel.numpy()
    np.testing.assert_array_equal(array, kernel.value, strict=True)
    array[:] = 0  # a copy
    assert kernel.value.any()


def test_names_and_arguments_that_are_the_same_in_other_words(tmp_path: Path) -> None:
    model = Sequential(
        [
            InputLayer(input_shape=(T, D)),
            Masking(dtype="float32"),
            GRU(3, return_sequences=True),
            GlobalMaxPool1D(),
            Dense(1, dtype="float32"),
        ]
    )
    assert model.input_shape == (None, T, D)
    assert [layer.name for layer in model.layers][2:] == ["global_max_pooling1d", "dense"]
    models.save_model(model, tmp_path / "model")
    x = np.ones((2, T, D), np.float32)
    np.testing.assert_array_equal(models.load_model(tmp_path / "model")(x), model(x))
    with pytest.raises(FileExistsError):
        models.save_model(model, tmp_path / "model", overwrite=False)
    model.compile("adam", "mse", metrics=["mae"])
    model.fit(x, x[:, 0, :1], verbose=0)
    assert model.named_metrics["mae"].result() > 0
    model.reset_metrics()
    assert model.named_metrics["mae"].result() == 0
    assert all(layer(3, dtype=None).dtype == np.float32 for layer in (LSTM, GRU))  # Keras's way to say its default
    assert Dense(1, dtype=None)(x).dtype == np.float32
    for refused in (
        lambda: Embedding(V, D, dtype="float16"),
        lambda: Dense(1, dtype=np.float64),
        lambda: Masking(dtype="int8"),
    ):
        with pytest.raises(ValueError, match=r"dtype is .*, expected 'float32'"):
            refused()
    for options in ({}, {"shape": (3,), "input_shape": (3,)}):
        with pytest.raises(ValueError, match="input_layer: shape and input_shape are both"):
            InputLayer(**options)


def test_arguments_that_nothing_depends_on() -> None:
    found = []
    for options, layer in (({}, LSTM(3)), ({"run_eagerly": True, "steps_per_execution": 8}, LSTM(3, implementation=1))):
        set_random_seed(1)
        model = Sequential([Embedding(V, D), layer, Dense(1, "sigmoid")])
        model.compile("adam", "binary_crossentropy", jit_compile=False, auto_scale_loss=False, **options)  # type: ignore[arg-type]
        model.fit(X, Y, verbose=0)
        found.append(bits(model))
    assert found[0] == found[1]


def test_a_model_from_json_has_the_same_layers() -> None:
    model = Sequential([Embedding(5, 2, mask_zero=True), Bidirectional(GRU(3)), Dense(2, trainable=False)], name="small")
    model.compile("adam", "mse")
    model.build((None, 4))
    again = models.model_from_json(model.to_json(indent=1))
    assert again.get_config() == model.get_config()
    assert (again.name, again.input_shape, again.built, again.compiled) == ("small", (None, 4), True, False)
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(
        again.predict(np.ones((3, 4), int), verbose=0), model.predict(np.ones((3, 4), int), verbose=0)
    )
    assert not models.model_from_json(Sequential([GRU(3)]).to_json()).built


def test_another_text_is_no_model() -> None:
    text = Sequential([GRU(3)]).to_json()
    for wrong, message in (
        (text[:-1], "json_string is not JSON"),
        (
            '{"class_name": "Sequential", "module": "keras"}',
            "json_string is not from this package's to_json, expected that; interop",
        ),
        ("3", "json_string is not from this package's to_json"),
        (text.replace("GRU", "Lambda"), "json_string: damaged .*layer class is 'Lambda', expected one of"),
        (text.replace('"units": 3', '"units": -3'), "json_string: damaged .*units is -3, expected at least 1"),
        (text.replace("build_config", "built"), "json_string: damaged"),
    ):
        with pytest.raises(ValueError, match=f"model_from_json: {message}"):
            models.model_from_json(wrong)
    with pytest.raises(ValueError, match="model_from_json: custom_objects is given, expected None"):
        models.model_from_json(text, custom_objects={})  # type: ignore[arg-type]


def test_a_clone_has_weights_of_its_own() -> None:
    model = Sequential([Input((T,)), Embedding(V, D), GRU(3), Dense(1)])
    clone = models.clone_model(model)
    assert clone.get_config() == model.get_config()
    assert [w.shape for w in clone.weights] == [w.shape for w in model.weights]
    assert bits(clone) != bits(model)
    assert not models.clone_model(Sequential([GRU(3)])).built
    with pytest.raises(TypeError, match="clone_model: model is a GRU, expected a Sequential"):
        models.clone_model(GRU(3))  # type: ignore[arg-type]


def test_weights_are_set_as_a_whole_or_not_at_all() -> None:
    model = tutorial()
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"dense/bias: value has shape \(2,\), expected \(1,\)"):
        model.set_weights([*(w + 1 for w in before[:-1]), np.zeros(2)])
    for got, wanted in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert model.get_layer("lstm") is model.layers[1] is model.get_layer(index=1)
    with pytest.raises(ValueError, match="no layer 'gru', expected one of embedding, lstm, dense"):
        model.get_layer("gru")
    with pytest.raises(ValueError, match="index is 3, expected less than 3"):
        model.get_layer(index=3)
