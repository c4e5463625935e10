"""`rnnext predict`: labels for any number of texts, in bounded memory."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from rnnext.classifier import TextClassifier
from rnnext.cli._printable import json_line, printable
from rnnext.datasets import decoded_lines, text_rows

_TEXTS_AT_ONCE = 4096
_CHARACTERS_AT_ONCE = 1 << 22
_WORDS_OF_EVIDENCE = 5

_Row = TypeVar("_Row")


def chunks(rows: Iterable[_Row], texts: Any = lambda row: row, most: int = _TEXTS_AT_ONCE) -> Iterator[list[_Row]]:
    """The rows in lists of at most `most`. A list also ends when its texts, `texts(row)`, reach `_CHARACTERS_AT_ONCE`."""
    chunk, characters = list[_Row](), 0
    for row in rows:
        chunk.append(row)
        characters += len(texts(row))
        if len(chunk) >= most or characters >= _CHARACTERS_AT_ONCE:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def progress(title: str, unit: str = " texts", *, shown: bool = True) -> Any:
    """A progress counter on standard error, if that is a terminal."""
    from tqdm import tqdm

    hidden = not (shown and sys.stderr.isatty())
    return tqdm(desc=title, unit=unit, unit_scale=True, file=sys.stderr, disable=hidden, leave=False, dynamic_ncols=True)


def _texts(options: Namespace, classifier: TextClassifier) -> Iterable[str]:
    if options.texts:
        if options.file is not None:
            raise ValueError("predict: both texts and --file are given, expected only one of them")
        return options.texts  # type: ignore[no-any-return]
    if options.file is not None:
        return text_rows(options.file, text=options.text or classifier.text_column or "text")
    return (line.rstrip("\r\n") for line in decoded_lines("standard input", sys.stdin.buffer))


def predict(options: Namespace) -> None:
    """Print a line for each text, in the order of the texts."""
    from rnnext.evidence import explain

    classifier = TextClassifier.load(options.model)
    labels = [str(label) for label in classifier.classes_.tolist()]
    # To texts that are typed, each answer should come at once.
    typed = not options.texts and options.file is None and sys.stdin.isatty()
    with progress(Path(options.file).name if options.file else "texts", shown=not (typed or sys.stdout.isatty())) as count:
        for texts in chunks(_texts(options, classifier), most=1 if typed else _TEXTS_AT_ONCE):
            p = classifier.predict_proba(texts)
            for text, row, best in zip(texts, p.tolist(), p.argmax(axis=1).tolist(), strict=True):
                words = explain(classifier, text).strongest(_WORDS_OF_EVIDENCE) if options.why else []
                if options.json:
                    each = {label: round(value, 6) for label, value in zip(labels, row, strict=True)}
                    answer: dict[str, Any] = {"text": text, "label": labels[best], "probabilities": each}
                    if options.why:
                        answer["evidence"] = [[word, round(score, 6)] for word, score in words]
                    print(json_line(answer))
                else:
                    said = [" ".join(f"{word} {score:+.2f}" for word, score in words)] if options.why else []
                    fields = [labels[best], f"{row[best]:.3f}", *said, " ".join(text.split())]
                    print(*map(printable, fields), sep="\t")
            sys.stdout.flush()
            count.update(len(texts))
