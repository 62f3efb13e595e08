"""The extension as a whole: what importing it does, what is packaged, and whether .ui, code and CMake agree."""

import ast
import hashlib
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULE = ROOT / "LiverGTAN"
UI = ElementTree.parse(MODULE / "Resources" / "UI" / "LiverGTAN.ui").getroot()
SOURCE = (MODULE / "LiverGTAN.py").read_text(encoding="utf-8")
HEAVY = {"numpy", "scipy", "torch", "SimpleITK", "pydicom", "matplotlib", "monai", "requests"}

# Runs in a child process: every file written, connection opened and process started from here on is recorded.
LOAD_AND_OPEN = """
import json, sys
from host.slicerhost import SlicerHost
host = SlicerHost(sys.argv[1])
deeds, WRITING = [], ("w", "a", "x", "+")

def watch(event, arguments):
    if event == "open" and isinstance(arguments[1], str) and any(m in arguments[1] for m in WRITING):
        deeds.append(f"writes {arguments[0]}")
    elif event.split(".")[0] == "socket" or event in ("subprocess.Popen", "os.system", "os.mkdir", "os.remove"):
        deeds.append(event)
        raise PermissionError(event)

sys.addaudithook(watch)
before = set(sys.modules)
host.loadModule(sys.argv[2])
host.completeStartup()
loaded = sorted(set(sys.modules) - before)
runner = host.openModule("LiverGTAN").panel.runner
host.wait(lambda: not runner._worker.busy)
panel = sorted(set(sys.modules) - before - set(loaded))
print("REPORT" + json.dumps({"deeds": deeds, "loaded": loaded, "panel": panel}))
"""


