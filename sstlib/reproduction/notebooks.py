"""Notebooks as tasks: their parameters, dependencies, and committed form."""

import copy
import difflib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import sstlib
from sstlib import paths
from sstlib.paths import write_whole
from sstlib.paths.digests import sha256
from sstlib.provenance import SOURCES, software, tree_digest, versions
from sstlib.reproduction.task import Task

KERNEL = "python3"
WIDGET = "application/vnd.jupyter.widget-view+json"


def notebooks() -> dict[str, Path]:
    """The notebooks by name, in their order."""
    return {path.stem: path for path in sorted(paths.NOTEBOOKS.glob("*.ipynb")) if not path.name.startswith(".")}


def choose(names: list[str]) -> dict[str, Path]:
    """The notebooks of these names, or all without names.

    Raises:
        ValueError: a name that no notebook has; suggests the nearest.
    """
    known = notebooks()
    wanted = [Path(name).name.removesuffix(".ipynb") for name in names]
    for name in wanted:
        require_known(name, known, f"no notebook {name!r} in {paths.NOTEBOOKS}")
    return {name: path for name, path in known.items() if name in wanted or not wanted}


def require_known(name: Any, known: Collection[Any], complaint: str) -> None:
    """Raises a ValueError with the complaint, and the nearest known name or all of them."""
    if name not in known:
        near = difflib.get_close_matches(str(name), map(str, known), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there is: {', '.join(map(str, known)) or 'nothing'}"
        raise ValueError(f"{complaint}; {hint}")


def declared(path: Path) -> dict[str, tuple[str, str]]:
    """Type and comment by name of the parameters in the notebook's cell tagged `parameters`, as papermill reads it."""
    from papermill import inspect_notebook

    return {name: (str(entry["inferred_type_name"]), entry["help"]) for name, entry in inspect_notebook(path).items()}


def notebook_tasks(chosen: dict[str, Path], parameters: dict[str, dict[str, Any]]) -> list[Task]:
    """One task a notebook; the executed copy and its record go to results/executed."""
    world, origin = _surroundings(), software()
    return [_task(name, path, parameters.get(name, {}), world, origin) for name, path in chosen.items()]


def _task(name: str, path: Path, parameters: dict[str, Any], world: dict[str, str], origin: dict[str, Any]) -> Task:
    cells = [[cell["cell_type"], "".join(cell["source"]), cell["metadata"].get("tags", [])]
             for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
    contents = {
        key: _content(Path(value)) for key, value in parameters.items()
        if isinstance(value, str) and Path(value).is_absolute() and Path(value).exists()
    }
    depends = {"cells": cells, "parameters": parameters, "contents": contents} | world
    fingerprint = sha256(json.dumps(depends, sort_keys=True))
    # The published figures are of the defaults; a notebook that is opened and run writes none
    figures = paths.EXECUTED / f"{name}-figures" if parameters else paths.FIGURES
    partial = paths.EXECUTED / f".{name}.partial.ipynb"
    return Task(
        name, ("sstlib.reproduction.execution", str(path), str(partial), json.dumps(parameters)), partial=partial,
        output=paths.EXECUTED / f"{name}.ipynb", record=paths.EXECUTED / f"{name}.json",
        log=paths.EXECUTED / "logs" / f"{name}.log",
        environment={"SSTVOS_HOME": str(paths.ROOT), "SST_FIGURES": str(figures)},
        stamp={"fingerprint": fingerprint, "parameters": parameters} | origin)


def _content(path: Path) -> str:
    """A digest of a parameter's file, or of a folder with everything in it."""
    return tree_digest(path, "*") if path.is_dir() else sha256(path)


def _surroundings() -> dict[str, str]:
    """Dependencies of every notebook's result: the library, run records, weights and data."""
    package = Path(sstlib.__file__).parent
    return {"sstlib": tree_digest(package, *SOURCES),
            "runs": tree_digest(paths.RUNS, "*.json"), "weights": tree_digest(paths.WEIGHTS, "*.safetensors", "*.json"),
            "published": tree_digest(paths.DATA, "published.json"), "davis": str(paths.davis()),
            "versions": str(versions())}


def write_in_place(task: Task, path: Path) -> None:
    """Puts a notebook's execution back into the notebook itself, in its committed form."""
    import nbformat

    write_whole(path, nbformat.writes(tidy(nbformat.read(task.output, as_version=4))) + "\n")


def tidy(notebook: Any) -> Any:
    """The notebook's committed form, without anything that differs between two equal executions, so that diffs stay
    small.

    Timing, papermill's metadata and widget views, whose ids are random, are removed; the widgets' static pictures, tags
    and folded cells stay.
    """
    notebook = copy.deepcopy(notebook)
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": KERNEL}
    notebook["metadata"] = type(notebook["metadata"])(kernelspec=kernel, language_info={"name": "python"})
    count = 0
    for cell in notebook["cells"]:
        metadata = {name: cell["metadata"][name] for name in ("jupyter", "tags") if cell["metadata"].get(name)}
        cell["metadata"] = type(cell["metadata"])(metadata)
        if cell["cell_type"] == "code":
            count += bool(cell["source"].strip())
            cell["execution_count"] = count if cell["source"].strip() else None
            cell["outputs"] = _merged(cell["outputs"])
            for output in cell["outputs"]:
                output.get("data", {}).pop(WIDGET, None)
                if output["output_type"] == "execute_result":
                    output["execution_count"] = count
    return notebook


def _merged(outputs: list[Any]) -> list[Any]:
    """Joins neighboring pieces of one stream, as timing decides where they are cut."""
    merged: list[Any] = []
    for output in outputs:
        if merged and output["output_type"] == "stream" and merged[-1].get("name") == output["name"]:
            merged[-1]["text"] += output["text"]
        else:
            merged.append(output)
    return merged
