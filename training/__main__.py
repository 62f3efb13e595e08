"""The commands of `python -m training`. Settings: defaults, over them `--config FILE.toml`, over that the options."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

import tyro

from LiverGTANLib.standalone.exit_status import exit_status
from training import options, settings
from training.errors import UserError

COMMANDS: dict[str, tuple[type, str]] = {
    "synthesize": (options.SynthesisConfig, "training.synthesis.build:synthesize"),
    "pack": (options.Pack, "training.synthesis.pack:pack"),
    "soften": (options.Soften, "training.studies.soft_labels:soften"),
    "fit": (options.Fit, "training.workflows:fit"),
    "pseudolabel": (options.Pseudolabel, "training.studies.pseudolabels:pseudolabel"),
    "evaluate": (options.Evaluate, "training.workflows:evaluate"),
    "stress": (options.Stress, "training.evaluation.stress.hard_cases:stress"),
    "calibrate": (options.Calibrate, "training.evaluation.calibration.calibrate:calibrate"),
    "ablate": (options.Ablate, "training.studies.ablation:ablate"),
    "crossvalidate": (options.CrossValidate, "training.studies.cross_validation:cross_validate"),
    "average": (options.Average, "training.studies.average:average"),
    "designs": (options.Designs, "training.studies.designs:compare_designs"),
    "effects": (options.EffectStudy, "training.studies.effect_study:study_effects"),
    "export": (options.Export, "training.release.install:export_student"),
    "keep": (options.Keep, "training.release.keep:keep"),
    "card": (options.Card, "training.release.model_card:card"),
    "describe": (options.Describe, "training.model.nets:describe"),
    "demo": (options.Demo, "training.workflows:demo"),
}
"""Command -> its options, and the function that takes them, which is imported when the command runs."""


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; 0, or 2 after a message for the user."""
    logging.basicConfig(format="%(levelname)s: %(message)s")
    logging.getLogger("training").setLevel(logging.INFO)
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        name, given = parse(arguments)
        module, _, function = COMMANDS[name][1].partition(":")
        getattr(import_module(module), function)(given)
    except (UserError, ValueError) as error:  # the readers' and the product's own errors are ValueErrors
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `exit_status` knows what it means
        raise
    except OSError as error:
        logging.getLogger(__name__).debug("A file could not be read or written.", exc_info=True)
        print(f"error: {in_words(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted. What was finished is kept: the same command goes on from it where it can.", file=sys.stderr)
        return 130
    return 0


def in_words(error: OSError) -> str:
    """A sentence about a file that the system cannot read or write; those of `atomic_write` are sentences already."""
    if error.filename is None:
        return str(error)
    advice = ADVICE.get(error.errno or 0, "give another path")
    return f"{str(error.filename)[:LONGEST_PATH]}: {error.strerror}; {advice}."


LONGEST_PATH = 200
"""Characters of a path in a message."""
ADVICE = {
    errno.ENOSPC: "make room or give another folder",
    errno.EACCES: "give a folder that you may write to",
    errno.EROFS: "give a folder that can be written to",
    errno.ENAMETOOLONG: "give a shorter name",
}


def parse(arguments: list[str]) -> tuple[str, Any]:
    """(command, its options) from the command line. Exits with help or usage like any command-line program."""
    if not arguments or arguments[0] not in COMMANDS:
        kinds: dict[str, Callable[..., Any]] = {name: kind for name, (kind, _) in COMMANDS.items()}
        tyro.extras.subcommand_cli_from_dict(kinds, prog="python -m training", description=__doc__, args=arguments)
    name, rest = arguments[0], arguments[1:]
    kind, default = COMMANDS[name][0], None
    if "--config" in rest:
        place = rest.index("--config")
        file, rest = rest[place + 1 : place + 2], rest[:place] + rest[place + 2 :]
        if not file:
            raise UserError("--config needs a TOML file.")
        default = settings.from_toml(blank(kind), Path(file[0]))
    return name, tyro.cli(kind, prog=f"python -m training {name}", args=rest, default=default)


def blank(kind: type) -> Any:
    """The command's defaults, with tyro's mark where an option has none."""
    required = {f.name: tyro.MISSING for f in fields(kind) if not has_default(f)}
    return kind(**required)


def has_default(option: Any) -> bool:
    """Whether a dataclass field has a default."""
    return len({repr(option.default), repr(option.default_factory)}) > 1


if __name__ == "__main__":
    # Read by OpenMP as torch is loaded: waiting threads sleep instead of spinning, which on a shared machine slowed a
    # step sevenfold. Not set for whoever merely imports the package, because the product's benchmarks do.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(exit_status(main))
