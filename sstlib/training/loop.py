"""The training loop: clips in, a network and its curve out."""

import contextlib
import copy
import importlib.util
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from sstlib import clocks, weights
from sstlib.config import DataConfig, RunConfig
from sstlib.config.fields import naming
from sstlib.config.values import require_place
from sstlib.datasets import training_sample
from sstlib.datasets.samples import require_clips
from sstlib.metrics import region_similarity
from sstlib.model import Propagator, build, unroll
from sstlib.model.propagator import unroll_all
from sstlib.native import pytorch
from sstlib.paths import alone, atomic_write, refuse_inputs
from sstlib.provenance import provenance
from sstlib.shapes import Float, Int, UInt8
from sstlib.training import checkpoint, schedule
from sstlib.training.losses import presence_loss, segmentation_loss
from sstlib.training.processes import Place, Positions, joined
from sstlib.training.start import first_network, freeze, source_files

PROBE_SEED = 2**31  # far from any training seed: probe clips are never trained on
PROBE_CLIPS = 8
# A loss (in nats; guessing among 8 objects costs 2.1) that no run recovers from, and steps that it must last
HOPELESS, PATIENCE = 10.0, 10


class Diverged(ArithmeticError):
    """The loss stopped being a number; the last good checkpoint is kept."""


class Stopped(RuntimeError):
    """Disk, data or a worker failed; the message says what is safe and what to do."""


class Clips(Dataset):
    """Training clips by their position in the run: position i is the same clip on any worker, process or restart."""

    def __init__(self, data: DataConfig, seed: int, positions: Sequence[int]) -> None:
        self.data, self.seed, self.positions = data, seed, positions

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return training_clip(self.data, self.seed, self.positions[index])


def training_clip(data: DataConfig, seed: int,
                  position: int) -> tuple[UInt8[Tensor, "time 3 height width"], UInt8[Tensor, "time height width"]]:
    """One training sample in bytes, as it travels between processes and devices: a fifth of what numbers take."""
    frames, labels = training_sample(data, seed, position)
    return torch.from_numpy(frames).permute(0, 3, 1, 2), torch.from_numpy(labels)


def as_read(frames: UInt8[Tensor, "*clip 3 height width"], labels: UInt8[Tensor, "*clip height width"],
            device: torch.device) -> tuple[Float[Tensor, "*clip 3 height width"], Int[Tensor, "*clip height width"]]:
    """Clips on the device as the network reads them."""
    frames, labels = (tensor.to(device, non_blocking=True) for tensor in (frames, labels))
    return frames.float().div_(255), labels.long()


class Unrolled(nn.Module):
    """A network run over a clip, as one module, so that DistributedDataParallel sees one forward a step."""

    def __init__(self, network: Propagator) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: Float[Tensor, "batch time 3 height width"],
                memberships: Float[Tensor, "batch time object height width"], own: bool, start: int,
                hard: bool) -> tuple[Tensor, Tensor | None]:
        return unroll_all(self.network, frames, memberships[:, 0], None if own else memberships, start, hard)


def one_hot(labels: Int[Tensor, "batch time height width"]) -> Float[Tensor, "batch time object height width"]:
    """Memberships of the ids 0..n that occur; void pixels belong to no object."""
    objects = int(labels.masked_fill(labels == 255, 0).max()) + 1
    return (labels.unsqueeze(2) == torch.arange(objects, device=labels.device).view(1, 1, -1, 1, 1)).float()


def train(config: RunConfig, folder: Path | str, *, workers: int = 0, until: int | None = None,
          quiet: bool = False) -> Propagator:
    """Trains a network and leaves `weights.safetensors`, `curve.csv` and `checkpoint/last.pt` in `folder`.

    Started again in the same folder it goes on from the last checkpoint and ends with the same bits as an undisturbed
    run (on CPU, with the same number of threads).

    Args:
        config: the whole run; its seed decides the initial weights and every clip.
        folder: where the run lives.
        workers: processes that render clips beside this one.
        until: stop (with a checkpoint) after this step; the schedule is still that of the whole run.
        quiet: no progress bar.

    Returns:
        The averaged network (EMA), in evaluation mode.

    Raises:
        Diverged: the loss is no number any more.
        Stopped: the disk is full, the data are gone or a worker died; the same call goes on from the last checkpoint.
        ValueError: the folder holds a checkpoint of another configuration or the weights to start from, or the batch
            does not divide.
    """
    with joined() as place:
        return _Run(config, require_place(folder, folder=True), place).go(workers, until or config.training.steps,
                                                                          quiet)


