"""Models and nodes to ONNX and back: the same predictions, and errors that name what does not fit."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from interop_cases import (
    LENGTHS,
    STACKS,
    B,
    D,
    H,
    T,
    V,
    assert_close,
    assert_refused,
    cells,
    classifier,
    emptied,
    filled,
    ids,
    normal,
    random_weights,
    stacks,
)

from rnnext import Sequential, _random, interop, ops
from rnnext.layers import (
    GRU,
    LSTM,
    AttentionPooling1D,
    Bidirectional,
    ConcatPooling1D,
    Dense,
    Embedding,
    Flatten,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    Input,
    Masking,
    TimeDistributed,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # of what the other packages say


# ---------------------------------------------------------------- ONNX: whole models


@cells
@stacks
def test_to_onnx_and_back(run: Any, cell: str, stack: str) -> None:
    model = STACKS[stack](cell)
    graph = interop.to_onnx(model)
    for x in (ids(), ids()[:1, 2:5], ids()[3:4]):  # any batch, any number of steps, a row without tokens
        assert_close(run(graph, input=x)[0], model.predict(x, verbose=0))
    copy = interop.from_onnx(graph)
    assert copy.get_config() == model.get_config()
    for a, b in zip(copy.weights, model.weights, strict=True):
        np.testing.assert_array_equal(a.value, b.value)


def assert_ragged(run: Any, model: Sequential, *, tags: bool) -> None:
    """The graph gives what the model gives for rows of different lengths; `tags`: an output for each token."""
    x = ids()
    rows = [row[:count] for row, count in zip(x, LENGTHS, strict=True)]
    (found,) = run(interop.to_onnx(model, lengths=True), input=x, lengths=LENGTHS.astype(np.int32))
    expected = model.predict(rows, verbose=0)
    if tags:
        for row, count, wanted in zip(found, LENGTHS, expected, strict=True):
            assert_close(row[len(row) - count :] if model.turns else row[:count], wanted)
    else:
        assert_close(found, expected)


@pytest.mark.parametrize("cell", ["lstm", "gru", "gru_reset_before"])
@stacks
def test_ragged_rows_in_onnx(run: Any, cell: str, stack: str) -> None:
    assert_ragged(run, STACKS[stack](cell), tags=stack.startswith("tags"))


ONNX_STACKS: dict[str, Callable[[], Sequential]] = {
    "peepholes": lambda: filled(Embedding(V, D, mask_zero=True), LSTM(H, peepholes=True), Dense(1)),
    "coupled_clipped": lambda: filled(Embedding(V, D), LSTM(H, coupled=True, clip=0.5), Dense(1)),
    "gru_clipped": lambda: filled(Embedding(V, D), GRU(H, reset_after=False, clip=0.25), Dense(1)),
    "all_both": lambda: filled(
        Embedding(V, D, mask_zero=True), Bidirectional(LSTM(H, peepholes=True, coupled=True, clip=1.0)), Dense(1)
    ),
    "tags_all": lambda: filled(
        Embedding(V, D), LSTM(H, peepholes=True, clip=0.7, go_backwards=True, return_sequences=True), TimeDistributed(Dense(3))
    ),
    "concat": lambda: filled(Embedding(V, D, mask_zero=True), GRU(H, return_sequences=True), ConcatPooling1D(), Dense(1)),
    "unmasked_concat": lambda: filled(Embedding(V, D), LSTM(H, return_sequences=True), ConcatPooling1D(), Dense(1)),
    "attention": lambda: filled(Embedding(V, D, mask_zero=True), GRU(H, return_sequences=True), AttentionPooling1D(), Dense(1)),
    "additive": lambda: filled(
        Embedding(V, D), Bidirectional(GRU(H, return_sequences=True)), AttentionPooling1D(units=3), Dense(2), Dense(1)
    ),
}


@pytest.mark.parametrize("stack", sorted(ONNX_STACKS))
def test_options_and_pooling_in_onnx(run: Any, stack: str) -> None:
    model = ONNX_STACKS[stack]()
    graph = interop.to_onnx(model)
    for x in (ids(), ids()[:1, 2:5], ids()[3:4]):
        assert_close(run(graph, input=x)[0], model.predict(x, verbose=0))
    copy = interop.from_onnx(graph)
    for a, b in zip(copy.weights, model.weights, strict=True):
        np.testing.assert_array_equal(a.value, b.value)
    assert_ragged(run, model, tags=stack.startswith("tags"))


def test_what_onnx_does_not_have(onnx: Any, tmp_path: Path) -> None:
    for option in ({"layer_norm": True}, {"projection": 3}, {"zoneout_c": 0.2}, {"stateful": True}):
        (name, value), *_ = option.items()
        model = filled(Input((None, D)), LSTM(H, **option), Dense(1))
        message = f"lstm has {name}={value}, which has no counterpart"
        assert_refused(lambda model=model: interop.to_onnx(model, tmp_path / "a.onnx"), message, model)
    uneven = filled(Input((None, D)), Bidirectional(LSTM(H), backward_layer=LSTM(H + 1, go_backwards=True)), Dense(1))
    assert_refused(lambda: interop.to_onnx(uneven, tmp_path / "a.onnx"), "bidirectional has two directions that differ", uneven)
    wrapped = filled(Input((None, 2, D)), TimeDistributed(LSTM(H)), Dense(1))
    assert_refused(
        lambda: interop.to_onnx(wrapped, tmp_path / "a.onnx"),
        "time_distributed has a LSTM, expected a Dense, Dropout or Activation",
        wrapped,
    )
    flat = filled(Input((T, D)), GRU(H, return_sequences=True), Flatten(), Dense(1))
    message = "lengths is True, but flatten needs as many steps in all rows, expected False"
    assert_refused(lambda: interop.to_onnx(flat, tmp_path / "a.onnx", lengths=True), message, flat)
    assert not any(tmp_path.iterdir())


def test_masks_of_series_in_onnx(run: Any) -> None:
    x = normal(np.random.default_rng(0), B, T, D)
    x[1, 3:] = x[2, 0] = x[3, 2:4] = x[4] = -1
    masked = filled(Input((None, D)), Masking(-1.0), GRU(H, return_sequences=True), LSTM(3), Dense(1))
    assert_close(run(interop.to_onnx(masked), input=x)[0], masked.predict(x, verbose=0))
    rows = [row[:count] for row, count in zip(x, LENGTHS, strict=True)]
    found = run(interop.to_onnx(masked, lengths=True), input=x, lengths=LENGTHS.astype(np.int32))[0]
    assert_close(found, masked.predict(rows, verbose=0))
    flat = filled(Input((T, D)), Masking(-1.0), GRU(H, return_sequences=True), Flatten(), Dense(1))
    assert_close(run(interop.to_onnx(flat), input=x)[0], flat.predict(x, verbose=0))


def test_onnx_of_other_models(run: Any, tmp_path: Path) -> None:
    model = filled(Input((None, D)), LSTM(H, return_sequences=True), GRU(H), Dense(2, activation="softmax"))
    x = normal(np.random.default_rng(0), B, T, D)
    interop.to_onnx(model, tmp_path / "a.onnx")
    content = (tmp_path / "a.onnx").read_bytes()
    assert_close(run(content, input=x)[0], model.predict(x, verbose=0))
    for source in (tmp_path / "a.onnx", str(tmp_path / "a.onnx"), content):
        assert_close(interop.from_onnx(source).predict(x, verbose=0), model.predict(x, verbose=0))
    pooled = filled(Embedding(V, D), LSTM(H, return_sequences=True), GlobalMaxPooling1D(keepdims=True), Dense(2))
    assert_close(run(interop.to_onnx(pooled), input=ids())[0], pooled.predict(ids(), verbose=0))
    twice = filled(
        Embedding(V, D, mask_zero=True),
        LSTM(H, return_sequences=True, go_backwards=True),
        GRU(H, return_sequences=True, go_backwards=True),
        GlobalAveragePooling1D(keepdims=True),
        Dense(2),
    )
    assert_close(run(interop.to_onnx(twice), input=ids())[0], twice.predict(ids(), verbose=0))
    for name in ("relu", "relu6", "leaky_relu", "elu", "selu", "softplus", "hard_sigmoid"):
        dense = filled(Input((D,)), Dense(3, activation=name), Dense(1))
        assert_close(run(interop.to_onnx(dense), input=9 * x[:, 0])[0], dense.predict(9 * x[:, 0], verbose=0))
    with pytest.raises(ValueError, match=r"lengths is True, but the model's input has shape \(None, 5\)"):
        interop.to_onnx(dense, lengths=True)


def test_onnx_of_others(onnx: Any) -> None:
    """Weights as another exporter writes them: Constant nodes, Gemm with its second argument transposed, no metadata."""
    model = classifier("gru")
    graph = interop.to_onnx(model)
    del graph.metadata_props[:]
    values = {one.name: onnx.numpy_helper.to_array(one) for one in graph.graph.initializer}
    nodes = list(graph.graph.node)
    at = next(n for n, node in enumerate(nodes) if node.op_type == "MatMul")
    gemm = onnx.helper.make_node("Gemm", [nodes[at].input[0], "k", "dense/bias"], nodes[at + 1].output, transB=1)
    kernel = onnx.numpy_helper.from_array(np.ascontiguousarray(values["dense/kernel"].T), "k")
    constant = onnx.helper.make_node("Constant", [], ["k"], value=kernel)
    del graph.graph.node[:]
    graph.graph.node.extend([constant, *nodes[:at], gemm, *nodes[at + 2 :]])
    onnx.checker.check_model(graph)
    copy = interop.from_onnx(graph, emptied(model))
    for a, b in zip(copy.weights, model.weights, strict=True):
        np.testing.assert_array_equal(a.value, b.value)
    with pytest.raises(ValueError, match="does not say its layers, expected a graph of to_onnx's, or model="):
        interop.from_onnx(graph)


def test_onnx_that_does_not_fit(onnx: Any, tmp_path: Path) -> None:
    model = classifier("lstm")

    def changed(name: str, value: np.ndarray | None) -> Any:
        graph = interop.to_onnx(model)
        kept = [one for one in graph.graph.initializer if one.name != name]
        del graph.graph.initializer[:]
        graph.graph.initializer.extend(kept)
        if value is not None:
            graph.graph.initializer.append(onnx.numpy_helper.from_array(value.astype(np.float32), name))
        return graph

    for graph, message in (
        (changed("lstm/R", None), "has no lstm/R, found"),
        (changed("lstm/W", np.ones((1, 3 * H, D))), r"lstm/W has shape \(1, 21, 5\), expected \(1, 28, I\) = \[D, 4H, I\]"),
        (changed("lstm/W", np.ones((1, D, 4 * H))), r"lstm/W has shape \(1, 5, 28\), expected \(1, 28, I\)"),
        (changed("lstm/R", np.ones((1, 3 * H, H))), r"lstm/R has shape \(1, 21, 7\), expected \(1, 4H, H\) of node lstm"),
        (changed("lstm/B", np.ones((1, 4 * H))), r"lstm/B has shape \(1, 28\), expected \(1, 56\) = \[D, 8H\]"),
        (changed("lstm/W", np.ones((1, 4 * H, D + 1))), r"node lstm gives lstm/kernel the shape \(6, 28\), expected \(5, 28\)"),
        (changed("dense/kernel", np.ones((1, H))), r"gives dense/kernel the shape \(1, 7\), expected \(7, 1\)"),
        (interop.to_onnx(classifier("gru")), "node gru is a GRU, expected LSTM as lstm"),
        (interop.to_onnx(classifier("lstm_without_bias")), "node lstm has no bias, expected one as lstm has kernel"),
        (
            interop.to_onnx(filled(Embedding(V, D), LSTM(H, peepholes=True), Dense(1))),
            "node lstm has a peephole, expected none",
        ),
        (
            interop.to_onnx(filled(Embedding(V, D), LSTM(H, clip=2.0), Dense(1))),
            "lstm has clip=2.0, expected clip=None as lstm",
        ),
        (
            interop.to_onnx(filled(Embedding(V, D), LSTM(H, coupled=True), Dense(1))),
            "lstm has input_forget=True, expected coup",
        ),
        (
            interop.to_onnx(filled(Embedding(V, D), Bidirectional(LSTM(H), name="lstm"), Dense(1))),
            "node lstm has direction bidirectional, expected forward as lstm",
        ),
        (
            interop.to_onnx(STACKS["two_layers"]("lstm")),
            r"has 4 nodes with weights \(Embedding, LSTM, LSTM, Dense\), expected 3",
        ),
    ):
        assert_refused(lambda graph=graph: interop.from_onnx(graph, model), f"from_onnx: .*{message}", model)
    before = classifier("gru_reset_before")
    graph = interop.to_onnx(classifier("gru"))
    assert_refused(
        lambda: interop.from_onnx(graph, before), "linear_before_reset=1, expected 0 as gru has reset_after=False", before
    )

    content = interop.to_onnx(model).SerializeToString()
    path = tmp_path / "a.onnx"
    for damaged in (content[: len(content) // 2], content[:-3], b"", b"none"):
        path.write_bytes(damaged)
        assert_refused(lambda: interop.from_onnx(path, model), "a.onnx: not an ONNX model, or a damaged one", model)
    with pytest.raises(FileNotFoundError):
        interop.from_onnx(tmp_path / "none.onnx")
    graph = interop.to_onnx(model)
    whole = graph.metadata_props[0].value
    for text, message in (
        ('{"model": {}}', "KeyError"),
        ("[" * 100_000, "RecursionError"),
        ('{"model": {"name": "x", "layers": [[]]}}', "TypeError|AttributeError"),
        (re.sub(r'"input_shape": \[.*?\]', '"input_shape": [null, Infinity]', whole), "input_shape is .None, inf., expected"),
        (whole.replace(f'"units": {H}', '"units": 300000'), "a weight has shape .*, expected at most the"),
        (whole.replace(f'"units": {H}', f'"units": {10**30}'), "a weight has shape .*, expected at most the"),
    ):
        assert text != whole
        graph.metadata_props[0].value = text
        with pytest.raises(ValueError, match=rf"the description of its layers: damaged \(.*({message})"):
            interop.from_onnx(graph)


@pytest.mark.usefixtures("onnx")
def test_nothing_is_drawn_for_the_layers_of_a_graph() -> None:
    model = filled(Embedding(V, D), LSTM(H, return_sequences=True), AttentionPooling1D(), Dense(1))
    graph, state = interop.to_onnx(model), _random.get_state()
    found = interop.from_onnx(graph)
    assert _random.get_state() == state
    for ours, theirs in zip(found.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


# ---------------------------------------------------------------- ONNX: nodes alone


@pytest.mark.parametrize("form", ["lstm", "gru", "gru_reset_before", "gru_write"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("by", ["onnxruntime", "onnx.reference"])
def test_weights_to_onnx(onnx: Any, run: Any, form: str, layers: int, bidirectional: bool, by: str) -> None:
    cell: Any = form.partition("_")[0]
    gru: Any = {"gru_reset_before": {"reset_after": False}, "gru_write": {"update_gate": "write"}}.get(form, {})
    dtype, tolerance = ("float32", 1e-5) if by == "onnxruntime" else ("float64", 1e-11)
    weights = [
        tuple(w.astype(dtype) for w in given)
        for given in random_weights(cell, layers, bidirectional, reset_after=gru.get("reset_after", True))
    ]
    rng = np.random.default_rng(2)
    x = normal(rng, T, B, D).astype(dtype)
    state = [normal(rng, len(weights), B, H).astype(dtype) for _ in range(2 if cell == "lstm" else 1)]
    lengths = np.full(B, T) if by == "onnx.reference" else LENGTHS  # which the former does not look at
    options = {"lengths": lengths, "bidirectional": bidirectional}
    if cell == "lstm":
        y, last, _ = ops.lstm(x, weights, initial_state=state, **options)
    else:
        y, h_n, _ = ops.gru(x, weights, initial_state=state[0], **options, **gru)
        last = (h_n,)

    graph = interop.weights_to_onnx(weights, cell, bidirectional=bidirectional, **gru)
    inputs = {"x": x, "lengths": lengths.astype(np.int32), "h_0": state[0], **({"c_0": state[1]} if cell == "lstm" else {})}
    if by == "onnxruntime":
        found = run(graph, **inputs)
    else:
        from onnx.reference import ReferenceEvaluator

        found = ReferenceEvaluator(graph).run(None, inputs)
    assert_close(found[0], y, tolerance)
    for a, b in zip(found[1:], last, strict=True):
        assert_close(a[:, lengths > 0], b[:, lengths > 0], tolerance)  # of a row without tokens ONNX Runtime's are zeros

    node = interop.weights_from_onnx(graph, "layer_0")
    assert (node.name, node.cell) == ("layer_0", cell)
    assert node.direction == ("bidirectional" if bidirectional else "forward")
    assert node.reset_after == (cell == "gru" and gru.get("reset_after", True))
    if form != "gru_write":
        for given, back in zip(weights, node.weights, strict=False):
            for a, b in zip(given, back, strict=False):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", ["peepholes", "coupled", "clip", "all", "gru", "gru_reset_before"])
def test_options_of_nodes(onnx: Any, run: Any, form: str, dtype: str, bidirectional: bool) -> None:
    cell: Any = form.partition("_")[0] if form.startswith("gru") else "lstm"
    gru: Any = {"reset_after": form == "gru"} if cell == "gru" else {}
    options: Any = {"coupled": True} if form in ("coupled", "all") else {}
    options |= {"clip": 0.3} if form in ("clip", "all", "gru", "gru_reset_before") else {}
    rng = np.random.default_rng(5)
    weights = [
        tuple(w.astype(dtype) for w in (*given, *([normal(rng, 3, H)] if form in ("peepholes", "all") else [])))
        for given in random_weights(cell, 2, bidirectional, reset_after=gru.get("reset_after", True))
    ]
    x = normal(rng, T, B, D).astype(dtype)
    state = [normal(rng, len(weights), B, H).astype(dtype) for _ in range(2 if cell == "lstm" else 1)]
    lengths = np.maximum(LENGTHS, 1) if dtype == "float32" else np.full(B, T)  # onnx.reference does not look at them
    more = {"lengths": lengths, "bidirectional": bidirectional, **options, **gru}
    if cell == "lstm":
        y, last, _ = ops.lstm(x, weights, initial_state=state, **more)
    else:
        y, h_n, _ = ops.gru(x, weights, initial_state=state[0], **more)
        last = (h_n,)
    graph = interop.weights_to_onnx(weights, cell, bidirectional=bidirectional, **gru, **options)
    inputs = {"x": x, "h_0": state[0], **({"c_0": state[1]} if cell == "lstm" else {})}
    inputs["lengths"] = lengths.astype(np.int32)
    found = []
    if dtype == "float32":
        found = run(graph, **inputs)
    elif form == "peepholes":  # neither it nor ONNX Runtime has the others in float64
        from onnx.reference import ReferenceEvaluator

        found = ReferenceEvaluator(graph).run(None, inputs)
    for a, b in zip(found, (y, *last), strict=bool(found)):
        assert a.dtype == b.dtype
        assert_close(a, b, 1e-5 if dtype == "float32" else 1e-11)
    node = interop.weights_from_onnx(graph, "layer_0")
    assert (node.clip, node.coupled) == (pytest.approx(options.get("clip")), options.get("coupled", False))
    for given, back in zip(weights, node.weights, strict=False):
        for a, b in zip(given, back, strict=False):
            assert b is not None
            assert b.dtype == dtype
            np.testing.assert_array_equal(a, b)


def test_weights_that_nodes_do_not_have(onnx: Any) -> None:
    projection = [(*random_weights("lstm", 1, False)[0], None, np.ones((H, H), np.float32))]
    with pytest.raises(ValueError, match=r"weights\[0\]: projection is given, which has no counterpart"):
        interop.weights_to_onnx(projection, "lstm")
    with pytest.raises(ValueError, match="coupled is True, which a GRU does not have"):
        interop.weights_to_onnx(random_weights("gru", 1, False), "gru", coupled=True)
    with pytest.raises(ValueError, match=r"weights\[0\]: peephole is given, which has no counterpart"):
        interop.weights_to_torch([(*random_weights("lstm", 1, False)[0], np.ones((3, H), np.float32))], "lstm")


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_nodes_of_others(onnx: Any, run: Any, kind: str, after: int, direction: str) -> None:
    """A node with both biases, in each direction, with sequence_lens."""
    rng = np.random.default_rng(3)
    gates, directions = 4 if kind == "LSTM" else 3, 2 if direction == "bidirectional" else 1
    shapes = {"W": (directions, gates * H, D), "R": (directions, gates * H, H), "B": (directions, 2 * gates * H)}
    arrays = [onnx.numpy_helper.from_array(normal(rng, *shape, scale=0.4), name) for name, shape in shapes.items()]
    options = {"linear_before_reset": after} if kind == "GRU" else {}
    node = onnx.helper.make_node(
        kind, ["x", "W", "R", "B", "n"], ["Y", "Y_h"], name="one", hidden_size=H, direction=direction, **options
    )
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_model(
        onnx.helper.make_graph(
            [node],
            "g",
            [value("x", 1, [T, B, D]), value("n", 6, [B])],
            [value("Y", 1, None), value("Y_h", 1, None)],
            arrays,
        ),
        opset_imports=[onnx.helper.make_opsetid("", 17)],
        ir_version=8,
    )
    found = interop.weights_from_onnx(graph)
    assert found.direction == direction
    x, lengths = normal(rng, T, B, D), np.maximum(LENGTHS, 1)
    theirs, their_last = run(graph, x=x, n=lengths.astype(np.int32))
    weights = found.weights if direction != "reverse" else [found.weights[0]] * 2
    more = {"lengths": lengths, "bidirectional": direction != "forward"}
    if kind == "LSTM":
        y, (last, _), _ = ops.lstm(x, weights, **more)
    else:
        y, last, _ = ops.gru(x, weights, reset_after=found.reset_after, **more)
    y = y.reshape(T, B, -1, H).transpose(0, 2, 1, 3)
    if direction == "reverse":
        y, last = y[:, 1:], last[1:]
    assert_close(y, theirs, 1e-5)
    assert_close(last, their_last, 1e-5)


def test_nodes_that_have_no_counterpart(onnx: Any) -> None:
    weights = random_weights("lstm", 2, False)
    graph = interop.weights_to_onnx(weights, "lstm")
    with pytest.raises(ValueError, match="has layer_0, layer_1, expected one LSTM or GRU node"):
        interop.weights_from_onnx(graph)
    with pytest.raises(ValueError, match="has layer_0, layer_1, expected a node 'layer_2'"):
        interop.weights_from_onnx(graph, "layer_2")
    for change, message in (
        ({"activations": ["Sigmoid", "Relu", "Tanh"]}, "activations Sigmoid, Relu, Tanh, expected Sigmoid, Tanh, Tanh"),
        ({"hidden_size": H + 1}, "expected H=8, node layer_0's hidden_size"),
    ):
        graph = interop.weights_to_onnx(weights[:1], "lstm")
        (node,) = [one for one in graph.graph.node if one.op_type == "LSTM"]
        kept = [one for one in node.attribute if one.name not in change]
        del node.attribute[:]
        node.attribute.extend([*kept, *(onnx.helper.make_attribute(k, v) for k, v in change.items())])
        with pytest.raises(ValueError, match=message):
            interop.weights_from_onnx(graph)
    graph = interop.weights_to_onnx(weights[:1], "lstm")
    (node,) = [one for one in graph.graph.node if one.op_type == "LSTM"]
    node.input.append("peepholes")
    with pytest.raises(ValueError, match=r"weights_from_onnx: the ONNX graph has no peepholes, found .*layer_0/W"):
        interop.weights_from_onnx(graph)
    with pytest.raises(ValueError, match=r"weights\[0\]: recurrent_kernel has shape \(7, 28\), expected \[H, 3H\]"):
        interop.weights_to_onnx(weights, "gru")
