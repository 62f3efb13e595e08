"""The rooms of the house: who may import what, read off the names of the folders, and no circle anywhere."""

import ast
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY, TRAINING = ROOT / "LiverGTAN" / "LiverGTANLib", ROOT / "training"

SLICER_SIDE = {"slicer", "vtk", "qt", "ctk", "SampleData"}
ROOMS = {
    # room: (rooms of its own that it may import, what it may not import from outside)
    "core": (set(), SLICER_SIDE | {"SimpleITK", "pydicom", "highdicom", "matplotlib"}),
    "mrml": ({"core"}, {"qt", "ctk", "SimpleITK", "matplotlib"}),
    "ui": ({"core", "mrml"}, {"SimpleITK", "matplotlib"}),
    "standalone": ({"core"}, SLICER_SIDE),
}
# Each room of `training` may import from those before it.
WORKSHOP = ["data", "synthesis", "model", "fit", "evaluation", "studies", "release"]
# Beneath them: options, errors, and what all rooms say alike.
GROUND = {
    "training",
    *(f"training.{name}" for name in ("code_version", "command_line", "errors", "options", "paths", "settings")),
}
WORKSHOP_ARROWS = {
    "data": set(),
    "synthesis": {"data"},
    "model": {"data"},
    "fit": {"data", "synthesis", "model"},
    "evaluation": {"data", "synthesis", "model", "fit"},
    "studies": {"data", "synthesis", "model", "fit", "evaluation"},
    "release": {"data", "synthesis", "model", "fit", "evaluation"},
}


def modulesOf(top: Path) -> dict[str, Path]:
    """Dotted name -> file of every module of a package."""
    found = {}
    for path in sorted(top.rglob("*.py")):
        parts = path.relative_to(top.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = {**modulesOf(LIBRARY), **modulesOf(TRAINING)}


def importsOf(name: str) -> Iterator[str]:
    """Dotted names that a module imports, at file scope, in functions, and for type checking alone."""
    path = MODULES[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.rsplit(".", node.level - 1)[0] if node.level else ""
            source = ".".join(filter(None, (base, node.module)))
            for alias in node.names:
                yield f"{source}.{alias.name}" if f"{source}.{alias.name}" in MODULES else source


ARROWS = {name: set(importsOf(name)) for name in MODULES}


def roomOf(name: str) -> str:
    """The room of a module, empty for what stands beside the rooms."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and (MODULES[".".join(parts[:2])]).name == "__init__.py" else ""


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_of_the_extension_imports_only_what_its_folder_allows(room):
    inside = {name for name in MODULES if name.startswith(f"LiverGTANLib.{room}.")}
    assert inside
    own, foreign = ROOMS[room]
    for name in inside:
        for target in ARROWS[name]:
            top = target.partition(".")[0]
            assert top not in foreign and top != "training", f"{name} imports {target}"
            if top == "LiverGTANLib":
                assert roomOf(target) in own | {room}, f"{name} imports {target}"


@pytest.mark.parametrize("room", WORKSHOP)
def test_a_room_of_the_workshop_imports_only_what_lies_below_it(room):
    inside = {name for name in MODULES if name.startswith(f"training.{room}.")}
    assert inside
    for name in inside:
        for target in ARROWS[name]:
            top = target.partition(".")[0]
            if top == "training":
                assert target in GROUND or roomOf(target) in WORKSHOP_ARROWS[room] | {room}, f"{name} imports {target}"
            elif top == "LiverGTANLib":
                assert roomOf(target) in ("core", "standalone"), f"{name} imports {target}"


def test_the_ground_of_the_workshop_imports_no_room_and_no_torch():
    for name in GROUND:
        for target in ARROWS[name]:
            top = target.partition(".")[0]
            assert top != "torch" and (top != "training" or target in GROUND), f"{name}: {target}"
            assert top != "LiverGTANLib" or roomOf(target) == "core", f"{name}: {target}"


def test_every_folder_is_a_room():
    rooms = {path.name for path in LIBRARY.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms == set(ROOMS)
    rooms = {path.name for path in TRAINING.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert rooms == set(WORKSHOP)


def test_no_import_circle_anywhere():
    arrows = {name: {t for t in targets if t in MODULES} - {name} for name, targets in ARROWS.items()}
    while True:  # take away what imports nothing that is left; what remains lies on a circle or behind one
        free = {name for name, targets in arrows.items() if not targets}
        if not free:
            break
        arrows = {name: targets - free for name, targets in arrows.items() if name not in free}
    assert not arrows, f"on a circle, or importing one: {sorted(arrows)}"


def test_names_of_classes_mean_one_thing():
    classes = [
        (node.name, name)
        for name, path in MODULES.items()
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
    ]
    for (first, where), (second, there) in itertools.combinations(classes, 2):
        assert first != second, f"{first} is defined in {where} and in {there}"


def test_no_function_is_called_run_alone():
    named = [
        name
        for name, path in MODULES.items()
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name == "run"
    ]
    assert not named
