"""The command line: train a text classifier, use, measure and convert it. Heavy imports are inside the commands."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rnnext._version import __version__

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from rnnext.datasets import TextDataset
    from rnnext.models import Sequential
    from rnnext.text import TextVectorizer

    _Floats = npt.NDArray[np.float32]
    _Labels = npt.NDArray[np.int32]

_BAD_INPUT, _INTERRUPTED, _CLOSED_PIPE = 2, 130, 141  # as shells have it: 128 + the signal's number
_DATASETS = {"movies": "movie_sentences", "products": "product_sentences", "chinese": "chinese_reviews"}
_MODEL, _VOCABULARY, _LABELS = "config.json", "vocabulary.json", "labels.json"
_FORMAT = 1
_TEXTS_AT_ONCE = 256


# ---------------------------------------------------------------- a model with its vocabulary and labels


@dataclass(frozen=True)
class _Classifier:
    model: Sequential
    vectorizer: TextVectorizer
    labels: tuple[str, ...]
    text_column: str  # of the file it learned from, and expected of those that it is measured on
    label_column: str

    def probabilities(self, texts: Sequence[str]) -> _Floats:
        """[N, labels], each row sums to 1."""
        import numpy as np

        y = self.model.predict(self.vectorizer.transform(texts), verbose=0)
        return np.concatenate([1 - y, y], axis=1) if len(self.labels) == 2 else y

    def save(self, folder: Path) -> None:
        labels = {
            "format": _FORMAT,
            "labels": self.labels,
            "text_column": self.text_column,
            "label_column": self.label_column,
        }
        content = json.dumps(labels, ensure_ascii=False, indent=2).encode("utf-8", "surrogatepass")
        self.model.save(folder, include_optimizer=False, extras={_VOCABULARY: self.vectorizer.to_json(), _LABELS: content})

    @classmethod
    def load(cls, folder: Path) -> _Classifier:
        """ValueError if the folder's parts are not those of a text classifier, OSError if they cannot be read."""
        from rnnext.models import load_model
        from rnnext.text import TextVectorizer

        model = load_model(folder)
        if not ((folder / _VOCABULARY).is_file() and (folder / _LABELS).is_file()):
            raise ValueError(f"{folder}: a model without {_VOCABULARY} and {_LABELS}, which `rnnext train` writes")
        try:
            found = json.loads((folder / _LABELS).read_bytes().decode("utf-8", "surrogatepass"))
            labels, columns = found["labels"], (found["text_column"], found["label_column"])
            if found["format"] != _FORMAT:
                raise ValueError(f"format {found['format']!r}, expected {_FORMAT}")
            if (
                not isinstance(labels, list)
                or len(labels) < 2
                or not all(isinstance(name, str) for name in [*labels, *columns])
            ):
                raise ValueError("expected names of two labels or more and of two columns")
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{folder / _LABELS}: damaged or of another version ({error})") from error
        outputs, expected = model.output_shape[-1], 1 if len(labels) == 2 else len(labels)
        if outputs != expected:
            raise ValueError(f"{folder}: the model has {outputs} outputs, expected {expected} for {len(labels)} labels")
        return cls(model, TextVectorizer.from_json((folder / _VOCABULARY).read_bytes()), tuple(labels), *columns)


def _build(options: argparse.Namespace, vocabulary: int, labels: int) -> Sequential:
    """The tutorial's model with dropout: Embedding, recurrent layer, its last state, one logistic unit or a softmax."""
    from rnnext.layers import GRU, LSTM, Dense, Dropout, Embedding, SpatialDropout1D
    from rnnext.models import Sequential
    from rnnext.optimizers import Adam

    recurrent = LSTM if options.cell == "lstm" else GRU
    model = Sequential(
        [
            Embedding(vocabulary, options.embedding),
            SpatialDropout1D(options.dropout),
            recurrent(options.units),
            Dropout(options.dropout),
            Dense(1, activation="sigmoid") if labels == 2 else Dense(labels, activation="softmax"),
        ]
    )
    loss = "binary_crossentropy" if labels == 2 else "sparse_categorical_crossentropy"
    # Recurrent gradients now and then explode; one such step costs an epoch.
    model.compile(loss=loss, optimizer=Adam(global_clipnorm=1.0), metrics=["accuracy"])
    return model


