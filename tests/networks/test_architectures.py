"""What each network is made of, against the papers' figures, torchvision and closed forms."""

import re
from functools import cache

import pytest
import torch
import torchvision
from torch import nn
from torch.nn.functional import cross_entropy

from labelreg.networks import build, count_parameters, names, reading
from labelreg.networks.preresnet import PreActBlock, PreActBottleneck
from labelreg.networks.resnet import BasicBlock, PaddedShortcut, ProjectedShortcut

SMALLEST = {"plaincnn6": 8, "densenet121": 8, "vgg16": 16, "alexnet": 13}
SMALLEST |= {"imagenet_densenet121": 29, "imagenet_vgg16": 32, "imagenet_alexnet": 63}
OTHERS = {"mlp", "lstm", *filter(reading, names())}
CIFAR = [name for name in names() if not name.startswith("imagenet_") and name not in OTHERS]
FAMILIES = ["plaincnn6", "resnet8", "resnet18", "preact_resnet18", "wrn28_10", "densenet121", "vgg16", "alexnet"]


@cache
def on_meta(name, *arguments, **options):
    """A network without memory for its weights, for tests that only ask for shapes."""
    with torch.device("meta"):
        return build(name, *arguments, **options)


def image_size(name):
    return max(SMALLEST.get(name, 1), 8)


class TestLayersAndParameters:
    @pytest.mark.parametrize(
        ("name", "num_classes", "printed"),
        [
            # Knowledge Refinery, Table 1
            *(("resnet18", 10, "11.17"), ("preact_resnet18", 10, "11.17"), ("wrn28_10", 10, "36.48")),
            *(("resnet18", 100, "11.22"), ("preact_resnet18", 100, "11.22"), ("wrn28_10", 100, "36.54")),
            # He et al., Table 6, and bearpaw/pytorch-classification
            *(("resnet20", 10, "0.27"), ("resnet32", 10, "0.46"), ("resnet44", 10, "0.66")),
            ("preresnet110", 10, "1.70"),
        ],
    )
    def test_parameters_as_printed_in_the_papers(self, name, num_classes, printed):
        decimals = len(printed.split(".")[1])
        assert f"{count_parameters(on_meta(name, num_classes)) / 1e6:.{decimals}f}" == printed

    @pytest.mark.parametrize(
        "architecture", ["resnet18", "resnet50", "resnet101", "resnet152", "densenet121", "vgg16", "alexnet"]
    )
    def test_imagenet_networks_have_the_parameters_of_the_published_weights(self, architecture):
        published = torchvision.models.get_model_weights(architecture).DEFAULT.meta["num_params"]
        assert count_parameters(on_meta(f"imagenet_{architecture}", 1000)) == published

    def test_imagenet_resnet10_is_resnet18_without_the_second_block_of_each_stage(self):
        assert count_parameters(on_meta("imagenet_resnet10", 1000)) == 5_418_792
        ours, theirs = (on_meta(f"imagenet_resnet{depth}", 1000).state_dict() for depth in (10, 18))
        first_blocks = {name: value.shape for name, value in theirs.items() if not re.match(r"layer\d\.1\.", name)}
        assert {name: value.shape for name, value in ours.items()} == first_blocks

    def test_densenet_differs_from_torchvision_only_in_its_stem(self):
        ours, theirs = on_meta("densenet121", 1000), on_meta("imagenet_densenet121", 1000)
        assert count_parameters(theirs) - count_parameters(ours) == 3 * 64 * (7 * 7 - 3 * 3) + 2 * 64

    def test_plaincnn_splits_its_parameters_as_its_docstring_says(self):
        network = on_meta("plaincnn6", 100)
        convolutions = sum(module.weight.numel() for module in network.modules() if isinstance(module, nn.Conv2d))
        fully_connected = count_parameters(network.head) + count_parameters(network.classifier)
        assert (round(convolutions / 1e6, 2), round(fully_connected / 1e6, 2)) == (1.14, 1.07)
        assert (network.head[0].in_features, network.classifier.in_features) == (4096, 256)

    @pytest.mark.parametrize(
        ("name", "hidden", "expected"),
        [
            *(("alexnet", (), 2_472_266), ("vgg16", (), 14_724_042), ("mlp", (), 650)),
            *(("mlp", (50, 20), 3250 + 1020 + 210), ("mlp", (256, 256), 64 * 256 + 256 + 256 * 256 + 256 + 2570)),
        ],
    )
    def test_hidden_layers_are_an_option(self, name, hidden, expected):
        assert count_parameters(on_meta(name, 10, hidden=hidden)) == expected

    @pytest.mark.parametrize(
        ("name", "layers"),
        [
            *(("resnet8", 8), ("resnet10", 10), ("resnet18", 18), ("resnet20", 20), ("resnet32", 32), ("resnet44", 44)),
            *(("preresnet110", 164), ("preact_resnet18", 18), ("vgg16", 16), ("alexnet", 8), ("plaincnn6", 8)),
            ("wrn28_10", 28 - 3 + 1),  # its name counts three shortcuts and not the classifier
        ],
    )
    def test_depth_counts_the_layers_on_the_longest_path(self, name, layers):
        layers_of = nn.Conv2d | nn.Linear
        weighted = [path for path, module in on_meta(name, 10).named_modules() if isinstance(module, layers_of)]
        assert sum("shortcut" not in path for path in weighted) == layers


