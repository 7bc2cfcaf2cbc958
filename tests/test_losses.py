"""Losses against arithmetic by hand and against torch's and MONAI's own."""

import math

import pytest
import torch
import torch.nn.functional as F
from monai.losses.dice import DiceCELoss

from medgan.training.losses import (
    LOSSES,
    SupervisedLoss,
    bce_discriminator_loss,
    bce_generator_loss,
    feature_matching_loss,
    hinge_discriminator_loss,
    hinge_generator_loss,
    least_squares_discriminator_loss,
    least_squares_generator_loss,
)

REAL = torch.tensor([[2.0, 0.5], [-1.0, 3.0]])
FAKE = torch.tensor([[-3.0, 0.0], [0.5, 1.5]])


def close(value: torch.Tensor, expected: float) -> bool:
    return value.shape == () and value.item() == pytest.approx(expected, rel=1e-6)


def test_bce_by_hand() -> None:
    zeros = torch.zeros(3)
    assert close(bce_generator_loss(zeros), math.log(2.0))
    assert close(bce_discriminator_loss(zeros, zeros), math.log(2.0))
    assert close(bce_generator_loss(torch.tensor([2.0])), math.log(1.0 + math.exp(-2.0)))
    expected = 0.5 * (math.log(1.0 + math.exp(-2.0)) + math.log(1.0 + math.exp(3.0)))
    assert close(bce_discriminator_loss(torch.tensor([2.0]), torch.tensor([3.0])), expected)


def test_least_squares_by_hand() -> None:
    # (fake - 1)^2 = 16, 1, 0.25, 0.25; (real - 1)^2 = 1, 0.25, 4, 4; fake^2 = 9, 0, 0.25, 2.25
    assert close(least_squares_generator_loss(FAKE), 17.5 / 4)
    assert close(least_squares_discriminator_loss(REAL, FAKE), 0.5 * (9.25 + 11.5) / 4)


def test_hinge_by_hand() -> None:
    # 1 - real = -1, 0.5, 2, -2; 1 + fake = -2, 1, 1.5, 2.5
    assert close(hinge_generator_loss(FAKE), -(-3.0 + 0.0 + 0.5 + 1.5) / 4)
    assert close(hinge_discriminator_loss(REAL, FAKE), 0.5 * (2.5 + 5.0) / 4)


def test_losses_agree_with_torch() -> None:
    torch.manual_seed(0)
    real, fake = 5 * torch.randn(2, 1, 3, 4, 5), 5 * torch.randn(2, 1, 3, 4, 5)
    ones, zeros = torch.ones_like(real), torch.zeros_like(real)
    bce, mse = F.binary_cross_entropy_with_logits, F.mse_loss
    assert torch.allclose(bce_generator_loss(fake), bce(fake, ones))
    assert torch.allclose(bce_discriminator_loss(real, fake), 0.5 * (bce(real, ones) + bce(fake, zeros)))
    assert torch.allclose(least_squares_generator_loss(fake), mse(fake, ones))
    assert torch.allclose(least_squares_discriminator_loss(real, fake), 0.5 * (mse(real, ones) + mse(fake, zeros)))
    hinge = F.margin_ranking_loss  # max(0, margin - target * score)
    expected = 0.5 * (hinge(real, zeros, ones, 1.0) + hinge(fake, zeros, -ones, 1.0))
    assert torch.allclose(hinge_discriminator_loss(real, fake), expected)


def test_hinge_pulls_the_generator_with_the_same_force_everywhere() -> None:
    """No tanh before it: a score far out is pulled as hard as one at the margin."""
    scores = torch.tensor([-100.0, -1.0, 0.0, 1.0, 100.0], requires_grad=True)
    hinge_generator_loss(scores).backward()
    assert torch.allclose(scores.grad, torch.full((5,), -0.2))  # type: ignore[arg-type]


def test_least_squares_pull_grows_with_the_distance_on_both_sides() -> None:
    """No LeakyReLU before it: negative scores are not held back."""
    scores = torch.tensor([-3.0, 5.0], requires_grad=True)
    least_squares_generator_loss(scores).backward()
    assert torch.allclose(scores.grad, torch.tensor([-4.0, 4.0]))  # type: ignore[arg-type]


