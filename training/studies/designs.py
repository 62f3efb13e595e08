"""Choosing a student: short equal runs of several designs, their Dice on real CTs, their time on both engines.

One folder a design; a finished one holds `result.json` and is not trained again. Times are taken anew at every call.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from LiverGTANLib.core import segmenter, threads
from LiverGTANLib.core.engines.engine import Engine
from LiverGTANLib.core.volume import HU_WINDOW, SPACING_MM, to_model_grid
from training.data.bank import Bank
from training.data.cases import Case
from training.data.joined import Joined
from training.errors import UserError
from training.evaluation.metrics import measure
from training.fit import checkpoint, loop, methods
from training.fit.validate import refuse_trained
from training.model.nets import parameters
from training.options import Config, Designs
from training.studies import designs_table
from training.studies.design_nets import DesignNet, gmac
from training.studies.designs_engines import PlainEngine, TorchDesign, numpy_engine
from training.studies.designs_plan import Design, chosen

ROLE = "student"
EQUAL = ("steps", "batch", "rate", "warmup", "average", "seed")


def compare_designs(options: Designs) -> None:
    """Trains every missing design, times them all side by side, and writes `table.md`, `table.json`, `table.png`."""
    designs = chosen(options.designs)
    cases = [Case.parse(case) for case in options.cases]
    configs = [configured(design, options.training) for design in designs]
    check_banks([Joined(config.data.bank) for config in configs], cases)
    results = []
    for number, (design, config) in enumerate(zip(designs, configs, strict=True), 1):
        file = options.folder / design.name / "result.json"
        if not file.exists():
            print(f"design {number} of {len(designs)}: {design.name}", flush=True)
            result = train(design, config, cases, file.parent)
            file.write_text(json.dumps(result, indent=1), encoding="utf-8")
        results.append(equal(file, config))
    torch.set_num_threads(options.training.machine.threads)
    nets = [network(design, options.folder / design.name / "checkpoint.pt") for design in designs]
    times = timed(nets, cases[0], options.rounds)
    designs_table.write(options.folder, results, times)


def configured(design: Design, config: Config) -> Config:
    """The settings for a design: the banks of its grid, and views shifted by as many millimeters as on the others.

    Raises UserError when no bank has its grid, or volumes that its levels cannot halve.
    """
    bank = tuple(path for path in config.data.bank if Bank.open(path).meta["spacing_mm"] == design.spacing_mm)
    if not bank:
        raise UserError(
            f"{design.name} needs a bank of {design.spacing_mm} mm; make one with `python -m training "
            f"synthesize --spacing-mm {design.spacing_mm}` and name it with --bank, or leave it out of "
            "--designs."
        )
    multiple = DesignNet(design).multiple
    shape = Bank.open(bank[0]).shape
    if any(n % multiple for n in shape):
        raise UserError(f"{bank[0]} has volumes of {shape}; {design.name} needs multiples of {multiple}.")
    voxels = tuple(round(n * SPACING_MM / design.spacing_mm) for n in config.data.augment.shift)
    augment = dataclasses.replace(config.data.augment, shift=voxels)
    return dataclasses.replace(config, data=dataclasses.replace(config.data, bank=bank, augment=augment))


def check_banks(banks: list[Joined], cases: list[Case]) -> None:
    """Raises UserError when one holds more volumes than another, or volumes made of a case."""
    counts = sorted({len(bank) for bank in banks})
    if len(counts) > 1:
        raise UserError(
            f"The banks of the grids hold {', '.join(map(str, counts))} volumes; a comparison needs "
            "equally many: synthesize them with one --count and --seed."
        )
    for bank in banks:
        refuse_trained(cases, bank)


def train(design: Design, config: Config, cases: list[Case], folder: Path) -> dict[str, Any]:
    """Trains a design on labels alone and judges the moving average of its weights; what `result.json` holds."""

    def objective(outputs: loop.Outputs, batch, step: int) -> dict[str, torch.Tensor]:
        return {f"{ROLE} seg": methods.segmentation(outputs[ROLE], batch)}

    task = loop.TrainingTask(design.name, "Dice + cross entropy on labels", {ROLE: seeded(design, config)}, objective)
    file = loop.fit(task, config, folder, lambda net: {})
    net, bank = network(design, file), Joined(config.data.bank)
    return {
        "design": dataclasses.asdict(design),
        "growth": design.growth,
        "parameters": parameters(net),
        "cases": {case.name: judged(net, case) for case in cases},
        "loop": {name: getattr(config.loop, name) for name in EQUAL},
        "bank": {"volumes": len(bank), "shape": bank.banks[0].shape},
        "seconds": checkpoint.read(file)["spent"],
        "code": checkpoint.read(file)["code"],
    }


def judged(net: DesignNet, case: Case) -> dict[str, float]:
    """Figures of the product's mask at native resolution, from the network in float32."""
    mask = segmenter.mask(segmenter.analyze(case.ct, PlainEngine(net))).full()
    return dataclasses.asdict(measure(mask, case.mask, case.ct.ijk_to_ras))


