"""Where `sst segment` computes, and in which precision."""

import argparse
from typing import Any

from sstlib.cli import _arguments


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of device, threads and precision."""
    group = parser.add_argument_group("device")
    group.add_argument("--device", metavar="D",
                       help="cpu, cuda, cuda:NUMBER, mps, or auto: cuda where there is one, else mps, else cpu "
                            "(default: cuda where there is one, else cpu; mps was never tried on such a machine)")
    group.add_argument("--threads", type=_arguments.threads, metavar="N",
                       help="take at most so many threads (default: all cores), and one while other programs use the "
                            "cores; results are equal to the bit with 1 only")
    group.add_argument("--precision", choices=["auto", "float32", "bfloat16", "float16"], default="float32",
                       help="of the steps (default float32); float16 on cuda and mps only (never tried there); auto "
                            "measures some steps on the first frame and takes bfloat16 where it is 1.2 times as fast. "
                            "bfloat16 changes a few labels: of two generated clips fewer than 1 in 1,000, on cpu")


def usable(arguments: argparse.Namespace) -> str:
    """The device that the options name.

    Raises:
        ValueError: this machine lacks it, or it does not compute in the precision that is requested.
    """
    import torch

    from sstlib.sessions import precision

    device, mps = arguments.device, torch.backends.mps.is_available()
    if device == "auto":
        device = "mps" if mps and not torch.cuda.is_available() else None
    if device == "mps" and not mps:
        raise ValueError("no device 'mps' here; leave --device out to work on what there is")
    device = device if device == "mps" else _arguments.usable_device(device, "auto, cpu, cuda, cuda:NUMBER or mps")
    if arguments.precision != "auto":
        precision.within(arguments.precision, device)
    return device


def precision_of(arguments: argparse.Namespace, network: Any, device: str, clip: Any, options: dict[str, Any],
                 before: dict[str, Any] | None = None) -> str:
    """The precision of the steps; an interrupted run keeps its own. It is printed unless it and the device are the
    defaults.
    """
    from sstlib.sessions import precision

    choice, why = arguments.precision, ""
    if choice == "auto":
        earlier = before and before["facts"]["options"].get("precision")
        if names := [name for name in precision.PRECISIONS if repr(name) == earlier]:
            choice, why = names[0], "the interrupted run was"
        else:
            choice, why = precision.faster(network, device, clip, options)
        why = f": {why}"
    if why or arguments.device == "auto" or (device, choice) != ("cpu", "float32"):
        print(f"computed on {device} in {choice}{why}", flush=True)
    return choice
