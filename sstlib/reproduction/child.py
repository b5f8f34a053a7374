"""`python -m sstlib.reproduction.child MODULE ARGUMENTS`: runs a module as a task that ends when the one who started it
ends.

A worker can die in ways that leave it no time to end its children (killed, out of memory, its scheduler gone). It holds
the writing end of this process's standard input, so that end of file means: nobody is waiting any more.
"""

import os
import runpy
import signal
import sys
import threading


def end_with_parent() -> None:
    """Ends this process's group when standard input closes."""

    def wait() -> None:
        while os.read(0, 1024):
            pass
        os.killpg(0, signal.SIGTERM)

    threading.Thread(target=wait, daemon=True, name="end-with-parent").start()


if __name__ == "__main__":
    end_with_parent()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
