"""The table: arms x students x seeds at equal student updates, on CTs that no step has seen.

One folder a run; a finished one is not trained again, an unfinished one goes on, and one of other settings is refused
(see `stored_results`). Arms of a seed that learn from the same networks are trained in one loop (`loop.fit_together`).
They share TAKD's and DGKD's assistant; its cost is added to both. Runs in tables of other folders are taken over.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from LiverGTANLib.core.files import atomic_write
from training.data.cases import Case, parse_cases
from training.data.training_data import TrainingData
from training.errors import UserError
from training.evaluation import evaluate, picture
from training.evaluation.markdown import markdown_table
from training.evaluation.summary import mean, mean_and_sd, mean_sd_text
from training.fit import checkpoint, train
from training.fit.loop import CHECKPOINT, Validate, fit_together
from training.fit.validate import refuse_trained, validator
from training.model.nets import UNet3D, gmac, parameters
from training.options import STUDENT_WIDTHS, WINDOW, Ablate, Config, DataSettings, Roles
from training.studies import paired_differences, stored_results
from training.studies.stored_results import Result, case_digests, result_of, write_json

HEAD = (
    "Student",
    "Arm",
    "Parameters",
    "GMAC",
    "Seeds",
    "Dice",
    "NSD 2 mm",
    "NSD 3 mm",
    "HD95 mm",
    "ASSD mm",
    "Volume error %",
    "Wall min",
    "CPU min",
)
FIGURES = {"dice": 4, "nsd2": 4, "nsd3": 4, "hd95": 2, "assd": 2, "volume_error": 2}
"""Digits of each figure in the table; the volume error is the mean of sizes, in percent."""
NOT_COUNTED = "not counted"
"""Cost of a student that the ablation did not train."""
START = "start"
"""Label of the students that all arms begin from, as they are."""
SOFT = "soft"
"""The arm that learns as `student` does, from the labels of `--soft-scans`."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of the table."""

    arm: str
    student: str
    seed: int

    @property
    def folder(self) -> str:
        return f"{self.arm.replace(':', '-')}/{self.student}/seed{self.seed}"


def ablate(options: Ablate) -> None:
    """Runs every missing cell, seed by seed, and rewrites `table.md`, `table.json` and `table.png` after each.

    The table shows nothing but runs of these very settings. Raises UserError that names each difference when the
    folder of a cell holds another run: before anything is trained for the table, or written.
    """
    planned = list(plan(options))
    cases = parse_cases(options.cases)
    for data in data_of(options):
        refuse_trained(cases, TrainingData(data))
    digests, validate = case_digests(cases), validator(options.training.data)
    taken = taken_over(options, digests)
    require_labels(options, {one["cell"]["arm"] for one in taken})
    cells = [cell for cell in planned if cell not in [Cell(**one["cell"]) for one in taken]]
    teachers = list(options.roles.teacher) or [train_teacher(options, validate)]
    runs = [cell_run(options, cell, teachers) for cell in cells]
    for run in runs:
        train.require_same_student(run.method, run.roles, run.config, run.folder, run.assistant)
    measured_teachers = {path: teacher_result(options, path, cases, digests) for path in teachers}
    results = list(taken)
    for cell, path in reference_students(options).items():
        file, measure = options.folder / cell.folder / "result.json", partial(measured, cell, path, cases)
        results.append(result_of(file, checkpoint.network_digest(path), digests, measure, about(cell, None)))
    for run, trained in train_all(runs, validate):
        steps = run.config.loop.steps
        measure = partial(measured, run.cell, trained, cases, steps, run.costs)
        digest = checkpoint.network_digest(trained)
        results.append(result_of(run.folder / "result.json", digest, digests, measure, about(run.cell, steps)))
        write(options, results, measured_teachers)
    if not runs:
        write(options, results, measured_teachers)


def data_of(options: Ablate) -> list[DataSettings]:
    """What the arms learn from. Raises UserError when the arm `soft` has nothing, or its scans serve no arm."""
    data = options.training.data
    if (SOFT in options.arms) != (options.soft_scans is not None):
        raise UserError("Give the arm `soft` and --soft-scans together: the scans of `soften` that it learns from.")
    return [data, dataclasses.replace(data, scans=options.soft_scans)] if options.soft_scans else [data]