class TestSizes:
    @pytest.mark.parametrize("name", FAMILIES)
    @pytest.mark.parametrize("shape", [(1, 28, 28), (3, 64, 64), (2, 17, 40), (2, 33, 22)])
    def test_cifar_networks_take_other_sizes_and_shapes(self, name, shape):
        assert on_meta(name, 10, shape)(torch.empty(2, *shape, device="meta")).shape == (2, 10)

    @pytest.mark.parametrize(("name", "smallest"), SMALLEST.items())
    def test_the_smallest_size_is_the_smallest(self, name, smallest):
        network = on_meta(name, 10, (3, smallest, smallest)).eval()
        assert network(torch.empty(2, 3, smallest, smallest, device="meta")).shape == (2, 10)
        with pytest.raises(RuntimeError):
            network(torch.empty(2, 3, smallest - 1, smallest, device="meta"))
        with pytest.raises(ValueError, match=f"at least {smallest} pixels"):
            on_meta(name, 10, (3, smallest - 1, smallest))

    @pytest.mark.parametrize(
        ("name", "sizes"),
        [
            *((name, [32, 16, 8]) for name in ("resnet20", "preresnet110", "wrn28_10")),
            *((name, [32, 16, 8, 4]) for name in ("resnet18", "preact_resnet18")),
            *(("plaincnn6", [16, 8, 4]), ("vgg16", [16, 8, 4, 2, 1]), ("alexnet", [4, 2, 1])),
        ],
    )
    def test_every_stage_leaves_the_size_the_papers_give(self, name, sizes):
        x, seen = torch.empty(2, 3, 32, 32, device="meta"), []
        for part, layer in on_meta(name, 10).features.named_children():
            x = layer(x)
            if part.startswith("stage"):
                seen.append(x.shape[-1])
        assert seen == sizes


