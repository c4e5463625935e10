"""The command line from training to prediction, in-process; pipes and signals in a process of their own."""

from __future__ import annotations

import ast
import contextlib
import errno
import fcntl
import gzip
import io
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from rnnext import Sequential, TextClassifier, cli, datasets, saving
from rnnext.classifier import _presets
from rnnext.datasets import _fetch
from rnnext.interop import from_torch
from rnnext.models import load_model
from rnnext.text import TextVectorizer

SMALL = ["--plain", "--units", "8", "--embedding", "8", "--dropout", "0.1", "--batch-size", "8"]
WORDS = {"bad": ["dull", "poor", "worst"], "fine": ["decent", "usual", "plain"], "good": ["great", "moving", "superb"]}
COLUMNS = ("--text", "review", "--label", "stars")
Run = Callable[..., tuple[int, str, str]]


def reviews(path: Path, labels: list[str], rows: int = 240) -> Path:
    """A CSV file of reviews whose label one word gives away, with the columns `stars,id,review`."""
    lines = ["stars,id,review"]
    for n in range(rows):
        label = labels[n % len(labels)]
        ending = f", number {n}" if n % 2 else f" {n}"
        lines.append(f'{label},{n},"A {WORDS[label][n // len(labels) % 3]} film{ending}"')
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module", autouse=True)
def _not_the_fewest() -> Iterator[None]:
    """The files here are small, but trained on as larger ones are, with texts set aside; the exception has its own test."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_presets, "_FEWEST_ROWS", 0)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models, of two labels and of three, and the files that they learned from."""
    root = tmp_path_factory.mktemp("cli")
    for name, labels, cell in (("two", ["good", "bad"], "lstm"), ("three", ["good", "bad", "fine"], "gru")):
        file = reviews(root / f"{name}.csv", labels)
        options = [*COLUMNS, "--cell", cell, "--epochs", "10", *SMALL, "--out", str(root / name)]
        assert cli.main(["train", str(file), *options]) == 0
    return root


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """run(arguments..., stdin=bytes): exit code, standard output, standard error."""

    def call(*arguments: object, stdin: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        capsys.readouterr()
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return call


def failed(result: tuple[int, str, str]) -> str:
    """Standard error of a command that refused bad input: one line, and exit code 2."""
    code, _, err = result
    assert code == 2
    assert err.count("\n") == 1
    assert err.startswith("rnnext")
    return err


# ---------------------------------------------------------------- train


@pytest.mark.parametrize(("labels", "cell"), [(["good", "bad"], "gru"), (["good", "bad", "fine"], "lstm")])
def test_train_says_how_good_it_is_and_where_it_is(run: Run, tmp_path: Path, labels: list[str], cell: str) -> None:
    file, out = reviews(tmp_path / "a.csv", labels), tmp_path / "model"
    code, printed, err = run("train", file, *COLUMNS, "--cell", cell, "--epochs", 12, *SMALL, "--out", out)
    assert code == 0
    counts = [int(n) for n in re.findall(r"(\d+) (?:texts|held out)", printed)]
    assert sum(counts) == 240
    assert all(counts)
    assert f"labels {', '.join(sorted(labels))}\n" in printed
    assert "Epoch" not in printed
    epochs = re.findall(r"^Epoch (\d+)/12 - .*val_loss", err, re.MULTILINE)
    assert len(epochs) <= 12
    best = re.search(rf"epoch (\d+) of {len(epochs)} was the most accurate on texts set aside: [0-9.]+%(.*)", printed)
    assert best
    assert best[2] == "; then trained again, on all texts"
    again = re.findall(r"^Epoch (\d+)/(\d+) - (?!.*val_loss)", err, re.MULTILINE)
    assert 0 < len(again) <= len(epochs)
    assert again == [(str(n + 1), str(len(again))) for n in range(len(again))]
    assert err.count("\n") == len(epochs) + len(again)
    found = re.search(r"held-out accuracy ([\d.]+)%, 95 % interval ([\d.]+)% to ([\d.]+)%", printed)
    assert found
    assert float(found[1]) > 95  # a word gives the label away
    assert float(found[2]) < float(found[1]) <= float(found[3])
    assert f"saved in {out}" in printed
    assert {path.name for path in out.iterdir()} == {"config.json", "model.safetensors", "vocabulary.json", "labels.json"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "model"]  # no checkpoint is left


def test_of_few_texts_none_are_set_aside(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_presets, "_FEWEST_ROWS", 1000)
    file = reviews(tmp_path / "a.csv", ["good", "bad"], 60)
    code, printed, err = run("train", file, *COLUMNS, *SMALL, "--out", tmp_path / "m")
    assert code == 0
    assert "set aside" not in printed
    assert "held-out accuracy" in printed
    epochs = re.findall(r"^Epoch (\d+)/10 - (?!.*val_)", err, re.MULTILINE)
    assert epochs == [str(n + 1) for n in range(10)]
    code, out, _ = run("train", file, *COLUMNS, "--epochs", 1, *SMALL, "--json", "--out", tmp_path / "m")
    assert json.loads(out)["kept"] is None


def test_train_for_machines(run: Run, tmp_path: Path) -> None:
    file = reviews(tmp_path / "a.csv", ["good", "bad"], 60)
    code, out, err = run("train", file, *COLUMNS, "--epochs", 2, *SMALL, "--json", "--balanced", "--out", tmp_path / "m")
    assert code == 0
    result = json.loads(out)
    assert (result["model"], result["data"]) == (str(tmp_path / "m"), "a.csv")
    assert result["train_rows"] + result["held_out"]["rows"] == 60
    assert 1 <= result["kept"]["epoch"] <= result["kept"]["epochs"] == 2
    assert result["kept"]["refit"] is True
    assert 0 <= result["held_out"]["interval"][0] <= result["held_out"]["accuracy"]
    assert "saved in" in err
    assert TextClassifier.load(tmp_path / "m").class_weight == "balanced"


def test_the_same_seed_gives_the_same_model(run: Run, tmp_path: Path) -> None:
    file = reviews(tmp_path / "a.csv", ["good", "bad"], 60)
    weights = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert run("train", file, *COLUMNS, "--epochs", 1, *SMALL, "--seed", seed, "--out", tmp_path / name)[0] == 0
        weights.append((tmp_path / name / "model.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


def test_default_folder_and_columns(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = reviews(tmp_path / "a.csv", ["good", "bad"], 60).read_text(encoding="utf-8")
    Path("my.reviews.csv").write_text(text.replace("stars,id,review", "label,id,text"), encoding="utf-8")
    assert run("train", "my.reviews.csv", "--epochs", 1, *SMALL)[0] == 0
    assert Path("my-model", "config.json").is_file()
    assert run("evaluate", "my-model", "my.reviews.csv")[0] == 0
    assert run("train", "my.reviews.csv", "--epochs", 1, *SMALL)[0] == 0  # in place of the first


def test_a_test_file_and_a_folder(run: Run, tmp_path: Path) -> None:
    train, test = reviews(tmp_path / "train.csv", ["good", "bad"], 60), reviews(tmp_path / "test.csv", ["bad", "good"], 30)
    options = (*COLUMNS, "--epochs", 1, *SMALL, "--out", tmp_path / "m")
    code, one, _ = run("train", train, "--test", test, *options)
    assert code == 0
    assert "30 held out" in one
    code, other, _ = run("train", tmp_path, *options)
    assert code == 0
    assert one.splitlines()[1:] == other.splitlines()[1:]
    assert run("evaluate", tmp_path / "m", tmp_path, "--json", "--text", "review", "--label", "stars")[0] == 0


def test_options_of_the_model(run: Run, tmp_path: Path) -> None:
    file = reviews(tmp_path / "a.csv", ["good", "bad"], 60)
    options = ("--unit", "char", "--cell", "lstm", "--maxlen", 20, "--vocabulary", 12, "--seed", 5)
    assert run("train", file, *COLUMNS, *options, "--epochs", 1, *SMALL, "--out", tmp_path / "m")[0] == 0
    found = TextClassifier.load(tmp_path / "m")
    assert (found.unit, found.cell, found.maxlen, found.max_tokens, found.random_state) == ("char", "lstm", 20, 12, 5)
    assert (found.units, found.embedding_dim, found.dropout, found.batch_size, found.epochs) == (8, 8, 0.1, 8, 1)
    assert found.vectorizer_.vocabulary_size == 12
    assert all(len(word) == 1 for word in found.vectorizer_.vocabulary[2:])


def test_chinese_is_read_by_characters_unasked(run: Run, tmp_path: Path) -> None:
    lines = ["text,label", *(f"房间{n}{'很好' if n % 2 else '太差'}，WiFi一般,{n % 2}" for n in range(80))]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for given, unit in (([], "char"), (["--lang", "en"], "word")):
        assert run("train", tmp_path / "a.csv", *given, "--epochs", 1, *SMALL, "--out", tmp_path / unit)[0] == 0
        assert TextClassifier.load(tmp_path / unit).vectorizer_.unit == unit


def test_what_cannot_be_trained_is_one_line(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = reviews(tmp_path / "a.csv", ["good", "bad"], 60)
    assert "no column 'text'; found 'stars', 'id', 'review'" in failed(run("train", file))
    assert "none.csv: neither a file nor one of chinese, " in failed(run("train", "none.csv"))
    for option in (("--text", "review"), ("--label", "stars"), ("--test", file)):
        assert "it is for a file, and movie_sentences is a data set" in failed(run("train", "movies", *option))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    assert "exists and is not a model folder" in failed(run("train", file, "--out", "other"))
    assert os.listdir(tmp_path / "other") == ["thesis.txt"]


@pytest.mark.parametrize("length", [240, 250])
def test_a_long_name_is_saved_or_refused_before_the_training(length: int, run: Run, tmp_path: Path) -> None:
    out = tmp_path / ("m" * length)
    file = reviews(tmp_path / "a.csv", ["good", "bad"], 30)
    code, _, err = run("train", file, *COLUMNS, "--epochs", 1, *SMALL, "--out", out)
    assert (code, out.is_dir()) == ((0, True) if length == 240 else (2, False))
    assert ("Epoch" in err) == (length == 240)


def test_labels_of_any_number_and_with_any_characters(run: Run, tmp_path: Path) -> None:
    labels = ["a\tb\x1b[31m\x9b", *(f"label {n:02}" for n in range(24))]
    lines = [json.dumps({"text": f"\x1bfilm {n}", "label": labels[n % 25]}) for n in range(250)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    options = ("--unit", "char", "--epochs", 1, *SMALL, "--out", tmp_path / "m")
    code, out, _ = run("train", tmp_path / "a.jsonl", *options)
    assert code == 0
    assert f"labels a b [31m , {', '.join(labels[1:20])}, ...\n" in out
    assert "a b [31m : 10 rows" in run("evaluate", tmp_path / "m", tmp_path / "a.jsonl")[1]
    text = "\x1b]0;film\x07\x7f\tis\x9b"
    answers = [json.loads(line) for line in run("predict", tmp_path / "m", "--json", text)[1].splitlines()]
    assert answers[0]["text"] == text
    assert set(answers[0]["probabilities"]) == set(labels)
    classifier = TextClassifier.load(tmp_path / "m")
    classifier.model_.set_weights([*classifier.model_.get_weights()[:-1], np.eye(25)[0]])  # it says the first label
    classifier.save(tmp_path / "m")
    fields = run("predict", tmp_path / "m", "--why", text)[1].split("\t")
    assert [fields[0], *fields[3:]] == ["a b [31m ", " ]0;film   is \n"]
    assert "\x1b" not in fields[2]


def test_without_a_network_it_says_so(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(archive: object, folder: object) -> None:
        raise OSError("no route")

    monkeypatch.setenv("RNNEXT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(_fetch, "pip_download", refuse)
    code, _, err = run("train", "--out", tmp_path / "m")
    assert code == 2
    lines = err.splitlines()
    assert lines[0].startswith("fetching vaderSentiment-0.5.zip")
    assert len(lines) == 2
    assert lines[1].startswith("rnnext: error: pip could not fetch vaderSentiment-0.5.zip: no route")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: COMMAND"),
        (["sing"], "invalid choice: 'sing'"),
        (["train", "--epochs", "0"], "0 is out of range, expected at least 1"),
        (["train", "--epochs", "many"], "invalid whole number value: 'many'"),
        (["train", "--dropout", "1"], "1 is out of range, expected at least 0 and less than 1"),
        (["train", "--dropout", "nan"], "nan is out of range"),
        (["train", "--vocabulary", "2"], "2 is out of range, expected at least 3"),
        (["train", "--cell", "rnn"], "invalid choice: 'rnn'"),
        (["train", "--seed", "-1"], "-1 is out of range"),
        (["predict"], "required: DIR"),
        (["evaluate", "m"], "required: FILE|DATASET"),
        (["report", "m"], "required: FILE|DATASET"),
        (["report", "m", "f", "--examples", "-1"], "-1 is out of range"),
        (["train", "--lang", "la"], "invalid choice: 'la'"),
        (["convert", "m"], "required: FILE, --to"),
        (["report", "m", "f", "--out", "."], "argument --out: '.' is a folder, expected a file to be written"),
        (["report", "m", "f", "--out", "none/a"], "argument --out: 'none/a' is in a folder that does not exist"),
        (["convert", "m", ".", "--to", "onnx"], "argument FILE: '.' is a folder, expected a file to be written"),
        (["convert", "m", "none/a", "--to", "keras"], "argument FILE: 'none/a' is in a folder that does not exist"),
        (["info", "more"], "unrecognized arguments: more (see rnnext info --help)"),
        (["predict", "m", "--loud", "text"], "unrecognized arguments: --loud"),
    ],
)
def test_wrong_arguments_are_one_line(run: Run, arguments: list[str], message: str) -> None:
    assert message in failed(run(*arguments))


# ---------------------------------------------------------------- predict, evaluate, info

TEXTS = ["A great  film\nindeed", "a dull film", "", "👍 nothing known"]


def test_predict(run: Run, folder: Path) -> None:
    code, out, err = run("predict", folder / "two", *TEXTS)
    assert (code, err) == (0, "")
    rows = [line.split("\t") for line in out.splitlines()]
    assert [row[0] for row in rows[:2]] == ["good", "bad"]
    assert [row[2] for row in rows] == ["A great film indeed", "a dull film", "", "👍 nothing known"]
    assert all(0.5 <= float(row[1]) <= 1 for row in rows)


def test_predict_as_json_and_from_standard_input(run: Run, folder: Path) -> None:
    code, out, _ = run("predict", folder / "three", "--json", *TEXTS)
    assert code == 0
    answers = [json.loads(line) for line in out.splitlines()]
    assert [answer["text"] for answer in answers] == TEXTS
    assert [answer["label"] for answer in answers[:2]] == ["good", "bad"]
    for answer in answers:
        assert list(answer["probabilities"]) == ["bad", "fine", "good"]
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert answer["label"] == max(answer["probabilities"], key=answer["probabilities"].get)
    lines = "\ufeff" + "\r\n".join([*TEXTS[1:]])
    code, piped, _ = run("predict", folder / "three", "--json", stdin=lines.encode())
    assert code == 0
    for line, answer in zip(piped.splitlines(), answers[1:], strict=True):
        found = json.loads(line)
        assert (found["text"], found["label"]) == (answer["text"], answer["label"])
        assert found["probabilities"] == pytest.approx(answer["probabilities"], abs=1e-5)


@pytest.mark.parametrize("arguments", [["--json", "--", "-great"], ["--", "-great"], ["--json", "a", "--", "-great", "--why"]])
def test_predict_texts_that_begin_like_options(arguments: list[str], run: Run, folder: Path) -> None:
    code, out, err = run("predict", folder / "two", *arguments)
    assert code == 0, err
    assert "-great" in out
    assert out.count("\n") == sum(not word.startswith("--") for word in arguments) + ("--why" in arguments)
    assert "unrecognized arguments: --loud" in failed(run("predict", folder / "two", "--json", "--loud", "--", "-great"))


@pytest.mark.parametrize("name", ["a.csv.gz", "a.tsv", "a.jsonl", "a.txt"])
def test_predict_a_file(run: Run, folder: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnnext.cli._predict._CHARACTERS_AT_ONCE", 20)  # in several chunks
    texts = ["a great film", "dull, a poor film", "", *TEXTS[-1:], "moving"]
    quoted = [f'"{text}"' for text in texts]
    contents = {
        "a.csv.gz": ["id,review", *(f"{n},{text}" for n, text in enumerate(quoted))],
        "a.tsv": ["review", *quoted],
        "a.jsonl": [json.dumps({"review": text}) for text in texts],
        "a.txt": texts,
    }
    content = "".join(f"{line}\n" for line in contents[name]).encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    code, out, err = run("predict", folder / "two", "--file", tmp_path / name)
    assert (code, err) == (0, "")
    assert out == run("predict", folder / "two", *texts)[1]


def test_predict_says_why(run: Run, folder: Path) -> None:
    code, out, _ = run("predict", folder / "two", "--why", "a great film", "")
    assert code == 0
    first, second = (line.split("\t") for line in out.splitlines())
    assert first[2].startswith("great +")
    assert first[3] == "a great film"
    assert second[2:] == ["", ""]
    answer = json.loads(run("predict", folder / "two", "--json", "--why", "a great film")[1])
    assert answer["evidence"][0][0] == "great"


def test_predict_refuses_two_sources(run: Run, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    assert "texts and --file are given" in failed(run("predict", folder / "two", "text", "--file", tmp_path / "a.txt"))
    assert "No such file" in failed(run("predict", folder / "two", "--file", tmp_path / "none.csv"))
    (tmp_path / "a.csv").write_text("text\nx\n")
    assert "no column 'review'; found 'text'" in failed(run("predict", folder / "two", "--file", tmp_path / "a.csv"))
    assert run("predict", folder / "two", "--file", tmp_path / "a.csv", "--text", "text")[0] == 0


def test_predict_nothing(run: Run, folder: Path) -> None:
    assert run("predict", folder / "two") == (0, "", "")
    code, out, _ = run("predict", folder / "two", stdin=b"\n\n")
    assert code == 0
    assert out.count("\n") == 2


def test_predict_names_the_line_of_a_bad_byte(run: Run, folder: Path) -> None:
    assert "standard input:2: byte 0xff" in failed(run("predict", folder / "two", stdin=b"good\n\xff\n"))


@pytest.mark.parametrize(("name", "labels"), [("two", ["good", "bad"]), ("three", ["good", "bad", "fine"])])
def test_evaluate(run: Run, folder: Path, tmp_path: Path, name: str, labels: list[str]) -> None:
    file = reviews(tmp_path / "b.csv", labels, 30)
    code, out, err = run("evaluate", folder / name, file, "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert report["rows"] == 30
    assert report["majority"] == pytest.approx(1 / len(labels))
    assert report["accuracy"] == report["macro_f1"] == 1
    assert report["interval"] == [pytest.approx(0.886, abs=1e-3), 1]
    assert 0 < report["loss"] < 0.7
    perfect = {"rows": 30 // len(labels), "precision": 1, "recall": 1, "f1": 1}
    assert report["labels"] == dict.fromkeys(sorted(labels), perfect)
    assert np.trace(report["confusion"]) == 30
    code, out, _ = run("evaluate", folder / name, file)
    assert out.startswith("30 rows: accuracy 100.0% (95 % interval 88.6% to 100.0%), loss 0.")


def test_evaluate_a_folder_with_the_columns_of_the_training(run: Run, folder: Path, tmp_path: Path) -> None:
    for part in ("train", "test"):
        reviews(tmp_path / f"{part}.csv", ["good", "bad"], 30)
    for command in (["evaluate"], ["report", "--out", tmp_path / "a.html"]):
        code, out, err = run(*command[:1], folder / "two", tmp_path, *command[1:], "--json")
        assert code == 0, err
        assert json.loads(out)["rows"] == 30


def test_evaluate_the_archive_of_imdb(run: Run, folder: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        for part in ("train", "test"):
            tar.addfile(tarfile.TarInfo(f"aclImdb/{part}/pos/0_9.txt"))
    message = "row 1 has the label 'positive', expected one of bad, good"
    assert message in failed(run("evaluate", folder / "two", tmp_path / "a.tar.gz"))


@pytest.mark.parametrize(
    ("labels", "written"),
    [
        ([False, True], ["false", "True"]),
        ([0.0, 1.5], ["0", "1.50"]),
        (np.array([0.1, 2], np.float32), ["0.1", "2.0"]),
        ([-1, 2], ["-1.0", "2"]),
        ([" no ", "yes"], ["no", "yes"]),
    ],
)
def test_evaluate_reads_labels_by_their_value(labels: Any, written: list[str], run: Run, tmp_path: Path) -> None:
    classifier = TextClassifier(units=2, epochs=1, embedding_dim=2).fit(["dull film", "great film"] * 20, [*labels] * 20)
    classifier.save(tmp_path / "model")
    file = tmp_path / "a.csv"
    file.write_text("text,label\n" + "".join(f"film {n},{written[n % 2]}\n" for n in range(6)), encoding="utf-8")
    code, out, err = run("evaluate", tmp_path / "model", file, "--json")
    assert code == 0, err
    assert [each["rows"] for each in json.loads(out)["labels"].values()] == [3, 3]
    file.write_text("text,label\nfilm,other\n", encoding="utf-8")
    assert "row 1 has the label 'other'" in failed(run("evaluate", tmp_path / "model", file))


def test_evaluate_counts_mistakes(run: Run, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "b.csv"
    file.write_text("stars,review\ngood,great film\ngood,great moving film\ngood,dull film\n", encoding="utf-8")
    report = json.loads(run("evaluate", folder / "two", file, "--json")[1])
    assert report["accuracy"] == pytest.approx(2 / 3)
    assert report["majority"] == 1
    assert report["labels"]["good"] == {"rows": 3, "precision": 1, "recall": pytest.approx(2 / 3), "f1": pytest.approx(0.8)}
    assert report["labels"]["bad"] == {"rows": 0, "precision": 0, "recall": None, "f1": 0}
    assert report["confusion"] == [[0, 0], [1, 2]]
    assert "bad: 0 rows, precision 0.0%, recall -, F1 0.0%" in run("evaluate", folder / "two", file)[1]


def test_evaluate_with_other_columns(run: Run, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "b.tsv"
    file.write_text("what\twhich\ngreat film\tgood\n", encoding="utf-8")
    assert "no column 'review'" in failed(run("evaluate", folder / "two", file))
    assert run("evaluate", folder / "two", file, "--text", "what", "--label", "which")[0] == 0
    file.write_text("what\twhich\ngreat film\tgood\nplain\tfine\n", encoding="utf-8")
    message = failed(run("evaluate", folder / "two", file, "--text", "what", "--label", "which"))
    assert "row 2 has the label 'fine', expected one of bad, good" in message
    for name, content in (("c.tsv", "what\twhich\n"), ("c.jsonl", "")):
        (tmp_path / name).write_text(content, encoding="utf-8")
        message = failed(run("evaluate", folder / "two", tmp_path / name, "--text", "what", "--label", "which"))
        assert f"{name}: no rows, expected at least one" in message
    assert "neither a file nor one of" in failed(run("evaluate", folder / "two", "none"))


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="open files have no names here")
@pytest.mark.parametrize("command", ["evaluate", "report", "train"])
def test_a_pipe_is_as_good_as_a_file(run: Run, folder: Path, tmp_path: Path, command: str) -> None:
    content = reviews(tmp_path / "b.csv", ["good", "bad"], 60).read_bytes()
    options = {"evaluate": [], "report": ["--out", tmp_path / "a.html"], "train": [*COLUMNS, "--epochs", 1, *SMALL]}[command]
    if command == "train":
        options += ["--out", tmp_path / "m"]
    inner, outer = os.pipe()
    with open(inner, "rb"):
        with open(outer, "wb") as file:
            file.write(content)
        code, _, err = run(command, *([] if command == "train" else [folder / "two"]), f"/dev/fd/{inner}", *options)
    assert code == 0, err


def test_rows_are_numbered_through_all_chunks(run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnnext.cli._predict._CHARACTERS_AT_ONCE", 50)
    file = reviews(tmp_path / "b.csv", ["good", "bad"], 30)
    whole = run("evaluate", folder / "two", file, "--json")
    assert json.loads(whole[1])["rows"] == 30
    file.write_text(file.read_text(encoding="utf-8") + "fine,30,a film\n", encoding="utf-8")
    assert "row 31 has the label 'fine'" in failed(run("evaluate", folder / "two", file))


def test_a_folder_that_is_no_classifier(run: Run, folder: Path, tmp_path: Path) -> None:
    assert "no model here" in failed(run("predict", tmp_path, "text"))
    copy = tmp_path / "copy"
    for name, content in (
        ("labels.json", b"{"),
        ("labels.json", b"[]"),
        ("labels.json", b'{"format": 9, "labels": ["a", "b"], "text_column": "t", "label_column": "l"}'),
        ("labels.json", b'{"format": 1, "labels": ["a"], "text_column": "t", "label_column": "l"}'),
        ("labels.json", b'{"format": 1, "labels": ["a", "b", "c"], "text_column": "t", "label_column": "l"}'),
        ("labels.json", None),
        ("vocabulary.json", b"{}"),
        ("vocabulary.json", None),
        ("config.json", b"{}"),
        ("model.safetensors", b"cut"),
    ):
        shutil.copytree(folder / "two", copy)
        if content is None:
            (copy / name).unlink()
        else:
            (copy / name).write_bytes(content)
        failed(run("predict", copy, "text"))
        shutil.rmtree(copy)


# ---------------------------------------------------------------- convert


def ids_of(folder: Path) -> tuple[list[np.ndarray], np.ndarray, Sequential]:
    """TEXTS as rows of ids, the same rows padded behind, and the model."""
    model = load_model(folder)
    rows = TextVectorizer.from_json((folder / "vocabulary.json").read_bytes()).transform(TEXTS)
    padded = np.zeros((len(rows), max(map(len, rows))), np.int32)
    for row, ids in zip(padded, rows, strict=True):
        row[: len(ids)] = ids
    return rows, padded, model


@pytest.mark.parametrize("name", ["two", "three"])
def test_convert_to_onnx(run: Run, folder: Path, tmp_path: Path, name: str) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    code, out, err = run("convert", folder / name, "--to", "onnx", tmp_path / "a.onnx")
    assert (code, err) == (0, "")
    assert out == f"saved in {tmp_path / 'a.onnx'}; the vocabulary and the labels stay in {folder / name}\n"
    rows, padded, model = ids_of(folder / name)
    session = runtime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"input": padded, "lengths": np.array([len(row) for row in rows], np.int32)})
    np.testing.assert_allclose(found, model.predict(rows, verbose=0), atol=1e-6)


def test_convert_the_default_model(run: Run, folder: Path, tmp_path: Path) -> None:
    """What `rnnext train` makes without `--plain`: pairs of words, two branches, ids by `lengths`."""
    pytest.importorskip("onnx", reason="onnx is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    options = [*COLUMNS, "--epochs", 2, "--units", 8, "--embedding", 8, "--out", tmp_path / "model"]
    assert run("train", folder / "two.csv", *options)[0] == 0
    code, _, err = run("convert", tmp_path / "model", "--to", "onnx", tmp_path / "a.onnx")
    assert (code, err) == (0, "")
    rows, padded, model = ids_of(tmp_path / "model")
    assert {"BigramEmbedding", "Branches"} <= {type(layer).__name__ for layer in model.layers}
    session = runtime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"input": padded, "lengths": np.array([len(row) for row in rows], np.int32)})
    np.testing.assert_allclose(found, model.predict(rows, verbose=0), atol=1e-6)
    for to, name in (("torch", "a.safetensors"), ("keras", "a.keras")):
        message = failed(run("convert", tmp_path / "model", "--to", to, tmp_path / name))
        assert "bigram_embedding is a BigramEmbedding, which" in message
        assert not (tmp_path / name).exists()


@pytest.mark.parametrize("name", ["two", "three"])
def test_convert_to_torch(run: Run, folder: Path, tmp_path: Path, name: str) -> None:
    code, out, _ = run("convert", folder / name, "--to", "torch", tmp_path / "a.safetensors", "--json")
    assert code == 0
    assert json.loads(out) == {"model": str(folder / name), "file": str(tmp_path / "a.safetensors"), "format": "torch"}
    _, padded, model = ids_of(folder / name)
    before = model.predict(padded, verbose=0)
    model.set_weights([np.zeros(weight.shape) for weight in model.weights])
    np.testing.assert_array_equal(from_torch(tmp_path / "a.safetensors", model).predict(padded, verbose=0), before)


@pytest.mark.filterwarnings("ignore")  # Keras's
@pytest.mark.parametrize("name", ["two", "three"])
def test_convert_to_keras(run: Run, folder: Path, tmp_path: Path, name: str) -> None:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    assert run("convert", folder / name, "--to", "keras", tmp_path / "a.keras")[0] == 0
    _, padded, model = ids_of(folder / name)
    found = keras.models.load_model(tmp_path / "a.keras").predict(padded, verbose=0)
    np.testing.assert_allclose(found, model.predict(padded, verbose=0), atol=1e-6)


def test_what_cannot_be_converted_is_one_line(run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no model here" in failed(run("convert", tmp_path, "--to", "torch", tmp_path / "a.safetensors"))
    assert "expected FILE.keras or FILE.weights.h5" in failed(
        run("convert", folder / "two", "--to", "keras", tmp_path / "a.h5")
    )
    assert "required: --to" in failed(run("convert", folder / "two", tmp_path / "a.onnx"))
    assert "invalid choice: 'jax'" in failed(run("convert", folder / "two", "--to", "jax", tmp_path / "a"))
    monkeypatch.setitem(sys.modules, "onnx", None)
    message = failed(run("convert", folder / "two", "--to", "onnx", tmp_path / "a.onnx"))
    assert "--to onnx needs the package onnx: pip install 'rnnext[interop]'" in message
    assert not any(tmp_path.iterdir())


def test_info_and_version(run: Run) -> None:
    code, out, _ = run("info")
    assert code == 0
    assert "ISA selected" in out
    assert json.loads(run("info", "--json")[1])["isa"] in out
    assert run("info", "--datasets")[1] == f"{datasets.info()}\n"
    assert [each["name"] for each in json.loads(run("info", "--datasets", "--json")[1])] == [
        each.name for each in datasets.info()
    ]
    assert run("--version")[1].startswith("rnnext 0.")


# ---------------------------------------------------------------- a process of its own


def start(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "rnnext", *map(str, arguments)]
    options = {"stdout": pipe, **options}
    if os.name == "posix":  # whoever started us in the background may have had interrupts ignored, and that is inherited
        options["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(command, stdin=pipe, stderr=pipe, **options)  # type: ignore[call-overload, no-any-return]


def test_half_a_surrogate_pair_is_shown_as_something_else(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"review": "\\ud83d great film"}\n{"review": "dull"}\n')
    for options, shown in (((), b"? great film"), (("--json",), b'"\\ud83d great film"')):
        with start("predict", folder / "two", "--file", tmp_path / "a.jsonl", *options) as process:
            out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, b"")
        assert shown in out
        assert out.count(b"\n") == 2


def test_json_in_an_encoding_without_some_characters(folder: Path) -> None:
    with start("predict", folder / "two", "--json", TEXTS[3], env={**os.environ, "PYTHONIOENCODING": "ascii"}) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert json.loads(out)["text"] == TEXTS[3]


def test_a_closed_pipe_is_quiet(folder: Path) -> None:
    with start("predict", folder / "two", *["a text that fills the pipe's buffer"] * 5000) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 141


@pytest.mark.parametrize("arguments", [["train", "--help"], ["--version"], ["info"]])
@pytest.mark.parametrize("place", ["a closed pipe", "/dev/full"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_output_that_takes_nothing(arguments: list[str], place: str, unbuffered: str) -> None:
    if place == "/dev/full":
        if not os.path.exists(place):
            pytest.skip("this system has no /dev/full")
        output = os.open(place, os.O_WRONLY)
    else:
        reader, output = os.pipe()
        os.close(reader)
    with start(*arguments, stdout=output, env={**os.environ, "PYTHONUNBUFFERED": unbuffered}) as process:
        os.close(output)
        _, error = process.communicate(timeout=60)
    if place == "a closed pipe":
        assert (process.returncode, error) == (141, b"")
    else:
        assert process.returncode == 2
        assert error.decode().splitlines() == ["rnnext: error: [Errno 28] No space left on device"]


def test_what_was_trained_is_saved_though_nobody_listens(tmp_path: Path) -> None:
    file = reviews(tmp_path / "a.csv", ["bad", "good"])
    with start(
        "train",
        file,
        "--out",
        tmp_path / "model",
        *COLUMNS,
        *SMALL,
        "--epochs",
        "2",
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdout
        assert b"texts to train on" in process.stdout.readline()
        process.stdout.close()
        process.wait(60)
    assert process.returncode == 141
    TextClassifier.load(tmp_path / "model")


def test_through_standard_output_comes_the_file_alone(folder: Path, tmp_path: Path) -> None:
    for options in ((), ("--json",)):
        with start("convert", folder / "two", "/dev/stdout", "--to", "torch", *options) as process:
            out, err = process.communicate(timeout=60)
        assert process.returncode == 0
        assert b"/dev/stdout" in err
        assert safetensors.numpy.load(out)


def test_nothing_is_written_over_what_is_read(run: Run, folder: Path, tmp_path: Path) -> None:
    file = reviews(tmp_path / "a.csv", ["bad", "good"])
    model, before = folder / "two", file.read_bytes()
    assert "a.csv: is what is read" in failed(run("report", model, file, "--out", file))
    assert file.read_bytes() == before
    for place in ("config.json", "page.html"):
        assert "is in the model's folder" in failed(run("report", model, file, "--out", model / place))
    assert "is in the model's folder" in failed(run("convert", model, model / "model.safetensors", "--to", "torch"))
    TextClassifier.load(model)
    assert not (model / "page.html").exists()


@pytest.mark.skipif(os.name != "posix", reason="a shell closes them")
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("arguments", ["info", "predict {} good", "predict {}"])
def test_closed_streams(folder: Path, closed: str, arguments: str) -> None:
    command = f"{sys.executable} -m rnnext {arguments.format(folder / 'two')} {closed}"
    done = subprocess.run(command, shell=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


def test_too_little_memory_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(options: object) -> None:
        raise MemoryError("Unable to allocate 191. GiB")

    monkeypatch.setattr("rnnext.cli._commands.info", refuse)
    assert failed(run("info")) == "rnnext: error: out of memory. Unable to allocate 191. GiB\n"


def lines_until_epoch(process: subprocess.Popen[bytes], number: int, *, again: bool = False) -> None:
    """Read standard error up to the line of that epoch of the first training, or (`again`) of the second."""
    assert process.stderr
    while not ((line := process.stderr.readline()).startswith(b"Epoch %d/" % number) and again == (b"val_loss" not in line)):
        assert process.poll() is None


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_a_stopped_training_goes_on_to_the_same_model(folder: Path, tmp_path: Path, run: Run) -> None:
    """After Ctrl-C and a kill in each of the two trainings, the weights are those of a run that nobody stopped."""
    file = reviews(tmp_path / "a.csv", ["good", "bad"], 1400)  # in another process, too, texts are set aside of so many
    command = ("train", file, *COLUMNS, "--epochs", 12, "--seed", 3, *SMALL, "--batch-size", 32, "--resume")
    code, said, err = run(*command, "--out", tmp_path / "whole")
    assert code == 0
    assert err.startswith("nothing to resume in")
    out, checkpoint = tmp_path / "m", tmp_path / ".m.training"
    begun = b"nothing to resume in "
    for again in (False, True):
        with start(*command, "--out", out, env=UNBUFFERED) as process:
            assert process.stderr
            assert process.stderr.readline().startswith(begun)
            lines_until_epoch(process, 2, again=again)
            process.send_signal(signal.SIGINT)
            assert process.stderr.read().endswith(b"interrupted; the same command with --resume continues\n")
            assert process.wait(60) == 130
        assert not out.exists()
        begun = b"continuing from "
        with start(*command, "--out", out, env=UNBUFFERED) as process:
            assert process.stderr
            assert process.stderr.readline().startswith(begun)
            lines_until_epoch(process, 4, again=again)
            process.kill()
        assert not out.exists()
        assert checkpoint.is_dir()
        assert (checkpoint / "refit").exists() == again
    other = ("train", folder / "three.csv", *command[2:-1], "--seed", 4, "--resume", "--out", out)
    assert "of another training (seed, train differ)" in failed(run(*other))
    code, last, _ = run(*command, "--out", out)
    assert code == 0
    assert last.replace(str(out), "") == said.replace(str(tmp_path / "whole"), "")
    assert not checkpoint.exists()
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (out / path.name).read_bytes(), path.name


@pytest.mark.parametrize("early", [False, True], ids=["all epochs", "stopped early"])
def test_killed_anywhere_a_training_goes_on_to_the_same_model(
    tmp_path: Path, run: Run, early: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is killed before each change that it makes to files, from the first to the last."""
    file = reviews(tmp_path / "a.csv", ["good", "bad"], 80)
    if early:  # nothing can be learned
        words = iter(np.random.default_rng(0).permutation(["great", "dull"] * 40).tolist())
        file.write_text(re.sub("great|moving|superb|dull|poor|worst", lambda _: next(words), file.read_text()))
    command = ("train", file, *COLUMNS, "--epochs", 20 if early else 3, "--seed", 3, *SMALL)
    code, said, _ = run(*command, "--out", tmp_path / "whole")
    assert code == 0
    epochs = re.search(r"epoch \d+ of (\d+) was", said)
    assert epochs
    assert (int(epochs[1]) < 20) if early else (int(epochs[1]) == 3)
    left = math.inf  # changes until it is cut off, and makes no more

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left <= 0:
                raise SystemError
            return function(*arguments, **options)

        return call

    for owner, name in ((os, "replace"), (os, "rename"), (Path, "unlink"), (shutil, "rmtree")):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
    for change in range(1, 100):
        out, left = tmp_path / f"m{change}", change
        with contextlib.suppress(SystemError):
            run(*command, "--resume", "--out", out)
        killed, left = left <= 0, math.inf
        code, last, _ = run(*command, "--resume", "--out", out)
        assert code == 0
        assert last.replace(str(out), "") == said.replace(str(tmp_path / "whole"), "")
        assert not (tmp_path / f".m{change}.training").exists()
        for path in (tmp_path / "whole").iterdir():
            assert path.read_bytes() == (out / path.name).read_bytes(), (change, path.name)
        if not killed:
            break
    assert 10 < change < 99


def test_what_did_not_fit_on_the_disk_is_saved_later(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = reviews(tmp_path / "a.csv", ["good", "bad"])
    command = ("train", file, *COLUMNS, *SMALL, "--epochs", 1, "--out", tmp_path / "m")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "m"))

    with monkeypatch.context() as patched:
        patched.setattr(TextClassifier, "save", full)
        code, _, err = run(*command)
    assert code == 2
    assert err.splitlines()[-2:] == [
        "stopped by an error; the same command with --resume continues",
        f"rnnext: error: [Errno {errno.ENOSPC}] No space left on device: '{tmp_path / 'm'}'",
    ]
    code, _, err = run(*command, "--resume")
    assert code == 0
    assert "Epoch" not in err
    TextClassifier.load(tmp_path / "m")


def test_without_resume_a_training_begins_anew(run: Run, folder: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / ".m.training"
    checkpoint.mkdir()
    (checkpoint / "training.safetensors").write_bytes(b"cut off")
    options = (*COLUMNS, "--epochs", 1, *SMALL, "--out", tmp_path / "m")
    (checkpoint / "run.json").write_text("{}")
    assert "of another training" in failed(run("train", folder / "two.csv", *options, "--resume"))
    assert run("train", folder / "two.csv", *options)[0] == 0
    assert not checkpoint.exists()


@pytest.mark.parametrize("content", [b"[1]", b"null", b"{", b"\xff"])
def test_what_a_checkpoint_is_of_may_be_damaged(run: Run, folder: Path, tmp_path: Path, content: bytes) -> None:
    checkpoint = tmp_path / ".m.training"
    checkpoint.mkdir()
    (checkpoint / "training.safetensors").write_bytes(b"cut off")
    (checkpoint / "run.json").write_bytes(content)
    message = failed(run("train", folder / "two.csv", *COLUMNS, *SMALL, "--out", tmp_path / "m", "--resume"))
    assert f"{checkpoint / 'run.json'}: damaged, expected a JSON object" in message


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_a_model_is_trained_by_one_at_a_time(run: Run, folder: Path, tmp_path: Path) -> None:
    command = ("train", folder / "two.csv", *COLUMNS, *SMALL)
    (tmp_path / "link").symlink_to("m")
    with start(*command, "--epochs", 30, "--out", tmp_path / "m", env=UNBUFFERED) as process:
        lines_until_epoch(process, 2, again=True)  # of so few texts none are set aside
        process.send_signal(signal.SIGSTOP)  # so that it does not end before we are done
        for name in ("m", "none/../m", "link"):
            for more in ((), ("--resume",)):
                message = failed(run(*command, "--epochs", 1, "--out", f"{tmp_path}/{name}", *more))
                assert f"{tmp_path}/{name}: is being trained by another process; wait until it has ended or name" in message
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGCONT)
        assert process.stderr
        assert process.stderr.read().endswith(b"interrupted; the same command with --resume continues\n")
    assert (tmp_path / ".m.training" / "training.safetensors").exists()
    assert run(*command, "--epochs", 1, "--out", f"{tmp_path}/none/../link")[0] == 0
    assert sorted(os.listdir(tmp_path)) == ["link", "m"]
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "m" / "config.json").is_file()


def test_a_folder_deleted_before_it_was_locked_is_made_again(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training that has just ended deletes it: once before it is opened, once before it is locked."""
    place, ends = tmp_path / ".m.training", iter(["opened", "locked"])
    open_it, locked, flock = os.open, saving.locked, fcntl.flock

    def opens(path: Any, *options: Any, **others: Any) -> int:
        if path == place and not deleted:
            deleted.append(next(ends))
            place.rmdir()
        return open_it(path, *options, **others)

    def locks(descriptor: int, operation: int) -> None:
        if len(deleted) == 1:
            deleted.append(next(ends))
            place.rmdir()
            place.mkdir()
        flock(descriptor, operation)

    deleted: list[str] = []
    monkeypatch.setattr(os, "open", opens)
    monkeypatch.setattr(fcntl, "flock", locks)
    held = list[bool]()

    def load(*_: object, **__: object) -> None:
        with contextlib.suppress(BlockingIOError), locked(place):
            held.append(False)
        raise ValueError("enough")

    monkeypatch.setattr(datasets, "load", load)
    assert "enough" in failed(run("train", folder / "two.csv", "--out", tmp_path / "m"))
    assert deleted == ["opened", "locked"]
    assert held == []
    assert not any(tmp_path.iterdir())


UNBUFFERED = {**os.environ, "PYTHONUNBUFFERED": "1"}


def test_heavy_imports_wait_until_they_are_needed() -> None:
    """The modules of the command line import the standard library, the version and each other only."""
    for name in ("__init__", "_parser", "_printable", "_commands"):
        tree = ast.parse(Path(cli.__file__).with_name(f"{name}.py").read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.Import):
                assert all(alias.name in sys.stdlib_module_names for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                ours = ("rnnext._version", "rnnext.cli", "rnnext.cli._parser", "rnnext.cli._printable")
                assert node.module in ours or str(node.module).split(".")[0] in sys.stdlib_module_names
