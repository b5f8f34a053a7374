"""What is asked of trained networks: decoder inputs made neutral, memory with the truth, where attention goes."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from sstlib import paths
from sstlib.cli import main
from sstlib.config import ModelConfig
from sstlib.evaluation import interventions
from sstlib.evaluation.interventions import Neutral, parts, without
from sstlib.evaluation.passages import segment_scenes
from sstlib.experiments import attended, choices, histories, knockouts, questions, records
from sstlib.inference import Segmenter, sharing_weights
from sstlib.metrics import region_similarity
from sstlib.model import build
from sstlib.model.memory import Features
from sstlib.plots import differences
from sstlib.sessions import segment_sequence
from sstlib.video import ArraySequence

TINY = ModelConfig(layers=("local(radius=1)", ) * 2, width=16, heads=2, backbone_width=4, embedding=12, decoder_width=8)
CONFIGS = {
    "sst": {}, "features": {"warped": "features"}, "strict": {"profile": "strict"},
    "strict+mask": {"profile": "strict+mask"}, "cfbi+sst": {"profile": "cfbi+sst"},
    "matching": {"matching": "reference", "landmarks": 2}, "causal": {"causal": True},
    "presence": {"presence": True, "matching": "centered"}, "recurrent": {"method": "recurrent"},
    "stm": {"method": "stm", "profile": "strict"}, "cfbi": {"method": "cfbi", "profile": "strict"}}


def network_of(**changes):
    torch.manual_seed(0)
    network = build(TINY.replace(**changes)).eval()
    for parameter in network.parameters():  # what starts at zero would hide what it reads
        torch.nn.init.normal_(parameter, std=0.2) if not parameter.any() else None
    return network


def memory_and_features(network, objects=3, frames=4):
    generator = torch.Generator().manual_seed(1)
    seen = [network.extract(torch.rand(1, 3, 32, 48, generator=generator)) for _ in range(frames)]
    memory = None
    for one in seen[:-1]:
        memory = network.remember(memory, one, torch.rand(1, objects, 32, 48, generator=generator).softmax(1))
    return memory, seen[-1]


def read_by(network, memory, features):
    """What reaches the decoder: features that all share, evidence of each object, pooled embeddings."""
    reads = []

    class Listening(torch.nn.Module):
        def __init__(self, decoder):
            super().__init__()
            self.decoder = decoder

        def forward(self, low, shared, evidence, instance, known):
            reads.append((shared, evidence, instance))
            return self.decoder(low, shared, evidence, instance, known)

        def decoded(self, low, shared, evidence, instance):
            reads.append((shared, evidence, instance))
            return self.decoder.decoded(low, shared, evidence, instance)

    inner = network.decoder
    if isinstance(inner, Neutral):
        inner.decoder = Listening(inner.decoder)
    else:
        network.decoder = Listening(inner)
    with torch.inference_mode():
        logits = network.segment(Features(features.low, features.embedding, features.derived, features.size), memory)
    return reads[0], logits


@pytest.mark.parametrize("name", CONFIGS)
@torch.inference_mode()
def test_parts_are_all_channels_and_each_is_what_it_is_called(name):
    network = network_of(**CONFIGS[name])
    memory, features = memory_and_features(network)
    (shared, evidence, instance), _ = read_by(network, memory, features)
    known = parts(network)
    assert sorted(sum(known.values(), [])) == list(range(evidence.shape[2])), "each channel belongs to one part"
    if interventions.PREVIOUS in known and known[interventions.PREVIOUS]:
        previous = memory.recent[-1].memberships
        assert torch.equal(evidence[:, :, known[interventions.PREVIOUS]], torch.stack([previous, 1 - previous], 2))
    if network.matching is not None:
        matched = torch.cat(network._matched(features, memory), 2)
        assert torch.equal(evidence[:, :, known[interventions.MATCHING]], matched)
    if network.config.method == "sst":
        layers = list(network.layers)
        affinities, inner = [], network.encode
        for layer in layers:
            attend = layer.attend

            def listening(*given, attend=attend):
                result = attend(*given)
                affinities.append(result[1])
                return result

            layer.attend = listening
        inner(Features(features.low, features.embedding, features.derived, features.size), memory)
        given = evidence[:, :, known[interventions.AFFINITY]]
        heads = network.config.heads
        for number, affinity in enumerate(affinities[-2:]):
            assert torch.equal(given[:, :, 2 * heads * number:2 * heads * number + heads], affinity)
    assert bool(instance.shape[2]) == (interventions.POOLED in known)


@pytest.mark.parametrize("name", CONFIGS)
@torch.inference_mode()
def test_a_neutral_part_tells_no_object_apart_and_nothing_else_changes(name):
    network = network_of(**CONFIGS[name])
    memory, features = memory_and_features(network)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    (shared, evidence, instance), whole = read_by(network_of(**CONFIGS[name]), memory, features)
    tried = 0
    for part, channels in parts(network).items():
        if not channels and part not in (interventions.ENCODER, interventions.POOLED):
            with pytest.raises(ValueError, match="the part"):
                without(network, part)
            continue
        (new_shared, new_evidence, new_instance), logits = read_by(without(network, part), memory, features)
        others = [channel for channel in range(evidence.shape[2]) if channel not in channels]
        torch.testing.assert_close(new_evidence[:, :, others], evidence[:, :, others], rtol=0, atol=0)
        if part == interventions.ENCODER:
            own = network.config.embedding
            torch.testing.assert_close(new_shared[:, :own], shared[:, :own], rtol=0, atol=0)
            mean = shared[:, own:].mean((2, 3), keepdim=True).expand_as(shared[:, own:])
            torch.testing.assert_close(new_shared[:, own:], mean)
            assert shared[:, own:].std((2, 3)).min() > 1e-6
        else:
            torch.testing.assert_close(new_shared, shared, rtol=0, atol=0)
            part_of = new_instance if part == interventions.POOLED else new_evidence[:, :, channels]
            assert (part_of - part_of[:, :1]).abs().max() == 0, "the same for every object"
        assert not torch.equal(logits, whole), f"{part} is not read at all"
        tried += 1
    assert tried >= 2 - (network.config.method != "sst")
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def moving_square(frames=6):
    masks = np.zeros((frames, 32, 48), bool)
    for t in range(frames):
        masks[t, 8:20, 4 + 4 * t:16 + 4 * t] = True
    pictures = torch.from_numpy(np.where(masks[:, None], 0.9, 0.1)).float().expand(-1, 3, -1, -1).contiguous()
    return pictures, masks


def test_curves_are_those_of_unrolling_with_own_and_with_true_masks():
    """Against the training loop's own unrolling, which knows a teacher."""
    from sstlib.model import unroll

    network, (frames, masks) = network_of(), moving_square()
    result = knockouts.curves(network, frames, masks)
    truth = torch.from_numpy(np.stack([~masks, masks], 1)).float()
    for name, teacher in ((knockouts.WHOLE, None), (knockouts.TRUE, truth[None])):
        with torch.inference_mode():
            logits = unroll(network, frames[None], truth[:1], teacher)[0]
        expected = [region_similarity((one.argmax(0) == 1).numpy(), true) for one, true in zip(logits, masks[1:])]
        np.testing.assert_allclose(result[name], expected, atol=1e-9)
    assert result[knockouts.COPIED] == [region_similarity(masks[0], true) for true in masks[1:]]
    assert set(result) == {knockouts.WHOLE, knockouts.TRUE, knockouts.COPIED, "affinity", "warped masks",
                           "previous mask", "encoder output", "pooled embeddings"}


