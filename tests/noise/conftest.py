import pytest
import torch


@pytest.fixture(autouse=True)
def without_gradients():
    """As the commands call a method: one that needs gradients switches them on itself."""
    with torch.no_grad():
        yield