def taken_over(options: Ablate, digests: dict[str, str]) -> list[Result]:
    """The runs in `--tables`. Raises UserError for what is no table, or one of other cases, updates or students."""
    found: dict[Cell, Result] = {}
    for file in options.tables:
        runs = [one for one in stored_results.read_table(file) if one["steps"]]  # without students of `--also`
        print(f"{file}: {len(runs)} runs are taken over.", flush=True)
        for one in runs:
            cell = Cell(**one["cell"])
            wrong = [
                *(["other cases"] if one["cases_sha256"] != digests else []),
                *([f"{one['steps']} updates"] if one["steps"] != options.training.loop.steps else []),
                *([f"the student {cell.student}"] if cell.student not in options.students else []),
            ]
            if wrong:
                raise UserError(f"{file}: {cell.folder} is of {' and '.join(wrong)}, unlike this table.")
            if found.setdefault(cell, one)["network_sha256"] != one["network_sha256"]:
                raise UserError(f"{file}: another table of --tables has another {cell.folder}; give one of them.")
    return list(found.values())


def train_all(runs: list[CellRun], validate: Validate) -> Iterator[tuple[CellRun, Path]]:
    """Each run with its checkpoint, as soon as the group that it is trained in is finished."""
    for group in trained_together(runs):
        for run in group:
            if not (run.folder / "result.json").exists():
                print(f"run {runs.index(run) + 1} of {len(runs)}: {run.cell.folder}", flush=True)
        plans = [
            train.plan_student(run.method, run.roles, run.config, run.folder, run.assistant, validate) for run in group
        ]
        yield from zip(group, fit_together(plans, validate), strict=True)


def trained_together(runs: list[CellRun]) -> list[list[CellRun]]:
    """The runs in groups that share batches and teachers, in the order of their first ones."""
    groups: dict[tuple, list[CellRun]] = {}
    for run in runs:
        assistant = (run.method.kind, run.assistant) if run.method.kind in train.ASSISTED else ()
        learns = run.method.kind != "student"  # from teachers
        groups.setdefault((run.cell.seed, run.config.data, learns, assistant), []).append(run)
    return list(groups.values())


def teacher_result(options: Ablate, path: Path, cases: list[Case], digests: dict[str, str]) -> Result:
    """The figures of a teacher on the cases."""
    role, digest = train.teacher_role(path), checkpoint.network_digest(path, train.teacher_role(path))
    source = f"{path}:{role}" if path.suffix == ".pt" else str(path)
    cell = Cell("teacher", path.stem, options.seeds[0])
    measure = partial(measured, cell, source, cases)
    return result_of(options.folder / "teacher" / f"{digest[:16]}.json", digest, digests, measure, about(cell, None))


def about(cell: Cell, steps: int | None) -> dict[str, Any]:
    """What a result says of itself."""
    return {"cell": dataclasses.asdict(cell), "steps": steps}


def plan(options: Ablate) -> Iterator[Cell]:
    """All cells; seeds outermost, so that an early stop leaves whole tables. Raises UserError for an unknown arm."""
    machine = options.training.machine
    if machine.devices * machine.num_nodes > 1:
        raise UserError("An ablation runs on one device; share the work by --seeds and --folder between commands.")
    require_each_once(options)
    for arm in options.arms:
        method_of(arm)
    starts(options)
    require_labels(options)
    if options.tables and not options.roles.teacher:
        raise UserError("Give the --teacher that the runs of --tables learned from: another would be trained here.")
    for student in options.students:
        widths_of(student)
    for seed in options.seeds:
        for student in options.students:
            yield from (Cell(arm, student, seed) for arm in options.arms)


def require_each_once(options: Ablate) -> None:
    """Raises UserError for a list that is empty, or that names something twice: it would count as another run."""
    for name in ("cases", "arms", "students", "seeds"):
        given = getattr(options, name)
        twice = sorted({str(one) for one in given if given.count(one) > 1})
        if twice or not given:
            wrong = f"has {', '.join(twice)} twice" if twice else "is empty"
            raise UserError(f"--{name} {wrong}; give each once.")


def require_labels(options: Ablate, others: Collection[str] = ()) -> None:
    """Raises UserError for a label of `--also` that is an arm's, given twice, or no plain name: its row or folder would
    hold others, too. others: arms of other tables."""
    labels = [text.partition("=")[0] for text in options.also]
    for label in labels:
        taken = label in (START, *options.arms, *others) or labels.count(label) > 1
        if taken or not label or Path(label).name != label:
            raise UserError(f"--also cannot be labelled {label!r}: choose a plain name that no arm and no other has.")


