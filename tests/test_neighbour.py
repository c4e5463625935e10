"""Beside others: children of fork and spawn, threads at exit, threadpoolctl's limits, the variables that choose threads.

Each in a process of its own that has a time limit, as what goes wrong here hangs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import pytest

import rnnext
from rnnext import _core

LIMIT = 60.0  # seconds; each takes about one
PACKAGES = Path(rnnext.__file__).resolve().parent.parent

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
needs_openmp = pytest.mark.skipif(not _core.config()["openmp"], reason="the engine was built without OpenMP")

# What the processes below share; multiprocessing's children find it again in the program's file.
COMMON = '''
import multiprocessing, os, sys, threading, warnings
import numpy as np
import rnnext
from rnnext import layers

def layer_step(layer):
    """Outputs and gradients of a shape large enough for two threads, as bytes."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((32, 20, 64), np.float32)
    y, backprop = layer.forward(x, training=True)
    gradients = backprop(rng.standard_normal(y.shape, np.float32))
    return [np.asarray(array).tobytes() for array in (y, gradients.inputs, *gradients.weights)]

def tokens():
    rng = np.random.default_rng(2)
    return rng.integers(1, 500, (64, 40)), rng.integers(0, 2, 64)

def classifier():
    rnnext.utils.set_random_seed(3)
    model = rnnext.Sequential([layers.Embedding(500, 32), layers.GRU(64), layers.Dense(1, activation="sigmoid")])
    model.compile(loss="binary_crossentropy", optimizer="adam")
    return model

def trained():
    """The weights after a fit, and the predictions made with them, as bytes."""
    model = classifier()
    x, y = tokens()
    model.fit(x, y, batch_size=32, epochs=1, verbose=0)
    return [array.tobytes() for array in model.get_weights()] + [model.predict(x, verbose=0).tobytes()]

def work(_=None):
    return layer_step(recurrent()), trained(), rnnext.get_num_threads()

def recurrent():
    rnnext.utils.set_random_seed(4)
    return layers.LSTM(100, return_sequences=True)

def predict(part):
    """Predict in a pool's child with the model that its parent made."""
    return model.predict(part, verbose=0)

def fork():
    """os.fork without the warning of Python 3.12 and later that the process has threads: that is what is tested here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()

def child_says(function):
    """The repr of what `function` returns in a forked child, which must not raise."""
    reader, writer = os.pipe()
    pid = fork()
    if pid == 0:
        os.close(reader)
        try:
            with os.fdopen(writer, "wb") as pipe:
                pipe.write(repr(function()).encode())
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read().decode()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return said

def children_say(times, function, busy):
    """What `child_says` of several children, one after another, while a thread here calls `busy` again and again."""
    stop = threading.Event()

    def go_on():
        while not stop.is_set():
            busy()

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        return [child_says(function) for _ in range(times)]
    finally:
        stop.set()
        thread.join()
'''


def run(program: str, tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run COMMON and `program` in a process with these environment variables, warnings being errors."""
    file = tmp_path / "program.py"
    file.write_text(COMMON + textwrap.dedent(program), encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    environment |= {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(PACKAGES), **variables}
    command = [sys.executable, "-W", "error", str(file)]
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=hasattr(os, "fork"),
    ) as process:
        try:
            out, error = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            if hasattr(os, "killpg"):
                os.killpg(process.pid, 9)  # its children hang too, and hold the pipes open
            process.kill()
            pytest.fail(f"not done in {LIMIT:.0f} seconds")
    return subprocess.CompletedProcess(command, process.returncode, out, error)


