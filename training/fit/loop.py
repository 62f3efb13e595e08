"""The one training loop: every method of `methods.py` runs on it.

Batch, view and learning rate are functions of (seed, step) alone, so a checkpoint needs no data-loader state and a
resumed run repeats the lost steps bit for bit on a CPU.
"""

from __future__ import annotations

import itertools
import logging
import math
import statistics
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from training.code_version import commit
from training.data.batches import Batches, BatchesByStep, TrainingBatch, drawn_by_processes
from training.data.training_data import TrainingData
from training.errors import UserError
from training.fit import checkpoint, machine, network_file
from training.fit import start as start_network
from training.fit.run_log import LossWindow, RunLog
from training.fit.run_record import BankRecord, MethodRecord, RunRecord, TeacherRecord, require_same
from training.fit.trainee import Trainee
from training.model.nets import UNet3D
from training.options import Config

logger = logging.getLogger(__name__)

Outputs = dict[str, torch.Tensor]  # logits_B1DHW of every network, by role; "ROLE features": see TrainingTask
Objective = Callable[[Outputs, TrainingBatch, int], dict[str, torch.Tensor]]
Validate = Callable[[UNet3D], dict[str, float]]
Began = Callable[[], None]
CHECKPOINT = "checkpoint.pt"
"""Name of the last step's file in a run's folder."""


def do_nothing() -> None:
    """For whoever need not know that a run begins."""


@dataclass
class TrainingTask:
    """What one run trains. `nets` are trained together, `teachers` are frozen; all see the same batch.

    objective: (outputs, batch, step) -> named losses, whose sum is minimized.
    method: how, for the checkpoint; the network "assistant" grows as its growth plan says.
    features: whether the outputs shall hold what each network's head gets, too, as "ROLE features".
    """

    name: str
    method: MethodRecord
    nets: dict[str, UNet3D]
    objective: Objective
    teachers: dict[str, UNet3D] = field(default_factory=dict)
    features: bool = False

    def record(self, config: Config, fabric: Fabric) -> RunRecord:
        """All that decides what this run gives."""
        start = config.loop.start
        return RunRecord(
            method=self.method,
            networks={role: net.architecture() for role, net in self.nets.items()},
            teachers={
                role: TeacherRecord(net.widths, network_file.digest(net.state_dict()))
                for role, net in self.teachers.items()
            },
            data=tuple(BankRecord(*part) for part in TrainingData(config.data).parts()),
            start=start_network.digest(start) if start else None,
            precision=machine.precision(fabric),
            settings=config,
        )


def fit(task: TrainingTask, config: Config, folder: Path, validate: Validate, began: Began = do_nothing) -> Path:
    """Trains the task in `folder`, resuming what is there; returns its checkpoint. Beside it is `best.pt`, of the step
    with the best validation Dice, if there is validation.

    began: called once nothing speaks against the run any more and steps are about to be taken.
    Stops early, with a checkpoint, on SIGTERM. Raises UserError with a sentence when the folder holds another run, or
    when memory, disk or data fail; the last checkpoint stays usable.
    """
    return fit_together([Planned(task, config, folder, began)], validate)[0]


@dataclass(frozen=True)
class Planned:
    """A run to take: what it trains, with which settings and in which folder; began: see `fit`."""

    task: TrainingTask
    config: Config
    folder: Path
    began: Began = do_nothing

    @property
    def file(self) -> Path:
        """Its checkpoint."""
        return self.folder / CHECKPOINT

    def shared(self) -> tuple[Any, ...]:
        """What runs must have in common to be trained together: all that decides batches and teachers' outputs."""
        teachers = tuple(network_file.digest(net.state_dict()) for net in self.task.teachers.values())
        loop = self.config.loop
        return self.config.data, self.config.machine, teachers, loop.seed, loop.steps, loop.batch, loop.deterministic


