"""Where the cache is."""

from pathlib import Path

import pytest

from tidegate.spec.cache import cache_folder


@pytest.mark.parametrize("variables, folder", [
    ({"TIDEGATE_CACHE": "/a/b", "XDG_CACHE_HOME": "/c"}, "/a/b"),
    ({"XDG_CACHE_HOME": "/c"}, "/c/tidegate"),
    ({"XDG_CACHE_HOME": "c"}, "/home/me/.cache/tidegate"),          # the standard: a relative one is none
    ({}, "/home/me/.cache/tidegate"),
    ({"TIDEGATE_CACHE": "~/x"}, "/home/me/x"),
])
def test_the_first_that_is_set(monkeypatch, variables, folder):
    for name in ("TIDEGATE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"HOME": "/home/me"} | variables).items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(folder)
