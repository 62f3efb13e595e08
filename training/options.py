"""The typed options of every command, with their defaults; `settings` reads and writes them as TOML."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from tyro.conf import OmitArgPrefixes as Flat
from tyro.conf import Positional as First

from LiverGTANLib.core.volume import HU_WINDOW, SPACING_MM
from training.paths import TEACHER

TEACHER_WIDTHS = (16, 32, 64, 128)
STUDENT_WIDTHS = {"student-100k": (5, 10, 20, 30), "student-30k": (4, 6, 12, 13)}
ASSISTANT_WIDTHS = (9, 18, 36, 62)
"""Widths of the networks by level: the students with at most 100,000 and 30,000 parameters."""
WINDOW = (80, 112, 128)
"""Voxels of a training volume along S, A, R; multiply-accumulates are stated for it."""


def _require_least(settings: Any, least: int, *names: str) -> None:
    """Raises ValueError for settings below a number, and for such that are not finite."""
    wrong = [name for name in names if not least <= getattr(settings, name) < math.inf]
    if wrong:
        raise ValueError(f"{' and '.join(wrong)} must be at least {least}.")


# What several commands share: synthesis, training.


@dataclass(frozen=True)
class AugmentRanges:
    """What a random view of a training volume is drawn from; zero switches an effect off."""

    shift: tuple[int, int, int] = (14, 10, 10)
    """Voxels along S, A, R; what leaves the grid is cut like a short scan."""
    offset: float = 0.08
    """Of the half window: 0.05 is 10 HU."""
    gain: float = 0.12
    """Relative change of contrast: 0.12 is from 0.88 to 1.12 times."""
    gamma: float = 0.2
    """Of the logarithm of the exponent by which gray values are bent."""
    noise: float = 0.08
    """Largest standard deviation, of the half window: 0.08 is 16 HU."""
    noisy: float = 0.4
    """Share of views with noise."""
    blurred: float = 0.25
    """Share of views blurred."""


@dataclass(frozen=True)
class ViewRanges:
    """What a view of a real CT of `--scans` is drawn from, beside `augment`; shares are probabilities."""

    scale: tuple[float, float] = (0.82, 1.15)
    """Voxels of the scan a voxel of the view: below 1 the body looks larger."""
    stretch: float = 0.08
    """By axis, beside the scale."""
    degrees: float = 10.0
    """Largest turn about each axis."""
    shift_mm: float = 45.0
    """Of the view's middle around the liver's, along each axis."""
    bend_mm: float = 5.0
    """Largest standard deviation of the elastic displacement."""
    bend_length_mm: float = 60.0
    """Distance of the nodes of the elastic displacement."""
    contrast: tuple[float, float] = (0.75, 1.35)
    """Factor of the contrast of soft tissue, as other phases have it."""
    offset_hu: float = 15.0
    """Largest HU that all voxels are moved by."""
    densities: float = 0.35
    """Share of views with another density of the liver."""
    density_hu: tuple[float, float] = (-60.0, 35.0)
    """What is added to the liver then."""
    tumors: float = 0.3
    """Share of views with drawn tumors."""
    tumor_mm: tuple[float, float] = (4.0, 55.0)
    """Radii."""
    thick: float = 0.4
    """Share of views with thick slices."""
    slice_mm: tuple[float, float] = (3.5, 8.0)
    """Their thickness."""
    cut: float = 0.3
    """Share of views in which the scan begins late; and as many in which it ends early."""
    round_fields: float = 0.15
    """Share of views in a round field of view."""
    effusions: float = 0.15
    """Share of views of labelled scans with fluid, and partly collapsed lung, instead of lung beside the liver."""


@dataclass(frozen=True)
class DataSettings:
    """Training and validation data."""

    bank: tuple[Path, ...] = (Path("runs/bank"),)
    """Folders made by `python -m training synthesize`; several are joined. None (`--bank` alone): --scans only."""
    validation: tuple[str, ...] = ()
    """CT=MASK pairs to validate on during training; never trained on."""
    augment: AugmentRanges = field(default_factory=AugmentRanges)
    scans: Path | None = None
    """Folder made by `python -m training pack`: real CTs, of which views are drawn while training."""
    scan_share: float = 0.6
    """Share of the volumes that come from `scans`, when there are banks, too."""
    leave_out: tuple[str, ...] = ()
    """Patients of `scans` of whom nothing is drawn."""
    labelled_only: bool = False
    """Draw nothing without a label: it teaches a network nothing that has no teacher."""
    views: ViewRanges = field(default_factory=ViewRanges)
    window: tuple[int, int, int] = WINDOW
    """Voxels of a view along S, A, R; a bank beside the scans must have the same."""
    spacing_mm: float = SPACING_MM
    """Voxel size of a view; that of the banks beside the scans."""


@dataclass(frozen=True)
class LoopSettings:
    """Length, rate and regularization of the training."""

    steps: int = 9000
    """Updates of the student, or of the only network."""
    batch: int = 2
    """Volumes in one step over all processes."""
    rate: float = 4e-3
    """Largest learning rate."""
    warmup: int = 200
    """Steps in which the rate rises from zero, at the start and after every growth."""
    decay: float = 1e-4
    """AdamW's weight decay."""
    clip: float = 2.0
    """Largest norm of a gradient."""
    average: float = 0.998
    """Decay of the moving average of the weights that is validated and exported."""
    seed: int = 0
    """Of initial weights, views and their order."""
    start: Path | None = None
    """Checkpoint, or student file (.npz), to begin from instead of random weights: its student, or its only network,
    widened where the network to train is wider (TAKD's and DGKD's assistant)."""
    log_every: int = 50
    """Steps."""
    validate_every: int = 500
    """Steps."""
    checkpoint_seconds: float = 120.0
    """Time from one checkpoint to the next."""
    deterministic: bool = False
    """The same weights again on the same machine; slower."""

    def __post_init__(self) -> None:
        _require_least(self, 1, "steps", "batch", "log_every", "validate_every")
        _require_least(self, 0, "warmup", "decay", "checkpoint_seconds", "seed")
        if not (0 < self.rate < math.inf and 0 < self.clip < math.inf):
            raise ValueError("rate and clip must be above 0.")
        if not 0 <= self.average < 1:
            raise ValueError("average must be from 0 to below 1.")


