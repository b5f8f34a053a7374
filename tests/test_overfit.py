"""No variant is broken: each learns one generated clip by heart, from its own masks."""

import pytest
import torch

from sstlib.config import DataConfig, named_model
from sstlib.datasets import training_sample
from sstlib.experiments.sweeps import variants
from sstlib.metrics import region_similarity
from sstlib.model import build, unroll
from sstlib.training.losses import segmentation_loss

STEPS, EVERY, ENOUGH = 400, 20, 0.95
# Tables 3 to 5, twelve networks with dense attention, and the three rivals; nobody trains the last three for a table.
CHANGES = {
    **{name: one.changes for name, one in variants().items() if one.short}, "encoding-learned": {"encoding": "learned"},
    "history-16": {"history": 16},
    "cfbi+sst": {"profile": "cfbi+sst"}
}


def clip() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Frames, memberships and labels of one clip with two objects."""
    frames, labels = training_sample(DataConfig(height=80, width=136, frames=5, objects=2, difficulty="easy"), 5, 6)
    labels = torch.from_numpy(labels).long()[None]
    objects = int(labels[labels != 255].max()) + 1
    memberships = (labels[:, :, None] == torch.arange(objects).view(1, 1, -1, 1, 1)).float()
    return torch.from_numpy(frames).permute(0, 3, 1, 2)[None].float() / 255, memberships, labels


@pytest.mark.slow
@pytest.mark.parametrize("variant", CHANGES)
def test_every_variant_overfits_one_clip(variant):
    torch.manual_seed(0)
    network = build(named_model("sst-tiny").replace(**{"history": 3, **CHANGES[variant]}))
    optimizer = torch.optim.AdamW(network.parameters(), 4e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    frames, memberships, labels = clip()
    best = 0.0
    for step in range(STEPS):
        logits = unroll(network, frames, memberships[:, 0], memberships if step % 2 else None)
        segmentation_loss(logits.flatten(0, 1), labels[:, 1:].flatten(0, 1), 1.0, 0.5).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        if step % EVERY == 0:
            with torch.no_grad():
                predicted = unroll(network, frames, memberships[:, 0]).argmax(2).numpy()[0]
            truth = labels[0, 1:].numpy()
            scores = [
                region_similarity(p == o, t == o) for p, t in zip(predicted, truth)
                for o in range(1, memberships.shape[2])
            ]
            best = max(best, sum(scores) / len(scores))
            if best >= ENOUGH:
                return
    assert best >= ENOUGH, f"J {best:.3f} after {STEPS} steps"
