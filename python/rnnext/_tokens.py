"""From a text to its tokens: cleaning, then words or characters."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import Literal

_ENDLESS = re.compile(r"&#\d{1000,};?")  # no character has such a number, and Python refuses to read long ones
TAG = re.compile(r"<[a-zA-Z/!][^<>]*>")
# Scripts written without blanks: Han with its extensions and iteration mark, kana.
_CJK = "\u3005\u3007\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_CJK_LETTER = re.compile(f"[{_CJK}]")
_EMOJI = "\u2600-\u27bf\U0001f300-\U0001faff"
# Vowel signs and accents that are characters of their own belong to the letter before them (Devanagari, Arabic, what NFKC
# cannot compose), but \w does not match them. Without those of Han, kana and emoji.
_BLOCKS = ((0x300, 0x3000), (0xA66F, 0xAC00), (0xFE20, 0xFE30), (0x10A00, 0x12000), (0x16A00, 0x16FA0), (0x1E000, 0x1EA00))
_MARKS = [chr(code) for block in _BLOCKS for code in range(*block) if unicodedata.category(chr(code)) in ("Mn", "Mc")]
_LOW, _HIGH = ("".join(mark for mark in _MARKS if (mark > "\uffff") is high) for high in (False, True))
# A regular expression tries those above U+FFFF one by one, so a lookahead asks first whether the next character is one of them.
_LETTERS = rf"(?:[^\W_{_CJK}]+(?:[{_LOW}]|(?=[\U00010a00-\U0001ea00])[{_HIGH}])*)+"
_LETTER = re.compile(_LETTERS)
_LONG, _MOST_MARKS = 1 << 14, 30
_HALF_WIDTH = "\uff9e\uff9f"  # letters that NFKC makes marks of
_NO_WORD = re.compile(rf"[\W{_HALF_WIDTH}]{{{_MOST_MARKS + 1},}}")
_MARK = "\0"  # in place of a mark, whose token cannot be told from the mark alone


def nfkc(text: str) -> str:
    """Unicode's NFKC in linear time: sorting a run of marks takes quadratic time, so the longest runs are cut short first."""
    if len(text) > _LONG:
        text = _NO_WORD.sub(_few_marks, text)
    return unicodedata.normalize("NFKC", text)


def _few_marks(found: re.Match[str]) -> str:
    """The first marks of each run; whatever is not a mark stays."""
    kept, marks = [], 0
    for character in found[0]:
        is_mark = unicodedata.category(character)[0] == "M" or character in _HALF_WIDTH
        marks = marks + 1 if is_mark else 0
        if marks <= _MOST_MARKS:
            kept.append(character)
    return "".join(kept)


class _Apart(dict[int, str]):
    """A table for `str.translate`: letters stay, what is a token by itself gets blanks around it, anything else is a blank."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        super().__init__()
        self.pattern = pattern

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if character in _MARKS:
            found = _MARK
        elif character == "'" or _LETTER.match(character):
            found = character
        else:
            found = f" {character} " if self.pattern.match(character) else " "
        self[code] = found
        return found


class _Words:
    """The tokens that the pattern finds: by `str.translate`, several times as fast, wherever a text has no marks."""

    def __init__(self, alone: str, *, quotes: bool) -> None:
        self.pattern = re.compile(rf"{_LETTERS}(?:'{_LETTERS})*|{alone}")
        self._apart = _Apart(self.pattern)
        self._quote = " ' " if quotes else "  "  # what becomes of an apostrophe that is not between two letters
        # An ASCII text is translated several times as fast if no character becomes more than one.
        found = {code: self._apart[code] for code in range(128)}
        self._ascii = {code: each if len(each) == 1 else each[1] for code, each in found.items()}
        self._alone = [(each[1], each) for each in found.values() if len(each) > 1]

    def __call__(self, text: str) -> list[str]:
        if text.isascii():
            apart = text.translate(self._ascii)
            for character, found in self._alone:
                if character in apart:
                    apart = apart.replace(character, found)
        else:
            apart = text.translate(self._apart)
            if _MARK in apart:
                return self.pattern.findall(text)
        if "'" in apart:
            apart = f" {apart} ".replace("''", "' '").replace("''", "' '")
            apart = apart.replace(" '", f" {self._quote}").replace("' ", f"{self._quote} ")
        return apart.split()


words = _Words(rf"[{_CJK}{_EMOJI}!?]", quotes=False)
words_and_signs = _Words(rf"[^\w\s{_LOW}{_HIGH}]|_|[{_CJK}{_EMOJI}]", quotes=True)


def characters(text: str) -> list[str]:
    """Each character, runs of blanks as one."""
    return list(" ".join(text.split()))


def count_cjk(text: str) -> int:
    """How many characters belong to scripts that are written without blanks."""
    return len(_CJK_LETTER.findall(text))


class Tokenizer:
    """Cleans a text and cuts it into tokens: by the function `split` if there is one, else into units."""

    def __init__(
        self,
        unit: Literal["word", "char"],
        split: Callable[[str], Iterable[str]] | None,
        *,
        lowercase: bool,
        strip_html: bool,
        punctuation: bool,
    ) -> None:
        self._split = split
        of_words = words_and_signs if punctuation else words
        self._known: Callable[[str], list[str]] = of_words if unit == "word" else characters
        self._lowercase = lowercase
        self._strip_html = strip_html

    def __call__(self, text: str) -> list[str]:
        if self._strip_html:
            if "<" in text:
                text = TAG.sub(" ", text)
            if "&" in text:
                text = html.unescape(_ENDLESS.sub("\ufffd", text))
        if not text.isascii():
            text = nfkc(text).replace("’", "'")
        if self._lowercase:
            text = text.lower()
        if self._split is None:
            return self._known(text)
        found = self._split(text)
        if isinstance(found, str) or not isinstance(found, Iterable):
            raise TypeError(f"tokenizer: it returned {found!r}, expected tokens, in a list")
        return list(found)
