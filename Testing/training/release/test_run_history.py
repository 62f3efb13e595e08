"""The tables of runs on the model card: each run once, numbered, with what it began from and its teacher."""

from training.release.reproduce import Folders, commands
from training.release.run_history import RunHistory, unique_runs

FACTS = {
    "banks": [],
    "data": [],
    "batch": 2,
    "seeds": [0],
    "method": {"stage": "student"},
    "teacher": {},
    "code": "abc",
}
TEACHER = FACTS | {
    "run": "runs/teacher",
    "command": "python -m training fit teacher --run runs/teacher",
    "steps": 6000,
    "minutes": {"wall": 5.0, "cpu": 6.0},
    "file": "teacher.safetensors",
    "sha256": "old",
}
FIRST = FACTS | {
    "run": "runs/student",
    "command": "python -m training fit kd --run runs/student --teacher t.pt",
    "steps": 300,
    "minutes": {"wall": 10.0, "cpu": 20.0},
    "method": {"stage": "kd", "loss": "kl", "teachers": [[2, 3]]},
    "teacher": TEACHER,
}
LAST = FACTS | {
    "run": "runs/student",
    "command": "python -m training fit kd --run runs/student --rate 0.001 --start s.pt --teacher t.pt",
    "steps": 700,
    "minutes": None,
    "seeds": [0, 1],
    "weights_sha256": 64 * "f",
    "method": {
        "stage": "kd",
        "loss": "cwd",
        "teachers": [[2, 3]],
        "averaging": {"seeds": [0, 1], "ancestor": "runs/first/checkpoint.pt"},
    },
    "teacher": TEACHER,
    "start": FIRST,
}


def history(committed: str = "new") -> RunHistory:
    cards, folders = {"student": {"training": LAST}}, Folders()
    commands(cards, folders)
    return RunHistory(cards, folders, committed)


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]


def test_each_run_is_there_once_the_earliest_first():
    assert [part["steps"] for part in unique_runs(LAST)] == [6000, 300, 700]  # the teacher of both runs once


def test_runs_point_at_each_other_by_number():
    assert cells(history().methods()) == [
        ["1", "teacher", "labels", "random weights", "-", "6,000", "2", "0"],
        ["2", "student", "KD (kl)", "random weights", "1", "300", "2", "0"],
        ["3", "student-2", "KD (cwd), mean", "2", "1", "700", "2", "0, 1"],
    ]


def test_what_was_not_recorded_is_not_made_up():
    assert cells(history().origins())[1:] == [
        ["2", "", "abc", "-", "10.0", "20.0"],
        ["3", "", "abc", 12 * "f", "-", "-"],
    ]


def test_a_teacher_whose_file_holds_another_network_today_is_told():
    assert next(history().notes()).startswith(
        "Run 1: its network was in an earlier commit `teacher.safetensors`, where"
    )
    assert next(history("old").notes()) == "Run 1: its network is `teacher.safetensors`; SHA-256 `old`."


def test_a_mean_of_runs_is_told():
    text = "mean of the weights of 2 runs (seeds 0, 1) and of the network that all began from."
    assert list(history().notes())[-1].endswith(text)


def test_compute_counts_each_run_once():
    assert list(history().chains()) == [
        "student: 2 -> 3. With all teachers' runs 15.0 min wall, 26.0 min CPU, without run 3 (not recorded)."
    ]
