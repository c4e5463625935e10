"""What a classifier does on labelled texts, as one HTML page that needs nothing else: no script, no font, no address."""

from rnnext.report._page import Example, Page

__all__ = ["Example", "Page"]
