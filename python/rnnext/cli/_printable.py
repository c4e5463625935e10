"""What is printed: for people, users' texts and names without characters that control a terminal; for machines, JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

_BLANKS = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)], " ")  # control characters, the tab and the end of a line among them


def printable(text: str) -> str:
    """The text with a blank in place of each control character."""
    return text.translate(_BLANKS)


def json_line(value: Any) -> str:
    """The value as JSON, with all non-ASCII characters escaped if standard output cannot hold one of them."""
    line = json.dumps(value, ensure_ascii=False)
    try:
        line.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(value)
    return line
