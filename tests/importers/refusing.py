"""What the tests of refusals share: a network, a file of another kind, and the assertion that one line is said."""

import warnings
import zipfile

import pytest
import torch
from made_networks import Net

from tidegate.commands.importing import import_network
from tidegate.spec.errors import TidegateError


def net(kind="GRU", layers=1, **options):
    torch.manual_seed(0)
    return Net(kind, 6, 10, layers, 4, **options)


def refused(text, *arguments, **options):
    """Asserts that the verb raises one line with this text."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(TidegateError, match=text) as told:
            import_network(*arguments, **options)
    assert "\n" not in str(told.value) and len(str(told.value)) < 500


def zipped(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "x")
