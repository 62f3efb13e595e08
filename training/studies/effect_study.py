"""What each group of effects is worth: short equal runs on labels, each with one group of them switched off.

One folder a run, one a bank that is made again without some effects; what is finished is taken again (see
`stored_results`).
"""

from __future__ import annotations

import functools
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from training.data.bank import Bank
from training.data.cases import Case, parse_cases
from training.data.training_data import TrainingData
from training.errors import UserError
from training.evaluation.evaluate import COLUMNS, evaluate, model
from training.evaluation.stress import real
from training.evaluation.stress.conditions import Condition, all_conditions
from training.evaluation.stress.hard_cases import measure_conditions
from training.fit import checkpoint, loop, train
from training.fit.validate import Validation, refuse_trained
from training.options import Config, EffectStudy, SynthesisConfig
from training.settings import over
from training.studies import effect_table
from training.studies.effect_groups import EffectGroup, chosen
from training.studies.stored_results import Result, case_digests, result_of
from training.synthesis import build, source_library

METHOD = train.Method("student")


def study_effects(options: EffectStudy) -> None:
    """Trains every missing run, seed by seed, and rewrites `table.md`, `table.json` and `table.png` after each.

    Raises UserError without one bank and scans to compare on, for an unknown group or condition, and where a folder
    holds a run of other settings.
    """
    groups, made = chosen(options.groups), synthesis_of(options)
    if not options.seeds or len(set(options.seeds)) < len(options.seeds):
        raise UserError("--seeds must name at least one seed, and each once.")
    cases, hard = parse_cases(options.cases), conditions(options, made)
    refuse_trained(cases, TrainingData(options.training.data))
    digests, results = case_digests(cases), []
    for seed in options.seeds:  # outermost, so that an early stop leaves a whole comparison
        for group in groups:
            config = configured(group, seed, options.training, bank_without(group, options, made))
            results.append(finished(group, options, config, cases, digests, hard))
            effect_table.write(options.folder, results)
    print((options.folder / "table.md").read_text(encoding="utf-8"))


def synthesis_of(options: EffectStudy) -> SynthesisConfig:
    """The settings with which the one bank was made. Raises UserError when there are no scans, or not one bank."""
    data = options.training.data
    if data.scans is None or len(data.bank) != 1:
        raise UserError(
            "The effects of views and of synthetic volumes are compared on both: give --scans, a folder of `python -m "
            "training pack`, and one --bank, a folder of `python -m training synthesize`."
        )
    bank = Bank.open(data.bank[0])
    made = over(SynthesisConfig(), bank.meta.get("config") or {}, str(bank.path))
    return replace(made, count=bank.count, data=options.data, workers=options.training.machine.threads)


def conditions(options: EffectStudy, made: SynthesisConfig) -> list[Condition]:
    """The chosen hard conditions, simulated and real; their examples are made once. Raises UserError for others."""
    config = SynthesisConfig(data=options.data, phantom=made.phantom)
    maps = source_library.load_maps(config) if options.volumes else []
    folder = None if made.phantom else source_library.data_folder(config)
    every = all_conditions(maps, real.Library(folder, ()), options.volumes)
    unknown = sorted(set(options.conditions) - {condition.name for condition in every})
    if unknown:
        known = ", ".join(dict.fromkeys(condition.name for condition in every))
        raise UserError(f"There is no condition {', '.join(unknown)}; choose among {known}.")
    return [
        replace(one, examples=functools.cache(partial(list_of_examples, one)))
        for one in every
        if one.name in options.conditions
    ]


def list_of_examples(condition: Condition) -> list:
    """All of them, to be measured again and again."""
    return list(condition.examples())


def bank_without(group: EffectGroup, options: EffectStudy, made: SynthesisConfig) -> tuple[Path, ...]:
    """The bank of a group: the given one, or one of the same bodies that is made (or finished) without its effects."""
    if not group.effects:
        return options.training.data.bank
    output = options.folder / "banks" / folder_name(group)
    build.synthesize(replace(made, output=output, effects=made.effects.without(*group.effects)))
    return (output,)


def configured(group: EffectGroup, seed: int, config: Config, bank: tuple[Path, ...]) -> Config:
    """The settings of a run: labels alone, so that volumes without one do not thin out what is learnt from."""
    data = group.without(replace(config.data, bank=bank, labelled_only=True))
    return replace(config, data=data, loop=replace(config.loop, seed=seed))


def finished(
    group: EffectGroup,
    options: EffectStudy,
    config: Config,
    cases: list[Case],
    digests: dict[str, str],
    hard: list[Condition],
) -> Result:
    """The figures of one run, which is trained, or gone on with, where it is not finished."""
    folder = options.folder / folder_name(group) / f"seed-{config.loop.seed}"
    if not (folder / "result.json").exists():
        print(f"{group.name}, seed {config.loop.seed}", flush=True)
    unwatched = Validation({}, config.data.spacing_mm)
    plan = train.plan_student(METHOD, options.roles, config, folder, folder / "assistant", unwatched)
    [trained] = loop.fit_together([plan], unwatched)
    about = facts(group, options, config)
    measure = partial(measured, trained, cases, hard)
    return result_of(folder / "result.json", checkpoint.network_digest(trained), digests, measure, about)


def facts(group: EffectGroup, options: EffectStudy, config: Config) -> dict[str, Any]:
    """What a result says of itself beside its figures."""
    data, widths = config.data, "-".join(map(str, options.roles.student_widths))
    names = ("steps", "batch", "rate")
    return {
        "cell": {"arm": group.name, "student": widths, "seed": config.loop.seed},
        "loop": {name: getattr(config.loop, name) for name in names},
        "steps": config.loop.steps,
        "data": {"scan_share": data.scan_share, "spacing_mm": data.spacing_mm, "window": data.window},
        "conditions": {"names": options.conditions, "volumes": options.volumes},
    }


def measured(file: Path, cases: list[Case], hard: list[Condition]) -> Result:
    """The figures of a run's student on the cases and under the hard conditions, with the product's numpy engine."""
    rows = [row for row, _ in evaluate(str(file), cases, ("numpy",))]
    records = measure_conditions(model(str(file)), hard, lambda line: None)["records"]
    trained = checkpoint.read(file)
    return {
        "cases": {row.case: {name: getattr(row.metrics, name) for name in COLUMNS} for row in rows},
        "hard": [
            {name: record[name] for name in ("condition", "source", "kind", "figures")}
            | {"cases": len(record["cases"])}
            for record in records
        ],
        "volumes": trained["data"],
        "seconds": trained["spent"],
        "code": trained["code"],
    }


def folder_name(group: EffectGroup) -> str:
    """A group's name as that of a folder."""
    return group.name.replace(": ", "-").replace(" ", "-")
