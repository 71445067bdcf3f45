"""The virtual points of Stochastic Batch Augmentation: what is drawn around activations, and in which order."""

import math
import warnings

import pytest
import torch
from scipy.special import rel_entr

from labelreg.methods import StochasticBatchAugmentation
from labelreg.methods.sba import dropout_points, gaussian_points, random_basis, vicinity_kl


def make_method(virtual, **options):
    return StochasticBatchAugmentation(virtual, **{"sigma": 0.5} | options)


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
        points = make_method(2, basis=basis, tau=0.1).virtual_points(x, draws())
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
        method = make_method(2, sigma=1.0)
        with pytest.warns(UserWarning, match="too large for 4097 activations, more than 4096"):
            method.virtual_points(torch.randn(2, 4097), draws())
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            method.virtual_points(torch.randn(2, 4097), draws())

    def test_of_integers_are_refused(self):
        with pytest.raises(TypeError, match=r"must be floating-point, got torch\.int64"):
            make_method(2).virtual_points(torch.ones(2, 3, dtype=torch.int64), draws())


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