class TestBlocks:
    def test_resnet10_computes_what_torchvisions_blocks_compute(self):
        torch.manual_seed(0)
        ours = build("resnet10", 10)
        theirs = torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=10)
        theirs.conv1, theirs.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
        theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
        inputs = torch.randn(2, 3, 8, 8)
        torch.testing.assert_close(ours(inputs), theirs(inputs))
        torch.testing.assert_close(ours.eval()(inputs), theirs.eval()(inputs))  # the running statistics agree too

    @pytest.mark.parametrize("size", [6, 7])
    def test_the_padded_shortcut_drops_pixels_and_adds_zeros(self, size):
        x = torch.randn(2, 3, size, size)
        out = PaddedShortcut(3, 8, stride=2)(x)
        rows = range(0, size, 2)
        expected = torch.stack([torch.stack([x[:, :, i, j] for j in rows], -1) for i in rows], -2)
        assert torch.equal(out[:, :3], expected)
        assert not out[:, 3:].any()
        assert out.shape == nn.Conv2d(3, 8, 3, 2, padding=1)(x).shape

    def test_a_silent_branch_leaves_the_input_as_it_is_or_rectified(self):
        x = torch.randn(2, 8, 5, 5)
        post = BasicBlock(8, 8, stride=1, shortcut=ProjectedShortcut)
        nn.init.zeros_(post.norm2.weight)
        assert torch.equal(post(x), x.relu())
        for pre in (PreActBlock(8, 8, stride=1), PreActBottleneck(8, 2, stride=1)):
            nn.init.zeros_(pre.residual[-1].weight)
            assert torch.equal(pre(x), x)

    def test_the_two_preactivated_shortcuts_start_at_different_places(self):
        x = torch.randn(4, 6, 5, 5)
        basic, bottleneck = PreActBlock(6, 12, stride=2), PreActBottleneck(6, 3, stride=2)
        for block in (basic, bottleneck):
            nn.init.zeros_(block.residual[-1].weight)
        activated = nn.functional.batch_norm(x, None, None, training=True).relu()
        torch.testing.assert_close(basic(x), nn.functional.conv2d(activated, basic.shortcut.weight, stride=2))
        torch.testing.assert_close(bottleneck(x), nn.functional.conv2d(x, bottleneck.shortcut.weight, stride=2))

    def test_what_is_pooled_of_a_preactivated_network_is_rectified(self):
        torch.manual_seed(0)
        assert (build("preact_resnet18", 10).features(torch.randn(4, 3, 8, 8)) >= 0).all()

    def test_plaincnn_does_not_rectify_before_pooling(self):
        torch.manual_seed(0)
        network = build("plaincnn6", 10)
        x = torch.randn(4, 3, 32, 32)
        for number in (1, 2, 3):
            stage = network.features.get_submodule(f"stage{number}")
            x = stage(x)
            assert (x < 0).any()
            assert sum(isinstance(layer, nn.ReLU) for layer in stage) == 1

    def test_wide_resnet_drops_out_in_training_only(self):
        torch.manual_seed(0)
        network = build("wrn28_10", 10, (1, 4, 4), dropout=0.5)
        assert sum(isinstance(module, nn.Dropout) and module.p == 0.5 for module in network.modules()) == 12
        inputs = torch.randn(4, 1, 4, 4)
        assert not torch.equal(network(inputs), network(inputs))
        network.eval()
        assert torch.equal(network(inputs), network(inputs))

    @pytest.mark.parametrize("name", ["vgg16", "alexnet"])
    def test_hidden_units_are_dropped_after_the_relu(self, name):
        layers = [nn.Linear, nn.ReLU, nn.Dropout]
        assert [type(layer) for layer in on_meta(name, 10).head] == layers * 2
        assert [layer.p for layer in on_meta(name, 10, dropout=0.2).head[2::3]] == [0.2] * 2
        assert [type(layer) for layer in on_meta(name, 10, dropout=0).head] == layers[:2] * 2

    def test_vgg_has_batch_normalisation_and_no_biases(self):
        modules = list(on_meta("vgg16", 10).modules())
        assert sum(isinstance(module, nn.BatchNorm2d) for module in modules) == 13
        assert [module.bias for module in modules if isinstance(module, nn.Conv2d)] == [None] * 13


class TestNumerics:
    @pytest.mark.parametrize("name", ["mlp", *CIFAR])
    def test_gradient_reaches_every_parameter_and_nothing_is_nan(self, name):
        torch.manual_seed(0)
        shape = (1, 8, 8) if name == "mlp" else (3, image_size(name), image_size(name))
        network = build(name, 10, shape)
        loss = cross_entropy(network(torch.randn(8, *shape)), torch.arange(8))
        loss.backward()
        assert loss.isfinite()
        for path, parameter in network.named_parameters():
            assert parameter.grad.isfinite().all(), path
            assert parameter.grad.any(), path

    @pytest.mark.parametrize("name", ["resnet18", "densenet121", "vgg16"])
    def test_convolutions_start_as_he_et_al_have_it(self, name):
        torch.manual_seed(0)
        for path, module in build(name, 10).named_modules():
            if isinstance(module, nn.Conv2d) and module.weight.numel() > 30_000:
                fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
                assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.03), path

    @pytest.mark.parametrize("name", CIFAR)
    def test_bfloat16_and_channels_last_compute_the_same(self, name):
        torch.manual_seed(0)
        size = image_size(name)
        network = build(name, 10, (3, size, size)).eval()
        inputs = torch.randn(4, 3, size, size)
        with torch.no_grad():
            expected = network(inputs)
            with torch.autocast("cpu", torch.bfloat16):
                half = network(inputs)
            network.to(memory_format=torch.channels_last)
            permuted = network(inputs.contiguous(memory_format=torch.channels_last))
        assert half.dtype == torch.bfloat16
        scale = expected.abs().max().item()
        torch.testing.assert_close(half.float(), expected, rtol=0, atol=0.05 * scale)
        torch.testing.assert_close(permuted, expected, rtol=0, atol=1e-5 * scale)
