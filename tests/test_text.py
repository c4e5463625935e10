"""Texts to ids: what counts as a token, how the vocabulary is ordered, what is kept with a model, what is refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from rnnext import _tokens
from rnnext.text import TextVectorizer

TEXTS = ["a film, a film!", "a quiet film", "don't miss it"]


def ids(rows: Any) -> list[list[int]]:
    return [row.tolist() for row in rows]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", []),
        ("... -- _", []),
        ("A quiet,moving FILM.", ["a", "quiet", "moving", "film"]),
        ("don't rock 'n' roll’s", ["don't", "rock", "n", "roll's"]),
        ("so bad!! why?", ["so", "bad", "!", "!", "why", "?"]),
        ("rated 10/10 in 2023", ["rated", "10", "10", "in", "2023"]),
        ("snake_case", ["snake", "case"]),
        ("one<br />two<BR>three</p>", ["one", "two", "three"]),
        ("i <3 it, 2 < 3 > 1", ["i", "3", "it", "2", "3", "1"]),
        ("rock &amp; roll &eacute;t&eacute; &quot;x&quot;", ["rock", "roll", "été", "x"]),
        ("cafe\u0301 ＦＵＬＬ width", ["café", "full", "width"]),
        ("这部电影2023年很好看", ["这", "部", "电", "影", "2023", "年", "很", "好", "看"]),
        ("best手机ever", ["best", "手", "机", "ever"]),
        ("とてもよい", list("とてもよい")),
        ("great 😀👍 ☀", ["great", "😀", "👍", "☀"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("العَرَبِيَّة", ["العَرَبِيَّة"]),
        ("ꯃꯤꯇꯩꯂꯣꯟ 𑄌𑄋𑄴𑄟𑄳𑄦", ["ꯃꯤꯇꯩꯂꯣꯟ", "𑄌𑄋𑄴𑄟𑄳𑄦"]),
        ("か\u3099 葛\U000e0100 ❤\ufe0f", ["が", "葛", "❤"]),
        ("한국어 영화", ["한국어", "영화"]),
        ("straße ÉTÉ Ωmega", ["straße", "été", "ωmega"]),
    ],
)
def test_words(text: str, tokens: list[str]) -> None:
    assert TextVectorizer().tokenize(text) == tokens


@pytest.mark.parametrize("words", [_tokens.words, _tokens.words_and_signs])
def test_words_are_those_of_the_pattern(words: Any) -> None:
    """The quick way finds the regular expression's tokens, whichever characters are neighbours."""
    pool = "abZ09'''''  !?_.-éß好看は々😀☀\u0301ि\ufe20\uabe3\U00011127\U00011107\t\n\0\x1c½²Ⅷ٣한❶\ufe0f\u200d\ud800"
    rng = np.random.default_rng(0)
    for length in range(1, 13):
        for chosen in rng.integers(0, len(pool), (500, length)):
            text = "".join(pool[n] for n in chosen)
            assert words(text) == words.pattern.findall(text)
    for code in range(0, 0x110000, 29):
        text = f"a{chr(code)}b'{chr(code)}"
        assert words(text) == words.pattern.findall(text)


def test_punctuation() -> None:
    tokens = TextVectorizer(punctuation=True).tokenize("Well, 'it' isn't (so) bad... a_b “good”！ ''好, 3.5-4")
    assert " ".join(tokens) == "well , ' it ' isn't ( so ) bad . . . a _ b “ good ” ! ' ' 好 , 3 . 5 - 4"


def test_options_of_cleaning() -> None:
    assert TextVectorizer(lowercase=False).tokenize("A Film") == ["A", "Film"]
    assert TextVectorizer(strip_html=False).tokenize("a<br>b") == ["a", "br", "b"]


def test_characters() -> None:
    vectorizer = TextVectorizer(unit="char")
    assert vectorizer.tokenize(" Ab \n\t c,好<br>") == ["a", "b", " ", "c", ",", "好"]
    row = vectorizer.fit(["ab c"]).transform(["c ba"])[0]
    assert vectorizer.decode(row) == "c ba"


