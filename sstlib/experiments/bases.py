"""Sweeps on any base: a preset or a configuration of one's own in place of the short experiment's, the same variants.

Each base has a folder of records. They share one configuration, except for what variant and seed change, and were made
by one version of the code; if a record differs, nothing is run or compared until it is made again.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sstlib.config import ModelConfig, RunConfig
from sstlib.config.fields import naming
from sstlib.config.presets import read_config
from sstlib.connectivity import Local, Strided, parse
from sstlib.experiments import records, sweeps
from sstlib.experiments.sweeps import EXPERIMENT, SWEEPS, Run
from sstlib.provenance import computed_by

PILOT = "pilot"  # the base alone: its spread over seeds says how many of them a comparison needs


@dataclass(frozen=True)
class Base:
    """What variants are changes of.

    Attributes:
        name: folder of its records in results/runs.
        source: the preset or file that it was read from.
        config: of the run without a variant.
    """

    name: str
    source: str
    config: RunConfig

    @classmethod
    def named(cls, source: str, steps: int | None = None) -> "Base":
        """Reads a preset or a JSON file; `steps` replaces its number of steps, of which warm-up keeps its share.

        Raises:
            ValueError: neither a preset nor a file, the name of the short experiment, or an unknown pattern.
        """
        config, name = read_config(source), Path(source).stem
        with naming(f"{source}: model.layers"):
            for layer in config.model.layers:
                parse(layer)
        training = config.training
        if steps is not None and steps != training.steps:
            name = f"{name}-{steps}-steps"
            config = config.replace(training=training.replace(
                steps=steps, warmup=round(training.warmup * steps / training.steps)))
        if name == EXPERIMENT:
            raise ValueError(f"--base {source}: records of {name!r} are those of the short experiment; rename the file")
        return cls(name, str(Path(source).absolute()) if Path(source).is_file() else source, config)

    def run(self, variant: str, seed: int) -> Run:
        """One run.

        Raises:
            ValueError: an unknown variant, or a base whose kernel size is not known.
        """
        one, own = sweeps.named(sweeps.variants(), variant), self.config.model
        fitted = {}
        if "layers" in one.changes:
            fitted["layers"] = tuple(_fitted(layer, own) for layer in one.changes["layers"])
        training = self.config.training.replace(seed=seed)
        return Run(self.name, variant, seed, self.config.replace(model=one.of(own, **fitted), training=training))

    def require_alike(self, fresh: Iterable[Run] = ()) -> None:
        """Raises a ValueError if a record of this base differs from what a run would be now, in configuration or in
        code; records that `fresh` runs will replace are not checked.
        """
        again = {run.record_path for run in fresh}
        for record in records.read_all(self.name):
            if record.path in again:
                continue
            wanted = self.run(record.variant, record.seed).config
            other = RunConfig.from_dict(record.config, f"{record.path}: config.").differences(wanted)
            if other:
                field, (before, now) = next(iter(other.items()))
                raise ValueError(f"{record.path} is of another configuration ({field} is {before!r} there and {now!r} "
                                 "now), and records of two are not mixed; make it again by --fresh, or give the base "
                                 "another name")
            if record.provenance.get("computed_by") != computed_by():
                raise ValueError(f"{record.path} was made by other code (commit "
                                 f"{record.provenance.get('commit', 'unknown')}), and records of two are not mixed; "
                                 "make it again by --fresh, or go on with that commit")

    def options(self) -> list[str]:
        """The options by which `sst sweep` selects this base."""
        return ["--base", self.source, "--steps", str(self.config.training.steps)]


def labels(sweep: str) -> dict[str, str]:
    """Variants of a sweep and their names in its table.

    Raises:
        ValueError: no such sweep.
    """
    if sweep == PILOT:
        return {"base": "base"}
    if sweep not in SWEEPS:
        raise ValueError(f"no sweep {sweep!r}; with --base there are {', '.join([PILOT, *SWEEPS])}")
    return SWEEPS[sweep].labels_of(short=False)


def select(base: Base, names: Iterable[str], seeds: Iterable[int], only: str | None = None) -> list[tuple[str, Run]]:
    """The selected runs, each once, with the name of its sweep.

    Raises:
        ValueError: an unknown sweep, or a variant that is in none of the sweeps.
    """
    names, seeds = list(names), list(seeds)
    sweep_of = {variant: name for name in reversed(names) for variant in labels(name)}
    if only is not None and only not in sweep_of:
        raise ValueError(f"no variant {only!r} in {', '.join(names)}; there are {', '.join(sweep_of)}")
    chosen = [(name, variant) for variant, name in sweep_of.items() if only in (None, variant)]
    chosen.sort(key=lambda pair: names.index(pair[0]))
    return [(name, base.run(variant, seed)) for seed in seeds for name, variant in chosen]


def _fitted(layer: str, model: ModelConfig) -> str:
    """A variant's layer with the kernel size of the base: Strided's stride is the width of Local's window."""
    first = parse(model.layers[0])
    if not isinstance(first, Local) or not isinstance(first.radius, int):
        raise ValueError(f"the base's first layer is {model.layers[0]!r}; expected local(radius=...) with one number, "
                         "from which the other patterns take their kernel")
    pattern = parse(layer)
    if isinstance(pattern, Local):
        return model.layers[0]
    return f"strided(stride={2 * first.radius + 1})" if isinstance(pattern, Strided) else layer