def test_every_text_that_is_translated_stands_where_the_translators_tools_find_it():
    """They read the source, as lupdate does, and find no text behind a name, and none that is put together there."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in MODULE.rglob("*.py")}
    found = [
        (name, node.lineno, all(isinstance(argument, ast.Constant) for argument in node.args))
        for name, text in texts.items()
        if "slicer.i18n" in text
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("_", "translate")
    ]
    assert len(found) > 50 and all(isLiteral for _, _, isLiteral in found), [one for one in found if not one[2]]


@pytest.fixture(scope="module")
def childReport(tmp_path_factory):
    """What loading the module and opening its panel did in a process of its own."""
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    folder = tmp_path_factory.mktemp("child")
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "Testing"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "QT_QPA_PLATFORM": "offscreen",
    }
    done = subprocess.run(
        [sys.executable, "-c", LOAD_AND_OPEN, str(folder), str(MODULE / "LiverGTAN.py")],
        capture_output=True,
        text=True,
        env=environment,
        timeout=600,  # seconds; only a process that hangs takes so long
        check=False,
    )
    assert "REPORT" in done.stdout, done.stderr
    return json.loads(done.stdout.rpartition("REPORT")[2].splitlines()[0])


@pytest.mark.slow
def test_loading_and_opening_writes_nothing_connects_nowhere_and_starts_nothing(childReport):
    assert childReport["deeds"] == []


@pytest.mark.slow
def test_loading_imports_the_module_file_the_editor_effect_the_students_names_and_which_slicer_is_needed(childReport):
    names = ["LiverGTANLib.core", "LiverGTANLib.core.students"]
    assert childReport["loaded"] == ["LiverGTAN", "LiverGTANLib", *names, "SegmentEditorLiverGTANLib"]


@pytest.mark.slow
def test_opening_the_panel_loads_only_what_slicer_brings(childReport):
    assert not {"torch", "SimpleITK", "matplotlib"} & {name.partition(".")[0] for name in childReport["panel"]}


def importedAtFileScope(path: Path) -> set[str]:
    names = set()
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom) and statement.level == 0:
            names.add(statement.module.partition(".")[0])
    return names


@pytest.mark.slow
def test_file_scope_imports_stay_light():
    """The child process cannot tell whether numpy was loaded by us: slicer-core loads it, newer Slicer defers it."""
    assert importedAtFileScope(MODULE / "LiverGTAN.py") <= {"typing", "slicer", "vtk", "qt", "ctk", "LiverGTANLib"}
    for path in MODULE.rglob("LiverGTANLib/**/*.py"):
        heavy = importedAtFileScope(path) & (HEAVY - {"numpy"})
        assert not heavy or path.name in {"torch_engine.py", "command_line.py", "image_files.py", "picture.py"}, (
            path,
            heavy,
        )


def test_nothing_is_installed_from_within():
    for path in MODULE.rglob("*.py"):
        assert not re.search(r"pip_install|pip_ensure|\bpip\b.*install", path.read_text(encoding="utf-8")), path


# CMake


def cmakeList(name: str) -> set[str]:
    text = (MODULE / "CMakeLists.txt").read_text(encoding="utf-8").replace("${MODULE_NAME}", "LiverGTAN")
    return set(re.search(rf"set\({name}\s+([^)]*)\)", text)[1].split())


def inTree(*patterns: str) -> set[str]:
    found = {path.relative_to(MODULE).as_posix() for pattern in patterns for path in MODULE.glob(pattern)}
    return {name for name in found if "__pycache__" not in name}


def test_every_python_file_is_packaged_and_every_packaged_one_exists():
    assert cmakeList("MODULE_PYTHON_SCRIPTS") == inTree("*.py", "*Lib/**/*.py")


def test_every_resource_is_packaged_and_every_packaged_one_exists():
    found = {name for name in inTree("Resources/**/*", "*Lib/*.png") if (MODULE / name).is_file()}
    assert cmakeList("MODULE_PYTHON_RESOURCES") == found


def extension() -> dict[str, str]:
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    return dict(re.findall(r'^set\(EXTENSION_(\w+) "([^"]*)"\)', text, re.MULTILINE))


def test_the_extension_describes_itself_as_the_index_wants_it():
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    assert re.search(r"^project\(LiverGTAN\)$", text, re.MULTILINE)
    assert {"HOMEPAGE", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS"} <= set(extension())
    assert 'set(EXTENSION_DEPENDS "NA")' in text
    assert extension()["HOMEPAGE"].startswith("https://") and "Slicer" in extension()["HOMEPAGE"].rpartition("/")[2]
    order = [
        "find_package(Slicer REQUIRED)",
        "include(${Slicer_USE_FILE})",
        "add_subdirectory(LiverGTAN)",
        "## NEXT_MODULE",
        "include(${Slicer_EXTENSION_GENERATE_CONFIG})",
        "include(${Slicer_EXTENSION_CPACK})",
    ]
    positions = [text.index(line) for line in order]
    assert positions == sorted(positions)


def test_it_asks_for_the_cmake_that_the_extension_template_of_slicer_5_10_asks_for():
    """Older ones than 3.5 stop CMake 4, and extensions are built with what Slicer itself is built with."""
    first = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8").splitlines()[0]
    assert first == "cmake_minimum_required(VERSION 3.20.6...3.22.6 FATAL_ERROR)"


MODULE_OF_NODES = {
    "vtkMRMLMarkups": "markups",
    "vtkMRMLSegmentation": "segmentations",
    "vtkMRMLSequence": "sequences",
    "vtkMRMLTable": "tables",
}


def test_modules_whose_nodes_or_logics_are_used_are_loaded_before():
    named = ast.literal_eval(re.search(r"parent\.dependencies = (\[.*\])", SOURCE)[1])
    sources = "".join(path.read_text(encoding="utf-8") for path in MODULE.rglob("*.py"))
    used = {module for node, module in MODULE_OF_NODES.items() if node in sources}
    used.update(re.findall(r"slicer\.modules\.(\w+)\.logic\(\)", sources))
    assert [name.lower() for name in named] == sorted(used)


def test_icon_and_screenshots_are_where_the_catalog_looks():
    urls = [extension()["ICONURL"], *extension()["SCREENSHOTURLS"].split()]
    for url in urls:
        assert (ROOT / url.partition("/main/")[2]).is_file(), url


@pytest.mark.parametrize("path", ["Resources/Icon/LiverGTAN.png", "LiverGTAN/Resources/Icons/LiverGTAN.png"])
def test_icons_are_128_pixels_square(path):
    data = (ROOT / path).read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert [int.from_bytes(data[at : at + 4], "big") for at in (16, 20)] == [128, 128]


def test_the_license_is_the_whole_apache_license():
    words = re.sub(r"\s+", " ", (ROOT / "LICENSE.txt").read_text(encoding="utf-8")).strip()
    assert words.startswith("Apache License Version 2.0, January 2004")
    digest = hashlib.sha256((ROOT / "LICENSE.txt").read_bytes()).hexdigest()
    assert digest == "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"  # of the text at apache.org


def test_the_clone_stays_small_and_free_of_compiled_sources():
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    tracked = listing.stdout.split("\n")
    if not any(tracked):
        pytest.skip("not a git clone")
    assert not [name for name in tracked if name.endswith((".cxx", ".h", ".dll", ".so", ".exe"))]
    assert sum((ROOT / name).stat().st_size for name in tracked if name and (ROOT / name).is_file()) < 30e6


# The .ui file


def widgetsOfUi() -> dict[str, str]:
    return {widget.get("name"): widget.get("class") for widget in UI.iter("widget")}


def test_the_code_uses_only_widgets_of_the_ui_file():
    shell = [path.read_text(encoding="utf-8") for path in MODULE.rglob("LiverGTANLib/ui/*.py")]
    used = {name for source in shell for name in re.findall(r"\bui\.(\w+)", source)}
    assert used and used <= set(widgetsOfUi())


def test_parameters_and_their_widgets_correspond():
    bound = [entry.findtext("string") for entry in UI.iter("property") if entry.get("name") == "SlicerParameterName"]
    node = next(
        part
        for part in ast.parse(SOURCE).body
        if isinstance(part, ast.ClassDef) and part.name == "LiverGTANParameterNode"
    )
    buttons = ["liverPoints", "notLiverPoints"]  # set by their buttons
    assert sorted(bound + buttons) == sorted(line.target.id for line in node.body if isinstance(line, ast.AnnAssign))


def test_every_node_selector_hears_of_the_scene():
    selectors = {name for name, kind in widgetsOfUi().items() if kind.endswith("NodeComboBox")}
    connected = {
        entry.findtext("receiver")
        for entry in UI.iter("connection")
        if entry.findtext("sender") == "LiverGTAN"
        and entry.findtext("signal") == "mrmlSceneChanged(vtkMRMLScene*)"
        and entry.findtext("slot") == "setMRMLScene(vtkMRMLScene*)"
    }
    assert selectors and connected == selectors


def test_every_custom_widget_is_declared():
    declared = {entry.findtext("class") for entry in UI.iter("customwidget")}
    custom = {kind for kind in widgetsOfUi().values() if not kind.startswith("Q")}
    assert custom <= declared


def test_everything_that_can_be_clicked_explains_itself():
    for widget in UI.iter("widget"):
        if widget.get("class") not in ("QLabel", "QProgressBar", "qMRMLWidget"):
            assert any(entry.get("name") == "toolTip" for entry in widget.findall("property")), widget.get("name")


def test_the_students_to_choose_from_are_the_bundled_ones():
    from LiverGTANLib.core import weight_file
    from LiverGTANLib.core.students import STUDENTS

    if not weight_file.available():
        pytest.skip("no student is bundled yet")
    assert sorted(STUDENTS) == sorted(weight_file.available())


def test_the_names_of_students_stand_in_one_file():
    code = {path: path.read_text(encoding="utf-8") for path in MODULE.rglob("*.py")}
    assert [path.name for path, text in code.items() if re.search(r"""["']student-\d""", text)] == ["students.py"]


OLD = "import sys; sys.version_info = (3, 9, 18); sys.argv = {argv}; {program}"


@pytest.mark.parametrize(
    "argv, program, status",
    [
        (["-m"], "import LiverGTANLib", 1),
        ([""], "import LiverGTANLib", "ImportError"),
        ([""], "import LiverGTAN", "ImportError"),  # Slicer 5.8 would fail at the next line for another reason
    ],
)
def test_an_older_python_says_which_slicer_is_needed(argv, program, status):
    done = subprocess.run(
        [sys.executable, "-c", OLD.format(argv=argv, program=program)],
        cwd=ROOT / "LiverGTAN",
        capture_output=True,
        text=True,
    )
    sentence = "LiverGTAN needs Python 3.10 or newer, in 3D Slicer version 5.10 or newer; this is Python 3.9."
    assert done.returncode == 1
    if status == 1:
        assert done.stderr == sentence + "\n"
    else:
        assert done.stderr.endswith(f"{status}: {sentence}\n")


def test_an_older_python_can_read_the_files_that_say_so():
    for name in ("LiverGTAN.py", "LiverGTANLib/__init__.py"):
        ast.parse((ROOT / "LiverGTAN" / name).read_text(encoding="utf-8"), feature_version=(3, 9))
