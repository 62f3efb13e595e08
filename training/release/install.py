"""The bundled weights, replaced by one command: nothing is installed unless every step went well."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from LiverGTANLib.core import weight_file
from LiverGTANLib.core.files import atomic_write, read_bytes
from LiverGTANLib.core.volume import HU_WINDOW
from training.data.bank import LARGEST_META
from training.data.held_out import HELD_OUT
from training.errors import UserError, reason
from training.evaluation.calibration.report import card_entry
from training.evaluation.card_parts import stored
from training.evaluation.seal import SEAL, is_sealed
from training.evaluation.stress.report import card_entries
from training.evaluation.summary import mean, mean_and_sd
from training.fit import checkpoint
from training.fit.loop import BEST
from training.model import folding
from training.model.nets import UNet3D, parameters
from training.options import Export
from training.release import export, held_out_table, model_card, provenance, student_card

BUDGETS = {"student-100k": 100_000, "student-30k": 30_000}
"""Most parameters of the bundled students."""
REQUIRED_CASES = tuple(one.name for one in HELD_OUT if one.in_samples)
"""Without its figures on these no student is installed."""


def export_student(options: Export, report: Callable[[str], None] = print) -> Path:
    """Writes, and if asked to installs, the student of a checkpoint; returns its card's path.

    Raises UserError for a student that is too large, engines that depart from the network, files of another student.
    """
    weight_file.require_name(options.name)
    if options.install:
        require_all(options)
    require_exportable(options.checkpoint, report)
    net = folding.shifted(checkpoint.network(options.checkpoint, options.role), options.shift)
    require_budget(options.name, net)
    content = student_card.complete(grid_card(options, net), options.checkpoint)
    if options.shift:
        content["training"]["logit_shift"] = options.shift
    if options.install:
        provenance.require_stated(content["training"]["data"])
    path = (options.output or options.checkpoint.parent) / f"{options.name}.npz"
    measured_before = figures_of(path)
    written = export.write(net, path, stored(content))
    report(f"{path}: {written.parameters} values, {path.stat().st_size} bytes, SHA-256 {written.sha256}")
    for engine, difference in export.differences(net, written).items():
        report(f"{engine}: largest difference of a logit from the rounded network {difference:.1e}")
    if measured_before:
        report(f"{path} held these very weights: its card keeps {', '.join(measured_before)}.")
    given = measured(options, written.sha256)
    given["commands"] = measured_before.get("commands", {}) | given["commands"]
    card = written.card | measured_before | given
    student_card.write(path, card)
    if options.install:
        card["metrics"] = held_out_figures(path, report)
        student_card.write(path, card)
        for file in put(path.with_suffix(".json")):
            report(f"installed {file}")
    return path.with_suffix(".json")


def grid_card(options: Export, net: UNet3D) -> dict[str, Any]:
    """What an engine must know of the network, the grid that it was trained on among it."""
    return folding.card(options.name, net, checkpoint.spacing_mm(options.checkpoint), HU_WINDOW)


MEASURED = ("metrics", "calibration", "hard_cases", "ablation", "commands")
"""What a card holds of measurements: it stays when the same weights are exported again."""


def figures_of(path: Path) -> dict[str, Any]:
    """The measurements on a student's card, if there is one that can be read."""
    try:
        card = weight_file.load(path.with_suffix(".json")).card
    except (OSError, ValueError):
        return {}  # nothing there, or what `export.write` refuses
    return {name: card[name] for name in MEASURED if card.get(name)}


def require_exportable(file: Path, report: Callable[[str], None]) -> None:
    """Raises UserError for a run that was stopped before its last step; reports where one was best by validation."""
    content = checkpoint.read(file)
    step, steps, best = content["step"], content["settings"]["loop"]["steps"], content.get(BEST)
    if best:
        report(f"{file}: step {step} of {steps}, the best by validation (mean Dice {best['dice']:.4f}).")
    elif step < steps:
        raise UserError(
            f"{file} is at step {step} of {steps}; let the run finish first (the command that began it goes on), or "
            f"export {file.with_name('best.pt')}, if there is one."
        )


def require_budget(name: str, net: UNet3D) -> None:
    """Raises UserError for a network with more parameters than its name promises."""
    count, allowed = parameters(net), BUDGETS.get(name)
    if allowed and count > allowed:
        raise UserError(
            f"{name} may have {allowed:,} parameters, but this network of widths {net.widths} has "
            f"{count:,}; choose smaller widths or another --name."
        )


def require_all(options: Export) -> None:
    """Raises UserError when a student is to be installed that was not measured, or under a name that nobody knows."""
    if options.name not in BUDGETS:
        raise UserError(f"The extension bundles {' and '.join(BUDGETS)}, not {options.name}; choose one by --name.")
    if not (options.calibration and options.stress):
        raise UserError(
            "A student is installed with its calibration and its hard cases: export it without --install, "
            f"run `calibrate` and `stress` on that {options.name}.npz, give --calibration and --stress."
        )


