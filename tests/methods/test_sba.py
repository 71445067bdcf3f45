"""Stochastic Batch Augmentation: steps, virtual points, scheduler, vote, training; and copies."""

import copy
import math
import warnings
from functools import partial

import pytest
import torch
from methods.small import train_on_digits
from scipy.special import rel_entr
from torch import nn
from torch.nn.functional import cross_entropy, softmax

from labelreg.data import Batch, Dataset, Split
from labelreg.experiment import Experiment
from labelreg.methods import BatchAugmentation, CrossEntropy, LabelSmoothing, Mixup, StochasticBatchAugmentation
from labelreg.methods.sba import dropout_points, gaussian_points, random_basis, vicinity_cross_entropy, vicinity_kl
from labelreg.networks import build
from labelreg.recipe import Recipe
from labelreg.training import Trainer

K, B = 10, 6


def make_network(name="mlp", **options):
    torch.manual_seed(0)
    return build(name, K, None if name in ("mlp", "lstm") else (3, 32, 32), **options)


def make_batch(network="mlp", dtype=torch.float64, size=B):
    shape = (1, 8, 8) if network == "mlp" else (3, 32, 32)
    draws = torch.Generator().manual_seed(1)
    inputs = torch.randn(size, *shape, generator=draws, dtype=dtype)
    return Batch(inputs, torch.arange(size) % K, torch.arange(size))


def always(virtual=5, **options):
    """The method, augmenting every step, its random numbers those of seed 3."""
    torch.manual_seed(3)
    return StochasticBatchAugmentation(virtual, **{"eta": 0.7, "omega": 0.0, "sigma": 0.5} | options)


def gradients(method, network, batch):
    network.zero_grad()
    step = method.step(network, batch)
    step.loss.backward()
    return step, [parameter.grad.clone() for parameter in network.parameters()]


def brute_force(network, batch, layer, eta, stack, label):
    """The loss of eq. 11 by a forward pass of its own for every virtual point, given the stack of activations.

    The label of a virtual point is hard (eq. 9), fixed, or free, that is with a gradient.
    """
    depth = 1 if layer == "head.0" else 0
    before = nn.Sequential(network.features, *network.head[:depth])
    after = nn.Sequential(*network.head[depth:], network.classifier)
    activations = before(batch.inputs)
    virtual = len(stack) // B - 1
    constant = stack.detach().unflatten(0, (virtual + 1, B))
    noise, kept = constant - activations.detach(), constant != 0
    logits = after(activations)
    loss = cross_entropy(logits, batch.targets)
    for i in range(B):
        reference = softmax(logits[i].detach() if label == "fixed" else logits[i], 0)
        for j in range(1, virtual + 1):
            gaussian = j <= math.ceil(virtual / 2)
            point = activations[i] + noise[j, i] if gaussian else activations[i] * kept[j, i]
            prediction = softmax(after(point[None])[0], 0)
            soft, hard = (reference * (reference / prediction).log()).sum(), -prediction[batch.targets[i]].log()
            loss = loss + eta / (virtual * B) * (hard if label == "hard" else soft)
    return loss, logits


