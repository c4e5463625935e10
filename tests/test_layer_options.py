"""Both directions, kept states, dropout of inputs and weights, attention, layers of steps: alone, and in models."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layer_cases import LENGTHS, MASKS, RIGHT, B, D, H, T, V, built, masked, normal, sequences

from rnnext import Sequential, layers, utils
from rnnext.layers import (
    GRU,
    LSTM,
    AttentionPooling1D,
    Bidirectional,
    BigramEmbedding,
    Branches,
    ConcatPooling1D,
    Dense,
    Dropout,
    Embedding,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    Input,
    SpatialDropout1D,
    TimeDistributed,
)
from rnnext.layers._dropout import drawn_scale
from rnnext.models import load_model

merged = pytest.mark.parametrize("merge_mode", ["concat", "sum", "mul", "ave"])
cells = pytest.mark.parametrize("cell", [LSTM, GRU])


def some_x() -> np.ndarray:
    return normal(np.random.default_rng(1), B, T, D)


def some_ids() -> np.ndarray:
    return np.random.default_rng(2).integers(0, V, (B, T)).astype(np.int32)


def check_gradients(make: Callable[[], Any], x: np.ndarray, **options: Any) -> None:
    """Inputs and weights along random directions; each run is of a new layer, which draws what the others drew.

    Central differences of fourth order: what is allowed is their own error.
    """
    layer = make()
    y, backprop = layer.forward(x, **options)
    dy = normal(np.random.default_rng(4), *y.shape)
    gradients = backprop(dy)
    values = [x, *layer.get_weights()]
    names = ["x", *(w.name for w in layer.weights)]
    assert len(gradients.weights) == len(layer.weights)
    for n, (name, gradient) in enumerate(zip(names, [gradients.inputs, *gradients.weights], strict=True)):
        assert gradient.shape == values[n].shape, name
        direction = normal(np.random.default_rng(n), *values[n].shape)
        slope = 0.0
        for factor, weight in ((1, 8 / 12), (-1, -8 / 12), (2, -1 / 12), (-2, 1 / 12)):
            moved = [v + np.float32(factor / 128) * direction if m == n else v for m, v in enumerate(values)]
            other = make()
            other.set_weights(moved[1:])
            slope += 128 * weight * float(np.sum(other.forward(moved[0], **options)[0].astype(np.float64) * dy))
        allowed = 2e-4 * float(np.linalg.norm(gradient)) + 1e-5 * float(np.abs(dy).sum())
        assert slope == pytest.approx(float(np.sum(gradient.astype(np.float64) * direction)), abs=allowed), name


# ---------------------------------------------------------------- both directions


@merged
@sequences
@masked
def test_gradients_of_both_directions(merge_mode: Any, return_sequences: bool, mask: str) -> None:
    check_gradients(
        lambda: built(Bidirectional(GRU(H, return_sequences=return_sequences), merge_mode), None, None, D),
        some_x(),
        mask=MASKS[mask],
    )


@cells
@sequences
@masked
def test_each_direction_walks_a_rows_own_tokens(cell: Any, return_sequences: bool, mask: str) -> None:
    """The output for a row is that of its tokens alone, and 0 at other steps."""
    layer = built(Bidirectional(cell(H, return_sequences=return_sequences)), None, None, D)
    x, given = some_x(), np.ones((B, T), bool) if MASKS[mask] is None else MASKS[mask]
    y = layer(x, mask=MASKS[mask])
    np.testing.assert_array_equal(y, layer.forward(x, mask=MASKS[mask])[0])
    for row, tokens in enumerate(given):
        alone = layer(x[row : row + 1, tokens])[0]
        if return_sequences:
            np.testing.assert_array_equal(y[row, tokens], alone)
            assert not y[row, ~tokens].any()
        else:
            np.testing.assert_array_equal(y[row], alone)


@cells
@masked
@sequences
def test_both_directions_read_the_same_gather(cell: Any, mask: str, return_sequences: bool) -> None:
    layer = built(Bidirectional(cell(H, return_sequences=return_sequences)), None, None, D)
    embedding = built(Embedding(V, D), None, None)
    ids = some_ids()
    gather = embedding.gather(ids)
    y, backprop = layer.forward(gather, mask=MASKS[mask])
    x, embed_backprop = embedding.forward(ids)
    wanted, array_backprop = layer.forward(x, mask=MASKS[mask])
    np.testing.assert_allclose(y, wanted, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(y, layer(gather, mask=MASKS[mask]))
    dy = normal(np.random.default_rng(3), *y.shape)
    found, exact = backprop(dy), array_backprop(dy)
    for got, gradient in zip(found.weights, exact.weights, strict=True):
        np.testing.assert_allclose(got, gradient, rtol=1e-5, atol=1e-5)
    (table,) = gather.backprop(found.inputs).weights
    (expected_table,) = embed_backprop(exact.inputs).weights
    np.testing.assert_allclose(table.dense(), expected_table.dense(), rtol=1e-5, atol=1e-5)
    assert backprop(dy, need_dx=False).inputs is None


def test_rows_that_one_direction_alone_has_read_are_in_the_sum() -> None:
    """Segments without a gradient are passed over, in each direction others."""
    layer = built(Bidirectional(LSTM(H, segment=2, truncate=True)), None, None, D)
    ids = np.arange(B * T, dtype=np.int32).reshape(B, T) % V
    embedding = built(Embedding(V, D), None, None)
    y, backprop = layer.forward(embedding.gather(ids))
    table = backprop(np.ones_like(y)).inputs.dense()
    x, embed_backprop = embedding.forward(ids)
    wanted = embed_backprop(layer.forward(x)[1](np.ones_like(y)).inputs).weights[0].dense()
    np.testing.assert_allclose(table, wanted, rtol=1e-5, atol=1e-6)


def test_states_of_both_directions() -> None:
    layer = built(Bidirectional(LSTM(H, return_state=True, return_sequences=True), "sum"), None, None, D)
    x, rng = some_x(), np.random.default_rng(7)
    states = [normal(rng, B, H) for _ in range(4)]
    y, *last = layer(x, mask=RIGHT, initial_state=states)
    y_f, *last_f = layer.forward_layer(x, mask=RIGHT, initial_state=states[:2])
    y_b, *last_b = layer.backward_layer(x, mask=RIGHT, initial_state=states[2:])
    np.testing.assert_array_equal(y, y_f + y_b[:, ::-1])
    for got, wanted in zip(last, [*last_f, *last_b], strict=True):
        np.testing.assert_array_equal(got, wanted)
    mixed = built(
        Bidirectional(LSTM(H, return_state=True), backward_layer=GRU(3, go_backwards=True, return_state=True)), B, T, D
    )
    outputs, backprop = mixed.forward(x, initial_state=[*states[:2], states[2][:, :3]])
    assert [y.shape for y in outputs] == [(B, H + 3), (B, H), (B, H), (B, 3)]
    gradients = backprop(tuple(np.ones_like(y) for y in outputs))
    assert [d.shape for d in gradients.initial_state] == [(B, H), (B, H), (B, 3)]
    assert [d.shape for d in gradients.weights] == [w.shape for w in mixed.weights]


def test_unmerged_outputs() -> None:
    layer = built(Bidirectional(GRU(H, return_sequences=True), None), None, None, D)
    y_f, y_b = layer(some_x(), mask=RIGHT)
    together = Bidirectional(GRU(H, return_sequences=True))
    together.build((None, None, D))
    together.set_weights(layer.get_weights())
    np.testing.assert_array_equal(together(some_x(), mask=RIGHT), np.concatenate([y_f, y_b], axis=-1))


def test_a_backward_layer_of_ones_own_is_a_part_itself() -> None:
    own = built(GRU(H, go_backwards=True, return_sequences=True, name="own"), None, None, D)
    weights = own.get_weights()
    layer = Bidirectional(GRU(H, return_sequences=True), "concat", backward_layer=own)
    y = layer(some_x(), mask=RIGHT)
    assert layer.backward_layer is own
    assert own.name == "bidirectional/backward_own"
    plain = built(GRU(H, go_backwards=True, return_sequences=True), None, None, D)
    np.testing.assert_array_equal(y[:, :, H:], plain(some_x(), mask=RIGHT)[:, ::-1] * RIGHT[:, :, None])
    for got, wanted in zip(layer.get_weights()[3:], weights, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_a_frozen_direction() -> None:
    layer = built(Bidirectional(LSTM(H)), None, None, D)
    layer.backward_layer.trainable = False
    assert [w.name for w in layer.trainable_weights] == [
        f"bidirectional/forward_lstm/{name}" for name in ("kernel", "recurrent_kernel", "bias")
    ]
    y, backprop = layer.forward(some_x())
    assert len(backprop(np.ones_like(y)).weights) == 3
    layer.trainable = False
    y, backprop = layer.forward(some_x())
    assert backprop(np.ones_like(y)).weights == layer.trainable_weights == []


# ---------------------------------------------------------------- states that are kept, outputs that are 0


@cells
def test_a_stateful_layer_goes_on_where_it_was(cell: Any) -> None:
    whole = built(cell(H, return_sequences=True), None, None, D)
    layer = built(cell(H, return_sequences=True, stateful=True), None, None, D)
    x = some_x()
    expected = whole(x)
    for _ in range(2):
        np.testing.assert_allclose(layer(x[:, :2]), expected[:, :2], atol=1e-6)
        y, backprop = layer.forward(x[:, 2:5])
        np.testing.assert_allclose(y, expected[:, 2:5], atol=1e-6)
        assert backprop(np.ones_like(y)).initial_state == ()
        np.testing.assert_allclose(layer(x[:, 5:]), expected[:, 5:], atol=1e-6)
        layer.reset_states()
    layer(x)
    with pytest.raises(ValueError, match=r"x has 2 rows, expected 5 as in the call before, .*reset_state\(\)"):
        layer(x[:2])
    layer.reset_state()
    assert layer(x[:2]).shape == (2, T, H)


def test_what_is_given_comes_before_what_is_kept() -> None:
    layer = built(GRU(H, stateful=True), None, None, D)
    x, state = some_x(), normal(np.random.default_rng(3), B, H)
    first = layer(x)
    assert (layer(x) != first).any()
    y, backprop = layer.forward(x, initial_state=state)
    np.testing.assert_array_equal(y, built(GRU(H), None, None, D)(x, initial_state=state))
    assert len(backprop(np.ones_like(y)).initial_state) == 1
    after = layer(x)
    np.testing.assert_array_equal(after, built(GRU(H), None, None, D)(x, initial_state=y))


def test_what_is_kept_is_nobody_elses() -> None:
    layer = built(GRU(H, stateful=True), None, None, D)
    x = some_x()
    y = layer(x)
    kept = y.copy()
    y[...] = 9
    np.testing.assert_array_equal(layer(x), built(GRU(H), None, None, D)(x, initial_state=kept))


def test_both_directions_keep_their_states() -> None:
    layer = built(Bidirectional(LSTM(H, stateful=True)), None, None, D)
    first, second = layer(some_x()), layer(some_x())
    assert (first != second).any()
    layer.reset_states()
    np.testing.assert_array_equal(layer(some_x()), first)
    for kept_nothing in (LSTM(H), Bidirectional(LSTM(H))):  # as in Keras: loops over layers reset them all
        kept_nothing.reset_state()


def test_a_stateful_model() -> None:
    """Two halves of a sequence in turn are the sequence; the gradient stops between them."""
    model = Sequential([LSTM(H, stateful=True, return_sequences=True), Dense(1)])
    x = some_x()
    first = np.concatenate([model.predict(part, verbose=0) for part in (x[:, :2], x[:, 2:])], axis=1)
    model.layers[0].reset_state()
    np.testing.assert_allclose(model.predict(x, verbose=0), first, atol=1e-6)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: GRU(H, stateful=True),
        lambda: Bidirectional(GRU(H, stateful=True)),
        lambda: Branches([GRU(H, stateful=True), LSTM(2)]),
    ],
)
def test_batches_of_a_stateful_model(layer: Callable[[], layers.Layer], tmp_path: Path) -> None:
    """Without a size that of Keras's, with an Input's that one and no other. A batch of another size would be refused."""
    x, y = normal(np.random.default_rng(0), 64, T, D), np.arange(64) % 2
    for fixed in (None, 16):
        given = Sequential([Input((T, D), fixed), layer(), Dense(1, "sigmoid")])
        given.compile("sgd", "binary_crossentropy")
        given.save(tmp_path / "model")
        model = load_model(tmp_path / "model")
        assert len(model.predict(x, batch_size=fixed or 32, verbose=0)) == 64
        model.predict(x, verbose=0)
        model.evaluate(x, y, verbose=0)
        model.fit(x, y, shuffle=False, verbose=0, validation_data=(x, y))
    with pytest.raises(ValueError, match="predict: batch_size is 8, expected 16: sequential is stateful and its Input says so"):
        model.predict(x, batch_size=8)
    for options in ({"batch_size": 8}, {"validation_batch_size": 8, "validation_split": 0.5}):
        with pytest.raises(ValueError, match="fit: batch_size is 8, expected 16"):
            model.fit(x, y, **options)  # type: ignore[arg-type]
    before = model.get_weights(), model.layers[0].with_parts()[-1].kept_states
    for call, name in (
        (lambda: model.predict(x[:40]), "x has 40 rows"),
        (lambda: model.evaluate(x[:40], y[:40]), "x has 40 rows"),
        (lambda: model.fit(x[:40], y[:40]), "x has 40 rows"),
        (lambda: model.fit(x, y, validation_data=(x[:40], y[:40])), r"validation_data\[0\] has 40 rows"),
        (lambda: model.fit(x, y, validation_split=0.375), "validation_split of x has 24 rows"),
    ):
        with pytest.raises(ValueError, match=f"{name}, expected a number that batch_size, 16, divides: sequential is stateful"):
            call()
    after = model.get_weights(), model.layers[0].with_parts()[-1].kept_states
    for a, b in zip([*before[0], *before[1]], [*after[0], *after[1]], strict=True):
        np.testing.assert_array_equal(a, b)
    free: Any = Sequential([Input((T, D), 16), GRU(H)])
    assert len(free.predict(x, batch_size=5, verbose=0)) == 64


@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("window", ["right", "left", "holes", "lengths"])
def test_outputs_that_are_zero_without_a_token(go_backwards: bool, window: str) -> None:
    options = {"lengths": LENGTHS} if window == "lengths" else {"mask": MASKS[window]}
    tokens = RIGHT if window == "lengths" else MASKS[window]
    assert tokens is not None
    shown = tokens[:, ::-1] if go_backwards else tokens
    arguments = {"go_backwards": go_backwards, "return_sequences": True, "return_state": True}
    plain = built(LSTM(H, **arguments), None, None, D)
    layer = built(LSTM(H, zero_output_for_mask=True, **arguments), None, None, D)
    found, wanted = layer(some_x(), **options), plain(some_x(), **options)
    np.testing.assert_array_equal(found[0], wanted[0] * shown[:, :, None])
    for got, state in zip(found[1:], wanted[1:], strict=True):
        np.testing.assert_array_equal(got, state)
    dy = normal(np.random.default_rng(3), B, T, H)
    got = layer.forward(some_x(), **options)[1]((dy, None, None))
    expected = plain.forward(some_x(), **options)[1]((dy * shown[:, :, None], None, None))
    for a, b in zip([got.inputs, *got.weights], [expected.inputs, *expected.weights], strict=True):
        np.testing.assert_array_equal(a, b)


# ---------------------------------------------------------------- dropout


@cells
@masked
@pytest.mark.parametrize("options", [{"dropout": 0.4}, {"recurrent_weight_dropout": 0.4}, {"dropout": 0.2, "segment": 2}])
def test_dropout_of_a_gather_is_that_of_its_array(cell: Any, mask: str, options: dict[str, Any]) -> None:
    ids, embedding = some_ids(), built(Embedding(V, D), None, None)
    results = []
    for gathers in (True, False):
        layer = built(cell(H, seed=3, **options), None, None, D)
        x, undo = (embedding.gather(ids), None) if gathers else embedding.forward(ids)
        y, backprop = layer.forward(x, training=True, mask=MASKS[mask])
        gradients = backprop(np.ones_like(y))
        (table,) = (x.backprop if undo is None else undo)(gradients.inputs).weights
        results.append([y, table.dense(), *gradients.weights])
        assert (y != layer.forward(x, mask=MASKS[mask])[0]).any()
        np.testing.assert_allclose(layer(x, mask=MASKS[mask]), layer.forward(x, mask=MASKS[mask])[0], atol=1e-6)
    for got, wanted in zip(*results, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("options", [{"dropout": 0.5}, {"recurrent_weight_dropout": 0.5}])
def test_dropout_draws_from_its_seed(options: dict[str, Any]) -> None:
    def drawn(seed: int | None) -> list[np.ndarray]:
        layer = built(LSTM(H, seed=seed, **options), None, None, D)
        return [layer(some_x(), training=True) for _ in range(2)]

    first, again, other = drawn(1), drawn(1), drawn(2)
    np.testing.assert_array_equal(first, again)
    assert (first[0] != first[1]).any()
    assert (first[0] != other[0]).any()
    utils.set_random_seed(4)
    by_seed = drawn(None)
    utils.set_random_seed(4)
    np.testing.assert_array_equal(drawn(None), by_seed)


def test_weights_that_are_dropped_in_segments_are_those_that_are_dropped() -> None:
    whole = built(LSTM(H, recurrent_weight_dropout=0.5, seed=1), None, None, D)
    parts = built(LSTM(H, recurrent_weight_dropout=0.5, seed=1, segment=2), None, None, D)
    parts(some_x())  # packs the weights that nothing was dropped of
    results = []
    for layer in (whole, parts):
        y, backprop = layer.forward(some_x(), training=True)
        gradients = backprop(np.ones_like(y))
        results.append([y, gradients.inputs, *gradients.weights])
    for got, wanted in zip(*results, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


def test_gradients_of_dropped_weights_that_are_trained_in_part() -> None:
    whole = built(LSTM(H, recurrent_weight_dropout=0.5, seed=1), None, None, D)
    part = built(LSTM(H, recurrent_weight_dropout=0.5, seed=1), None, None, D)
    part.weights[0].trainable = False
    found = []
    for layer in (whole, part):
        y, backprop = layer.forward(some_x(), training=True)
        found.append(backprop(np.ones_like(y)).weights)
    np.testing.assert_array_equal(found[0][1:][0], found[1][0])
    assert (found[1][0] == 0).any()


@pytest.mark.parametrize("gathers", [False, True])
def test_dropout_of_words(gathers: bool) -> None:
    """A word is dropped at all its places or at none; the gradient is that of the table."""
    ids, layer = some_ids(), built(Embedding(V, D, dropout=0.5, seed=3), None, None)
    scale = drawn_scale(copy.deepcopy(layer.generator), 0.5, (V, 1))
    assert set(np.unique(scale)) == {0, 2}
    if gathers:
        gather = layer.gather(ids, training=True)
        y, dy = gather.table.value[gather.ids], normal(np.random.default_rng(3), B, T, D)
        recurrent = built(GRU(H), None, None, D)
        out, backprop = recurrent.forward(gather)
        (found,) = gather.backprop(backprop(np.ones_like(out)).inputs).weights
        dy = recurrent.forward(y)[1](np.ones_like(out)).inputs
    else:
        y, embed_backprop = layer.forward(ids, training=True)
        dy = normal(np.random.default_rng(3), B, T, D)
        (found,) = embed_backprop(dy).weights
    table = layer.weights[0].value
    np.testing.assert_array_equal(y, (table * scale)[ids])
    wanted = np.zeros((V, D), np.float32)
    np.add.at(wanted, ids, dy)
    assert (np.diff(found.rows) > 0).all()
    np.testing.assert_allclose(found.dense(), wanted * scale, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(layer(ids), table[ids])


MADE: dict[str, Callable[..., Embedding]] = {
    "embedding": lambda **options: Embedding(40, 1, "ones", **options),
    "bigrams": lambda **options: BigramEmbedding(40, 1, "ones", pairs=[[3, 4]], **options),
}


@pytest.mark.parametrize("kind", sorted(MADE))
def test_a_rate_for_each_word(kind: str) -> None:
    rates = np.repeat([0.0, 0.5, 0.75, 1.0], 10)
    layer = MADE[kind](dropout=rates.tolist(), seed=1)
    ids = np.tile(np.arange(40, dtype=np.int32), (3, 1))
    y, backprop = layer.forward(ids, training=True)
    assert [set(part.tolist()) for part in np.split(y[0, :, 0], 4)] == [{1}, {0, 2}, {0, 4}, {0}]
    np.testing.assert_array_equal(y, y[:1].repeat(3, axis=0))
    found: Any = backprop(np.ones_like(y)).weights[0]
    np.testing.assert_array_equal(found.dense(), y.sum(axis=0))
    described = layers.serialize(layer)
    assert described["config"]["dropout"] == rates.tolist()  # type: ignore[index]
    again: Any = layers.deserialize(copy.deepcopy(described))
    np.testing.assert_array_equal(again.dropout, rates)
    assert layers.serialize(again) == described


# ---------------------------------------------------------------- pooling


def pooled(layer: Any, tokens: np.ndarray) -> np.ndarray:
    """What a layer makes of the tokens of a row [N, D], in float64."""
    if isinstance(layer, ConcatPooling1D):
        return np.concatenate([tokens[-1], tokens.max(axis=0), tokens.mean(axis=0)]) if len(tokens) else np.zeros(3 * D)
    *projection, query = (w.value.astype(np.float64) for w in layer.weights)
    u = np.tanh(tokens @ projection[0] + projection[1]) if projection else tokens
    e = np.exp(u @ query)
    return e @ tokens / e.sum() if len(tokens) else np.zeros(D)


POOLING: dict[str, Callable[[], Any]] = {
    "concat": ConcatPooling1D,
    "dot": lambda: built(AttentionPooling1D(), None, None, D),
    "additive": lambda: built(AttentionPooling1D(3), None, None, D),
}


@pytest.mark.parametrize("kind", sorted(POOLING))
@masked
def test_pooling_over_the_tokens(kind: str, mask: str) -> None:
    layer, x = POOLING[kind](), some_x()
    given = np.ones((B, T), bool) if MASKS[mask] is None else MASKS[mask]
    y = layer(x, mask=MASKS[mask])
    assert y.shape == layer.compute_output_shape(x.shape)
    assert layer.compute_mask(x, MASKS[mask]) is None
    for row in range(B):
        np.testing.assert_allclose(y[row], pooled(layer, x[row, given[row]].astype(np.float64)), rtol=1e-5, atol=1e-6)
    if kind == "concat":
        x = x.argsort(axis=1).astype(np.float32)  # no two steps near each other
    for training in (False, True):
        check_gradients(POOLING[kind], x, mask=MASKS[mask], training=training)


@pytest.mark.parametrize("kind", [*sorted(POOLING), "max"])
def test_rows_without_tokens_and_no_others(kind: str) -> None:
    layer = GlobalMaxPooling1D() if kind == "max" else POOLING[kind]()
    x = np.zeros((2, 0, D), np.float32)
    y, backprop = layer.forward(x, mask=np.ones((2, 0), bool))
    assert y.shape == layer.compute_output_shape(x.shape)
    assert not y.any()
    assert backprop(np.ones_like(y)).inputs.shape == x.shape


@pytest.mark.parametrize("kind", sorted(POOLING))
def test_pooling_does_not_depend_on_padding_or_neighbours(kind: str) -> None:
    layer = POOLING[kind]()
    x = normal(np.random.default_rng(1), 3, 9, D)
    alone = [layer(row[None])[0] for row in x]
    for before in (0, 31):
        wide, mask = np.full((3, 49, D), 7, np.float32), np.zeros((3, 49), bool)
        wide[:, before : before + 9], mask[:, before : before + 9] = x, True
        np.testing.assert_array_equal(layer(wide, mask=mask), alone)


def test_attention_of_large_scores_is_finite() -> None:
    layer = built(AttentionPooling1D(), None, None, D)
    layer.set_weights([np.full(D, 1000, np.float32)])
    x, mask = some_x() * 100, RIGHT.copy()
    y, backprop = layer.forward(x, mask=mask)
    gradients = backprop(np.ones_like(y))
    assert all(np.isfinite(array).all() for array in (y, gradients.inputs, *gradients.weights))
    assert not gradients.inputs[3].any()  # a row without tokens
    assert not gradients.inputs[~mask].any()


# ---------------------------------------------------------------- steps


def test_a_layer_of_each_step() -> None:
    x = some_x()
    steps, whole = built(TimeDistributed(Dense(3, "tanh")), B, T, D), built(Dense(3, "tanh"), B, T, D)
    np.testing.assert_array_equal(steps(x, mask=RIGHT), whole(x))
    assert steps.compute_output_shape((None, None, D)) == (None, None, 3)
    np.testing.assert_array_equal(steps.compute_mask(x, RIGHT), RIGHT)
    check_gradients(lambda: built(TimeDistributed(Dense(3, "tanh")), B, T, D), x, mask=RIGHT, training=True)
    np.testing.assert_array_equal(TimeDistributed(Dropout(0.5, seed=1))(x), x)
    y = TimeDistributed(Dropout(0.5, seed=1))(x, training=True)
    np.testing.assert_array_equal(y.reshape(-1, D), Dropout(0.5, seed=1)(x.reshape(-1, D), training=True))


def test_sequences_of_sequences() -> None:
    """A recurrent layer of each step: a document of sentences."""
    x = normal(np.random.default_rng(1), 2, 3, T, D)
    layer = built(TimeDistributed(Bidirectional(GRU(H))), None, None, None, D)
    y = layer(x)
    assert y.shape == (2, 3, 2 * H)
    np.testing.assert_array_equal(y[1, 2], layer.layer(x[1, 2][None])[0])
    assert layer.weights[0].name == "time_distributed/bidirectional/forward_gru/kernel"
    check_gradients(lambda: built(TimeDistributed(Bidirectional(GRU(H))), None, None, None, D), x)


# ---------------------------------------------------------------- in models


def data(rows: int = 40) -> tuple[list[np.ndarray], np.ndarray]:
    rng = np.random.default_rng(9)
    x = [rng.integers(1, V, n).astype(np.int32) for n in rng.integers(0, 9, rows)]
    return x, rng.integers(0, 2, rows).astype(np.int32)


MODELS: dict[str, Callable[[], list[Any]]] = {
    "bidirectional": lambda: [Embedding(V, D), Bidirectional(LSTM(H)), Dense(1, "sigmoid")],
    "stacked": lambda: [
        Embedding(V, D, dropout=0.2),
        Bidirectional(LSTM(H, return_sequences=True, dropout=0.2)),
        Bidirectional(GRU(H, recurrent_weight_dropout=0.3), "sum"),
        Dense(1, "sigmoid"),
    ],
    "concat pooling": lambda: [
        Embedding(V, D),
        SpatialDropout1D(0.2),
        Bidirectional(GRU(H, return_sequences=True), "ave"),
        ConcatPooling1D(),
        Dense(1, "sigmoid"),
    ],
    "attention": lambda: [
        Embedding(V, D),
        GRU(H, return_sequences=True, zero_output_for_mask=True),
        TimeDistributed(Dropout(0.2)),
        AttentionPooling1D(3),
        Dense(1, "sigmoid"),
    ],
    "dot": lambda: [Embedding(V, D), LSTM(H, return_sequences=True, dropout=0.1), AttentionPooling1D(), Dense(1, "sigmoid")],
}
models = pytest.mark.parametrize("name", sorted(MODELS))


def trained(name: str) -> Sequential:
    utils.set_random_seed(3)
    model = Sequential(MODELS[name]())
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    model.fit(*data(), batch_size=8, epochs=2, verbose=0)
    return model


@models
def test_models_train_repeatably(name: str) -> None:
    first, again = trained(name), trained(name)
    for a, b in zip(first.weights, again.weights, strict=True):
        np.testing.assert_array_equal(a.value, b.value, err_msg=a.name)
    assert all(np.isfinite(w.value).all() for w in first.weights)


@models
def test_predictions_of_ragged_rows_are_those_of_each_alone(name: str) -> None:
    model, (x, _) = trained(name), data()
    together = model.predict(x, batch_size=7, verbose=0)
    for row, ids in enumerate(x):
        np.testing.assert_array_equal(model.predict([ids], verbose=0)[0], together[row])


@models
def test_models_come_back_and_go_on(name: str, tmp_path: Path) -> None:
    """Weights, and what layers inside of others draw next."""
    model = trained(name)
    model.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert [layers.serialize(layer) for layer in loaded.layers] == [layers.serialize(layer) for layer in model.layers]
    assert [w.name for w in loaded.weights] == [w.name for w in model.weights]
    np.testing.assert_array_equal(loaded.predict(data()[0], verbose=0), model.predict(data()[0], verbose=0))
    for each in (model, loaded):
        each.fit(*data(), shuffle=False, batch_size=8, verbose=0)
    for a, b in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(a.value, b.value, err_msg=a.name)


def test_names_of_weights_inside_are_different() -> None:
    model = Sequential([Bidirectional(LSTM(2, return_sequences=True)), Bidirectional(LSTM(2)), Dense(1)])
    model.build((None, None, 3))
    names = [w.name for w in model.weights]
    assert len(set(names)) == len(names)
    assert "bidirectional_1/backward_lstm/kernel" in names


def test_a_model_that_was_not_built_has_no_weights_inside() -> None:
    layer = Bidirectional(LSTM(2))
    model = Sequential([layer, Dense(2), LSTM(3)])
    with pytest.raises(ValueError, match="lstm: input has shape"):
        model.build((None, None, 3))
    assert not layer.weights
    assert not layer.forward_layer.built
    assert model.pop().name == "lstm"
    model.build((None, None, 5))
    assert layer.weights[0].shape == (5, 8)


def test_a_bidirectional_layer_projects_each_word_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given ids and table, in training and in prediction."""
    seen = []
    model = Sequential([Embedding(V, D), Bidirectional(LSTM(H)), Dense(1)])
    for name in ("forward", "__call__"):
        inner = getattr(Bidirectional, name)

        def watched(self: Any, x: Any, inner: Any = inner, **options: Any) -> Any:
            seen.append(type(x).__name__)
            return inner(self, x, **options)

        monkeypatch.setattr(Bidirectional, name, watched)
    model.compile("sgd", "mse")
    model.train_on_batch(some_ids(), np.zeros(B, np.float32))
    model.predict(some_ids(), verbose=0)
    assert seen == ["Gather", "Gather"]


