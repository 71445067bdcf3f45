"""Batched augmentation against all that can come out of it, and the distribution of what is drawn."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from labelreg.data import augmentations
from labelreg.data.augmentation import cutout, random_crop, random_flip

FORMATS = [torch.contiguous_format, torch.channels_last]
DTYPES = [torch.uint8, torch.float16, torch.float32]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_images(batch: int, height: int = 10, width: int = 12, dtype=torch.uint8, memory_format=torch.channels_last):
    """Random images without a zero, (B, 3, H, W)."""
    values = torch.randint(1, 256, (batch, 3, height, width), generator=seeded(1))
    return values.to(dtype).contiguous(memory_format=memory_format)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", augmentations)
def test_shape_dtype_and_memory_format_are_kept_and_inputs_untouched(name, dtype, memory_format):
    inputs = random_images(5, dtype=dtype, memory_format=memory_format)
    before = inputs.clone()
    result = augmentations[name](inputs, seeded(), torch.tensor([1.0, 2, 3]))
    assert (result.shape, result.dtype) == (inputs.shape, dtype)
    assert result.is_contiguous(memory_format=memory_format)
    assert torch.equal(inputs, before)


@pytest.mark.parametrize("name", augmentations)
def test_is_a_function_of_the_generator_alone(name):
    inputs, mean = random_images(64), torch.zeros(3)
    state = torch.get_rng_state()
    first = augmentations[name](inputs, seeded(), mean)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, augmentations[name](inputs, seeded(), mean))
    assert torch.equal(first, augmentations[name](inputs, seeded(1), mean)) == (name == "none")


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_random_crop_makes_of_every_image_one_of_its_own_crops_at_a_uniform_place(dtype, memory_format):
    inputs = random_images(1500, 6, 7, dtype, memory_format)
    cropped, padded = random_crop(inputs, 2, seeded()), F.pad(inputs, [2] * 4)
    crops = torch.stack([padded[:, :, y : y + 6, x : x + 7] for y in range(5) for x in range(5)])
    is_crop = (crops == cropped).flatten(2).all(2)
    assert (is_crop.sum(0) == 1).all()
    assert ((is_crop.sum(1) - 60) ** 2 / 60).sum() < 52  # 24 degrees of freedom: one in a thousand


@pytest.mark.parametrize("dtype", DTYPES)
def test_random_flip_mirrors_about_half_of_the_images_left_to_right(dtype):
    inputs = random_images(2000, 3, 4, dtype)
    results, mirrored = random_flip(inputs, seeded()), inputs[:, :, :, [3, 2, 1, 0]]
    same, flipped = ((results == each).flatten(1).all(1) for each in (inputs, mirrored))
    assert (same | flipped).all()
    assert abs(flipped.sum() - 1000) < 4 * 2000**0.5 / 2


@pytest.mark.parametrize("size", [4, 5])
def test_cutout_covers_one_square_around_a_uniform_centre_clipped_at_the_border(size):
    inputs = random_images(3000, 6, 7) // 2 + 100  # 100 and above: no value is that of a hole
    results = cutout(inputs, size, seeded(), torch.tensor([10.4, 20.6, 30.0])).numpy()
    colour = np.array([10, 21, 30], np.uint8).reshape(3, 1, 1)
    expected = {}
    for y, x in np.ndindex(6, 7):
        hole = np.zeros((6, 7), bool)
        top, left = y - size // 2, x - size // 2
        hole[max(top, 0) : top + size, max(left, 0) : left + size] = True
        expected[hole.tobytes()] = hole, expected.get(hole.tobytes(), (hole, 0))[1] + 1
    times = dict.fromkeys(expected, 0)
    for image, result in zip(inputs.numpy(), results, strict=True):
        hole = (result < 100).all(0)
        assert (result == np.where(hole, colour, image)).all()
        times[hole.tobytes()] += 1  # a KeyError where the hole is no such square
    shares = {key: 3000 * centres / 42 for key, (_, centres) in expected.items()}
    chi_square = sum((times[key] - share) ** 2 / share for key, share in shares.items())
    assert chi_square < 78  # at most 41 degrees of freedom: one in two thousand


class TestByName:
    def test_crop_flip_is_a_flip_of_a_crop_out_of_four_pixels(self):
        inputs, draws = random_images(200, 5, 5), seeded()
        expected = random_flip(random_crop(inputs, 4, draws), draws)
        assert torch.equal(augmentations["crop_flip"](inputs, seeded(), None), expected)

    @pytest.mark.parametrize(
        ("name", "base", "size"),
        [("crop_flip_cutout16", "crop_flip", 16), ("crop_flip_cutout8", "crop_flip", 8), ("cutout3", "none", 3)],
    )
    def test_cutout_comes_on_top_of_the_same_crop_and_flip_in_the_mean_colour(self, name, base, size):
        inputs, mean = random_images(300, 32, 32, torch.float32), torch.tensor([-1.25, -2.5, -3.75])
        result = augmentations[name](inputs, seeded(), mean)
        hole = (result < 0).all(1, keepdim=True)
        assert torch.equal(result, torch.where(hole, mean.view(3, 1, 1), augmentations[base](inputs, seeded(), mean)))
        assert hole.sum((1, 2, 3)).max() == size**2
