"""Cards store each part of their history once: nothing is lost, and what was altered is refused."""

import hashlib
import json
import math

import pytest

from LiverGTANLib.core.files import parse_json, to_json
from LiverGTANLib.core.weight_file import LARGEST_CARD
from training.errors import UserError
from training.evaluation.card_parts import PARTS, stored, whole
from training.evaluation.training_history import refuse_if_trained_on, sources

SOURCES = [
    {"name": f"ct_{number}", "origin": 60 * "o", "license": "CC BY 4.0", "label": "an expert's"} for number in (1, 2)
]


def run(name: str, **facts) -> dict:
    return {"run": name, "command": f"fit --run {name} {100 * 'x'}", "rate": 0.1, "data": SOURCES, **facts}


FIRST = run("runs/first", data=[*SOURCES, SOURCES[0] | {"name": "seen_by_the_first_alone"}], teacher={})
TEACHER = run("runs/teacher", start=FIRST)
BANK = {"name": "scans", "soft_labels": {"teachers": [TEACHER, FIRST], "share": 1}}
CARD = {"name": "tiny", "training": run("runs/last", start=FIRST, teacher=TEACHER, banks=[BANK]), "metrics": []}


def read_again(card: dict) -> dict:
    """A card as it comes back from its file."""
    return parse_json(to_json(card, indent=1))


def named(parts: dict) -> dict:
    """Parts under the names that these have, in this order, `{name}` of each standing for the one before it."""
    table, before = {}, ""
    for part in parts:
        text = to_json(part).replace("{name}", before)
        before = f"#{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        table[before] = json.loads(text)
    return {"name": "tiny", "training": before, PARTS: table}


def test_a_card_comes_back_to_the_last_value_and_its_file_holds_every_part_once():
    card = read_again(stored(CARD))
    assert json.dumps(whole(card)) == json.dumps(CARD)
    text = json.dumps(card)
    for once in ("seen_by_the_first_alone", "ct_2", FIRST["command"], TEACHER["command"]):
        assert json.dumps(CARD).count(once) > 1 and text.count(once) == 1


def test_the_same_history_has_the_same_parts_and_another_value_another_name():
    assert stored(whole(read_again(stored(CARD)))) == stored(stored(CARD)) == read_again(stored(CARD))
    other = stored(CARD | {"training": CARD["training"] | {"rate": 0.2}})
    assert other["training"] != stored(CARD)["training"] and len(set(other[PARTS]) - set(stored(CARD)[PARTS])) == 1


def test_figures_that_json_does_not_have_are_unknown_and_break_no_name():
    card = {"name": "tiny", "training": run("runs/last", chosen_by={"validation_dice": math.nan})}
    assert whole(read_again(stored(card)))["training"]["chosen_by"] == {"validation_dice": None}


def test_a_card_that_holds_its_history_itself_or_none_is_read_as_it_is():
    assert whole(CARD) == CARD and whole({"name": "drawn"}) == {"name": "drawn"}


@pytest.mark.parametrize("card", [CARD, read_again(stored(CARD)), {"name": "drawn"}], ids=["itself", "parts", "none"])
def test_what_earlier_runs_were_trained_on_counts_in_every_form(card):
    expected = {"ct_1", "ct_2", "seen_by_the_first_alone"} if "training" in card else set()
    assert sources(card) == expected
    for name in expected:
        with pytest.raises(UserError, match=f"{name} was trained on"):
            refuse_if_trained_on([name, "another"], card)


def altered(change) -> dict:
    card = read_again(stored(CARD))
    change(card)
    return card


def edit(card: dict) -> None:
    next(part for part in card[PARTS].values() if "run" in part)["rate"] = 0.3


def take_out(card: dict) -> None:
    del card[PARTS][next(iter(card[PARTS]))]


def turn_round(card: dict) -> None:
    card[PARTS] = dict(reversed(card[PARTS].items()))


@pytest.mark.parametrize(
    "card",
    [
        altered(edit),
        altered(take_out),
        altered(turn_round),
        altered(lambda card: card.update(training="#000000000000")),
        altered(lambda card: card.update(training={})),
        altered(lambda card: card.pop("training")),
        altered(lambda card: card.pop(PARTS)),
        altered(lambda card: card.update({PARTS: []})),
        altered(lambda card: card.update({PARTS: None})),
        named([[1], {"{name}": "a name where none belongs"}]),
    ],
)
def test_parts_that_are_not_as_they_were_written_are_refused(card):
    with pytest.raises(UserError, match="history of training on the card of tiny is not as it was written"):
        sources(card)


@pytest.mark.parametrize(
    "parts",
    [
        [{"data": 50 * "a"}, *(10 * [["{name}"] * 10])],
        [["a" * 2**20], *(["{name}", number] for number in range(1000))],
        [["a" * 2**20], 50_000 * ["{name}"]],
        [[], *(2_000 * [["{name}"]])],
    ],
    ids=["tenfold at each level", "one large part again and again", "at once", "nested without end"],
)
def test_a_small_card_that_would_become_a_large_one_is_refused(parts):
    card = named(parts)
    assert len(to_json(card)) < LARGEST_CARD
    with pytest.raises(UserError, match=r"too large|too deeply"):
        whole(card)
