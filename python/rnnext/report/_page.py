"""The page's sections, each a function from results to HTML. Whatever comes from data is escaped here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np

from rnnext.evaluation import Evaluation
from rnnext.evidence import Evidence
from rnnext.report._chart import Chart
from rnnext.report._style import STYLE

_CURVES = ("loss", "accuracy")  # of the history; an accuracy may go by a longer name
_UNREAD = 80  # characters shown at each end of a long passage that the model does not read
_MOST_CLASSES = 40  # in the confusion matrix: the labels with most texts
_CONTROL = {*range(0x20), *range(0x7F, 0xA0)} - {ord("\n"), ord("\t")}
# Many files have their lines end with CR LF: a blank at the end of a line is not seen.
_SHOWN = {code: " " if chr(code).isspace() else "\ufffd" for code in _CONTROL}


@dataclass(frozen=True)
class Example:
    """A text with its true label, the predicted one and why: `evidence` is for the predicted label."""

    truth: str
    predicted: str
    of_truth: float  # the probability of the true label
    evidence: Evidence


@dataclass(frozen=True)
class Page:
    """Everything that a report shows. `facts` are further lines under the title, such as the names of model and data."""

    title: str
    evaluation: Evaluation
    facts: Sequence[str] = ()
    history: Mapping[str, Sequence[float]] = field(default_factory=dict)
    wrong: Sequence[Example] = ()
    right: Sequence[Example] = ()

    def to_html(self) -> bytes:
        """The page, as UTF-8."""
        sections = [
            _section("Each label", _classes(self.evaluation)),
            _section("Confusion", _confusion(self.evaluation)),
            _section("Calibration", _calibration(self.evaluation)),
            _section("Learning curves", _curves(self.history)),
            _section("Most wrong", _examples(self.wrong), _LEGEND),
            _section("Right", _examples(self.right)),
        ]
        page = _SHELL.format(
            title=_escaped(self.title),
            style=STYLE,
            facts="".join(f'<p class="soft">{_escaped(fact)}</p>' for fact in self.facts),
            tiles=_tiles(self.evaluation),
            sections="".join(sections),
        )
        return page.encode("utf-8", "replace")


_SHELL = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header><h1>{title}</h1>{facts}{tiles}</header>
<main>{sections}</main>
</body>
</html>
"""

_LEGEND = (
    '<p class="soft">Texts whose label was missed, the surest mistakes first. Each word is coloured by what it says for the '
    'predicted label: <i style="background: rgba(var(--for), .5)">for it</i>, '
    '<i style="background: rgba(var(--against), .5)">against it</i> (gradient × input, in log-odds; point at a word for the '
    "number). Words with a dotted line are not in the vocabulary.</p>"
)


def _escaped(text: str) -> str:
    """For HTML, without control characters, which it forbids."""
    return escape(text.translate(_SHOWN))


def _section(heading: str, content: str, before: str = "") -> str:
    return f"<section><h2>{heading}</h2>{before}{content}</section>" if content else ""


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


# ---------------------------------------------------------------- numbers


def _tiles(found: Evaluation) -> str:
    low, high = found.interval
    tiles = [
        (_percent(found.accuracy), f"accuracy; 95 % interval {low:.1%} to {high:.1%}"),
        (_percent(found.majority), "always the most frequent label"),
        (f"{found.macro_f1:.3f}", "F1, mean over the labels"),
        (f"{found.loss:.3f}", "cross-entropy, nats"),
        (f"{found.calibration_error:.3f}", "calibration error"),
        (f"{found.rows:,}", "texts"),
    ]
    return f'<div class="tiles">{"".join(f"<div class=tile><b>{n}</b><span>{what}</span></div>" for n, what in tiles)}</div>'


def _classes(found: Evaluation) -> str:
    rows = "".join(
        f'<tr><th class="label" dir="auto" title="{_escaped(label)}">{_escaped(label)}</th><td>{each.rows:,}</td>'
        f"<td>{_percent(each.precision)}</td><td>{_percent(each.recall)}</td><td>{_percent(each.f1)}</td></tr>"
        for label, each in found.classes.items()
    )
    head = "<tr><th>label</th><th>texts</th><th>precision</th><th>recall</th><th>F1</th></tr>"
    return f'<div class="scroll"><table>{head}{rows}</table></div>'


def _confusion(found: Evaluation) -> str:
    order = np.argsort(-found.confusion.sum(axis=1), kind="stable")[:_MOST_CLASSES]
    chosen = np.sort(order).tolist()
    names = [_escaped(found.labels[n]) for n in chosen]
    head = "".join(f'<th class="label" dir="auto" title="{name}">{name}</th>' for name in names)
    rows = []
    for n, name in zip(chosen, names, strict=True):
        total = max(int(found.confusion[n].sum()), 1)
        cells = []
        for m in chosen:
            count = int(found.confusion[n, m])
            share = count / total
            colour, dark = "var(--for)" if m == n else "var(--against)", " class=dark" if share > 0.9 and m == n else ""
            cells.append(f'<td{dark} style="background: rgba({colour}, {share:.3f})">{count:,}<small>{share:.0%}</small></td>')
        rows.append(f'<tr><th class="label" dir="auto" title="{name}">{name}</th>{"".join(cells)}</tr>')
    said = "Rows are the true labels, columns the predicted ones; shares are of the row."
    if len(chosen) < len(found.labels):
        said += f" The {len(chosen)} most frequent of {len(found.labels)} labels."
    table = f'<table class="confusion"><tr><th>true \\ predicted</th>{head}</tr>{"".join(rows)}</table>'
    return f'<div class="scroll">{table}</div><p class="soft">{said}</p>'