# ---------------------------------------------------------------- rnnext train


def _dataset(options: argparse.Namespace) -> TextDataset:
    from rnnext import datasets

    if options.data not in _DATASETS:
        if not Path(options.data).is_file():
            raise ValueError(f"{options.data}: neither a file nor one of {', '.join(_DATASETS)}")
        return datasets.file_dataset(
            options.data, test=options.test, text=options.text or "text", label=options.label or "label"
        )
    for name in ("test", "text", "label"):
        if getattr(options, name) is not None:
            raise ValueError(f"--{name} is for a file, and {options.data} is a data set of rnnext's")
    return datasets.load(_DATASETS[options.data])


def _output_folder(options: argparse.Namespace) -> Path:
    """Where to save; ValueError, before any time is spent, if something else is there."""
    stem = options.data if options.data in _DATASETS else Path(options.data).name.split(".")[0] or "model"
    folder = Path(options.out or f"{stem}-{options.cell}")
    if folder.exists() and not (folder / _MODEL).is_file() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ValueError(f"{folder}: exists and is not a saved model; name another folder with --out")
    return folder


def _train(options: argparse.Namespace) -> None:
    import numpy as np

    from rnnext.callbacks import EarlyStopping
    from rnnext.datasets import held_out
    from rnnext.text import TextVectorizer
    from rnnext.utils import set_random_seed

    folder = _output_folder(options)
    data = _dataset(options)
    set_random_seed(options.seed)

    # The epoch is chosen on a part of the training texts; the test part is looked at once, at the end.
    chosen_on = held_out(data.train_texts, one_in=10, purpose="validation")
    if chosen_on.all():
        chosen_on[:] = False
    texts = [text for text, out in zip(data.train_texts, chosen_on, strict=True) if not out]
    validation = [text for text, out in zip(data.train_texts, chosen_on, strict=True) if out]
    vectorizer = TextVectorizer(options.vocabulary, unit=options.unit, maxlen=options.maxlen, min_count=2).fit(texts)
    print(f"{data.name}: {len(texts):,} texts to learn from, {len(validation):,} to choose the epoch by, ", end="")
    print(f"{len(data.test_texts):,} held out; labels {', '.join(data.label_names)}; {vectorizer.vocabulary_size:,} words")

    model = _build(options, vectorizer.vocabulary_size, len(data.label_names))
    best = EarlyStopping(monitor="val_loss", patience=options.epochs, restore_best_weights=True)
    history = model.fit(
        vectorizer.transform(texts),
        data.train_labels[~chosen_on],
        epochs=options.epochs,
        batch_size=options.batch_size,
        validation_data=(vectorizer.transform(validation), data.train_labels[chosen_on]) if validation else None,
        callbacks=[best] if validation else [],
    )
    if validation:
        kept = int(np.argmin(history.history["val_loss"]))
        print(f"kept epoch {kept + 1}, of least validation loss: accuracy {history.history['val_accuracy'][kept]:.1%}")

    classifier = _Classifier(model, vectorizer, data.label_names, options.text or "text", options.label or "label")
    report = _measured(classifier.probabilities(data.test_texts), data.test_labels, data.label_names)
    print(f"held-out accuracy {report['accuracy']:.1%} (always the most frequent label: {report['majority']:.1%})")
    classifier.save(folder)
    print(f"saved in {folder}; use it: rnnext predict {folder} TEXT")


# ---------------------------------------------------------------- rnnext predict, evaluate, info


