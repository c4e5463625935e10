"""The benchmarks: fair turns, contenders that fail, files, comparisons, and every suite on sizes that take no time.

Never how fast anything is.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rnnext import _core, cli
from rnnext.bench import PEERS, SUITES, harness, ours, peers, report, suites, tokens
from rnnext.bench.harness import ContenderError, Pool, Row, Spread, Task

ENTRIES = Path(__file__).resolve().parent.parent / "bench"


# ---------------------------------------------------------------- contenders for a process of their own


def writer(name: str, path: str, *, threads: int) -> Callable[[], object]:
    """A contender that writes its name and its numbers of threads, and takes a whole short turn."""

    def run() -> None:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(f"{name} {threads} {os.environ['OMP_NUM_THREADS']}\n")
        time.sleep(0.02)

    return run


def constant(value: float, *, threads: int) -> Callable[[], object]:
    def run() -> object:
        time.sleep(0.02)
        return [value, value]

    return run


def broken(when: str, how: str, *, threads: int) -> Callable[[], object]:
    """A contender that raises or ends its process: when it is made, when it is run, or in its fourth turn."""

    def fail() -> object:
        if how == "dies":
            os._exit(3)
        raise ValueError("no such thing")

    if when == "made":
        fail()
    calls = iter(range(3))
    return fail if when == "run" else lambda: time.sleep(0.02) if next(calls, None) is not None else fail()


def denormals_left(flush: bool, *, threads: int) -> Callable[[], object]:
    """The number of denormals that PyTorch's threads do not flush in a product large enough for several threads."""
    torch = peers._torch(threads, flush)
    denormals = torch.from_numpy(np.full(1 << 22, 700_000, np.int32).view(np.float32))
    return lambda: [np.count_nonzero((denormals * torch.tensor(0.5)).numpy().view(np.int32))]


# ---------------------------------------------------------------- turns


