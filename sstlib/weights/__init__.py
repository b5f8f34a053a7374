"""Network weights as safetensors with their configuration inside: one file says all, and loading it executes no
code.

>>> network = load("sst-small")
>>> network.config.history, facts("sst-small")["trained_on"], len(lineage("sst-small")) > 0
(3, 'generated', True)
"""

import json
from pathlib import Path

from torch import nn

from sstlib.config.values import shown
from sstlib.paths import write_whole
from sstlib.weights.releases import HUB_FILE, LONGEST, STAGES, SUFFIX, facts, find, graft, load, load_tensors, released

__all__ = [
    "HUB_FILE", "LONGEST", "STAGES", "SUFFIX", "facts", "find", "graft", "lineage", "load", "load_tensors", "released",
    "save"
]


def save(network: nn.Module, path: Path | str, **facts: object) -> Path:
    """Writes the network's parameters with its configuration, the size it was trained for (`network.longest`, where
    known) and any further facts (JSON values), aside and then renamed.
    """
    from safetensors.torch import save as serialize

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    known = {} if network.longest is None else {"longest": network.longest}
    metadata = {key: json.dumps(value) for key, value in {"config": network.config.to_dict(), **known, **facts}.items()}
    return write_whole(path, _in_order(serialize(tensors, metadata)))


def _in_order(data: bytes) -> bytes:
    """The same safetensors file with its metadata in alphabetical order: safetensors writes them in another order
    each time.
    """
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[start:]


def lineage(name_or_path: str | Path) -> list[dict[str, object]]:
    """The runs that made the weights, the first one first: name, run, step, origin and training_seconds of each, as
    far as the file tells.

    Raises:
        ValueError: it tells of them in another form.
    """
    path = find(name_or_path)
    record = facts(path)
    own = {key: record[key] for key in ("run", "step", "origin", "training_seconds") if key in record}
    name = path.parent.name if path.stem in ("weights", "model") else path.stem
    earlier = record.get("ancestry", [])
    if not isinstance(earlier, list) or not all(isinstance(run, dict) for run in earlier):
        raise ValueError(f"{path}: ancestry in its metadata is {shown(earlier)}; expected a list of objects, one a run")
    return [*earlier, {"name": name, **own}]