def test_long_runs_take_linear_time() -> None:
    """Nested repetitions in a pattern must not make a hostile text slow."""
    for text in (
        "a" + "\u0301\u0323" * 60_000,
        "a" + "\u302a\u0301" * 100_000,
        "a" + "\U0001d165\U0001d16e\ufe20" * 70_000,
        "a" + "\uff9e\u0334" * 100_000,
        "a" + "\u0f73" * 200_000,
        "&#" + "1" * 100_000 + "; a",
        "a" * 200_000,
        "ab\u0301" * 70_000,
        "<" * 200_000,
        "a'" * 100_000,
        "&" * 200_000,
    ):
        TextVectorizer().tokenize(text)


def test_vocabulary_is_by_frequency_then_by_first_appearance() -> None:
    vectorizer = TextVectorizer().fit(TEXTS)
    assert vectorizer.vocabulary == ["", "[UNK]", "a", "film", "!", "quiet", "don't", "miss", "it"]
    assert vectorizer.get_vocabulary() == vectorizer.vocabulary
    assert vectorizer.vocabulary_size == 9
    assert ids(vectorizer(["quiet a unseen", ""])) == [[5, 2, 1], []]


def test_vocabulary_ties_at_the_limit() -> None:
    assert TextVectorizer(5).fit(["z y x w z y x w"]).vocabulary == ["", "[UNK]", "z", "y", "x"]


def test_limits_of_the_vocabulary() -> None:
    assert TextVectorizer(4).fit(TEXTS).vocabulary == ["", "[UNK]", "a", "film"]
    assert TextVectorizer(min_count=2).fit(TEXTS).vocabulary == ["", "[UNK]", "a", "film"]
    assert TextVectorizer(None).fit(TEXTS).vocabulary_size == 9
    assert TextVectorizer().fit([]).vocabulary == ["", "[UNK]"]


def test_fitting_again_replaces_the_vocabulary() -> None:
    assert TextVectorizer().fit(["old"]).fit(["new"]).vocabulary == ["", "[UNK]", "new"]


def test_further_words() -> None:
    vectorizer = TextVectorizer().fit(["a b", "a"])
    vectorizer.extend(iter(["c", "d"]))
    assert vectorizer.vocabulary == ["", "[UNK]", "a", "b", "c", "d"]
    assert ids(vectorizer.transform(["d a e"])) == [[5, 2, 1]]
    assert ids(TextVectorizer.from_json(vectorizer.to_json()).transform(["d a e"])) == [[5, 2, 1]]
    for words in (["e", "a"], ["e", "e"], [""]):
        with pytest.raises(ValueError, match="words has one twice, or one that is in the vocabulary"):
            vectorizer.extend(words)
    assert vectorizer.vocabulary_size == 6


def test_a_text_that_spells_a_reserved_word() -> None:
    vectorizer = TextVectorizer(lowercase=False).fit(["[UNK] UNK"])
    assert ids(vectorizer.transform(["[UNK]"])) == [[2]]


def test_ragged_output_is_int32_arrays() -> None:
    rows = TextVectorizer().fit(TEXTS).transform(iter(TEXTS))
    assert isinstance(rows, list)
    assert all(row.dtype == np.int32 and row.ndim == 1 for row in rows)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [[0, 0, 2], [2, 3, 4]]),
        ({"padding": "post"}, [[2, 0, 0], [2, 3, 4]]),
        ({"maxlen": 2}, [[0, 2], [3, 4]]),
        ({"maxlen": 2, "truncating": "post"}, [[0, 2], [2, 3]]),
        ({"maxlen": 4}, [[0, 0, 0, 2], [0, 2, 3, 4]]),
    ],
)
def test_padded_output(options: dict[str, Any], expected: list[list[int]]) -> None:
    padded = TextVectorizer(output="padded", **options).fit(["a b c"]).transform(["a", "a b c"])
    assert isinstance(padded, np.ndarray)
    assert padded.dtype == np.int32
    assert padded.tolist() == expected


