"""What the peers are asked to do. Each function returns what a contender's process then calls and times.

Nothing of rnnext is imported: this file is also loaded by itself, where a peer's memory is measured. Weights come in Keras's
layout and gate order. Threads are set by each peer's own means.

How the processor treats denormals is a state of each thread. PyTorch's switch sets it for the calling thread, and worker
threads inherit it only if they are started afterwards. So it is set before anything else.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_Array = npt.NDArray[np.float32]
_Call = Callable[[], object]
_Batches = Sequence[tuple[Any, _Array]]


# ---------------------------------------------------------------- PyTorch


def _torch(threads: int, flush: bool) -> Any:
    import torch

    if not torch.set_flush_denormal(flush):
        raise RuntimeError("PyTorch cannot set how denormals are treated on this processor")
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    return torch


def _torch_recurrent(torch: Any, cell: str, inputs: int, units: int, weights: Sequence[_Array] | None = None) -> Any:
    module = {"lstm": torch.nn.LSTM, "gru_after": torch.nn.GRU}[cell](inputs, units, batch_first=True)
    if weights is not None:
        kernel, recurrent, bias = weights
        if cell == "lstm":
            biases = np.stack([bias, np.zeros_like(bias)])
        else:  # from z r n to r z n
            order = np.concatenate([np.arange(units, 2 * units), np.arange(units), np.arange(2 * units, 3 * units)])
            kernel, recurrent, biases = kernel[:, order], recurrent[:, order], bias[:, order]
        arrays = (kernel.T, recurrent.T, *biases)
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        with torch.no_grad():
            for name, array in zip(names, arrays, strict=True):
                getattr(module, name).copy_(torch.tensor(array))
    return module


class _TorchTutorial:
    """Embedding, the cell's last state, one unit; initialised by PyTorch unless weights are given."""

    def __init__(self, torch: Any, cell: str, sizes: Sequence[int], weights: Sequence[_Array] | None = None) -> None:
        vocabulary, embedding, units = sizes
        self.torch = torch
        self.embedding = torch.nn.Embedding(vocabulary, embedding)
        self.recurrent = _torch_recurrent(torch, cell, embedding, units, None if weights is None else weights[1:4])
        self.head = torch.nn.Linear(units, 1)
        if weights is not None:
            with torch.no_grad():
                self.embedding.weight.copy_(torch.tensor(weights[0]))
                self.head.weight.copy_(torch.tensor(weights[4].T))
                self.head.bias.copy_(torch.tensor(weights[5]))
        modules = (self.embedding, self.recurrent, self.head)
        self.optimizer = torch.optim.Adam([weight for module in modules for weight in module.parameters()])
        self.loss = torch.nn.BCEWithLogitsLoss()

    def logits(self, ids: Any, lengths: Any = None) -> Any:
        x = self.embedding(ids)
        if lengths is not None:
            x = self.torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        _, last = self.recurrent(x)
        last = last[0] if isinstance(last, tuple) else last
        return self.head(last[0])[:, 0]

    def step(self, ids: Any, labels: Any, lengths: Any = None) -> float:
        self.optimizer.zero_grad()
        value = self.loss(self.logits(ids, lengths), labels)
        value.backward()
        self.optimizer.step()
        number: float = value.item()
        return number

    def epoch(self, x: Any, y: Any, batch: int) -> None:
        order = self.torch.randperm(len(x))
        for begin in range(0, len(x), batch):
            rows = order[begin : begin + batch]
            self.step(x[rows], y[rows])


def torch_layer(cell: str, shape: Sequence[int], *, threads: int, flush: bool) -> _Call:
    """Forward and backward of a layer."""
    torch = _torch(threads, flush)
    steps, batch, inputs, units = shape
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.standard_normal((batch, steps, inputs), np.float32), requires_grad=True)
    dy = torch.tensor(rng.standard_normal((batch, steps, units), np.float32))
    module = _torch_recurrent(torch, cell, inputs, units)

    def run() -> object:
        module.zero_grad()
        x.grad = None
        y, _ = module(x)
        y.backward(dy)
        return x.grad

    return run


def torch_train(cell: str, sizes: Sequence[int], batches: _Batches, at_once: int = 1, *, threads: int, flush: bool) -> _Call:
    """Training steps on one batch after the other; rows of different length are packed."""
    torch = _torch(threads, flush)
    model = _TorchTutorial(torch, cell, sizes)
    ready: list[tuple[Any, Any, Any]] = []
    for x, y in batches:
        rows = [torch.tensor(row, dtype=torch.long) for row in x]
        lengths = None if isinstance(x, np.ndarray) else torch.tensor([len(row) for row in rows])
        ready.append((torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.tensor(y), lengths))
    position = 0

    def run() -> None:
        nonlocal position
        for _ in range(at_once):
            model.step(*ready[position % len(ready)])
            position += 1

    return run


