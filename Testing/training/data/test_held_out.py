"""The one list of held-out cases: nothing is trained on them, and what is written of them is complete."""

from training.data import held_out, samples
from training.data.cases import Case


def test_every_case_says_who_made_its_reference_and_what_was_chosen_on_it():
    assert len(held_out.BY_NAME) == len(held_out.HELD_OUT) == 5
    assert all(one.origin and one.license and one.reference and one.watched for one in held_out.HELD_OUT)
    assert "human-corrected" in held_out.reference_maker("crlm_ct_1100_8bit")
    assert held_out.reference_maker("another") == "not stated"


def test_the_files_of_a_case_carry_its_name():
    assert {one.case.name: name for name, one in held_out.BY_NAME.items()} == {name: name for name in held_out.BY_NAME}
    assert [one.case for one in held_out.HELD_OUT if one.in_samples] == [
        Case(*pair, samples.LIVER_LABEL) for pair in samples.CASES
    ]
