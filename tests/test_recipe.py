"""The recipe of training: its defaults are the CIFAR protocol, and what cannot be is refused in one line."""

import math

import pytest
from pydantic import ValidationError

from labelreg.recipe import Recipe


def test_is_frozen_hashable_and_equal_by_value():
    one, other = Recipe(learning_rate=1, milestones=[60]), Recipe(learning_rate=1.0, milestones=(60,))
    assert one == other
    assert hash(one) == hash(other)
    assert isinstance(one.learning_rate, float)
    assert Recipe(milestones=60) == Recipe(milestones=(60,))
    with pytest.raises(ValidationError, match="frozen"):
        one.epochs = 3


def test_the_defaults_are_the_cifar_protocol():
    recipe = Recipe()
    assert (recipe.epochs, recipe.batch_size) == (200, 128)
    assert (recipe.schedule, recipe.milestones) == ("multi_step", (60, 120, 160))
    assert (recipe.learning_rate, recipe.momentum, recipe.nesterov, recipe.weight_decay) == (0.1, 0.9, True, 5e-4)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"epoch": 3}, "no setting is called 'epoch'; did you mean epochs"),
        ({"epochs": 2.0}, "epochs should be a valid integer, got 2.0"),
        ({"epochs": 0}, "epochs should be greater than 0, got 0"),
        ({"learning_rate": "0.1"}, "learning_rate should be a valid number, got '0.1'"),
        ({"learning_rate": 0.0}, "learning_rate should be greater than 0, got 0.0"),
        ({"learning_rate": math.inf}, "learning_rate should be a finite number, got inf"),
        ({"weight_decay": -1e-4}, "weight_decay should be greater than or equal to 0, got -0.0001"),
        ({"clip_norm": math.nan}, "clip_norm should be a finite number, got nan"),
        ({"weight_decay": 1e308}, r"weight_decay should be at most 3.4e\+38 in size, got 1e\+308"),
        ({"batch_size": 10**400}, "batch_size should be less than or equal to 2147483648, got 1000000000"),
        ({"momentum": 1.0}, "momentum should be less than 1, got 1.0"),
        ({"nesterov": 1}, "nesterov should be a valid boolean, got 1"),
        ({"decay": -1.0}, "decay should be greater than 0, got -1.0"),
        ({"schedule": "plateau", "decay": 1.0}, "schedule 'plateau' needs a decay below 1, got 1.0"),
        ({"schedule": "linear"}, "schedule should be 'multi_step', 'one_cycle', .*, got 'linear'"),
        ({"optimizer": "adamw"}, "optimizer should be 'sgd' or 'adam', got 'adamw'"),
        ({"precision": "float16"}, "precision should be 'float32' or 'bfloat16', got 'float16'"),
        ({"milestones": ("a", 3)}, "milestones.0 should be a valid integer, got 'a'"),
        ({"milestones": (0, 3)}, "milestones.0 should be greater than 0, got 0"),
        ({"milestones": (120, 60)}, r"milestones must increase from one to the next, got \(120, 60\)"),
        ({"epochs": 0, "optimizer": "lion"}, "epochs should be .*; optimizer should be"),
    ],
)
def test_refuses_what_cannot_be_in_one_line(setting, message):
    with pytest.raises(ValueError, match=f"^{message}[^\n]*$"):
        Recipe(**setting)
