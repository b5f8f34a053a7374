"""`python -m sstlib.reproduction.execution INPUT OUTPUT PARAMETERS` executes a notebook; the parameters are a JSON
object.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from sstlib.reproduction.notebooks import KERNEL
from sstlib.reproduction.task import START_FAILED


def run_notebook(source: Path, output: Path, parameters: dict[str, Any]) -> int:
    """Executes a notebook in its own folder, as JupyterLab does; gives the exit status and prints what failed."""
    import papermill
    from jupyter_client.kernelspec import NoSuchKernel
    from papermill.exceptions import PapermillExecutionError

    begun: list[str] = []
    try:
        papermill.execute_notebook(source, output, parameters, kernel_name=KERNEL, cwd=source.parent,
                                   progress_bar=False, on_cell_start=lambda cell, **_: begun.append(cell.cell_type))
    except NoSuchKernel as error:
        print(f"no Jupyter kernel {KERNEL!r} in this environment ({error}); install ipykernel into it")
    except PapermillExecutionError as error:
        print(f"cell [{error.exec_count}] raised {error.ename}: {_plain(error.evalue)}")
        print(*map(_plain, error.traceback), sep="\n")
    except Exception as error:
        if not begun:
            print(f"the kernel did not start: {type(error).__name__}: {error}")
            return START_FAILED
        print(f"cell [{begun.count('code')}] ended its kernel (out of memory?): {type(error).__name__}: {error}")
    else:
        return 0
    return 1


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


if __name__ == "__main__":
    sys.exit(run_notebook(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])))
