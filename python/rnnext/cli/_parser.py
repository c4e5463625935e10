"""Commands and their options."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rnnext._version import __version__
from rnnext.cli import _commands

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

BAD_INPUT = 2

_EXIT_CODES = (
    "Exit codes: 0 done; 2 bad input, explained in one line on standard error; 130 interrupted; 141 the reader of the output"
    " has closed it; 1 an error in rnnext itself."
)
_FILES = "CSV, TSV or JSON lines, compressed or not"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: error: {message} (see {self.prog} --help)\n")

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        if message:  # argparse's own ignores an output that takes nothing
            (file or sys.stderr).write(message)


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
        raise argparse.ArgumentTypeError(f"{text!r} is in a folder that does not exist")
    return path


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line. The parsed options have the command's function as `run`."""
    parser = _Parser(prog="rnnext", description="LSTM and GRU text classifiers on the CPU.", epilog=_EXIT_CODES)
    parser.add_argument("--version", action="version", version=f"rnnext {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], None], about: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=about, description=about, epilog=_EXIT_CODES)
        added.set_defaults(run=run, parser=added)
        return added

    _train(command("train", _commands.train, "Train a classifier, measure it on held-out texts and save it."))

    predict = command("predict", _commands.predict, "Print the label of each text, its probability and the text.")
    _model(predict)
    predict.add_argument(
        "texts",
        metavar="TEXT",
        nargs="*",
        help="texts to label; without any, and without --file, one from each line of standard input",
    )
    predict.add_argument(
        "--file", metavar="FILE", help=f"label the texts of a file of any length: {_FILES}, or .txt with one text a line"
    )
    predict.add_argument("--text", metavar="COLUMN", help="the file's column of the texts (default: as in training)")
    predict.add_argument(
        "--why", action="store_true", help="also print the words that say most for the label (+) or against it (-)"
    )
    predict.add_argument("--json", action="store_true", help="print one JSON object for each text, one a line")

    evaluate = command("evaluate", _commands.evaluate, "Measure a saved model on labelled texts.")
    _model(evaluate)
    _labelled(evaluate)
    _json(evaluate)

    report = command(
        "report", _commands.report, "Write an HTML page that shows how good a saved model is on labelled texts, and why."
    )
    _model(report)
    _labelled(report)
    report.add_argument("--out", metavar="FILE", type=_new_file, default="report.html", help="the page (default: report.html)")
    report.add_argument(
        "--examples", metavar="N", type=_number(int, 0), default=20, help="how many of the worst mistakes to show (default: 20)"
    )
    _json(report)

    convert = command("convert", _commands.convert, "Convert a saved model for another framework.")
    _model(convert)
    convert.add_argument(
        "file",
        metavar="FILE",
        type=_new_file,
        help="the file to write; for keras its name must end in .keras or .weights.h5",
    )
    convert.add_argument(
        "--to",
        choices=("onnx", "torch", "keras"),
        required=True,
        help="onnx: a graph with the inputs `input` (ids) and `lengths`; torch: a state_dict as safetensors,"
        " whatever the file's name ends in; keras: a model, or its weights alone",
    )
    _json(convert)

    info = command("info", _commands.info, "Print the version, the compiler, the instruction sets and the number of threads.")
    info.add_argument(
        "--datasets", action="store_true", help="list the data sets that have a name, with their licences, instead"
    )
    _json(info)

    from rnnext import bench

    bench.add_arguments(
        command("bench", bench.run, "Measure the speed of this machine, of rnnext on it, and of its peers beside it.")
    )
    return parser


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output, and nothing else there")


def _model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="DIR", type=Path, help="the folder of a saved model")


def _labelled(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "data",
        metavar="FILE|DATASET",
        help=f"labelled texts: {_FILES}; or the name or folder of a data set, whose test part is taken",
    )
    parser.add_argument("--text", metavar="COLUMN", help="the column of the texts (default: as in training)")
    parser.add_argument("--label", metavar="COLUMN", help="the column of the labels (default: as in training)")


def _train(train: argparse.ArgumentParser) -> None:
    """Options of the model that are not given are None, which leaves the choice to the classifier."""
    count, share = _number(int, 1), _number(float, 0, 1)
    data = (
        "a data set by its name: movies (the default), products, chinese, or imdb, which is not fetched but expected in the"
        f" cache folder; a file: {_FILES}; or a folder with a train and a test file"
    )
    train.add_argument("data", metavar="DATASET|FILE", nargs="?", default="movies", help=data)
    train.add_argument("--text", metavar="COLUMN", help="the file's column of the texts (default: text)")
    train.add_argument("--label", metavar="COLUMN", help="the file's column of the labels (default: label)")
    train.add_argument(
        "--test",
        metavar="FILE",
        help="the file to measure on (default: about a fifth of the rows, which are then not trained on)",
    )
    train.add_argument(
        "--out", metavar="DIR", help="the folder to save the model in (default: named after the data, as movies-model)"
    )
    train.add_argument(
        "--resume", action="store_true", help="continue where an earlier run of the same command was stopped, if it was"
    )
    train.add_argument(
        "--seed", metavar="N", type=_number(int, 0, 2**32), default=0, help="the same seed gives the same model (default: 0)"
    )
    _json(train)
    model = train.add_argument_group("the model", "Whatever is not given is chosen by the language and the amount of data.")
    model.add_argument(
        "--lang", choices=("auto", "en", "zh"), help="the language of the texts; auto, the default, tells it by their letters"
    )
    model.add_argument("--unit", choices=("word", "char"), help="whether to read words or single characters")
    model.add_argument("--cell", choices=("lstm", "gru"), help="the kind of the recurrent layer")
    model.add_argument("--units", metavar="N", type=count, help="the size of the recurrent layer's state")
    model.add_argument("--embedding", dest="embedding_dim", metavar="N", type=count, help="the size of a word's vector")
    model.add_argument(
        "--dropout", metavar="P", type=share, help="the share of the last layer's inputs that is dropped in training"
    )
    model.add_argument(
        "--vocabulary", dest="max_tokens", metavar="N", type=_number(int, 3), help="how many of the most frequent words to know"
    )
    model.add_argument(
        "--maxlen",
        metavar="N",
        type=count,
        help="how many words of a text to read at most: a quarter from its beginning, the rest from its end",
    )
    model.add_argument("--epochs", metavar="N", type=count, help="at most so many passes over the training texts")
    model.add_argument("--batch-size", metavar="N", type=count, help="the number of texts in one training step")
    plain = (
        "train the tutorial's model (an embedding, one recurrent layer, its last state), which `convert` can write for every"
        " framework"
    )
    model.add_argument("--plain", action="store_true", help=plain)
    model.add_argument("--balanced", action="store_true", help="let rare labels count as much in training as frequent ones")
