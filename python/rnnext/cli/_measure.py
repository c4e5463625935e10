"""`rnnext evaluate` and `rnnext report`: how good a saved model is on labelled texts, of which few are in memory at a time."""

from __future__ import annotations

import contextlib
import heapq
import os
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np

from rnnext import datasets
from rnnext.classifier import TextClassifier
from rnnext.cli._outputs import beside, check_output
from rnnext.cli._predict import chunks, progress
from rnnext.cli._printable import json_line, printable
from rnnext.evaluation import Evaluation
from rnnext.evaluation import evaluate as figures

_RIGHT_EXAMPLES = 5
_TRUTH = {"false": "0", "true": "1"}


@dataclass(frozen=True)
class Kept:
    """A text that a report may show."""

    text: str
    truth: int
    predicted: int
    of_truth: float  # probability


def evaluate(options: Namespace) -> None:
    """Print the figures."""
    classifier = TextClassifier.load(options.model)
    found, _, _ = measured(classifier, labelled(options, classifier), options.data)
    if options.json:
        print(json_line(found.to_dict()))
        return
    low, high = found.interval
    print(f"{found.rows:,} rows: accuracy {found.accuracy:.1%} (95 % interval {low:.1%} to {high:.1%}), loss {found.loss:.4f}")
    print(f"always the most frequent label: {found.majority:.1%}; calibration error {found.calibration_error:.3f}")
    for name, each in found.classes.items():
        ratios = (
            f"{key} {'-' if value is None else format(value, '.1%')}"
            for key, value in (("precision", each.precision), ("recall", each.recall), ("F1", each.f1))
        )
        print(f"{printable(name)}: {each.rows:,} rows, {', '.join(ratios)}")


def report(options: Namespace) -> None:
    """Write the page."""
    from rnnext.evidence import explain
    from rnnext.report import Example, Page
    from rnnext.saving import write_file

    classifier = TextClassifier.load(options.model)
    check_output(options.out, options.model, options.data)
    said = beside(options.out)
    found, wrong, right = measured(classifier, labelled(options, classifier), options.data, keep=options.examples)
    names = found.labels

    def example(kept: Kept) -> Example:
        return Example(names[kept.truth], names[kept.predicted], kept.of_truth, explain(classifier, kept.text))

    page = Page(
        title=" on ".join(Path(os.path.abspath(path)).name for path in (options.model, options.data)),  # "." has no name
        evaluation=found,
        facts=[f"Model: {options.model}; {classifier.model_.count_params():,} parameters", f"Texts: {options.data}"],
        history=classifier.history_,
        wrong=[example(each) for each in wrong],
        right=[example(each) for each in right],
    )
    write_file(options.out, page.to_html())
    if options.json:
        print(json_line({"page": str(options.out), **found.to_dict()}), file=said)
        return
    low, high = found.interval
    accuracy = f"accuracy {found.accuracy:.1%} (95 % interval {low:.1%} to {high:.1%})"
    print(f"{found.rows:,} rows: {accuracy}; page in {options.out}", file=said)


def labelled(options: Namespace, classifier: TextClassifier) -> Iterator[tuple[str, str]]:
    """Texts and labels of the file, or of the test part of the data set, that the options name."""
    path = Path(options.data)
    text, label = options.text or classifier.text_column or "text", options.label or classifier.label_column or "label"
    if path.exists() and not path.is_dir() and not path.name.endswith(datasets.ARCHIVES):  # a pipe is as good as a file
        return datasets.labelled_rows(options.data, text=text, label=label)
    if not path.is_dir() or any(options.data in (each.name, each.alias) for each in datasets.info()):  # its columns are known
        text, label = options.text, options.label
    data = datasets.load(options.data, text=text, label=label)
    names = data.label_names
    return ((text, names[number]) for text, number in zip(data.test_texts, data.test_labels.tolist(), strict=True))


def as_known(classifier: TextClassifier) -> Callable[[str], str]:
    """A function from a label as written in a file to the name of the classifier's label of that value; others stay."""
    classes = classifier.classes_.tolist()
    kind = classifier.classes_.dtype.kind
    if kind in "UO":
        by_text = {str(label).strip(): str(label) for label in classes} | {str(label): str(label) for label in classes}
        return lambda written: by_text.get(written, written)
    by_value = {label: str(label) for label in classes}

    def known(written: str) -> str:
        for read in (int, classifier.classes_.dtype.type if kind == "f" else float):
            with contextlib.suppress(ValueError):
                return by_value.get(read(_TRUTH.get(written.lower(), written)), written)
        return written

    return known


def measured(
    classifier: TextClassifier, rows: Iterable[tuple[str, str]], origin: str, keep: int = 0
) -> tuple[Evaluation, list[Kept], list[Kept]]:
    """(figures of all rows, the `keep` texts that are most wrong, the first few that are right)."""
    labels, known = [str(label) for label in classifier.classes_.tolist()], as_known(classifier)
    truths, probabilities = [], []
    worst: list[tuple[float, int, Kept]] = []  # a heap, the least wrong on top
    right: list[Kept] = []
    before, order = 0, count()
    with progress(Path(origin).name) as shown:
        for chunk in chunks(rows, lambda row: row[0]):
            truth = np.array(datasets.label_numbers([known(label) for _, label in chunk], labels, origin, first_row=before + 1))
            p = classifier.predict_proba([text for text, _ in chunk])
            truths.append(truth)
            probabilities.append(p)
            for (text, _), y, row in zip(chunk, truth.tolist(), p, strict=True):
                kept = Kept(text, y, int(row.argmax()), float(row[y]))
                if kept.predicted != y and keep:
                    heapq.heappush(worst, (-kept.of_truth, -next(order), kept))
                    if len(worst) > keep:
                        heapq.heappop(worst)
                elif kept.predicted == y and len(right) < min(keep, _RIGHT_EXAMPLES):
                    right.append(kept)
            before += len(chunk)
            shown.update(len(chunk))
    if not truths:
        raise ValueError(f"{origin}: no rows, expected at least one")
    found = figures(np.concatenate(truths), np.concatenate(probabilities), labels)
    return found, [kept for *_, kept in sorted(worst, reverse=True)], right
