"""Every recipe runs, on texts that a word gives away, and says how good it was; none is longer than a page."""

from __future__ import annotations

import csv
import io
import re
import runpy
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnext import TextClassifier, datasets

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
WORDS = {"0": "dull", "1": "moving", "2": "long", "3": "lovely", "4": "superb"}
Run = Callable[..., str]

pytestmark = pytest.mark.skipif(not EXAMPLES.is_dir(), reason="the examples are in the source tree, which is not here")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """run(name, arguments...): what the script prints."""

    def call(name: str, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        monkeypatch.syspath_prepend(str(EXAMPLES))
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return call


def rows(labels: str, count: int, seed: int = 0) -> list[tuple[str, str]]:
    rng = np.random.default_rng(seed)
    return [
        (label, f"a {' '.join(f'w{n}' for n in rng.integers(50, size=4))} {WORDS[label]} film")
        for label in (labels[n % len(labels)] for n in range(count))
    ]


def write(path: Path, table: Iterable[tuple[str, ...]], *columns: str) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("label", "text", *columns), *table])
    return path


@pytest.fixture
def imdb(tmp_path: Path) -> Path:
    for seed, part in enumerate(("train", "test")):
        write(tmp_path / f"{part}.csv", rows("01", 160, seed))
    return tmp_path


def accuracies(printed: str) -> list[float]:
    return [float(found) for found in re.findall(r"([\d.]+)%", printed)]


def test_examples_fit_on_a_page() -> None:
    for path in EXAMPLES.glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 60, path


def test_reviews(run: Run, imdb: Path) -> None:
    printed = run("imdb.py", imdb, "--models", 2)
    assert printed.count("rnnext, seed") == 2
    assert min(accuracies(printed)) > 90


def test_questions(run: Run, tmp_path: Path) -> None:
    finer = [(label, text, f"{label}:{n % 2}") for n, (label, text) in enumerate(rows("01234", 200))]
    train, test = write(tmp_path / "a.csv", finer, "fine"), write(tmp_path / "b.csv", rows("01234", 50, 1))
    assert min(accuracies(run("questions.py", train, test))) > 90


def test_chinese(run: Run, tmp_path: Path) -> None:
    signs = {"0": "差", "1": "好"}
    table = [
        (label, f"房间{n % 7}很{signs[label]}，早餐{n % 5}一般", "test" if n % 4 == 0 else "dev" if n % 9 == 0 else "train")
        for n, (label, _) in enumerate(rows("01", 240) + rows("10", 240))
    ]
    assert min(accuracies(run("chinese.py", write(tmp_path / "hotel.csv", table, "split")))) > 90


def test_phrases(run: Run, tmp_path: Path) -> None:
    test = [("0", text) if label == "0" else ("1", text) for label, text in rows("034", 60, 1)]
    files = write(tmp_path / "phrases.csv", rows("01234", 400)), write(tmp_path / "test.csv", test)
    assert min(accuracies(run("phrases.py", *files))) > 90


def test_movies(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = datasets.load(str(write(tmp_path / "movies.csv", rows("01", 200))))
    monkeypatch.setattr(datasets, "movie_sentences", lambda: data)
    vectors = tmp_path / "vectors.npz"
    np.savez(vectors, words=np.array(["dull", "moving"]), vectors=np.eye(2, dtype=np.float32))
    assert min(accuracies(run("movies.py", "--vectors", vectors))) > 90


@pytest.mark.parametrize("name", ["tutorial_lstm.py", "tutorial_gru.py"])
def test_tutorials(run: Run, imdb: Path, name: str) -> None:
    assert "best: " in run(name, imdb, "--epochs", 1)


def test_lstm_or_gru(run: Run, imdb: Path) -> None:
    *_, lstm, gru = run("lstm_or_gru.py", imdb, "--epochs", 1).splitlines()
    assert [line.split("|")[1].strip() for line in (lstm, gru)] == ["LSTM", "GRU"]
    assert [int(line.split("|")[6].replace(",", "")) for line in (lstm, gru)] == [400 * 229, 300 * 230]


@pytest.mark.parametrize("options", [(), ("--segment", 3), ("--segment", 3, "--truncate", "--maxlen", 6)])
def test_long_documents(run: Run, imdb: Path, options: tuple[Any, ...]) -> None:
    printed = run("long_documents.py", imdb, *options)
    assert f"longest {6 if '--maxlen' in options else 7} words" in printed
    assert min(accuracies(printed)) > 80


def test_monitor(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, text = tmp_path / "model", ["w1 w2 moving\n", "film, dull dull\n", "\n", "a moving film\n"]
    assert accuracies(run("monitor.py", model, "--train", write(tmp_path / "a.csv", rows("01", 240))))[0] > 90
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(text)))
    found = [line.split()[:2] for line in run("monitor.py", model).splitlines()]
    classifier = TextClassifier.load(model)
    wanted = classifier.predict_proba([text[0], text[0] + text[1], text[3]])
    assert [label for label, _ in found] == ["1", "0", "1"]
    np.testing.assert_allclose([float(p) for _, p in found], wanted.max(axis=1), atol=6e-4)