def succeeds(program: str, tmp_path: Path, **variables: str) -> str:
    done = run(program, tmp_path, **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# ---------------------------------------------------------------- fork and spawn


@needs_fork
def test_a_child_of_fork_computes_what_its_parent_does(tmp_path: Path) -> None:
    program = """
    rnnext.set_num_threads(2)
    layer_at_parent, trained_at_parent, threads = work()
    assert threads == (2 if rnnext._core.config()["openmp"] else 1)
    assert child_says(work) == repr((layer_at_parent, trained_at_parent, 1))
    assert work() == (layer_at_parent, trained_at_parent, threads)  # the parent goes on with its own threads
    """
    succeeds(program, tmp_path)


@needs_fork
def test_a_child_goes_on_with_its_parents_model(tmp_path: Path) -> None:
    """A model with its optimizer's state, its layers' packed weights and the closure of a forward pass made before the fork."""
    program = """
    rnnext.set_num_threads(2)
    x, y = tokens()
    model = classifier()
    model.fit(x, y, batch_size=32, verbose=0)
    model.predict(x, verbose=0)
    layer = recurrent()
    steps = np.random.default_rng(1).standard_normal((32, 20, 64), np.float32)
    out, backprop = layer.forward(steps, training=True)

    def go_on():
        gradients = backprop(np.ones_like(out))
        model.fit(x, y, batch_size=32, verbose=0)
        arrays = [gradients.inputs, *gradients.weights, *model.get_weights(), model.predict(x, verbose=0)]
        return [np.asarray(array).tobytes() for array in arrays]

    said = child_says(go_on)
    assert said == repr(go_on())
    """
    succeeds(program, tmp_path)


@needs_fork
def test_a_child_of_a_child_and_one_that_asks_for_threads(tmp_path: Path) -> None:
    program = """
    rnnext.set_num_threads(2)
    expected = work()[:2]

    def asks_again():
        rnnext.set_num_threads(2)
        rnnext._core.fma_rates(2)  # names its threads itself
        return work()

    assert child_says(asks_again) == repr((*expected, 1))
    assert child_says(lambda: child_says(work)) == repr(repr((*expected, 1)))
    """
    succeeds(program, tmp_path)


@needs_fork
def test_fork_while_another_thread_is_in_the_engine(tmp_path: Path) -> None:
    program = """
    rnnext.set_num_threads(2)
    expected = work()
    model = classifier()
    x, _ = tokens()
    model.predict(x, verbose=0)
    layer = recurrent()

    def busy():
        model.predict(x, verbose=0)
        layer_step(layer)

    assert children_say(5, work, busy) == [repr((*expected[:2], 1))] * 5
    """
    succeeds(program, tmp_path)


@needs_fork
def test_fork_while_another_thread_trains(tmp_path: Path) -> None:
    """The training's optimizer holds a lock, and its table has rows that are not up to date."""
    program = """
    model = rnnext.Sequential([layers.Embedding(20000, 128), layers.GlobalAveragePooling1D(), layers.Dense(1)])
    model.compile(loss="mse", optimizer="adam")
    rng = np.random.default_rng(2)

    def busy():
        model.train_on_batch(rng.integers(0, 20000, (32, 200)), rng.integers(0, 2, 32))

    def looks():
        return all(np.isfinite(weights).all() for weights in model.get_weights())

    assert children_say(30, looks, busy) == ["True"] * 30
    """
    succeeds(program, tmp_path)


@needs_fork
def test_fork_while_another_thread_draws_or_reads(tmp_path: Path) -> None:
    program = f"""
    from rnnext import _random, datasets
    from rnnext.datasets import _csv

    file = {str(tmp_path / "a.csv")!r}
    with open(file, "w") as written:
        written.write("text,label\\nfine,1\\n")

    def both():
        recurrent()
        return datasets.read_file(file, text="text", label="label")

    expected = repr(both())
    for lock in (_random._lock, _csv._limit):
        with lock:
            assert child_says(both) == expected
    """
    succeeds(program, tmp_path)


@pytest.mark.parametrize(
    "method", [pytest.param("fork", marks=needs_fork), "spawn", pytest.param("forkserver", marks=needs_fork)]
)
def test_multiprocessing(method: str, tmp_path: Path) -> None:
    program = f"""
    if __name__ == "__main__":
        rnnext.set_num_threads(2)
        expected = work()
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)  # Python 3.12 and later
        with multiprocessing.get_context("{method}").Pool(2) as pool:
            found = pool.map(work, range(4), chunksize=1)
        assert [each[:2] for each in found] == [expected[:2]] * 4
        print(*(each[2] for each in found))
    """
    threads = succeeds(program, tmp_path, RNNEXT_NUM_THREADS="2").split()
    started_alone = method != "fork" and bool(_core.config()["openmp"])
    if method != "forkserver":  # whose server may or may not have imported the engine before it forked
        assert threads == ["2" if started_alone else "1"] * 4


@needs_fork
def test_a_pool_predicts_with_its_parents_model(tmp_path: Path) -> None:
    """Like a DataLoader's workers, the pool is made after the model has trained and predicted, and the parent goes on."""
    program = """
    rnnext.set_num_threads(2)
    x, y = tokens()
    model = classifier()
    model.fit(x, y, batch_size=32, verbose=0)
    expected = model.predict(x, verbose=0)
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)  # Python 3.12 and later
    with multiprocessing.get_context("fork").Pool(2) as pool:
        parts = pool.imap(predict, np.split(x, 8))
        for part, wanted in zip(parts, np.split(expected, 8), strict=True):
            assert part.tobytes() == wanted.tobytes()
            assert model.predict(x, verbose=0).tobytes() == expected.tobytes()
    """
    succeeds(program, tmp_path)


# ---------------------------------------------------------------- threads at exit


@pytest.mark.parametrize("doing", ["forward", "fit", "predict", "forward, fit, predict"])
def test_the_process_ends_while_threads_are_in_the_engine(doing: str, tmp_path: Path) -> None:
    program = f"""
    import time
    model, layer = classifier(), recurrent()
    x, y = tokens()
    model.fit(x, y, verbose=0)
    works = {{
        "forward": lambda: layer_step(layer),
        "fit": lambda: model.fit(x, y, verbose=0),
        "predict": lambda: classifier().predict(x, verbose=0),
    }}

    def go_on(work):
        while True:
            work()

    for name in "{doing}".split(", "):
        threading.Thread(target=go_on, args=(works[name],), daemon=True).start()
    time.sleep(0.3)
    """
    done = run(program, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# ---------------------------------------------------------------- who says how many threads

SAYS = "print(rnnext.get_num_threads())"


@needs_openmp
@pytest.mark.parametrize(
    ("variables", "threads"),
    [
        ({"OMP_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "3", "RNNEXT_NUM_THREADS": "5"}, 5),
        ({"OMP_NUM_THREADS": "5", "RNNEXT_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "3", "RNNEXT_NUM_THREADS": ""}, 3),
    ],
)
def test_precedence_of_the_variables(variables: dict[str, str], threads: int, tmp_path: Path) -> None:
    assert succeeds(SAYS, tmp_path, **variables) == str(threads)
    assert succeeds(f"rnnext.set_num_threads(4)\n{SAYS}", tmp_path, **variables) == "4"


@pytest.mark.parametrize("value", ["0", "-1", "two", "2.0", "2 ", "1025", "99999999999"])
def test_a_bad_rnnext_num_threads_is_said_at_import(value: str, tmp_path: Path) -> None:
    done = run("", tmp_path, RNNEXT_NUM_THREADS=value)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert last == f"RuntimeError: RNNEXT_NUM_THREADS is '{value}', expected a whole number of threads from 1 to 1024"


@needs_openmp
def test_more_threads_than_work(tmp_path: Path) -> None:
    """OpenMP ends the process if it cannot start as many threads as it is asked for."""
    program = """
    x = np.ones((20, 60, 64), np.float32)
    assert rnnext.get_num_threads() == 1024
    assert (rnnext._core.scale_steps(x, x[:, :1]) == x).all()
    assert rnnext._core.draw_places(1, 1.0, 100_000).all()
    layer_step(recurrent())
    trained()
    """
    succeeds(program, tmp_path, OMP_NUM_THREADS="1000000")


@needs_openmp
@pytest.mark.parametrize("value", ["0", "-1", "two"])
def test_a_bad_omp_num_threads_is_said_by_openmp(value: str, tmp_path: Path) -> None:
    done = run(SAYS, tmp_path, OMP_NUM_THREADS=value)
    assert done.returncode == 0
    assert "OMP_NUM_THREADS" in done.stderr
    assert done.stdout.strip() == succeeds(SAYS, tmp_path)  # as if it were not there


# ---------------------------------------------------------------- threadpoolctl

needs_threadpoolctl = pytest.mark.skipif(find_spec("threadpoolctl") is None, reason="threadpoolctl is not installed")


@needs_openmp
@needs_threadpoolctl
@pytest.mark.parametrize("chosen_by", ["set_num_threads", "RNNEXT_NUM_THREADS", "OMP_NUM_THREADS"])
def test_threadpoolctl_limits_hold(chosen_by: str, tmp_path: Path) -> None:
    program = f"""
    from threadpoolctl import threadpool_info, threadpool_limits

    if "{chosen_by}" == "set_num_threads":
        rnnext.set_num_threads(4)
    assert any(library["user_api"] == "openmp" for library in threadpool_info())
    expected = work()
    with threadpool_limits(1):
        inside = work()
        with threadpool_limits(2, user_api="openmp"):
            deeper = work()
        again = rnnext.get_num_threads()
    after = work()
    assert expected[:2] == inside[:2] == deeper[:2] == after[:2]
    assert (expected[2], inside[2], deeper[2], again, after[2]) == (4, 1, 2, 1, 4)
    with threadpool_limits(8):
        assert rnnext.get_num_threads() == (8 if "{chosen_by}" == "OMP_NUM_THREADS" else 4)  # a choice of fewer stands
    """
    variables = {"OMP_NUM_THREADS": "4"}
    if chosen_by == "RNNEXT_NUM_THREADS":
        variables[chosen_by] = "4"
    succeeds(program, tmp_path, **variables)


@needs_openmp
@needs_threadpoolctl
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="this system does not list a process's threads")
def test_no_thread_starts_inside_a_limit_of_one(tmp_path: Path) -> None:
    program = """
    from threadpoolctl import threadpool_limits

    def threads():
        return len(os.listdir("/proc/self/task"))

    before = threads()
    with threadpool_limits(1):
        work()
        inside = threads()
    work()
    assert (inside - before, threads() - before) == (0, 1)
    """
    succeeds(program, tmp_path, OMP_NUM_THREADS="2", RNNEXT_NUM_THREADS="2")


@needs_openmp
@pytest.mark.parametrize("said", [{}, {"GOMP_SPINCOUNT": "5"}])
def test_waiting_threads_soon_sleep_and_the_environment_stays_as_it_was(said: dict[str, str]) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    code = "import os, rnnext; print(os.environ.get('GOMP_SPINCOUNT'))"
    variables = environment | said | {"OMP_DISPLAY_ENV": "verbose"}
    run = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, timeout=LIMIT, check=True)
    assert run.stdout.strip() == str(said.get("GOMP_SPINCOUNT"))
    if "GOMP_SPINCOUNT" in run.stderr:  # libgomp says what it has read
        assert f"GOMP_SPINCOUNT = '{said.get('GOMP_SPINCOUNT', '3000')}'" in run.stderr


# ---------------------------------------------------------------- memory


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says so how much memory a process had")
def test_what_is_kept_for_the_next_call_gives_way_to_it(tmp_path: Path) -> None:
    """Batches of many sizes, one after another, take hardly more memory than the largest of them alone."""

    def peak(*steps: int) -> int:
        program = f"""
        layer = layers.GRU(128)
        x = np.ones((32, 1000, 8), np.float32)
        try:
            rnnext._core.draw_places(1, 0.5, 1 << 44)
        except MemoryError:  # counts for nothing
            pass
        for steps in {steps}:
            y, backprop = layer.forward(x[:, :steps], training=True)
            backprop(np.ones_like(y))
            del y, backprop
        print(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
        """
        return int(succeeds(program, tmp_path)) >> 10

    alone = peak(1000)
    assert alone > 100  # MB, of which half is kept from call to call
    assert peak(*range(250, 1001, 50)) < alone + 110
