"""What is printed for people: texts and names of users, from which a terminal takes no orders."""

from __future__ import annotations

_BLANKS = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)], " ")  # control characters, the tab and the end of a line among them


def printable(text: str) -> str:
    """The text with a blank in place of each control character."""
    return text.translate(_BLANKS)
