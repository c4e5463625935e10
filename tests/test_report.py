"""The page says what was found, needs nothing else, and shows whatever a text holds as that text."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from rnnext import TextClassifier, cli
from rnnext.evaluation import Evaluation, evaluate
from rnnext.evidence import Evidence
from rnnext.report import Example, Page
from rnnext.report._chart import Chart, ticks

VOID = {"meta", "br", "line", "polyline", "circle"}
NASTY = 'a <script>alert(1)</script> & "quoted" \x00\x1b text'


class Checked(HTMLParser):
    """Collects what is shown; fails on tags that do not close and on anything that would be fetched or run."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.open: list[str] = []
        self.shown: list[str] = []
        self.tags: list[str] = []
        self.feed(page.decode("utf-8"))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert tag not in {"script", "link", "iframe", "img", "object", "base", "form", "a"}
        for name, value in attrs:
            assert name not in {"src", "href", "srcset", "action"}
            assert not name.startswith("on")
            assert "url(" not in (value or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.shown.append(data)

    @property
    def text(self) -> str:
        return "".join(self.shown)


def found(labels: tuple[str, ...] = ("no", "yes"), rows: int = 50) -> Evaluation:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(len(labels)), rows)
    return evaluate(rng.integers(0, len(labels), rows), p, labels)


def example(text: str = "a dull film", tokens: tuple[str, ...] = ("a", "dull", "film"), truth: str = "yes") -> Example:
    scores = np.linspace(-1, 1, len(tokens))
    begin, spans = 0, []
    for token in tokens:
        place = text.find(token, begin)
        spans.append(None if place < 0 else (place, place + len(token)))
        begin = max(begin, place + len(token))
    known = (*(True,) * (len(tokens) - 1), False)[: len(tokens)]
    return Example(truth, "no", 0.2, Evidence(text, tokens, scores, tuple(spans), known, "no", 0.8, "gradient"))


HISTORY = {"loss": [0.7, 0.5], "val_loss": [0.6, float("nan")], "sparse_categorical_accuracy": [0.5, 0.6]}


def test_everything_is_on_the_page() -> None:
    evaluation = found()
    page = Page("Title", evaluation, ["model m", "data d"], HISTORY, [example()], [example(truth="no")])
    checked = Checked(page.to_html())
    low, high = evaluation.interval
    for said in ("Title", "model m", "data d", f"{evaluation.accuracy:.1%}", f"{low:.1%} to {high:.1%}", "a dull film"):
        assert said in checked.text
    for heading in ("Each label", "Confusion", "Calibration", "Learning curves", "Most wrong", "Right"):
        assert heading in checked.text
    for count in evaluation.confusion.ravel():
        assert str(count) in checked.shown
    assert checked.tags.count("svg") == 3
    assert not re.search(r"\bnan\b", page.to_html().decode())
    assert b"default-src 'none'" in page.to_html()


def test_what_is_not_there_has_no_section() -> None:
    checked = Checked(Page("t", found()).to_html())
    for heading in ("Learning curves", "Most wrong", "Right"):
        assert heading not in checked.text
    Checked(Page("t", found(rows=1), history={"loss": [0.5], "val_loss": []}).to_html())
    Checked(Page("t", found(rows=1), history={"loss": []}).to_html())


def test_texts_and_labels_are_shown_as_they_are() -> None:
    nasty = example(NASTY, ("script", "quoted"), truth="<b>")
    page = Page(NASTY, found(("<i>", '"&')), [NASTY], wrong=[nasty, example(NASTY, ("nowhere", "script"))])
    checked = Checked(page.to_html())
    shown = NASTY.replace("\x00", "\ufffd").replace("\x1b", "\ufffd")
    assert checked.text.count(shown) >= 4  # title, heading, fact, example
    assert "nowhere script" in checked.text  # where a token cannot be found, the tokens are shown
    assert "true label <b>" in checked.text
    Page("\ud800", found()).to_html()


def test_ends_of_lines_are_not_shown() -> None:
    html = Page("t", found(), wrong=[example("a dull\r\nfilm\r\x85\x7f")]).to_html().decode()
    assert "\r" not in html
    assert "a dull \nfilm  \ufffd" in Checked(html.encode()).text


def test_numbers_and_words_stand_out_from_their_colour() -> None:
    """On the blue of a share, white can be read better than black only where nearly all texts of a label got it."""
    evaluation = evaluate([0] * 20 + [1] * 20, np.eye(2)[[0] * 16 + [1] * 4 + [1] * 19 + [0]])
    html = Page("t", evaluation).to_html().decode()
    assert "i { font-style: normal; color: #1c2126;" in html  # words on a colour, also in the legend
    assert '<td style="background: rgba(var(--for), 0.800)">16<' in html
    assert '<td class=dark style="background: rgba(var(--for), 0.950)">19<' in html


