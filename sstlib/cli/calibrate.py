"""`sst calibrate`: how far a network's presence and doubt can be believed, as a record and in its card."""

import argparse

from sstlib.cli import _arguments

HELP = "judge presence and doubt: areas under their curves and reliability, as a record; needs DAVIS 2016"
EXAMPLES = """examples:
  SST_DAVIS=DAVIS sst calibrate sst-photo                   minutes to hours; stopped, it goes on where it was
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("names", metavar="NAME", nargs="+",
                        help="releases: with a presence head each is judged by itself; for those without one, "
                             "coefficients are fitted together on half of the clips")
    _arguments.close_with(parser, EXAMPLES)


def run(arguments: argparse.Namespace) -> int:
    """Segments the clips (those of an earlier, interrupted call are kept), writes records, figures and cards.

    Raises:
        ValueError: no DAVIS folder, or a name that is no release.
    """
    from sstlib import paths, weights
    from sstlib.releasing import card, doubt

    if others := [name for name in arguments.names if name not in weights.released()]:
        raise ValueError(f"{others[0]!r} is no release, by whose name records and cards are kept; there are "
                         f"{', '.join(weights.released())}, and sst release makes one")
    if paths.davis() is None:
        raise ValueError("there is no DAVIS folder; set SST_DAVIS, or put it into data/DAVIS")
    own = {name: weights.load(name).config.presence for name in arguments.names}
    written = [doubt.judge(name) for name, has_head in own.items() if has_head]
    if without := [name for name, has_head in own.items() if not has_head]:
        written.append(doubt.calibrate(without))
    for name in own:
        written += [*card.write_figures(name), card.write_card(name)]
    print(*written, sep="\n")
    return 0