def test_attention_shares_add_up_and_even_attention_is_counted():
    network, (frames, masks) = network_of(layers=("dense", "dense")), moving_square(8)
    visible = masks.copy()
    visible[4:6] = False
    rows = attended.shares(network, frames, visible, masks)
    assert {row["frame"] for row in rows} == set(range(3, 8)) and {row["layer"] for row in rows} == {0, 1}
    for row in rows:
        assert sum(row["attention"]) == pytest.approx(1) and sum(row["even"]) == pytest.approx(1)
        assert row["even"][3] == pytest.approx(1 / 4), "one frame of four is the current one"
    cells = masks.reshape(8, 4, 8, 6, 8).mean((2, 4)) >= 0.5
    seen = visible.reshape(8, 4, 8, 6, 8).mean((2, 4)) >= 0.5
    at_six = next(row for row in rows if row["frame"] == 6)
    assert at_six["even"][0] == pytest.approx(seen[3:6].sum() / (4 * 24))
    assert at_six["even"][1] == pytest.approx((cells & ~seen)[3:6].sum() / (4 * 24))
    assert at_six["visible"] == 1 and next(row for row in rows if row["frame"] == 5)["visible"] == 0
    same = network_of(layers=("dense", "dense"))
    for layer in same.layers:
        torch.nn.init.zeros_(layer.query.weight)
        torch.nn.init.zeros_(layer.query.bias)
    for row in attended.shares(same, frames, visible, masks):  # queries of nothing attend evenly
        np.testing.assert_allclose(row["attention"], row["even"], atol=1e-6)