@pytest.mark.parametrize("text", ["فيلم جميل جدا", "很好看的电影", "word " * 3000])
def test_any_script_and_length(text: str) -> None:
    tokens = tuple(text.split()) if " " in text else tuple(text)
    html = Page("t", found(), wrong=[example(text, tokens)]).to_html()
    assert text.strip() in Checked(html).text
    assert b'class="text" dir="auto"' in html


def test_what_the_model_does_not_read_is_left_out() -> None:
    unread, text = "x" * 1000, "a dull film"
    for whole, said in (
        (f"{unread} {text}", f"[… 921 characters not read …]{'x' * 79} {text}"),
        (f"{text} {unread}", f"{text} {'x' * 79}[… 921 characters not read …]"),
        (f"a {unread} dull film", f"a {'x' * 79}[… 842 characters not read …]{'x' * 79} dull film"),
    ):
        assert said in Checked(Page("t", found(), wrong=[example(whole)]).to_html()).text
    nothing = example(unread, ())
    assert unread in Checked(Page("t", found(), wrong=[nothing]).to_html()).text


def test_many_labels() -> None:
    names = tuple(f"label {n}" for n in range(60))
    html = Page("t", found(names, 500)).to_html()
    assert b".confusion tr > :first-child { position: sticky;" in html  # the true labels stay beside the columns that scroll
    checked = Checked(html)
    assert "The 40 most frequent of 60 labels" in checked.text


def test_colours_follow_the_scores() -> None:
    html = Page("t", found(), wrong=[example()]).to_html().decode()
    assert re.search(r'<i style="background: rgba\(var\(--against\), 0.75\)" title="-1.00">a</i>', html)
    assert re.search(r'<i title="\+0.00">dull</i>', html)
    assert re.search(r'<i class="new" style="background: rgba\(var\(--for\), 0.75\)" title="\+1.00">film</i>', html)


def test_charts() -> None:
    assert ticks(0, 1) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert ticks(1, 4, whole=True) == [1, 2, 3, 4]
    assert ticks(1, 1.5, whole=True) == [1]
    assert ticks(3, 97) == pytest.approx([20, 40, 60, 80])
    chart = Chart((0, 1), (0, 2), x_label="<x>", y_label="y")
    chart.line([(0, 0), (0.5, float("nan")), (1, 2)], "one")
    svg = chart.svg("said & done")
    assert 'points="52.0,220.0 368.0,12.0"' in svg
    assert "&lt;x&gt;" in svg
    assert 'aria-label="said &amp; done"' in svg
    Chart((1, 1), (0.5, 0.5), x_label="", y_label="").svg("one point")
    for low, high in ((3e38, 3e38), (1.7e308, 1.7e308), (-1.7e308, 1.7e308)):
        huge = Chart((1, 2), (low, high), x_label="", y_label="")
        huge.line([(1, low), (2, high)], "one")
        assert "inf" not in huge.svg("")
        assert "nan" not in huge.svg("")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"a {word} film {n}" for n in range(40) for word in ("good", "bad")]
    labels = ["yes" if "good" in text else "no" for text in texts]
    classifier = TextClassifier(units=4, embedding_dim=8, epochs=15, batch_size=8, random_state=0, verbose=0)
    classifier.fit(texts, labels).save(tmp_path / "m")
    lines = ["text,label", *(f"{text},{label}" for text, label in zip(texts, labels, strict=True))]
    lines += ["a good <b>film</b>,no", "a bad film,yes", "a very bad bad film,yes"]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = ["report", str(tmp_path / "m"), str(tmp_path / "a.csv"), "--out", str(tmp_path / "r.html")]
    assert cli.main([*command, "--examples", "2"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("83 rows: accuracy 96.4%")
    assert err == ""
    html = (tmp_path / "r.html").read_bytes()
    checked = Checked(html)
    assert "m on a.csv" in checked.text
    assert "Learning curves" in checked.text
    assert html.count(b"<span>predicted ") == 2  # of three mistakes the worst two
    assert html.count(b'class="example"') == 2 + 2
    assert cli.main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["page"], found["rows"]) == (str(tmp_path / "r.html"), 83)
    monkeypatch.chdir(tmp_path / "m")
    assert cli.main(["report", ".", *command[2:]]) == 0
    assert "m on a.csv" in Checked((tmp_path / "r.html").read_bytes()).text
    command[-1] = str(tmp_path / "none" / "r.html")
    with pytest.raises(SystemExit, match="2"):
        cli.main(command)
    assert "is in a folder that does not exist" in capsys.readouterr().err