# ---------------------------------------------------------------- charts


def _calibration(found: Evaluation) -> str:
    least = 1 / len(found.labels)
    lowest = min([least, *(each.interval[0] for each in found.bins)])
    x, y = "probability of the predicted label", "share that was right"
    chart = Chart((least, 1), (lowest, 1), x_label=x, y_label=y)
    chart.line([(least, least), (1, 1)], "ideal")
    for each in found.bins:
        chart.bar(each.confidence, *each.interval, "one")
    chart.line([(each.confidence, each.accuracy) for each in found.bins], "one", dots=True)
    rows = "".join(
        f"<tr><td>{each.low:.2f} to {each.high:.2f}</td><td>{each.rows:,}</td><td>{each.confidence:.1%}</td>"
        f"<td>{each.accuracy:.1%}</td></tr>"
        for each in found.bins
    )
    head = "<tr><th>probability</th><th>texts</th><th>mean</th><th>right</th></tr>"
    caption = "A point on the dashed line is an honest probability; bars are 95 % intervals."
    figure = f"<figure>{chart.svg(f'{y} by {x}')}<figcaption>{caption}</figcaption></figure>"
    return f'<div class="charts">{figure}<div class="scroll"><table>{head}{rows}</table></div></div>'


def _curves(history: Mapping[str, Sequence[float]]) -> str:
    figures = []
    for kind in _CURVES:
        for name in history:
            if not name.startswith("val_") and name.endswith(kind) and len(history[name]):
                figures.append(_curve(name, history[name], history.get(f"val_{name}", ())))
                break
    return f'<div class="charts">{"".join(figures)}</div>' if figures else ""


def _curve(name: str, training: Sequence[float], validation: Sequence[float]) -> str:
    finite = [value for value in [*training, *validation] if np.isfinite(value)] or [0.0]
    chart = Chart((1, len(training)), (min(finite), max(finite)), x_label="epoch", y_label=name, whole_x=True)
    keys = []
    for style, colour, what, values in (("one", "--for", "training", training), ("two", "--against", "validation", validation)):
        if values:
            chart.line(list(enumerate(values, 1)), style, dots=True)
            keys.append(f'<span class="key" style="background: rgb(var({colour}))"></span>{what}')
    caption = f"<figcaption>{_escaped(name)}: {' &nbsp; '.join(keys)}</figcaption>"
    return f"<figure>{chart.svg(f'{name} by epoch')}{caption}</figure>"


# ---------------------------------------------------------------- texts


def _examples(examples: Sequence[Example]) -> str:
    return "".join(_example(each) for each in examples)


def _example(each: Example) -> str:
    said = [f"true label <b><bdi>{_escaped(each.truth)}</bdi></b> {each.of_truth:.1%}"]
    if each.predicted != each.truth:
        said.insert(0, f"predicted <b><bdi>{_escaped(each.predicted)}</bdi></b> {each.evidence.probability:.1%}")
    head = f'<div class="said">{"".join(f"<span>{part}</span>" for part in said)}</div>'
    return f'<div class="example">{head}<div class="text" dir="auto">{coloured(each.evidence)}</div></div>'


def coloured(evidence: Evidence) -> str:
    """The text as HTML, each word coloured by its score; only its tokens, if some of them cannot be found in the text."""
    weights = evidence.scores / max(float(np.abs(evidence.scores).max(initial=0)), 1e-12)
    words = [
        (token, span, float(weight), float(score), known)
        for token, span, weight, score, known in zip(
            evidence.tokens, evidence.spans, weights, evidence.scores, evidence.known, strict=True
        )
    ]
    if any(span is None for span in evidence.spans):
        return " ".join(_word(token, weight, score, known) for token, _, weight, score, known in words)
    parts, end = list[str](), 0
    for _, span, weight, score, known in words:
        assert span is not None
        parts.append(_between(evidence.text[end : span[0]], before=bool(parts), behind=True))
        parts.append(_word(evidence.text[slice(*span)], weight, score, known))
        end = span[1]
    return "".join(parts) + _between(evidence.text[end:], before=bool(parts), behind=False)


def _between(text: str, *, before: bool, behind: bool) -> str:
    """The text between two words (one of which may be missing). Of a long passage only what is next to the words is shown."""
    if len(text) <= 3 * _UNREAD:
        return _escaped(text)
    left, right = text[:_UNREAD] if before else "", text[-_UNREAD:] if behind else ""
    said = f'<span class="soft">[… {len(text) - len(left) - len(right):,} characters not read …]</span>'
    return f"{_escaped(left)}{said}{_escaped(right)}" if left or right else _escaped(text)


def _word(word: str, weight: float, score: float, known: bool) -> str:
    colour, new = "--for" if weight > 0 else "--against", "" if known else ' class="new"'
    shade = "" if abs(weight) < 0.05 else f' style="background: rgba(var({colour}), {0.75 * abs(weight):.2f})"'
    return f'<i{new}{shade} title="{score:+.2f}">{_escaped(word)}</i>'
