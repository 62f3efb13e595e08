"""The loop: resuming, killing, two processes, signals, and errors a user can act on."""

import dataclasses
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from support.full_disk import fullDisk
from support.training_fixtures import (
    logged,
    makeBank,
    makeScans,
    noValidation,
    options,
    smallConfig,
    takeSteps,
    trainingProcess,
)
from training.data.bank import BankError
from training.data.batches import Batches, BatchesByStep, drawn_by_processes
from training.errors import UserError
from training.fit import checkpoint, loop, machine, methods, train
from training.options import DataSettings, MachineSettings, Roles

WIDTHS = (2, 3, 4)


@pytest.fixture(scope="module")
def smallBank(tmp_path_factory):
    return makeBank(tmp_path_factory.mktemp("bank") / "bank")


def fit(config, folder, widths=WIDTHS):
    return loop.fit(methods.supervised("student", widths, config), config, folder, noValidation)


@pytest.mark.slow
def test_loss_falls(smallBank, tmp_path):
    config = smallConfig(smallBank, steps=60, rate=0.02, warmup=5)
    fit(config, tmp_path)
    values = [value for _, name, value in logged(tmp_path) if name == "student seg"]
    assert len(values) == 60
    assert sum(values[-10:]) < 0.7 * sum(values[:10])


@pytest.mark.slow
def test_stopping_and_resuming_changes_nothing(smallBank, tmp_path):
    config = smallConfig(smallBank, steps=8)
    whole = checkpoint.read(fit(config, tmp_path / "whole"))
    task, folder = methods.supervised("student", WIDTHS, config), tmp_path / "parts"
    fabric = machine.start(config)
    run = loop.TrainingRun(task, config, fabric, folder / "checkpoint.pt")
    takeSteps(run, 3)
    run.save()
    resumed = checkpoint.read(fit(config, folder))
    for part in ("weights", "average"):
        for name, value in whole["nets"]["student"][part].items():
            assert torch.equal(value, resumed["nets"]["student"][part][name]), (part, name)


@pytest.mark.slow
def test_a_killed_run_repeats_the_losses_bit_for_bit(smallBank, tmp_path):
    config = smallConfig(smallBank, steps=400, checkpoint_seconds=0.2)
    words = ("fit", "student", "--student-widths", *WIDTHS, *options(config), "--run")
    process = trainingProcess(*words, tmp_path / "killed")
    file = tmp_path / "killed" / "checkpoint.pt"
    deadline = time.monotonic() + 60
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert 0 < checkpoint.read(file)["step"] < 400
    fit(config, tmp_path / "killed")
    fit(config, tmp_path / "whole")
    assert logged(tmp_path / "killed") == logged(tmp_path / "whole")


@pytest.mark.slow
def test_two_processes_have_the_loss_of_one_even_when_growing(smallBank, tmp_path):
    config = smallConfig(smallBank, steps=8)
    roles = Roles(student_widths=(2, 3), assistant_widths=(3, 4), teacher_widths=(4, 6))
    teacher = train.fit_teacher(roles, config, tmp_path / "teacher", noValidation)
    process = trainingProcess(
        "fit",
        "gtan",
        "--student-widths",
        *roles.student_widths,
        "--teacher",
        teacher,
        *options(config),
        "--devices",
        2,
        "--strategy",
        "ddp",
        "--run",
        tmp_path / "two",
    )
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    roles = dataclasses.replace(roles, teacher=(teacher,))
    plan = train.plan_student(train.Method("gtan"), roles, config, tmp_path / "one", tmp_path, noValidation)
    loop.fit_together([plan], noValidation)
    pairs = list(zip(logged(tmp_path / "two"), logged(tmp_path / "one"), strict=True))
    assert len(pairs) == 8 * 5  # four losses and the rate
    for (step, name, ours), (_, _, theirs) in pairs:
        assert ours == pytest.approx(theirs, abs=1e-4), (step, name)


