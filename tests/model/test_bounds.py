"""The bound of what a network computes, on the networks that this project trains."""
import pytest
import tensorflow as tf

from utils import nima
from utils.model import bounds


@pytest.mark.parametrize('side', [32, None])
def test_a_nima_is_within_the_bound(side):
    """With BatchNorm, whose sixth output has no size, and nothing reads it."""
    tf.compat.v1.keras.backend.clear_session()
    tf.keras.backend.set_learning_phase(0)
    base = tf.keras.applications.MobileNet((side, side, 3), include_top=False, pooling='avg', weights=None)
    bounds.require_bounded(nima.with_head(base, 0.75), 32)
    tf.compat.v1.keras.backend.clear_session()