def equal(file: Path, config: Config) -> dict[str, Any]:
    """A finished result. Raises UserError when it was not trained like the others are to be."""
    result = json.loads(file.read_text(encoding="utf-8"))
    differing = [name for name in EQUAL if result["loop"][name] != getattr(config.loop, name)]
    if differing:
        raise UserError(
            f"{file} was trained with another {', '.join(differing)}; a comparison needs equal runs: "
            "give the same settings or another --folder."
        )
    return result


def seeded(design: Design, config: Config) -> DesignNet:
    """A fresh network whose weights depend on the seed and the design alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.loop.seed)
        return DesignNet(design)


def network(design: Design, file: Path) -> DesignNet:
    """The averaged network of a design's checkpoint in eval mode."""
    net = DesignNet(design)
    net.load_state_dict(checkpoint.read(file)["nets"][ROLE]["average"])
    return net.eval()


def timed(nets: list[DesignNet], case: Case, rounds: int) -> dict[str, Any]:
    """Times of one forward pass on the scan's grid, by engine and design, in ms.

    The designs take turns, so that whatever else the machine does hits all alike.
    """
    spacings = {net.design.spacing_mm for net in nets}
    grids = {spacing: to_model_grid(case.ct, spacing, HU_WINDOW)[0] for spacing in spacings}
    numbers = {
        net.design.name: {
            "grid": grids[net.design.spacing_mm].shape,
            "gmac": gmac(net.design, grids[net.design.spacing_mm].shape),
        }
        for net in nets
    }
    for name, make in (("numpy", numpy_engine), ("torch", TorchDesign)):
        made = [make(net) for net in nets]
        taken = in_turns(made, [grids[net.design.spacing_mm] for net in nets], rounds)
        for net, engine, milliseconds in zip(nets, made, taken, strict=True):
            kind = str(engine.dtype) if name == "torch" else type(engine).__name__
            numbers[net.design.name][name] = {
                "median": statistics.median(milliseconds),
                "all": milliseconds,
                "kind": kind,
            }
    counts = {"numpy_threads": threads.thread_count(), "torch_threads": torch.get_num_threads()}
    return {"scan": case.name, "rounds": rounds, **counts, "designs": numbers}


def in_turns(made: list[Engine], grids: list, rounds: int) -> list[list[float]]:
    """Milliseconds of each engine's forward in every round, after one that does not count."""
    taken: list[list[float]] = [[] for _ in made]
    for number in range(rounds + 1):
        for engine, grid, times in zip(made, grids, taken, strict=True):
            spent = milliseconds_of(engine.forward, grid)
            times.extend([spent] if number else [])
    return taken


def milliseconds_of(forward: Callable, grid) -> float:
    """Wall time of one call."""
    began = time.perf_counter()
    forward(grid)
    return 1000 * (time.perf_counter() - began)