def fit_together(planned: Sequence[Planned], validate: Validate) -> list[Path]:
    """Trains several tasks in one loop, each as `fit` does, with the same result as alone; returns their checkpoints.

    They share each batch and the teachers' outputs on it, which take more than half of a small student's step.
    Raises ValueError when they cannot (`Planned.shared`), else as `fit`.
    """
    for one in planned[1:]:
        if one.shared() != planned[0].shared():
            raise ValueError(f"{one.folder} and {planned[0].folder} cannot share batches and teachers.")
    fabric, left = machine.start(planned[0].config), []
    for one in planned:
        if not is_finished(one.task, one.config, one.file):
            left.append(one)
        elif fabric.is_global_zero:
            steps = one.config.loop.steps
            logger.info("%s has taken all of its %d steps already: nothing is left to train.", one.file, steps)
    if left:
        take_steps(left, fabric, validate)
    return [one.file for one in planned]


def take_steps(planned: Sequence[Planned], fabric: Fabric, validate: Validate) -> None:
    """The loop of `fit_together`: a step of every run on one batch; runs that are ahead wait for the others."""
    runs = [TrainingRun(one.task, one.config, fabric, one.file) for one in planned]
    for run, one in zip(runs, planned, strict=True):
        run.begin(one.began)
    steps, features = runs[0].config.loop.steps, any(run.task.features for run in runs)
    with (
        machine.clear_errors(runs[0].file),
        machine.TerminationRequest() as stop,
        ExitStack() as opened,
        Prefetcher(runs[0].config, fabric, min(run.step for run in runs)) as batches,
    ):
        logs = [
            opened.enter_context(RunLog(one.folder, one.task.name, one.config, run.step, fabric))
            for run, one in zip(runs, planned, strict=True)
        ]
        while batches.step < steps and not machine.any_process(stop.received, fabric):
            step, before = batches.step, time_spent()
            batch = batches.next()
            known = runs[0].teacher_outputs(batch, features)
            shared = since(before)
            for run, log in zip(runs, logs, strict=True):
                if run.step == step:
                    run.take_step(batch, known, shared, log, validate)
    for run in runs:
        run.save()
    if batches.step < steps:
        files = " and ".join(str(run.file) for run in runs)
        raise UserError(f"Stopped at step {batches.step} by a signal; the same command goes on from {files}.")


def is_finished(task: TrainingTask, config: Config, file: Path) -> bool:
    """Whether a checkpoint is of this task's last step; False without one. Raises UserError for another run's."""
    if not file.exists():
        return False
    saved = checkpoint.read(file)
    require_same(saved, task.record(config, machine.start(config)).plain(), file)
    return saved["step"] >= config.loop.steps


