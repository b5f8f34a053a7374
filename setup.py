"""What pyproject.toml cannot say: a wheel also brings a release and the published numbers, which have their place in
the checkout.
"""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

BROUGHT = ("results/weights/sst-small.safetensors", "results/weights/sst-small.md", "data/published.json")


class WithRelease(build_py):
    """Copies what is brought along into sstlib/released; an editable installation finds it where it is."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            folder = Path(self.build_lib) / "sstlib" / "released"
            self.mkpath(str(folder))
            for path in BROUGHT:
                self.copy_file(path, str(folder / Path(path).name))

    def get_source_files(self) -> list[str]:
        return [*super().get_source_files(), *BROUGHT]


setup(cmdclass={"build_py": WithRelease})