class TestStep:
    @pytest.mark.parametrize("label", ["fixed", "free", "hard"])
    @pytest.mark.parametrize(("layer", "virtual"), [("head.0", 5), ("features", 4), ("head.0", 1)])
    def test_is_what_brute_force_gives(self, layer, virtual, label):
        network, batch, stacks = make_network(hidden=(16, 12)).double(), make_batch(), []
        seen = network.head[1] if layer == "head.0" else network.head[0]
        seen.register_forward_pre_hook(lambda module, arguments: stacks.append(arguments[0]))
        kind = "hard" if label == "hard" else "soft"
        method = always(virtual, layers=layer, detach_reference=label == "fixed", label=kind)
        method.steps = 1
        step, computed = gradients(method, network, batch)
        network.zero_grad()
        loss, logits = brute_force(network, batch, layer, 0.7, stacks.pop(), label)
        loss.backward()
        torch.testing.assert_close(step.loss, loss)
        torch.testing.assert_close(step.logits, logits)
        torch.testing.assert_close(step.terms["hard"] + step.terms["vicinity"], loss)
        assert step.terms["vicinity"] > 1e-4
        torch.testing.assert_close(computed, [parameter.grad for parameter in network.parameters()])

    def test_runs_what_is_before_the_layer_once(self):
        network, batch, rows = make_network("alexnet", hidden=(8,)), make_batch("alexnet", torch.float32), {}
        method = always(3, layers="features.stage2")
        method.step(network, batch)  # tries the layer
        for name, module in network.named_modules():
            module.register_forward_pre_hook(
                lambda module, arguments, name=name: rows.setdefault(name, []).append(len(arguments[0]))
            )
        method.step(network, batch)
        behind = ("features.stage3", "features.flatten", "head", "classifier")
        assert rows == {name: [4 * B if name.startswith(behind) else B] for name, _ in network.named_modules()}

    def test_draws_one_of_the_layers(self):
        network, seen = make_network().double(), []
        for layer in ("head.1", "head.3"):
            network.get_submodule(layer).register_forward_hook(
                lambda m, a, out, layer=layer: seen.append((layer, len(out)))
            )
        method = always(2, layers="head.1, head.3")
        drawn = [method.augmented_layer(step) for step in range(200)]
        assert 70 < drawn.count("head.1") < 130
        assert set(drawn) == {"head.1", "head.3"}
        method._check_layers(network, make_batch().inputs)
        for expected in drawn[:8]:
            seen.clear()
            method.step(network, make_batch())
            # hooks see the activations before they are enlarged
            assert seen == [("head.1", B), ("head.3", B if expected == "head.3" else 3 * B)]

    def test_every_step_has_other_points_and_a_copy_the_same(self):
        network, batch, method = make_network().double(), make_batch(), always()
        twin = copy.deepcopy(method)
        losses = [method.step(network, batch).loss.item() for _ in range(3)]
        assert len(set(losses)) == 3
        assert [twin.step(network, batch).loss.item() for _ in range(3)] == losses

    def test_draws_nothing_from_the_random_numbers_of_training(self):
        network, batch, method = make_network(), make_batch(dtype=torch.float32), always()
        before = torch.get_rng_state()
        method.step(network, batch)
        method.vote_logits(network, batch.inputs)
        StochasticBatchAugmentation()
        assert torch.equal(torch.get_rng_state(), before)

    def test_stays_finite_in_half_precision(self):
        network, batch = make_network("alexnet", hidden=(16,)), make_batch("alexnet", torch.float32)
        method = always(5, layers=",features.stage2,head.1")
        for _ in range(4):
            with torch.autocast("cpu", torch.bfloat16):
                step = method.step(network, batch)
                votes = method.vote_logits(network, batch.inputs)
            step.loss.backward()
            assert votes.isfinite().all()
            assert step.logits.dtype == torch.bfloat16
            assert step.loss.dtype == torch.float32
            assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


