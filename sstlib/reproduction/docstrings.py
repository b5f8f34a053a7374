"""The API reference: pages made of the docstrings by pdoc, into results/report/api.

`python -m sstlib.reproduction.docstrings` writes them, in a process of its own, as it imports every module.
"""

import importlib.util
import pkgutil
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import sstlib
from sstlib import paths
from sstlib.paths.digests import sha256

# Not part of the library's interface, or not importable on every machine
LEFT_OUT = ("sstlib.__main__", "sstlib.cli", "sstlib.reproduction", "sstlib.attention.triton")
STYLE = re.compile(r"\s*<style>(.*?)</style>", re.DOTALL)
INSTALL = "pip install 'sstlib[docs]'"


def modules() -> list[str]:
    """Names of the modules that have a page."""
    names = (module.name for module in pkgutil.walk_packages(sstlib.__path__, "sstlib."))
    return ["sstlib", *(name for name in names if not name.startswith(LEFT_OUT))]


def write(folder: Path, names: list[str]) -> Path:
    """Writes a page a module into `folder`, in place of what was there, and returns the first one.

    Ten seconds of one core for all of the library.

    Raises:
        ValueError: pdoc is not installed.
    """
    try:
        import pdoc
    except ImportError:
        raise ValueError(f"the API reference needs pdoc: {INSTALL}") from None
    pdoc.render.configure(docformat="google", search=False, show_source=False)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".api.") as scratch:
        made = Path(scratch) / "api"
        with warnings.catch_warnings():  # a package brings the modules that it exports, too
            warnings.filterwarnings("ignore", message="The module specification")
            pdoc.pdoc(*names, output_directory=made)
        for page in made.rglob("*.html"):
            _share_style(page, made)
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
    return folder / "index.html"


def _share_style(page: Path, folder: Path) -> None:
    """Moves the style of a page, half of its size, into a file that all pages share."""
    text = page.read_text()
    style = "".join(STYLE.findall(text))
    if not style:
        return
    shared = folder / f"{sha256(style)[:8]}.css"
    shared.write_text(style)
    up = "../" * (len(page.relative_to(folder).parts) - 1)
    text = STYLE.sub("", text).replace("</title>", f'</title>\n    <link rel="stylesheet" href="{up}{shared.name}">', 1)
    page.write_text(text)


def make(folder: Path) -> str:
    """Writes the reference into a folder in a separate process; returns a line for the summary."""
    if importlib.util.find_spec("pdoc") is None:
        return f"no API reference: {INSTALL}"
    made = subprocess.run([sys.executable, "-m", __spec__.name, str(folder)], capture_output=True, text=True)
    if made.returncode:
        return f"no API reference: {made.stderr.strip().splitlines()[-1]}"
    return f"API reference: {made.stdout.strip()}"


if __name__ == "__main__":
    print(write(Path(sys.argv[1]) if sys.argv[1:] else paths.REPORT / "api", modules()))
