"""A written file is there whole or as it was before."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from LiverGTANLib.core import files
from LiverGTANLib.core.files import atomic_write


def test_the_file_appears_when_the_block_ends_and_its_folder_is_made(tmp_path):
    path = tmp_path / "new" / "liver.json"
    with atomic_write(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert [entry.name for entry in path.parent.iterdir()] == ["liver.json"]


def test_the_temporary_name_has_the_suffix_that_writers_choose_a_format_by(tmp_path):
    with atomic_write(tmp_path / "liver.seg.nrrd", ".seg.nrrd") as temporary:
        assert temporary.name.endswith(".seg.nrrd")
    with atomic_write(tmp_path / "liver.png") as temporary:
        assert temporary.suffix == ".png"


@pytest.mark.parametrize("error", [ValueError("odd"), KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left")])
def test_after_an_error_the_former_file_is_as_it_was(tmp_path, error):
    path = tmp_path / "liver.json"
    path.write_text("former")
    with pytest.raises(type(error)), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "former"
    assert list(tmp_path.iterdir()) == [path]


def test_errors_name_the_file_and_the_cause(tmp_path):
    path = tmp_path / "liver.json"
    with pytest.raises(OSError, match=r"liver\.json cannot be written \(No space left"), atomic_write(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    path.write_text("a file where a folder should be")
    with pytest.raises(OSError, match=r"mask\.nrrd cannot be written"), atomic_write(path / "mask.nrrd"):
        pass


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_rights_is_found_before_the_work(tmp_path):
    tmp_path.chmod(0o500)
    done = []
    with pytest.raises(OSError, match="cannot be written"), atomic_write(tmp_path / "liver.json"):
        done.append(True)
    assert not done


def test_a_new_file_may_be_read_like_any_other_of_this_user(tmp_path):
    with atomic_write(tmp_path / "written") as temporary:
        temporary.write_text("")
    (tmp_path / "other").touch()
    assert (tmp_path / "written").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("value", [{"a": [1, 2.5, "ä", None, True]}, [], "x", 10**30, -0.0, 1e-300])
def test_what_is_written_as_json_is_read_the_same(value):
    for ascii_only in (False, True):
        assert files.parse_json(files.to_json(value, ascii_only=ascii_only)) == value


def test_numbers_that_json_does_not_have_become_null():
    assert files.to_json({"a": [float("nan"), (float("inf"), 1)]}) == '{"a": [null, [null, 1]]}'


def test_a_message_is_one_short_line():
    assert files.brief("a\n\tb" + "c" * 1000) == "a b" + "c" * 197 + "..."


def test_a_file_larger_than_expected_is_not_read(tmp_path):
    (tmp_path / "a").write_bytes(bytes(11))
    assert files.read_bytes(tmp_path / "a", 11) == bytes(11)
    with pytest.raises(ValueError, match="larger than"):
        files.read_bytes(tmp_path / "a", 10)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes that are files")
def test_a_pipe_is_read_to_its_end(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor(1) as writer:
        writer.submit((tmp_path / "pipe").write_bytes, b"x" * 100_000)
        assert files.read_bytes(tmp_path / "pipe", 2**20) == b"x" * 100_000
