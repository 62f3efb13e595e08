"""Settings files that are damaged or made to mislead are refused with a sentence, in little time."""

import pytest

from training import settings
from training.errors import UserError
from training.options import Config


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 2000,
        b"x = " + b"[" * 10_000,
        b"x = " + b"{a=" * 8_000,
        b"a." * 3_000 + b"a = 1",
        b"[" + b"a." * 3_000 + b"a]",
        b"a." * settings.MOST_DOTS + b"a.a = 1",
        b"[loop]\nsteps = " + b"9" * 10_000,
        b"[loop]\nrate = nan",
        b"[loop]\nrate = inf",
        b"[loop]\nrate = 1" + b"0" * 400,
        b"[loop]\nsteps = 1e3",
        b"[loop]\nsteps = true",
        b"[loop]\nsteps = 1\nsteps = 2",
        b"loop = 3",
        b"\xff\xfe",
        b"x = 1\0",
        b"x" * 30_000_000,
    ],
    ids=range(17),
)
def test_odd_files_are_refused(tmp_path, content):
    file = tmp_path / "settings.toml"
    file.write_bytes(content)
    with pytest.raises(UserError) as error:
        settings.from_toml(Config(), file)
    assert str(file) in str(error.value) and len(str(error.value)) < 1000


@pytest.mark.parametrize("name", ["absent.toml", "a" * 1000, "."])
def test_files_that_cannot_be_read_are_refused(tmp_path, name):
    with pytest.raises(UserError, match="cannot be read"):
        settings.from_toml(Config(), tmp_path / name)