def torch_fit(cell: str, sizes: Sequence[int], x: Any, y: _Array, batch: int, *, threads: int, flush: bool) -> _Call:
    """An epoch in random order; three steps have been made before."""
    torch = _torch(threads, flush)
    model = _TorchTutorial(torch, cell, sizes)
    inputs, labels = torch.tensor(x, dtype=torch.long), torch.tensor(y)
    model.epoch(inputs[: 3 * batch], labels[: 3 * batch], batch)
    return lambda: model.epoch(inputs, labels, batch)


def torch_process(cell: str, sizes: Sequence[int], data: str, steps: int, batch: int, threads: int, flush: bool) -> _Call:
    """A whole program on the arrays x, y of a file: training, then validation, on `steps` batches for each."""
    torch = _torch(threads, flush)

    def run() -> None:
        with np.load(data) as arrays:
            x, y = torch.tensor(arrays["x"], dtype=torch.long), torch.tensor(arrays["y"])
        model, rows = _TorchTutorial(torch, cell, sizes), steps * batch
        model.epoch(x[:rows], y[:rows], batch)
        with torch.inference_mode():
            for part in x[-rows:].split(batch):
                model.logits(part)

    return run


def torch_predict(
    cell: str,
    sizes: Sequence[int],
    weights: Sequence[_Array],
    x: npt.NDArray[np.int32],
    batch: int,
    *,
    threads: int,
    flush: bool,
) -> _Call:
    """Probabilities of all rows of x, `batch` at a time."""
    torch = _torch(threads, flush)
    model = _TorchTutorial(torch, cell, sizes, weights)
    ids = torch.tensor(x, dtype=torch.long)

    def run() -> object:
        with torch.inference_mode():
            return torch.cat([model.logits(part).sigmoid() for part in ids.split(batch)]).numpy()

    return run


def torch_forward(cell: str, weights: Sequence[_Array], x: _Array, *, threads: int, flush: bool) -> _Call:
    """All states of a layer."""
    torch = _torch(threads, flush)
    module = _torch_recurrent(torch, cell, x.shape[2], weights[1].shape[0], weights)
    inputs = torch.tensor(x)

    def run() -> object:
        with torch.inference_mode():
            return module(inputs)[0].numpy()

    return run


