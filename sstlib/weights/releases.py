"""Networks as files: where their weights are, what a file says of itself, and its tensors put into a network, all or
nothing.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sstlib import paths
from sstlib.config import ModelConfig
from sstlib.config.networks import METHODS
from sstlib.config.values import Whole, parse_json
from sstlib.shapes import Shaped

SUFFIX = ".safetensors"
HUB_FILE = f"model{SUFFIX}"  # its name in a repository of the Hugging Face hub
# Pixels of a frame's longer side where a file does not say `longest`: DAVIS at 480p, at which the released weights were
# scored. They were trained on clips of 256 to 512 pixels, and lose on frames larger than this.
LONGEST = 854
STAGES = "stages"  # folder beside the releases: what a leg of training leaves for the next one


def find(name_or_path: str | Path) -> Path:
    """The weights file that a released name, a folder, a path, or a repository of the Hugging Face hub means.

    A repository is written OWNER/NAME or OWNER/NAME@REVISION. What is here comes first, and nothing is asked for over
    the network where OWNER is a folder here. Files from the hub are kept in its cache.

    Raises:
        FileNotFoundError: nothing there; lists the released names.
        ValueError: a folder with several.
    """
    given = Path(name_or_path)
    within = sorted(given.glob(f"*{SUFFIX}") if str(name_or_path) and given.is_dir() else [])
    candidates = [
        given, *(folder / f"{name_or_path}{SUFFIX}" for folder in (paths.WEIGHTS, paths.BROUGHT)), *within[:1]
    ]
    for candidate in candidates:
        if candidate.is_file():
            if candidate in within[:1] and len(within) > 1:
                raise ValueError(f"{given} holds {len(within)} files of weights ({within[0].name}, {within[1].name}"
                                 f"{', ...' * (len(within) > 2)}); name one of them")
            return candidate
    if (leg := given.name) and str(given.parent) == STAGES:
        raise FileNotFoundError(f"no weights {str(name_or_path)!r}: that leg is to be trained first: sst train {leg}, "
                                f"then sst release results/training/{leg} {leg} --stage")
    if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*(@[\w.-]+)?",
                    str(name_or_path)) and given.suffix != SUFFIX and not given.parent.is_dir():
        return _from_hub(str(name_or_path))
    raise FileNotFoundError(f"no weights {str(name_or_path)!r}; give a {SUFFIX} file, a folder with one, a repository "
                            "of the Hugging Face hub "
                            "(owner/name), or a released name: "
                            f"{', '.join(released()) or f'none is in {paths.WEIGHTS}'}")


def _from_hub(repository: str) -> Path:
    """The weights file of a repository, downloaded unless it is in the hub's cache."""
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise FileNotFoundError(f"no weights {repository!r} here, and the Hugging Face hub needs a package that is not "
                                "installed: "
                                "pip install 'sstlib[hub]'") from error
    name, _, revision = repository.partition("@")
    try:
        return Path(hf_hub_download(name, HUB_FILE, revision=revision or None))
    except OSError as error:  # the hub's own errors, and those of the network
        raise FileNotFoundError(
            f"no weights {repository!r}: neither here nor on the Hugging Face hub ({error})") from error


def released() -> list[str]:
    """Names of the weights that come with the repository."""
    return sorted({path.stem for folder in (paths.WEIGHTS, paths.BROUGHT) for path in folder.glob(f"*{SUFFIX}")})


def facts(name_or_path: str | Path) -> dict[str, object]:
    """What the file says of itself: its configuration under `config`, and what training wrote beside it.

    Raises:
        ValueError: no weights of sstlib.
    """
    path = find(name_or_path)
    with _opened(path) as file:
        metadata = file.metadata() or {}
    if "config" not in metadata:
        raise ValueError(f"{path} holds no configuration; expected weights written by sstlib, found keys "
                         f"{sorted(metadata)}")
    return {key: parse_json(value, f"{path}: {key} in its metadata") for key, value in metadata.items()}


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The safetensors file, whose header and extent are checked when it is opened; no code of it is run.

    Raises:
        ValueError: it is none, or cut off.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file ({error}); expected weights written by sstlib") from error


