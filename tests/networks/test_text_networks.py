"""Networks of texts: their sizes, what fills texts up, and what each computes."""

import pytest
import torch
from torch import nn

from labelreg.costs import forward_operations
from labelreg.networks import build, classifier, count_parameters, features
from labelreg.networks.charcnn import ALPHABET, FIELD, STRIDE
from labelreg.networks.transformer import sinusoids
from labelreg.networks.words import backwards

VOCABULARY = 40
SHAPE = (12, VOCABULARY)
VARIANTS = [
    ("fasttext", {"buckets": 64}),
    ("fasttext", {"bigrams": False, "hidden": 5}),
    ("textrnn", {}),
    ("textrnn", {"cell": "tanh"}),
    ("textrnn", {"kind": "bilstm"}),
    ("transformer", {"width": 16, "feedforward": 8, "layers": 2}),
    ("transformer", {"width": 16, "feedforward": 8, "pooling": "max"}),
    ("charcnn", {"length": 204}),
]
every_variant = pytest.mark.parametrize(("name", "options"), VARIANTS)


def make(name: str, options: dict, num_classes: int = 4) -> nn.Module:
    torch.manual_seed(0)
    return build(name, num_classes, SHAPE, **options)


def texts(*lengths: int, width: int = 12) -> torch.Tensor:
    drawn = torch.randint(2, VOCABULARY, (len(lengths), width), generator=torch.Generator().manual_seed(1))
    return drawn * (torch.arange(width) < torch.tensor(lengths).unsqueeze(1))