def test_bce_pull_does_not_vanish_where_the_discriminator_is_sure() -> None:
    scores = torch.tensor([-50.0], requires_grad=True)
    bce_generator_loss(scores).backward()
    assert close(scores.grad[0], -1.0)  # type: ignore[index]


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_sure_scores_stay_finite_under_autocast(name: str, dtype: torch.dtype) -> None:
    scores = torch.tensor([-100.0, 100.0], dtype=dtype, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = LOSSES[name].generator(scores), LOSSES[name].discriminator(scores, scores)
    for value in values:
        assert value.dtype is torch.float32
        assert torch.isfinite(value)
    (values[0] + values[1]).backward()
    assert torch.isfinite(scores.grad).all()  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_discriminator_that_is_right_pays_less(name: str) -> None:
    high, low = torch.full((3,), 2.0), torch.full((3,), -2.0)
    assert LOSSES[name].discriminator(high, low) < LOSSES[name].discriminator(low, high)
    assert LOSSES[name].generator(torch.full((3,), 0.9)) < LOSSES[name].generator(low)


def random_level(*shape: int, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(2, classes, *shape), torch.randint(0, classes, (2, *shape))


@pytest.mark.parametrize("shape", [(6, 5, 4), (6, 5, 1)])
def test_one_level_is_dice_and_cross_entropy_of_monai(shape: tuple[int, ...]) -> None:
    logits, classes = random_level(*shape)
    monai_loss = DiceCELoss(
        to_onehot_y=True, softmax=True, include_background=False, batch=True, smooth_nr=1e-5, smooth_dr=1e-5
    )
    assert torch.allclose(SupervisedLoss()([logits], classes), monai_loss(logits, classes[:, None]))


def test_dice_and_cross_entropy_by_hand() -> None:
    """Two voxels, one organ: probabilities of the organ 1/2 and 1/4, the first is the organ."""
    logits = torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]]).reshape(1, 2, 2, 1, 1)
    classes = torch.tensor([1, 0]).reshape(1, 2, 1, 1)
    dice = 1.0 - 2 * 0.5 / (0.5 + 0.25 + 1.0)
    cross_entropy = -(math.log(0.5) + math.log(0.75)) / 2
    assert SupervisedLoss()([logits], classes).item() == pytest.approx(dice + cross_entropy, rel=1e-4)


def test_perfect_scores_cost_nothing() -> None:
    _, classes = random_level(4, 4, 4)
    logits = 100.0 * F.one_hot(classes, 3).movedim(-1, 1)
    assert SupervisedLoss()([logits], classes).item() == pytest.approx(0.0, abs=1e-5)


def test_coarser_levels_weigh_half_of_the_one_before() -> None:
    full, classes = random_level(8, 8, 4)
    half, quarter = torch.randn(2, 3, 4, 4, 4), torch.randn(2, 3, 2, 2, 2)
    loss = SupervisedLoss()
    half_classes = classes[:, 1::2, 1::2]  # nearest voxel of each half-size voxel, K is not halved
    quarter_classes = half_classes[:, 1::2, 1::2, 1::2]
    levels = loss([full], classes), loss([half], half_classes), loss([quarter], quarter_classes)
    expected = (levels[0] + levels[1] / 2 + levels[2] / 4) / 1.75
    assert torch.allclose(loss([full, half, quarter], classes), expected)


def test_organ_absent_from_the_batch_does_not_blow_up() -> None:
    logits, classes = random_level(4, 4, 4)
    logits.requires_grad_(True)
    value = SupervisedLoss()([logits], torch.zeros_like(classes))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()  # type: ignore[arg-type]


def features(*values: float) -> list[torch.Tensor]:
    return [torch.full((1, 2, 3), value, requires_grad=True) for value in values]


def test_feature_matching_is_the_mean_distance_of_the_levels() -> None:
    assert close(feature_matching_loss(features(1.0, 2.0), features(1.0, 2.0)), 0.0)
    assert close(feature_matching_loss(features(1.0, 2.0), features(0.0, 5.0)), (1.0 + 3.0) / 2)


def test_feature_matching_pulls_only_the_prediction() -> None:
    real, fake = features(1.0), features(3.0)
    feature_matching_loss(real, fake).backward()
    assert real[0].grad is None
    assert torch.allclose(fake[0].grad, torch.full((1, 2, 3), 1 / 6))  # type: ignore[arg-type]


def test_feature_matching_needs_as_many_levels_of_both() -> None:
    with pytest.raises(ValueError, match="zip"):
        feature_matching_loss(features(1.0, 2.0), features(1.0))


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_balance_is_where_the_game_says(name: str) -> None:
    """At the discriminator's best constant answer to equal distributions its gradient vanishes."""
    best = {"bce": 0.0, "least_squares": 0.5, "hinge": 0.3}[name]  # for hinge, anything from -1 to 1
    scores = torch.full((4,), best, requires_grad=True)
    LOSSES[name].discriminator(scores, scores).backward()
    assert torch.allclose(scores.grad, torch.zeros(4), atol=1e-7)  # type: ignore[arg-type]
