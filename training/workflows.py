"""The commands that span several rooms: `fit` with all its stages, `evaluate` with the bundled table, `demo`."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import tomllib

from LiverGTANLib.core.weight_file import require_name
from training import settings
from training.evaluation.evaluate import evaluate_cases
from training.fit import machine, train
from training.fit.loop import fit_together
from training.fit.validate import validator
from training.options import Card, Demo, Evaluate, Export, Fit, SynthesisConfig
from training.release import held_out_table, install, model_card
from training.release.trained_cases import trained_on
from training.synthesis import build
from training.synthesis.phantom import write_case

UNSEEN_SEEDS = (101, 102)


def fit(options: Fit) -> None:
    """Trains one stage, or all of them."""
    if options.stage == "all":
        fit_all(options)
    else:
        train.fit(options)


def fit_all(options: Fit) -> None:
    """Teacher (unless one is given), GTAN with its student, export, and evaluation when there are cases."""
    config, run = options.training, options.run
    require_name(options.name)
    validate = validator(config.data)
    train.require_same_command(options)
    began, roles = partial(train.write_settings, options), options.roles
    if not roles.teacher:
        longer = train.teacher_config(roles, config)
        teacher = train.fit_teacher(roles, longer, run / "teacher", validate, began)
        roles = dataclasses.replace(roles, teacher=(teacher,))
    plan = train.plan_student(train.Method("gtan"), roles, config, run / "gtan", run / "assistant", validate, began)
    [student] = fit_together([plan], validate)
    if not machine.start(config).is_global_zero:
        return
    install.export_student(Export(student, options.name, run))
    if options.cases:
        file = run / f"{options.name}.json"
        evaluate_cases(
            Evaluate(str(file), options.cases, ("numpy", "torch"), run / "evaluation.csv", run / "cases.png"),
            trained_on,
        )
        model_card.card(Card(file, run / "evaluation.csv"))
    file = run / "fit.toml"  # a finished run was not trained with these options, but exported and evaluated with them
    recorded = settings.from_toml(Fit("all"), file) if file.exists() else options
    train.write_settings(dataclasses.replace(recorded, name=options.name, cases=options.cases))


def evaluate(options: Evaluate) -> None:
    """Figures of every case and their summary, or the table of the bundled students."""
    if options.bundled:
        held_out_table.evaluate_bundled(options)
    else:
        evaluate_cases(options, trained_on)


def demo(options: Demo) -> None:
    """The whole path on the phantom: a small bank, teacher, GTAN, export, evaluation on unseen phantoms, card.

    It shows that everything runs and fits together; a student that has seen only a phantom is of no use on patients.
    """
    output = options.output
    output.mkdir(parents=True, exist_ok=True)
    bank = demo_settings(options.sizes, "synthesize", SynthesisConfig())
    build.synthesize(dataclasses.replace(bank, output=output / "bank"))
    given = demo_settings(options.sizes, "fit", Fit("all"))
    data = dataclasses.replace(given.training.data, bank=(output / "bank",))
    cases = tuple(write_case(output / "cases", seed) for seed in UNSEEN_SEEDS)
    training = dataclasses.replace(given.training, data=data)
    fit_all(dataclasses.replace(given, run=output, cases=cases, training=training))


def demo_settings(sizes: Path, command: str, defaults: Any) -> Any:
    """The command's options as the file of sizes sets them."""
    values = tomllib.loads(sizes.read_text(encoding="utf-8"))[command]
    return settings.over(defaults, values, sizes.name)
