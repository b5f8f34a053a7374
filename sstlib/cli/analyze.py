"""`sst analyze WHAT NETWORK...`: asks something of networks that are trained already, a run record each."""

import argparse

from sstlib.cli import _arguments

HELP = ("ask trained networks what carries their masks, where their attention goes, how long a history they use, and "
        "what to choose for a release; a run record for each answer")
EXAMPLES = """examples:
  sst analyze knockouts sst-small sst-small-davis2016       what is lost without each part of what a network knows
  sst analyze attention-hidden runs/base-seed0.safetensors  where it looks for an object that is hidden
  sst analyze mask-routes sst-small                         how far attention carries a mask along its routes
  sst analyze histories sst-small                           whether it gains by more past frames than in training
  sst analyze choices sst-photo                             at which working size and presence gate it works best
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("question", metavar="WHAT",
                        help="knockouts, attention-hidden, mask-routes, histories or choices")
    parser.add_argument("networks", metavar="NETWORK", nargs="+",
                        help="releases, or weights files of runs (VARIANT-seedN.safetensors, or "
                             "VARIANT-seedN/weights.safetensors)")
    _arguments.close_with(parser, EXAMPLES)
    run = parser.add_argument_group("run")
    run.add_argument("--fresh", action="store_true", help="make records anew, also where there are some")


def run(arguments: argparse.Namespace) -> int:
    """Makes the records that are missing.

    Raises:
        FileNotFoundError: no such weights, or the data are not there.
        ValueError: no such question, or one that does not fit the method.
    """
    from sstlib.experiments import questions

    print(*questions.analyze(arguments.question, arguments.networks, arguments.fresh), sep="\n")
    return 0
