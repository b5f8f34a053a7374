"""A run of the training loop against a trainer written out here: every loss, norm and rate of its curve, and the
averaged weights.

The trainer shares the network, its gradients and the clips with the loop, and nothing else: schedules, losses,
clipping, both optimizers, the average and which clips are drawn are written from their formulas, one number at a time.
"""

import contextlib
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sstlib.config import MODELS, DataConfig, RunConfig, TrainingConfig
from sstlib.datasets import training_sample
from sstlib.model import build, unroll
from sstlib.training import Diverged, checkpoint, loop, schedule, train
from sstlib.training.processes import Place

MODEL = MODELS["sst-tiny"].replace(layers=("local(radius=1)",), history=1, width=8, embedding=8, decoder_width=8)
RUN = RunConfig(
    MODEL,
    TrainingConfig(steps=7, batch=2, warmup=2, learning_rate=0.01, weight_decay=0.1, clip_norm=0.5, ema=0.999,
                   jaccard=0.3, hardest=0.2, own_masks_from=0.5, checkpoint_every=100, seed=5),
    DataConfig(height=24, width=32, frames=3, objects=2))


@pytest.fixture(autouse=True)
def short_probe(monkeypatch):
    monkeypatch.setattr(loop, "PROBE_CLIPS", 1)


def rate(training, step):
    """Up in a straight line, then down by half a cosine, or as (1 - progress)^0.9, to a thousandth."""
    if step < training.warmup:
        return training.learning_rate * (step + 1) / training.warmup
    progress = (step - training.warmup) / (training.steps - training.warmup)
    shape = (1 + math.cos(math.pi * progress)) / 2 if training.schedule == "cosine" else (1 - progress) ** 0.9
    return training.learning_rate * (0.001 + 0.999 * shape)


def image_loss(logits, labels, share, jaccard):
    """(1 - jaccard) x mean cross-entropy of the hardest pixels + jaccard x (1 - soft J of the objects that show); no
    pixel is void.
    """
    probabilities = logits.softmax(0)
    entropies = torch.cat([-probabilities[o][labels == o].log() for o in range(len(logits))])
    hardest = entropies.sort(descending=True).values[:max(1, int(share * labels.numel()))]
    distances = []
    for o in range(1, len(logits)):
        truth = labels == o
        if truth.any():
            both = probabilities[o][truth].sum()
            distances.append(1 - both / (probabilities[o].sum() + truth.sum() - both))
    return (1 - jaccard) * hardest.mean() + jaccard * (sum(distances) / len(distances) if distances else 0)


def batch_loss(network, config, step, clips):
    """Mean over all later frames of the clips numbered `clips`."""
    training, losses = config.training, []
    share = 1 - (1 - training.hardest) * min(1, step / (training.steps / 2))
    drawn = [training_sample(config.data, training.seed, clip) for clip in clips]
    objects = 1 + max(int(labels.max()) for _, labels in drawn)
    for frames, labels in drawn:
        pixels, labels = torch.from_numpy(frames).permute(0, 3, 1, 2)[None] / 255, torch.from_numpy(labels).long()
        truth = torch.nn.functional.one_hot(labels, objects).permute(0, 3, 1, 2)[None].float()
        [logits] = unroll(network, pixels, truth[:, 0],
                          None if step >= training.own_masks_from * training.steps else truth)
        losses += [image_loss(one, label, share, training.jaccard) for one, label in zip(logits, labels[1:])]
    return sum(losses) / len(losses)


def adam(training, p, gradient, state, lr):
    """Adam with decoupled decay (Loshchilov and Hutter), betas 0.9 and 0.999; vectors are not decayed."""
    first, second, count = state.get("first", 0), state.get("second", 0), state.get("count", 0) + 1
    first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient ** 2
    state |= {"first": first, "second": second, "count": count}
    decayed = p * (1 - lr * (training.weight_decay if p.ndim > 1 else 0))
    return decayed - lr * first / (1 - 0.9 ** count) / ((second / (1 - 0.999 ** count)).sqrt() + 1e-8)


def nesterov(training, p, gradient, state, lr):
    """Momentum 0.9 that looks ahead, with decay in the gradient; vectors are not decayed."""
    gradient = gradient + p * (training.weight_decay if p.ndim > 1 else 0)
    state["velocity"] = 0.9 * state["velocity"] + gradient if "velocity" in state else gradient
    return p - lr * (gradient + 0.9 * state["velocity"])


