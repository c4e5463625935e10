"""Which of six kinds of answer a question asks for (TREC; Li & Roth 2002).

    python examples/questions.py TRAIN TEST [--vectors FILE] [--seed 0] [--models 1]

Files with the columns text and label, and the training file a column fine, one of fifty kinds: CSV, TSV or JSON lines,
compressed or not. The fifty are learned, and their probabilities added up to the six. Most names in the test questions are in
no training question: runs of letters say something about them, and word vectors from other texts say more. Where there are
vectors, what is learned of rare words is mostly dropped in training, by default: it would hide what their vectors say.
"""

import recipe

from rnnext.datasets import read_file

parser = recipe.parser(__doc__)
parser.add_argument("train", metavar="TRAIN", help="questions to learn from")
parser.add_argument("test", metavar="TEST", help="questions to test on")
parser.add_argument("--vectors", metavar="FILE", help="word vectors: .npz or GloVe's text")
options = parser.parse_args()

texts, labels = read_file(options.train)
_, fine = read_file(options.train, label="fine")
merged = dict(zip(fine, labels, strict=True))
recipe.compare((texts, fine), read_file(options.test), options, merged=merged, letters=True, vectors=options.vectors)
