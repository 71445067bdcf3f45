"""What holds for every method: the interface of a criterion, and the groups that an optimizer gets."""

from dataclasses import replace

import pytest
import torch
from methods.small import HALVES, K, make_batch
from torch import nn

from labelreg import methods, networks
from labelreg.methods import Criterion, KnowledgeRefinery, Method

CRITERIA = [name for name in methods.names() if issubclass(methods.find(name), Criterion)]
NEED_A_CLASS = ["ada_cos", "adaptive_label_regularization", "disturb_label", "knowledge_refinery", "virtual_softmax"]
NEED_A_CLASS += ["forest_as_regularization"]
every_criterion = pytest.mark.parametrize("name", CRITERIA)
every_method = pytest.mark.parametrize("name", methods.names())


def create(name: str, **options) -> Method:
    torch.manual_seed(1)
    return methods.create(name, K, options, lambda role, chosen: make_network())


def make_network() -> nn.Module:
    return networks.build("mlp", K, input_shape=(3,), hidden=(8,))


class TestCriterion:
    @every_criterion
    def test_drops_into_any_loop(self, name):
        torch.manual_seed(0)
        centres = 3 * torch.randn(K, 8)
        targets = torch.arange(200) % K
        inputs = centres[targets] + torch.randn(200, 8)
        network, criterion = nn.Linear(8, K), create(name)
        optimizer = torch.optim.SGD([*network.parameters(), *criterion.parameters()], lr=0.1)
        for _ in range(60):
            loss = criterion(network(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert loss.shape == ()
        assert (network(inputs).argmax(1) == targets).float().mean() > 0.95

    @every_criterion
    def test_is_the_mean_over_the_batch(self, name):
        batch, logits = make_batch(), torch.randn(12, K)
        criterion = create(name).eval()  # without a draw for each sample
        single = [criterion(logits[[row]], batch.targets[[row]]) for row in range(12)]
        torch.testing.assert_close(criterion(logits, batch.targets), torch.stack(single).mean())

    @every_criterion
    @pytest.mark.parametrize("dtype", HALVES)
    def test_takes_half_precision(self, name, dtype):
        batch, logits = make_batch(), (4 * torch.randn(12, K)).to(dtype).requires_grad_()
        torch.manual_seed(2)
        loss = create(name)(logits, batch.targets)
        loss.backward()
        torch.manual_seed(2)
        full = create(name)(logits.float(), batch.targets)
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss, full)
        assert logits.grad.dtype == dtype
        assert logits.grad.isfinite().all()

    @every_criterion
    @pytest.mark.parametrize(
        "transform",
        [
            lambda criterion, logits, targets: torch.compile(criterion, fullgraph=True, backend="eager"),
            lambda criterion, logits, targets: torch.export.export(criterion, (logits, targets)).module(),
            lambda criterion, logits, targets: lambda *given: torch.vmap(criterion)(*(x[None] for x in given))[0],
        ],
        ids=["compiled", "exported", "vectorised"],
    )
    def test_can_be_transformed(self, name, transform):
        criterion, given = create(name).eval(), (torch.randn(12, K), make_batch().targets)
        torch.testing.assert_close(transform(criterion, *given)(*given), criterion(*given))

    def test_can_be_compiled_with_two_classes(self):
        criterion = KnowledgeRefinery(2)
        compiled = torch.compile(criterion, fullgraph=True, backend="eager")
        given = torch.randn(6, 2), torch.arange(6) % 2
        with pytest.warns(UserWarning, match="with 2 classes"):
            expected = criterion(*given)
        torch.testing.assert_close(compiled(*given), expected)

    @every_criterion
    @pytest.mark.parametrize(
        ("logits", "targets", "error", "message"),
        [
            (torch.zeros(6), torch.arange(6), ValueError, r"logits must have shape \(B, K\), got \(6,\)"),
            (torch.zeros(2, K), [0, 1], TypeError, "targets must be class indices in an int64 tensor, got list"),
            (torch.zeros(2, K), torch.zeros(2, 1).long(), ValueError, r"must have shape \(2,\), got \(2, 1\)"),
        ],
    )
    def test_says_what_it_takes(self, name, logits, targets, error, message):
        with pytest.raises(error, match=message):
            create(name)(logits, targets)


class TestStep:
    @every_method
    def test_takes_probabilities_or_says_that_it_does_not(self, name):
        method, soft = create(name), replace(make_batch(), targets=torch.full((12, K), 1 / K))
        assert method.takes_probabilities == (name not in NEED_A_CLASS)
        if method.takes_probabilities:
            assert methods.Mixup(method, K).step(make_network(), make_batch()).loss.isfinite()
            return
        with pytest.raises(TypeError, match="targets must be class indices"):
            method.step(make_network(), soft)
        for wrapped in (method, methods.AdversarialTraining(method)):
            with pytest.raises(ValueError, match="with its options needs class indices"):
                methods.Mixup(wrapped, K)

    @every_method
    def test_is_a_loss_with_its_logits_and_terms(self, name):
        batch, network = make_batch(), make_network()
        step = create(name).step(network, batch)
        assert step.loss.shape == ()
        assert step.logits.shape == (12, K)
        assert {term.shape for term in step.terms.values()} == {torch.Size()}
        torch.testing.assert_close(step.loss, sum(step.terms.values()))
        step.loss.backward()
        gradients = {key: parameter.grad for key, parameter in network.named_parameters()}
        if name in ("ada_cos", "virtual_softmax"):
            assert gradients.pop("classifier.bias") is None  # they go without
        assert all(gradient.isfinite().all() for gradient in gradients.values())

    @every_method
    @pytest.mark.parametrize("dtype", HALVES)
    def test_stays_finite_in_half_precision(self, name, dtype):
        network = make_network()
        with torch.no_grad():
            networks.classifier(network).weight.mul_(1e4)
        with torch.autocast("cpu", dtype):
            step = create(name).step(network, make_batch())
        step.loss.backward()
        assert step.loss.dtype == torch.float32
        assert step.loss.isfinite()
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        assert all(gradient.isfinite().all() for gradient in gradients)

    @every_criterion
    def test_of_a_criterion_is_the_criterion_of_its_networks_logits(self, name):
        batch, network = make_batch(), make_network()
        torch.manual_seed(2)
        step = create(name).step(network, batch)
        torch.manual_seed(2)
        logits = network(batch.inputs)
        torch.testing.assert_close(step.loss, create(name)(logits, batch.targets), rtol=0, atol=0)
        torch.testing.assert_close(step.logits, logits, rtol=0, atol=0)
        torch.testing.assert_close(create(name).predict(network, batch.inputs), logits, rtol=0, atol=0)


class TestState:
    @every_method
    def test_goes_through_a_state_dict(self, name):
        def train(method, network, epochs):
            optimizer = torch.optim.SGD([{"params": network.parameters()}, *method.parameter_groups(0.1)], lr=0.1)
            for epoch in epochs:
                method.start_epoch(epoch)
                step = method.step(network, make_batch())
                optimizer.zero_grad()
                step.loss.backward()
                optimizer.step()

        network, method, other = make_network(), create(name), create(name)
        train(method, network, range(3))
        other.start_epoch(2)
        other.load_state_dict(method.state_dict())
        for each in (method, other):
            each.start_epoch(3)
        torch.manual_seed(2)
        expected = method.step(network, make_batch()).loss
        torch.manual_seed(2)
        torch.testing.assert_close(other.step(network, make_batch()).loss, expected, rtol=0, atol=0)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
    @pytest.mark.parametrize("tracking", ["ema", "epoch"])
    def test_running_averages_lose_nothing_in_a_cast(self, tracking, dtype):
        casts = [create("adaptive_label_regularization", tracking=tracking).to(each) for each in (torch.float32, dtype)]
        targets = torch.arange(100) % K
        logits = nn.functional.one_hot((targets + (torch.arange(100) >= 90)) % K, K)  # of which 90 % are right
        for method in casts:
            for _ in range(500):
                method(logits.to(dtype), targets)
            method.start_epoch(1)
        torch.testing.assert_close(casts[1].accuracy, casts[0].accuracy, check_dtype=False)
        assert casts[1].accuracy.item() == pytest.approx(0.9 * (1 - 0.99**500 * (tracking == "ema")), abs=1e-4)
        assert casts[1].to("meta").accuracy.device.type == "meta"
        assert create("adversarial_training").to(dtype).pixel_std.dtype == torch.promote_types(dtype, torch.float32)
        assert casts[1].double().float().accuracy.dtype == torch.float32


class TestParameterGroups:
    class Composite(Method):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner
            self.network = nn.Linear(3, K)
            self.frozen = nn.Linear(3, K).requires_grad_(False)
            self.own = nn.Parameter(torch.zeros(4))
            self.fixed = nn.Parameter(torch.zeros(4), requires_grad=False)

        def step(self, network, batch):
            raise AssertionError("not called here")

    @every_method
    def test_hold_everything_trainable_once(self, name):
        method = create(name)
        grouped = [id(parameter) for group in method.parameter_groups(0.1) for parameter in group["params"]]
        trainable = [id(parameter) for parameter in method.parameters() if parameter.requires_grad]
        assert sorted(grouped) == sorted(trainable)

    def test_a_method_inside_a_method_keeps_its_own(self):
        composite = self.Composite(create("knowledge_refinery", lr_mult=3.0))
        decayed = nn.Linear(3, K)
        optimizer = torch.optim.SGD(
            [{"params": decayed.parameters()}, *composite.parameter_groups(0.1)], lr=0.1, weight_decay=0.5
        )
        settings = {
            id(parameter): (group["lr"], group["weight_decay"])
            for group in optimizer.param_groups
            for parameter in group["params"]
        }
        assert settings[id(composite.own)] == (0.1, 0.0)
        assert settings[id(composite.inner.matrix)] == (pytest.approx(0.3), 0.0)
        assert settings[id(composite.network.weight)] == settings[id(decayed.weight)] == (0.1, 0.5)
        assert not {id(composite.fixed), id(composite.frozen.weight)} & settings.keys()
