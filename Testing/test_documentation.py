"""What the documents say: every command that they show is run here or listed with the reason why not; links lead
somewhere; workflows and citation are well formed.

Long commands run with tiny settings: the command as it is written, with the options of `TINY` behind it. Commands run
in the order of the documents in one scratch folder, so a later one finds what an earlier one wrote.
"""

import ast
import contextlib
import html
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ("README.md", "Docs/scripts.md", "training/README.md", "training/results/README.md", "CONTRIBUTING.md")

NOT_RUN = {
    "make slicer ": "needs the Slicer application",
    "make test-in-slicer ": "needs the Slicer application; `test_in_slicer.py` runs it on the host",
    "make test-slicer-python ": "needs a network and another Python; `.ci/run` runs it",
    "make test-python ": "needs a network and another Python",
    "make check ": "runs these tests",
    "make test ": "runs these tests",
    "make test-all ": "runs these tests",
    "python3 -m venv ": "needs a network",
    "python -m training export runs/mean/checkpoint.pt --name student-100k --calibration ": "replaces what is bundled",
    "python -m training card --bundled ": "replaces what is bundled",
    "python -m training soften training/weights/": "takes minutes; `test_soft_labels.py` runs it",
    "python -m training fit student --scans runs/scans-soft --bank ": "needs the scans and students before it",
    "python -m training ablate --students ": "needs the banks and checkpoints of the runs before it",
}
"""Beginning of a command -> why it is not run."""

TEACHER = "--teacher-widths 4 6"
STUDENT = "--student-widths 2 3 --assistant-widths 3 4"
SHORT = "--steps 2 --warmup 1 --threads 1 --precision 32-true --accelerator cpu"
VOLUMES = "--phantom --count 4 --shape 32 32 32 --workers 1"
COARSE = "--spacing-mm 9 --fine-mm 6"  # bodies drawn in little time, where no later command wants another grid
TINY = {
    "make train-demo ": "ARGUMENTS='--sizes {folder}/demo.toml --output {folder}/runs/demo'",
    "make benchmark ": "ARGUMENTS='1 --quick' SLICES=0",
    "make benchmark-simulated_clicks ": "ARGUMENTS='--samples --students student-100k --noise'",
    "python -m LiverGTANLib segment ": "--engine numpy",
    "python -m training synthesize --output ": VOLUMES,
    "python -m training synthesize --labels ": f"{VOLUMES} {COARSE} --real-share 0",
    "python -m training synthesize --datasets ": "--count 4 --shape 32 32 32 --workers 1 --validation-share 0",
    "python -m training fit student --bank --scans ": f"{SHORT} {STUDENT} --window 32 32 32",
    "python -m training fit teacher --bank --scans ": f"{SHORT} {TEACHER} --window 32 32 32",
    "python -m training pack ": "--validation-share 0 --workers 1",
    "python -m training fit all ": f"{SHORT} {STUDENT} {TEACHER}",
    "python -m training fit teacher ": f"{SHORT} {TEACHER}",
    "python -m training fit ": f"{SHORT} {STUDENT} {TEACHER}",
    "python -m training stress ": "--phantom --volumes 0",
    "python -m training ablate ": f"{SHORT} {TEACHER} --arms student kd --students 2-3 --seeds 0",
    "python -m training designs ": f"{SHORT} --designs present-30k --rounds 1",
    "python -m training effects ": f"{SHORT} {STUDENT} --window 32 32 32 --groups 'views: cut' --seeds 0 --volumes 0 "
    "--conditions 'head only'",
    "python -m training crossvalidate ": f"{SHORT} {STUDENT} --window 32 32 32",
    "python -m training describe ": "--shape 16 16 16",
}
"""Beginning of a command -> options that make it short; the first counts."""

DEMO = """
[synthesize]
count = 4
phantom = true
shape = [32, 32, 32]
spacing_mm = 9.0
fine_mm = 6.0
workers = 1

[fit.roles]
student_widths = [2, 3]
teacher_widths = [4, 6]

[fit.training.data]
spacing_mm = 9.0

[fit.training.loop]
steps = 2
warmup = 1

[fit.training.machine]
threads = 1
"""


def codeBlocks(document: str, *languages: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block for language, block in blocks if language in languages]


def commandsOf(document: str) -> list[str]:
    """The lines of its shell blocks, continued lines joined and comments left out."""
    lines = "".join(codeBlocks(document, "", "sh", "bash")).replace("\\\n", " ").splitlines()
    return [command for line in lines if (command := shlex.join(shlex.split(line, comments=True)))]


def beginsWith(command: str, table: dict[str, str]) -> str | None:
    return next((begin for begin in table if f"{command} ".startswith(begin)), None)