class TestVirtualPoints:
    def test_noise_is_clipped_along_every_basis_vector(self):
        x, basis = torch.randn(50, 12, dtype=torch.float64), random_basis(12, torch.float64, draws())
        points = gaussian_points(x, 20, 0.3, 1.5, basis, draws())
        noise = (points - x) @ basis / (0.3 * x.std(correction=0))
        assert noise.abs().max() == pytest.approx(1.5)
        share = math.erfc(1.5 / math.sqrt(2))
        assert (noise.abs() > 1.5 - 1e-9).double().mean().item() == pytest.approx(share, rel=0.1)
        inside = noise[noise.abs() < 1.4]
        assert inside.mean().abs() < 0.03
        assert not torch.allclose((points - x).abs().max(), noise.abs().max() * 0.3 * x.std(correction=0))

    def test_without_a_basis_noise_is_clipped_along_the_axes(self):
        x = 3 * torch.randn(8, 4, 5, 5)
        noise = gaussian_points(x, 30, 0.1, 2.0, None, draws()) - x
        scale = 0.1 * x.std(correction=0)
        assert noise.abs().max().item() == pytest.approx(2 * scale.item(), rel=1e-4)
        inside = math.erf(2 / math.sqrt(2)) - 4 * math.exp(-2) / math.sqrt(2 * math.pi)
        clipped = math.sqrt(inside + 4 * math.erfc(2 / math.sqrt(2)))  # the root of E[min(z^2, 4)]
        assert noise.std().item() == pytest.approx(clipped * scale.item(), rel=0.02)

    def test_a_basis_is_orthonormal_and_anew_each_time(self):
        generator = draws()
        one, other = (random_basis(64, torch.float64, generator) for _ in range(2))
        for basis in (one, other):
            torch.testing.assert_close(basis @ basis.T, torch.eye(64, dtype=torch.float64))
        assert (one - other).abs().max() > 0.1
        assert (one - torch.eye(64)).abs().max() > 0.1

    @pytest.mark.parametrize(("rescale", "value"), [(False, 1.0), (True, 4.0)])
    def test_dropped_activations_are_zero_and_the_others_kept(self, rescale, value):
        x = torch.rand(10, 7, 3) + 1
        points = dropout_points(x, 40, 0.75, rescale, draws())
        kept = points != 0
        torch.testing.assert_close(points, torch.where(kept, value * x, 0.0))
        assert kept.double().mean().item() == pytest.approx(0.25, abs=0.02)
        assert kept[0].ne(kept[1]).any()

    def test_that_are_first_do_not_depend_on_their_count(self):
        x = torch.randn(4, 9)
        for draw in (
            lambda count: gaussian_points(x, count, 0.5, 2.0, None, draws()),
            lambda count: dropout_points(x, count, 0.5, False, draws()),
        ):
            torch.testing.assert_close(draw(2), draw(5)[:2], rtol=0, atol=0)

    @pytest.mark.parametrize("basis", ["orthonormal", "identity"])
    def test_noise_is_turned_if_asked(self, basis):
        x = torch.randn(20, 9)
        points = always(2, basis=basis, tau=0.1).virtual_points(x, draws())
        largest = (points[0] - x).abs().max() / (0.1 * 0.5 * x.std(correction=0))
        assert largest.item() == pytest.approx(1.0, rel=1e-4) if basis == "identity" else largest > 1.2

    def test_have_noise_of_full_precision_under_autocast(self):
        x, basis = torch.randn(20, 9), random_basis(9, torch.float32, draws())
        expected = gaussian_points(x, 2, 0.1, 2.0, basis, draws())
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(gaussian_points(x, 2, 0.1, 2.0, basis, draws()), expected)
            half = gaussian_points(x.bfloat16(), 2, 0.1, 2.0, basis, draws())
        assert half.dtype == torch.bfloat16
        torch.testing.assert_close(half.float(), expected, rtol=0.02, atol=0.02)

    def test_of_many_activations_have_no_basis_and_say_so_once(self):
        method = always(2, sigma=1.0)
        with pytest.warns(UserWarning, match="too large for 4097 activations, more than 4096"):
            method.virtual_points(torch.randn(2, 4097), draws())
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            method.virtual_points(torch.randn(2, 4097), draws())

    def test_of_integers_are_refused(self):
        with pytest.raises(TypeError, match=r"must be floating-point, got torch\.int64"):
            always(2).virtual_points(torch.ones(2, 3, dtype=torch.int64), draws())


class TestVicinityKl:
    def test_is_the_mean_divergence_of_the_points(self):
        reference, *virtual = torch.randn(4, 6, 5, dtype=torch.float64)
        p, points = reference.softmax(1).numpy(), torch.stack(virtual)
        expected = rel_entr(p, points.softmax(2).numpy()).sum(2).mean(0)
        torch.testing.assert_close(vicinity_kl(reference, points, "none"), torch.from_numpy(expected))
        assert vicinity_kl(reference, points).item() == pytest.approx(expected.mean())

    def test_without_points_is_zero(self):
        reference, empty = torch.randn(3, 4, requires_grad=True), torch.empty(0, 3, 4)
        assert vicinity_kl(reference, empty, "none").tolist() == [0, 0, 0]
        assert not vicinity_kl(reference, empty, detach_reference=False).requires_grad


class TestVicinityCrossEntropy:
    def test_is_the_mean_over_the_points_which_have_the_label_of_their_sample(self):
        points, targets = torch.randn(3, 6, 5, dtype=torch.float64), torch.tensor([0, 4, 2, 2, 1, 3])
        expected = torch.stack([cross_entropy(each, targets, reduction="none") for each in points]).mean(0)
        soft = nn.functional.one_hot(targets, 5).double()
        for labels in (targets, soft):
            torch.testing.assert_close(vicinity_cross_entropy(points, labels, "none"), expected)
        assert vicinity_cross_entropy(points, targets).item() == pytest.approx(expected.mean().item())
        assert vicinity_cross_entropy(points[:0], targets, "none").tolist() == [0] * 6
        with pytest.raises(ValueError, match=r"virtual_logits must have shape \(M, 6, K\), got \(3, 5, 5\)"):
            vicinity_cross_entropy(points[:, 1:], targets)


