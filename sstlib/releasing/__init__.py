"""Releasing a trained network: its weights with the runs that made them, its curve, its scores and its card."""

import datetime
import re
import shutil
from pathlib import Path
from typing import Any

from torch import nn

from sstlib import paths, weights
from sstlib.experiments import records
from sstlib.paths import refuse_inputs
from sstlib.paths.digests import sha256
from sstlib.releasing.card import write_card
from sstlib.releasing.finished_runs import finished
from sstlib.releasing.terms import terms_of, trained_on
from sstlib.training.start import BACKBONE, PARTS


def release(run: Path, name: str, data: str, start: str | None = None, longest: int | None = None,
            gate: float | None = None) -> list[Path]:
    """Copies a run's averaged weights to results/weights/NAME and its curve to results/runs/releases; returns the
    files.

    Args:
        run: folder of a finished `sst train`.
        name: by which users will load it.
        data: on which it was trained (see `terms_of`); decides the terms that the file and the card state.
        start: the weights that the run started from, if its file does not state them (older runs) and they were moved.
        longest: working size in pixels of a frame's longer side, chosen on held-out sequences; None for that of the
            run's weights.
        gate: `presence_gate` of the configuration, chosen likewise, as training does not use it.

    Raises:
        ValueError: unknown data; a run that has not finished; weights that the run cannot have started from.
    """
    require_name(name)
    target = paths.WEIGHTS / f"{name}{weights.SUFFIX}"
    refuse_inputs({"the release": target}, [run / "weights.safetensors", start and weights.find(start)])
    terms, _ = terms_of(data)
    facts, curve = finished(run)
    network = weights.load(run / "weights.safetensors")
    facts |= {"trained_on": data, "terms": terms, "training_seconds": float(curve["seconds"].iloc[-1])}
    facts["ancestry"] = ancestry(facts, name, start)
    _name_starts([*facts["ancestry"], facts])
    path = _saved(network, target, facts, longest, gate)
    thin = records.write_curve(curve, paths.RUNS / "releases" / name)
    return [path, thin, write_card(name)]


def choose(name: str, longest: int | None = None, gate: float | None = None) -> Path:
    """Gives a release another working size or gate on presence, which training does not use, and writes its card.

    Its records are of other weights from then on: their earlier scores are kept for the card by the next scoring.

    Raises:
        FileNotFoundError: no such release.
        ValueError: a gate for a network without a presence head.
    """
    require_name(name)
    target = paths.WEIGHTS / f"{name}{weights.SUFFIX}"
    _saved(weights.load(target), target, weights.facts(target), longest, gate)
    return write_card(name)


def _saved(network: nn.Module, target: Path, facts: dict[str, Any], longest: int | None, gate: float | None) -> Path:
    """Writes a release's weights with what was chosen for them."""
    network.longest = longest or network.longest
    if gate is not None:
        network.config = network.config.replace(presence_gate=gate)
    before = sha256(target) if target.exists() else ""
    weights.save(network, target, **{key: facts[key] for key in facts if key not in ("config", "longest")})
    if sha256(target) != before:
        shutil.rmtree(paths.FIGURES / target.stem, ignore_errors=True)  # pictures of what the weights before these did
    return target


def require_name(name: str) -> None:
    """Raises a ValueError for a name that cannot be that of a file in results/weights and of a folder of figures."""
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ValueError("a release is named by letters, digits, '-', '_' and '.', for example sst-small; given "
                         f"{name!r}")


def stage(run: Path, name: str) -> Path:
    """Writes the averaged weights of a run, finished or not, in half precision as results/weights/stages/NAME, from
    which the next leg starts on any machine (`training.start` stages/NAME).

    Raises:
        ValueError: a name that cannot be a file's, or data whose terms are not known.
    """
    require_name(name)
    facts = weights.facts(run / "weights.safetensors")
    facts.pop("config")
    used = trained_on(facts["run"]["data"])
    facts |= {"trained_on": used, "terms": terms_of(used)[0]}
    network = weights.load(run / "weights.safetensors").half()
    return weights.save(network, paths.WEIGHTS / weights.STAGES / f"{name}{weights.SUFFIX}", **facts)


