"""The methods on the real loop, small."""

from dataclasses import replace

import pytest
import torch

from support.training_fixtures import logged, makeBank, noValidation, smallConfig, takeSteps
from training.data.batches import TrainingBatch, voxel_weights
from training.errors import UserError
from training.fit import checkpoint, loop, machine, methods, train
from training.model import losses
from training.model.nets import UNet3D
from training.model.related_losses import TERMS
from training.options import Config, DistillSettings, Roles

ROLES = Roles(student_widths=(2, 3), assistant_widths=(3, 5), teacher_widths=(4, 8))


@pytest.fixture(scope="module")
def smallBank(tmp_path_factory):
    return makeBank(tmp_path_factory.mktemp("bank") / "bank")


@pytest.fixture(scope="module")
def teacher(smallBank, tmp_path_factory):
    config = smallConfig(smallBank, steps=10)
    return train.fit_teacher(ROLES, config, tmp_path_factory.mktemp("teacher"), noValidation)


ARMS = [
    "student",
    "kd",
    "kd:cwd",
    "takd:dist",
    "dgkd",
    "gtan",
    "gtan-fresh",
    "gtan-dense",
    "mskd",
    "boundary",
    "contrast",
    "mutual",
]


@pytest.mark.slow
@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_trains_a_student(arm, smallBank, teacher, tmp_path):
    config = smallConfig(smallBank, steps=8)
    method, roles = train.Method.parse(arm), replace(ROLES, teacher=(teacher,))
    plan = train.plan_student(method, roles, config, tmp_path / "run", tmp_path / "assistant", noValidation)
    [file] = loop.fit_together([plan], noValidation)
    assert checkpoint.read(file)["step"] == 8
    assert checkpoint.network(file, "student").widths == ROLES.student_widths
    assert (tmp_path / "assistant" / "checkpoint.pt").exists() == (method.kind in train.ASSISTED)
    names = {name for _, name, _ in logged(tmp_path / "run")}
    assert ("student kd" in names) == (arm != "student")
    assert ("student teacher" in names) == (arm == "gtan-dense")
    assert {name for name in TERMS if f"student {name}" in names} == {arm} & set(TERMS)
    assert ({"student features", "peer features"} <= names) == (arm == "mutual")


def test_arms_start_from_the_same_student(smallBank, teacher, tmp_path):
    config = smallConfig(smallBank)
    net = checkpoint.network(teacher)
    first = methods.supervised("student", ROLES.student_widths, config).nets["student"].state_dict()
    for task in (
        methods.kd("kd", ROLES.student_widths, [net], config),
        methods.gtan(ROLES.student_widths, [net], config),
    ):
        for role in task.nets:
            assert all(torch.equal(value, first[name]) for name, value in task.nets[role].state_dict().items())


@pytest.mark.slow
def test_the_assistant_grows_inside_the_run_and_the_student_does_not_notice(smallBank, teacher, tmp_path):
    config = smallConfig(smallBank, steps=13)
    task = methods.gtan(ROLES.student_widths, [checkpoint.network(teacher)], config)
    run = loop.TrainingRun(task, config, machine.start(config), tmp_path / "checkpoint.pt")
    takeSteps(run, 12)
    run.save()
    nets = checkpoint.read(run.file)["nets"]
    assert nets["assistant"]["widths"] == ROLES.teacher_widths and nets["student"]["widths"] == ROLES.student_widths
    assert [(entry["step"], entry["widths"]) for entry in nets["assistant"]["growths"]] == [(3, (3, 5)), (6, (4, 8))]
    assert nets["assistant"]["optimizer_start_step"] == 6 and nets["student"]["optimizer_start_step"] == 0
    assert nets["assistant"]["optimizer"]["state"][0]["step"] == 12  # moments were carried, not begun anew


@pytest.mark.slow
@pytest.mark.parametrize("stop", [2, 3, 4, 7])
def test_a_growing_run_resumes_bit_for_bit_before_at_and_after_growth(stop, smallBank, teacher, tmp_path):
    config = smallConfig(smallBank, steps=8)
    net = checkpoint.network(teacher)
    whole = checkpoint.read(
        loop.fit(methods.gtan(ROLES.student_widths, [net], config), config, tmp_path / "whole", noValidation)
    )
    run = loop.TrainingRun(
        methods.gtan(ROLES.student_widths, [net], config),
        config,
        machine.start(config),
        tmp_path / "parts" / "checkpoint.pt",
    )
    takeSteps(run, stop)
    run.save()
    parts = checkpoint.read(
        loop.fit(methods.gtan(ROLES.student_widths, [net], config), config, tmp_path / "parts", noValidation)
    )
    for role in ("assistant", "student"):
        for name, value in whole["nets"][role]["average"].items():
            assert torch.equal(value, parts["nets"][role]["average"][name]), (role, name)


def test_growth_ends_at_the_teacher_and_never_shrinks():
    plan = methods.growth_widths((5, 10, 20, 30), (16, 32, 64, 128), 3)
    assert plan[-1] == (16, 32, 64, 128)
    for narrow, wide in zip([(5, 10, 20, 30), *plan], plan, strict=False):
        assert all(n <= w for n, w in zip(narrow, wide, strict=True))


