"""Sentences of film reviews, learned from their phrases (Stanford Sentiment Treebank; Socher et al. 2013).

    python examples/phrases.py PHRASES TEST [--vectors FILE] [--seed 0] [--models 1]

PHRASES has the columns text and label, 0 (very negative) to 4 (very positive); TEST has whole sentences, 0 (negative) or 1
(positive). Five labels say more than two would, so all five are learned. Their probabilities are merged into two after the
prediction, neutral left out.
"""

import recipe

from rnnext.datasets import read_file

parser = recipe.parser(__doc__)
parser.add_argument("phrases", metavar="PHRASES", help="phrases to learn from")
parser.add_argument("test", metavar="TEST", help="sentences to test on")
parser.add_argument("--vectors", metavar="FILE", help="word vectors: .npz or GloVe's text")
options = parser.parse_args()

merged = {"0": "0", "1": "0", "2": None, "3": "1", "4": "1"}
train, test = read_file(options.phrases), read_file(options.test)
recipe.compare(train, test, options, merged=merged, vectors=options.vectors, validation_fraction=0)