def ancestry(facts: dict[str, Any], name: str, start: str | None = None) -> list[dict[str, Any]]:
    """The runs before that of `facts`, oldest first: those that the file states, preceded by those of the weights at
    `start`.

    If the file states none, the runs are those of the weights that it names as its start.

    Raises:
        FileNotFoundError: the starting weights are gone.
        ValueError: the file there was made after the run began, so that it is a different one.
    """
    known = facts.get("ancestry", [])
    first = known[0] if known else facts
    named = first["run"]["training"]["start"]
    if not named or named.startswith(BACKBONE) or (known and start is None):
        return known
    target = paths.WEIGHTS / f"{name}{weights.SUFFIX}"
    earlier = weights.facts(target) if not known and target.exists() else {}
    if earlier.get("ancestry") and earlier["origin"] == facts["origin"]:
        return earlier["ancestry"]  # released before
    lineage = weights.lineage(start or named)
    if start is None:
        finished = datetime.datetime.fromisoformat(first["origin"]["finished"])
        began = finished - datetime.timedelta(seconds=first["training_seconds"])
        if datetime.datetime.fromisoformat(lineage[-1]["origin"]["finished"]) > began:
            raise ValueError(f"the run started from {named!r}, but what lies there was made later; name a copy of what "
                             "it was by --start FILE")
    return [*lineage, *known]


def _name_starts(chain: list[dict[str, Any]]) -> None:
    """Names each run's start after the run before it: paths are valid on one machine only, and names may mean other
    weights later.
    """
    for before, run in zip(chain, chain[1:]):
        if not run["run"]["training"]["start"].startswith(PARTS):  # which names them beside other parts
            run["run"]["training"]["start"] = before["name"]


def hub_mixin() -> type:
    """The class that writes to the Hugging Face hub; call it before other work, as it may be missing.

    Raises:
        ValueError: huggingface_hub is not installed.
    """
    try:
        from huggingface_hub import ModelHubMixin
    except ImportError as error:
        raise ValueError("pushing to the Hugging Face hub needs a package that is not installed: pip install "
                         "'sstlib[hub]'") from error
    return ModelHubMixin


def push(name: str, repository: str, **options: Any) -> str:
    """Puts a release on the Hugging Face hub through its mixin: weights, the card and its pictures. Returns the
    address.

    Args:
        name: of the release.
        repository: OWNER/NAME there; made if it is not there yet.
        **options: of the mixin's `push_to_hub` (`token`, `private`, `commit_message`, ...).

    Raises:
        ValueError: as `hub_mixin`.
        FileNotFoundError: no such release.
    """
    class Release(hub_mixin()):
        """Uploads the files of `hub_folder`."""

        def _save_pretrained(self, save_directory: Path) -> None:
            hub_folder(name, save_directory)

    weights.find(name)
    return Release().push_to_hub(repository, **options)


def hub_folder(name: str, folder: Path) -> None:
    """Writes a release as a repository of the hub: the weights, the card as its page, and the card's pictures beside
    it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(weights.find(name), folder / weights.HUB_FILE)
    text = (paths.WEIGHTS / f"{name}.md").read_text()
    for picture in re.findall(r"\]\((\S+\.(?:png|jpg))\)", text):
        shutil.copyfile(paths.WEIGHTS / picture, folder / Path(picture).name)
        text = text.replace(f"]({picture})", f"]({Path(picture).name})")
    _, license = terms_of(weights.facts(name)["trained_on"])
    (folder / "README.md").write_text(f"---\nlicense: {license}\nlibrary_name: sstlib\ntags:\n- "
                                      f"video-object-segmentation\n---\n\n{text}")