def load(name_or_path: str | Path, device: str | torch.device = "cpu") -> nn.Module:
    """The network of a weights file, a `model.Propagator` in evaluation mode, with the size that it is for as
    `longest`.

    Raises:
        FileNotFoundError: no such file or released name.
        ValueError: not a weights file of sstlib, or its tensors are not those of its configuration, or not all finite.
    """
    path = find(name_or_path)
    known = facts(path)
    config = ModelConfig.from_dict(known["config"], f"{path}: config.")
    build = METHODS[config.method].build
    with _opened(path) as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
        try:
            with torch.device("meta"):  # a configuration of absurd sizes is found before it takes memory
                require_shapes(build(config).state_dict(), shapes, str(path))
        except ValueError as error:
            raise ValueError(str(error) if str(path) in str(error) else f"{path}: config.{error}") from error
        with torch.device("cpu"):  # whatever PyTorch's defaults are
            network = build(config).float()
        load_tensors(network, {name: file.get_tensor(name) for name in shapes}, str(path))
    network.longest = Whole(16).check(known.get("longest", LONGEST), f"{path}: longest")
    return network.to(device).eval()


def graft(network: nn.Module, name_or_path: str | Path, part: str = "") -> list[str]:
    """Takes over what fits of the weights of another model: tensors of the same name and shape; and of a convolution
    that reads further channels behind the same ones, the part that reads these, the rest being 0 until it is learned.
    `network` may be the part of a model whose names begin with `part`.

    Returns:
        The names taken over.

    Raises:
        ValueError: nothing fits, or the file is no safetensors file, or not all of its numbers are finite.
    """
    path, taken = find(name_or_path), []
    own = network.state_dict()
    with _opened(path) as file:
        tensors = {name.removeprefix(part): file.get_tensor(name) for name in file.keys() if name.startswith(part)}
    require_finite(tensors, str(path))
    for name, tensor in tensors.items():
        target = own.get(name)
        if target is None or target.ndim != tensor.ndim:
            continue
        if target.shape != tensor.shape:
            if target.ndim != 4 or target.shape[0] != tensor.shape[0] or target.shape[2:] != tensor.shape[
                    2:] or target.shape[1] < tensor.shape[1]:
                continue
            tensor = torch.cat(
                [tensor,
                 tensor.new_zeros(tensor.shape[0], target.shape[1] - tensor.shape[1], *tensor.shape[2:])], 1)
        target.copy_(tensor)
        taken.append(name)
    if not taken:
        raise ValueError(f"{path}: nothing in it fits the network")
    return taken


def load_tensors(network: nn.Module, tensors: dict[str, Shaped[torch.Tensor, "..."]], source: str) -> None:
    """Copies `tensors` into the network, all or nothing.

    Raises:
        ValueError: names, shapes or kinds of number that differ, or numbers that are not finite, listed.
    """
    own = network.state_dict()
    require_shapes(own, {name: tuple(tensor.shape) for name, tensor in tensors.items()}, source)
    wrong = [f"{name} holds {tensor.dtype}, expected {own[name].dtype}" for name, tensor in tensors.items()
             if tensor.dtype not in (own[name].dtype, torch.float16)]  # in half precision a file is half as large
    _require_none(wrong, f"{source} does not fit the network of its configuration")
    require_finite(tensors, source)
    network.load_state_dict(tensors)


def require_shapes(own: Mapping[str, Shaped[torch.Tensor, "..."]], shapes: Mapping[str, tuple[int, ...]], source: str,
                   network: str = "the network of its configuration") -> None:
    """Raises a ValueError that lists which names or shapes are not those of the network's own tensors."""
    wrong = [f"missing {name}" for name in own if name not in shapes]
    wrong += [f"unexpected {name}" for name in shapes if name not in own]
    wrong += [
        f"{name} is {shapes[name]}, expected {tuple(own[name].shape)}" for name in own
        if name in shapes and shapes[name] != own[name].shape
    ]
    _require_none(wrong, f"{source} does not fit {network}")


def require_finite(tensors: Mapping[str, Shaped[torch.Tensor, "..."]], source: str) -> None:
    """Raises a ValueError that lists which tensors hold numbers that are not finite."""
    wrong = [
        f"{name} has {int((~tensor.isfinite()).sum())} of {tensor.numel()}" for name, tensor in tensors.items()
        if not tensor.isfinite().all()
    ]
    _require_none(wrong, f"{source} holds numbers that are not finite, so that it is damaged or of a run that diverged")


def _require_none(wrong: list[str], message: str) -> None:
    if wrong:
        rest = f"; and {len(wrong) - 8} more" if len(wrong) > 8 else ""
        raise ValueError(f"{message}: {'; '.join(wrong[:8])}{rest}")
