"""Boxes and their pixels, against torchvision's transforms of whole photographs."""

import io
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import ks_2samp
from sklearn.datasets import load_sample_images
from torchvision.transforms.v2 import CenterCrop, Compose, RandomResizedCrop, Resize
from torchvision.transforms.v2 import functional as TF

from labelreg.data.augmentation import resized_crop_flip
from labelreg.data.framing import CHUNK, Framing, centre_boxes, random_boxes, resample
from labelreg.data.photographs import squash

# of 427 x 640 pixels; cut to 400 x 600, whose shorter side of 256 goes with a longer one of exactly 384
PHOTOGRAPHS = [torch.from_numpy(image.copy()).permute(2, 0, 1)[:, :400, :600] for image in load_sample_images().images]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def fractions(top, left, height, width, image) -> torch.Tensor:
    """A box of pixels, in torchvision's order, as fractions of the image: (1, 4)."""
    rows, columns = image.shape[1:]
    return torch.tensor([[left / columns, top / rows, width / columns, height / rows]])


def squashed(image: torch.Tensor, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The image as it is stored, (1, 3, S, S), and its aspect ratio (1,)."""
    file = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "PNG")
    pixels, aspect = squash(file, side)
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None], torch.tensor([aspect])


def deviation(one: torch.Tensor, other: torch.Tensor) -> float:
    """Root mean square difference of pixel values, 0 to 255."""
    return (one.double() - other.double()).square().mean().sqrt().item()


class TestResample:
    # larger and smaller than the result, on the border and within, wide, high and tiny
    BOXES = ((0, 0, 400, 600), (10, 20, 300, 400), (100, 200, 50, 60), (3, 5, 224, 224), (0, 590, 390, 10))

    @pytest.mark.parametrize("image", PHOTOGRAPHS)
    @pytest.mark.parametrize("box", BOXES)
    def test_a_box_of_whole_pixels_is_torchvisions_resized_crop(self, box, image):
        # 0.01 of 255: the rounding of fractions; and uint8 is rounded once where torchvision rounds twice
        for pixels, tolerance in ((image.float(), 0.01), (image, 1)):
            result = resample(pixels[None], fractions(*box, image), (224, 224))[0]
            expected = TF.resized_crop(pixels, *box, [224, 224], antialias=True)
            torch.testing.assert_close(result, expected, rtol=0, atol=tolerance)

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32, torch.float64])
    @pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
    def test_the_whole_image_at_its_own_size_is_the_image(self, dtype, memory_format):
        images = torch.stack(PHOTOGRAPHS)[:, :, :40, :60].to(dtype).contiguous(memory_format=memory_format)
        result = resample(images, torch.tensor([[0.0, 0, 1, 1]] * 2), (40, 60))
        assert result.dtype == dtype
        assert result.is_contiguous(memory_format=memory_format)
        torch.testing.assert_close(result, images, rtol=0, atol=0)

    def test_every_image_has_a_box_of_its_own_however_many_there_are(self):
        images = torch.rand(CHUNK + 3, 1, 9, 7, generator=seeded())
        boxes = random_boxes(torch.ones(len(images)), seeded(1))
        together = resample(images, boxes, (4, 5))
        alone = torch.cat([resample(images[i : i + 1], boxes[i : i + 1], (4, 5)) for i in range(len(images))])
        torch.testing.assert_close(together, alone)

    @given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 10**6))
    @settings(max_examples=60)
    def test_is_an_average_of_pixels_of_the_box(self, pixels, side, seed):
        image = torch.rand(1, 1, pixels, pixels, generator=seeded(seed)) + 1
        start, extent = torch.rand(2, 2, generator=seeded(seed + 1))
        box = torch.cat([start * (1 - 0.05), (0.05 + 0.95 * extent) * (1 - start)]).clamp(min=0.02)[None]
        result = resample(image, box, (side, side))
        left, top, width, height = (box[0] * pixels).tolist()
        part = image[..., math.floor(top) : math.ceil(top + height), math.floor(left) : math.ceil(left + width)]
        assert result.min() >= part.min() - 1e-5
        assert result.max() <= part.max() + 1e-5


class TestSquashed:
    """What storing photographs as squares costs: compared with transforms of the originals."""

    # root mean square differences, as a share of that from the same picture moved by a pixel
    @pytest.mark.parametrize("image", PHOTOGRAPHS)
    @pytest.mark.parametrize(("side", "tolerance"), [(320, 0.35), (384, 0.15), (600, 0.06)])
    def test_the_clean_view_is_the_usual_test_transform(self, side, tolerance, image):
        """But for the detail that squares smaller than the original do not hold."""
        expected = Compose([Resize(256, antialias=True), CenterCrop(224)])(image)
        stored, aspects = squashed(image, side)
        framing = Framing()
        result = resample(stored, centre_boxes(aspects, framing.centre), (framing.side,) * 2)[0]
        assert deviation(result, expected) < tolerance * deviation(expected[..., 1:], expected[..., :-1])

    @pytest.mark.parametrize("image", PHOTOGRAPHS)
    @pytest.mark.parametrize("box", [(10, 20, 300, 400), (0, 100, 390, 420)])
    @pytest.mark.parametrize(("side", "tolerance"), [(320, 0.35), (384, 0.25), (600, 0.1)])
    def test_crops_are_those_of_the_original(self, side, tolerance, box, image):
        expected = TF.resized_crop(image, *box, [224, 224], antialias=True)
        stored, _ = squashed(image, side)
        result = resample(stored, fractions(*box, image), (224, 224))[0]
        assert deviation(result, expected) < tolerance * deviation(expected[..., 1:], expected[..., :-1])


def test_centre_boxes_are_squares_in_the_middle_of_the_photograph():
    for width, height in ((600, 400), (400, 600), (500, 500)):
        side = 0.5 * min(width, height)
        expected = fractions((height - side) / 2, (width - side) / 2, side, side, torch.empty(3, height, width))
        torch.testing.assert_close(centre_boxes(torch.tensor([width / height]), 0.5), expected)


class TestRandomBoxes:
    @pytest.mark.parametrize(("height", "width"), [(4000, 4000), (3000, 5000), (6000, 2000), (900, 9000)])
    def test_have_the_distribution_of_torchvisions(self, height, width):
        """Of large images, where its rounding to whole pixels makes no difference."""
        count = 2500
        torch.manual_seed(0)
        transform, image = RandomResizedCrop(224), torch.empty(1, 1, 1).expand(1, height, width)
        drawn = [transform.make_params([image]) for _ in range(count)]
        theirs = torch.tensor([[each[key] for key in ("left", "top", "width", "height")] for each in drawn]).double()
        theirs /= torch.tensor([width, height, width, height])
        ours = random_boxes(torch.full((count,), width / height), seeded()).double()

        def described(boxes):
            left, top, across, down = boxes.T
            return across * down, across / down * width / height, left, top, left / (1.001 - across)

        for one, other in zip(described(ours), described(theirs), strict=True):
            # equal where the fallback makes them so, and that but for a rounding
            assert ks_2samp(one.numpy().round(2), other.numpy().round(2)).pvalue > 1e-4

    def test_fall_back_to_the_largest_box_in_the_middle(self):
        for aspect, expected in ((40.0, (4 / 3 / 40, 1)), (1 / 40, (1, 1 / 40 / (3 / 4)))):
            # areas of half an image 40 times as wide as high fit into it in no allowed shape
            boxes = random_boxes(torch.full((5,), aspect), seeded(), scale=(0.5, 1.0))
            across, down = expected
            wanted = torch.tensor([(1 - across) / 2, (1 - down) / 2, across, down])
            torch.testing.assert_close(boxes, wanted.expand(5, 4))

    @given(st.floats(0.05, 20), st.integers(0, 1000))
    def test_lie_within_the_photograph(self, aspect, seed):
        boxes = random_boxes(torch.full((50,), aspect), seeded(seed))
        assert (boxes >= 0).all()
        assert (boxes[:, :2] + boxes[:, 2:] <= 1 + 1e-6).all()
        ratio = boxes[:, 2] / boxes[:, 3] * aspect
        assert ((ratio > 3 / 4 - 1e-4) & (ratio < 4 / 3 + 1e-4)).all()

    def test_each_photograph_has_its_own_aspect(self):
        boxes = random_boxes(torch.tensor([0.2, 5.0]).repeat(200), seeded())
        wide = boxes[:, 2] > boxes[:, 3]
        assert wide[0::2].all()  # a square in a high photograph takes a large share of its width
        assert not wide[1::2].any()

    def test_full_area_of_a_square_is_all_of_it(self):
        boxes = random_boxes(torch.ones(3), seeded(), scale=(1.0, 1.0), ratio=(1.0, 1.0))
        torch.testing.assert_close(boxes, torch.tensor([0.0, 0, 1, 1]).expand(3, 4))


class TestResizedCropFlip:
    def test_crops_have_the_size_asked_for(self):
        images = torch.stack(PHOTOGRAPHS)
        assert resized_crop_flip(images, seeded(), None, size=(32, 48)).shape == (2, 3, 32, 48)

    def test_mirrors_about_half_of_the_crops_left_to_right(self):
        ramp = torch.arange(16.0).expand(400, 1, 16, 16)
        steps = resized_crop_flip(ramp, seeded(), None).diff(dim=-1).sum((1, 2, 3))
        assert (steps != 0).all()
        assert 150 < (steps < 0).sum() < 250
