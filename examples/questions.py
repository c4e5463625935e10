"""Which of six kinds of answer a question asks for (TREC; Li & Roth 2002).

    python examples/questions.py TRAIN TEST [--vectors FILE] [--seed 0] [--models 1]

Files with the columns text and fine, the kind and after a colon a finer one ("LOC:city"): CSV, TSV or JSON lines, compressed or
not. The fifty finer ones are learned, and added up to six after the prediction.
"""

import recipe

from rnnext.datasets import read_file

parser = recipe.parser(__doc__)
parser.add_argument("train", metavar="TRAIN", help="questions to learn from")
parser.add_argument("test", metavar="TEST", help="questions to test on")
parser.add_argument("--vectors", metavar="FILE", help="word vectors: .npz or GloVe's text")
options = parser.parse_args()

texts, kinds = read_file(options.train, label="fine")
test_texts, test_kinds = read_file(options.test, label="fine")
coarse = {kind: kind.split(":")[0] for kind in {*kinds, *test_kinds}}
test = test_texts, [coarse[kind] for kind in test_kinds]
recipe.compare((texts, kinds), test, options, merged=coarse, letters=True, vectors=options.vectors)
