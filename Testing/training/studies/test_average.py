"""The mean of the weights of runs that began from one network."""

import pytest
import torch

from support.training_fixtures import makeBank, noValidation, smallConfig
from training.__main__ import main
from training.evaluation import evaluate
from training.fit import checkpoint, loop, methods
from training.fit.run_record import Averaging, MethodRecord
from training.release import reproduce
from training.settings import over
from training.studies.average import averaged

WIDTHS = (2, 3)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A start and two runs from it with different seeds."""
    folder = tmp_path_factory.mktemp("average")
    bank = makeBank(folder / "bank")
    first = smallConfig(bank, steps=4)
    start = loop.fit(methods.supervised("student", WIDTHS, first), first, folder / "start", noValidation)
    files = []
    for seed in (1, 2):
        config = smallConfig(bank, steps=4, start=start, seed=seed)
        files.append(
            loop.fit(methods.supervised("student", WIDTHS, config), config, folder / f"seed{seed}", noValidation)
        )
    return folder, start, files


@pytest.mark.slow
def test_the_mean_lies_between_and_is_a_checkpoint_like_any_other(runs, tmp_path):
    _, _, files = runs
    assert main(["average", *map(str, files), "--run", str(tmp_path)]) == 0
    content = checkpoint.read(tmp_path / "checkpoint.pt")
    one, two = (checkpoint.network(file).state_dict() for file in files)
    mean = checkpoint.network(tmp_path / "checkpoint.pt").state_dict()
    assert any(not torch.equal(one[name], two[name]) for name in one)
    assert all(
        torch.allclose(mean[name], (one[name] + two[name]) / 2) for name in mean if mean[name].is_floating_point()
    )
    assert MethodRecord.of(content["method"]).averaging == Averaging((1, 2)) and content["step"] == 4
    spent = [checkpoint.read(file)["spent"]["cpu"] for file in files]
    assert content["spent"]["cpu"] == pytest.approx(sum(spent))
    assert over(smallConfig(tmp_path), content["settings"], "").loop.start
    assert evaluate.model(str(tmp_path / "checkpoint.pt")).widths == WIDTHS


@pytest.mark.slow
def test_the_network_that_all_began_from_may_take_part(runs, tmp_path):
    _, start, files = runs
    assert main(["average", *map(str, files), str(start), "--run", str(tmp_path)]) == 0
    content, one = checkpoint.read(tmp_path / "checkpoint.pt"), checkpoint.read(files[0])
    assert MethodRecord.of(content["method"]).averaging == Averaging((1, 2), str(start))
    assert content["settings"]["loop"] == one["settings"]["loop"]
    command = reproduce.fit(content, "mean", "")
    assert command.count(" fit student ") == 2
    assert command.endswith("runs/mean-seed2/checkpoint.pt runs/start/checkpoint.pt --role student --run runs/mean")


def test_counters_are_kept():
    states = [{"weight": torch.tensor([value]), "count": torch.tensor(value, dtype=torch.long)} for value in (1.0, 3.0)]
    mean = averaged(states)
    assert mean["weight"] == 2 and mean["count"] == 1


@pytest.mark.slow
def test_runs_of_different_beginnings_are_refused(runs, tmp_path, capsys):
    folder, _, files = runs
    config = smallConfig(folder / "bank", steps=2, seed=3)
    stranger = loop.fit(methods.supervised("student", WIDTHS, config), config, folder / "stranger", noValidation)
    assert main(["average", str(stranger), str(files[0]), "--run", str(tmp_path)]) == 2
    assert "did not begin from one network" in capsys.readouterr().err
    assert main(["average", str(files[0]), "--run", str(tmp_path)]) == 2
    assert main(["average", *map(str, files), "--role", "teacher", "--run", str(tmp_path)]) == 2
    assert "holds a teacher" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_runs_that_differ_in_more_than_the_seed_are_refused(runs, tmp_path, capsys):
    folder, start, files = runs
    config = smallConfig(folder / "bank", steps=6, start=start, seed=3)
    longer = loop.fit(methods.supervised("student", WIDTHS, config), config, folder / "longer", noValidation)
    assert main(["average", str(files[0]), str(longer), "--run", str(tmp_path)]) == 2
    assert "more than the seed (loop.steps: 4 -> 6)" in capsys.readouterr().err


@pytest.mark.slow
def test_the_first_network_of_their_line_may_take_part_too(runs, tmp_path):
    folder, start, files = runs
    again = []
    for seed in (0, 1):
        config = smallConfig(folder / "bank", steps=2, start=files[0], seed=seed + 5)
        task = methods.supervised("student", WIDTHS, config)
        again.append(loop.fit(task, config, tmp_path / f"again{seed}", noValidation))
    assert main(["average", *map(str, again), str(start), "--run", str(tmp_path / "mean")]) == 0
    method = MethodRecord.of(checkpoint.read(tmp_path / "mean" / "checkpoint.pt")["method"])
    assert method.averaging == Averaging((5, 6), str(start))


def test_nothing_is_replaced_and_each_run_counts_once(runs, tmp_path, capsys):
    _, _, files = runs
    mean = tmp_path / "mean"
    assert main(["average", str(files[0]), str(files[0]), "--run", str(mean)]) == 2
    assert "hold the same network" in capsys.readouterr().err and not mean.exists()
    assert main(["average", *map(str, files), "--run", str(mean)]) == 0
    before = (mean / "checkpoint.pt").read_bytes()
    assert main(["average", *map(str, files), "--run", str(mean)]) == 2
    assert "is there already" in capsys.readouterr().err and (mean / "checkpoint.pt").read_bytes() == before
