"""The bound of what a network computes, on the networks that this project trains."""
import pytest
import tensorflow as tf

from utils import nima
from utils.model import bounds
from utils.model.trust import DistrustError


@pytest.mark.parametrize('side', [32, None])
def test_a_nima_is_within_the_bound(side):
    """With BatchNorm, whose sixth output has no size, and nothing reads it."""
    tf.compat.v1.keras.backend.clear_session()
    tf.keras.backend.set_learning_phase(0)
    base = tf.keras.applications.MobileNet((side, side, 3), include_top=False, pooling='avg', weights=None)
    bounds.require_bounded(nima.with_head(base, 0.75), 32)
    tf.compat.v1.keras.backend.clear_session()


@pytest.mark.parametrize('layer', [
    tf.keras.layers.Softmax(axis=0), tf.keras.layers.Softmax(axis=-4),
    lambda image: tf.keras.layers.Concatenate(axis=0)([image, image])])
def test_an_image_is_scored_alone_whatever_its_batch(layer):
    tf.compat.v1.keras.backend.clear_session()
    image = tf.keras.Input((8, 8, 3))
    inner = tf.keras.Model(image, layer(image))
    outer = tf.keras.Input((8, 8, 3))
    with pytest.raises(DistrustError, match='depend on the others of its batch'):
        bounds.require_bounded(tf.keras.Model(outer, inner(outer)), 8)


def test_a_layer_that_is_called_twice_is_looked_at_in_both_places():
    """The same axis is that of rows in one place, and of the batch in the other."""
    tf.compat.v1.keras.backend.clear_session()
    softmax, image = tf.keras.layers.Softmax(axis=-2), tf.keras.Input((8, 8, 3))
    pooled = softmax(tf.keras.layers.GlobalAveragePooling2D()(softmax(image)))
    with pytest.raises(DistrustError, match='depend on the others of its batch'):
        bounds.require_bounded(tf.keras.Model(image, pooled), 8)