def test_a_terminated_run_leaves_a_checkpoint_and_says_how_to_go_on(smallBank, tmp_path):
    config = smallConfig(smallBank, steps=1_000_000)
    task, folder = methods.supervised("student", WIDTHS, config), tmp_path
    calls = []

    def objective(outputs, batch, step):
        calls.append(step)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGTERM)
        return first(outputs, batch, step)

    first, task.objective = task.objective, objective
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(UserError, match="Stopped at step 3"):
        loop.fit(task, config, folder, noValidation)
    assert checkpoint.read(folder / "checkpoint.pt")["step"] == 3
    assert signal.getsignal(signal.SIGTERM) == handler


def test_a_loss_that_is_not_finite_ends_the_run(smallBank, tmp_path):
    config = smallConfig(smallBank)
    task = methods.supervised("student", WIDTHS, config)
    task.objective = lambda outputs, batch, step: {"student seg": outputs["student"].sum() * float("nan")}
    with pytest.raises(UserError, match="not finite at step 1"):
        loop.fit(task, config, tmp_path, noValidation)


def test_ruined_weights_do_not_replace_a_good_checkpoint(smallBank, tmp_path):
    config = smallConfig(smallBank, steps=100, log_every=1000, checkpoint_seconds=0.0)
    task = methods.supervised("student", WIDTHS, config)
    first = task.objective

    def objective(outputs, batch, step):
        parts = first(outputs, batch, step)
        return {name: value * (float("nan") if step == 3 else 1) for name, value in parts.items()}

    task.objective = objective
    with pytest.raises(UserError, match=r"not finite at step 4.*goes on from"):
        loop.fit(task, config, tmp_path, noValidation)
    assert checkpoint.read(tmp_path / "checkpoint.pt")["step"] == 3


def test_a_bank_that_vanishes_ends_with_a_sentence(smallBank, tmp_path):
    bank = shutil.copytree(smallBank, tmp_path / "bank")
    config = smallConfig(bank, steps=100_000, checkpoint_seconds=0.0)
    task = methods.supervised("student", WIDTHS, config)
    first = task.objective

    def objective(outputs, batch, step):
        if step == 3:
            shutil.rmtree(bank)
        return first(outputs, batch, step)

    task.objective = objective
    with pytest.raises(UserError, match=r"data vanished.*goes on from"):
        loop.fit(task, config, tmp_path / "run", noValidation)
    assert checkpoint.read(tmp_path / "run" / "checkpoint.pt")["step"] >= 3


