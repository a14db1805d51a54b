"""A user's mistake is one line."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import pytest

from npnet.errors import UserError, under


def refusal(function: Callable[[], object], where: str | None = None) -> str:
    """Return the line with which ``function`` refuses, as it reads for what lies at ``where`` in a configuration."""
    with pytest.raises(UserError) as caught, under(where) if where else nullcontext():
        function()
    assert "\n" not in str(caught.value)
    return str(caught.value)
