"""Chinese reviews, read character by character: hotels (ChnSentiCorp), takeaway meals (waimai_10k).

    python examples/chinese.py FILE [--seed 0] [--models 1]

A file with the columns text, label and split (train, dev or test): CSV, TSV or JSON lines, compressed or not. All that is not
for the test is trained on, by the models and the baseline alike.
"""

import recipe

from rnnext.datasets import read_file

parser = recipe.parser(__doc__)
parser.add_argument("file", metavar="FILE", help="the reviews")
options = parser.parse_args()

texts, labels = read_file(options.file)
_, parts = read_file(options.file, label="split")
rows = list(zip(texts, labels, parts, strict=True))
train, test = (
    tuple(zip(*[(text, label) for text, label, part in rows if (part == "test") == wanted], strict=True))
    for wanted in (False, True)
)
recipe.compare(train, test, options)
