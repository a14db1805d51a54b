import pytest
import torch

from npnet.metrics import preference_by_order
from npnet.metrics.runtime.base import frame_indices


def test_eight_frames_are_evenly_spaced_and_take_both_ends():
    assert frame_indices(81, 8) == [0, 11, 23, 34, 46, 57, 69, 80]
    assert frame_indices(5, 8) == [0, 1, 2, 3, 4]
    assert frame_indices(9, 1) == [4]
    with pytest.raises(ValueError, match="no frames"):
        frame_indices(0, 8)


def test_preference_by_order_is_one_half_for_a_tie():
    a, b = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 2.0, 2.0])
    assert preference_by_order(a, b).tolist() == [0.0, 0.5, 1.0]
