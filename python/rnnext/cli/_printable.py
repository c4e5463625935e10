"""What is printed: for people texts and names of users, from which a terminal takes no orders; for machines JSON."""

from __future__ import annotations

import codecs
import json
import sys
from typing import Any

_BLANKS = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)], " ")  # control characters, the tab and the end of a line among them


def printable(text: str) -> str:
    """The text with a blank in place of each control character."""
    return text.translate(_BLANKS)


def json_line(value: Any) -> str:
    """The value as JSON, with escapes unless standard output's encoding has all characters."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return json.dumps(value, ensure_ascii=codecs.lookup(encoding).name != "utf-8")