class TestScheduler:
    @pytest.mark.parametrize("omega", [0.0, math.pi / 4, math.pi / 3, 1.4, math.pi / 2])
    def test_augments_with_the_cosine_of_omega(self, omega):
        method, steps = always(omega=omega), 1500
        count = sum(method.augmented_layer(step) is not None for step in range(steps))
        p = math.cos(omega)
        assert abs(count - p * steps) <= 4 * math.sqrt(steps * p * (1 - p)) + 1e-9

    def test_never_augments_at_a_right_angle_though_its_cosine_is_rounded(self, monkeypatch):
        monkeypatch.setattr(torch, "rand", lambda size, **options: torch.zeros(size))
        assert always(omega=math.pi / 2).augmented_layer(0) is None
        assert always(omega=math.pi / 2 - 1e-6).augmented_layer(0) == ""

    def test_decides_by_epoch_if_asked(self):
        method = always(omega=math.pi / 3, granularity="epoch")
        decisions = []
        for epoch in range(200):
            method.start_epoch(epoch)
            (decision,) = {method.augmented_layer(step) for step in range(3)}
            decisions.append(decision is not None)
        assert 70 < sum(decisions) < 130
        method.start_epoch(decisions.index(True))
        assert method.augmented_layer(0) == ""


class Prescribed(StochasticBatchAugmentation):
    """Its virtual points predict given classes."""

    def __init__(self, classes, **options):
        super().__init__(len(classes), **options)
        self.points = torch.eye(4)[torch.tensor(classes)][:, None]

    def virtual_points(self, activations, draws):
        return self.points


class TestVote:
    @pytest.mark.parametrize(
        ("reference", "classes", "winner"),
        [
            ([3.0, 0, 0, 0], [1, 1, 2], 1),  # two voices of four
            ([3.0, 0, 0, 0], [0, 1, 1], 0),  # a tie of the reference's class
            ([0, 0, 3.0, 0], [2, 1, 1], 2),
            ([3.0, 0, 1.0, 0], [1, 1, 2, 2], 2),  # a tie of others, of which the reference prefers the second
            ([3.0, 1.0, 0, 0], [1, 1, 2, 2], 1),
            ([1e4, 0, 0, 0], [0, 1, 1, 1], 1),  # a certain reference has no two voices
            ([3.0, 0, 0, 0], [3], 0),
        ],
    )
    def test_goes_to_the_majority_and_in_a_tie_to_the_reference(self, reference, classes, winner):
        network = nn.Linear(4, 4, bias=False)
        nn.init.eye_(network.weight)
        logits = Prescribed(classes, vote=True).eval().predict(network, torch.tensor([reference]))
        assert logits.argmax(1).item() == winner
        assert logits.isfinite().all()
        voices = torch.bincount(torch.tensor([*classes, torch.tensor(reference).argmax()]), minlength=4)
        shares = (voices + softmax(torch.tensor(reference), 0) / 2) / (len(classes) + 1.5)
        torch.testing.assert_close(logits.exp()[0], shares)

    def test_is_cast_around_every_sample(self):
        network, inputs = make_network().double().eval(), make_batch(size=40).inputs
        method = always(7, sigma=1.0)
        votes = method.vote_logits(network, inputs)
        assert votes.shape == (40, K)
        assert not votes.requires_grad
        torch.testing.assert_close(votes.exp().sum(1), torch.ones(40))
        assert torch.equal(method.vote_logits(network, inputs), votes)
        assert (votes.argmax(1) != network(inputs).argmax(1)).any()
        unmoved = always(7, sigma=0.0, drop_rate=0.0).vote_logits(network, inputs)
        assert torch.equal(unmoved.argmax(1), network(inputs).argmax(1))

    def test_is_not_the_default(self):
        network, inputs = make_network().double().eval(), make_batch().inputs
        assert torch.equal(always().predict(network, inputs), network(inputs))
        assert torch.equal(always(0, vote=True).eval().predict(network, inputs), network(inputs))
        method = always(vote=True)
        assert torch.equal(method.eval().predict(network, inputs), method.vote_logits(network, inputs))
        assert torch.equal(method.train().predict(network, inputs), network(inputs)), "like the logits of a step"


@pytest.mark.parametrize("layer", ["features.stage9", "features.stage1.0.conv1"])
def test_layers_that_are_possible_are_named_at_the_first_step(layer):
    method = StochasticBatchAugmentation(omega=math.pi / 2, layers=f"features.stage1,{layer}")
    with pytest.raises(ValueError, match=rf"'{layer}'.* features\.stage1"):
        method.step(make_network("resnet8"), make_batch("resnet8", torch.float32))


def noise_images(count=20):
    draws = torch.Generator().manual_seed(0)
    split = Split(torch.rand(count, 3, 32, 32, generator=draws), torch.randint(K, (count,), generator=draws))
    return Dataset("noise", split, split, classes=tuple("abcdefghij"))


