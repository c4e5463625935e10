"""Plots of trainings and predictions as matplotlib axes. matplotlib is imported when a plot is drawn.

Knows arrays and what `evaluation` and `evidence` have found; knows no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rnnext.evaluation import Evaluation, evaluate

if TYPE_CHECKING:
    from rnnext.evidence import Evidence

__all__ = ["plot_calibration", "plot_confusion", "plot_evidence", "plot_history"]


def _subplots(who: str, columns: int = 1, size: tuple[float, float] = (5, 4)) -> Any:
    """`columns` axes of that size, in inches, side by side in a new figure."""
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(f"{who} needs matplotlib: pip install 'rnnext[plots]'", name="matplotlib") from error
    return pyplot.subplots(1, columns, figsize=(columns * size[0], size[1]), squeeze=False, layout="constrained")[1][0]


_AS_IT_IS: dict[str, Any] = {"parse_math": False}  # "$" in a label or a word is a dollar
_LETTERS_BELOW = 20  # so many fit side by side below the columns of a small confusion matrix
_LONGEST = 30  # letters of a label or a word that are shown
_WITH_CHINESE = ("Noto Sans CJK SC", "Noto Sans CJK JP", "PingFang SC", "Microsoft YaHei", "WenQuanYi Zen Hei", "SimHei")


def _family(words: Sequence[str]) -> list[str]:
    """The fonts for some words: the default ones, followed where they are needed by fonts with Chinese characters."""
    if all(letter < "\u2e80" for word in words for letter in word):
        return ["sans-serif"]
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    return ["sans-serif", *(name for name in _WITH_CHINESE if name in installed)]


def _short(word: str) -> str:
    return word if len(word) <= _LONGEST else f"{word[: _LONGEST - 1]}…"


def plot_history(
    history: Mapping[str, Sequence[float]],
    names: Sequence[str] | None = None,
    *,
    axes: Any = None,
    validated: Sequence[int] | None = None,
) -> npt.NDArray[Any]:
    """Plot each number of a training over its epochs, beside that of the validation. Returns the axes, one for each number.

    `names` chooses the numbers (default: all). `axes` are those to draw in, as `pyplot.subplots` returns them. `validated`: the
    epochs, counted from 1, that the validation's numbers belong to, if not to all. ValueError for a name that is not in the
    history, too few axes, or another number of epochs than of numbers.
    """
    if not isinstance(history, Mapping):
        raise TypeError(
            f"plot_history: history is a {type(history).__name__}, expected a dict, such as the `history` of what fit returns"
        )
    known = [name for name in history if not (name.startswith("val_") and name[4:] in history)]
    chosen = known if names is None else list(names)
    for name in chosen:
        if name not in known:
            raise ValueError(
                f"plot_history: names has {name!r}, expected some of {', '.join(known) or 'none: there is no epoch'}"
            )
    if not chosen:
        raise ValueError("plot_history: history has no epoch yet")
    given = None if axes is None else np.ravel(np.asarray(axes, dtype=object))
    if given is not None and len(given) < len(chosen):
        raise ValueError(f"plot_history: axes has {len(given)}, expected {len(chosen)}, one for each of {', '.join(chosen)}")
    for name in chosen:
        count = len(history.get(f"val_{name}", ()))
        if count not in (0, len(history[name] if validated is None else validated)):
            raise ValueError(
                f"plot_history: history has {count} of val_{name} and {len(history[name])} of {name}, expected validated="
                " the epochs, counted from 1, that had a validation; History.plot knows them"
            )
        if validated is not None and count and not all(1 <= epoch <= len(history[name]) for epoch in validated):
            raise ValueError(f"plot_history: validated is {list(validated)}, expected epochs from 1 to {len(history[name])}")
    drawn: npt.NDArray[Any] = _subplots("plot_history", len(chosen)) if given is None else given[: len(chosen)]
    for ax, name in zip(drawn, chosen, strict=True):
        epochs = np.arange(1, len(history[name]) + 1)
        measured = epochs if validated is None else validated
        ax.plot(epochs, history[name], marker="o", markersize=3, label="training")
        if len(history.get(f"val_{name}", ())):
            ax.plot(measured, history[f"val_{name}"], marker="o", markersize=3, label="validation")
            ax.legend()
        ax.set_xlabel("epoch")
        ax.set_ylabel(name, **_AS_IT_IS)
        ax.locator_params(axis="x", integer=True, min_n_ticks=1)
        ax.grid(alpha=0.3)
    return drawn


def _evaluation(
    who: str, truth: npt.ArrayLike | Evaluation, probabilities: npt.ArrayLike | None, labels: Sequence[Any] | None
) -> Evaluation:
    if isinstance(truth, Evaluation):
        return truth
    if probabilities is None:
        raise ValueError(f"{who}: probabilities is None, expected an array [N, C] beside the truth [N], or an Evaluation")
    return evaluate(truth, probabilities, labels)


def plot_confusion(
    truth: npt.ArrayLike | Evaluation,
    probabilities: npt.ArrayLike | None = None,
    labels: Sequence[Any] | None = None,
    *,
    ax: Any = None,
) -> Any:
    """Plot how often each true label (rows) was predicted as each label (columns), coloured by shares of the row.

    From class numbers [N] and probabilities [N, C], or from an `Evaluation`. Returns the axes.
    """
    found = _evaluation("plot_confusion", truth, probabilities, labels)
    names = [_short(label) for label in found.labels]
    room = 0.6 * len(names) + 2
    ax = _subplots("plot_confusion", size=(max(5, room), max(4, room)))[0] if ax is None else ax
    counts = found.confusion
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if shares[row, column] > 0.7 else "black"
        ax.text(column, row, f"{count:,}\n{shares[row, column]:.0%}", ha="center", va="center", color=colour, fontsize="small")
    style = {"family": _family(names), **_AS_IT_IS}
    slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if len("".join(names)) > _LETTERS_BELOW else {}
    ax.set_xticks(range(len(names)), names, **slanted, **style)
    ax.set_yticks(range(len(names)), names, **style)
    ax.set(xlabel="predicted", ylabel="true", title=f"accuracy {found.accuracy:.1%}")
    return ax


def plot_calibration(
    truth: npt.ArrayLike | Evaluation,
    probabilities: npt.ArrayLike | None = None,
    labels: Sequence[Any] | None = None,
    *,
    ax: Any = None,
) -> Any:
    """Plot the share of right predictions over their probability, with 95 % intervals, and the diagonal of honest ones.

    From class numbers [N] and probabilities [N, C], or from an `Evaluation`. Returns the axes.
    """
    found = _evaluation("plot_calibration", truth, probabilities, labels)
    ax = _subplots("plot_calibration")[0] if ax is None else ax
    least, shares = 1 / len(found.labels), [each.accuracy for each in found.bins]
    bounds = [each.interval for each in found.bins]
    # matplotlib refuses an error that rounding has made negative.
    errors = [[max(s - low, 0) for s, (low, _) in zip(shares, bounds, strict=True)]]
    errors.append([max(high - s, 0) for s, (_, high) in zip(shares, bounds, strict=True)])
    ax.plot([least, 1], [least, 1], color="0.6", linestyle="--", label="probability = share")
    ax.errorbar([each.confidence for each in found.bins], shares, yerr=errors, marker="o", markersize=4, capsize=2)
    ax.set(xlabel="probability of the predicted label", ylabel="share that was right")
    ax.set(
        title=f"calibration error {found.calibration_error:.3f}", ylim=(min([least, *(low for low, _ in bounds)]) - 0.02, 1.02)
    )
    ax.grid(alpha=0.3)
    ax.legend()
    return ax


def plot_evidence(evidence: Evidence, *, most: int = 20, ax: Any = None) -> Any:
    """Plot how much the `most` weighty words of a text, in their order, speak for the label or against it. Returns the axes."""
    if most < 1:
        raise ValueError(f"plot_evidence: most is {most}, expected at least 1")
    scores = evidence.scores
    chosen = np.sort(np.argsort(-np.abs(scores), kind="stable")[:most])[::-1]
    ax = _subplots("plot_evidence", size=(5, max(4, 0.2 * len(chosen))))[0] if ax is None else ax
    ax.barh(range(len(chosen)), scores[chosen], color=["tab:blue" if s > 0 else "tab:orange" for s in scores[chosen]])
    words, label = [_short(evidence.tokens[n]) for n in chosen], _short(str(evidence.label))
    style = {"family": _family([*words, label]), **_AS_IT_IS}
    ax.set_yticks(range(len(chosen)), words, **style)
    ax.axvline(0, color="0.4", linewidth=0.8)
    ax.set_xlabel(f"for {label} (log-odds)", **style)
    ax.set_title(f"{label}: {evidence.probability:.1%}", **style)
    return ax
