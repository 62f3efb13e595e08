"""Choosing a student: short equal runs of several designs, their Dice on real CTs, their time.

One folder a design and seed; a finished one is not trained again (see `stored_results`). Times are taken anew at every
call.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from LiverGTANLib.core import segmenter, threads
from LiverGTANLib.core.boxes import triple
from LiverGTANLib.core.engines.engine import Engine
from LiverGTANLib.core.volume import HU_WINDOW, SPACING_MM, to_model_grid
from training.data.bank import Bank
from training.data.cases import Case, parse_cases
from training.data.training_data import TrainingData
from training.errors import UserError
from training.evaluation.metrics import measure
from training.fit import checkpoint, loop, methods, network_file
from training.fit.run_record import MethodRecord
from training.fit.validate import refuse_trained
from training.model.nets import UNet3D, gmac, parameters
from training.options import Config, Designs
from training.studies import design_table
from training.studies.design_engines import TorchDesign, numpy_engine
from training.studies.design_plan import Design, chosen
from training.studies.stored_results import Result, case_digests, result_of

ROLE = "student"
ENGINES = {
    "numpy": "the extension's engine, for the designs that it runs",
    "torch": "float32, batch norms folded, channels last",
}
"""What the times were taken with, as the table says it."""


def compare_designs(options: Designs) -> None:
    """Trains every missing design, times them all side by side, and writes `table.md`, `table.json`, `table.png`.

    Raises UserError that names each difference when a design's folder holds a run of other settings.
    """
    designs = chosen(options.designs)
    if not options.seeds:
        raise UserError("A comparison needs at least one seed; name it with --seeds.")
    cases = parse_cases(options.cases)
    configs = {design: configured(design, options.training) for design in designs}
    check_data([TrainingData(config.data) for config in configs.values()], cases)
    digests, results = case_digests(cases), []
    for seed in options.seeds:  # outermost, so that an early stop leaves a whole comparison
        for design, config in configs.items():
            results.append(finished(design, seeded(config, seed), cases, digests, folder_of(options, design, seed)))
    torch.set_num_threads(options.training.machine.threads)
    nets = {
        design: network(design, folder_of(options, design, options.seeds[0]) / "checkpoint.pt") for design in designs
    }
    times = timed(nets, cases[0], options.rounds)
    design_table.write(options.folder, results, times)


def folder_of(options: Designs, design: Design, seed: int) -> Path:
    """Of one run."""
    return options.folder / design.name / f"seed-{seed}"


def seeded(config: Config, seed: int) -> Config:
    """The settings with another seed."""
    return dataclasses.replace(config, loop=dataclasses.replace(config.loop, seed=seed))


def finished(design: Design, config: Config, cases: list[Case], digests: dict[str, str], folder: Path) -> Result:
    """The figures of one run, which is trained, or gone on with, where it is not finished."""
    file = folder / "result.json"
    if not file.exists():
        print(f"{design.name}, seed {config.loop.seed}", flush=True)
    trained = train(design, config, folder)
    measure_it = partial(measured, design, config, cases, trained)
    return result_of(file, network_digest(trained), digests, measure_it, {"design": dataclasses.asdict(design)})


def configured(design: Design, config: Config) -> Config:
    """The settings for a design: banks and views of its grid, shifted by as many millimeters as on the others.

    Raises UserError when neither banks nor scans give its grid, or volumes that its levels cannot halve.
    """
    bank = tuple(path for path in config.data.bank if Bank.open(path).meta["spacing_mm"] == design.spacing_mm)
    if not bank and config.data.scans is None:
        raise UserError(
            f"{design.name} needs a bank of {design.spacing_mm} mm; make one with `python -m training "
            f"synthesize --spacing-mm {design.spacing_mm}` and name it with --bank, or leave it out of "
            "--designs."
        )
    multiple = design.network().multiple
    shape = Bank.open(bank[0]).shape if bank else window(config.data.window, design.spacing_mm, multiple)
    if any(n % multiple for n in shape):
        raise UserError(f"{bank[0]} has volumes of {shape}; {design.name} needs multiples of {multiple}.")
    s, a, r = (round(n * SPACING_MM / design.spacing_mm) for n in config.data.augment.shift)
    augment = dataclasses.replace(config.data.augment, shift=(s, a, r))
    data = dataclasses.replace(config.data, bank=bank, augment=augment, window=shape, spacing_mm=design.spacing_mm)
    return dataclasses.replace(config, data=data)


def window(shape: tuple[int, int, int], spacing_mm: float, multiple: int) -> tuple[int, int, int]:
    """The window of views at another spacing: about as many millimeters, in multiples that the levels can halve."""
    return triple(max(1, round(n * SPACING_MM / spacing_mm / multiple)) * multiple for n in shape)


def check_data(every: list[TrainingData], cases: list[Case]) -> None:
    """Raises UserError when one has more stored volumes than another, or volumes or views of a case."""
    counts = sorted({len(data.banks) if data.banks else 0 for data in every})
    if len(counts) > 1:
        raise UserError(
            f"The banks of the grids hold {', '.join(map(str, counts))} volumes; a comparison needs "
            "equally many: synthesize them with one --count and --seed."
        )
    for data in every:
        refuse_trained(cases, data)


def train(design: Design, config: Config, folder: Path) -> Path:
    """Trains a design on labels alone, or finds it trained; its checkpoint."""

    def objective(outputs: loop.Outputs, batch, step: int) -> dict[str, torch.Tensor]:
        return {f"{ROLE} seg": methods.segmentation(outputs[ROLE], batch)}

    task = loop.TrainingTask(design.name, MethodRecord("student"), {ROLE: initial_network(design, config)}, objective)
    return loop.fit(task, config, folder, lambda net: {})


def measured(design: Design, config: Config, cases: list[Case], file: Path) -> Result:
    """The figures of the moving average of a design's weights on every case; what `result.json` holds."""
    net, data, content = network(design, file), TrainingData(config.data), checkpoint.read(file)
    return {
        "design": dataclasses.asdict(design),
        "growth": design.growth,
        "parameters": parameters(net),
        "cases": {case.name: figures(TorchDesign(design, net), case) for case in cases},
        "loop": {name: getattr(config.loop, name) for name in ("steps", "batch", "rate", "warmup", "average", "seed")},
        "bank": {
            "volumes": len(data.banks) if data.banks else 0,
            "scans": len(data.scans.records) if data.scans else 0,
            "shape": data.shape,
        },
        "seconds": content["spent"],
        "code": content["code"],
    }


