"""Positional encodings against the formulas of Vaswani et al., and what they do beyond the lengths of training."""

import math

import pytest
import torch

from sstlib.model.encoding import LONGEST, PositionalEncoding, sinusoid, split_channels


def test_sinusoid_is_sine_and_cosine_of_geometric_frequencies():
    code = sinusoid(torch.tensor([0.0, 3.0, 7.0]), 6, base=100.0)
    for row, position in zip(code, (0, 3, 7)):
        angles = [position / 100 ** (i / 3) for i in range(3)]
        torch.testing.assert_close(row, torch.tensor([math.sin(a) for a in angles] + [math.cos(a) for a in angles]))


@pytest.mark.parametrize("width", [6, 16, 17, 64])
def test_axes_have_their_own_channels_or_share_them(width):
    assert sum(split_channels(width, "concat")) == width
    assert split_channels(width, "sum") == (width, width, width)
    times = torch.tensor([2, 5])
    for axes in ("concat", "sum"):
        code = PositionalEncoding("sinusoidal", width, axes=axes)(times, 3, 5)
        assert code.shape == (2, 3, 5, width)
        parts = split_channels(width, axes)
        t, y, x = (sinusoid(torch.tensor([p]), c, 10_000.0)[0] for p, c in zip((5.0, 2.0, 4.0), parts))
        torch.testing.assert_close(code[1, 2, 4], torch.cat([t, y, x]) if axes == "concat" else t + y + x)


def test_none_is_zero_and_learned_tells_axes_apart():
    times = torch.tensor([0, 1])
    assert PositionalEncoding("none", 16)(times, 2, 3).count_nonzero() == 0
    learned = PositionalEncoding("learned", 16)
    fresh = learned.eval()(times, 2, 3)
    code = learned.train()(times, 2, 3)
    assert torch.equal(fresh, code), "of a table that was never trained all rows are alike"
    assert len(code.flatten(0, 2).unique(dim=0)) == 2 * 2 * 3
    code.sum().backward()
    assert all(table.grad is not None for table in learned.tables)


def test_rows_that_no_step_has_seen_are_not_used():
    """The last trained row of each axis stands for all behind it, in a network that is loaded too; the table's random
    rows stay out of every code.
    """
    learned = PositionalEncoding("learned", 16)
    for times, height, width in (([3, 4], 2, 5), ([1], 3, 4)):
        learned(torch.tensor(times), height, width)
    encoding = PositionalEncoding("learned", 16)
    encoding.load_state_dict(learned.state_dict())
    code = encoding.eval()(torch.tensor([4, 5, 200]), 6, 9)
    known = code[:1, :3, :5]
    assert torch.equal(code[:, :3, :5], known.expand(3, -1, -1, -1))
    assert torch.equal(code[0, 2:, 0], code[0, 2:3, 0].expand(4, -1))
    assert torch.equal(code[0, 0, 4:], code[0, 0, 4:5].expand(5, -1))
    assert not torch.equal(code[0, 1, 0], code[0, 2, 0]) and not torch.equal(code[0, 0, 3], code[0, 0, 4])
    with pytest.raises(ValueError, match="along time"):
        encoding(torch.tensor([LONGEST[0]]), 2, 3)


def test_an_encoding_that_is_none_is_refused():
    with pytest.raises(ValueError, match="unknown encoding 'sinusoid'; known: sinusoidal, none, learned"):
        PositionalEncoding("sinusoid", 16)


def test_sinusoids_extrapolate_and_learned_tables_say_that_they_end():
    far = torch.tensor([LONGEST[0] + 7])
    assert PositionalEncoding("sinusoidal", 16)(far, 2, 3).abs().max() <= 1
    learned = PositionalEncoding("learned", 16)
    with pytest.raises(ValueError, match=f"300 positions along time, but position {LONGEST[0] + 7}.*sinusoidal"):
        learned(far, 2, 3)
    with pytest.raises(ValueError, match="along width"):
        learned(torch.tensor([0]), 2, LONGEST[2] + 1)
