"""What the recipes are measured against: TF-IDF of words (Chinese: characters) with logistic regression."""

from __future__ import annotations

from typing import Any, Literal


def plain_bag_of_words(unit: Literal["word", "char"]) -> Any:
    """A pipeline of scikit-learn's as it comes: single words, or characters and pairs of them."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    vectorizer = TfidfVectorizer() if unit == "word" else TfidfVectorizer(analyzer="char", ngram_range=(1, 2))
    return make_pipeline(vectorizer, LogisticRegression(max_iter=1000))


def bag_of_words(unit: Literal["word", "char"], *, letters: bool = False) -> Any:
    """A tuned one, that knows pairs; with `letters` it knows runs of three to six letters, too, and takes many labels."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline, make_union

    words = TfidfVectorizer(analyzer=unit, ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    if not letters:
        return make_pipeline(words, LogisticRegression(C=10, max_iter=1000))
    runs = TfidfVectorizer(analyzer="char", ngram_range=(3, 6), min_df=2, sublinear_tf=True)
    return make_pipeline(make_union(words, runs), OneVsRestClassifier(LogisticRegression(C=30, solver="liblinear")))
