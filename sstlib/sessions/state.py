"""The state of a session in one file, safetensors with JSON in its header: reading it executes nothing, and what is
read is equal to the bit.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from sstlib.config.values import parse_json
from sstlib.inference import Segmenter
from sstlib.model.memory import Memory, Remembered
from sstlib.paths import write_whole

KINDS = {kind.__name__: kind for kind in (Memory, Remembered)}


def write(path: Path, content: Any) -> None:
    """Writes numbers, texts, lists, tuples, dictionaries by text, tensors, and memories of a segmenter, whole or not at
    all.
    """
    tensors: dict[int, torch.Tensor] = {}
    packed = _packed(content, tensors)
    data = safetensors.torch.save({str(n): tensor for n, tensor in enumerate(tensors.values())} or
                                  {"0": torch.zeros(1)}, {"state": json.dumps(packed)})
    write_whole(path, data)


def read(path: Path, device: torch.device | str = "cpu") -> Any:
    """What `write` wrote.

    Raises:
        ValueError: the file is damaged, or something else.
    """
    try:
        with safetensors.safe_open(path, "pt", device=str(device)) as file:
            text = (file.metadata() or {}).get("state")
            tensors = {int(name): file.get_tensor(name) for name in file.keys()}
        return _unpacked(parse_json(text or "", str(path)), tensors)
    except (ValueError, TypeError, LookupError, safetensors.SafetensorError) as error:
        raise ValueError(f"{path}: the state of an interrupted run is damaged ({error}); --no-resume "
                         "--overwrite starts anew") from error


def _packed(value: Any, tensors: dict[int, torch.Tensor]) -> Any:
    """A value as JSON; tensors are numbered, each once, their axes in the order in which they lie in memory."""
    if isinstance(value, torch.Tensor):
        order = sorted(range(value.dim()), key=lambda axis: -value.stride(axis))
        number = list(tensors).index(id(value)) if id(value) in tensors else len(tensors)
        tensors.setdefault(id(value), value.permute(order).contiguous().clone())
        return {"tensor": number, "axes": order}
    if dataclasses.is_dataclass(value):
        fields = {one.name: _packed(getattr(value, one.name), tensors) for one in dataclasses.fields(value)}
        return {"kind": type(value).__name__, "fields": fields}
    if isinstance(value, dict):
        return {"names": {name: _packed(item, tensors) for name, item in value.items()}}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [_packed(item, tensors) for item in value]}
    return value


def _unpacked(value: Any, tensors: dict[int, torch.Tensor]) -> Any:
    match value:
        case {"tensor": number, "axes": order}:
            return _laid_out(tensors[number], order)
        case {"kind": kind, "fields": fields}:
            return KINDS[kind](**{name: _unpacked(item, tensors) for name, item in fields.items()})
        case {"names": names}:
            return {name: _unpacked(item, tensors) for name, item in names.items()}
        case {"list": items}:
            return [_unpacked(item, tensors) for item in items]
        case {"tuple": items}:
            return tuple(_unpacked(item, tensors) for item in items)
    return value


def _laid_out(tensor: torch.Tensor, order: list[int]) -> torch.Tensor:
    """The tensor with its axes in memory in this order: kernels are chosen by it, and their last bits differ."""
    inverse = [order.index(axis) for axis in range(len(order))]
    return tensor.permute(inverse)


def of_segmenter(segmenter: Segmenter) -> dict[str, Any]:
    """All that a segmenter knows of the frames that it has seen."""
    return {"ids": list(segmenter.ids), "size": segmenter.size, "memories": list(segmenter.memories),
            "evidence": [[identity, *numbers] for identity, numbers in segmenter.evidence.items()]}


def into_segmenter(segmenter: Segmenter, known: dict[str, Any]) -> None:
    """Makes a new segmenter of the same options know it."""
    segmenter.ids, segmenter.size, segmenter.memories = list(known["ids"]), known["size"], list(known["memories"])
    segmenter.evidence = {identity: numbers for identity, *numbers in known.get("evidence", [])}