FeatureStage = Literal["mskd", "boundary", "contrast"]
"""KD with a term of a related system on features, see `model/related_losses.py`."""
LossName = Literal["kl", "cwd", "dist", "mse", "fckd", "fckd-opposite"]


@dataclass(frozen=True)
class DistillSettings:
    """Distillation from larger networks."""

    loss: LossName = "kl"
    """Of the student's output from the teacher's; see `training/README.md`, "Arms"."""
    weight: float = 1.0
    """Of the distillation term beside Dice + cross entropy."""
    temperature: float | None = None
    """By default 2 for kl and fckd, 4 for cwd and dist; mse clips logits at it, by default at 8."""
    drop: float = 0.5
    """DGKD: chance that the term of one of several teachers is left out of a step."""

    def __post_init__(self) -> None:
        _require_least(self, 0, "weight")
        if self.temperature is not None and not 0 < self.temperature < math.inf:
            raise ValueError("temperature must be above 0.")
        if not 0 <= self.drop <= 1:
            raise ValueError("drop is a probability: give a number from 0 to 1.")


@dataclass(frozen=True)
class GrowthSettings:
    """How the assistant grows from the student's widths to the teacher's."""

    grow_at: tuple[float, ...] = (0.25, 0.5)
    """Shares of the run after which it grows; the last time to the teacher's widths."""
    asymmetry: float = 0.01
    """Relative noise that makes copies of a unit differ."""
    inherit: bool = True
    """Carry weights and moments over at growth; without, every size starts anew (an arm of the ablation)."""
    teacher_term: bool = False
    """The student also learns from the teacher directly, as in DGKD."""

    def __post_init__(self) -> None:
        _require_least(self, 0, "asymmetry")
        if not self.grow_at or not all(0 <= share <= 1 for share in self.grow_at):
            raise ValueError("grow_at are shares of the run: give one or several numbers from 0 to 1.")