@pytest.fixture
def _short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short turns and no measured peak, for tests that do not look at either; `test_command` measures them."""
    monkeypatch.setattr(harness, "_TURN", 0.01)
    monkeypatch.setattr(harness, "_PAUSE", 0.0)
    monkeypatch.setattr(harness, "fma_rates", lambda threads: [80.0, 100.0, 90.0])


def test_a_turn_is_the_median_of_its_calls_but_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    durations = iter([0.09, 0.01, 0.03, 0.02, 0.05])
    monkeypatch.setattr(harness.time, "perf_counter", lambda: now)

    def run() -> None:
        nonlocal now
        now += next(durations)

    assert harness.turn(run) == pytest.approx(25)
    assert next(durations, None) is None


def test_a_long_call_is_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(harness.time, "perf_counter", lambda: now)

    def run() -> None:
        nonlocal now
        now += 0.4

    assert harness.turn(run) == pytest.approx(400)
    assert now == pytest.approx(0.4)


def test_contenders_take_turns() -> None:
    asked: list[str] = []

    def contender(name: str, values: list[float]) -> Callable[[], float]:
        def ask() -> float:
            asked.append(name)
            return values.pop(0)

        return ask

    found = harness.alternate({"a": contender("a", [3, 1, 2]), "b": contender("b", [10, 30, 80])}, rounds=3)
    assert asked == ["a", "b"] * 3
    assert found == {"a": Spread(2, 1, 3), "b": Spread(30, 10, 80)}


def test_rates_and_shares() -> None:
    assert Spread(10, 5, 20).rate(100) == Spread(10_000, 5_000, 20_000)
    assert Spread(10, 5, 20).over(10) == Spread(1, 0.5, 2)


@pytest.mark.usefixtures("_short_turns")
def test_processes_take_turns_and_know_their_threads(tmp_path: Path) -> None:
    log = tmp_path / "log"
    before = os.environ.get("OMP_NUM_THREADS")
    tasks = {name: Task(writer, count, {"name": name, "path": str(log)}) for name, count in (("a", 1), ("b", 3))}
    with Pool() as pool:
        values = pool.measure(tasks, rounds=2)
        assert pool.peak_memory("a", 1) > 1 or not sys.platform.startswith("linux")
    assert log.read_text(encoding="utf-8").splitlines() == ["a 1 1", "b 3 3"] * 3
    assert list(values) == ["a", "b"]
    assert os.environ.get("OMP_NUM_THREADS") == before


def test_a_process_ignores_ctrl_c_from_its_beginning() -> None:
    before = signal.getsignal(signal.SIGINT)
    worker = harness.Worker("a", 1)
    assert signal.getsignal(signal.SIGINT) is before
    for _ in range(20):  # while Python starts in it, too
        os.kill(worker._process.pid or 0, signal.SIGINT)
        time.sleep(0.02)
    worker.ask("load", Task(constant, 1, {"value": 1.0}))
    assert worker.ask("result").tolist() == [1, 1]
    worker.close()


@pytest.mark.usefixtures("_short_turns")
def test_peers_that_fail_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    failing = {
        "made": ("made", "raises", "ValueError: no such thing"),
        "run": ("run", "raises", "ValueError: no such thing"),
        "died": ("run", "dies", "its process ended with code 3"),
        "later": ("later", "raises", "ValueError: no such thing"),
    }
    works = Task(constant, 1, {"value": 1.0})
    peers = {name: Task(broken, 1, {"when": when, "how": how}) for name, (when, how, _) in failing.items()}
    with Pool() as pool:
        assert list(pool.measure({"ours": works, **peers, "other": works}, rounds=4)) == ["ours", "other"]
        said = [f"left out: {name}: {message}" for name, (*_, message) in failing.items()]
        assert capsys.readouterr().err.splitlines() == said
        again = dict.fromkeys(("ours", *peers, "other"), works)  # new processes
        assert list(pool.measure(again, rounds=1)) == ["ours", *peers, "other"]


@pytest.mark.usefixtures("_short_turns")
def test_if_ours_fails_nothing_is_measured() -> None:
    tasks = {"ours": Task(broken, 1, {"when": "made", "how": "raises"}), "peer": Task(constant, 1, {"value": 1.0})}
    with Pool() as pool, pytest.raises(ContenderError, match=r"ours: ValueError: no such thing"):
        pool.measure(tasks, rounds=1)


@pytest.mark.usefixtures("_short_turns")
def test_who_computes_something_else_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    values = {"ours": 1.0, "same": 1.00001, "wrong": 1.1, "nan": float("nan")}
    tasks = {name: Task(constant, 1, {"value": value}) for name, value in values.items()}
    with Pool() as pool:
        assert list(pool.measure(tasks, rounds=1, same_results=True)) == ["ours", "same"]
    message = capsys.readouterr().err
    assert "wrong: it computes something else than ours" in message
    assert "nan: it computes something else than ours" in message


# ---------------------------------------------------------------- files and comparisons


ROWS = [
    Row("layer", "A lstm", "ms", {"rnnext": Spread(10, 9, 11), "torch-ftz": Spread(25, 24, 26)}, {"gflops": 350.0}),
    Row("infer", "lstm, B=32", "sequences/s", {"rnnext": Spread(20_000, 19_000, 21_000), "openvino": Spread(5_000, 1, 6_000)}),
]
MACHINE = {
    "processor": "P",
    "isa": "avx2",
    "threads": 2,
    "fma_peak_gflops": 400.0,
    "fma_median_gflops": 300.0,
    "read_gbytes": 30.0,
    "versions": {},
}


def test_json_round_trip(tmp_path: Path) -> None:
    harness.write_json(tmp_path / "a.json", MACHINE, ROWS)
    assert harness.read_json(tmp_path / "a.json") == (MACHINE, ROWS)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 99}', '{"format": 1, "machine": {}, "rows": [{"a": 1}]}'])
def test_another_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=r"a\.json: not a result of rnnext bench"):
        harness.read_json(tmp_path / "a.json")


def test_a_ratio_above_one_means_that_ours_is_better() -> None:
    assert ROWS[0].times_better(ROWS[0].values["torch-ftz"]) == 2.5
    assert ROWS[1].times_better(ROWS[1].values["openvino"]) == 4
    assert "10.0 (9.00–11.0) ms" in report.line(ROWS[0])
    assert "350 GF/s" in report.line(ROWS[0])
    assert "torch-ftz 25.0 (2.50x)" in report.line(ROWS[0])


def test_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    later = [
        replace(ROWS[0], values={"rnnext": Spread(8, 7.5, 8.5), "torch-ftz": Spread(20, 19, 21)}),
        replace(ROWS[1], values={"rnnext": Spread(20_500, 19_500, 21_500)}),
        replace(ROWS[0], case="B lstm"),
    ]
    harness.write_json(before, MACHINE | {"versions": {"python": "3", "torch": "1"}}, [*ROWS, replace(ROWS[0], case="C lstm")])
    harness.write_json(after, MACHINE | {"threads": 1, "versions": {"python": "3", "torch": "2"}}, later)
    assert cli.main(["bench", "compare", str(before), str(after)]) == 0
    threads, torch, layer, infer, added, gone = capsys.readouterr().out.splitlines()
    assert threads == "another threads: 2 before, 1 after"
    assert torch == "another torch: 1 before, 2 after"
    assert "1.25x   torch-ftz 1.25x" in layer
    assert "within the spread" not in layer
    assert "1.02x  within the spread" in infer
    assert added == f"layer B lstm [ms]: only in {after}"
    assert gone == f"layer C lstm [ms]: only in {before}"


def test_drawings(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    facts = {"gflops": 300.0, "share_of_peak": 0.75, "fma_peak_gflops": 400.0, "operations_per_byte": 60.0}
    written = report.plot(tmp_path / "plots", MACHINE, [replace(ROWS[0], facts=facts), ROWS[1]])
    assert [path.name for path in written] == ["layer.png", "infer.png", "roofline.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)
    assert report._spelled_out("A gru_before", report._CELLS) == "A GRU, reset before"
    assert report._spelled_out("torch-ftz packed", PEERS) == "PyTorch, denormals flushed packed"


def test_labels_of_bars_stay_within_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = pytest.importorskip("matplotlib.figure")
    drawn = []
    monkeypatch.setattr(figures.Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    for least in (0.2, 1, 200):
        values = {"rnnext": Spread(1, 1, 1), "numpy": Spread(least, 1, 1), "torch": Spread(1234.5, 1, 1)}
        report.plot(tmp_path, MACHINE, [Row("memory", "size on disk", "MB", values)])
        drawn[-1].draw_without_rendering()
        (axes,) = drawn[-1].axes
        assert all(label.get_window_extent().x1 < axes.get_window_extent().x1 for label in axes.texts)


# ---------------------------------------------------------------- what is measured


def test_shapes() -> None:
    assert [case.name for case in suites.shapes("AD")] == ["A", "D"]
    assert suites.shapes("5,3,8,7")[0].shape == suites.Shape(steps=5, batch=3, inputs=8, units=7)
    deepbench = suites.shapes("deepbench")
    assert len(deepbench) == 19
    assert suites.Case("1536×32×187", suites.Shape(187, 32, 1536, 1536), ("gru_after", "gru_before")) in deepbench
    for wrong in ("", "AE", "1,2,3", "1,2,3,0", "1,2,3,x"):
        with pytest.raises(ValueError, match=r"bench: shapes is .*, expected letters of A to D, deepbench, or T,B,I,H"):
            suites.shapes(wrong)


def test_operations_and_bytes() -> None:
    shape = suites.Shape(steps=200, batch=32, inputs=128, units=100)
    assert suites.gflop("lstm", shape) == pytest.approx(3.502, abs=1e-3)
    assert suites.gflop("gru_before", shape) == pytest.approx(3.502 * 3 / 4, abs=1e-3)
    # x twice, dx, y, dy; saved twice; weights twice and their gradients
    expected = 4 * 6400 * (3 * 128 + 2 * 100) + 2 * 6400 * 100 * 24 + 3 * 4 * 228 * 400
    assert suites.least_bytes("lstm", shape) == expected


def test_drawn_reviews_are_like_imdb() -> None:
    reviews = tokens.drawn(20_000, 2_000)
    lengths = np.array([len(row) for row in reviews.ids])
    assert np.quantile(lengths, [0.1, 0.5, 0.9]) == pytest.approx([70, 176, 440], rel=0.15)
    full = next(reviews.at_least(200).cut(200).batches(1, 32))
    ids = np.stack(full.ids)
    assert ids.shape == (32, 200)
    assert 2 <= ids.min() <= ids.max() < 20_000
    assert len(np.unique(ids)) / ids.size == pytest.approx(0.28, abs=0.04)
    with pytest.raises(ValueError, match="no review has 9999 tokens"):
        reviews.at_least(9_999)


def test_batches_begin_again_and_are_padded_in_front() -> None:
    reviews = tokens.Reviews([np.arange(2, 2 + n, dtype=np.int32) for n in (1, 4, 2)], np.array([0, 1, 0], np.float32))
    first, second = reviews.batches(2, 2)
    assert first.padded(3).tolist() == [[0, 0, 2], [3, 4, 5]]
    assert second.padded(3).tolist() == [[0, 2, 3], [0, 0, 2]]
    assert second.labels.tolist() == [0, 0]


SMALL = suites.Settings(
    threads=2,
    rounds=1,
    cells=("gru_after",),
    shapes=suites.shapes("5,3,8,7"),
    epoch=True,
    sizes=suites.Sizes(vocabulary=50, embedding=8, units=7),
    batch=4,
    steps=6,
    reviews=20,
    sequences=8,
    predict_batches=(4,),
    latency_shapes=(suites.Shape(5, 1, 3, 4),),
    long_steps=(9,),
)
ROWS_OF = {
    "layer": ["5,3,8,7 gru_after [ms]"],
    "step": ["gru_after [ms]", "gru_after, outside the engine [ms]", "gru_after, epoch of 20 [s]"],
    "ragged": ["gru_after, at most 6 tokens [µs/token]", "gru_after, at most 12 tokens [µs/token]"],
    "infer": ["gru_after, B=4 [sequences/s]"],
    "latency": ["gru_after, model, T=6 [ms]", "gru_after, T=5, I=3, H=4 [ms]"],
    "threads": ["5,3,8,7 gru_after [ms]"],
    "options": [
        f"5,3,8,7 gru_after {name} [ms]"
        for name in [
            "dropout",
            "recurrent_dropout",
            "weight drop",
            "zoneout_h",
            "layer_norm",
            "clip",
            "float64",
            "both directions",
        ]
    ],
    "long": ["T=9 gru_after [ms]", "T=9 gru_after, memory [MB]"],
    "memory": ["gru_after, training process [MB]", "import [ms]", "size on disk [MB]"],
}


@pytest.mark.usefixtures("_short_turns")
@pytest.mark.parametrize("suite", SUITES)
def test_every_suite_runs(suite: str) -> None:
    rows = list(suites.run(suite, SMALL))
    expected = [f"{suite} {name}" for name in ROWS_OF[suite] if sys.platform.startswith("linux") or "MB" not in name]
    assert [row.name for row in rows] == expected
    for row in rows:
        assert next(iter(row.values)).startswith("rnnext")
        assert all(value.low <= value.median <= value.high and value.median > 0 for value in row.values.values())
        assert row.case in report.line(row)


@pytest.mark.usefixtures("_short_turns")
def test_options_of_an_lstm_alone() -> None:
    names = [row.case.removeprefix("5,3,8,7 lstm ") for row in suites.options(replace(SMALL, cells=("lstm",)))]
    assert names[7:] == ["zoneout_h and c", "peepholes", "coupled", "projection", "both directions"]


def test_the_tutorial_process_is_not_charged_with_its_parent() -> None:
    ballast = np.ones(100_000_000 // 4, np.float32)
    measured = next(suites.memory(replace(SMALL, rounds=1))).values["rnnext"].median if sys.platform.startswith("linux") else 1
    assert 0 < measured < 100 <= ballast.nbytes / 1e6


def test_weights_are_used() -> None:
    weights = ours.tutorial("lstm", SMALL.sizes).get_weights()
    x = np.ones((2, 6), np.int32)
    first = ours.predict("lstm", SMALL.sizes, weights, x, 2, threads=1)()
    weights[-1] = weights[-1] + 1
    second = ours.predict("lstm", SMALL.sizes, weights, x, 2, threads=1)()
    assert np.all(np.asarray(second) > np.asarray(first))


# ---------------------------------------------------------------- peers, where they are installed


@pytest.mark.parametrize("cell", ["lstm", "gru_after", "gru_before"])
def test_peers_compute_what_we_compute(cell: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = suites.installed(name for name in PEERS if name != "keras-tf")
    if not found:
        pytest.skip("no peer is installed")
    settings = replace(SMALL, cells=(cell,), peers=found)
    infer, model, layer = [*suites.infer(settings), *suites.latency(settings)]
    assert capsys.readouterr().err == ""
    possible = {name for name in found if name != "torch" and not (name == "torch-ftz" and cell == "gru_before")}
    assert {name.split()[0] for name in infer.values} == {"rnnext"} | possible
    assert set(model.values) == {"rnnext"} | possible
    assert set(layer.values) == {"rnnext"} | possible - {"openvino"}


@pytest.mark.parametrize("suite", ["layer", "step", "ragged", "memory"])
def test_peers_train(suite: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = suites.installed(PEERS)
    if not found:
        pytest.skip("no peer is installed")
    rows = list(suites.run(suite, replace(SMALL, peers=found)))
    assert "left out" not in capsys.readouterr().err
    if suite == "step":
        everybody = {"rnnext"} | ({"torch", "torch-ftz", "keras-tf"} & set(found))
        assert all(set(row.values) == ({"rnnext"} if "outside" in row.case else everybody) for row in rows)


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
def test_denormals_are_flushed_on_all_threads_of_pytorch_or_on_none() -> None:
    for flush, expected in ((False, 1 << 22), (True, 0)):
        worker = harness.Worker("torch", 2)
        worker.ask("load", Task(denormals_left, 2, {"flush": flush}))
        assert worker.ask("result").tolist() == [expected]
        worker.close()


def test_what_is_outside_the_engine_is_a_part_of_a_step() -> None:
    x, y = np.ones((64, 50), np.int32), np.zeros(64, np.float32)
    forward, sizes = _core.recurrent_forward, suites.Sizes(10, 64, 64)
    outside = ours.outside_engine("lstm", sizes, x, y, 32, threads=1)
    epoch = ours.fit("lstm", sizes, x, y, 32, threads=1)
    begin = time.perf_counter()
    epoch()
    step = (time.perf_counter() - begin) / 2 * 1e3
    assert 0 < min(outside() for _ in range(5)) < step
    assert _core.recurrent_forward is forward


# ---------------------------------------------------------------- the command


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.json"
    options = ["--shapes", "5,3,8,7", "--cells", "lstm", "--peers", "none", "--threads", "1", "--rounds", "2"]
    assert cli.main(["bench", "layer", *options, "--json", str(file)]) == 0
    assert "5,3,8,7 lstm" in capsys.readouterr().out
    machine, rows = harness.read_json(file)
    assert machine["threads"] == 1
    assert machine["fma_peak_gflops"] >= machine["fma_median_gflops"] > 0
    assert [row.name for row in rows] == ["layer 5,3,8,7 lstm [ms]"]
    assert json.loads(file.read_text(encoding="utf-8"))["rows"][0]["facts"]["gflops"] > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "no suite 'nothing', expected some of layer"),
        (["compare", "a.json"], "got 1 files, expected two"),
        (["layer", "--shapes", "AE"], "shapes is 'AE'"),
        (["layer", "--data", "nowhere"], "nowhere: no such file or folder"),
        (["layer", "--json", "nowhere/a.json"], "--json is nowhere/a.json, expected a file in a folder that exists"),
        (["layer", "--json", "."], "--json is ., expected a file"),
    ],
)
def test_bad_arguments(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_refused_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "a").write_text("a file", encoding="utf-8")
    assert cli.main(["bench", "layer", "--shapes", "5,3,8,7", "--peers", "none", "--plot", str(tmp_path / "a" / "b")]) == 2
    out, err = capsys.readouterr()
    assert "Not a directory" in err
    assert out == ""
    assert cli.main(["bench", "layer", "--plot", str(tmp_path / "a")]) == 2
    out, err = capsys.readouterr()
    assert "which is a file, expected a folder" in err
    assert out == ""


def test_the_command_line_does_not_load_what_only_a_benchmark_needs() -> None:
    code = "from rnnext.cli._parser import make_parser; make_parser(); import sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = set(run.stdout.split())
    assert not loaded & {"rnnext.bench.harness", "rnnext.bench.suites", "multiprocessing", "torch", "matplotlib"}


@pytest.mark.skipif(not ENTRIES.is_dir(), reason="bench/ is not here")
def test_every_suite_has_a_program() -> None:
    # Programs of their own: contenders that disturb each other on purpose, and what is shown rather than timed.
    own = {"neighbour", "resume", "corpus", "stream"}
    assert {path.stem for path in ENTRIES.glob("*.py")} - own == set(SUITES)
    for name in SUITES:
        assert f'main(["bench", "{name}", *sys.argv[1:]])' in (ENTRIES / f"{name}.py").read_text(encoding="utf-8")