def figures(engine: TorchDesign, case: Case) -> dict[str, float]:
    """Those of the product's mask at native resolution, from the network in float32."""
    mask = segmenter.mask(segmenter.analyze(case.ct, engine), case.ct).full()
    return dataclasses.asdict(measure(mask, case.mask, case.ct.ijk_to_ras))


def network_digest(file: Path) -> str:
    """See `network_file.digest`."""
    return network_file.digest(checkpoint.read(file)["nets"][ROLE]["average"])


def initial_network(design: Design, config: Config) -> UNet3D:
    """A fresh network whose weights depend on the seed and the design alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.loop.seed)
        return design.network()


def network(design: Design, file: Path) -> UNet3D:
    """The averaged network of a design's checkpoint in eval mode."""
    net = design.network()
    net.load_state_dict(checkpoint.read(file)["nets"][ROLE]["average"])
    return net.eval()


def timed(nets: dict[Design, UNet3D], case: Case, rounds: int) -> dict[str, Any]:
    """Times of one forward pass on the scan's grid, by engine and design, in ms; "numpy" where the extension runs it.

    The designs take turns, so that whatever else the machine does hits all alike.
    """
    grids = {
        design: to_model_grid(case.ct, design.spacing_mm, HU_WINDOW, net.multiple)[0] for design, net in nets.items()
    }
    numbers: dict[str, dict[str, Any]] = {
        design.name: {"grid": grid.shape, "gmac": gmac(nets[design], triple(grid.shape))}
        for design, grid in grids.items()
    }
    for name, make in (("numpy", numpy_engine), ("torch", TorchDesign)):
        made = {design: engine for design, net in nets.items() if (engine := make(design, net))}
        taken = in_turns(list(made.values()), [grids[design] for design in made], rounds)
        for design, milliseconds in zip(made, taken, strict=True):
            numbers[design.name][name] = {"median": statistics.median(milliseconds), "all": milliseconds}
    counts = {"numpy_threads": threads.thread_count(), "torch_threads": torch.get_num_threads()}
    return {"scan": case.name, "rounds": rounds, "engines": ENGINES, **counts, "designs": numbers}


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