@dataclass(frozen=True)
class MachineSettings:
    """Handed to Lightning Fabric."""

    accelerator: str = "auto"
    """cpu, cuda or mps; auto takes a GPU where there is one."""
    devices: int = 1
    """How many of them."""
    num_nodes: int = 1
    """How many computers."""
    strategy: str = "auto"
    """ddp for several devices."""
    precision: str = "auto"
    """auto: bf16-mixed on a processor that has it (2x here), else 32-true; or any precision of Fabric."""
    threads: int = 2
    """Of torch on the processor."""
    workers: int | None = None
    """Processes that draw the batches on the processor for a GPU; 0: the GPU draws them beside its steps. By default
    all processors but two where there are eight or more."""

    def __post_init__(self) -> None:
        _require_least(self, 1, "threads", "num_nodes")
        if self.workers is not None:
            _require_least(self, 0, "workers")


@dataclass(frozen=True)
class Config:
    """All that decides what a training run does; saved beside its checkpoint."""

    data: DataSettings = field(default_factory=DataSettings)
    loop: LoopSettings = field(default_factory=LoopSettings)
    distill: DistillSettings = field(default_factory=DistillSettings)
    growth: GrowthSettings = field(default_factory=GrowthSettings)
    machine: MachineSettings = field(default_factory=MachineSettings)


@dataclass(frozen=True)
class Effects:
    """Probability of each effect in a volume; 0 switches it off without changing what the others draw."""

    contour: float = 0.45
    """Nodular (cirrhotic), swollen or shrunken liver surface."""
    resection: float = 0.06
    wall: float = 0.75
    """Diaphragm and muscle of the abdominal wall against the liver, where a tissue map has fat or lung."""
    ascites: float = 0.14
    mesentery: float = 0.9
    """Bowel loops and vessels in the fat between the organs of a tissue map."""
    bowel_gas: float = 0.85
    hazy_fat: float = 0.15
    """Edema, inflammation, or a lean patient: fat between the organs of a tissue map nearly as dense as they are."""
    effusion: float = 0.42
    """Pleural fluid with collapsed lung."""
    consolidation: float = 0.28
    vessels: float = 0.75
    lesions: float = 0.4
    giant_tumor: float = 0.15
    fatty: float = 1.0
    """Whether livers may be fatty (their share among livers is in `phase.LIVERS`); 0 or 1."""
    iron: float = 1.0
    """Whether livers may hold iron; 0 or 1."""
    odd: float = 1.0
    """Whether a fifth of the scans may have tissues of unlikely density; 0 or 1."""
    gain: float = 0.7
    liver_density: float = 0.35
    arms: float = 0.12
    table: float = 0.6
    metal_streaks: float = 0.08
    photon_starvation: float = 0.15
    blur: float = 1.0
    noise: float = 0.95
    thick_slices: float = 0.6
    quantized: float = 0.08
    cut: float = 0.55
    round_field: float = 0.22

    def without(self, *names: str) -> Effects:
        """The same with some effects switched off."""
        return replace(self, **dict.fromkeys(names, 0.0))


WEIGHTS = {
    **dict.fromkeys(("tcga_thca_de_a4ma",), 1.5),
    **dict.fromkeys(("acrin_flt_breast_001", "lung_pet_ct_dx_a0001"), 2.0),
    **dict.fromkeys((f"msd_liver_{number:02}" for number in (2, 3, 4, 11, 13)), 2.0),
    **dict.fromkeys((f"msd_liver_{number:02}" for number in (6, 7, 8, 9, 10)), 0.6),
    **dict.fromkeys(("tcga_ov_09_2043", "cptac_pda_c3n00249", "cmb_crc_01068", "acrin_flt_breast_013"), 0.5),
    **dict.fromkeys((f"hcc_tace_seg_009_pretace_{which}" for which in ("103", "4", "plain10mm")), 0.3),
    "rider_pilot_0117": 0.3,
}
"""Chosen by what is known of the CTs, not by measuring."""


