"""`keep`: one network of a checkpoint as a file of its own, to be a teacher."""

from __future__ import annotations

from pathlib import Path

from training.command_line import require_suffix
from training.errors import UserError
from training.fit import checkpoint, network_file, run_log
from training.fit.loop import BEST
from training.model import nets
from training.options import Keep
from training.release import student_card


def keep(options: Keep) -> None:
    """Writes the network and prints what is stored with it.

    Raises UserError for an output of another kind, or that holds another network.
    """
    require_suffix(options.output, network_file.SUFFIX)
    content = checkpoint.read(options.checkpoint) | {
        "training": student_card.training(options.checkpoint, options.role)
    }
    best = content.get(BEST) or {"role": None}
    last = run_log.last_figures(options.checkpoint.with_name("log.csv"), options.role)
    watched = best["cases"] if best["role"] == options.role else last
    if options.role in content["nets"]:
        require_same_network(options.output, network_file.digest(content["nets"][options.role]["average"]))
    digest = network_file.write(options.output, content, options.role, watched)
    net = checkpoint.network(options.output)
    print(
        f"{options.output}: {nets.parameters(net):,} parameters of widths {net.widths}, "
        f"{options.output.stat().st_size} bytes, SHA-256 {digest}"
    )
    print(
        f"{content['step']} steps, seed {content['settings']['loop']['seed']}, code {content['code']}; watched: "
        + (", ".join(f"{case} {dice:.4f}" for case, dice in watched.items()) or "nothing")
    )


def require_same_network(file: Path, digest: str) -> None:
    """Raises UserError when another network than this one, or none that can be read, lies in a file that is there."""
    if not file.exists():
        return
    choose = "choose another --output, or remove it"
    try:
        found = checkpoint.network_digest(file)
    except UserError as error:
        raise UserError(f"{file} is there, but holds no network that can be read; {choose}. {error}") from error
    if found != digest:
        raise UserError(f"{file} holds another network (SHA-256 {found[:12]}, not {digest[:12]}); {choose}.")
