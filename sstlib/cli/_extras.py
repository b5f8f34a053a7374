"""Packages that only some commands need, and the extras that install them."""

from collections.abc import Iterable
from importlib.util import find_spec

# By the name that is imported
EXTRAS = {
    "av": "video", "cv2": "prompts", "pycocotools": "annotations", "huggingface_hub": "hub",
    **dict.fromkeys(("matplotlib", "pandas", "seaborn", "ipykernel", "jupyter_client", "ipywidgets", "anywidget",
                     "traitlets", "jupyterlab", "nbformat"), "notebooks"),
    "pdoc": "docs", **dict.fromkeys(("nbconvert", "papermill", "dask", "distributed"), "reproduction"),
}


def lacking(error: Exception) -> str | None:
    """The package that an error says is missing, if an extra installs it."""
    name = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    return name if name in EXTRAS else None


def instruction(packages: Iterable[str]) -> str:
    """What is not installed, and how to install it."""
    packages = list(packages)
    extras = ",".join(dict.fromkeys(EXTRAS[name] for name in packages))
    verb = "is" if len(packages) == 1 else "are"
    return f"this needs {' and '.join(packages)}, which {verb} not installed: pip install 'sstlib[{extras}]'"


def require(packages: Iterable[str]) -> None:
    """Refuses to begin work that needs packages that are not installed.

    Raises:
        ValueError: names all missing packages, and the extra that installs them.
    """
    if absent := [name for name in packages if find_spec(name) is None]:
        raise ValueError(instruction(absent))