def test_even_attention_over_everything_tells_nothing_apart_and_like_colors_do():
    frames, masks = moving_square(4)
    result = attended.areas(network_of(layers=("dense", "dense")), frames, masks)
    assert set(result) == {"1", "2", "3"} and all(one["even"] == pytest.approx(0.5) for one in result.values())
    local = attended.areas(network_of(layers=("local(radius=1)", ) * 2), frames, masks)
    assert local["1"]["even"] > 0.6, "near by is where it was"
    with pytest.raises(ValueError, match="the method"):
        attended.traveled(network_of(method="recurrent"))


def record(place, variant, seed, shift):
    curves = {name: {taken: [0.6 + 0.01 * n - shift * (taken == "affinity") + 0.001 * seed] * 10
                     for taken in (knockouts.WHOLE, "affinity", knockouts.TRUE, knockouts.COPIED)}
              for n, name in enumerate("abc")}
    return records.RunRecord(knockouts.EXPERIMENT, variant, seed, {}, {"sequences": curves}, {}).write()


def test_tables_are_differences_over_sequences_and_seeds(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    for seed in range(3):
        record(tmp_path, "base", seed, 0.3)
    record(tmp_path, "one", 0, 0.2)
    rows = knockouts.differences(records.by_variant(knockouts.EXPERIMENT)).set_index(["network", "taken away"])
    assert rows.loc[("base (n=3)", "affinity"), "mean"] == pytest.approx(-30)
    assert rows.loc[("one", "affinity"), "mean"] == pytest.approx(-20)
    assert rows.loc[("base (n=3)", "affinity"), "J whole"] == pytest.approx(61.1)
    parts_of = knockouts.drift(records.by_variant(knockouts.EXPERIMENT))
    assert len(parts_of) == 2 * 3 * 5 and parts_of["J"].between(60, 63).all()
    assert "-30.0 (-30.0 to -30.0)" in knockouts.shown(rows.reset_index())["difference of J (95%)"].tolist()
    drawing = differences.taken_away(rows.reset_index())
    assert [text.get_text() for text in drawing.axes[0].get_legend().get_texts()] == ["base (n=3)", "one"]
    np.testing.assert_allclose(drawing.axes[0].lines[1].get_xdata(), rows.loc["base (n=3)", "mean"])
    panels = differences.drifts(parts_of).axes
    assert [axes.get_title("left") for axes in panels] == ["base", "one"]
    own = parts_of[parts_of["memory"] == "own masks"]
    assert len(own) == 2 * 5 and parts_of.drop(index=own.index)["low"].isna().all()
    bars = [collection.get_segments() for collection in panels[1].collections]
    np.testing.assert_allclose([[*low, *high] for low, high in bars[-1]],
                               own[own["network"] == "one"][["part", "low", "part", "high"]])


def test_bars_of_drift_are_of_the_distance_from_true_masks(tmp_path, monkeypatch):
    """Sequences differ by 30 points, what own masks cost in them by 2: the bar is of the 2."""
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    curves = {name: {knockouts.WHOLE: [level - 0.10 - 0.01 * n] * 10, knockouts.TRUE: [level] * 10,
                     knockouts.COPIED: [0.1] * 10} for n, (name, level) in enumerate(zip("abc", (0.3, 0.6, 0.9)))}
    records.RunRecord(knockouts.EXPERIMENT, "one", 0, {}, {"sequences": curves}, {}).write()
    own = knockouts.drift(records.by_variant(knockouts.EXPERIMENT)).iloc[0]
    half = 4.303 * 1 / 3**0.5  # Student's t of two degrees of freedom
    assert own["J"] == pytest.approx(60 - 11) and own["low"] == pytest.approx(60 - 11 - half, abs=0.01)
    assert own["high"] == pytest.approx(60 - 11 + half, abs=0.01)


def test_where_attention_goes_is_told_by_moments_and_distances(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RUNS", tmp_path)

    def row(frame, visible, held, share):
        return {"frame": frame, "layer": 1, "visible": visible, "object in memory": held,
                "attention": [share, 0.1, 0.2, 0.7 - share], "even": [0.1, 0.1, 0.3, 0.5]}

    scenes = {name: [row(3, 1.0, True, 0.6), row(4, 0.0, True, 0.4), row(7, 0.0, False, 0.0), row(8, 0.5, False, 0.0),
                     row(9, 1.0, True, 0.3 + 0.1 * n), row(10, 1.0, True, 0.3 + 0.1 * n)]
              for n, name in enumerate("ab")}
    records.RunRecord(attended.HIDDEN, "one", 0, {}, {"scenes": scenes}, {}).write()
    rows = attended.looks().set_index(["moment", "place"])
    shares = rows.xs("the object", level="place")["share"].to_dict()
    assert shares == pytest.approx({"in sight, before": 60, "hidden, in memory": 40, "hidden, out of memory": 0,
                                    "back, out of memory": 0, "back, in memory again": 35})
    again = rows.loc[("back, in memory again", "the object")]
    assert again["low"] < 30 < 40 < again["high"] and again["even"] == pytest.approx(10)
    panel = differences.looked_at(attended.looks()).axes[0]
    np.testing.assert_allclose(panel.lines[0].get_xdata(), [60, 40, 0, 0, 35], atol=1e-9)
    areas = {name: {"1": {"attention": 0.9 - 0.1 * n, "even": 0.6}} for n, name in enumerate("abc")}
    records.RunRecord(attended.ROUTES, "one", 0, {}, {"sequences": areas}, {}).write()
    [far] = attended.distances().to_dict("records")
    assert far["attention"] == pytest.approx(80) and far["mean"] == pytest.approx(20) and far["frames back"] == 1
    assert far["high"] - far["mean"] == pytest.approx(4.303 * 10 / 3**0.5, abs=0.01), "t of two degrees of freedom"
    sighted = rows.loc[("in sight, before", "the object")]
    assert attended.spoken(sighted) == "60.0% (60.0 to 60.0; even 10.0)"
    below = sighted.copy()
    below["low"] = -0.01
    assert attended.spoken(below).startswith("60.0% (0.0 to "), "no -0.0"
    left, right = differences.travels(attended.distances()).axes
    assert left.lines[1].get_ydata() == pytest.approx([80])
    assert any(list(line.get_xdata()) == pytest.approx([far["low"], far["high"]]) for line in right.lines)
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["one", "even attention", "chance"]


def test_a_history_at_test_time_is_that_of_a_network_made_with_it():
    network = network_of(history=3)
    frames = np.random.default_rng(1).integers(0, 255, (9, 40, 56, 3), dtype=np.uint8)
    labels = np.zeros((9, 40, 56), np.uint8)
    labels[:, 8:24, 8:30] = 1
    other = network_of(history=1)
    other.load_state_dict(network.state_dict())
    made = dict(segment_sequence(other, ArraySequence(frames[::2], labels[0])))
    expected = [region_similarity(made[t].labels == 1, labels[0] == 1) for t in range(1, 5)]
    assert histories.scores(network, ArraySequence(frames, labels), 1) == expected
    with pytest.raises(ValueError, match="stm has no history"):
        histories.measure(network_of(method="stm"))


def test_histories_are_told_against_that_of_training(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    for name, gain, trained in (("one", 0.1, 3), ("two", -0.1, 5)):
        curves = {clip: {"1": [0.5 + gain + 0.001 * n], "2": [0.5], str(trained): [0.5],
                         "8": [0.5 + 0.1 * (n - 1)], "32": [0.5]} for n, clip in enumerate("abc")}
        config = {"model": {"history": trained}}
        records.RunRecord(histories.EXPERIMENT, name, 0, config, {"sequences": curves}, {}).write()
    table = histories.swept()
    assert table["J"].tolist() == pytest.approx([60.1, *[50] * 4, 40.1, *[50] * 4])
    assert table["mean"].tolist() == pytest.approx([10.1, *[0] * 4, -9.9, *[0] * 4])
    assert histories.shown(table).iloc[2, 3] == "as trained"
    assert histories.shown(table).iloc[0, 3] == "+10.1 (+9.9 to +10.3)"
    zero, *drawn = [list(line.get_xdata()) for line in differences.swept(table).axes[0].lines]
    first = table.iloc[0]
    assert zero == [0, 0] and any(x == pytest.approx([first["low"], first["high"]]) for x in drawn)
    assert any(x[:1] == pytest.approx([10.1]) for x in drawn), "what is above the history of training"


def test_choices_are_those_of_a_segmenter_of_that_size_and_gate(monkeypatch):
    network = network_of(presence=True, matching="centered", presence_gate=0.4)
    draws = np.random.default_rng(0)
    frames, labels = draws.integers(0, 256, (4, 32, 56, 3), np.uint8), np.zeros((4, 32, 56), np.uint8)
    labels[:, 8:20, 10:30] = 1
    monkeypatch.setattr(choices, "ENLARGED", (112, 64))
    large = [np.asarray(Image.fromarray(frame).resize((112, 64), Image.Resampling.BICUBIC)) for frame in frames]
    truth = labels.repeat(2, 1).repeat(2, 2)
    segmenter = Segmenter(network, longest=48)
    made = [segmenter.step(frame, None if t else truth[0]).labels for t, frame in enumerate(large)]
    expected = [region_similarity(one == 1, truth[0] == 1) for one in made[1:]]
    assert choices.scores(network, ArraySequence(frames, labels), 48) == expected


def test_a_gate_is_that_of_the_network_that_passes_the_scenes():
    """Two clips of a square, which is covered in one of them; by hand and by the question, gate by gate."""
    network = network_of(presence=True, matching="centered", presence_gate=0.4)
    draws = np.random.default_rng(0)
    frames, labels = draws.integers(0, 256, (12, 32, 56, 3), np.uint8), np.zeros((12, 32, 56), np.uint8)
    labels[:, 8:20, 10:30] = 1
    covered = labels.copy()
    covered[5:7] = 0
    scene = tuple(ArraySequence(frames, one) for one in (labels, covered))
    for clip in scene:
        clip.amodal = labels == 1

    def by_hand(gate):
        gated = sharing_weights(network, presence_gate=gate)

        def segment(frames, labels):
            segmenter = Segmenter(gated)
            return np.stack([segmenter.step(frame, None if t else labels[0]).labels for t, frame in enumerate(frames)])

        return segment_scenes([scene], {"gated": segment})["gated"].to_dict()

    tables = [table.to_dict() for table in choices.passages(network, [scene], (0.0, 0.99)).values()]
    assert tables == [by_hand(0.0), by_hand(0.99)] and tables[0] != tables[1]


def test_choices_are_told_with_their_differences():
    curves = {clip: {"512": [0.5], "640": [0.6 + 0.01 * n], "854": [0.6]} for n, clip in enumerate("abc")}
    gates = {"0.1": {"claimed": [[0.1, 0.0], [0.3, 0.0]], "returning": [[0.5, 0.4], [None, 0.6]],
                     "before": [[0.8, 0.8], [0.9, 0.9]]}}
    record = records.RunRecord(choices.EXPERIMENT, "one", 0, {},
                               {"sequences": curves, "gates": gates, "hidden": [4, 16]}, {})
    sizes, gate = choices.sentences(record)
    assert "512 pixels 50.0, -10.0 (-10.0 to -10.0); 640 pixels 61.0, +1.0 (-1.5 to +3.5); 854 pixels 60.0." in sizes
    assert "gets no mask" in gate and "means over 2 validation scenes, claims after 4, 16 frames hidden" in gate
    assert "at 0.1 claimed 0.20 (0.10 to 0.30), 0.00 (0.00 to 0.00), J returning 50.0, J&F before 85.0." in gate
    assert gate.endswith("at or below 0.1: none.")


def test_the_chosen_gate_is_the_smallest_that_surely_claims_little():
    """Not one whose mean is small by luck of one scene, nor one that claims much after long occlusions alone."""
    gates = {"0.0": [[0.0, 0.7], [0.0, 0.7], [0.0, 0.7]], "0.1": [[0.0, 0.28], [0.0, 0.0], [0.0, 0.0]],
             "0.3": [[0.02, 0.09], [0.0, 0.0], [None, 0.05]], "0.4": [[0.0, 0.0]] * 3}
    tables = {gate: {"claimed": rows} for gate, rows in gates.items()}
    assert choices.smallest_gate(dict(reversed(tables.items()))) == "0.3"
    assert choices.smallest_gate({"0.1": tables["0.1"]}) is None


@pytest.mark.parametrize("source, expected", [
    ("sst-small", ("sst-small", 0)), ("w/base-seed3.safetensors", ("base", 3)),
    ("training/grid-2-seed1/weights.safetensors", ("grid-2", 1)), ("mine.safetensors", ("mine", 0)),
    ("training/evidence/base-seed0/weights.safetensors", ("base", 0)),
    ("runs/rows/weights.safetensors", ("rows", 0)), ("runs/rows/", ("rows", 0)), ("owner/net", ("net", 0)),
    ("a/training/evidence-forced/base-seed0/weights.safetensors", ("evidence-forced-base", 0))])
def test_a_record_is_named_after_its_run(source, expected):
    assert questions.named(source) == expected


def test_the_command_makes_a_record_once(tmp_path, monkeypatch, tiny_weights, capsys):
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    calls = []
    entry = questions.Question("toy", "a toy", "nothing", lambda network: calls.append(network) or {"J": 0.5})
    monkeypatch.setitem(questions.QUESTIONS, "toy", entry)
    for _ in range(2):
        assert main(["analyze", "toy", str(tiny_weights)]) == 0
    assert len(calls) == 1 and main(["analyze", "toy", str(tiny_weights), "--fresh"]) == 0 and len(calls) == 2
    written = json.loads((tmp_path / "toy" / "tiny-seed0.json").read_text())
    assert written["metrics"] == {"J": 0.5} and written["config"]["model"]["method"] == "sst"
    capsys.readouterr()
    assert main(["analyze", "nothing", str(tiny_weights)]) == 2
    known = "known: knockouts, attention-hidden, mask-routes, histories, choices"
    assert f"unknown question 'nothing'; {known}" in capsys.readouterr().err


def test_the_help_names_every_question(capsys):
    with pytest.raises(SystemExit):
        main(["analyze", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert all(name in shown for name in questions.QUESTIONS)