def batch(labelled):
    label = torch.zeros(2, 1, 16, 16, 16)
    label[:, :, 4:12, 4:12, 4:12] = 1
    return TrainingBatch(torch.zeros_like(label), label, voxel_weights(label), torch.tensor(labelled))


def test_volumes_without_label_teach_through_the_teacher_alone():
    config = Config()
    net = UNet3D((2, 3))
    task = methods.kd("kd", (2, 3), [net], config)
    student, teacher = (torch.randn(2, 1, 16, 16, 16, requires_grad=True) for _ in range(2))
    parts = task.objective({"student": student, "teacher0": teacher}, batch([0.0, 0.0]), 0)
    assert parts["student seg"] == 0 and parts["student kd"] > 0
    sum(parts.values()).backward()
    assert student.grad[1].abs().sum() > 0 and teacher.grad is None


def test_emphasis_follows_the_teacher_where_there_is_no_label():
    teacher = torch.full((2, 1, 16, 16, 16), -5.0)
    teacher[:, :, :3, :3, :3] = 5.0
    known = batch([1.0, 0.0])
    weights = methods.distillation_weights(known, teacher)
    assert torch.equal(weights[0], known.weights[0])
    assert torch.equal(weights[1], voxel_weights((teacher > 0).float())[1])


def test_dense_guidance_drops_teachers_by_step():
    config = Config(distill=DistillSettings(drop=0.5))
    task = methods.dgkd((2, 3), [UNet3D((2, 3)), UNet3D((2, 3))], config)
    maps = {name: torch.randn(2, 1, 16, 16, 16) for name in ("student", "teacher0", "teacher1")}
    values = {round(float(task.objective(maps, batch([1.0, 1.0]), step)["student kd"]), 3) for step in range(30)}
    assert len(values) == 4 and 0.0 in values  # none, the one, the other, both


@pytest.mark.parametrize("arm", ["banana", "kd:l2", "gtan-"])
def test_unknown_arms_are_refused(arm):
    with pytest.raises(UserError, match="is not an arm"):
        train.Method.parse(arm)


def test_distillation_without_a_teacher_is_refused(smallBank, tmp_path):
    with pytest.raises(UserError, match="needs --teacher"):
        train.plan_student(train.Method.parse("kd"), ROLES, smallConfig(smallBank), tmp_path, tmp_path, noValidation)


def test_a_run_may_begin_from_another_ones_network(smallBank, teacher, tmp_path):
    config = smallConfig(smallBank, start=teacher)
    net = methods.supervised("teacher", ROLES.teacher_widths, config).nets["teacher"]
    before = checkpoint.network(teacher).state_dict()
    assert net.training and all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    wide = methods.supervised("assistant", (6, 9), config).nets["assistant"].eval()
    image = torch.rand(1, 1, 16, 16, 16)
    assert torch.allclose(wide(image), net.eval()(image), atol=0.2)  # alike but for what breaks the symmetry
    assert not torch.equal(wide(image), net(image))
    with pytest.raises(UserError, match="can only grow"):
        methods.supervised("student", ROLES.student_widths, config)


def planned(arm, config, teacher, folder):
    roles = replace(ROLES, teacher=(teacher,))
    return train.plan_student(train.Method.parse(arm), roles, config, folder, folder / "assistant", noValidation)


@pytest.mark.slow
def test_runs_that_share_batches_and_teachers_give_what_each_gives_alone(smallBank, teacher, tmp_path):
    config, arms = smallConfig(smallBank, steps=6), ("kd", "gtan", "mskd")
    for arm in arms:
        loop.fit_together([planned(arm, config, teacher, tmp_path / "alone" / arm)], noValidation)
    stopped = planned("gtan", config, teacher, tmp_path / "together" / "gtan")  # the others wait for it
    run = loop.TrainingRun(stopped.task, config, machine.start(config), stopped.file)
    takeSteps(run, 2)
    run.save()
    loop.fit_together([planned(arm, config, teacher, tmp_path / "together" / arm) for arm in arms], noValidation)
    for arm in arms:
        alone, together = (checkpoint.read(tmp_path / way / arm / "checkpoint.pt") for way in ("alone", "together"))
        for name, value in alone["nets"]["student"]["average"].items():
            assert torch.equal(value, together["nets"]["student"]["average"][name]), (arm, name)
        assert logged(tmp_path / "alone" / arm)[-3:] == logged(tmp_path / "together" / arm)[-3:]
        assert all(seconds > 0 for seconds in together["spent"].values())


def test_runs_of_other_seeds_or_teachers_are_not_trained_together(smallBank, teacher, tmp_path):
    config = smallConfig(smallBank, steps=2)
    other = replace(config, loop=replace(config.loop, seed=1))
    for one in (planned("kd", other, teacher, tmp_path / "b"), planned("student", config, teacher, tmp_path / "b")):
        with pytest.raises(ValueError, match="cannot share"):
            loop.fit_together([planned("kd", config, teacher, tmp_path / "a"), one], noValidation)
    assert not any(tmp_path.iterdir())
