"""Explorers that need no kernel, for the report and as one self-contained file: patterns, computed by the page itself,
and the recorded attention of a trained network.
"""

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from sstlib import weights
from sstlib.connectivity import Connectivity, Dense, Grid, Local, Strided, products
from sstlib.explorers.looking import Watched
from sstlib.shapes import UInt8
from sstlib.synthetic import random_spec, render
from sstlib.video import ArraySequence

FOLDER = Path(__file__).parent
RECORDED = "sst-small"  # the release that is recorded
OTHERS = (Grid(), Local(2), Strided(3), Dense())  # beside each layer's own pattern
HEADER = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sparse attention, explored</title>
<style>
:root { --ink: #1b2430; --muted: #5d6978; --paper: #ffffff; --accent: #0b62a3; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --ink: #dfe4ea; --muted: #97a3b2; --paper: #14181d; --accent: #7cc0f4; } }
body { margin: 0 auto; max-width: 900px; padding: 20px; background: var(--paper); color: var(--ink);
  font: 16px/1.6 Georgia, serif; }
h1, h2 { font-family: system-ui, sans-serif; line-height: 1.25; }
"""
PATTERNS_TEXT = """<h2>Which cells does a cell reach, in how many hops?</h2>
<p>Dense attention compares every cell of a video's feature maps with every other. A sparse pattern connects each cell
to a few: along the three axis lines (<em>grid</em>), in a window (<em>local</em>), or at whole strides
(<em>strided</em>), in every frame. Stacked layers carry what they read further. Pick a pattern, then click a cell.</p>
"""
ATTENTION_TEXT = """<h2>Where does a trained network look?</h2>
<p>Recorded from the released network <code>{name}</code> on a generated clip: for a cell of one frame, the weight of
every cell of its buffer, in one head or on average over all. The first pattern is the layer's own; the others show
where the same queries and keys would look under them. Affinity (Eq. 4) is each object's best connected cell of earlier
frames. A route leads from the query through a cell of each layer to the object in the oldest frame; its weight is the
product of the weights that it passes.</p>
"""


def recorded_attention(watched: Watched, queries: Sequence[int] | None = None,
                       patterns: Sequence[Connectivity] = OTHERS) -> dict[str, Any]:
    """Queries and keys of every cell and layer, frame by frame, and the patterns' connections, from which
    `mountAttention` of explore.js computes weights, affinity and routes for every head and pattern.

    Equal arrays are stored once, such as keys of past frames in a causal network. Objects are the background and those
    of the first mask.

    Args:
        watched: a small clip.
        queries: frames whose queries are recorded, counted from 0; None for all, which routes of a causal network need.
        patterns: to compare with the layer's own.
    """
    (height, width), first = watched.inputs(0)[0].size[1:], watched.inputs(0)[0]
    stored: dict[bytes, int] = {}

    def index_of(cells: Tensor) -> int:
        return stored.setdefault(cells.contiguous().float().numpy().astype("<f4").tobytes(), len(stored))

    frames, relations = [], {}
    for frame in tqdm(range(len(watched.frames)) if queries is None else queries, desc="attention recorded",
                      unit="frame", ascii=True, leave=False):
        layers = watched.inputs(frame)
        parts = [{"query": [index_of(one.flatten(1, 2)) for one in layer.query.unbind(1)],
                  "key": [index_of(one.flatten(1, 2)) for one in layer.key.unbind(1)]} for layer in layers]
        owners = watched.owners(frame).ravel().tolist() if layers[0].labels is not None else []
        frames.append({"frame": frame, "times": list(layers[0].times), "layers": parts, "owners": owners})
        own = {f"own {number}": layer.connectivity for number, layer in enumerate(layers)}
        named = own | dict(enumerate(patterns, 1))
        relations[len(layers[0].times)] = {name: _relations(pattern, layers[0].size) for name, pattern in named.items()}
    middle = np.argwhere(watched.owners(frames[-1]["frame"])[-2:][0] == 1)
    start = middle[len(middle) // 2].tolist() if len(middle) else [height // 2, width // 2]
    return {"cells": [height, width], "frames": [_data_url(frame) for frame in watched.frames], "queries": frames,
            "stored": [base64.b64encode(content).decode() for content in stored], "relations": relations,
            "heads": len(first.query), "scale": first.scale, "kind": first.kind,
            "causal": watched.network.config.causal,
            "layers": [layer.connectivity.name for layer in watched.network.layers],
            "patterns": ["the layer's own", *(pattern.name for pattern in patterns)],
            "objects": ["background", *(f"object {number}" for number in watched.ids if number)],
            "start": {"query": len(frames) - 1, "cell": start}}


def _relations(pattern: Connectivity, size: tuple[int, int, int]) -> list[list[str]]:
    """A pattern's products of relations along time, rows and columns, query by query, as 0 and 1."""
    return [["".join(map(str, axis.astype(int).ravel())) for axis in product] for product in products(pattern, size)]


def _data_url(frame: UInt8[np.ndarray, "height width 3"]) -> str:
    small = io.BytesIO()
    Image.fromarray(frame).save(small, format="JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(small.getvalue()).decode()


def released_record() -> dict[str, Any] | None:
    """The recorded attention of a released network on a small generated clip; None if it is not released."""
    if RECORDED not in weights.released():
        return None
    spec = random_spec("easy", 9, frames=7, height=72, width=128, objects=2, distractors=0, size=30, speed=3.0)
    clip = render(spec, 9)
    sequence = ArraySequence(clip.frames, clip.labels, "generated clip")
    return recorded_attention(Watched(weights.load(RECORDED), sequence))


def mounted(record: dict[str, Any] | None) -> str:
    """Style and script for the elements with `data-explorer="patterns"` and `="attention"` of a page."""
    data = json.dumps(record).replace("<", "\\u003c")
    script = (FOLDER / "explore.js").read_text()
    return f"""<style>
{(FOLDER / "explore.css").read_text()}</style>
<script type="application/json" id="sst-record">{data}</script>
<script type="module">
{script}
const record = JSON.parse(document.getElementById("sst-record").textContent);
document.querySelectorAll('[data-explorer="patterns"]').forEach((el) => mountPatterns(el));
if (record) document.querySelectorAll('[data-explorer="attention"]').forEach((el) => mountAttention(el, record));
</script>
"""


def explorer_page(record: dict[str, Any] | None) -> str:
    """One HTML file with both explorers that loads nothing from a network."""
    attention = ATTENTION_TEXT.format(name=RECORDED) + '<div data-explorer="attention"></div>\n' if record else ""
    return f"""{HEADER}</style>
</head>
<body>
<h1>Sparse attention, explored</h1>
{PATTERNS_TEXT}<div data-explorer="patterns"></div>
{attention}{mounted(record)}</body>
</html>
"""
