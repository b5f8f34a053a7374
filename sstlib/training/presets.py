"""Whole runs by name: what `sst train NAME` trains."""

from sstlib.config import MODELS, DataConfig, RunConfig, TrainingConfig

CFBI = TrainingConfig(steps=25_000, batch=8, optimizer="sgd", learning_rate=0.01, schedule="poly", warmup=1000,
                      weight_decay=15e-5, ema=0.0, jaccard=0.0, hardest=0.15, own_masks_from=0.5, checkpoint_every=1000)
"""CFBI's recipe with the 25,000 steps of SST's configuration."""

PRESETS: dict[str, RunConfig] = {
    "tiny": RunConfig(MODELS["sst-tiny"], TrainingConfig(steps=300, batch=2, checkpoint_every=100), DataConfig(height=64, width=112)),
    "small": RunConfig(MODELS["sst-small"], TrainingConfig(steps=20_000, batch=4, checkpoint_every=200, warmup=200),
                       DataConfig(height=192, width=336, frames=4)),
    "cfbi": RunConfig(MODELS["sst-r101-paper"], CFBI, DataConfig(height=465, width=465, frames=5, real="davis2017", real_ratio=1.0)),
}
