"""Which of six kinds of answer a question asks for (TREC; Li & Roth 2002).

    python examples/questions.py TRAIN TEST [--vectors FILE] [--seed 0] [--models 1]

Files with the columns text and label: CSV, TSV or JSON lines, compressed or not. Most names of the test questions are in no
training question: runs of letters say something of them, and vectors of other texts' words more.
"""

import recipe

from rnnext.datasets import read_file

parser = recipe.parser(__doc__)
parser.add_argument("train", metavar="TRAIN", help="questions to learn from")
parser.add_argument("test", metavar="TEST", help="questions to test on")
parser.add_argument("--vectors", metavar="FILE", help="word vectors: .npz or GloVe's text")
options = parser.parse_args()

recipe.compare(read_file(options.train), read_file(options.test), options, letters=True, vectors=options.vectors)
