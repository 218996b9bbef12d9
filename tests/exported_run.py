"""A small run and its SavedModel, made once for the module that asks."""

from __future__ import annotations

import networks
import pytest
from small_run import image_files, write_run


@pytest.fixture(scope="module")
def narrow():
    """Small networks wherever settings are turned into one."""
    with pytest.MonkeyPatch.context() as patch:
        networks.narrow(patch)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory, narrow):
    """Work directory of a run whose averaged weights differ from those of the step, and detect something in noise."""
    return write_run(tmp_path_factory.mktemp("run") / "tiny")


@pytest.fixture(scope="module")
def exported(trained):
    """Version folder of the run's SavedModel, written by the command."""
    from ttfnet_tf import cli

    out = trained.parent / "models"
    assert cli.main(["export", str(trained), "--out", str(out)]) == 0
    return out / "tiny" / "1"


@pytest.fixture(scope="module")
def files():
    """Name -> bytes of images of every kind that both decoders read alike."""
    return image_files()
