"""`sst release`: the weights of a finished run, scored and with a card, for others to load by name."""

import argparse
from pathlib import Path

from sstlib.cli import _arguments

HELP = ("put the weights of a finished run into results/weights, with their terms and a card made from records; "
        "score them; push them")
EXAMPLES = """examples:
  sst release run my-network --data generated               weights, terms and a card, loaded by name from then on
  sst release my-network --score                            scores on every benchmark that is at hand, into the card
  sst release my-network --gate 0.2                         the gate that `sst analyze choices my-network` advises
  sst release run-5 my-network --repeat                     run-5 is its last run, by another seed: the spread
  sst release my-network --push OWNER/my-network            onto the Hugging Face hub
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="RUN", type=Path, nargs="?",
                        help="folder of a finished `sst train`; without it: the release NAME, which exists already")
    parser.add_argument("name", metavar="NAME", help="name to load it by, for example sst-small")
    _arguments.close_with(parser, EXAMPLES)
    weights = parser.add_argument_group("weights", "of a finished run, or of a release NAME")
    weights.add_argument("--data", metavar="NAME",
                         help="with RUN: what it was trained on, generated or a data set, with +photographs where it "
                              "was; decides its terms")
    weights.add_argument("--start", metavar="FILE",
                         help="with RUN: the weights it started from, where its file does not tell of them")
    weights.add_argument("--longest", type=_arguments.whole(64, _arguments.MOST), metavar="PIXELS",
                         help="work on frames of at most this long a side, as chosen on sequences held out (default: "
                              "the run's, or 854)")
    weights.add_argument("--gate", type=_arguments.number(0, 1), metavar="SHARE",
                         help="an object whose presence falls below this share of its usual one gets no mask (0..1; 0: "
                              "no gate), as chosen on sequences held out (default: the run's)")
    weights.add_argument("--repeat", action="store_true",
                         help="with RUN, which made the last run of the release NAME again by another seed: score it, "
                              "for the spread in NAME's card; its weights are not kept")
    weights.add_argument("--stage", action="store_true",
                         help="with RUN: only its weights as they are now, in half precision, into "
                              "results/weights/stages, for the next leg to start from")
    more = parser.add_argument_group("scores and sharing")
    more.add_argument("--score", action="store_true",
                      help="segment and score every benchmark whose data are generated or at hand (see `sst data "
                           "list`): up to an hour of a core each; stopped, it goes on where it was")
    more.add_argument("--push", metavar="OWNER/NAME",
                      help="put it on the Hugging Face hub (needs sstlib[hub] and a login there)")
    more.add_argument("--threads", type=_arguments.threads, metavar="N",
                      help="threads of this process (default: PyTorch's choice)")


def run(arguments: argparse.Namespace) -> int:
    """Releases, scores, draws, writes the card, pushes: those of these that are requested, in this order.

    Raises:
        ValueError: options that do not go together.
    """
    import torch

    from sstlib import releasing, weights
    from sstlib.releasing import card, repeats

    _check(arguments)
    if arguments.stage:
        print(releasing.stage(arguments.folder, arguments.name))
        return 0
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.repeat:
        for line in repeats.score(arguments.folder, arguments.name):
            print(line)
        print(card.write_card(arguments.name))
        return 0
    if arguments.push:
        releasing.hub_mixin()  # Raises before anything is written
    if arguments.folder:
        print(*releasing.release(arguments.folder, arguments.name, arguments.data, arguments.start,
                                 arguments.longest, arguments.gate), sep="\n")
    elif arguments.longest or arguments.gate is not None:
        releasing.choose(arguments.name, arguments.longest, arguments.gate)
    releasing.require_name(arguments.name)
    weights.find(arguments.name)
    if arguments.score:
        _score(arguments.name)
    print(card.write_card(arguments.name))
    if arguments.push:
        print(releasing.push(arguments.name, arguments.push))
    return 0


def _score(name: str) -> None:
    """Scores a release on every benchmark that is at hand, draws its figures and writes the tables."""
    from sstlib import paths
    from sstlib.datasets import Absent
    from sstlib.experiments import table_files, validation
    from sstlib.releasing import card

    for benchmark in validation.benchmarks():
        try:
            print(validation.score(name, benchmark))
        except Absent as error:
            print(f"not scored on {benchmark}: {error}")
    print(*card.write_figures(name), sep="\n")
    table_files.write_tables(paths.TABLES)


def _check(arguments: argparse.Namespace) -> None:
    """Raises a ValueError for RUN without --data or the reverse, and for options that go with other ones."""
    chosen = arguments.longest or arguments.gate is not None
    if arguments.stage or arguments.repeat:
        others = (arguments.data, arguments.start, chosen, arguments.score, arguments.push,
                  arguments.stage and arguments.repeat)
        if arguments.folder is None or any(others):
            raise ValueError(f"--{'stage' if arguments.stage else 'repeat'} goes with RUN and NAME alone")
    elif (arguments.folder is None) != (arguments.data is None) or (arguments.start and arguments.folder is None):
        raise ValueError("RUN and --data go together: a run to release, and what it was trained on; --start only with "
                         "them")
