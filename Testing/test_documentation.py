"""What the documents say: every command that they show is run here or listed with the reason why not; links lead
somewhere; workflows and citation are well formed.

Long commands run with tiny settings: the command as it is written, with the options of `TINY` behind it. Commands run
in the order of the documents in one scratch folder, so a later one finds what an earlier one wrote.
"""

import contextlib
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ("README.md", "training/README.md", "CONTRIBUTING.md")

NOT_RUN = {
    "make slicer ": "needs the Slicer application",
    "make test-slicer ": "needs the Slicer application",
    "make test-slicer-python ": "needs a network and another Python; `.ci/run` runs it",
    "make check": "runs these tests",
    "make test": "runs these tests",
    "git clone ": "needs a network",
    ". .venv/bin/activate": "there is no such environment in every checkout",
    "pre-commit ": "needs a network",
    "pip install ": "needs a network",
}
"""Beginning of a command -> why it is not run."""

TINY: dict[str, str] = {}
"""Beginning of a command -> options that make it short."""


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

    folder = tmp_path_factory.mktemp("documents")
    ct, liver = phantom_ct()
    (folder / "LiverGTAN" / "cases").mkdir(parents=True)
    scans = [folder / "scan.nii.gz", folder / "LiverGTAN" / "scan.nii.gz"]
    scans += [folder / "LiverGTAN" / "cases" / f"{name}.nii.gz" for name in "ab"]
    for path in scans:
        write_nifti(path, ct.hu, ct.ijk_to_ras)
    write_nifti(folder / "mask.nii.gz", liver.astype("uint8"), ct.ijk_to_ras)
    return folder


def runMake(words: list[str], folder: Path) -> int:
    """make in a copy of the tree, with this Python's environment, in which the packages are there already."""
    if shutil.which("make") is None:
        pytest.skip("there is no make")
    environment = Path(sys.prefix)
    have = [word for group in ("segment", "training", "test") for word in ("-o", f"{environment}/.installed-{group}")]
    settings = [f"VENV={environment}", f"OUT={folder / 'out'}"]
    words = [word.replace("=scan.nii.gz", f"={folder / 'scan.nii.gz'}") for word in words]
    return subprocess.run(["make", *have, *words, *settings], cwd=ROOT, check=False).returncode


def runPython(words: list[str], folder: Path) -> int:
    """`python -m MODULE ...` in this process, because loading torch anew each time would take longest of all."""
    from LiverGTANLib.standalone import command_line
    from training.__main__ import main

    mains = {"training": main, "LiverGTANLib": command_line.main}
    arguments = [str(path) for word in words[3:] for path in sorted(folder.glob(word)) or [word]] if words[3:] else []
    with contextlib.chdir(folder):
        return mains[words[2]](arguments)


@pytest.mark.slow
@pytest.mark.parametrize(("document", "command"), RUN)
def test_a_command_that_a_document_shows_runs(document, command, scratch):
    words = shlex.split(command)
    begin = beginsWith(command, TINY)
    words += shlex.split(TINY[begin]) if begin else []
    if words[0] == "cd":
        assert (scratch / words[1]).is_dir() and (ROOT / words[1]).is_dir()
    elif words[0] == "make":
        assert runMake(words[1:], scratch) == 0
    else:
        assert words[:2] == ["python", "-m"], f"{document} shows a command that this test does not know: {command}"
        inside = scratch / "LiverGTAN" if words[2] == "LiverGTANLib" else scratch
        assert runPython(words, inside) == 0


def test_every_reason_and_every_tiny_setting_belongs_to_a_command():
    for begin in (*NOT_RUN, *TINY):
        assert any(f"{command} ".startswith(begin) for _, command in SHOWN), begin


def test_the_script_of_the_readme_segments(slicerHost):
    from LiverGTANLib.mrml import self_test
    from support.module_fixtures import MODULE_FILE

    slicerHost.loadModule(MODULE_FILE)
    volumeNode, _ = self_test.addPhantom()
    (script,) = codeBlocks("README.md", "python")
    names = {"volumeNode": volumeNode, "volumeNodes": [volumeNode]}
    exec(script, names)
    assert names["result"].volumeMl > 0


@pytest.mark.parametrize(
    "document", sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("*.md")) + ["training/README.md"]
)
def test_links_lead_to_files_and_headings(document):
    place = (ROOT / document).parent
    text = re.sub(r"```.*?```", "", (ROOT / document).read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("https:", "#")):
            assert (place / target.partition("#")[0]).exists(), target


@pytest.mark.parametrize("document", [*DOCUMENTS, "SECURITY.md"])
def test_files_that_a_document_names_exist(document):
    """In code spans, as paths from the top, from the document's folder or from LiverGTANLib."""
    text = re.sub(r"```.*?```", "", (ROOT / document).read_text(encoding="utf-8"), flags=re.DOTALL)
    for name in re.findall(r"`([\w./-]+/[\w.-]+\.(?:py|md|toml|json|ui|txt))`", text):
        places = (ROOT, (ROOT / document).parent, ROOT / "LiverGTAN", ROOT / "LiverGTAN" / "LiverGTANLib")
        assert any((place / name).exists() for place in places) or name.startswith(("runs/", "out/")), name


# Community files


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
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_workflow_is_checked_and_zizmor_finds_nothing():
    zizmor = shutil.which("zizmor", path=Path(sys.executable).parent)
    if zizmor is None:
        pytest.skip("zizmor is not installed")
    words = [zizmor, "--offline", "--persona", "pedantic", "--no-progress", ".github"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
