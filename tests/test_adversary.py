"""The adversary: what it sees, whom it pulls, and whom it leaves alone."""

import pytest
import torch
from small_networks import ADVERSARY, SIZE, small_adversary, small_generator
from torch import nn

from medgan.config import AdversaryConfig
from medgan.training.adversary import Adversary, soften_reference


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Return an image (2, 1, 16, 16, 8) and reference classes of it."""
    torch.manual_seed(0)
    return torch.randn(2, 1, *SIZE), torch.randint(0, 4, (2, *SIZE))


def column(*probabilities: float) -> torch.Tensor:
    """Return the class probabilities of one voxel, (1, N, 1, 1, 1)."""
    return torch.tensor(probabilities).reshape(1, -1, 1, 1, 1)


def test_reference_takes_the_confidence_of_the_prediction() -> None:
    prediction = column(0.7, 0.2, 0.1)
    softened = [soften_reference(torch.full((1, 1, 1, 1), c), prediction).flatten().tolist() for c in range(3)]
    assert softened[0] == pytest.approx([0.7, 0.2, 0.1])
    assert softened[1] == pytest.approx([0.2, 0.7, 0.1])
    assert softened[2] == pytest.approx([0.1, 0.2, 0.7])


def test_softened_reference_and_prediction_hold_the_same_values_at_every_voxel() -> None:
    _, classes = batch()
    prediction = torch.randn(2, 4, *SIZE).softmax(dim=1)
    softened = soften_reference(classes, prediction)
    assert torch.equal(softened.sort(dim=1).values, prediction.sort(dim=1).values)
    assert torch.equal(softened.argmax(dim=1), classes)
    agree = prediction.argmax(dim=1) == classes
    assert agree.any()
    assert torch.equal(softened.movedim(1, -1)[agree], prediction.movedim(1, -1)[agree])


def test_softening_passes_no_gradient() -> None:
    prediction = torch.randn(2, 4, *SIZE, requires_grad=True).softmax(dim=1)
    assert not soften_reference(batch()[1], prediction).requires_grad


def predicted(generator: nn.Module, image: torch.Tensor) -> torch.Tensor:
    return generator(image)[0].softmax(dim=1)


def gradients(network: nn.Module) -> list[torch.Tensor]:
    return [weight.grad for weight in network.parameters() if weight.grad is not None]


def weights(network: nn.Module) -> list[torch.Tensor]:
    return [weight.detach().clone() for weight in network.parameters()]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("loss", ["bce", "least_squares", "hinge"])
def test_discriminator_step_leaves_the_generator_untouched(loss: str) -> None:
    generator, adversary = small_generator(), small_adversary(AdversaryConfig(channels=4, num_layers=1, loss=loss))
    image, classes = batch()
    prediction = predicted(generator, image)
    before = weights(generator), weights(adversary.discriminator)
    look = adversary.discriminator_step(image, soften_reference(classes, prediction), prediction, progress=0.5)
    look.loss.backward()
    torch.optim.SGD([*generator.parameters(), *adversary.discriminator.parameters()], lr=1.0).step()
    assert gradients(generator) == []
    assert same(weights(generator), before[0])
    assert not same(weights(adversary.discriminator), before[1])


@pytest.mark.parametrize("loss", ["bce", "least_squares", "hinge"])
def test_generator_step_leaves_the_discriminator_untouched(loss: str) -> None:
    generator, adversary = small_generator(), small_adversary(AdversaryConfig(channels=4, num_layers=1, loss=loss))
    image, classes = batch()
    prediction = predicted(generator, image)
    before = weights(generator), weights(adversary.discriminator)
    adversary.generator_loss(image, soften_reference(classes, prediction), prediction, progress=0.9).backward()
    torch.optim.SGD([*generator.parameters(), *adversary.discriminator.parameters()], lr=1.0).step()
    assert gradients(adversary.discriminator) == []
    assert same(weights(adversary.discriminator), before[1])
    assert not same(weights(generator), before[0])
    assert all(weight.requires_grad for weight in adversary.discriminator.parameters())


class Mean(nn.Module):
    """Scores a segmentation by its mean, and gives the segmentation itself as its feature."""

    def forward(self, image: torch.Tensor, segmentation: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        return segmentation.mean(dim=(1, 2, 3, 4)), [segmentation]


def mean_adversary(**changes: object) -> Adversary:
    settings = {"instance_noise": 0.0, "warmup_fraction": 0.0, "ramp_fraction": 0.0, **changes}
    return Adversary(Mean(), AdversaryConfig.model_validate(settings))


def constant(value: float) -> torch.Tensor:
    return torch.full((1, 1, 2, 2, 2), value)


def test_losses_and_scores_by_hand() -> None:
    adversary = mean_adversary(weight=0.5, feature_matching_weight=2.0)
    image, reference, prediction = constant(0.0), constant(0.75), constant(0.25)
    look = adversary.discriminator_step(image, reference, prediction, progress=1.0)
    assert look.loss.item() == pytest.approx(0.5 * (0.25**2 + 0.25**2))
    assert (look.real_score.item(), look.fake_score.item()) == (0.75, 0.25)
    pull = adversary.generator_loss(image, reference, prediction, progress=1.0)
    assert pull.item() == pytest.approx(0.5 * 0.75**2 + 2.0 * 0.5)


def test_feature_matching_can_be_left_out() -> None:
    pull = mean_adversary(weight=0.5, feature_matching_weight=0.0).generator_loss(
        constant(0.0), constant(0.75), constant(0.25), progress=1.0
    )
    assert pull.item() == pytest.approx(0.5 * 0.75**2)


def test_weights_rise_after_the_warm_up() -> None:
    adversary = mean_adversary(warmup_fraction=0.2, ramp_fraction=0.4)
    shares = [adversary.ramp(progress) for progress in (0.0, 0.2, 0.3, 0.4, 0.6, 0.7, 1.0)]
    assert shares == pytest.approx([0.0, 0.0, 0.25, 0.5, 1.0, 1.0, 1.0])
    pulls = [
        adversary.generator_loss(constant(0.0), constant(0.75), constant(0.25), progress=p).item()
        for p in (0.1, 0.4, 1.0)
    ]
    assert pulls == pytest.approx([0.0, pulls[2] / 2, pulls[2]])


def test_ramp_of_no_length_is_a_step() -> None:
    adversary = mean_adversary(warmup_fraction=0.2, ramp_fraction=0.0)
    assert [adversary.ramp(progress) for progress in (0.2, 0.21)] == [0.0, 1.0]


def test_pull_in_the_warm_up_costs_no_look() -> None:
    adversary = small_adversary(ADVERSARY.model_copy(update={"warmup_fraction": 0.5}))
    looks = []
    adversary.discriminator.register_forward_hook(lambda *arguments: looks.append(1))
    image, _ = batch()
    prediction = torch.randn(2, 4, *SIZE).softmax(dim=1)
    assert adversary.generator_loss(image, prediction, prediction, progress=0.4).item() == 0.0
    assert looks == []


class Spy(nn.Module):
    """Keeps the segmentations it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[torch.Tensor] = []

    def forward(self, image: torch.Tensor, segmentation: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        self.shown.append(segmentation)
        return segmentation.mean(), [segmentation]


def test_noise_on_both_falls_to_nothing() -> None:
    torch.manual_seed(0)
    settings = AdversaryConfig(instance_noise=0.4, warmup_fraction=0.0, ramp_fraction=0.0)
    for progress, deviation in ((0.0, 0.4), (0.5, 0.2), (1.0, 0.0)):
        spy = Spy()
        flat = torch.zeros(1, 1, 20, 20, 20)
        adversary = Adversary(spy, settings)
        adversary.discriminator_step(flat, flat, flat, progress=progress)
        if progress:
            adversary.generator_loss(flat, flat, flat, progress=progress)
        assert len(spy.shown) == (4 if progress else 2)
        for shown in spy.shown:
            assert shown.std().item() == pytest.approx(deviation, abs=0.01)
        assert deviation == 0.0 or not torch.equal(spy.shown[0], spy.shown[1])


def test_discriminator_learns_to_tell_shapes_of_equal_values() -> None:
    """Told apart by shape alone: squares from stripes of the same values, in a few steps."""
    torch.manual_seed(0)
    adversary = small_adversary(ADVERSARY.model_copy(update={"instance_noise": 0.0}))
    square, stripes = torch.zeros(1, 1, *SIZE), torch.zeros(1, 1, *SIZE)
    square[..., :4] = 1.0
    stripes[..., ::2] = 1.0
    real = torch.cat([square, 1 - square, 0 * square, 0 * square], dim=1)
    fake = torch.cat([stripes, 1 - stripes, 0 * square, 0 * square], dim=1)
    optimizer = torch.optim.Adam(adversary.discriminator.parameters(), lr=1e-2)
    for _ in range(30):
        optimizer.zero_grad()
        look = adversary.discriminator_step(0 * square, real, fake, progress=1.0)
        look.loss.backward()
        optimizer.step()
    assert look.real_score > 0.8
    assert look.fake_score < 0.2