@dataclass(frozen=True)
class RealScans:
    """Real CTs to train on: those of the data folder and of data sets, prepared once on the fine grid."""

    data: Path | None = None
    """Folder with `tissue_maps/` and `ct/`; by default LIVERGTAN_DATA, or ../shared/data beside the repository."""
    datasets: tuple[str, ...] = ()
    """Real CTs as LAYOUT=FOLDER: lits, msd, totalsegmentator, chaos, nnunet, pairs (or pairs=FOLDER:LABEL), unlabelled.
    Labelled ones are trained on alone, unless `synthesize --real-share` says otherwise."""
    skip_bad: bool = False
    """Leave out CTs that cannot be used, and name them in the record, instead of refusing them all."""
    accept: tuple[str, ...] = ()
    """CTs whose masks you have looked at: what speaks against them is noted, but does not refuse them."""
    validation_share: float = 0.2
    """Share of the patients of `datasets` that no volume comes from; split.json beside the volumes names them."""
    cache: Path = Path("runs/cache")
    """Folder for CTs on the fine grid, which are prepared once."""
    exclude: tuple[str, ...] = (
        "spl_abdominal_atlas",
        "lung_pet_ct_dx_a0002_thick",
        "lidc_idri_0001",
        "hcc_tace_seg_009_giant_tumour",
        "lidc_idri_0314_effusion",
    )
    """CTs of `data` with doubtful labels, which no volume comes from; held-out cases never are a source."""
    unlabelled: tuple[str, ...] = ()
    """CTs of `data` to use without a label (for distillation only), as those that have none; `exclude` goes first."""
    labels: Path | None = None
    """Folder of masks NAME.nii.gz (of `pseudolabel`, inspected): for the CTs of `data`, whose pseudo-labels they
    replace, and for those of `datasets` that have none (`--datasets unlabelled=FOLDER`)."""
    weights: dict[str, float] = field(default_factory=lambda: dict(WEIGHTS))
    """How often a real CT is drawn compared with the others (1): scans without contrast are few, labels by experts are
    better than others, some scans are of one patient, and without a label a scan says less. The default is of the CTs
    of `data`, not of others that have their names."""
    fine_mm: float = SPACING_MM / 1.5
    """Voxel size of the fine grid."""
    hu_window: tuple[float, float] = HU_WINDOW
    """HU that become -1 and 1."""
    seed: int = 0
    """Of the split and the volumes."""
    workers: int = 2
    """Processes at a time."""

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError("workers must be at least 1.")
        if not 0 <= self.validation_share <= 1:
            raise ValueError("validation_share is a share: give a number from 0 to 1.")
        useless = [name for name, weight in self.weights.items() if not 0 < weight < math.inf]
        if useless:
            raise ValueError(f"The weights of {', '.join(useless)} must be above 0; leave a CT out by --exclude.")


@dataclass(frozen=True)
class Pack(RealScans):
    """Pack real CTs, whole and in 8 bits, for views that `fit --scans` draws while it trains."""

    output: Path = Path("runs/scans")
    """Folder of the scans; it must not be there."""


@dataclass(frozen=True)
class Soften:
    """Replace the labels of packed scans by soft ones: what teachers of a finer grid answer, mixed with the labels."""

    teacher: First[tuple[str, ...]]
    """Checkpoints (.pt, .pt:ROLE) or single networks (.safetensors); the mean of their probabilities counts."""
    scans: Path = Path("runs/scans")
    """Folder made by `pack`, of the teachers' grid (`pack --fine-mm`)."""
    output: Path = Path("runs/scans-soft")
    """Folder of the scans with soft labels; it must not be there."""
    share: float = 0.5
    """Of the teachers, where there is a label; where there is none, they decide alone: look at the picture of
    those beside the folder."""
    unsure: tuple[str, ...] = ()
    """Names of scans that keep what they have, a label or none, because the picture shows a wrong answer."""

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError("share is a share: give a number from 0 to 1.")


