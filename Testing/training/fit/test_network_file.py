"""A network in a file of its own: what is lost in float16, what is recorded, and that it can be a teacher."""

import os

import pytest
import torch

from support.training_fixtures import makeBank, noValidation, options, smallConfig
from training.__main__ import main
from training.errors import UserError
from training.evaluation import evaluate
from training.fit import checkpoint, loop, methods, network_file, train
from training.model import folding, nets
from training.options import TEACHER_WIDTHS
from training.release import export

WIDTHS = (3, 5)


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    return makeBank(tmp_path_factory.mktemp("bank") / "bank")


@pytest.fixture(scope="module")
def trained(bank, tmp_path_factory):
    """The checkpoint of a small teacher, validated on a made-up case."""
    config = smallConfig(bank, steps=4, rate=0.02, validate_every=2)
    return loop.fit(
        methods.supervised("teacher", WIDTHS, config), config, tmp_path_factory.mktemp("run"), lambda net: {"case": 0.5}
    )


@pytest.fixture(scope="module")
def networkFile(trained, tmp_path_factory):
    file = tmp_path_factory.mktemp("weights") / "teacher.safetensors"
    assert main(["keep", str(trained), "--output", str(file)]) == 0
    return file


def test_only_the_rounding_to_float16_is_lost(trained, networkFile):
    whole, half = checkpoint.network(trained), checkpoint.network(networkFile)
    for name, array in whole.state_dict().items():
        assert torch.allclose(half.state_dict()[name].double(), array.double(), rtol=2**-11, atol=2**-24), name
    image = export.probe(whole.multiple)
    assert abs(folding.forward(half, image) - folding.forward(whole, image)).max() < 0.05
    assert not half.training


def test_the_record_of_the_training_goes_along(trained, networkFile):
    content, whole = checkpoint.read(networkFile), checkpoint.read(trained)
    for name in ("step", "method", "code", "spent", "settings", "format"):
        assert content[name] == whole[name]
    assert content["watched"] == {"case": 0.5} and list(content["nets"]) == ["teacher"]


def test_the_same_network_gives_the_same_bytes(trained, networkFile, tmp_path):
    again = tmp_path / "again.safetensors"
    assert main(["keep", str(trained), "--output", str(again)]) == 0
    assert network_file.sha256(again) == network_file.sha256(networkFile)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such rights")
def test_others_may_read_it_where_they_may_read_other_files(networkFile, tmp_path):
    (tmp_path / "plain").touch()
    assert networkFile.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_another_network_is_not_replaced(trained, bank, tmp_path, capsys):
    output = tmp_path / "teacher.safetensors"
    assert main(["keep", str(trained), "--output", str(output)]) == 0
    before = output.read_bytes()
    config = smallConfig(bank, steps=1)
    other = loop.fit(methods.supervised("teacher", WIDTHS, config), config, tmp_path / "other", noValidation)
    assert main(["keep", str(other), "--output", str(output)]) == 2
    assert "holds another network (SHA-256 " in (told := capsys.readouterr().err) and "choose another --output" in told
    assert main(["keep", str(trained), "--output", str(output)]) == 0 and output.read_bytes() == before
    output.write_bytes(before[:-9])
    assert main(["keep", str(trained), "--output", str(output)]) == 2
    assert "is there, but holds no network that can be read" in capsys.readouterr().err
    assert output.read_bytes() == before[:-9]


def test_a_teacher_of_full_size_is_stored_whole(trained, tmp_path):
    net = nets.UNet3D(TEACHER_WIDTHS)
    state = {"widths": net.widths, "stem": net.stem_size, "average": net.state_dict()}
    content = checkpoint.read(trained) | {"nets": {"teacher": state}}
    network_file.write(tmp_path / "teacher.safetensors", content, "teacher", {})
    again = checkpoint.network(tmp_path / "teacher.safetensors")
    assert nets.parameters(again) == 1_255_697
    assert (tmp_path / "teacher.safetensors").stat().st_size < 2_600_000


def test_it_is_a_teacher_on_the_command_line(networkFile, bank, tmp_path):
    assert train.teacher_role(networkFile) == "teacher"
    words = [
        "fit",
        "kd",
        "--teacher",
        str(networkFile),
        "--student-widths",
        "2",
        "3",
        "--run",
        str(tmp_path / "run"),
        *options(smallConfig(bank, steps=2)),
    ]
    assert main(words) == 0
    assert checkpoint.read(tmp_path / "run" / "checkpoint.pt")["method"]["stage"] == "kd"


def test_it_is_evaluated_like_a_checkpoint(trained, networkFile):
    found, expected = evaluate.model(str(networkFile)), evaluate.model(f"{trained}:teacher")
    assert found.widths == expected.widths == WIDTHS and found.name == "teacher"


def test_what_cannot_be_stored_or_read_is_explained(trained, tmp_path, capsys):
    output = tmp_path / "network.safetensors"
    assert main(["keep", str(trained), "--role", "student", "--output", str(output)]) == 2
    assert "no student" in capsys.readouterr().err and not output.exists()
    content = checkpoint.read(trained)
    content["nets"]["teacher"]["average"]["head.weight"].fill_(1e6)
    with pytest.raises(UserError, match=r"head\.weight .* float16"):
        network_file.write(output, content, "teacher", {})
    output.write_bytes(b"nothing of the kind")
    with pytest.raises(UserError, match="damaged"):
        checkpoint.read(output)
    with pytest.raises(UserError, match="There is no"):
        checkpoint.network(tmp_path / "absent.safetensors")


def test_a_run_without_a_log_validated_nothing(bank, tmp_path, capsys):
    config = smallConfig(bank, steps=1)
    file = loop.fit(methods.supervised("student", WIDTHS, config), config, tmp_path, noValidation)
    assert main(["keep", str(file), "--role", "student", "--output", str(tmp_path / "s.safetensors")]) == 0
    assert "watched: nothing" in capsys.readouterr().out


def test_a_student_records_its_teacher(trained, networkFile, bank, tmp_path):
    words = [
        "fit",
        "kd",
        "--teacher",
        str(trained),
        "--student-widths",
        "2",
        "3",
        "--run",
        str(tmp_path / "run"),
        *options(smallConfig(bank, steps=1)),
    ]
    assert main(words) == 0
    teachers = checkpoint.read(tmp_path / "run" / "checkpoint.pt")["teachers"]
    digest = network_file.digest(checkpoint.network(networkFile).state_dict())
    assert teachers == {"teacher0": {"widths": list(WIDTHS), "sha256": digest}}


def test_the_digest_of_a_network_survives_rounding():
    state = {"a": torch.randn(3), "n": torch.tensor(4)}
    assert network_file.digest(state) == network_file.digest(
        {name: array.half().float() if name == "a" else array for name, array in state.items()}
    )
