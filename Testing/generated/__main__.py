"""`python -m generated [--count N]`: counts, by kind, what became of generated inputs. Exit status 1 if one went wrong.

Inputs are made and given to the program in one child process, with bounded memory, files and processor time; when it
dies or hangs, that counts, and another one goes on behind the input in question. `--only KIND --first N --count 1`
repeats a single input: each depends on seed, kind and number alone.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from queue import Empty, Queue

from .outcome import READ, REFUSED

ROOT = Path(__file__).resolve().parents[2]
SHARES = {
    "images, whole": 10,
    "images, damaged": 25,
    "DICOM, whole": 4,
    "DICOM, odd attributes": 10,
    "DICOM, damaged bytes": 10,
    "student cards": 10,
    "student archives": 10,
    "checkpoints": 5,
    "single networks": 4,
    "settings": 5,
    "training command lines": 1,
    "command lines": 3,
    "faults": 3,
}
"""Kind -> percent of all inputs."""

LONGEST_SECONDS = 60.0
"""For one input: a thousand times what most take."""

HARM = ("crash", "hang", "traceback", "wrong")
SHOWN = 20


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m generated", description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="inputs in all (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=SHARES, help="one kind alone")
    parser.add_argument("--first", type=int, default=0, help="number of the first input of each kind")
    options = parser.parse_args()
    start, results = time.monotonic(), Counter[tuple[str, str]]()
    for kind, share in SHARES.items():
        if options.only in (None, kind):
            count = options.count if options.only else max(1, -(-options.count * share // 100))
            results += counted(kind, options.seed, options.first, count)
    report(results, options.seed, time.monotonic() - start)
    return int(any(results[kind, outcome] for kind in SHARES for outcome in HARM))


def counted(kind: str, seed: int, first: int, count: int) -> Counter[tuple[str, str]]:
    """What became of the inputs with the numbers first, first + 1, ... of a kind."""
    results, number = Counter[tuple[str, str]](), first
    while number < first + count:
        for outcome, text in outcomes(kind, seed, number, first + count - number):
            results[kind, outcome] += 1
            if outcome in HARM:
                print(f"{kind} {number}: {outcome}: {text}", flush=True)
            number += 1
    return results


def outcomes(kind: str, seed: int, first: int, count: int):
    """(outcome, text) of one input after the other, until the child process has done all, or dies, or hangs."""
    command = [sys.executable, "-m", "generated.child", kind, str(seed), str(first), str(count)]
    child = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    lines: Queue[str | None] = Queue()
    said: list[str] = []

    def listen() -> None:
        assert child.stdout is not None
        for line in child.stdout:
            lines.put(line)
        lines.put(None)

    def keep() -> None:
        assert child.stderr is not None
        for line in child.stderr:
            said.append(line)
            del said[:-SHOWN]

    threads = [threading.Thread(target=one, daemon=True) for one in (listen, keep)]
    for thread in threads:
        thread.start()
    done, allowed = 0, 2 * LONGEST_SECONDS  # with the imports
    try:
        while done < count:
            line = lines.get(timeout=allowed)
            if line is None:
                threads[1].join()
                yield "crash", f"status {child.wait()}: {''.join(said)[-2000:]}"
                return
            yield tuple(json.loads(line))
            done, allowed = done + 1, LONGEST_SECONDS
    except Empty:
        yield "hang", f"no answer within {allowed:.0f} s"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # and whatever it has started
        child.wait()


def report(results: Counter[tuple[str, str]], seed: int, seconds: float) -> None:
    columns = (READ, REFUSED, *HARM)
    print(f"{'kind':<24}{'inputs':>8}" + "".join(f"{name:>11}" for name in columns))
    kinds = [kind for kind in SHARES if any(key[0] == kind for key in results)]
    for kind in kinds:
        counts = [results[kind, name] for name in columns]
        print(f"{kind:<24}{sum(counts):>8,}" + "".join(f"{count:>11,}" for count in counts))
    totals = [sum(results[kind, name] for kind in kinds) for name in columns]
    print(f"{'all':<24}{sum(totals):>8,}" + "".join(f"{count:>11,}" for count in totals))
    print(f"seed {seed}, {seconds / 60:.1f} minutes", flush=True)


if __name__ == "__main__":
    sys.exit(main())