@pytest.mark.parametrize("error", [MemoryError("no room"), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_running_out_of_memory_is_said_plainly(error, tmp_path):
    with pytest.raises(UserError, match=r"Out of memory.*lower --batch"), machine.clear_errors(tmp_path / "none"):
        raise error


def test_a_full_disk_keeps_the_last_checkpoint(smallBank, tmp_path):
    config = smallConfig(smallBank, steps=2)
    file = fit(config, tmp_path)
    before = file.read_bytes()
    nets = checkpoint.read(file)["nets"]
    with fullDisk(4096), pytest.raises(UserError, match=r"cannot be written .* make room"):
        checkpoint.write(file, nets, 9, {}, {})
    assert file.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint.pt", "config.toml", "curves.png", "log.csv"}


@pytest.mark.parametrize("damage", ["missing", "cut off", "altered"])
def test_damaged_scans_are_found_before_the_first_step(tmp_path, damage):
    """Of the two scans only one is drawn before the last step."""
    scans = makeScans(tmp_path / "scans")
    file = scans / "two-label.npy"
    content = file.read_bytes()
    file.unlink() if damage == "missing" else file.write_bytes(content[:-1] + b"x" * (damage == "altered"))
    data = DataSettings(bank=(), scans=scans, window=(16, 16, 24), labelled_only=True)
    config = dataclasses.replace(smallConfig(scans, steps=2, batch=1), data=data)
    with pytest.raises(BankError, match=r"two.* pack the scans anew"):
        fit(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    data = dataclasses.replace(data, leave_out=("b",))  # what is not drawn need not be there
    assert fit(dataclasses.replace(config, data=data), tmp_path / "run").exists()


def test_a_bank_that_the_network_cannot_take_is_refused(smallBank, tmp_path):
    with pytest.raises(UserError, match=r"volumes of \(16, 16, 24\); this network needs multiples of 32"):
        fit(smallConfig(smallBank), tmp_path, widths=(2, 3, 4, 5, 6))


def test_bf16_is_refused_where_the_processor_gets_it_wrong(tmp_path):
    config = smallConfig(makeBank(tmp_path / "bank", (16, 16, 32)))
    config = dataclasses.replace(config, machine=dataclasses.replace(config.machine, precision="bf16-mixed"))
    with pytest.raises(UserError, match="use --precision 32-true"):
        fit(config, tmp_path, widths=(2, 3, 4, 5))
    assert not (tmp_path / "checkpoint.pt").exists()


def test_rate_warms_up_decays_and_warms_up_again_after_growth(smallBank):
    config = smallConfig(smallBank, steps=100, warmup=10, rate=1.0)
    rates = [loop.rate(config, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1, rel=0.01) and max(rates) == rates[9]
    assert rates[9:] == sorted(rates[9:], reverse=True) and rates[-1] < 0.02
    assert loop.rate(config, 50, start_step=50) == pytest.approx(rates[50] / 10)


def test_batches_depend_on_seed_and_step_alone_and_visit_every_volume(smallBank):
    config = smallConfig(smallBank)
    ours, again = Batches(config, 0, 1), Batches(config, 0, 1)
    assert torch.equal(ours.at(4).image, again.at(4).image)
    shares = [Batches(config, rank, 2).at(4).image for rank in range(2)]
    assert torch.equal(torch.cat(shares), ours.at(4).image)
    assert sum(float(ours.at(step).labelled.sum()) for step in range(3)) == 5


def test_batches_that_are_prepared_several_at_a_time_come_in_order(smallBank, monkeypatch):
    config = smallConfig(smallBank)
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 3)
    alone = Batches(config, 0, 1)
    with loop.Prefetcher(config, machine.start(config), 2) as batches:
        assert batches.ahead == 3  # on one thread each
        for step in (2, 3, 4, 5):
            assert torch.equal(batches.next().image, alone.at(step).image)
    assert batches.step == 6


def test_batches_drawn_by_processes_are_the_same_and_what_fails_there_is_raised(smallBank, tmp_path):
    bank = Path(shutil.copytree(smallBank, tmp_path / "bank"))
    config = smallConfig(bank, steps=40)
    dataset, alone = BatchesByStep(config, 0, 1), Batches(config, 0, 1)
    drawn = drawn_by_processes(dataset, range(3, 40), 1, machine.prepare_drawing)
    for step in (3, 4):
        batch, expected = next(drawn).on(torch.device("cpu")), alone.at(step)
        assert torch.allclose(batch.image, expected.image, atol=5e-4)  # half precision on the way
        assert torch.equal(batch.weights, expected.weights)
    bank.rename(tmp_path / "elsewhere")
    assert any(isinstance(batch, FileNotFoundError) and str(bank) in str(batch) for batch in drawn)


def test_a_gpu_is_served_by_processes_where_there_are_processors(monkeypatch):
    gpu = SimpleNamespace(device=torch.device("cuda"), world_size=1)
    processor = SimpleNamespace(device=torch.device("cpu"), world_size=1)
    for processors, expected in ((2, 0), (8, 6), (16, 14)):
        monkeypatch.setattr(machine.os, "cpu_count", lambda count=processors: count)
        assert machine.drawing_processes(MachineSettings(), gpu) == expected
        assert machine.drawing_processes(MachineSettings(), processor) == 0
    assert machine.drawing_processes(MachineSettings(workers=3), gpu) == 3
    assert machine.drawing_processes(MachineSettings(workers=0), gpu) == 0
    with pytest.raises(ValueError, match="workers"):
        MachineSettings(workers=-1)


@pytest.mark.slow
def test_average_follows_the_weights(smallBank, tmp_path):
    config = smallConfig(smallBank, steps=20, average=0.5)
    task = methods.supervised("student", WIDTHS, config)
    run = loop.TrainingRun(task, config, machine.start(config), tmp_path / "checkpoint.pt")
    takeSteps(run, 20)
    net = run.trainees["student"].pack(resumable=True)
    gaps = [(net["average"][n] - net["weights"][n]).abs().max() for n in net["weights"] if n.endswith("weight")]
    assert 0 < max(gaps) < 0.05