SHOWN = [(document, command) for document in DOCUMENTS for command in commandsOf(document)]
RUN = [(document, command) for document, command in SHOWN if not beginsWith(command, NOT_RUN)]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """A folder with a phantom under the names that the documents give to a user's files."""
    from LiverGTANLib.core.phantom import phantom_ct
    from LiverGTANLib.standalone.nifti import write_nifti
    from support.dicom_cases import ctSlices, save

    folder = tmp_path_factory.mktemp("documents")
    ct, liver = phantom_ct((4.0, 4.0, 4.0))
    (folder / "LiverGTAN" / "cases").mkdir(parents=True)
    for name in ("scan", "ct", "LiverGTAN/scan", "LiverGTAN/cases/a", "LiverGTAN/cases/b"):
        write_nifti(folder / f"{name}.nii.gz", ct.hu, ct.ijk_to_ras)
    write_nifti(folder / "liver.nii.gz", liver.astype("uint8"), ct.ijk_to_ras)
    other, other_liver = phantom_ct((4.5, 4.5, 4.5))
    elsewhere = other.ijk_to_ras.copy()  # so that it is no copy of those in `cases`, which are trained on
    elsewhere[2, 3] += 500
    for name, values in (("other", other.hu), ("other_liver", other_liver.astype("uint8"))):
        write_nifti(folder / f"{name}.nii.gz", values, elsewhere)
    for kind, values in (("images", ct.hu), ("labels", liver.astype("uint8"))):
        (folder / "cases" / kind).mkdir(parents=True)
        for name in ("one", "two"):  # of two patients, so that one can be left out
            write_nifti(folder / "cases" / kind / f"{name}.nii.gz", values, ct.ijk_to_ras)
    (folder / "others").mkdir()  # without masks
    write_nifti(folder / "others" / "three.nii.gz", ct.hu, ct.ijk_to_ras)
    save(folder / "LiverGTAN" / "scans" / "one", ctSlices(ct.hu, spacing=tuple(ct.spacing)))
    (folder / "demo.toml").write_text(DEMO, encoding="utf-8")
    return folder


def runMake(words: list[str], folder: Path) -> int:
    """With this Python's environment, in which the packages are there already; what is made goes to the folder."""
    if shutil.which("make") is None:
        pytest.skip("there is no make")
    environment = Path(sys.prefix)
    have = [word for group in ("segment", "training", "test") for word in ("-o", f"{environment}/.installed-{group}")]
    settings = [f"VENV={environment}", f"OUT={folder / 'out'}"]
    words = [word.replace("=scan.nii.gz", f"={folder / 'scan.nii.gz'}") for word in words]
    asleep = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}  # torch's waiting threads would take what others could use
    return subprocess.run(["make", *have, *words, *settings], cwd=ROOT, env=asleep, check=False).returncode


def runPython(words: list[str], folder: Path) -> int:
    """`python -m MODULE ...` in this process, because loading torch anew each time would take longest of all."""
    from LiverGTANLib.standalone import command_line
    from training.__main__ import main

    program = {"training": main, "LiverGTANLib": command_line.main}[words[0]]
    arguments = [str(path) for word in words[1:] for path in (sorted(folder.glob(word)) if "*" in word else [word])]
    with contextlib.chdir(folder):
        try:
            return program(arguments)
        except SystemExit as end:  # after --help, or when an option is not known
            return int(end.code or 0)


