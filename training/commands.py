"""The work behind each command of the command line; what a command needs is imported when it runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from training import cli
    from training.synthesis.config import SynthesisConfig


def synthesize(options: SynthesisConfig) -> None:
    """Makes or continues a bank."""
    from training.synthesis import build

    build.synthesize(options)


def fit(options: cli.Fit) -> None:
    """Trains one stage, or all of them."""
    from training.fit import train
    from training.fit.validate import validator
    from training.options import to_toml

    config, run = options.training, options.run
    validate = validator(config.data)
    run.mkdir(parents=True, exist_ok=True)
    (run / "fit.toml").write_text(to_toml(options), encoding="utf-8")
    sizes = train.sizes(options.roles)
    teachers = list(options.roles.teacher)
    if options.stage == "teacher":
        train.fit_teacher(sizes, config, run, validate)
    elif options.stage == "all":
        everything(options, sizes, teachers, validate)
    else:
        recipe = train.Method.parse(options.stage)
        train.fit_student(recipe, sizes, teachers, config, run, run / "assistant", validate)


def everything(options: cli.Fit, sizes, teachers: list[Path], validate) -> None:
    """Teacher (unless one is given), GTAN with its student, export, and evaluation when there are cases."""
    from training import cli
    from training.fit import machine, train

    config, run = options.training, options.run
    if not teachers:
        longer = train.teacher_config(options.roles, config)
        teachers = [train.fit_teacher(sizes, longer, run / "teacher", validate)]
    recipe = train.Method.parse("gtan")
    student = train.fit_student(recipe, sizes, teachers, config, run / "gtan", run / "assistant", validate)
    if not machine.start(config).is_global_zero:
        return
    export(cli.Export(student, options.name, run))
    if options.cases:
        file = run / f"{options.name}.json"
        evaluate(cli.Evaluate(str(file), options.cases, ("numpy", "torch"), run / "evaluation.csv", run / "cases.png"))
        card(cli.Card(file, run / "evaluation.csv"))


def evaluate(options: cli.Evaluate) -> None:
    """Prints and writes the figures of every case and their summary, or the table of the bundled students."""
    from training.data.cases import Case
    from training.errors import UserError
    from training.evaluation import evaluate, picture

    if options.bundled:
        evaluate_bundled(options)
        return
    if not (options.model and options.cases):
        raise UserError("Say what to evaluate, as in `evaluate student-100k --cases CT=MASK`, or `evaluate --bundled`.")
    cases = [Case.parse(case) for case in options.cases]
    rows, masks = [], {}
    for row, mask in evaluate.evaluate(options.model, cases, options.engines):
        print("  ".join(f"{name} {value}" for name, value in row.values().items()), flush=True)
        rows.append(row)
        masks[row.case] = mask
    summary = evaluate.summary(rows)
    for line in summary:
        print("  ".join(f"{name} {value}" for name, value in line.items()))
    evaluate.write_csv([row.values() for row in rows], options.output)
    evaluate.write_csv(summary, options.output.with_suffix(".summary.csv"))
    if options.picture:
        picture.outlines(cases, masks, options.picture)
        print(f"picture: {options.picture}")


def evaluate_bundled(options: cli.Evaluate) -> None:
    """Prints and writes the table of real cases x bundled students x engines."""
    from LiverGTANLib.core import weight_file
    from training.errors import UserError
    from training.release import bundled_table

    if options.model or options.cases or options.picture:
        raise UserError("--bundled takes the bundled students and the known real cases; give it nothing but --output.")
    table = bundled_table.lines(list(bundled_table.rows(weight_file.available(), bundled_table.cases())))
    print(bundled_table.write(table, options.output), end="")
    print(f"\nWrote {options.output} and {options.output.with_suffix('.md')}")


def pseudolabel(options: cli.Pseudolabel) -> None:
    """Masks of CTs by a teacher."""
    from training.studies import pseudolabels

    pseudolabels.run(options)


def stress(options: cli.Stress) -> None:
    """Prints a line a condition and writes the table."""
    from training import command_line
    from training.data.cases import Case
    from training.evaluation import evaluate
    from training.evaluation.stress import conditions, real, report, run
    from training.synthesis import source_library
    from training.synthesis.config import SynthesisConfig

    config = SynthesisConfig(data=options.data)
    library = real.Library(source_library.data_folder(config), tuple(Case.parse(case) for case in options.cases))
    tried = conditions.all_conditions(source_library.load_maps(config), library, options.volumes)
    result = run.run(evaluate.model(options.model), tried) | {"command": command_line.command("stress", options)}
    beside = report.write(result, options.output)
    print(f"{options.output}, {beside}")


def calibrate(options: cli.Calibrate) -> None:
    """Prints calibration errors and the temperature, writes them and the reliability diagram."""
    from training import command_line
    from training.data.cases import Case
    from training.evaluation import calibration, evaluate

    cases = [Case.parse(case) for case in options.cases]
    result = calibration.calibrate(evaluate.model(options.model), cases, options.fit)
    result |= {"command": command_line.command("calibrate", options)}
    print(calibration.text(result))
    picture = options.picture or options.output.with_suffix(".png")
    calibration.write(result, options.output, picture)
    print(f"{options.output}, {picture}")


def average(options: cli.Average) -> None:
    """Writes the mean of several runs."""
    from training.studies import average

    print(f"wrote {average.run(options)}")


def ablate(options: cli.Ablate) -> None:
    """Runs what is missing of the table and writes it anew after every run."""
    from training.studies import ablation

    ablation.run(options)


def designs(options: cli.Designs) -> None:
    """Trains the designs that are missing, times all, and writes table and plot."""
    from training.studies import designs

    designs.run(options)


def export(options: cli.Export) -> None:
    """Writes student file and card, prints how far the engines are from the network, and installs if asked to."""
    from training.release import install

    install.run(options)


def keep(options: cli.Keep) -> None:
    """Writes the network and prints what is kept with it."""
    from training.fit import checkpoint, network_file, run_log
    from training.model import nets
    from training.release import student_card

    content = checkpoint.read(options.checkpoint) | {
        "training": student_card.training(options.checkpoint, options.role)
    }
    watched = run_log.last_figures(options.checkpoint.with_name("log.csv"), options.role)
    digest = network_file.write(options.output, content, options.role, watched)
    net = checkpoint.network(options.output)
    print(
        f"{options.output}: {nets.parameters(net):,} parameters of widths {net.widths}, "
        f"{options.output.stat().st_size} bytes, SHA-256 {digest}"
    )
    print(
        f"{content['step']} steps, seed {content['settings']['loop']['seed']}, code {content['code']}; watched: "
        + (", ".join(f"{case} {dice:.4f}" for case, dice in watched.items()) or "nothing")
    )


def card(options: cli.Card) -> None:
    """Prints the card, with new figures if given; or writes the model card."""
    from training.errors import UserError
    from training.release import model_card, student_card

    if options.bundled == bool(options.student):
        raise UserError("Give a student's file, or --bundled for the model card of the bundled students.")
    print(
        f"Wrote {model_card.rewrite()}" if options.bundled else student_card.rewrite(options.student, options.metrics)
    )


def describe(options: cli.Describe) -> None:
    """Prints one line a network."""
    from training.model.nets import STUDENT_WIDTHS, UNet3D, gmac, parameters

    roles = options.roles
    plans = {"teacher": roles.teacher_widths, "assistant": roles.assistant_widths, **STUDENT_WIDTHS}
    if roles.student_widths not in plans.values():
        plans["student"] = roles.student_widths
    grid = " x ".join(map(str, options.shape))
    print(f"{'network':14s}{'widths':>16s}{'parameters':>12s}{'of teacher':>12s}{'GMAC':>9s}   (grid {grid})")
    whole = parameters(UNet3D(roles.teacher_widths))
    for name, widths in plans.items():
        net = UNet3D(widths)
        count = parameters(net)
        print(
            f"{name:14s}{'-'.join(map(str, widths)):>16s}{count:12,d}{count / whole:12.1%}"
            f"{gmac(net, options.shape):9.3f}"
        )


def demo(options: cli.Demo) -> None:
    """Synthesize, fit all, evaluate, export: on the phantom only."""
    from training.studies import demo

    demo.run(dataclasses.asdict(options)["output"])
