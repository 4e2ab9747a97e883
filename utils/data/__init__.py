"""From labels and image files to batches.

AVA.txt and tables of labels, splits, decoding, the order of an epoch, tf.data, packed datasets. May import utils.base.
"""
