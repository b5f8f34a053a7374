"""What was found, on the report's first page: five figures, each with the numbers that matter, made from records."""

import base64
import html
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from PIL import Image

from sstlib import paths
from sstlib.connectivity import Grid, Local

SIZE = (8, 64, 64)  # the paper's training size


class Finding(NamedTuple):
    """One figure of results/figures, and a sentence on it with numbers in **bold**, or None if there is no record."""

    figure: str
    notebook: str
    sentence: Callable[[], str | None]


def findings() -> Iterator[tuple[Finding, str]]:
    """The findings that have a record, with their sentences."""
    for finding in FINDINGS:
        if (paths.FIGURES / f"{finding.figure}.png").is_file() and (sentence := finding.sentence()):
            yield finding, sentence


def front(titles: dict[str, str]) -> str:
    """The findings as HTML, each linked to its section; empty if there are none.

    Args:
        titles: of the report's sections by notebook.
    """
    parts = []
    for finding, sentence in findings():
        words = html.escape(sentence).split("**")
        caption = "".join(f"<b>{word}</b>" if number % 2 else word for number, word in enumerate(words))
        path = paths.FIGURES / f"{finding.figure}.png"
        source = base64.b64encode(path.read_bytes()).decode()
        title = html.escape(titles.get(finding.notebook, ""))
        link = f" <a href='#{finding.notebook}'>{title}</a>" if title else ""
        parts.append(f"<figure><div class='picture'><img alt=\"{html.escape(described(path), quote=True)}\" "
                     f"src='data:image/png;base64,{source}'></div><figcaption>{caption}{link}</figcaption></figure>")
    return "<h1>What was found</h1>\n" + "\n".join(parts) if parts else ""


def described(path: Path) -> str:
    """The description that a figure's file carries (`plots.save`), else its name."""
    with Image.open(path) as picture:
        return getattr(picture, "text", {}).get("Description", path.stem.replace("_", " "))


def _reach() -> str:
    cells = SIZE[0] * SIZE[1] * SIZE[2]
    keys = {name: pattern.pairs(SIZE) / cells for name, pattern in (("grid", Grid()), ("local", Local(7)))}
    return ("A cell of a video hears of every other in three layers of grid attention, or two of local and strided, "
            f"at **{keys['grid']:.0f} keys of {cells:,}** a layer (grid, {' x '.join(map(str, SIZE))} cells; a window "
            f"of radius 7 has {keys['local']:,.0f}).")


def _speed() -> str | None:
    path = paths.RUNS / "benchmarks" / "attention.json"
    rows = pd.DataFrame(json.loads(path.read_text())["rows"]) if path.is_file() else pd.DataFrame()
    if rows.empty:
        return None
    chosen = rows[(rows["device"] == "cpu") & (rows["direction"] == "forward") & (rows["size"] == "S2")
                  & (rows["implementation"] == "native")].dropna(subset=["ratio_to_dense"])
    best = chosen.groupby("pattern")["ratio_to_dense"].max().sort_values(ascending=False)
    listed = ", ".join(f"**{times:.0f} times** as fast ({name.replace(', causal=True', '')})"
                       for name, times in best.items())
    return ("Sparse attention beside PyTorch's dense attention, on one processor thread. At 8 x 64 x 64 cells (column "
            f"S2; sizes are frames x height x width): {listed}.") if listed else None


def _real_frames() -> str | None:
    from sstlib.experiments import findings, tables

    rows = tables.davis2016().dropna(subset=["J&F"]).sort_values("J&F", ascending=False)
    rivals = findings.rivals_masks()
    listed = ", ".join(f"{row.method} **{row['J&F']:.1f}**"
                       + (" (its published masks, scored here)" if row.method in rivals else "")
                       for _, row in rows.iterrows())
    return (f"On real frames (DAVIS 2016 validation, J&F in percent): {listed}. The paper's own numbers are of "
            "other data and a larger network.") if listed else None


def _occlusion() -> str | None:
    from sstlib.experiments import evidence

    rows = evidence.releases()
    if rows.empty:
        return None
    networks = rows[~rows["what"].isin([evidence.COPIED, evidence.NOTHING])]
    listed = ", ".join(f"{row['what']} **{row['loss (95%)']}** by {row['hidden for']} hidden frames"
                       for _, row in networks.iterrows())
    return ("What an occlusion costs: points of an object's J&F in its first whole frames after it was hidden, against "
            f"the same scene without an occlusion (SST-Occlusion 2, 95% interval over scenes): {listed}.")


def _ablations() -> str | None:
    from sstlib.experiments import evidence, plans

    plan = plans.read()
    base = plan.records()["base"]
    if not base:
        return None
    score = evidence.shown(evidence.interval(evidence.scores(base, "J&F", max(base) + 1)), "")
    return (f"The base that variants are compared on reaches **{score}** J&F on DAVIS-2016 validation ({len(base)} "
            f"seeds; a copied first mask {evidence.floor(base):.1f}). How much of Tables 3 to 5 is decided, the "
            "notebook says claim by claim.")


FINDINGS = (
    Finding("connectivity_hops", "01_connectivity", _reach),
    Finding("scaling_ratio", "07_scaling", _speed),
    Finding("benchmarks_davis2016", "06_benchmarks", _real_frames),
    Finding("occlusion_curve", "05_occlusion", _occlusion),
    Finding("ablations_pattern", "04_ablations", _ablations),
)