def measured(options: Export, sha256: str) -> dict[str, Any]:
    """The card's entries from files that are given: calibration, hard cases, their commands, the ablation."""
    entries: dict[str, Any] = {"commands": {}}
    for file, command, key, entry in (
        (options.calibration, "calibrate", "calibration", card_entry),
        (options.stress, "stress", "hard_cases", card_entries),
    ):
        if file:
            content = result(file, sha256, command)
            entries[key] = entry(content)
            entries["commands"][command] = {name: content[name] for name in ("command", "output")}
    if options.ablation:
        entries["ablation"] = ablation_entries(options.ablation, options.name)
    return entries


def result(file: Path, sha256: str, command: str) -> dict[str, Any]:
    """What a command wrote about these weights. Raises UserError when it cannot be read or is about other weights."""
    try:
        content = json.loads(read_bytes(file, LARGEST_META))  # figures may be NaN, which strict JSON does not have
        about, *_ = (content[name] for name in ("sha256", "command", "output"))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{file} cannot be read ({reason(error)}); write it with `python -m training {command}`."
        ) from error
    if about != sha256:
        raise UserError(
            f"{file} is about other weights (SHA-256 {about[:12]}, not {sha256[:12]}); run "
            f"`python -m training {command}` on the student that this export writes."
        )
    return content


def require_sealed(results: list[dict[str, Any]], table: Path, report: Callable[[str], None]) -> None:
    """Raises UserError for results that are not as `ablate` wrote them; reports those that nobody can check."""
    changed = [one["cell"] for one in results if SEAL in one and not is_sealed(one)]
    if changed:
        raise UserError(
            f"{table} is not as it was written ({changed[0]}); write it anew by `python -m training ablate`."
        )
    open_ones = sum(SEAL not in one for one in results)
    if open_ones:
        report(f"{table}: {open_ones} results have no digest, so that it cannot be seen whether they were changed.")


def ablation_entries(table: Path, student: str, report: Callable[[str], None] = print) -> list[dict[str, Any]]:
    """What a student's card says of the ablation: Dice by arm, mean and sd over seeds. From `table.json`.

    Raises UserError when the file cannot be read or has no run of the student.
    """
    try:
        results = json.loads(read_bytes(table, LARGEST_META))
        require_sealed(results, table, report)
        runs = [one for one in results if one["cell"]["student"] == student]
        arms = dict.fromkeys(one["cell"]["arm"] for one in runs)
        entries = [ablation_entry(arm, [one for one in runs if one["cell"]["arm"] == arm]) for arm in arms]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{table} cannot be read ({reason(error)}); `python -m training ablate` writes it.") from error
    if not entries:
        raise UserError(f"{table} does not have a run of {student}; give the table of an ablation with it.")
    return entries


def ablation_entry(arm: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """One arm over its seeds; an unknown figure, or a cost that was not counted, is None."""
    dice, sd = mean_and_sd([one["figures"]["dice"] for one in runs])
    counted = all(one["seconds"] for one in runs)
    wall = round(mean([one["seconds"]["wall"] / 60 for one in runs]), 1) if counted else None
    if not all(math.isnan(one["figures"]["dice"]) or 0 <= one["figures"]["dice"] <= 1 for one in runs):
        raise ValueError(f"a Dice of {arm} that is none")
    rounded = [round(value, 4) if math.isfinite(value) else None for value in (dice, sd)]
    return {"arm": arm, "seeds": len(runs), "dice": rounded[0], "sd": rounded[1], "wall_minutes": wall}


def held_out_figures(path: Path, report: Callable[[str], None]) -> list[dict[str, Any]]:
    """The student's figures on the held-out cases with both engines.

    Raises UserError when the sample CTs are absent.
    """
    cases = held_out_table.cases(report)
    if not set(REQUIRED_CASES) <= {case.name for case in cases}:
        raise UserError(
            "A student is installed with its figures on the sample CTs, which are absent; connect to a network once."
        )
    table = held_out_table.lines(list(held_out_table.rows([str(path)], cases)))
    report(held_out_table.write(table, path.with_name(f"{path.stem}-cases.csv")))
    return [student_card.figures(line) for line in table if line["case"] not in held_out_table.MEANS]


def put(card_file: Path) -> list[Path]:
    """Copies a student into the extension and writes the model card anew: all three files, or none is touched."""
    new = weight_file.load(card_file)
    text = model_card.text(model_card.bundled_sheets() | {new.name: model_card.Sheet.of(card_file)})
    targets = [weight_file.MODELS / f"{new.name}{suffix}" for suffix in (".npz", ".json")] + [model_card.file()]
    try:
        with ExitStack() as stack:
            weights, card, readable = (stack.enter_context(atomic_write(target)) for target in targets)
            shutil.copy(card_file.with_suffix(".npz"), weights)
            shutil.copy(card_file, card)
            readable.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"The student cannot be put into {weight_file.MODELS} ({error}).") from error
    return targets