class TestParameters:
    @pytest.mark.parametrize(
        ("name", "options", "expected"),
        [
            ("fasttext", {"bigrams": False}, 10 * VOCABULARY + 44),
            ("fasttext", {}, 10 * (VOCABULARY + 2**20) + 44),
            ("fasttext", {"dimension": 3, "buckets": 7, "hidden": 5}, 3 * (VOCABULARY + 7) + 20 + 24),
            ("textrnn", {}, 50 * VOCABULARY + 40_800 + 15_100 + 404),
            ("textrnn", {"cell": "tanh"}, 50 * VOCABULARY + 40_800 // 4 + 15_100 + 404),
            ("textrnn", {"kind": "bilstm"}, 50 * VOCABULARY + 40_800 + 404),
            ("textrnn", {"vocabulary": 20}, 50 * 22 + 40_800 + 15_100 + 404),
            ("charcnn", {}, 11_337_988),
            ("charcnn", {"size": "large"}, 69 * 7 * 1024 + 7 * 1024**2 + 4 * 3 * 1024**2 + 6 * 1024
             + 34 * 1024 * 2048 + 2048**2 + 2 * 2048 + 2048 * 4 + 4),
            ("transformer", {}, 256 * VOCABULARY + 527_104 + 1028),
            ("transformer", {"layers": 3, "vocabulary": 20}, 256 * 22 + 3 * 527_104 + 1028),
        ],
    )  # fmt: skip
    def test_counts(self, name, options, expected):
        with torch.device("meta"):
            assert count_parameters(build(name, 4, SHAPE, **options)) == expected


class TestPadding:
    @every_variant
    def test_changes_nothing(self, name, options):
        network = make(name, options).eval()
        inputs = texts(12, 5, 1, 0)
        expected = network(inputs)
        assert expected.isfinite().all()
        torch.testing.assert_close(network(nn.functional.pad(inputs, (0, 90))), expected)
        for row, length in enumerate((12, 5, 1)):
            torch.testing.assert_close(network(inputs[row : row + 1, :length]), expected[row : row + 1])

    @every_variant
    def test_gets_no_gradient_and_everything_else_does(self, name, options):
        network = make(name, options)
        nn.functional.cross_entropy(network(texts(12, 5, 1, 0)), torch.arange(4)).backward()
        for path, parameter in network.named_parameters():
            assert parameter.grad.isfinite().all(), path
            assert parameter.grad.any(), path
            if "vectors" in path:
                assert not parameter.grad[0].any()
                assert not parameter[0].any()


@every_variant
def test_the_classifier_is_the_last_linear_layer(name, options):
    network = make(name, options).eval()
    logits, penultimate = features(network, texts(12, 5))
    torch.testing.assert_close(classifier(network)(penultimate), logits)


@pytest.mark.parametrize("name", ["textrnn", "transformer"])
def test_rare_words_are_unknown(name):
    network = make(name, {"vocabulary": 20}).eval()
    rare, unknown = torch.tensor([[3, 21, 22, 39]]), torch.tensor([[3, 21, 1, 1]])
    assert torch.equal(network(rare), network(unknown))


def test_backwards_twice_is_forwards():
    inputs = texts(12, 5, 1, 0)
    assert inputs.gather(1, backwards(inputs))[1].tolist() == [*reversed(inputs[1, :5].tolist()), *[0] * 7]
    torch.testing.assert_close(backwards(inputs).gather(1, backwards(inputs)), torch.arange(12).expand(4, 12))


class TestFastText:
    def test_is_the_mean_over_words_and_pairs(self):
        network = make("fasttext", {"buckets": 64})
        vectors = network.features.vectors.weight
        pairs = [(5 * 116_049_371 + 7) % 64, (7 * 116_049_371 + 5) % 64]
        mean = vectors[[5, 7, 5, *(VOCABULARY + pair for pair in pairs)]].mean(0)
        torch.testing.assert_close(network(torch.tensor([[5, 7, 5, 0]])), classifier(network)(mean).unsqueeze(0))

    def test_leaves_unknown_words_out(self):
        network = make("fasttext", {"buckets": 64})
        one, other, none = network(torch.tensor([[5, 1, 7], [5, 7, 0], [1, 0, 0]]))
        apart = network.features.vectors.weight[[5, 7]].mean(0)
        torch.testing.assert_close(one, classifier(network)(apart))
        assert not torch.equal(one, other)  # where they are a pair
        assert torch.equal(none, classifier(network).bias)


class TestTextRNN:
    @pytest.mark.parametrize("cell", ["lstm", "tanh"])
    def test_is_what_lai_et_al_write(self, cell):
        """Equations 1 to 5: contexts exclude the word itself; computed word by word."""
        network = make("textrnn", {"cell": cell})
        inputs = texts(4, width=4)
        vectors = network.vectors.weight[inputs[0]]

        def state(recurrent, words):
            return recurrent(words.unsqueeze(0))[0][0, -1] if len(words) else torch.zeros(50)

        words = [
            torch.cat(
                [
                    state(network.left, vectors[:place]),
                    vectors[place],
                    state(network.right, vectors[place + 1 :].flip(0)),
                ]
            )
            for place in range(4)
        ]
        expected = network.classifier(network.layer(torch.stack(words)).amax(0))
        torch.testing.assert_close(network(inputs)[0], expected)


class TestCharCNN:
    def test_is_the_published_network_of_the_whole_length(self):
        """Texts shorter than the length take a shortcut: here there is none, and all is written out."""
        network = make("charcnn", {}).eval()
        text = "Wall St. Bears Claw Back é\n" * 5
        content = torch.tensor([list(text.encode())])
        indicators = torch.zeros(1, 69, 1014)
        for place, byte in enumerate(reversed(text.lower().encode())):
            if chr(byte) in ALPHABET:
                indicators[0, ALPHABET.index(chr(byte)), place] = 1
        maps = network.convolutions(indicators)
        assert maps.shape == (1, 256, 34)
        torch.testing.assert_close(network(content), network.classifier(network.head(maps)), rtol=1e-4, atol=1e-4)

    def test_alphabet_and_field_are_the_papers(self):
        assert len(set(ALPHABET)) == len(ALPHABET) == 69
        network = make("charcnn", {})
        for places in (1, 2, 3):
            assert network.convolutions(torch.zeros(1, 69, FIELD + STRIDE * (places - 1))).shape[2] == places

    def test_reads_no_more_than_its_length(self):
        network = make("charcnn", {"length": 150}).eval()
        long = torch.randint(97, 122, (2, 400), generator=torch.Generator().manual_seed(0))
        assert torch.equal(network(long), network(long[:, :150]))


class TestTransformer:
    def test_sinusoids_are_vaswanis(self):
        table = sinusoids(7, 8)
        for place in range(7):
            for pair in range(4):
                angle = torch.tensor(place / 10_000 ** (2 * pair / 8))
                torch.testing.assert_close(
                    table[place, 2 * pair : 2 * pair + 2], torch.stack((angle.sin(), angle.cos()))
                )

    def test_drops_out_the_sums_and_what_the_parts_of_a_layer_return(self):
        network = make("transformer", {"width": 16, "layers": 2, "dropout": 0.3})
        places = {path for path, module in network.named_modules() if isinstance(module, nn.Dropout)}
        assert places == {"dropout", *(f"layers.{layer}.dropout{part}" for layer in range(2) for part in (1, 2))}
        assert {layer.self_attn.dropout for layer in network.layers} == {0.0}
        assert not torch.equal(network(texts(12, 5)), network(texts(12, 5)))

    def test_knows_the_order_of_words(self):
        network = make("transformer", {"width": 16}).eval()
        one, other = network(torch.tensor([[3, 4, 5], [5, 4, 3]]))
        assert not torch.allclose(one, other)

    def test_training_and_evaluation_compute_the_same_without_dropout(self):
        network = make("transformer", {"width": 16, "dropout": 0.0})
        with torch.no_grad():
            torch.testing.assert_close(network(texts(12, 5)), network.eval()(texts(12, 5)))


@pytest.mark.parametrize(
    ("name", "shape", "options", "message"),
    [
        ("textrnn", (3, 32, 32), {}, r"the input_shape of textrnn must be \(L, V\), .*, got \(3, 32, 32\)"),
        ("transformer", (100, 50), {"width": 20}, "width must be a multiple of twice the heads, 16, got 20"),
        ("charcnn", (1014, 256), {"length": 100}, "length should be greater than or equal to 123, got 100"),
        ("textrnn", (9, 9), {"cell": "gru"}, "cell should be 'lstm' or 'tanh', got 'gru'"),
    ],
)
def test_what_does_not_fit_is_refused(name, shape, options, message):
    with pytest.raises(ValueError, match=message):
        build(name, 4, shape, **options)


def test_operations_are_known_without_data():
    assert forward_operations("fasttext", num_classes=4) == 2 * 10 * 4
    words, context, hidden = 256, 50, 100
    recurrent = words * (2 * 4 * context * 2 * 50 + 150 * hidden) + hidden * 4
    assert forward_operations("textrnn", num_classes=4) == 2 * recurrent
