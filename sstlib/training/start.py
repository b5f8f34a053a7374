"""What a run starts from: random weights, released ones, or parts of others; and what of them stays as it is."""

from pathlib import Path
from typing import Any

from sstlib import weights
from sstlib.config import RunConfig
from sstlib.config.fields import naming
from sstlib.model import Propagator, build
from sstlib.model.resnet import FrozenBatchNorm
from sstlib.weights.published import load_pretrained, load_published, published

BACKBONE = "backbone:"  # before the published weights of a backbone alone
PARTS = "parts:"  # before weights of another model, of which is taken what fits


def first_network(config: RunConfig) -> tuple[Propagator, list[dict[str, Any]]]:
    """The network that `training.start` describes, and the runs that its weights come from.

    Raises:
        ValueError: weights of another model, or that do not fit.
        FileNotFoundError: there are none.
    """
    start = config.training.start
    if not start or start.startswith((BACKBONE, PARTS)):
        with naming("model."):
            network, ancestry = build(config.model), []
        with naming("training.start"):
            for part in start.split(",") if start else ():
                if part.startswith(PARTS):
                    weights.graft(network, part.removeprefix(PARTS))
                    ancestry = weights.lineage(part.removeprefix(PARTS))
                else:
                    _load_backbone(network, part.removeprefix(BACKBONE))
        _require_statistics(network)
        return network, ancestry
    with naming("training.start"):
        network = weights.load(start)
    if network.config != config.model:
        raise ValueError(f"training.start {start!r} is of another model than this run's, by what is there, and here: "
                         f"{network.config.differences(config.model)}")
    return network, weights.lineage(start)


def _require_statistics(network: Propagator) -> None:
    """Raises a ValueError where a normalization lacks the statistics that it never learns: it would learn little."""
    frozen = [module for module in network.backbone.modules() if isinstance(module, FrozenBatchNorm)]
    if frozen and not any(module.running_mean.any() for module in frozen):
        raise ValueError(f"backbone {network.config.backbone} has frozen normalization, and nothing brings its "
                         "statistics: name published weights (sst train --pretrained FILE, or training.start="
                         "backbone:FILE), or take --set model.backbone_norm=group, which learns from nothing")


def source_files(start: str) -> list[Path]:
    """The files that `training.start` reads, those of released names, too; what is fetched is none.

    Raises:
        FileNotFoundError: no such weights.
    """
    parts = start.split(",") if start.startswith((BACKBONE, PARTS)) else [start] * bool(start)
    files = [(part.startswith(BACKBONE), part.removeprefix(BACKBONE).removeprefix(PARTS)) for part in parts]
    known = weights.released()
    return [Path(name) if backbone and name not in known else weights.find(name) for backbone, name in files]


def _load_backbone(network: Propagator, source: str) -> None:
    trunk = getattr(network.backbone, "trunk", None)
    if network.config.backbone == "small":
        left = network.backbone.state_dict().keys() - set(weights.graft(network.backbone, source, "backbone."))
        if left:
            raise ValueError(f"{source} has no {min(left)} of this shape in its backbone; take weights of the same "
                             "backbone_width and embedding")
    elif trunk is None:
        load_pretrained(network.backbone, source)
    else:
        load_published(trunk, published(trunk.name, source), source)


def freeze(network: Propagator, beginnings: tuple[str, ...]) -> Propagator:
    """Lets no parameter learn whose name begins so.

    Raises:
        ValueError: no parameter's does, or every one's.
    """
    for beginning in beginnings:
        frozen = [parameter for name, parameter in network.named_parameters() if name.startswith(beginning)]
        if not frozen:
            parts = sorted({name.rpartition(".")[0] for name, _ in network.named_parameters() if name.count(".") <= 2})
            raise ValueError(f"training.freeze names {beginning!r}, with which no parameter's name begins; some that "
                             f"there are: {', '.join(parts[:12])}")
        for parameter in frozen:
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ValueError(f"training.freeze is {list(beginnings)}, which leaves no parameter that learns; freeze fewer")
    return network