def train_teacher(options: Ablate, validate: Validate) -> Path:
    """The teacher that all arms share."""
    config = train.teacher_config(options.roles, options.training)
    return train.fit_teacher(options.roles, config, options.folder / "teacher", validate)


@dataclasses.dataclass(frozen=True)
class CellRun:
    """How a cell is trained, and where."""

    cell: Cell
    method: train.Method
    roles: Roles
    config: Config
    folder: Path
    assistant: Path

    @property
    def costs(self) -> list[Path]:
        """The checkpoints of all runs that its arm took."""
        files = [self.folder / CHECKPOINT]
        return [*files, self.assistant / CHECKPOINT] if self.method.kind in train.ASSISTED else files


def cell_run(options: Ablate, cell: Cell, teachers: list[Path]) -> CellRun:
    """The run of a cell."""
    config, start = options.training, starts(options).get(cell.student)
    config = dataclasses.replace(config, loop=dataclasses.replace(config.loop, seed=cell.seed, start=start))
    method = method_of(cell.arm)
    if cell.arm == SOFT:
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, scans=options.soft_scans))
    if method.kind == "student":  # of equal numbers of volumes all shall teach it something
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, labelled_only=True))
    roles = dataclasses.replace(options.roles, student_widths=widths_of(cell.student), teacher=tuple(teachers))
    loss = method.configured(config).distill.loss
    # From random weights an assistant does not depend on the student; from a student's weights it does.
    name = f"{loss}-{cell.student}-seed{cell.seed}" if start else f"{loss}-seed{cell.seed}"
    return CellRun(cell, method, roles, config, options.folder / cell.folder, options.folder / "assistant" / name)


def method_of(arm: str) -> train.Method:
    """How an arm is trained. Raises UserError for an unknown one."""
    return train.Method.parse("student" if arm == SOFT else arm)


def measured(
    cell: Cell, file: Path | str, cases: list[Case], steps: int | None = None, costs: Sequence[Path] = ()
) -> Result:
    """The figures of a checkpoint's student on every case, and what the runs of `costs` took (None: not counted)."""
    rows = [row for row, _ in evaluate.evaluate(str(file), cases, ("numpy",))]
    spent = [checkpoint.read(one)["spent"] for one in costs]
    return about(cell, steps) | {
        "figures": {name: mean([magnitude(name, getattr(row.metrics, name)) for row in rows]) for name in FIGURES},
        "cases": {row.case: dataclasses.asdict(row.metrics) for row in rows},
        "seconds": {kind: sum(one[kind] for one in spent) for kind in ("wall", "cpu")} if spent else None,
    }


def magnitude(name: str, value: float) -> float:
    """A figure as the table averages it: a volume may be too large here and too small there."""
    return 100 * abs(value) if name == "volume_error" else value


def starts(options: Ablate) -> dict[str, Path]:
    """Student -> the checkpoint that all its arms begin from. Raises UserError when some have none."""
    if len(options.starts) not in (0, len(options.students)):
        raise UserError(f"{len(options.starts)} --starts for {len(options.students)} students; give one for each.")
    return dict(zip(options.students, options.starts))


def reference_students(options: Ablate) -> dict[Cell, Path]:
    """What the table shows besides the arms: the students that these begin from, and those of `--also`."""
    cells = {Cell(START, student, options.seeds[0]): file for student, file in starts(options).items()}
    for text in options.also:
        label, _, file = text.partition("=")
        widths = checkpoint.network(Path(file)).widths
        student = next((one for one in options.students if widths_of(one) == widths), None)
        if student is None:
            raise UserError(f"{text}: widths {widths} are none of {', '.join(options.students)}.")
        cells[Cell(label, student, options.seeds[0])] = Path(file)
    return cells


def widths_of(student: str) -> tuple[int, ...]:
    """The widths of a known student, or those in its name. Raises UserError for neither."""
    if student in STUDENT_WIDTHS:
        return STUDENT_WIDTHS[student]
    try:
        return tuple(int(width) for width in student.split("-"))
    except ValueError as error:
        known = ", ".join(STUDENT_WIDTHS)
        raise UserError(f"'{student}' is not a student; give {known}, or widths like 5-10-20-30.") from error