def _chunks(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    iterator = iter(texts)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _predict(options: argparse.Namespace) -> None:
    from rnnext.datasets import decoded_lines

    classifier = _Classifier.load(options.model)
    # Whoever types texts wants each one's answer at once.
    size = 1 if not options.texts and sys.stdin.isatty() else _TEXTS_AT_ONCE
    lines = (line.rstrip("\r\n") for line in decoded_lines("standard input", sys.stdin.buffer))
    for texts in _chunks(options.texts or lines, size):
        for text, row in zip(texts, classifier.probabilities(texts), strict=True):
            best = int(row.argmax())
            if options.json:
                each = {label: round(float(p), 6) for label, p in zip(classifier.labels, row, strict=True)}
                answer = {"text": text, "label": classifier.labels[best], "probabilities": each}
                print(json.dumps(answer, ensure_ascii=False))
            else:
                print(classifier.labels[best], f"{row[best]:.3f}", " ".join(text.split()), sep="\t")
        sys.stdout.flush()


def _measured(probabilities: _Floats, truth: _Labels, labels: Sequence[str]) -> dict[str, Any]:
    """Accuracy, mean cross-entropy, and each label's precision and recall (None where nothing was predicted or is there)."""
    import numpy as np

    predicted = probabilities.argmax(axis=1)
    of_truth = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    counts = np.bincount(truth, minlength=len(labels))
    each = {}
    for number, label in enumerate(labels):
        hits, named = int(((predicted == number) & (truth == number)).sum()), int((predicted == number).sum())
        rows = int(counts[number])
        precision, recall = hits / named if named else None, hits / rows if rows else None
        each[label] = {"rows": rows, "precision": precision, "recall": recall}
    return {
        "rows": len(truth),
        "accuracy": float((predicted == truth).mean()),
        "majority": float(counts.max() / len(truth)),
        "loss": float(-np.log(np.maximum(of_truth, 1e-7)).mean()),
        "labels": each,
    }


def _evaluate(options: argparse.Namespace) -> None:
    import numpy as np

    from rnnext.datasets import label_numbers, read_file

    classifier = _Classifier.load(options.model)
    text, label = options.text or classifier.text_column, options.label or classifier.label_column
    texts, labels = read_file(options.file, text=text, label=label)
    truth = np.array(label_numbers(labels, classifier.labels, options.file), np.int32)
    report = _measured(classifier.probabilities(texts), truth, classifier.labels)
    if options.json:
        print(json.dumps(report, ensure_ascii=False))
        return
    print(f"{report['rows']:,} rows: accuracy {report['accuracy']:.1%}, loss {report['loss']:.4f}")
    print(f"always the most frequent label: {report['majority']:.1%}")
    for name, found in report["labels"].items():
        ratios = (f"{key} {'-' if found[key] is None else format(found[key], '.1%')}" for key in ("precision", "recall"))
        print(f"{name}: {found['rows']:,} rows, {', '.join(ratios)}")


def _convert(options: argparse.Namespace) -> None:
    from rnnext import interop
    from rnnext.models import load_model

    model = load_model(options.model, compile=False)
    try:
        if options.to == "onnx":
            interop.to_onnx(model, options.file, lengths=True)
        elif options.to == "torch":
            interop.to_torch(model, options.file)
        else:
            interop.to_keras(model, options.file)
    except ImportError as error:
        raise ValueError(f"--to {options.to} needs the package {error.name}: pip install 'rnnext[interop]'") from error
    print(f"saved in {options.file}; the vocabulary and the labels stay in {options.model}")


def _info(options: argparse.Namespace) -> None:
    from rnnext import show_config

    show_config()


# ---------------------------------------------------------------- arguments


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(_BAD_INPUT, f"{self.prog}: error: {message} ({self.prog} --help tells more)\n")


def _number(kind: Callable[[str], Any], least: float, below: float = float("inf")) -> Callable[[str], Any]:
    """A type for argparse: a number from `least` up to, but not including, `below`."""

    def convert(text: str) -> Any:
        value = kind(text)
        if not least <= value < below:
            limit = "" if below == float("inf") else f" and less than {below:g}"
            raise argparse.ArgumentTypeError(f"{text} is out of range, expected at least {least:g}{limit}")
        return value

    convert.__name__ = "whole number" if kind is int else "number"  # what argparse calls it
    return convert


def _parser() -> argparse.ArgumentParser:
    count, share = _number(int, 1), _number(float, 0, 1)
    parser = _Parser(prog="rnnext", description="LSTM and GRU text classifiers on the CPU.")
    parser.add_argument("--version", action="version", version=f"rnnext {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], None], about: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=about, description=about, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        added.set_defaults(run=run)
        return added

    train = command("train", _train, "Train a classifier, say how good it is on held-out texts, save it.")
    names = ", ".join(_DATASETS)
    train.add_argument("data", metavar="DATASET|FILE", nargs="?", default="movies", help=f"{names}, or a CSV or TSV file")
    train.add_argument("--cell", choices=("lstm", "gru"), default="lstm", help="recurrent layer")
    train.add_argument("--epochs", metavar="N", type=count, default=5, help="passes over the training texts")
    train.add_argument("--batch-size", metavar="N", type=count, default=32, help="texts of one training step")
    train.add_argument("--units", metavar="N", type=count, default=64, help="size of the recurrent layer's state")
    train.add_argument("--embedding", metavar="N", type=count, default=128, help="size of a word's vector")
    train.add_argument("--dropout", metavar="P", type=share, default=0.5, help="share dropped of vectors and of the last state")
    train.add_argument("--vocabulary", metavar="N", type=_number(int, 3), default=20000, help="most frequent words to know")
    train.add_argument("--maxlen", metavar="N", type=count, default=400, help="words of a text to read, counted from its end")
    train.add_argument("--unit", choices=("word", "char"), default="word", help="read words or single characters")
    train.add_argument("--text", metavar="COLUMN", help="the file's column of texts (default: text)")
    train.add_argument("--label", metavar="COLUMN", help="the file's column of labels (default: label)")
    train.add_argument("--test", metavar="FILE", help="file to measure on (default: a fifth of the rows, held out)")
    train.add_argument("--seed", metavar="N", type=_number(int, 0, 2**32), default=0, help="the same seed gives the same model")
    train.add_argument("--out", metavar="DIR", help="folder of the saved model (default: named after data and cell)")

    predict = command("predict", _predict, "Print each text's label, its probability and the text.")
    predict.add_argument("model", metavar="DIR", type=Path, help="a saved model")
    predict.add_argument("texts", metavar="TEXT", nargs="*", help="without any: one a line on standard input")
    predict.add_argument("--json", action="store_true", help="one JSON object a line")

    evaluate = command("evaluate", _evaluate, "Measure a saved model on a file of labelled texts.")
    evaluate.add_argument("model", metavar="DIR", type=Path, help="a saved model")
    evaluate.add_argument("file", metavar="FILE", help="a CSV or TSV file")
    evaluate.add_argument("--text", metavar="COLUMN", help="column of texts (default: as in training)")
    evaluate.add_argument("--label", metavar="COLUMN", help="column of labels (default: as in training)")
    evaluate.add_argument("--json", action="store_true", help="one JSON object")

    convert = command("convert", _convert, "Write a saved model for another framework.")
    convert.add_argument("model", metavar="DIR", type=Path, help="a saved model")
    convert.add_argument("file", metavar="FILE", type=Path, help="FILE.onnx, FILE.safetensors, FILE.keras or FILE.weights.h5")
    convert.add_argument(
        "--to",
        choices=("onnx", "torch", "keras"),
        required=True,
        help="a graph with the inputs `input` and `lengths`; a state_dict as safetensors; a model or its weights",
    )

    command("info", _info, "Print version, compiler, instruction sets and threads.")

    from rnnext import bench

    bench.add_arguments(command("bench", bench.run, "Measure this machine, rnnext on it, and its peers beside it."))
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code. Bad input is one line on standard error and code 2."""
    parser = _parser()
    options, rest = parser.parse_known_args(argv)
    if rest and getattr(options, "texts", None) == [] and not any(word.startswith("-") for word in rest):
        options.texts, rest = rest, []  # predict DIR --json TEXT: argparse's lists end at the first option
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        options.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Nobody reads on; what is still buffered must not fail again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _CLOSED_PIPE
    except (ValueError, OSError, RuntimeError) as error:
        print(f"rnnext: error: {' '.join(str(error).split())}", file=sys.stderr)
        return _BAD_INPUT
    return 0
