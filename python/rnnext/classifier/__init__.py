"""From texts and labels to a trained classifier, with scikit-learn's protocol."""

from rnnext.classifier._classifier import TextClassifier

__all__ = ["TextClassifier"]