class TrainingRun:
    """The state of a training run: trainees, frozen teachers, step, time spent."""

    def __init__(self, task: TrainingTask, config: Config, fabric: Fabric, file: Path) -> None:
        self.task, self.config, self.fabric, self.file = task, config, fabric, file
        commit()  # asked now: while a run goes on, its code may change on disk
        nets = [*task.nets.values(), *task.teachers.values()]
        data = TrainingData(config.data)
        require_trainable(task, data)
        machine.require_computable(nets, data.shape, fabric)
        self.record = task.record(config, fabric).plain()
        self.teachers = {role: machine.placed(net, fabric).eval() for role, net in task.teachers.items()}
        saved = checkpoint.read(file, fabric.device) if file.exists() else None
        if saved:
            require_same(saved, self.record, file)
        self.trainees = self._trainees(saved)
        self.step = saved["step"] if saved else 0
        self.spent = saved["spent"] if saved else {"wall": 0.0, "cpu": 0.0}
        self.code = saved["code"] if saved else ""
        self.window = LossWindow(saved.get("window") if saved else None, fabric.device)
        self.best_file = file.with_name("best.pt")
        self.best = best_dice(self.best_file) if saved else -math.inf
        self.saved = time.monotonic()

    def _trainees(self, saved: dict | None) -> dict[str, Trainee]:
        """New trainees, or those of the checkpoint at the widths to which they had grown."""
        if saved is None:
            return {role: Trainee.new(net, self.fabric, self.config) for role, net in self.task.nets.items()}
        return {
            role: Trainee.unpack(saved["nets"][role], net, self.fabric, self.config)
            for role, net in self.task.nets.items()
        }

    def begin(self, began: Began) -> None:
        """The first step is about to be taken: `best.pt` of a run that left no checkpoint goes."""
        if self.fabric.is_global_zero:
            began()
            if self.step == 0:
                self.best_file.unlink(missing_ok=True)
                if self.config.loop.start:
                    start_network.keep_copy(self.config.loop.start, self.file.parent)

    def grow_if_due(self) -> None:
        """Widens the assistant when the growth plan names this step."""
        for growth in self.task.method.growth[1:]:  # the first one is the size that it begins with
            if growth.step == self.step:
                grown = self.trainees["assistant"].grown(growth.widths, self.step, self.fabric, self.config)
                self.trainees["assistant"] = grown

    def take_step(
        self, batch: TrainingBatch, known: Outputs, shared: dict[str, float], log: RunLog, validate: Validate
    ) -> None:
        """A step with all that belongs to it: growth, log, validation, checkpoint.

        known: see `teacher_outputs`. shared: seconds that this and the batch took, which count as if it were alone.
        """
        before = time_spent()
        self.grow_if_due()
        self.update(batch, known)
        log.losses(self.step, self.window, rate(self.config, self.step))
        if self.fabric.is_global_zero and due(self.step, self.config):
            figures = {role: validate(one.average) for role, one in self.trainees.items()}
            log.figures(self.step, figures)
            self.save_if_best(figures)
        self.save_if_due()
        for kind, seconds in since(before).items():
            self.spent[kind] += shared[kind] + seconds

    def update(self, batch: TrainingBatch, known: Outputs) -> dict[str, torch.Tensor]:
        """One optimizer step of every trainee on one batch, with the teachers' outputs on it; the losses."""
        losses = self.task.objective(known | self.outputs(batch), batch, self.step)
        self.fabric.backward(sum(losses.values(), torch.zeros((), device=self.fabric.device)))
        for trainee in self.trainees.values():
            for group in trainee.optimizer.param_groups:
                group["lr"] = rate(self.config, self.step, trainee.optimizer_start_step)
            self.fabric.clip_gradients(
                trainee.net, trainee.optimizer, max_norm=self.config.loop.clip, error_if_nonfinite=False
            )
            trainee.optimizer.step()
            trainee.optimizer.zero_grad(set_to_none=True)
            trainee.update_average(self.config.loop.average, self.step)
        self.step += 1
        detached = {name: loss.detach() for name, loss in losses.items()}
        self.window.add(detached)
        return detached

    def teacher_outputs(self, batch: TrainingBatch, features: bool) -> Outputs:
        """Of the frozen teachers on a batch, with the features of their heads if these are wanted."""
        with features_of(self.teachers if features else {}) as found, torch.no_grad(), self.fabric.autocast():
            outputs = {role: net(batch.image).float() for role, net in self.teachers.items()}
        return outputs | found

    def outputs(self, batch: TrainingBatch) -> Outputs:
        """Of the trained networks on a batch."""
        nets = {role: one.unwrapped for role, one in self.trainees.items()}
        with features_of(nets if self.task.features else {}) as found:
            outputs = {role: one.net(batch.image).float() for role, one in self.trainees.items()}
        return outputs | found

    def save_if_due(self) -> None:
        """A checkpoint every few minutes."""
        if time.monotonic() - self.saved > self.config.loop.checkpoint_seconds:
            self.save()

    def save(self) -> None:
        """A checkpoint now, from the first process. Raises UserError rather than save weights that are not finite."""
        useless = [role for role, trainee in self.trainees.items() if not trainee.finite()]
        if useless:
            raise UserError(
                f"The weights of the {', '.join(useless)} are not finite at step {self.step}; lower --rate "
                f"or use --precision 32-true. {machine.what_is_saved(self.file)}"
            )
        self.saved = time.monotonic()
        if self.fabric.is_global_zero:
            self._write(self.file, {"window": self.window.pack()}, resumable=self.step < self.config.loop.steps)

    def save_if_best(self, figures: dict[str, dict[str, float]]) -> None:
        """`best.pt`, when the student (or the only network) never had a better mean Dice on the validation cases."""
        role = "student" if "student" in figures else next(iter(figures))
        dice = statistics.fmean(figures[role].values()) if figures[role] else -math.inf
        if dice > self.best and self.trainees[role].finite():
            self.best = dice
            self._write(self.best_file, {BEST: {"role": role, "dice": dice, "cases": figures[role]}}, resumable=False)

    def _write(self, file: Path, more: dict[str, Any], resumable: bool) -> None:
        nets = {role: trainee.pack(resumable) for role, trainee in self.trainees.items()}
        checkpoint.write(file, nets, self.step, self.record | more, self.spent, self.code)


