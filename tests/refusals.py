"""A user's mistake is one line."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from npnet.errors import UserError


def refusal(function: Callable[[], object]) -> str:
    """Return the line with which ``function`` refuses."""
    with pytest.raises(UserError) as caught:
        function()
    assert "\n" not in str(caught.value)
    return str(caught.value)