# ---------------------------------------------------------------- configurations and errors


def test_layers_as_configurations() -> None:
    examples = [
        LSTM(3, dropout=0.2, recurrent_weight_dropout=0.1, seed=4, stateful=True, kernel_regularizer="l2"),
        GRU(3, zero_output_for_mask=True, recurrent_constraint="max_norm", bias_regularizer={"class_name": "L1", "config": {}}),
        Embedding(5, 2, dropout=0.5, seed=1, embeddings_constraint="unit_norm"),
        Dense(2, kernel_constraint="non_neg", bias_regularizer="l1"),
        Bidirectional(LSTM(3, return_sequences=True, name="memory"), "mul", name="both"),
        Bidirectional(LSTM(3), backward_layer=GRU(2, go_backwards=True)),
        TimeDistributed(Dense(3)),
        TimeDistributed(Bidirectional(GRU(2), "ave"), name="documents"),
        AttentionPooling1D(3, query_initializer="he_normal"),
        AttentionPooling1D(),
        ConcatPooling1D(),
    ]
    for layer in examples:
        described = layers.serialize(layer)
        again = layers.deserialize(copy.deepcopy(described))
        assert type(again) is type(layer)
        assert layers.serialize(again) == described
        assert again.name == layer.name


X = np.zeros((2, 5, 3), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: LSTM(3, dropout=1.5), ValueError, "lstm: dropout is 1.5, expected 0 to 1"),
        (lambda: LSTM(3, recurrent_weight_dropout="no"), TypeError, "recurrent_weight_dropout is 'no', expected a number"),
        (lambda: GRU(3, dropout=0.1, seed=-1), ValueError, "gru: seed is -1, expected at least 0"),
        (lambda: Embedding(3, 2, dropout=2), ValueError, "embedding: dropout is 2, expected 0 to 1"),
        (lambda: Embedding(3, 2, dropout=[0.5]), ValueError, r"dropout has shape \(1,\) .*expected a rate, or \(3,\)"),
        (lambda: Embedding(3, 2, dropout=["a", "b", "c"]), ValueError, r"dropout has .* dtype <U1, expected a rate, or \(3,\)"),
        (lambda: Embedding(2, 2, dropout=[0, -1]), ValueError, "dropout has rates -1 to 0, expected 0 to 1"),
        (lambda: Embedding(2, 2, dropout=[0, np.nan]), ValueError, "dropout has rates nan to nan, expected 0 to 1"),
        (lambda: Bidirectional(Dense(3)), TypeError, "Bidirectional: layer is a Dense, expected an LSTM or a GRU"),
        (
            lambda: Bidirectional(LSTM(3), backward_layer=Dense(3)),
            TypeError,
            "backward_layer is a Dense, expected an LSTM or a GRU",
        ),
        (lambda: Bidirectional(LSTM(3), "max"), ValueError, "merge_mode is 'max', expected 'concat'"),
        (lambda: Bidirectional(LSTM(3, go_backwards=True)), ValueError, "layer has go_backwards=True, expected False"),
        (
            lambda: Bidirectional(LSTM(3), backward_layer=LSTM(3)),
            ValueError,
            "backward_layer has go_backwards=False, expected True",
        ),
        (
            lambda: Bidirectional(LSTM(3), backward_layer=LSTM(3, go_backwards=True, stateful=True)),
            ValueError,
            "layer has stateful=False and backward_layer stateful=True, expected the same",
        ),
        (
            lambda: Bidirectional(LSTM(3), "sum", backward_layer=LSTM(4, go_backwards=True)),
            ValueError,
            "layer has units=3 and backward_layer units=4, expected the same for merge_mode='sum'",
        ),
        (
            lambda: Bidirectional(LSTM(3))(X[0]),
            ValueError,
            r"bidirectional/forward_lstm: x has shape \(5, 3\), expected \[B, T, I\]",
        ),
        (lambda: Bidirectional(LSTM(3))(X, initial_state=[X[:, 0]] * 2), ValueError, "initial_state has 2 arrays, expected 4"),
        (lambda: Sequential([Bidirectional(LSTM(3), None)]), ValueError, "bidirectional has merge_mode=None, but"),
        (
            lambda: Sequential([Bidirectional(LSTM(3, return_state=True))]),
            ValueError,
            "bidirectional has return_state=True, but",
        ),
        (lambda: TimeDistributed("dense"), TypeError, "TimeDistributed: layer is a str, expected a layer"),
        (
            lambda: TimeDistributed(LSTM(3, return_state=True)),
            ValueError,
            "lstm has return_state=True, expected a layer with one",
        ),
        (
            lambda: TimeDistributed(Dense(3))(X[0]),
            ValueError,
            r"time_distributed: input has shape \(5, 3\), expected \(B, T, ...\)",
        ),
        (lambda: TimeDistributed(Dense(3))([1.0]), TypeError, "time_distributed: x is a list, expected a NumPy array"),
        (
            lambda: TimeDistributed(Dense(3))(X, mask=np.ones((2, 4), bool)),
            ValueError,
            r"mask has shape \(2, 4\), expected \(2, 5\)",
        ),
        (lambda: AttentionPooling1D(0), ValueError, "units is 0, expected at least 1"),
        (lambda: AttentionPooling1D()(X[0]), ValueError, r"x has shape \(5, 3\), expected \[B, T, D\]"),
        (lambda: built(AttentionPooling1D(), None, None, 4)(X), ValueError, r"x has shape \(2, 5, 3\), expected .* D=4"),
        (lambda: AttentionPooling1D().build((None, None, None)), ValueError, r"expected \(B, T, D\) with D known"),
        (lambda: ConcatPooling1D()(X, mask=np.ones((2, 5))), TypeError, "concat_pooling1d: mask has dtype float64"),
        (lambda: ConcatPooling1D()(X[:, :0]), ValueError, "concat_pooling1d: .* expected at least one step"),
    ],
)
def test_errors_name_argument_value_and_expectation(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_the_greatest_value_is_one_of_the_parts() -> None:
    x = some_x()
    np.testing.assert_array_equal(ConcatPooling1D()(x, mask=RIGHT)[:, D : 2 * D], GlobalMaxPooling1D()(x, mask=RIGHT))


RECURRENT_FLAGS = (
    *("use_bias", "return_sequences", "return_state", "go_backwards", "stateful", "zero_output_for_mask", "truncate"),
    *("layer_norm", "trainable"),
)
FLAGS: list[tuple[Any, str]] = [
    *((lambda **o: LSTM(3, segment=2, **o), name) for name in (*RECURRENT_FLAGS, "peepholes", "coupled", "unit_forget_bias")),
    *((lambda **o: GRU(3, segment=2, **o), name) for name in (*RECURRENT_FLAGS, "reset_after")),
    *((lambda **o: Dense(3, **o), name) for name in ("use_bias", "trainable")),
    *((lambda **o: Embedding(5, 3, **o), name) for name in ("mask_zero", "trainable")),
    (lambda **o: GlobalMaxPooling1D(**o), "keepdims"),
    (lambda **o: Bidirectional(LSTM(3), **o), "trainable"),
]


@pytest.mark.parametrize(("make", "option"), FLAGS)
def test_flags_are_true_or_false(make: Any, option: str) -> None:
    for value in ("False", "x", 0, 1, None, 1.0):
        with pytest.raises(TypeError, match=f": {option} is {value!r}, expected True or False"):
            make(**{option: value})
    for given in (True, False):
        found = make(**{option: np.bool_(given)}).get_config()[option]
        assert found is given


@pytest.mark.filterwarnings("error")
def test_complex_numbers_are_refused() -> None:
    """NumPy would drop their imaginary part with a warning."""
    x = np.random.default_rng(0).standard_normal((2, 4, 3)).astype(np.float32)
    h = np.zeros((2, 3), np.complex64)
    with pytest.raises(TypeError, match="gru: initial_state has dtype complex64, expected float32"):
        GRU(3)(x, initial_state=h)
    with pytest.raises(TypeError, match="lstm: state has dtype complex64, expected float32"):
        LSTM(3).step(x[:, 0], (np.zeros((2, 3), np.float32), h))
    ids = np.array([[1, 2], [0, 1]])
    cases: list[tuple[Any, np.ndarray]] = [
        (LSTM(3), x),
        (GRU(3, return_sequences=True, dtype="float64"), x.astype(np.float64)),
        (Bidirectional(GRU(3)), x),
        (Embedding(5, 3), ids),
        (Dense(3), x),
        (GlobalMaxPooling1D(), x),
        (GlobalAveragePooling1D(), x),
        (ConcatPooling1D(), x),
        (AttentionPooling1D(), x),
    ]
    for layer, given in cases:
        y, backprop = layer.forward(given)
        with pytest.raises(TypeError, match="has dtype complex"):
            backprop(y.astype(np.complex64))
