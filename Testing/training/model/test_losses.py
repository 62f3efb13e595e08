"""Every loss: gradient to the student, none to the teacher, zero at equality, scale free of the number of classes."""

import math
from typing import get_args

import pytest
import torch
from torch.nn import functional

from training.data.batches import near_liver, voxel_weights
from training.model import losses
from training.options import LossName

TERMS = sorted(get_args(LossName))


def logits(channels, seed, shape=(4, 5, 6), batch=2, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(batch, channels, *shape, generator=generator, dtype=torch.float64)


def even(like):
    return torch.ones_like(like[:, :1])


@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_gradient_reaches_the_student_only(name, channels):
    student, teacher = (logits(channels, seed).requires_grad_() for seed in (0, 1))
    losses.DISTILLATION[name](student, teacher, even(student)).backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_zero_at_equality_and_positive_elsewhere(name, channels):
    student = logits(channels, 0).requires_grad_()
    value = losses.DISTILLATION[name](student, student.detach().clone(), even(student))
    value.backward()
    assert abs(value.item()) < 1e-9
    assert student.grad.abs().max() < 1e-9
    assert losses.DISTILLATION[name](student, logits(channels, 7), even(student)) > 1e-3


@pytest.mark.parametrize("name", ["kl", "cwd"])
def test_scale_is_free_of_the_number_of_classes(name):
    """Splitting every class into equal parts says nothing new, so the loss must not change."""
    student, teacher = logits(2, 0), logits(2, 1)
    split = [one.repeat_interleave(3, 1) for one in (student, teacher)]
    term = losses.DISTILLATION[name]
    assert torch.allclose(term(*split, even(student)), term(student, teacher, even(student)))


def test_dist_scale_is_free_of_the_number_of_classes():
    """Over many random classes it stays near its value for a few: means, not sums, over classes."""
    few, many = (
        losses.dist(logits(c, 0, (8, 8, 8)), logits(c, 1, (8, 8, 8)), even(logits(1, 0, (8, 8, 8)))) for c in (4, 40)
    )
    assert many / few == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("name", TERMS)
def test_one_logit_means_two_classes(name):
    student, teacher = logits(1, 0), logits(1, 1)
    both = [torch.cat([torch.zeros_like(one), one], 1) for one in (student, teacher)]
    term = losses.DISTILLATION[name]
    assert torch.allclose(term(student, teacher, even(student)), term(*both, even(student)))


def softmax(values):
    exponents = [math.exp(v) for v in values]
    return [e / sum(exponents) for e in exponents]


def test_kl_agrees_with_a_plain_loop():
    student, teacher, t = logits(3, 0, (2, 2, 3)), logits(3, 1, (2, 2, 3)), 2.0
    weights = torch.rand(2, 1, 2, 2, 3, dtype=torch.float64)
    total, count = 0.0, 0
    for b in range(2):
        for place in [(z, y, x) for z in range(2) for y in range(2) for x in range(3)]:
            q = softmax([student[(b, c, *place)].item() / t for c in range(3)])
            p = softmax([teacher[(b, c, *place)].item() / t for c in range(3)])
            total += weights[(b, 0, *place)].item() * sum(pc * math.log(pc / qc) for pc, qc in zip(p, q))
            count += 1
    assert losses.kl(student, teacher, weights, t).item() == pytest.approx(t * t * total / count)


def test_cwd_agrees_with_a_plain_loop():
    student, teacher, t = logits(3, 0, (2, 2, 3)), logits(3, 1, (2, 2, 3)), 4.0
    total = 0.0
    for b in range(2):
        for c in range(3):
            maps = [one[b] - one[b].mean(0) for one in (student, teacher)]
            q, p = (softmax([v / t for v in one[c].flatten().tolist()]) for one in maps)
            total += sum(pi * math.log(pi / qi) for pi, qi in zip(p, q))
    assert losses.cwd(student, teacher, even(student), t).item() == pytest.approx(t * t * total / 6)


def correlation(a, b):
    ma, mb = sum(a) / len(a), sum(b) / len(b)
    top = sum((x - ma) * (y - mb) for x, y in zip(a, b))
    return top / math.sqrt(sum((x - ma) ** 2 for x in a) * sum((y - mb) ** 2 for y in b))


def test_dist_agrees_with_a_plain_loop():
    student, teacher, t = logits(3, 0, (2, 2, 3)), logits(3, 1, (2, 2, 3)), 4.0
    ours, theirs = ((one / t).softmax(1).flatten(2).tolist() for one in (student, teacher))
    intra = [1 - correlation(ours[b][c], theirs[b][c]) for b in range(2) for c in range(3)]
    inter = [
        1 - correlation([ours[b][c][v] for c in range(3)], [theirs[b][c][v] for c in range(3)])
        for b in range(2)
        for v in range(12)
    ]
    expected = t * t * (sum(intra) / 6 + sum(inter) / 24)
    assert losses.dist(student, teacher, even(student), t).item() == pytest.approx(expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_ensemble_averages_probabilities(channels):
    parts = [logits(channels, seed) for seed in range(3)]
    mean = torch.stack([losses.classes(one).softmax(1) for one in parts]).mean(0)
    assert torch.allclose(losses.classes(losses.ensemble(parts)).softmax(1), mean)
    assert torch.equal(losses.ensemble(parts[:1]), parts[0])


def test_dense_guidance_sums_the_kept_teachers():
    student, teachers = logits(1, 0).requires_grad_(), [logits(1, seed).requires_grad_() for seed in (1, 2, 3)]
    expected = sum(losses.kl(student, teachers[i], even(student)) for i in (0, 2))
    value = losses.dense_guidance(losses.kl, student, teachers, even(student), [True, False, True])
    assert torch.allclose(value, expected)
    value.backward()
    assert student.grad.abs().sum() > 0 and all(t.grad is None for t in teachers)
    assert losses.dense_guidance(losses.kl, student, teachers, even(student), [False] * 3) == 0


def block_label():
    label = torch.zeros(2, 1, 24, 24, 24)
    label[0, :, 8:14, 9:15, 8:16] = 1
    return label


def test_near_and_far_weigh_the_same():
    label = block_label()
    weights, near = voxel_weights(label), near_liver(label).bool()
    assert torch.allclose(weights.mean((1, 2, 3, 4)), torch.ones(2))
    assert torch.allclose((weights * near)[0].sum(), (weights * ~near)[0].sum())
    assert near[0].sum() > label[0].sum() and (label.bool() <= near).all()
    assert (weights[1] == 1).all()


def test_segmentation_is_lowest_where_probability_is_the_fraction():
    label = torch.rand(1, 1, 8, 8, 8, dtype=torch.float64).clamp(0.05, 0.95)
    best, weights, known = label.logit(), torch.ones_like(label), torch.ones(1, dtype=torch.float64)
    value = losses.segmentation(best, label, weights, known)
    assert losses.dice(best, label).abs().max() < 1e-12
    for change in (-0.1, 0.1):
        assert losses.segmentation(best + change, label, weights, known) > value


def test_dice_agrees_with_its_definition_on_masks():
    label = block_label()
    other = torch.roll(label, 2, 2)
    value = losses.dice((other * 2 - 1) * 40, label, smooth=0.0)[0]
    overlap = 2 * (label[0] * other[0]).sum() / (label[0].sum() + other[0].sum())
    assert value.item() == pytest.approx(1 - overlap.item(), abs=1e-6)


def plain_segmentation(output, label, weights, labelled):
    p = output.sigmoid()
    sums = [part.sum((1, 2, 3, 4)) for part in (p * label, p * p, label * label)]
    overlap = 1 - (2 * sums[0] + losses.DICE_SMOOTHING) / (sums[1] + sums[2] + losses.DICE_SMOOTHING)
    cross = functional.binary_cross_entropy_with_logits(output, label, weight=weights, reduction="none")
    return ((overlap + cross.mean((1, 2, 3, 4))) * labelled).mean()


def plain_kl(output, teacher, weights, temperature=2.0):
    ours, theirs = output / temperature, teacher / temperature
    divergence = theirs.sigmoid() * (theirs - ours) + functional.softplus(ours) - functional.softplus(theirs)
    return temperature**2 * (weights * divergence).mean()


@pytest.mark.parametrize(
    ("fast", "plain"), [(losses.segmentation, plain_segmentation), (losses.kl, plain_kl)], ids=["segmentation", "kl"]
)
def test_gradients_in_closed_form_are_those_of_autograd(fast, plain):
    """Logits so large that a probability is 1 in float32 are among them."""
    label, teacher = block_label(), logits(1, 5, (24, 24, 24), scale=10.0).float()
    label[1, :, 3:9, 3:9, 3:9] = 0.4
    known = {plain_segmentation: (label, voxel_weights(label), torch.tensor([1.0, 0.5]))}
    found = []
    for loss in (fast, plain):
        output = logits(1, 3, label.shape[2:], scale=20.0).float().requires_grad_()
        value = loss(output, *known.get(plain, (teacher, voxel_weights(label))))
        (3 * value).backward()
        found.append((value.detach(), output.grad))
    assert torch.allclose(*(value for value, _ in found), rtol=1e-5)
    assert torch.allclose(*(gradient for _, gradient in found), rtol=1e-3, atol=1e-9)


def test_volumes_without_a_label_do_not_teach_segmentation():
    label, output = block_label(), logits(1, 0, (24, 24, 24)).float().requires_grad_()
    losses.segmentation(output, label, voxel_weights(label), torch.tensor([1.0, 0.0])).backward()
    assert output.grad[0].abs().sum() > 0 and output.grad[1].abs().sum() == 0
