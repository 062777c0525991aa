"""What tests need beside the package: skipped without it, except where `make test-all` says that all of it must be there."""

from __future__ import annotations

import importlib
import importlib.util
import os
import warnings
from typing import Any, NoReturn

import pytest


def missing(reason: str) -> NoReturn:
    """Ends a test or, while it is imported, a module of tests: skipped, or failed with LOCARA_REQUIRE_HOSTS=1."""
    __tracebackhide__ = True  # what is reported is the place of the test
    if os.environ.get("LOCARA_REQUIRE_HOSTS") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason, allow_module_level=True)


def needed(module: str) -> Any:
    """A module of the extra `dev`, or `missing`. What it warns of when it is imported is its own affair."""
    __tracebackhide__ = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing(f"{error}: pip install 'locara-label[dev]'")


def need(*modules: str) -> None:
    """As `needed`, for what must not be imported yet."""
    __tracebackhide__ = True
    for module in modules:
        if importlib.util.find_spec(module) is None:
            missing(f"No module named '{module}': pip install 'locara-label[dev]'")