def fitted(method, epochs=2, network=None, **options):
    torch.manual_seed(0)
    network = network or build("alexnet", K, hidden=(8,))
    recipe = Recipe(epochs=epochs, batch_size=8, schedule="constant", learning_rate=0.05)
    trainer = Trainer(network, method(), noise_images(), recipe)
    trainer.fit(**options)
    return trainer


def same_weights(one, other):
    return all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))


class TestTraining:
    def test_without_augmentation_is_that_with_cross_entropy_bit_by_bit(self):
        """Dropout draws the same, too."""
        plain = fitted(CrossEntropy).network
        off = {"omega": math.pi / 2}
        for options in (off, off | {"two_step": True}, {"eta": 0.0, "vote": True}, {"virtual": 0}, {"omega": 0.0}):
            augmented = fitted(partial(StochasticBatchAugmentation, **options)).network
            assert same_weights(plain, augmented) == (options != {"omega": 0.0})

    def test_in_two_steps_is_algorithm_1(self):
        """The second update is by the virtual points' loss where the first has led; the schedule goes on once."""
        network, batch = make_network().double(), make_batch()
        twin, method = copy.deepcopy(network), always(two_step=True)
        other = copy.deepcopy(method)
        split = Split(batch.inputs, batch.targets)
        dataset = Dataset("noise", split, split, classes=tuple("abcdefghij"))
        recipe = Recipe(epochs=2, batch_size=B, schedule="cosine", learning_rate=0.1, momentum=0.0, weight_decay=0.0)
        trainer = Trainer(network, method, dataset, recipe)
        step = trainer.step(batch)
        for term in ("hard", "vicinity"):
            loss = other._step(twin, batch, 0, "").terms[term]
            gradient = torch.autograd.grad(loss, list(twin.parameters()))
            with torch.no_grad():
                for parameter, each in zip(twin.parameters(), gradient, strict=True):
                    parameter -= 0.1 * each
            assert step.terms[term].item() == pytest.approx(loss.item())
        for one, expected in zip(network.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(one, expected)
        assert step.loss.item() == pytest.approx(sum(step.terms.values()).item())
        assert (method.steps, trainer.scheduler.last_epoch) == (1, 1)

    def test_in_two_steps_is_not_inside_another_method(self):
        chosen = {"method": "stochastic_batch_augmentation", "method.two_step": True}
        with pytest.raises(ValueError, match="SBA makes several updates of a batch"):
            Experiment(method="mixup", options=chosen)

    @pytest.mark.parametrize(("granularity", "two_step"), [("iteration", False), ("epoch", False), ("iteration", True)])
    def test_resumes_exactly(self, granularity, two_step, tmp_path):
        def make(seed=0):
            torch.manual_seed(seed)
            options = {"granularity": granularity, "two_step": two_step, "layers": ",features.stage3"}
            return StochasticBatchAugmentation(4, eta=5.0, **options)

        whole = fitted(make, 6)
        fitted(make, 3, checkpoint=tmp_path / "checkpoint")
        resumed = fitted(partial(make, 17), 6, checkpoint=tmp_path / "checkpoint")
        assert same_weights(whole.network, resumed.network)
        decisions = [row["loss_vicinity"] > 0 for row in whole.history]
        assert any(decisions[3:])
        assert granularity == "iteration" or not all(decisions)

    def test_digits_are_learnt(self):
        train_on_digits(StochasticBatchAugmentation(8, eta=1.0, vote=True))


class TestBatchAugmentation:
    def test_asks_for_copies_and_leaves_the_rest_to_the_method_inside(self):
        inner = LabelSmoothing(0.2)
        method, network = BatchAugmentation(inner, 4), nn.Linear(3, K)
        batch = Batch(torch.randn(8, 3), torch.arange(8), torch.arange(2).repeat(4))
        assert method.copies == 4
        assert BatchAugmentation(method, 3).copies == 12
        assert Mixup(method, K).copies == 4
        assert torch.equal(method.step(network, batch).loss, inner.step(network, batch).loss)

    def test_trains_on_that_many_times_the_samples(self):
        network, rows = nn.Sequential(nn.Flatten(), nn.Linear(3072, K)), []
        network.register_forward_pre_hook(lambda _, x: rows.append(len(x[0])) if network.training else None)
        fitted(lambda: BatchAugmentation(CrossEntropy(), 3), 1, network)
        assert rows == [24, 24, 12]
