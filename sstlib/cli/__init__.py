"""`sst`: one module of this package a command. A module gives HELP, `configure(parser)` and `run(arguments) -> exit status`."""

import argparse
import importlib
import os
import pkgutil
import sys

BAD_INPUT = 2
INTERRUPTED = 130
PIPE_CLOSED = 141


def commands() -> list[str]:
    """Names of the commands, which are the modules of this package."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; only the one that is called imports what it needs."""
    parser = argparse.ArgumentParser(prog="sst", description=__doc__.split(":")[0].strip("`") + ": sparse spatiotemporal transformers "
                                     "for video object segmentation")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in commands():
        module = importlib.import_module(f"{__name__}.{name}")
        command = subparsers.add_parser(name, help=module.HELP, description=module.HELP)
        module.configure(command)
        command.set_defaults(run=module.run)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs one command. Bad input ends with one message and exit status 2, an interrupt with 130."""
    arguments = build_parser().parse_args(argv)
    try:
        status = arguments.run(arguments) or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except (ValueError, OSError) as error:
        print(f"sst {arguments.command}: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print(f"sst {arguments.command}: interrupted", file=sys.stderr)
        return INTERRUPTED
