"""Puts configs/ into the package that is built, as ttfnet_tf/configs/. Everything else is in setup.cfg."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithRecipes(build_py):
    """A clone has its recipes beside the package, where people look for them; an installed package has them inside."""

    def run(self):
        super().run()
        if not self.editable_mode:
            shutil.copytree("configs", Path(self.build_lib) / "ttfnet_tf" / "configs", dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithRecipes})