@dataclass(frozen=True)
class SynthesisConfig(RealScans):
    """A bank of training volumes made of tissue maps and real CTs."""

    output: Path = Path("runs/bank")
    """Folder of the bank; an unfinished one is continued."""
    count: int = 1200
    """Volumes."""
    phantom: bool = False
    """Draw the bodies instead of taking tissue maps and CTs of `data`: for a demonstration, of no use on patients."""
    real_share: float | None = None
    """Share of volumes made of real CTs, those of `data` among them; by default 1, of labelled `datasets` alone, and
    without these 0.23."""
    no_liver_share: float = 0.07
    """Share of synthetic volumes that show pelvis or chest only."""
    heads_and_limbs_share: float | None = None
    """Share of volumes that show a drawn head or limb: there is no liver either. By default 0.04, and 0 where labelled
    `datasets` are trained on alone."""
    shape: tuple[int, int, int] = WINDOW
    """Voxels of a volume along S, A, R."""
    spacing_mm: float = SPACING_MM
    """Voxel size of the volumes."""
    picture: Path | None = None
    """Write a contact sheet of the first volumes here."""
    effects: Effects = Effects()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.count < 1:
            raise ValueError("count must be at least 1.")
        if abs(self.fine_mm * 1.5 - self.spacing_mm) > 1e-6 or any(n % 2 for n in self.shape):
            raise ValueError("fine_mm must be two thirds of spacing_mm, and every side of the shape even.")
        for name in ("real_share", "no_liver_share", "heads_and_limbs_share"):
            if not 0 <= (getattr(self, name) or 0) <= 1:
                raise ValueError(f"{name} is a share: give a number from 0 to 1.")
        for f in fields(self.effects):
            if not 0 <= getattr(self.effects, f.name) <= 1:
                raise ValueError(f"effects.{f.name} is a probability: give a number from 0 to 1.")

    @property
    def fine_shape(self) -> tuple[int, int, int]:
        """Voxels of the simulation's grid along S, A, R."""
        s, a, r = (n * 3 // 2 for n in self.shape)
        return s, a, r


# The commands.


@dataclass(frozen=True)
class Roles:
    """Widths of the three roles and the frozen teachers."""

    student_widths: tuple[int, ...] = STUDENT_WIDTHS["student-100k"]
    """Channels on each level of the student; 4 6 12 13 for the 30k."""
    assistant_widths: tuple[int, ...] = ASSISTANT_WIDTHS
    """Of TAKD's and DGKD's assistant; GTAN's grows to the teacher's widths."""
    teacher_widths: tuple[int, ...] = TEACHER_WIDTHS
    """The same of the teacher."""
    teacher: tuple[Path, ...] = ()
    """Checkpoints of trained teachers, or single networks as .safetensors; several are averaged."""
    teacher_steps: int | None = None
    """Steps of the teacher in `fit all` and `ablate`; by default as many as the student's."""


@dataclass(frozen=True)
class Fit:
    """Train networks; a run that was stopped goes on from its last checkpoint."""

    stage: First[
        Literal["teacher", "student", "kd", "takd", "dgkd", "gtan", "mskd", "boundary", "contrast", "mutual", "all"]
    ]
    """teacher, student: on labels alone. kd: a student from --teacher. takd, dgkd: with an assistant trained first.
    gtan: with one that grows beside it. mskd, boundary, contrast: kd with a term on features.
    mutual: two students that learn from each other, too.
    all: a teacher, then gtan, then export and, given --cases, evaluation."""
    run: Path = Path("runs/run")
    """Folder of the run: settings, checkpoint, log."""
    name: str = "student"
    """Name of the student that `all` exports."""
    cases: tuple[str, ...] = ()
    """CT=MASK or CT=MASK:LABEL that `all` evaluates on."""
    roles: Flat[Roles] = field(default_factory=Roles)
    training: Flat[Config] = field(default_factory=Config)


@dataclass(frozen=True)
class Pseudolabel:
    """A teacher outlines CTs without labels; look at the picture before `synthesize --labels` takes them in."""

    teacher: First[str]
    """A checkpoint (.pt or .pt:ROLE)."""
    cts: tuple[str, ...] = ("ct",)
    """CT files, folders of them or of DICOM series; relative ones are also looked up in LIVERGTAN_DATA. Of a folder
    CTs with a mask by people beside them (NAME_liver.nii.gz) are left out."""
    exclude: tuple[str, ...] = ()
    """Names to leave out, besides the held-out cases, which have a human label."""
    output: Path = Path("runs/labels")
    """Folder of the masks; it must not be there."""


@dataclass(frozen=True)
class Ablate:
    """The table of arms x students x seeds at equal student updates; a folder's finished runs are taken again."""

    cases: tuple[str, ...]
    """CT=MASK or CT=MASK:LABEL that no step has seen."""
    arms: tuple[str, ...] = ("student", "kd", "takd", "dgkd", "gtan", "gtan-fresh", "kd:dist", "gtan:dist")
    """Stages of `fit`, with a loss behind a colon (kd:mse), and what `ablate` alone knows; see `training/README.md`."""
    students: tuple[str, ...] = ("student-100k", "student-30k")
    """Known names, or widths like 5-10-20-30."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Each arm is trained once with each."""
    starts: tuple[Path, ...] = ()
    """A checkpoint for each student that all its arms begin from; without, they begin from random weights."""
    also: tuple[str, ...] = ()
    """LABEL=CHECKPOINT of finished students to show in the table, too, as those that are bundled."""
    soft_scans: Path | None = None
    """Scans of `soften`, which the arm `soft` learns from as labels."""
    tables: tuple[Path, ...] = ()
    """`table.json` of other folders whose runs are taken over, not trained again: work that was shared between
    machines. They must be of the same cases and updates; other settings are not in them and not compared."""
    folder: Path = Path("runs/ablation")
    """Of runs, `table.md`, `table.json` and the plot."""
    roles: Flat[Roles] = field(default_factory=Roles)
    training: Flat[Config] = field(default_factory=Config)


@dataclass(frozen=True)
class CrossValidate:
    """Leave one patient out: one recipe trained without each patient of `--scans` in turn, and measured on it.

    A folder's finished folds are taken again.
    """

    cases: tuple[str, ...]
    """CT=MASK or CT=MASK:LABEL of scans in `--scans`, by whose patients the folds go."""
    arm: str = "student"
    """As in `ablate`."""
    folder: Path = Path("runs/cross-validation")
    """Of runs, `table.md` and `table.json`."""
    roles: Flat[Roles] = field(default_factory=Roles)
    training: Flat[Config] = field(default_factory=Config)


@dataclass(frozen=True)
class Average:
    """The mean of the weights of runs that began from one network (`--start`)."""

    checkpoints: First[tuple[Path, ...]]
    """Of runs that differ in the seed alone, and, if wanted, of the network that they began from."""
    run: Path = Path("runs/average")
    """Folder of the new checkpoint."""
    role: str = "student"
    """Which network of the checkpoints."""


@dataclass(frozen=True)
class Designs:
    """The trade-off between accuracy and time of several students' designs, by short equal runs.

    A folder's finished runs are taken again.
    """

    cases: tuple[str, ...]
    """CT=MASK or CT=MASK:LABEL that no step has seen; times are taken on the first."""
    designs: tuple[str, ...] = ()
    """Names in `studies/design_plan.py`; by default all. Give --bank one folder for each of their grids."""
    seeds: tuple[int, ...] = (0, 1)
    """Each design is trained once with each."""
    folder: Path = Path("runs/designs")
    """Of runs, table and plot."""
    rounds: int = 9
    """Timed forward passes of each design on each engine."""
    training: Flat[Config] = field(default_factory=Config)


@dataclass(frozen=True)
class EffectStudy:
    """What each group of effects of views and of synthetic volumes is worth: short equal runs with one switched off.

    A folder's finished runs are taken again.
    """

    cases: tuple[str, ...]
    """CT=MASK or CT=MASK:LABEL that no step has seen."""
    groups: tuple[str, ...] = ()
    """Names in `studies/effect_groups.py`; by default all."""
    seeds: tuple[int, ...] = (0, 1)
    """Each run is trained once with each."""
    folder: Path = Path("runs/effects")
    """Of runs, table and plot."""
    conditions: tuple[str, ...] = (
        "fatty liver",
        "large hypodense tumor",
        "pleural effusion on non-contrast CT",
        "ascites",
        "low dose",
        "slices of 8 mm",
        "liver cut at the top",
        "round field of view",
        "pelvis only",
    )
    """Conditions of `stress` that each run is measured under, too, simulated and real."""
    volumes: int = 4
    """Simulated volumes a condition; 0: real scans alone."""
    data: Path | None = None
    """Folder with `tissue_maps/` and `ct/`; by default LIVERGTAN_DATA, or ../shared/data beside the repository."""
    roles: Flat[Roles] = field(default_factory=Roles)
    training: Flat[Config] = field(default_factory=Config)


@dataclass(frozen=True)
class Evaluate:
    """Dice, NSD, HD95, ASSD and volume error on real CTs at native resolution."""

    model: First[str] = ""
    """A bundled student's name, a student file, a checkpoint (.pt or .pt:ROLE), or a folder of masks."""
    cases: tuple[str, ...] = ()
    """CT=MASK or CT=MASK:LABEL."""
    engines: tuple[Literal["numpy", "torch"], ...] = ("numpy",)
    """torch needs PyTorch; both should agree."""
    output: Path | None = None
    """Also write the figures of all cases to this CSV, and their summary beside it; without, they are only printed."""
    picture: Path | None = None
    """Also a picture of every case with both outlines."""
    bundled: bool = False
    """Instead of model and cases: all bundled students with both engines on every real case that is available here."""


@dataclass(frozen=True)
class Stress:
    """The hard cases one by one, simulated and real, through the product's own path; JSON and Markdown."""

    model: First[str]
    """A bundled student's name, a student file, or a checkpoint (.pt or .pt:ROLE)."""
    cases: tuple[str, ...] = ()
    """CT=MASK or CT=MASK:LABEL to alter, besides the human-labelled CTs of `data`."""
    output: Path = Path("runs/stress/student.json")
    """A table is written beside it (.md)."""
    data: Path | None = None
    """Folder with `tissue_maps/` and `ct/`; by default LIVERGTAN_DATA, or ../shared/data beside the repository."""
    phantom: bool = False
    """Simulate on drawn bodies, and on no real CT but `cases`: without the data folder."""
    volumes: int = 8
    """Simulated volumes a condition; 0: real scans and drawn heads alone."""


@dataclass(frozen=True)
class Calibrate:
    """How far the student's probabilities near the border can be believed; fits a temperature on some of the cases."""

    model: First[str]
    """A bundled student's name, a student file, or a checkpoint (.pt or .pt:ROLE)."""
    cases: tuple[str, ...]
    """CT=MASK or CT=MASK:LABEL."""
    fit: tuple[str, ...]
    """Names of the cases to fit the temperature on; the others show whether it helps."""
    output: Path = Path("runs/calibration/student.json")
    """JSON, for `export --calibration`."""
    picture: Path | None = None
    """The reliability diagram; by default beside `output` (.png)."""


@dataclass(frozen=True)
class Export:
    """Write a student file and its card from a checkpoint; checks that both engines agree with the network."""

    checkpoint: First[Path]
    """Of a finished run, or its best.pt."""
    name: str = "student"
    """Of the student and its files; student-100k and student-30k are bundled."""
    output: Path | None = None
    """Folder of the student file; by default that of the checkpoint."""
    role: str | None = None
    """Which network of the checkpoint; by default the student."""
    shift: float = 0.0
    """Added to every logit: moves the border where validation cases show livers too large (below 0) or too small."""
    calibration: Path | None = None
    """JSON that `calibrate` wrote about this student, for the card."""
    stress: Path | None = None
    """JSON that `stress` wrote about this student, for the card."""
    ablation: Path | None = None
    """table.json of an ablation with a student of this name, for the card."""
    install: bool = False
    """Evaluate on the real cases and replace the bundled student and the model card; nothing, when a step fails."""


@dataclass(frozen=True)
class Keep:
    """Write one network of a checkpoint as a file of its own, in float16 with the record of its training."""

    checkpoint: First[Path]
    """Of a finished run, or its best.pt."""
    output: Path = Path(TEACHER)
    """A .safetensors file, for `--teacher`."""
    role: str = "teacher"
    """Which network of the checkpoint."""


@dataclass(frozen=True)
class Card:
    """Show a student's card, put an evaluation's figures on it, or write MODEL_CARD.md of the bundled ones anew."""

    student: First[Path | None] = None
    """A bundled student's name, or the .json or .npz of one."""
    metrics: Path | None = None
    """CSV written by `evaluate`."""
    bundled: bool = False
    """Instead of a student: write the model card of the bundled ones from their JSON cards."""


@dataclass(frozen=True)
class Describe:
    """Parameters and multiply-accumulates of teacher, assistant and students."""

    student_widths: tuple[int, ...] = STUDENT_WIDTHS["student-100k"]
    """Shown beside those that are bundled."""
    assistant_widths: tuple[int, ...] = ASSISTANT_WIDTHS
    """As in `fit`."""
    teacher_widths: tuple[int, ...] = TEACHER_WIDTHS
    """As in `fit`."""
    shape: tuple[int, int, int] = WINDOW
    """Voxels for which multiply-accumulates are stated: by default those of a training volume."""


DEMO_SIZES = Path(__file__).with_name("demo.toml")


@dataclass(frozen=True)
class Demo:
    """The whole path on the built-in phantom alone, in about five minutes on two cores."""

    output: Path = Path("runs/demo")
    """Folder of volumes, runs and student."""
    sizes: Path = DEMO_SIZES
    """TOML with the options of `synthesize` and `fit`: how many volumes, how wide, how many steps."""
