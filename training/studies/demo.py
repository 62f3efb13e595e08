"""`demo`: the whole path on the built-in phantom, without any file from elsewhere.

It shows that everything runs and fits together. A student that has seen only a phantom is of no use on people.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import SimpleITK as sitk
import tomllib

from LiverGTANLib.standalone.image_files import image_of
from training import cli, commands
from training.options import over
from training.paths import DATA_VARIABLE
from training.synthesis.phantom import ct_phantom

SETTINGS = Path(__file__).with_name("demo.toml")
UNSEEN_SEEDS = (101, 102)


def run(output: Path) -> None:
    """A small bank, then teacher, GTAN, export, evaluation on unseen phantoms, card."""
    output.mkdir(parents=True, exist_ok=True)
    os.environ[DATA_VARIABLE] = str(output)  # holds no tissue maps, so synthesis takes the phantom even where data are
    commands.synthesize(dataclasses.replace(settings("synthesize"), output=output / "bank"))
    fit = settings("fit")
    data = dataclasses.replace(fit.training.data, bank=(output / "bank",))
    cases = tuple(write_case(output / "cases", seed) for seed in UNSEEN_SEEDS)
    training = dataclasses.replace(fit.training, data=data)
    commands.fit(dataclasses.replace(fit, stage="all", run=output, cases=cases, training=training))


def settings(command: str) -> Any:
    """The command's options as `demo.toml` sets them."""
    values = tomllib.loads(SETTINGS.read_text(encoding="utf-8"))[command]
    return over(cli.blank(cli.COMMANDS[command]), values, SETTINGS.name)


def write_case(folder: Path, seed: int) -> str:
    """A phantom's CT and mask as files; the text that names the case."""
    folder.mkdir(parents=True, exist_ok=True)
    ct, mask = ct_phantom(seed)
    files = folder / f"phantom-{seed}.nii.gz", folder / f"phantom-{seed}-liver.nii.gz"
    for file, array in zip(files, (ct.hu, mask.astype("uint8")), strict=True):
        sitk.WriteImage(image_of(array, ct.ijk_to_ras), str(file))
    return f"{files[0]}={files[1]}"