def trained(config):
    """Rows (loss, gradient norm, rate) of the curve, and the averaged parameters."""
    training, rows = config.training, []
    torch.manual_seed(training.seed)
    network = build(config.model).train()
    average = {name: p.detach().clone() for name, p in network.named_parameters()}
    states = {name: {} for name in average}
    for step in range(training.steps):
        loss = batch_loss(network, config, step, range(step * training.batch, (step + 1) * training.batch))
        gradients = dict(zip(average, torch.autograd.grad(loss, list(network.parameters()))))
        norm = math.sqrt(sum(float(g.double().square().sum()) for g in gradients.values()))
        rows.append((loss.item(), norm, rate(training, step)))
        decay = min(training.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, p in network.named_parameters():
                gradient = gradients[name] * min(1, training.clip_norm / (norm + 1e-6))
                p.copy_({"adamw": adam, "sgd": nesterov}[training.optimizer](training, p, gradient, states[name],
                                                                             rate(training, step)))
                average[name] = decay * average[name] + (1 - decay) * p
    return np.array(rows), average


def test_the_average_forgets_its_start_before_it_is_slow():
    """Decay (1 + step) / (10 + step), until that is more than the decay of the run."""
    decays = [schedule.ema_decay(RUN.training.replace(ema=0.5), step) for step in (0, 1, 4, 8, 9, 100)]
    assert decays == pytest.approx([1 / 10, 2 / 11, 5 / 14, 0.5, 0.5, 0.5])


RECIPES = {
    "modern": {},
    "cfbi": {
        "optimizer": "sgd", "schedule": "poly", "jaccard": 0.0, "own_masks_from": 0.3, "accumulate": 2, "ema": 0.3
    },
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_run_is_the_one_written_out_here(recipe, tmp_path):
    config = RUN.replace(training=RUN.training.replace(**RECIPES[recipe]))
    train(config, tmp_path, quiet=True)
    curve = np.genfromtxt(tmp_path / "curve.csv", delimiter=",", names=True)
    rows, average = trained(config)
    for name, expected in zip(("loss", "gradient_norm", "learning_rate"), rows.T):
        np.testing.assert_allclose(curve[name], expected, rtol=1e-3, err_msg=name)
    assert (rows[:, 1] > config.training.clip_norm).any(), "nothing was clipped"
    torch.manual_seed(config.training.seed)
    start, saved = build(config.model).state_dict(), load_file(tmp_path / "weights.safetensors")
    moved, apart = (math.sqrt(sum(float((average[name] - other[name]).double().square().sum()) for name in average))
                    for other in (start, saved))
    assert apart < 0.01 * moved


@pytest.mark.parametrize("precision, dtype", [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_products_are_computed_in_the_precision_of_the_run_and_losses_in_single(precision, dtype, tmp_path,
                                                                                monkeypatch):
    seen, given = set(), set()

    def watch(module, inputs, output):
        if isinstance(module, torch.nn.Conv2d) and output.requires_grad:
            seen.add(output.dtype)

    monkeypatch.setattr(loop, "segmentation_loss", lambda logits, *rest: given.add(logits.dtype) or logits.mean())
    with torch.nn.modules.module.register_module_forward_hook(watch):
        train(RUN.replace(training=RUN.training.replace(precision=precision, steps=1)), tmp_path, quiet=True)
    assert seen == {dtype} and given == {torch.float32}


@pytest.fixture
def run(tmp_path):
    return loop._Run(RUN, tmp_path, Place(0, 1, torch.device("cpu")))


def test_the_average_has_the_buffers_of_the_network(run):
    """Which are counts and statistics, and no average is made of them."""
    for number, network in enumerate((run.network, run.average)):
        network.register_buffer("count", torch.tensor(number))
    run._blend()
    assert run.average.count == 0


@pytest.mark.parametrize("losses, norm, ends", [
    ([10.1] * 10, 1.0, True), ([10.0] * 10, 1.0, False), ([99.0] * 9, 1.0, False),
    ([0.0] * 20 + [10.1] * 10, 1.0, True), ([0.5], 1e9, False), ([0.5], math.inf, True), ([math.nan], 1.0, True)])
def test_a_run_ends_where_ten_losses_are_above_ten_in_the_mean_or_a_number_is_none(run, losses, norm, ends):
    run.curve = [{"loss": loss} for loss in losses[:-1]]
    with pytest.raises(Diverged) if ends else contextlib.nullcontext():
        run._judge(losses[-1], norm)


@pytest.mark.parametrize("loss, saved", [(10.0, [2, 4, 5]), (10.1, [5])])
def test_hopeless_weights_take_no_good_ones_place_but_at_the_end(tmp_path, monkeypatch, loss, saved):
    run = loop._Run(RUN.replace(training=RUN.training.replace(checkpoint_every=2)), tmp_path,
                    Place(0, 1, torch.device("cpu")))
    steps = []
    for name, stand_in in (("_learn", lambda clips: {"loss": loss}), ("probe", lambda: 0.5),
                           ("save", lambda: steps.append(run.step))):
        monkeypatch.setattr(run, name, stand_in)
    run.go(0, 5, True)
    assert steps == saved


def test_progress_tells_the_frames_a_second_and_the_latest_probe(run):
    run.step, run.seconds = 101, 6.0
    run.curve = [{"step": 100, "probe_J": 0.7}, {"step": 101}]
    assert run._progress({"loss": 0.5}) == "loss 0.500, 101.0 frames/s, J 0.700 at step 100"


def test_a_probe_is_the_mean_over_objects_and_frames_but_for_the_given_one(run, monkeypatch):
    truth = np.zeros((3, 4, 6), np.uint8)
    truth[:, :2, :3], truth[:, 2:, 3:] = 1, 2
    predicted = truth.copy()
    predicted[0] = 0
    predicted[1, 0] = 0  # half of object 1
    predicted[2, 2:] = 0  # all of object 2
    monkeypatch.setattr(loop, "probe_masks", lambda *_: (None, truth, predicted))
    assert run.probe() == (0.5 + 1 + 1 + 0) / 4


def test_void_is_a_member_of_no_object():
    labels = torch.tensor([0, 2, 255]).view(1, 1, 1, 3)
    assert loop.one_hot(labels)[0, 0, :, 0].tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]


def test_reading_clips_draws_nothing_from_the_generator_of_dropout(run):
    """Else a run that goes on would draw once more than one that never stopped."""
    before = torch.get_rng_state()
    next(run._loader(0, 1))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_state_of_an_optimizer_fits_its_parameters():
    parameter = torch.nn.Parameter(torch.ones(2, 3))
    parameter.grad = torch.ones(2, 3)
    optimizer = torch.optim.AdamW([parameter])
    optimizer.step()
    state = optimizer.state_dict()
    checkpoint.restore_optimizer(optimizer, state)
    state["state"][0]["exp_avg"] = torch.zeros(3, 2)
    with pytest.raises(ValueError, match=r"exp_avg does not fit a parameter of \(2, 3\)"):
        checkpoint.restore_optimizer(optimizer, state)
