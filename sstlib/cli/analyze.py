"""`sst analyze WHAT NETWORK...`: asks something of networks that are trained already, a run record each."""

import argparse

HELP = "ask something of trained networks: what carries their masks, where their attention goes; a run record each"


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("question", metavar="WHAT", help="knockouts, attention-hidden or mask-routes")
    parser.add_argument("networks", metavar="NETWORK", nargs="+",
                        help="releases, or weights files of runs (VARIANT-seedN.safetensors, or "
                             "VARIANT-seedN/weights.safetensors)")
    parser.add_argument("--fresh", action="store_true", help="also where a record of the same weights is there")


def run(arguments: argparse.Namespace) -> int:
    """Makes the records that are missing.

    Raises:
        FileNotFoundError: no such weights, or the data are not there.
        ValueError: no such question, or one that does not fit the method.
    """
    from sstlib.experiments import questions

    print(*questions.analyze(arguments.question, arguments.networks, arguments.fresh), sep="\n")
    return 0
