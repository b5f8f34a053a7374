"""What changes as training goes on, each a pure function of the step, so that a resumed run needs no memory of it."""

import math

import numpy as np
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from sstlib.config import TrainingConfig

FLOOR = 1e-3  # last learning rate over the first (CFBI: 1e-5 of 0.01)


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Linear warm-up, then half a cosine or CFBI's polynomial of power 0.9, down to a thousandth."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    progress = (step - config.warmup) / (config.steps - config.warmup)
    shape = 0.5 * (1 + math.cos(math.pi * progress)) if config.schedule == "cosine" else (1 - progress) ** 0.9
    return config.learning_rate * (FLOOR + (1 - FLOOR) * shape)


def hardest_share(config: TrainingConfig, step: int) -> float:
    """Share of pixels in bootstrapped cross-entropy: from all to `hardest`, linearly over the first half (CFBI)."""
    progress = min(1.0, 2 * step / config.steps)
    return 1 - (1 - config.hardest) * progress


def own_masks(config: TrainingConfig, step: int) -> bool:
    """Whether earlier masks are the network's own rather than the truth (sequential training, CFBI)."""
    return step >= config.own_masks_from * config.steps


def first_frame(config: TrainingConfig, step: int) -> int:
    """The frame number that the clips of a step begin at."""
    return int(np.random.default_rng((config.seed, step)).integers(config.latest_start + 1))


def ema_decay(config: TrainingConfig, step: int) -> float:
    """Decay of the weight average, smaller at first so that the random start is forgotten."""
    return min(config.ema, (1 + step) / (10 + step))


def optimizer(config: TrainingConfig, network: nn.Module) -> Optimizer:
    """AdamW, or SGD with Nesterov momentum (CFBI); vectors (biases, norms) are not decayed."""
    matrices = [p for p in network.parameters() if p.requires_grad and p.ndim > 1]
    vectors = [p for p in network.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    if config.optimizer == "sgd":
        return SGD(groups, lr=config.learning_rate, momentum=0.9, nesterov=True)
    return AdamW(groups, lr=config.learning_rate)
