"""Terms on features: what each asks of the student, on features that are known."""

import pytest
import torch

from training.data.batches import near_liver
from training.model import related_losses
from training.model.related_losses import TERMS

ALL = {**TERMS, "features": related_losses.matched_features}
SHAPE = (2, 1, 32, 32, 32)


@pytest.fixture(scope="module")
def mask():
    """A ball in each volume, 0 or 1."""
    axis = torch.arange(SHAPE[2], dtype=torch.float32) - 15.5
    radius = (axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2).sqrt()
    return torch.stack([radius < 8, radius < 10])[:, None].float()


def features(channels, seed):
    """Smooth random features at half the resolution."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(SHAPE[0], channels, *(n // 2 for n in SHAPE[2:]), generator=generator)
    return torch.nn.functional.avg_pool3d(noise, 3, 1, 1)


def term(name, student, teacher, mask):
    return ALL[name](student, teacher, mask, near_liver(mask), torch.Generator().manual_seed(0))


def mixed(teacher, channels=None):
    """Features of which the teacher's are linear functions, of the same width or another."""
    generator = torch.Generator().manual_seed(5)
    channels = channels or teacher.shape[1]
    return torch.einsum("bcdhw,ce->bedhw", teacher, torch.randn(teacher.shape[1], channels, generator=generator))


@pytest.mark.parametrize("name", ALL)
def test_gradient_reaches_the_student_only_whatever_the_widths(name, mask):
    student, teacher = features(3, 0).requires_grad_(), features(5, 1).requires_grad_()
    value = term(name, student, teacher, mask)
    value.backward()
    assert value.ndim == 0 and value > 0
    assert student.grad.isfinite().all() and student.grad.abs().sum() > 0
    assert teacher.grad is None


@pytest.mark.parametrize("name", ALL)
def test_a_student_that_knows_what_the_teacher_knows_has_less_to_learn(name, mask):
    teacher = features(3, 1)
    teacher[:, 0] += related_losses.pooled(mask)[:, 0]  # which tells the classes apart
    known, unknown = (term(name, one, teacher, mask).item() for one in (teacher, features(3, 9)))
    assert known < 0.8 * unknown


@pytest.mark.parametrize("name", ["features", "contrast"])
def test_a_linear_mix_of_the_teachers_features_is_as_good_as_they_are(name, mask):
    teacher = features(3, 1)
    same, mix = (term(name, one, teacher, mask).item() for one in (teacher, mixed(teacher)))
    assert mix == pytest.approx(same, abs=0.02)


def test_the_border_is_rebuilt_from_neighbors_alone(mask):
    """Teacher features that are the student's of the next voxel can be rebuilt; white noise at the voxel cannot."""
    generator = torch.Generator().manual_seed(2)
    student = torch.randn(2, 3, 16, 16, 16, generator=generator)
    shifted = student.roll(1, dims=4)
    assert term("boundary", student, shifted, mask) < 0.05
    assert term("boundary", student, student, mask) > 0.9


def test_regions_that_resemble_each_other_as_the_teachers_do_cost_nothing(mask):
    teacher = features(4, 1)
    turned, _ = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(3)))
    student = torch.einsum("bcdhw,ce->bedhw", teacher, turned)  # cosines do not change
    assert term("mskd", student, teacher, mask) < 1e-6
    assert term("mskd", features(4, 9), teacher, mask) > 1e-3


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_volume_without_border_costs_nothing_wrong(name, value):
    empty = torch.full(SHAPE, value)
    student = features(3, 0).requires_grad_()
    cost = term(name, student, features(5, 1), empty)
    cost.backward()
    assert cost.isfinite() and student.grad.isfinite().all()