def test_the_middle_left_out() -> None:
    texts = [" ".join(map(str, range(length))) for length in (10, 8, 3)]
    vectorizer = TextVectorizer(maxlen=8, truncating="middle").fit(texts)
    rows = vectorizer.transform(texts)
    assert [vectorizer.decode(row) for row in rows] == ["0 1 4 5 6 7 8 9", texts[1], texts[2]]
    assert ids(vectorizer.fit_transform(texts)) == ids(rows)


def test_ragged_output_is_cut_too() -> None:
    vectorizer = TextVectorizer(maxlen=2).fit(["a b c"])
    assert ids(vectorizer.transform(["a b c"])) == [[3, 4]]


@pytest.mark.parametrize(
    "options", [{}, {"min_count": 2}, {"max_tokens": 5}, {"maxlen": 2}, {"unit": "char"}, {"output": "padded"}]
)
def test_one_pass_is_two(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [*TEXTS, "", "it is a film", "film it!"] * 3
    fitted = TextVectorizer(**options).fit(texts)
    rows = fitted.transform(texts)
    for at_once in (4, 1000):
        monkeypatch.setattr("rnnext.text._TEXTS_AT_ONCE", at_once)
        again = TextVectorizer(**options)
        found = again.fit_transform(iter(texts))
        assert again.vocabulary == fitted.vocabulary
        assert ids(found) == ids(rows)
        assert all(row.dtype == np.int32 for row in found)
    assert TextVectorizer().fit_transform([]) == []


def test_a_stream_comes_as_it_is_asked_for() -> None:
    vectorizer = TextVectorizer().fit(TEXTS)
    read = []

    def texts() -> Iterator[str]:
        for text in TEXTS:
            read.append(text)
            yield text

    stream = vectorizer.stream(texts())
    assert read == []
    assert next(stream).tolist() == ids(vectorizer.transform(TEXTS[:1]))[0]
    assert len(read) == 1
    assert [row.tolist() for row in stream] == ids(vectorizer.transform(TEXTS[1:]))


def commas(text: str) -> list[str]:
    return text.split(",")


def test_a_tokenizer_of_ones_own() -> None:
    vectorizer = TextVectorizer(tokenizer=commas).fit(["A b,c &amp; d", "c & d"])
    assert vectorizer.vocabulary == ["", "[UNK]", "c & d", "a b"]
    content = vectorizer.to_json()
    with pytest.raises(ValueError, match="with a tokenizer of its own, which must be given again"):
        TextVectorizer.from_json(content)
    loaded = TextVectorizer.from_json(content, tokenizer=commas)
    assert ids(loaded.transform(["x,a b"])) == [[1, 3]]
    with pytest.raises(TypeError, match="tokenizer is 'words', expected None, 'jieba' or a function"):
        TextVectorizer(tokenizer="words")  # type: ignore[arg-type]


def test_jieba() -> None:
    pytest.importorskip("jieba")
    vectorizer = TextVectorizer(tokenizer="jieba").fit(["我喜欢 这部电影"])
    assert "电影" in vectorizer.vocabulary
    assert TextVectorizer.from_json(vectorizer.to_json()).vocabulary == vectorizer.vocabulary


def test_without_jieba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jieba", None)
    with pytest.raises(ValueError, match=r"tokenizer 'jieba' needs the package jieba: pip install 'rnnext\[chinese\]'"):
        TextVectorizer(tokenizer="jieba").fit(["我喜欢"])


def test_decode() -> None:
    vectorizer = TextVectorizer().fit(["a quiet film"])
    assert vectorizer.decode([0, 0, 2, 3, 1, 4]) == "a quiet [UNK] film"
    with pytest.raises(ValueError, match=r"ids\[1\] is 5, expected 0 to 4"):
        vectorizer.decode([2, 5])
    with pytest.raises(ValueError, match=r"ids has shape \(1, 1\), expected \[T\]"):
        vectorizer.decode(np.zeros((1, 1), np.int32))


def test_saved_and_loaded_is_the_same() -> None:
    options: dict[str, Any] = {
        "max_tokens": 50,
        "unit": "char",
        "lowercase": False,
        "strip_html": False,
        "min_count": 2,
        "output": "padded",
        "maxlen": 7,
        "padding": "post",
        "truncating": "post",
        "tokenizer": None,
        "punctuation": True,
    }
    vectorizer = TextVectorizer(**options).fit(["好好 <b>AAbb\u2028 \U0001f600\U0001f600 \ud800\ud800"])
    loaded = TextVectorizer.from_json(vectorizer.to_json())
    assert loaded.get_config() == options
    assert loaded.vocabulary == vectorizer.vocabulary
    assert (loaded.transform(["好A\ud800b"]) == vectorizer.transform(["好A\ud800b"])).all()


def altered(**changes: object) -> bytes:
    document = json.loads(TextVectorizer().fit(TEXTS).to_json())
    return json.dumps({**document, **changes}).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not UTF-8 JSON"),
        (b"\xff", "not UTF-8 JSON"),
        (b"[]", "format 'list', expected 1"),
        (altered(format=2), "format 2, expected 1"),
        (altered(vocabulary="words"), "not a list of words"),
        (altered(vocabulary=["", "a"]), "not a list of words"),
        (altered(vocabulary=["", "[UNK]", 3]), "not a list of words"),
        (altered(vocabulary=["", "[UNK]", "a", "a"]), "a word twice"),
        (altered(config={"max_tokens": 20, "colour": "red"}), "wrong configuration"),
        (altered(config={"max_tokens": "many"}), "wrong configuration"),
        (altered(config=[]), "wrong configuration"),
    ],
)
def test_a_damaged_file_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TextVectorizer.from_json(content)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_tokens": 2}, ValueError, "max_tokens is 2, expected at least 3"),
        ({"max_tokens": 2.5}, TypeError, "max_tokens is 2.5, expected a whole number"),
        ({"maxlen": 0}, ValueError, "maxlen is 0, expected at least 1"),
        ({"maxlen": True}, TypeError, "maxlen is True, expected a whole number"),
        ({"min_count": 0}, ValueError, "min_count is 0, expected at least 1"),
        ({"unit": "line"}, ValueError, "unit is 'line', expected one of 'word', 'char'"),
        ({"output": "sparse"}, ValueError, "output is 'sparse', expected one of 'ragged', 'padded'"),
        ({"padding": "left"}, ValueError, "padding is 'left', expected one of 'pre', 'post'"),
        ({"truncating": "left"}, ValueError, "truncating is 'left', expected one of 'pre', 'post', 'middle'"),
    ],
)
def test_wrong_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        TextVectorizer(**options)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("one text", "texts is a str, expected a list of str"),
        (b"bytes", "texts is a bytes, expected a list of str"),
        (None, "texts is a NoneType, expected a list of str"),
        (["a", None], r"texts\[1\] is a NoneType, expected a str"),
        ([b"a"], r"texts\[0\] is a bytes, expected a str"),
    ],
)
def test_what_is_not_a_list_of_texts(texts: Any, message: str) -> None:
    fitted = TextVectorizer().fit(TEXTS)
    before = fitted.vocabulary
    for call in (fitted.fit, fitted.transform, fitted.fit_transform):
        with pytest.raises(TypeError, match=message):
            call(texts)
    assert fitted.vocabulary == before


def test_before_fit() -> None:
    vectorizer = TextVectorizer()
    for call in (
        lambda: vectorizer.transform(["a"]),
        lambda: vectorizer.vocabulary,
        lambda: vectorizer.decode([1]),
        lambda: vectorizer.extend(["a"]),
        vectorizer.to_json,
    ):
        with pytest.raises(ValueError, match="no vocabulary yet, call fit first"):
            call()
