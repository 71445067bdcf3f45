"""The language model: against an LSTM written out, and what it remembers, forgets and drops."""

import copy

import pytest
import torch
from torch import nn

from labelreg.networks import build, count_parameters, features, reset_state

V, H, T, B = 7, 5, 6, 3
WORDS = torch.randint(V, (4 * T, B), generator=torch.Generator().manual_seed(0))


def make_network(**options):
    torch.manual_seed(0)
    return build("lstm", V, **{"hidden": H, "init_range": 0.8, "dropout": 0.0} | options)


def written_out(network, words, inputs_reach=1.0):
    """The logits of whole texts, cell by cell; also the states after them."""
    embedded = network.embedding.weight[words] * inputs_reach
    states = []
    for layer in network.layers:
        hidden = cell = torch.zeros(words.shape[1], H)
        outputs = []
        for values in embedded:
            gates = values @ layer.weight_ih_l0.T + layer.bias_ih_l0 + hidden @ layer.weight_hh_l0.T + layer.bias_hh_l0
            enter, keep, new, leave = gates.chunk(4, 1)
            cell = keep.sigmoid() * cell + enter.sigmoid() * new.tanh()
            hidden = leave.sigmoid() * cell.tanh()
            outputs.append(hidden)
        embedded = torch.stack(outputs) * inputs_reach
        states.append(torch.stack((hidden, cell)))
    return network.classifier(embedded).flatten(0, 1), torch.stack(states)


class TestForward:
    @pytest.mark.parametrize("layers", [1, 2, 3])
    def test_is_an_lstm_also_of_a_text_read_in_pieces(self, layers):
        network = make_network(layers=layers)
        logits, states = written_out(network, WORDS)
        for sizes in ([4 * T], [T] * 4, [1, 10, 2, 11]):
            network.reset_state()
            torch.testing.assert_close(torch.cat([network(part) for part in WORDS.split(sizes)]), logits)
            torch.testing.assert_close(network.get_extra_state(), states)

    def test_in_half_precision_keeps_its_state_in_full(self):
        network = make_network()
        expected = network(WORDS)
        network.reset_state()
        with torch.autocast("cpu", torch.bfloat16):
            logits = torch.cat([network(part) for part in WORDS.split(T)])
        assert (logits.dtype, network.get_extra_state().dtype) == (torch.bfloat16, torch.float32)
        torch.testing.assert_close(logits.float(), expected, rtol=0.05, atol=0.05)


class TestState:
    def test_no_gradient_reaches_the_piece_before(self):
        first, second = torch.tensor([[0], [1]]), torch.tensor([[2], [3]])
        for pieces, reached in (([torch.cat((first, second))], [0, 1, 2, 3]), ([first, second], [2, 3])):
            network = make_network()
            for piece in pieces:
                logits = network(piece)
            logits[-1].sum().backward()
            assert network.embedding.weight.grad.abs().sum(1).nonzero().flatten().tolist() == reached

    def test_is_forgotten_when_told_to_and_not_by_a_change_of_mode(self):
        network = make_network()
        first, second = network(WORDS[:T]), network(WORDS[:T])
        assert not torch.allclose(first, second)
        network.reset_state()
        torch.testing.assert_close(network(WORDS[:T]), first)
        torch.testing.assert_close(network.eval()(WORDS[:T]), second)

    def test_of_every_network_inside_is_reset(self):
        peers = nn.ModuleList([make_network(), nn.Sequential(make_network()), nn.Linear(1, 1)])
        alone = make_network()
        for network in (peers[0], peers[1], alone):
            network(WORDS)
        reset_state(peers, alone)
        assert {network.get_extra_state().shape[2] for network in (peers[0], peers[1][0], alone)} == {0}

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (WORDS[:, :2], r"in the midst of 3 texts, got inputs of 2; reset_state\(\) begins"),
            (WORDS[:, 0], r"takes \(T, B\) words"),
            (WORDS[:, :, None], r"takes \(T, B\) words"),
        ],
    )
    def test_does_not_go_with_other_inputs(self, words, message):
        network = make_network()
        network(WORDS)
        with pytest.raises(ValueError, match=message):
            network(words)
        network.reset_state()
        assert network(WORDS[:, :2]).shape == (4 * T * 2, V)

    @pytest.mark.parametrize("read", [0, T])
    def test_is_saved_and_restored(self, read, tmp_path):
        network = make_network()
        network(WORDS[:read]) if read else network.reset_state()
        torch.save(network.state_dict(), tmp_path / "weights.pt")
        expected = network(WORDS[T:])
        again = make_network(init_range=0.1)
        again(WORDS[:, :1])  # whatever it was in the midst of
        again.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
        assert torch.equal(again(WORDS[T:]), expected)

    def test_of_a_copy_or_a_saved_one_does_not_change_with_the_networks(self):
        network = make_network()
        network(WORDS[:T])
        copied, saved = copy.deepcopy(network), network.state_dict()["_extra_state"]
        before = saved.clone()
        expected = network(WORDS[T:])
        assert torch.equal(saved, before)
        assert torch.equal(copied(WORDS[T:]), expected)
        assert copied.double()(WORDS[T:]).dtype == torch.float64  # it follows the network to another type


class TestDropout:
    def test_of_everything_leaves_the_recurrence_alone(self):
        network = make_network()
        network.dropout.p = 1.0
        logits = network(WORDS)
        assert torch.equal(logits, network.classifier.bias.expand(4 * T * B, V))
        _, states = written_out(network, WORDS, inputs_reach=0.0)
        torch.testing.assert_close(network.get_extra_state(), states)
        assert states.abs().min() > 0

    def test_lies_on_every_connection_from_layer_to_layer_and_differs_from_place_to_place(self):
        network = make_network(dropout=0.4, hidden=200, layers=3)
        seen = []
        for module in (*network.layers, network.classifier):
            module.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0].view(-1, B, 200)))
        network(WORDS)
        assert len(seen) == 4
        for values in seen:
            dropped = values == 0
            assert dropped.double().mean().item() == pytest.approx(0.4, abs=0.02)  # of 14,400: four deviations
            assert not torch.equal(dropped[0], dropped[1])

    def test_is_off_in_evaluation(self):
        network, plain = make_network(dropout=0.9), make_network()
        assert torch.equal(network.eval()(WORDS), plain(WORDS))
        assert not torch.equal(network.train()(WORDS), plain(WORDS))


class TestBuild:
    def test_is_the_papers_by_default(self):
        with torch.device("meta"):
            network = build("lstm", 10_000)
        embedding, layer, softmax = 10_000 * 1500, 4 * 1500 * (2 * 1500 + 2), 1501 * 10_000
        assert count_parameters(network) == embedding + 2 * layer + softmax == 66_034_000
        assert (len(network.layers), network.dropout.p) == (2, 0.65)

    @pytest.mark.parametrize("init_range", [0.04, 0.1])
    def test_parameters_are_uniform_in_their_range(self, init_range):
        network = make_network(hidden=50, init_range=init_range)
        values = torch.cat([parameter.detach().flatten() for parameter in network.parameters()]).double()
        assert 0.99 * init_range < values.max() <= init_range
        assert -init_range <= values.min() < -0.99 * init_range
        assert values.std().item() == pytest.approx(init_range / 3**0.5, rel=0.02)

    def test_has_features(self):
        network = make_network()
        logits, penultimate = features(network, WORDS)
        assert penultimate.shape == (4 * T * B, H)
        torch.testing.assert_close(logits, network.classifier(penultimate))
