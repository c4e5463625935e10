"""What a classifier does on labelled texts, as one self-contained HTML page: without scripts, fonts or links."""

from rnnext.report._page import Example, Page

__all__ = ["Example", "Page"]