def test_make_says_that_it_replaces_the_liver_of_an_earlier_run(tmp_path):
    make = shutil.which("make") or pytest.skip("there is no make")
    (tmp_path / ".installed-segment").touch()
    words = [make, "segment", f"VENV={tmp_path}", f"OUT={tmp_path}", "CT=scan.nii.gz"]

    def said(program: str, status: int = 0) -> str:
        done = subprocess.run([*words, f"SEGMENT={program}"], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == status
        return done.stdout + done.stderr

    assert "Replaced" not in said("true")
    (tmp_path / "liver.seg.nrrd").touch()
    assert f"Replaced {tmp_path}/liver.* of an earlier run" in said("true")
    failed = said("false", status=2)
    assert "Replaced" not in failed and "Wrote" not in failed and 'as in ARGUMENTS="--series 2"' in failed


def test_make_hands_on_other_options_of_the_command_line(tmp_path):
    make = shutil.which("make") or pytest.skip("there is no make")
    (tmp_path / ".installed-segment").touch()
    words = [make, "segment", f"VENV={tmp_path}", f"OUT={tmp_path}", "CT=a folder", "SEGMENT=printf '<%s>'"]
    said = subprocess.run([*words, "ARGUMENTS=--series 2"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "<a folder><--student><student-100k><--series><2><-o>" in said


@pytest.mark.slow
@pytest.mark.parametrize(("document", "command"), RUN)
def test_a_command_that_a_document_shows_runs(document, command, scratch):
    words = shlex.split(command)
    begin = beginsWith(command, TINY)
    words += shlex.split(TINY[begin].replace("{folder}", str(scratch))) if begin else []
    if words[0] == "cd":
        assert (scratch / words[1]).is_dir() and (ROOT / words[1]).is_dir()
    elif words[0] == "make":
        assert runMake(words[1:], scratch) == 0
    else:
        assert words[:2] == ["python", "-m"], f"{document} shows a command that this test does not know: {command}"
        inside = scratch / "LiverGTAN" if words[2] == "LiverGTANLib" else scratch
        assert runPython(words[2:], inside) == 0


def test_every_reason_and_every_tiny_setting_belongs_to_a_command():
    for begin in (*NOT_RUN, *TINY):
        assert any(f"{command} ".startswith(begin) for _, command in SHOWN), begin


@pytest.fixture
def console(slicerHost, tmp_path, monkeypatch):
    """The names of Slicer's Python console, in a folder of the user's, with a CT in the scene."""
    import slicer

    from LiverGTANLib.core.engines import factory
    from LiverGTANLib.mrml import self_test
    from support.module_fixtures import MODULE_FILE, TorchNotLoaded
    from support.sequence_cases import addPhantomSequence

    monkeypatch.setattr(factory, "TorchPackage", TorchNotLoaded)
    slicerHost.loadModule(MODULE_FILE)
    volumeNode, _ = self_test.addPhantom()
    monkeypatch.chdir(tmp_path)
    return {
        "slicer": slicer,
        "volumeNode": volumeNode,
        "volumeNodes": [volumeNode],
        "sequenceVolume": addPhantomSequence(3)[1],
    }


@pytest.mark.slow
def test_the_script_of_the_readme_segments(console):
    (script,) = codeBlocks("README.md", "python")
    exec(script, console)
    assert console["result"].volumeMl > console["plan"].volumes.remnantMl > 0


@pytest.mark.slow
def test_the_page_for_scripts_does_what_it_says(console, tmp_path, monkeypatch, capsys):
    *scripts, program = codeBlocks("Docs/scripts.md", "python")
    for script in scripts:
        exec(script, console)
    names = ["liver-plan.csv", "liver-volumes.csv", "liver.stl", "plan-remnant.stl", "plan-resected.stl"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix in (".csv", ".stl")) == names
    assert "QuantitativeReporting" in capsys.readouterr().out
    util, ended = console["slicer"].util, []
    monkeypatch.setattr(util, "loadVolume", lambda path: console["volumeNode"], raising=False)
    monkeypatch.setattr(util, "exit", lambda: ended.append(True), raising=False)
    monkeypatch.setattr(sys, "argv", ["liver.py", "ct.nrrd", "other.stl"])
    exec(program, {})
    assert ended and (tmp_path / "other.stl").is_file()


def test_the_page_for_scripts_shows_every_public_part_of_the_logic():
    tree = ast.parse((ROOT / "LiverGTAN" / "LiverGTAN.py").read_text(encoding="utf-8"))
    (logic,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "LiverGTANLogic"]
    names = {node.name for node in logic.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")}
    shown = set(re.findall(r"logic\.(\w+)", "".join(codeBlocks("Docs/scripts.md", "python"))))
    assert names <= shown, names - shown


@pytest.mark.slow
def test_the_page_of_keys_has_the_keys_that_the_module_registers(slicerHost):
    from support.module_fixtures import MODULE_FILE

    slicerHost.loadModule(MODULE_FILE)
    import qt
    from PySide6 import QtGui

    slicerHost.openModule("LiverGTAN")
    registered = {shortcut.key.toString() for shortcut in slicerHost.mainWindow.findChildren(QtGui.QShortcut)}
    page = (ROOT / "Docs" / "shortcuts.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(.+?)` \|", page, re.MULTILINE)) == registered


SLICERS_OWN = {
    "Adjust window/level",
    "CTLiver",
    "Delete control point",
    "Edit > Application Settings > Modules > Additional module paths",
    "Extensions Manager",
    "File > Save",
    "Inside out",
    "Modules > Segmentation > LiverGTAN",
    "Modify other segments",
    "QuantitativeReporting",
    "Segment Editor",
    "Segment Statistics",
    "Segmentation",
    "Show 3D",
}
NO_LABELS = {"Bottom left", "Bottom right", "Code > Download ZIP", "Phys Med Biol", "Top left", "Top right"}


@pytest.mark.parametrize("document", ["README.md", *(f"Docs/{path.name}" for path in sorted(ROOT.glob("Docs/*.md")))])
def test_labels_that_a_document_names_are_in_the_panel(document):
    """What is set in italics with a capital letter: a label of the panel, or one of Slicer's own."""
    panel = (ROOT / "LiverGTAN" / "Resources" / "UI" / "LiverGTAN.ui").read_text(encoding="utf-8")
    panel = re.sub(r"<[^>]*>", "\n", html.unescape(panel.replace("&lt;", "<").replace("&gt;", ">")))
    sources = sorted((ROOT / "LiverGTAN").rglob("*.py"))
    known = {re.sub(r" \(\w\)$", "", line.strip().rstrip(":")) for line in panel.splitlines()}
    known |= {word for path in sources for word in re.findall(r'_\("(.+?)"\)', path.read_text(encoding="utf-8"))}
    text = re.sub(r"```.*?```", "", (ROOT / document).read_text(encoding="utf-8"), flags=re.DOTALL)
    text = re.sub(r"\*\*(.*?)\*\*", r"\1", text, flags=re.DOTALL)
    named = {" ".join(name.split()).rstrip(":") for name in re.findall(r"(?<![*\w])\*([A-Z][^*]*)\*", text)}
    assert named <= known | SLICERS_OWN | NO_LABELS, named - known - SLICERS_OWN - NO_LABELS


WITHOUT_A_PROCESS = ("-k", "not loading and not opening")
"""What the module does in a process of its own is tested where it is; no example is loaded there."""


@pytest.mark.slow
def test_the_worked_examples_do_what_they_show(tmp_path):
    """All of them together, in a copy of the tree: they apply, their tests pass, and linter and packaging agree."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=False).stdout.splitlines()
    if not names:
        pytest.skip("not a git clone")
    for name in filter(lambda name: (ROOT / name).is_file(), names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    examples = codeBlocks("CONTRIBUTING.md", "diff")
    for example in examples:
        words = ["git", "apply", "--whitespace=error", "-"]
        done = subprocess.run(words, cwd=tmp_path, input=example, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{done.stderr}\n{example}"
    tests = [name for example in examples for name in re.findall(r"^\+\+\+ b/(Testing/\S+)", example, re.MULTILINE)]
    assert len(examples) == len(tests) == 4
    for words in (
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["pytest", *tests, "Testing/test_module.py", "Testing/test_architecture.py", *WITHOUT_A_PROCESS],
    ):
        done = subprocess.run(
            [sys.executable, "-m", *words], cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "document",
    sorted(path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *ROOT.glob("Docs/*.md")))
    + ["training/README.md", "training/results/README.md"],
)
def test_links_lead_to_files_and_headings(document):
    place = (ROOT / document).parent
    text = re.sub(r"```.*?```", "", (ROOT / document).read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith("https:"):
            name, _, heading = target.partition("#")
            path = place / name if name else ROOT / document
            assert path.exists(), target
            assert not heading or heading in headingsOf(path), target


def headingsOf(path: Path) -> set[str]:
    """As GitHub names them in links."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", [*DOCUMENTS, "SECURITY.md"])
def test_files_that_a_document_names_exist(document):
    """In code spans, as paths from the top, from the document's folder or from LiverGTANLib."""
    text = re.sub(r"```.*?```", "", (ROOT / document).read_text(encoding="utf-8"), flags=re.DOTALL)
    for name in re.findall(r"`([\w./-]+/[\w.-]+\.(?:py|md|toml|json|ui|txt))`", text):
        places = (ROOT, (ROOT / document).parent, ROOT / "LiverGTAN", ROOT / "LiverGTAN" / "LiverGTANLib")
        assert any((place / name).exists() for place in places) or name.startswith(("runs/", "out/")), name


# Community files


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ("vendor.github-workflows", ".github/workflows/tests.yml"),
        ("vendor.github-workflows", ".github/workflows/slicer.yml"),
        ("vendor.github-issue-forms", ".github/ISSUE_TEMPLATE/bug_report.yml"),
        ("vendor.citation-file-format", "CITATION.cff"),
    ],
)
def test_a_community_file_fits_its_schema(schema, path):
    pytest.importorskip("check_jsonschema")
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, path]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_workflow_is_checked_and_zizmor_finds_nothing():
    zizmor = shutil.which("zizmor", path=Path(sys.executable).parent)
    if zizmor is None:
        pytest.skip("zizmor is not installed")
    words = [zizmor, "--offline", "--persona", "pedantic", "--no-progress", ".github"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
