"""The best checkpoint beside the last, the curves, and the log of a run that was stopped."""

import dataclasses

import pytest

from support.training_fixtures import logged, makeBank, noValidation, runWithBest, smallConfig
from training.data.bank import Bank
from training.errors import UserError
from training.fit import checkpoint, loop, methods, run_log, train
from training.model.nets import UNet3D

WIDTHS = (2, 3)


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    return makeBank(tmp_path_factory.mktemp("bank") / "bank")


def watching(*figures):
    """A validation that finds these Dice values, one after the other."""
    left = list(figures)
    return lambda net: {"a": left[0] - 0.1, "b": left.pop(0) + 0.1}


def fit(config, folder, validate=noValidation):
    return loop.fit(methods.supervised("student", WIDTHS, config), config, folder, validate)


def test_the_best_step_by_validation_is_beside_the_last(bank, tmp_path):
    file = fit(smallConfig(bank, steps=8, validate_every=2), tmp_path, watching(0.5, 0.8, 0.8, 0.6))
    best = checkpoint.read(tmp_path / "best.pt")
    assert (checkpoint.read(file)["step"], best["step"]) == (8, 4)
    assert best["best"]["dice"] == pytest.approx(0.8) and set(best["best"]["cases"]) == {"a", "b"}
    assert checkpoint.network(tmp_path / "best.pt").widths == WIDTHS
    assert train.teacher_role(tmp_path / "best.pt") == "student"
    assert checkpoint.network_digest(tmp_path / "best.pt") != checkpoint.network_digest(file)


def test_a_resumed_run_knows_what_was_best(bank, tmp_path):
    config = smallConfig(bank, steps=6, validate_every=2)
    runWithBest(config, tmp_path, 0.9)
    fit(config, tmp_path, watching(0.7, 0.8))
    assert checkpoint.read(tmp_path / "best.pt")["step"] == 2


def test_a_new_run_does_not_keep_the_best_of_one_that_left_no_checkpoint(bank, tmp_path):
    fit(smallConfig(bank, steps=2, validate_every=1), tmp_path, watching(0.9, 0.5))
    (tmp_path / "checkpoint.pt").unlink()
    fit(smallConfig(bank, steps=2, seed=1), tmp_path)
    assert not (tmp_path / "best.pt").exists()


def test_of_student_and_assistant_the_student_decides(bank, tmp_path):
    config = smallConfig(bank, steps=4, validate_every=2)
    task, seen = methods.gtan((2, 3), [UNet3D((3, 4))], config), []

    def validate(net):
        seen.append(net.widths)
        late = len(seen) > 2
        return {"a": (0.2 if late else 0.6) if net.widths == (2, 3) else 0.9}

    loop.fit(task, config, tmp_path, validate)
    best = checkpoint.read(tmp_path / "best.pt")
    assert best["step"] == 2 and best["best"]["role"] == "student" and set(best["nets"]) == {"assistant", "student"}


def test_without_validation_there_is_no_best(bank, tmp_path):
    fit(smallConfig(bank, steps=2), tmp_path)
    assert not (tmp_path / "best.pt").exists()


@pytest.mark.parametrize("stopped", [1, 6, 7])
def test_a_line_of_the_log_after_a_stop_is_of_as_many_steps_as_any_other(bank, tmp_path, stopped):
    config = smallConfig(bank, steps=12, log_every=4)
    fit(config, tmp_path / "whole")
    task, folder = methods.supervised("student", WIDTHS, config), tmp_path / "parts"
    run = loop.TrainingRun(task, config, loop.machine.start(config), folder / "checkpoint.pt")
    nothing = {"wall": 0.0, "cpu": 0.0}
    with (
        loop.Prefetcher(config, run.fabric, 0) as batches,
        run_log.RunLog(folder, "part", config, 0, run.fabric) as log,
    ):
        for _ in range(stopped):
            run.take_step(batches.next(), {}, nothing, log, noValidation)
    run.save()
    fit(config, folder)
    assert logged(folder) == logged(tmp_path / "whole")


def test_curves_of_losses_and_dice_are_drawn(bank, tmp_path):
    from matplotlib.image import imread

    fit(smallConfig(bank, steps=4, validate_every=2), tmp_path / "watched", watching(0.5, 0.8))
    fit(smallConfig(bank, steps=4), tmp_path / "alone")
    watched, alone = (imread(tmp_path / name / "curves.png") for name in ("watched", "alone"))
    assert watched.shape[0] > alone.shape[0] > 200 and watched[..., :3].std() > 0.05


def test_a_picture_that_fails_does_not_end_the_run(bank, tmp_path, monkeypatch, caplog):
    from training.fit import curves

    monkeypatch.setattr(curves, "plot", lambda *_: 1 / 0)
    assert fit(smallConfig(bank, steps=2), tmp_path).exists()
    assert "curves.png could not be drawn" in caplog.text


def test_an_unfinished_bank_is_refused_before_anything_is_written(bank, tmp_path):
    part = Bank.create(tmp_path / "bank", 3, (16, 16, 24), {"git": "test"})
    part.write(0, *Bank.open(bank)[0][:2], {"source": "a", "kind": "real", "labelled": True})
    with pytest.raises(UserError, match="holds 1 of 3 volumes; finish it by the `synthesize` command"):
        fit(smallConfig(part.path), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_index_that_lost_a_line_is_refused(bank, tmp_path):
    import shutil

    copied = shutil.copytree(bank, tmp_path / "bank")
    lines = (copied / "index.jsonl").read_text().splitlines(True)
    (copied / "index.jsonl").write_text("".join(lines[:-2]))
    with pytest.raises(UserError, match="holds 4 of 6 volumes"):
        fit(smallConfig(copied), tmp_path / "run")


def test_labels_are_needed_where_no_teacher_teaches(bank, tmp_path):
    bare = Bank.create(tmp_path / "bank", 1, (16, 16, 24), {"git": "test"})
    bare.write(0, *Bank.open(bank)[0][:2], {"source": "a", "kind": "real", "labelled": False})
    with pytest.raises(UserError, match="No volume of the training data has a label"):
        fit(smallConfig(bare.path), tmp_path / "run")
    config = dataclasses.replace(smallConfig(bare.path, steps=1))
    task = methods.kd("kd", WIDTHS, [UNet3D((3, 4)).eval()], config)
    assert loop.fit(task, config, tmp_path / "run", noValidation).exists()


def test_tensorboard_gets_every_figure_where_it_is_installed(bank, tmp_path, monkeypatch):
    """A recorder in place of its writer, which need not be installed here."""
    scalars, closed = [], []

    class Writer:
        def add_scalar(self, name, value, step):
            scalars.append((step, name, value))

        def close(self):
            closed.append(True)

    monkeypatch.setattr(run_log, "tensorboard", lambda folder: Writer())
    fit(smallConfig(bank, steps=2, validate_every=2), tmp_path, watching(0.5))
    assert scalars == logged(tmp_path) and closed == [True]
    assert {name for _, name, _ in scalars} == {"student seg", "rate", "student/a", "student/b"}