class _Run:
    """The state of one training run: what a checkpoint holds."""

    def __init__(self, config: RunConfig, folder: Path, place: Place) -> None:
        self.config, self.folder, self.place = config, folder, place
        torch.manual_seed(config.training.seed)
        self.step, self.seconds = 0, 0.0
        self.curve: list[dict[str, float]] = []
        state = checkpoint.load(self.checkpoint_path, config)
        self._require_data(state)
        if not state:
            with naming("training.start"):
                files = source_files(config.training.start)
            refuse_inputs({"the run": folder / "weights.safetensors"}, files)
        self.network, self.ancestry = (build(config.model), []) if state else first_network(config)
        self.network = freeze(self.network, config.training.freeze).to(place.device)
        self.average = copy.deepcopy(self.network).eval()
        self.optimizer = schedule.optimizer(config.training, self.network)
        if state:
            with checkpoint.read_from(self.checkpoint_path):
                self._restore(state)
        unrolled = Unrolled(self.network)
        self.unrolled = DistributedDataParallel(unrolled) if place.world > 1 else unrolled

    @property
    def checkpoint_path(self) -> Path:
        return self.folder / "checkpoint" / "last.pt"

    def _require_data(self, state: dict[str, Any] | None) -> None:
        try:
            require_clips(self.config.data)
        except (OSError, ValueError) as error:
            if state is None:
                raise
            self.step = state["step"]
            raise self._stopped("a clip cannot be read", "when the data are back", error) from error

    def go(self, workers: int, until: int, quiet: bool) -> Propagator:
        """Steps until the end, with a checkpoint and a probe at every interval."""
        training = self.config.training
        clips = self._loader(workers, until)
        bar = tqdm(total=training.steps, initial=self.step, disable=quiet or not self.place.leads, ascii=True,
                   mininterval=2, desc=self.folder.name, unit="step")
        with bar, self._naming_dead_workers(), alone(self.folder if self.place.leads else None, make=True):
            while self.step < until:
                started = clocks.now()
                row = self._learn(clips)
                self.step += 1
                self.seconds += clocks.now() - started
                if self.step % training.checkpoint_every == 0 or self.step == until:
                    row["probe_J"] = self.probe()
                self.curve.append({"step": self.step, **row, "seconds": self.seconds})
                bar.update()
                bar.set_postfix_str(self._progress(row), refresh=False)
                # Else the last good checkpoint stays
                if "probe_J" in row and (row["loss"] <= HOPELESS or self.step == until):
                    self.save()
        return self.average

    @contextlib.contextmanager
    def _naming_dead_workers(self) -> Iterator[None]:
        """Says in plain words that a worker died: PyTorch raises wherever the main process happens to be."""
        try:
            yield
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise self._stopped("a process that renders clips died, killed or out of memory", "with fewer --workers if "
                                "memory is short", error) from error

    def _stopped(self, cause: str, remedy: str, error: Exception) -> Stopped:
        """What to raise when something outside of the run fails."""
        path = self.checkpoint_path
        checkpoint = f"{path} is whole" if path.exists() else "there is no checkpoint yet"
        message = str(error).strip().splitlines()[-1]
        return Stopped(f"after step {self.step}: {cause} ({message}). {checkpoint}; "
                       f"start the same command again, {remedy}")

    def _loader(self, workers: int, until: int) -> Any:
        batch, mine = self.config.training.batch, self.place.share(self.config.training.batch)
        clips = Clips(self.config.data, self.config.training.seed, Positions(range(self.step, until), batch, mine))
        parts = self.config.training.accumulate
        if len(mine) % parts:
            raise ValueError(f"{len(mine)} clips a process do not divide into {parts} accumulated parts; make batch a "
                             "multiple")
        # A loader draws a seed when it starts: from the generator of dropout, a resumed run would draw once more
        own = torch.Generator()
        return iter(DataLoader(clips, batch_size=len(mine) // parts, num_workers=workers, generator=own,
                               prefetch_factor=4 if workers else None, pin_memory=self.place.device.type == "cuda"))

    def _learn(self, clips: Any) -> dict[str, float]:
        """One step: forward and backward for each part of the batch, one update of the weights and of their average."""
        training, device = self.config.training, self.place.device
        rate = schedule.learning_rate(training, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.network.train()
        total = torch.zeros((), device=device)
        for part in range(training.accumulate):
            frames, labels = as_read(*self._read(clips), device)
            last = part == training.accumulate - 1
            waits = contextlib.nullcontext() if last or self.place.world == 1 else self.unrolled.no_sync()
            with waits:
                loss = self._loss(frames, labels) / training.accumulate
                loss.backward()
            total += loss.detach()
        mean_loss = self.place.mean(total).item()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), training.clip_norm).item()
        self._judge(mean_loss, norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._blend()
        return {"loss": mean_loss, "gradient_norm": norm, "learning_rate": rate}

    def _judge(self, loss: float, norm: float) -> None:
        """Ends a run that has left the numbers, or whose loss has grown beyond any doubt."""
        recent = [row["loss"] for row in self.curve[1 - PATIENCE:]] + [loss]
        grown = sum(recent) / len(recent) > HOPELESS and len(recent) == PATIENCE
        if grown or not math.isfinite(loss) or not math.isfinite(norm):
            reason = f"loss {loss}, gradient norm {norm}"
            if grown:
                reason = f"a mean loss of {sum(recent) / len(recent):.1f} over {PATIENCE} steps"
            raise Diverged(f"step {self.step}: {reason}; the last good checkpoint is "
                           f"{self.checkpoint_path if self.checkpoint_path.exists() else 'none yet'}. Lower "
                           "learning_rate or clip_norm")

    def _read(self, clips: Any) -> tuple[Tensor, Tensor]:
        """The next part of a batch."""
        try:
            return tuple(next(clips))
        except (OSError, ValueError) as error:
            raise self._stopped("a clip cannot be read", "when the data are back", error) from error

    def _loss(self, frames: Tensor, labels: Tensor) -> Tensor:
        training = self.config.training
        with torch.autocast(frames.device.type, torch.bfloat16, enabled=training.precision == "bfloat16"):
            logits, presence = self.unrolled(frames, one_hot(labels), schedule.own_masks(training, self.step),
                                             schedule.first_frame(training, self.step), training.feedback == "hard")
        share, logits = schedule.hardest_share(training, self.step), logits.float()
        loss = segmentation_loss(logits.flatten(0, 1), labels[:, 1:].flatten(0, 1), share, training.jaccard)
        return loss if presence is None else loss + training.presence * presence_loss(presence, logits, labels)

    @torch.no_grad()
    def _blend(self) -> None:
        decay = schedule.ema_decay(self.config.training, self.step)
        pytorch.lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - decay)
        for average, new in zip(self.average.buffers(), self.network.buffers(), strict=True):
            average.copy_(new)

    def probe(self) -> float:
        """Mean J of the averaged network on held-out clips, from its own masks."""
        scores = []
        for index in range(PROBE_CLIPS):
            _, truth, predicted = probe_masks(self.average, self.config.data, index)
            scores += [region_similarity(p == o, t == o) for p, t in zip(predicted[1:], truth[1:], strict=True)
                       for o in range(1, int(truth[0].max()) + 1)]
        return sum(scores) / len(scores)

    def _progress(self, row: dict[str, float]) -> str:
        """Loss, speed and the latest probe, for the progress bar."""
        since = (self.step - 1) % self.config.training.checkpoint_every + 1  # rows from the latest probe on
        probes = [f", J {r['probe_J']:.3f} at step {r['step']}" for r in self.curve[-since - 1:] if "probe_J" in r]
        frames = self.config.training.batch * self.config.data.frames
        return f"loss {row['loss']:.3f}, {frames * self.step / self.seconds:.1f} frames/s{probes[-1] if probes else ''}"

    def save(self) -> None:
        """Curve, averaged weights, a picture and the checkpoint, each whole or absent. Only the leading process writes.

        The checkpoint comes last: a run that stops before it makes the others again.

        Raises:
            Stopped: they cannot be written.
        """
        if not self.place.leads:
            return
        try:
            checkpoint.write_curve(self.folder / "curve.csv", self.curve)
            origin = provenance(self.config.data.real or "generated")
            weights.save(self.average, self.folder / "weights.safetensors", run=self.config.to_dict(), step=self.step,
                         origin=origin, training_seconds=self.seconds, ancestry=self.ancestry)
            self.picture()
            checkpoint.save(
                self.checkpoint_path, {
                    "config": self.config.to_dict(), "step": self.step, "curve": self.curve, "seconds": self.seconds,
                    "network": self.network.state_dict(), "average": self.average.state_dict(),
                    "optimizer": self.optimizer.state_dict(), "random": torch.get_rng_state(),
                    "ancestry": self.ancestry, "longest": self.network.longest})
        except OSError as error:
            raise self._stopped(f"cannot write into {self.folder}", "when there is space on the disk", error) from error

    def picture(self) -> None:
        """A held-out clip with truth and prediction as probe/STEP.png, where matplotlib is installed."""
        if importlib.util.find_spec("matplotlib") is None:
            return
        from sstlib.plots import png
        from sstlib.plots.curves import side_by_side

        frames, truth, predicted = probe_masks(self.average, self.config.data, 0)
        with atomic_write(self.folder / "probe" / f"{self.step:06d}.png") as file:
            file.write(png(side_by_side(frames, {"truth": truth, "prediction": predicted}, range(len(frames)))))

    def _restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        checkpoint.restore_optimizer(self.optimizer, state["optimizer"])
        self.network.longest = self.average.longest = state.get("longest")
        self.step, self.curve, self.seconds = state["step"], state["curve"], state["seconds"]
        self.ancestry = state.get("ancestry", [])
        torch.set_rng_state(state["random"])


@torch.no_grad()
def probe_masks(network: Propagator, data: DataConfig, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames, truth and the network's labels of a held-out generated clip, each (time, height, width[, 3]) uint8."""
    device = next(network.parameters()).device
    pixels, truth = training_clip(data.replace(real="", real_ratio=0.0, photo_ratio=0.0, held_out=()), PROBE_SEED,
                                  index)
    frames, labels = as_read(pixels[None], truth[None], device)
    logits = unroll(network, frames, one_hot(labels)[:, 0])
    predicted = torch.cat([truth[:1], logits[0].argmax(1).to(torch.uint8).cpu()])
    return pixels.permute(0, 2, 3, 1).numpy(), truth.numpy(), predicted.numpy()
