"""What synthesis makes and how often each effect takes part."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path


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
    """Edema, inflammation, or a lean person: fat between the organs of a tissue map nearly as dense as they are."""
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


@dataclass(frozen=True)
class SynthesisConfig:
    """A bank of training volumes made of tissue maps and real CTs."""

    output: Path = Path("runs/bank")
    """Folder of the bank; an unfinished one is continued."""
    count: int = 1200
    """Volumes."""
    data: Path | None = None
    """Folder with `tissue_maps/` and `ct/`; by default LIVERGTAN_DATA or ../shared/data; without it the phantom."""
    datasets: tuple[str, ...] = ()
    """Real CTs as LAYOUT=FOLDER: lits, msd, totalsegmentator, chaos, nnunet, pairs or unlabelled."""
    validation_share: float = 0.2
    """Share of the patients of `datasets` that no volume comes from; split.json beside the bank names them."""
    cache: Path = Path("runs/cache")
    """Where CTs are kept on the fine grid."""
    real_share: float = 0.23
    """Share of volumes made of real CTs."""
    no_liver_share: float = 0.07
    """Share of synthetic volumes that show pelvis or chest only."""
    elsewhere_share: float = 0.04
    """Share of volumes that show a drawn head or limb: there is no liver either."""
    exclude: tuple[str, ...] = (
        "crlm_ct_1100_8bit",
        "spl_abdominal_atlas",
        "lung_pet_ct_dx_a0002_thick",
        "lidc_idri_0001",
        "hcc_tace_seg_009_giant_tumour",
        "lidc_idri_0314_effusion",
    )
    """CTs of `data` that no volume comes from: those for validation and tests, and those with doubtful labels."""
    unlabelled: tuple[str, ...] = ()
    """CTs of `data` to use without a label (for distillation only), as those that have none; `exclude` goes first."""
    labels: Path | None = None
    """Folder of masks NAME.nii.gz (of `pseudolabel`, looked at) that replace the pseudo-labels of `data`."""
    weights: dict[str, float] = field(
        default_factory=lambda: {"tcga_thca_de_a4ma": 1.5, "acrin_flt_breast_001": 2.0, "lung_pet_ct_dx_a0001": 2.0}
    )
    """How often a real CT is drawn compared with the others (1): plain scans are few."""
    shape: tuple[int, int, int] = (64, 96, 112)
    """Voxels of a volume along S, A, R."""
    spacing_mm: float = 3.0
    fine_mm: float = 2.0
    """Voxel size of the simulation; two thirds of `spacing_mm`."""
    hu_window: tuple[float, float] = (-160.0, 240.0)
    seed: int = 0
    workers: int = 2
    picture: Path | None = None
    """Write a contact sheet of the first volumes here."""
    effects: Effects = Effects()

    def __post_init__(self) -> None:
        if self.count < 1 or self.workers < 1:
            raise ValueError("count and workers must be at least 1.")
        if abs(self.fine_mm * 1.5 - self.spacing_mm) > 1e-6 or any(n % 2 for n in self.shape):
            raise ValueError("fine_mm must be two thirds of spacing_mm, and every side of the shape even.")
        for f in fields(self.effects):
            if not 0 <= getattr(self.effects, f.name) <= 1:
                raise ValueError(f"effects.{f.name} is a probability: give a number from 0 to 1.")

    @property
    def fine_shape(self) -> tuple[int, int, int]:
        return tuple(n * 3 // 2 for n in self.shape)
