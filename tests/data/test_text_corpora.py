"""Texts with classes: what is read from files, as words and as characters, and what is refused."""

import pytest
import torch

from labelreg.data import data_root, downloads, load, names
from labelreg.data.corpora import CORPORA
from labelreg.data.words import split_words

TRAIN = '"3","Wall St. ""Bears""","Claw\\Back"\n"1","The cat, the CAT","sat."\n'


@pytest.fixture
def root(tmp_path):
    """A folder with AG News of two texts for training, and one for the test."""
    write(tmp_path, TRAIN, '"2","The dog: sat; on the mat","unheard"\n')
    return tmp_path


def write(root, train: str | bytes, test: str | bytes | None = None, name: str = "ag_news"):
    folder = root / f"{name}_csv"
    folder.mkdir(exist_ok=True)
    for file, content in (("train.csv", train), ("test.csv", test)):
        if content is not None:
            (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())


class TestWords:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("Don't stop!", "don ' t stop !"),
            ('He said: "no" (twice);really?', "he said no ( twice ) really ?"),
            ("one<br />two, three.four", "one two , three . four"),
            ("a\tb\n c", "a b c"),
            ('under"stood $5 #39', "understood $5 #39"),
            ("ÜBER naïve", "über naïve"),
            ("", ""),
            (' " ; : ', ""),
        ],
    )
    def test_are_split_as_fasttexts_examples_do(self, text, words):
        assert split_words(text) == words.split()

    def test_are_numbered_by_frequency_in_the_training_texts_alone(self, root):
        data = load("ag_news", root)
        words = {"the", "cat", ".", "wall", "st", "bears", "claw", "back", ",", "sat"}
        frequent = data.train.inputs.vocabulary
        assert frequent[:2] == ("", "<unk>")
        assert set(frequent[2:5]) == {"the", "cat", "."}  # which are there twice
        assert set(frequent[2:]) == words
        assert data.train.inputs.text(1) == "the cat , the cat sat ."
        assert data.test.inputs.text(0) == "the <unk> sat <unk> the <unk> <unk>"
        assert data.test.inputs.vocabulary == frequent

    def test_of_the_test_set_change_nothing(self, root):
        before = load("ag_news", root).train.inputs
        write(root, TRAIN, '"1","bears bears bears new words",""\n')
        after = load("ag_news", root).train.inputs
        assert after.vocabulary == before.vocabulary
        assert torch.equal(after.padded(), before.padded())

    def test_are_the_same_whatever_part_is_trained_on(self, root):
        """A teacher's and a student's numbers must be one, though they may train on other parts."""
        assert load("ag_news", root, subset=1).train.inputs.vocabulary == load("ag_news", root).train.inputs.vocabulary

    def test_are_cut(self, root):
        write(root, TRAIN + '"1","' + "word " * 100_000 + '",""\n')
        texts = load("ag_news", root).train.inputs
        assert texts.lengths.tolist() == [6, 7, 100]
        assert texts.shape == (3, 100, 13)

    def test_may_be_one_or_none(self, root):
        write(root, '"1","one",""\n"2","",""\n', '"1","one",""\n"2",";",""\n"3","two",""\n')
        data = load("ag_news", root)
        assert data.train.inputs.padded().tolist() == [[2], [0]]
        assert data.test.clean().flatten().tolist() == [0, 2, 1]
        write(root, '"1","",""\n')
        assert load("ag_news", root).test.clean().flatten().tolist() == [0, 1, 1]


class TestCharacters:
    def test_are_bytes(self, root):
        data = load("ag_news", root, reading="characters")
        assert data.train.inputs.text(0) == 'Wall St. "Bears" Claw\nBack'
        assert data.input_shape == (1014, 256)
        assert (data.reading, data.sample_values) == ("characters", 1014 * 256)

    def test_are_cut(self, root):
        write(root, '"1","' + "ö" * 600 + '",""\n')
        texts = load("ag_news", root, reading="characters").train.inputs
        assert texts.lengths.tolist() == [1014]
        assert texts.text(0) == "ö" * 507


def test_files_are_joined_columns_and_classes(root):
    data = load("ag_news", root)
    assert data.train.targets.tolist() == [2, 0]
    assert (data.test.targets.tolist(), data.classes[1]) == ([1], "Sports")
    write(root, '4,"a\\nb","c","d"\n2,e\n', '1,"x y"\n2,x\n', name="yelp_review_full")
    yelp = load("yelp_review_full", root, reading="characters")
    assert [yelp.train.inputs.text(index) for index in range(2)] == ["a\nb c d", "e"]
    assert yelp.test.targets.tolist() == [1, 0]  # by length


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"train\.csv is empty; it must hold a class and a text per line"),
        ("\n\n", r"train\.csv is empty"),
        ('"1","a","b"\n"0","a","b"\n', r"train\.csv, line 2: the class must be a number from 1 to 4, got '0'"),
        ('"5","a","b"\n', "line 1: the class must be a number from 1 to 4, got '5'"),
        ("Class,Title\n", "line 1: the class must be a number from 1 to 4, got 'Class'"),
        ('"1","a\nb"\n"2"\n', "line 3: there is one column"),
        (b'"1","a"\n"2","\xff"\n', r"line 2: this is no UTF-8 text \(invalid start byte\)"),
        ('"1","a"b"\n', "line 1: ',' expected after '\"'"),
        ('"1","a', "line 1: unexpected end of data"),
    ],
)
def test_damaged_files_are_named_with_the_line(root, content, message):
    write(root, content)
    with pytest.raises(ValueError, match=message):
        load("ag_news", root)


def test_missing_files_are_asked_for(root, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"yahoo_answers_csv/train\.csv\. Put train.csv and test.csv of Yahoo!"):
        load("yahoo_answers", root)
    asked = []
    monkeypatch.setattr(downloads, "fetch", lambda *given: asked.append(given[2:]))
    load("ag_news", root)
    assert [(url.rpartition("/")[2], md5[:4]) for url, md5 in asked] == [("train.csv", "b1a0"), ("test.csv", "d52e")]


def test_an_unknown_reading_is_answered_with_what_there_is():
    with pytest.raises(ValueError, match="no reading of a text is called 'letters'; there is characters, words"):
        load("docstrings", reading="letters")


def test_docstrings_need_no_file(tmp_path):
    data = load("docstrings", tmp_path, reading="characters")
    assert data.classes == ("asyncio", "email", "http", "importlib", "logging", "unittest", "urllib", "xml")
    assert data.train.targets.bincount(minlength=8).min() > 50
    assert 1000 < len(data.train) < 4000
    assert len(data.test) == len(data.train) // 4
    lines = [{split.inputs.text(index) for index in range(len(split))} for split in (data.train, data.test)]
    assert not lines[0] & lines[1]


REAL = {"ag_news": 7_600, "20news": 7_532}  # texts of the test


@pytest.mark.real_data
@pytest.mark.parametrize("name", REAL)
def test_real_texts(name):
    if not (data_root() / f"{name}_csv").exists():
        pytest.skip(f"{name} is not there")
    corpus = next(each for each in CORPORA if each.name == name)
    data = load(name)
    assert (len(data.test), data.num_classes) == (REAL[name], len(corpus.classes))
    assert data.test.targets.unique().tolist() == list(range(data.num_classes))
    assert data.train.inputs.lengths.max() == corpus.words


def test_all_are_listed():
    assert {"docstrings", *(corpus.name for corpus in CORPORA)} <= set(names())