def time_spent() -> dict[str, float]:
    """Seconds of wall and processor time, from any beginning."""
    return {"wall": time.monotonic(), "cpu": time.process_time()}


def since(before: dict[str, float]) -> dict[str, float]:
    """Seconds that passed after `time_spent` gave this."""
    return {kind: now - before[kind] for kind, now in time_spent().items()}


@contextmanager
def features_of(nets: dict[str, UNet3D]) -> Iterator[Outputs]:
    """What the heads of networks get while they compute inside the block, float32, as "ROLE features"."""
    found: Outputs = {}

    def keep(role: str, module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        found[f"{role} features"] = inputs[0].float()

    hooks = [net.head.register_forward_pre_hook(partial(keep, role)) for role, net in nets.items()]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


BEST = "best"
"""What a checkpoint of the best validation holds beside the rest: role, mean Dice, Dice of each case."""


def best_dice(file: Path) -> float:
    """The mean Dice for which a run's `best.pt` was written; minus infinity without one."""
    found = checkpoint.read(file).get(BEST) if file.exists() else None
    return found["dice"] if found else -math.inf


def require_trainable(task: TrainingTask, data: TrainingData) -> None:
    """Raises UserError for a bank that is not whole, and for data without labels where nothing else teaches."""
    data.require_whole()
    if not task.teachers and not data.labelled:
        raise UserError(
            "No volume of the training data has a label, and there is no teacher to learn from; give --teacher and a "
            "stage that distills (kd), or data with masks."
        )


class Prefetcher:
    """The batches from a step on, prepared on threads or in processes while steps before them compute."""

    def __init__(self, config: Config, fabric: Fabric, first_step: int) -> None:
        self.step, self.config, self.fabric = first_step, config, fabric
        self.processes = machine.drawing_processes(config.machine, fabric)
        self.ahead = machine.drawing_threads(config.machine, fabric)

    def __enter__(self) -> Prefetcher:
        self.drawn = self._from_processes() if self.processes else self._from_threads()
        return self

    def __exit__(self, *_: object) -> None:
        self.drawn.close()

    def next(self) -> TrainingBatch:
        """The batch of the next step. Raises what its preparation raised."""
        batch = next(self.drawn)
        self.step += 1
        return batch

    def _from_processes(self) -> Generator[TrainingBatch]:
        steps = range(self.step, self.config.loop.steps)
        dataset = BatchesByStep(self.config, self.fabric.global_rank, self.fabric.world_size)
        for batch in drawn_by_processes(dataset, steps, self.processes, machine.prepare_drawing):
            if isinstance(batch, Exception):
                raise batch
            yield batch.on(self.fabric.device)

    def _from_threads(self) -> Generator[TrainingBatch]:
        source = Batches(self.config, self.fabric.global_rank, self.fabric.world_size, self.fabric.device)
        with ThreadPoolExecutor(self.ahead) as threads:
            pending = deque(threads.submit(source.at, self.step + n) for n in range(self.ahead))
            for step in itertools.count(self.step + self.ahead):
                batch = pending.popleft().result()
                pending.append(threads.submit(source.at, step))
                yield batch


def due(step: int, config: Config) -> bool:
    """Whether the networks are validated after this step."""
    return step % config.loop.validate_every == 0 or step == config.loop.steps


def rate(config: Config, step: int, start_step: int = 0) -> float:
    """Learning rate: linear warm-up after `start_step` (of the optimizer), on half a cosine down to 1 % of the peak."""
    loop = config.loop
    warm = min(1.0, (step - start_step + 1) / max(1, loop.warmup))
    return loop.rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / loop.steps))))
