"""Pictures are drawn of the numbers that they were given."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from rnnext.callbacks import History
from rnnext.evaluation import evaluate
from rnnext.evidence import Evidence
from rnnext.plots import _WITH_CHINESE, plot_calibration, plot_confusion, plot_evidence, plot_history

HISTORY = {"loss": [0.7, 0.5, 0.4], "val_loss": [0.6, 0.55, 0.6], "accuracy": [0.5, 0.7, 0.8], "learning_rate": [1e-3] * 3}


@pytest.fixture
def pyplot() -> Iterator[Any]:
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


def drawn(ax: Any) -> Any:
    """Render the axes, which must not warn, and return them."""
    ax.figure.canvas.draw()
    return ax


def test_history(pyplot: Any) -> None:
    axes = plot_history(HISTORY)
    assert [drawn(ax).get_ylabel() for ax in axes] == ["loss", "accuracy", "learning_rate"]
    training, validation = axes[0].lines
    np.testing.assert_array_equal(training.get_ydata(), HISTORY["loss"])
    np.testing.assert_array_equal(validation.get_ydata(), HISTORY["val_loss"])
    np.testing.assert_array_equal(training.get_xdata(), [1, 2, 3])
    assert [text.get_text() for text in axes[0].get_legend().get_texts()] == ["training", "validation"]
    assert len(axes[1].lines) == 1
    assert len(plot_history(HISTORY, ["accuracy"])) == 1
    some = {**HISTORY, "val_loss": [0.6, 0.5]}
    np.testing.assert_array_equal(plot_history(some, validated=[1, 3])[0].lines[1].get_xdata(), [1, 3])
    with pytest.raises(ValueError, match="history has 2 of val_loss and 3 of loss, expected validated="):
        plot_history(some)
    history = History()
    history.history, history.epoch, history.validated = some, [4, 5, 6], [5, 6]
    np.testing.assert_array_equal(history.plot()[0].lines[1].get_xdata(), [2, 3])


def test_one_epoch_and_axes_as_pyplot_makes_them(pyplot: Any) -> None:
    one = pyplot.subplots()[1]
    drawn(plot_history({"loss": [0.7], "val_loss": []}, axes=one)[0])
    low, high = one.get_xlim()
    assert [place for place in one.get_xticks() if low <= place <= high] == [1]
    grid = pyplot.subplots(2, 2)[1]
    assert list(plot_history(HISTORY, axes=grid)) == list(grid.ravel()[:3])
    with pytest.raises(TypeError, match="history is a History, expected a dict, such as the `history` of what fit returns"):
        plot_history(History())  # type: ignore[arg-type]


def test_the_history_of_a_training_draws_itself(pyplot: Any) -> None:
    history = History()
    with pytest.raises(ValueError, match="history has no epoch yet"):
        history.plot()
    history.history = dict(HISTORY)
    mine = pyplot.subplots()[1]
    assert history.plot(["loss"], axes=[mine])[0] is mine
    assert len(mine.lines) == 2
    with pytest.raises(ValueError, match="names has 'auc', expected some of loss, accuracy, learning_rate"):
        history.plot(["auc"])
    with pytest.raises(ValueError, match="axes has 1, expected 3, one for each of loss, accuracy, learning_rate"):
        history.plot(axes=[mine])


def test_confusion(pyplot: Any) -> None:
    truth, p = np.array([0, 0, 0, 1]), np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]])
    ax = drawn(plot_confusion(truth, p, ["no", "yes"]))
    assert [text.get_text() for text in ax.texts] == ["2\n67%", "1\n33%", "0\n0%", "1\n100%"]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["no", "yes"]
    mine = pyplot.subplots()[1]
    assert plot_confusion(evaluate(truth, p), ax=mine) is mine
    with pytest.raises(ValueError, match="plot_confusion: probabilities is None"):
        plot_confusion(truth)


def test_many_classes_and_long_names_have_room(pyplot: Any) -> None:
    for count in (2, 20):
        names = [f"a label with far too long a name to be written beside a small picture {n}" for n in range(count)]
        ax = drawn(plot_confusion(np.arange(count), np.eye(count), names))
        cell = ax.get_window_extent().width / count
        assert all(text.get_window_extent().width < cell for text in ax.texts)
        assert ax.get_xticklabels()[0].get_text() == "a label with far too long a n…"
    words = Evidence("", ("w" * 200,) * 90, np.ones(90), (None,) * 90, (True,) * 90, "no", 0.6, "gradient")
    ax = drawn(plot_evidence(words, most=90))
    labels = [label.get_window_extent() for label in ax.get_yticklabels()]
    assert all(above.y0 > below.y0 + below.height / 2 for below, above in itertools.pairwise(labels))
    assert labels[0].x0 > 0


def test_calibration(pyplot: Any) -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1, 1, 1], 300)
    found = evaluate(rng.integers(0, 3, 300), p)
    ax = drawn(plot_calibration(found))
    np.testing.assert_allclose(ax.lines[1].get_xdata().astype(float), [each.confidence for each in found.bins])
    np.testing.assert_allclose(ax.lines[1].get_ydata().astype(float), [each.accuracy for each in found.bins])
    drawn(plot_calibration(np.zeros(3, int), np.array([[1.0, 0.0]] * 3)))


def test_evidence(pyplot: Any) -> None:
    scores = np.array([0.1, -2.0, 1.0, 0.0])
    found = Evidence("a dull joy x", ("a", "dull", "joy", "x"), scores, (None,) * 4, (True,) * 4, "good", 0.6, "gradient")
    ax = drawn(plot_evidence(found, most=2))
    assert [bar.get_width() for bar in ax.patches] == [1.0, -2.0]  # from below: the text's order from above
    assert [label.get_text() for label in ax.get_yticklabels()] == ["joy", "dull"]
    with pytest.raises(ValueError, match="most is 0"):
        plot_evidence(found, most=0)


def test_dollars_are_no_formula(pyplot: Any) -> None:
    labels = ["$x^{$", "a $5_$ b"]
    ax = drawn(plot_confusion(np.array([0, 1]), np.array([[0.9, 0.1], [0.2, 0.8]]), labels))
    assert [text.get_text() for text in ax.get_xticklabels()] == labels
    found = Evidence("$^$", ("$^$",), np.array([1.0]), (None,), (True,), "$_$", 0.6, "gradient")
    assert drawn(plot_evidence(found)).get_title() == "$_$: 60.0%"
    assert [drawn(ax).get_ylabel() for ax in plot_history({"$_$": [0.5]})] == ["$_$"]


def test_chinese_is_written_where_there_is_a_font(pyplot: Any) -> None:
    from matplotlib import font_manager

    if not {font.name for font in font_manager.fontManager.ttflist} & set(_WITH_CHINESE):
        pytest.skip("no font with Chinese")
    scores = np.array([1.0, -1.0])
    found = Evidence("很好", ("很", "好"), scores, ((0, 1), (1, 2)), (True, True), "正面", 0.6, "gradient")
    drawn(plot_evidence(found))  # a missing letter would be a warning, which is an error
    drawn(plot_confusion(np.array([0, 1]), np.array([[0.9, 0.1], [0.2, 0.8]]), ["负面", "正面"]))


def test_without_matplotlib_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"plot_history needs matplotlib: pip install 'rnnext\[plots\]'"):
        plot_history(HISTORY)
