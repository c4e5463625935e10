"""Commands and their options."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from rnnext._version import __version__
from rnnext.cli import _commands

BAD_INPUT = 2

_EXIT_CODES = (
    "Exit codes: 0 done; 2 bad input, said in one line on standard error; 130 interrupted; 141 nobody reads the output any"
    " more; 1 a mistake of rnnext's own."
)
_FILES = "CSV, TSV or JSON lines, compressed or not"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: error: {message} ({self.prog} --help tells more)\n")


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


def _new_file(text: str) -> Path:
    """A type for argparse: where a file will be written. What is in its way is reported before the work is done."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is a folder, expected a file to be written")
    if not path.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is in a folder that is not there, expected one that is")
    return path


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line. The parsed options have the command's function as `run`."""
    parser = _Parser(prog="rnnext", description="LSTM and GRU text classifiers on the CPU.", epilog=_EXIT_CODES)
    parser.add_argument("--version", action="version", version=f"rnnext {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], None], about: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=about, description=about, epilog=_EXIT_CODES)
        added.set_defaults(run=run)
        return added

    _train(command("train", _commands.train, "Train a classifier, say how good it is on held-out texts, save it."))

    predict = command("predict", _commands.predict, "Print each text's label, its probability and the text.")
    _model(predict)
    predict.add_argument(
        "texts", metavar="TEXT", nargs="*", help="without any, and without --file: one a line on standard input"
    )
    predict.add_argument("--file", metavar="FILE", help=f"texts of a file of any length: {_FILES}, or .txt with a text a line")
    predict.add_argument("--text", metavar="COLUMN", help="the file's column of texts (default: as in training)")
    predict.add_argument("--why", action="store_true", help="the words that say most for the label (+) or against it (-), too")
    predict.add_argument("--json", action="store_true", help="one JSON object a line")

    evaluate = command("evaluate", _commands.evaluate, "Measure a saved model on labelled texts.")
    _model(evaluate)
    _labelled(evaluate)
    _json(evaluate)

    report = command("report", _commands.report, "Write one HTML page: how good a saved model is on labelled texts, and why.")
    _model(report)
    _labelled(report)
    report.add_argument("--out", metavar="FILE", type=_new_file, default="report.html", help="the page (default: report.html)")
    report.add_argument(
        "--examples", metavar="N", type=_number(int, 0), default=20, help="most wrong texts to show (default: 20)"
    )
    _json(report)

    convert = command("convert", _commands.convert, "Write a saved model for another framework.")
    _model(convert)
    convert.add_argument(
        "file", metavar="FILE", type=_new_file, help="FILE.onnx, FILE.safetensors, FILE.keras or FILE.weights.h5"
    )
    convert.add_argument(
        "--to",
        choices=("onnx", "torch", "keras"),
        required=True,
        help="a graph with the inputs `input` (ids) and `lengths`; a state_dict as safetensors; a model or its weights",
    )
    _json(convert)

    info = command("info", _commands.info, "Print version, compiler, instruction sets and threads.")
    info.add_argument("--datasets", action="store_true", help="the data sets that have a name, with their licences, instead")
    _json(info)

    from rnnext import bench

    bench.add_arguments(command("bench", bench.run, "Measure this machine, rnnext on it, and its peers beside it."))
    return parser


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output, and nothing else")


def _model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="DIR", type=Path, help="a saved model")


def _labelled(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", metavar="FILE|DATASET", help=f"{_FILES}; or a data set's name, whose test part is taken")
    parser.add_argument("--text", metavar="COLUMN", help="column of texts (default: as in training)")
    parser.add_argument("--label", metavar="COLUMN", help="column of labels (default: as in training)")


def _train(train: argparse.ArgumentParser) -> None:
    """Options of the model that are not given are None, which leaves the choice to the classifier."""
    count, share = _number(int, 1), _number(float, 0, 1)
    data = f"movies (the default), products, chinese, imdb; {_FILES}; or a folder with a train and a test file"
    train.add_argument("data", metavar="DATASET|FILE", nargs="?", default="movies", help=data)
    train.add_argument("--text", metavar="COLUMN", help="the file's column of texts (default: text)")
    train.add_argument("--label", metavar="COLUMN", help="the file's column of labels (default: label)")
    train.add_argument("--test", metavar="FILE", help="file to measure on (default: a fifth of the rows, held out)")
    train.add_argument("--out", metavar="DIR", help="folder of the saved model (default: named after the data)")
    train.add_argument("--resume", action="store_true", help="go on where the same command was stopped, if it was")
    train.add_argument("--seed", metavar="N", type=_number(int, 0, 2**32), default=0, help="same seed, same model (default: 0)")
    _json(train)
    model = train.add_argument_group("the model", "what is not given is chosen by language and amount of data")
    model.add_argument("--lang", choices=("auto", "en", "zh"), help="language (default: as most letters say)")
    model.add_argument("--unit", choices=("word", "char"), help="read words or single characters")
    model.add_argument("--cell", choices=("lstm", "gru"), help="recurrent layer")
    model.add_argument("--units", metavar="N", type=count, help="size of the recurrent layer's state")
    model.add_argument("--embedding", dest="embedding_dim", metavar="N", type=count, help="size of a word's vector")
    model.add_argument("--dropout", metavar="P", type=share, help="share dropped of what the last layer sees")
    model.add_argument("--vocabulary", dest="max_tokens", metavar="N", type=_number(int, 3), help="most frequent words to know")
    model.add_argument("--maxlen", metavar="N", type=count, help="words of a text to read, a quarter from its beginning")
    model.add_argument("--epochs", metavar="N", type=count, help="most passes over the training texts")
    model.add_argument("--batch-size", metavar="N", type=count, help="texts of one training step")
    plain = (
        "the tutorial's model: an embedding, one recurrent layer, its last state; every framework that `convert` knows has it"
    )
    model.add_argument("--plain", action="store_true", help=plain)
    model.add_argument("--balanced", action="store_true", help="let rare labels count as much as frequent ones")