# ---------------------------------------------------------------- Keras on TensorFlow


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Hide what TensorFlow's libraries print while they are loaded, which no setting prevents."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _keras_tutorial(cell: str, sizes: Sequence[int], threads: int) -> Any:
    os.environ.update(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3")
    with _silent():
        import tensorflow

    tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
    tensorflow.config.threading.set_inter_op_parallelism_threads(threads)
    import keras

    keras.utils.set_random_seed(0)
    vocabulary, embedding, units = sizes
    layer = keras.layers.LSTM(units) if cell == "lstm" else keras.layers.GRU(units, reset_after=cell == "gru_after")
    model = keras.Sequential(
        [keras.layers.Embedding(vocabulary, embedding), layer, keras.layers.Dense(1, activation="sigmoid")]
    )
    model.compile(loss="binary_crossentropy", optimizer="adam", metrics=["accuracy"])
    return model


def keras_train(cell: str, sizes: Sequence[int], batches: _Batches, *, threads: int) -> _Call:
    """Training steps on one batch after the other."""
    model = _keras_tutorial(cell, sizes, threads)
    position = 0

    def run() -> None:
        nonlocal position
        model.train_on_batch(*batches[position % len(batches)])
        position += 1

    return run


def keras_fit(cell: str, sizes: Sequence[int], x: Any, y: _Array, batch: int, *, threads: int) -> _Call:
    """An epoch; three steps have been made before."""
    model = _keras_tutorial(cell, sizes, threads)
    model.fit(x[: 3 * batch], y[: 3 * batch], batch_size=batch, verbose=0)
    return lambda: model.fit(x, y, batch_size=batch, verbose=0)


def keras_process(cell: str, sizes: Sequence[int], data: str, steps: int, batch: int, threads: int) -> _Call:
    """The tutorial's whole program on the arrays x, y of a file: fit with validation, on `steps` batches for each."""
    model = _keras_tutorial(cell, sizes, threads)

    def run() -> None:
        with np.load(data) as arrays:
            x, y = arrays["x"], arrays["y"]
        rows = steps * batch
        model.fit(x[:rows], y[:rows], batch_size=batch, validation_data=(x[-rows:], y[-rows:]), verbose=0)

    return run


# ---------------------------------------------------------------- ONNX Runtime and OpenVINO


def _onnx_model(cell: str, weights: Sequence[_Array]) -> bytes:
    """A graph of the tutorial's model, ids [B, T] -> probabilities [B, 1], or of a layer, x [B, T, I] -> all states [B, T, H].

    The number of weights tells which. All sizes of the input but I may vary.
    """
    from onnx import TensorProto, helper, numpy_helper

    whole = len(weights) == 6
    kernel, recurrent, bias = weights[1:4] if whole else weights
    units = recurrent.shape[0]

    def gates(array: _Array) -> _Array:
        if cell == "lstm":  # from i f c o to i o f c
            i, f, c, o = np.split(array, 4, axis=-1)
            array = np.concatenate([i, o, f, c], axis=-1)
        return np.ascontiguousarray(array.T[None])

    biases = gates(bias if bias.ndim == 2 else np.stack([bias, np.zeros_like(bias)]))
    arrays = {"W": gates(kernel), "R": gates(recurrent), "B": biases.transpose(0, 2, 1).reshape(1, -1)}
    nodes = [helper.make_node("Transpose", ["input"], ["time_first"], perm=[1, 0] if whole else [1, 0, 2])]
    if whole:
        arrays |= {"embeddings": weights[0], "head": weights[4], "head_bias": weights[5]}
        nodes.append(helper.make_node("Gather", ["embeddings", "time_first"], ["x"], axis=0))
    reset = {} if cell == "lstm" else {"linear_before_reset": int(cell == "gru_after")}
    inputs = ["x" if whole else "time_first", "W", "R", "B"]
    outputs = ["", "last"] if whole else ["states"]
    nodes.append(helper.make_node("LSTM" if cell == "lstm" else "GRU", inputs, outputs, hidden_size=units, **reset))
    if whole:
        arrays["first_axis"] = np.array([0], np.int64)
        nodes += [
            helper.make_node("Squeeze", ["last", "first_axis"], ["h"]),
            helper.make_node("Gemm", ["h", "head", "head_bias"], ["logits"]),
            helper.make_node("Sigmoid", ["logits"], ["output"]),
        ]
    else:
        arrays["direction"] = np.array([1], np.int64)
        nodes += [
            helper.make_node("Squeeze", ["states", "direction"], ["h"]),
            helper.make_node("Transpose", ["h"], ["output"], perm=[1, 0, 2]),
        ]
    kind, shape = (TensorProto.INT32, ["B", "T"]) if whole else (TensorProto.FLOAT, ["B", "T", kernel.shape[0]])
    graph = helper.make_graph(
        nodes,
        "rnn",
        [helper.make_tensor_value_info("input", kind, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["B", 1] if whole else ["B", "T", units])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8  # onnx's default is newer than what runtimes read
    content: bytes = model.SerializeToString()
    return content


def _onnxruntime(cell: str, weights: Sequence[_Array], threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(_onnx_model(cell, weights), options, providers=["CPUExecutionProvider"])


def onnxruntime_predict(
    cell: str, sizes: Sequence[int], weights: Sequence[_Array], x: npt.NDArray[np.int32], batch: int, *, threads: int
) -> _Call:
    """Probabilities of all rows of x, `batch` at a time."""
    session = _onnxruntime(cell, weights, threads)
    return lambda: np.concatenate(
        [session.run(None, {"input": x[begin : begin + batch]})[0] for begin in range(0, len(x), batch)]
    )


def onnxruntime_forward(cell: str, weights: Sequence[_Array], x: _Array, *, threads: int) -> _Call:
    """All states of a layer."""
    session = _onnxruntime(cell, weights, threads)
    return lambda: session.run(None, {"input": x})[0]


def openvino_predict(
    cell: str,
    sizes: Sequence[int],
    weights: Sequence[_Array],
    x: npt.NDArray[np.int32],
    batch: int,
    *,
    threads: int,
    streams: bool,
) -> _Call:
    """Probabilities of all rows of x, `batch` at a time; with `streams` as many batches at once as there are threads."""
    import openvino

    core = openvino.Core()
    model = core.read_model(_onnx_model(cell, weights))
    if len(x) % batch == 0:
        model.reshape([batch, x.shape[1]])  # fixed sizes are a tenth faster
    # By itself it would compute in bfloat16 where the processor can.
    options = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    hint = {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": threads} if streams else {"PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(model, "CPU", options | hint)
    starts = range(0, len(x), batch)
    if not streams:
        request = compiled.create_infer_request()
        return lambda: np.concatenate([request.infer({"input": x[begin : begin + batch]})["output"] for begin in starts])
    y = np.empty((len(x), 1), np.float32)
    queue = openvino.AsyncInferQueue(compiled, threads)

    def keep(request: Any, begin: int) -> None:
        y[begin : begin + batch] = request.get_output_tensor().data

    queue.set_callback(keep)

    def run() -> object:
        for begin in starts:
            queue.start_async({"input": x[begin : begin + batch]}, begin)
        queue.wait_all()
        return y

    return run