def write(options: Ablate, results: list[Result], teachers: dict[Path, Result]) -> None:
    """The table so far, to read (Markdown, plot) and for programs (JSON)."""
    arms = dict.fromkeys(one["cell"]["arm"] for one in results)
    shown = [arm for arm in dict.fromkeys([START, *options.arms, *arms]) if arm in arms]
    results = sorted(results, key=lambda one: shown.index(one["cell"]["arm"]))  # they come by groups of `train_all`
    write_json(options.folder / "table.json", results)
    pairs = [(arm, student) for student in options.students for arm in shown]
    rows = [row for arm, student in pairs if (row := summarize(results, arm, student))]
    with atomic_write(options.folder / "table.md") as part:
        part.write_text(markdown(rows, results, teachers), encoding="utf-8")
    gap = (float("nan"), float("nan"))
    found = {(row["student"], row["arm"]): row["dice"] for row in rows}
    groups = {student: [found.get((student, arm), gap) for arm in shown] for student in options.students}
    picture.points(shown, groups, "Dice (mean and sd over seeds)", options.folder / "table.png")


def summarize(results: list[dict], arm: str, student: str) -> dict[str, Any] | None:
    """One row: (mean, sd) over seeds of each figure, mean cost (None: not counted); None without a run."""
    runs = [r for r in results if (r["cell"]["arm"], r["cell"]["student"]) == (arm, student)]
    if not runs:
        return None
    row: dict[str, Any] = {"arm": arm, "student": student, "seeds": len(runs)}
    for name in FIGURES:
        row[name] = mean_and_sd([r["figures"][name] for r in runs])
    for kind in ("wall", "cpu"):
        row[kind] = mean([r["seconds"][kind] / 60 for r in runs]) if all(r["seconds"] for r in runs) else None
    return row


def markdown(rows: list[dict], results: list[dict], teachers: dict[Path, Result]) -> str:
    """The table as Markdown, with what one must know to read it."""
    lines = []
    for row in rows:
        net = UNet3D(widths_of(row["student"]))
        figures = [mean_sd_text(row[name], digits) for name, digits in FIGURES.items()]
        costs = [NOT_COUNTED if row[kind] is None else f"{row[kind]:.1f}" for kind in ("wall", "cpu")]
        size = (f"{parameters(net):,}", f"{gmac(net, WINDOW):.3f}")
        lines.append([row["student"], row["arm"], *size, str(row["seeds"]), *figures, *costs])
    gains = paired_differences.table(results)
    parts = [
        markdown_table(HEAD, lines, text_columns=2),
        *([gains] if gains else []),
        "\n".join(notes(results, teachers)),
    ]
    return "\n\n".join(parts) + "\n"


def notes(results: list[dict], teachers: dict[Path, Result]) -> list[str]:
    """Cases, student updates, and what the teacher cost, is and can do."""
    if not results:
        return []
    cases, steps = results[0]["cases"], sorted({str(result["steps"]) for result in results if result["steps"]})
    lines = [
        f"Mean ± sd over seeds of the mean over {len(cases)} cases ({', '.join(cases)}), native resolution, "
        "numpy engine.",
        f"Every student took {', '.join(steps)} steps; cost is that of the arm with its assistant, and with batches "
        "and outputs of the teacher that it may have shared with other arms, without the teacher's own training.",
    ]
    lines += list(undefined_figures(results))
    for path, result in teachers.items():
        spent, net = checkpoint.read(path)["spent"], checkpoint.network(path, train.teacher_role(path))
        lines.append(
            f"Teacher {net.widths}: {parameters(net):,} parameters, {gmac(net, WINDOW):.3f} GMAC, "
            f"{spent['wall'] / 60:.1f} min wall, {spent['cpu'] / 60:.1f} min CPU; Dice on the same cases "
            f"{result['figures']['dice']:.4f}, HD95 {result['figures']['hd95']:.2f} mm."
        )
    return lines


def undefined_figures(results: list[dict]) -> Iterator[str]:
    """A line for each run with figures that no case, or not every case, has: its means are of the others."""
    for one in results:
        found = {
            case: [name for name in FIGURES if name in figures and not math.isfinite(figures[name])]
            for case, figures in one["cases"].items()
        }
        listed = [f"{', '.join(names)} on {case}" for case, names in found.items() if names]
        if listed:
            cell = one["cell"]
            yield (
                f"Undefined (an empty mask) and left out of the means of {cell['student']} {cell['arm']}, seed "
                f"{cell['seed']}: {'; '.join(listed)}."
            )
