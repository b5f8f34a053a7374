"""What a network is made of and what a frame costs it: shapes, parameters, multiply-adds, attention pairs."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from sstlib.attention import Attended
from sstlib.config import ModelConfig
from sstlib.connectivity import Connectivity, pairs_of_last
from sstlib.model.memory import Memory
from sstlib.model.propagator import Propagator, build
from sstlib.shapes import Float


@dataclass(frozen=True)
class Row:
    """One module as it is called for one frame."""

    module: str
    kind: str
    output: tuple[int, ...]  # shape
    parameters: int  # including statistics and affine maps of frozen norms
    multiply_adds: int
    pairs: int  # query-key pairs over all heads; 0 where there is no sparse attention


def anatomy(config: ModelConfig, height: int = 480, width: int = 854, objects: int = 1, depth: int = 2) -> list[Row]:
    """The modules of a network, down to `depth`, on a frame with the memory full; the last row is the whole frame.

    Runs on PyTorch's meta device: shapes and counts, no numbers, so the paper's network takes seconds on any machine.
    """
    with torch.device("meta"):
        network = build(config).eval()
        frame, masks = torch.empty(1, 3, height, width), torch.empty(1, 1 + objects, height, width)
    modules = {name: module for name, module in network.named_modules()
               if not name or name.count(".") < depth and _parameters(module)}
    shapes, pairs = _measured(network, modules)
    with torch.no_grad():
        memory = full_memory(network, frame, masks)
        pairs.clear()
        shapes.clear()
        with FlopCounterMode(display=False) as counter:
            shapes[""] = _shape(_Frame(network)(frame, masks, memory))
    counts = {name.removeprefix("_Frame.network."): sum(each.values()) // 2
              for name, each in counter.get_flop_counts().items()}
    counts[""] = counts["Global"]
    for name in pairs:  # keys and values are computed before the layer itself is called
        counts[name] = sum(counts.get(part, 0) for part in (name, f"{name}.key", f"{name}.value"))
    return [Row(name, type(modules[name]).__name__, shapes[name], _parameters(modules[name]),
                counts.get(name, 0) + _attention_work(pairs, name, config, objects), _within(pairs, name))
            for name in [*filter(None, modules), ""] if name in shapes]


def _measured(network: Propagator, modules: dict[str, nn.Module]) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    """Two dictionaries that fill as the network runs: output shapes of modules, and pairs of attention layers."""
    shapes: dict[str, tuple[int, ...]] = {}
    pairs: dict[str, int] = {}
    for name, module in modules.items():
        if name:
            module.register_forward_hook(lambda m, i, output, name=name: shapes.__setitem__(name, _shape(output)))
    for name, module in network.named_modules():
        if hasattr(module, "attention"):
            module.attention = _counted(pairs, name)
    return shapes, pairs


class _Frame(nn.Module):
    """All work for a frame as one module: the counter knows only modules within one that is called."""

    def __init__(self, network: Propagator):
        super().__init__()
        self.network = network

    def forward(self, frame: Tensor, masks: Tensor, memory: Memory) -> Tensor:
        features = self.network.extract(frame)
        logits = self.network.segment(features, memory)
        self.network.remember(memory, features, masks)
        return logits


def full_memory(network: Propagator, frame: Float[Tensor, "batch 3 height width"],
                masks: Float[Tensor, "batch object height width"]) -> Memory:
    """A memory that holds as many frames as it ever does."""
    features, memory = network.extract(frame), None
    for _ in range(max(network.config.history, 1) + 1 + network.config.keep_reference):
        features.encoded = None
        memory = network.remember(memory, features, masks)
    return memory


def _counted(pairs: dict[str, int], name: str) -> Any:
    """A stand-in for `sparse_attention` that returns empty tensors of the right shapes and counts pairs."""

    def attention(query: Tensor, key: Tensor, value: Tensor, connectivity: Connectivity, *,
                  labels: Tensor | None = None, objects: int | None = None, **_: Any) -> Attended:
        batch, heads, queries, height, width, _ = query.shape
        own = pairs_of_last(queries, connectivity, (key.shape[2], height, width))
        pairs[name] = pairs.get(name, 0) + batch * heads * own
        affinity = None if labels is None else query.new_empty(batch, heads, objects, queries, height, width)
        return Attended(query.new_empty(*query.shape[:-1], value.shape[-1]), affinity,
                        query.new_empty(query.shape[:-1]))
    return attention


def _attention_work(pairs: dict[str, int], name: str, config: ModelConfig, objects: int) -> int:
    """Multiply-adds of the attention itself: a score and a weighted value a pair, masks or features riding along."""
    dim = config.width // config.heads
    riders = (objects + 1) * (dim if config.warped == "features" else 1)
    return _within(pairs, name) * (2 * dim + riders)


def _within(pairs: dict[str, int], name: str) -> int:
    return sum(count for layer, count in pairs.items() if not name or layer == name or layer.startswith(f"{name}."))


def _shape(output: Any) -> tuple[int, ...]:
    """The shape of a tensor, or of the first of several."""
    while not isinstance(output, Tensor):
        output = output[0]
    return tuple(output.shape)


def _parameters(module: nn.Module) -> int:
    frozen = sum(b.numel() for name, b in module.named_buffers() if name.rpartition(".")[2] in ("weight", "bias"))
    return sum(p.numel() for p in module.parameters()) + frozen
