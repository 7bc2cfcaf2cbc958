"""A 2D network over the slices of a volume."""

import pytest
import torch

from medgan.networks.slicewise import Slicewise
from medgan.networks.unet import UNet


def slicewise(in_channels: int = 2) -> Slicewise:
    torch.manual_seed(0)
    return Slicewise(
        UNet(
            spatial_dims=2,
            in_channels=in_channels,
            num_classes=3,
            channels=(4, 6, 8, 8),
            strides=((2, 2),) * 3,
            kernels=((3, 3),) * 4,
            residual=False,
            deep_supervision=True,
        )
    )


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
def test_equals_running_the_slices_one_by_one(memory_format: torch.memory_format) -> None:
    network = slicewise()
    volume = torch.randn(2, 2, 16, 24, 5).to(memory_format=memory_format)
    outputs = network(volume)
    assert [tuple(output.shape) for output in outputs] == [(2, 3, 16, 24, 5), (2, 3, 8, 12, 5)]
    for case in range(2):
        for k in range(5):
            alone = network.network(volume[case : case + 1, :, :, :, k])
            for level, output in enumerate(outputs):
                torch.testing.assert_close(output[case : case + 1, ..., k], alone[level], atol=1e-4, rtol=1e-4)


def test_slices_do_not_see_each_other() -> None:
    network = slicewise(1).eval()
    volume = torch.randn(1, 1, 16, 16, 4)
    changed = volume.clone()
    changed[..., 2] += 1.0
    with torch.no_grad():
        before, after = network(volume)[0], network(changed)[0]
    torch.testing.assert_close(before[..., [0, 1, 3]], after[..., [0, 1, 3]])
    assert not torch.allclose(before[..., 2], after[..., 2])


def test_single_image_is_a_volume_of_one_slice() -> None:
    network = slicewise(1).eval()
    (logits,) = network(torch.randn(3, 1, 16, 16, 1))
    assert logits.shape == (3, 3, 16, 16, 1)


def test_outputs_are_contiguous_volumes() -> None:
    assert all(output.is_contiguous() for output in slicewise()(torch.randn(1, 2, 16, 16, 3)))
