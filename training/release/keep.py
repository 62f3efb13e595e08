"""`keep`: one network of a checkpoint as a file of its own, to be a teacher."""

from __future__ import annotations

from training.command_line import require_suffix
from training.fit import checkpoint, network_file, run_log
from training.fit.loop import BEST
from training.model import nets
from training.options import Keep
from training.release import student_card


def keep(options: Keep) -> None:
    """Writes the network and prints what is stored with it. Raises UserError for an output of another kind."""
    require_suffix(options.output, network_file.SUFFIX)
    content = checkpoint.read(options.checkpoint) | {
        "training": student_card.training(options.checkpoint, options.role)
    }
    best = content.get(BEST) or {"role": None}
    last = run_log.last_figures(options.checkpoint.with_name("log.csv"), options.role)
    watched = best["cases"] if best["role"] == options.role else last
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
