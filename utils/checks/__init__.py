"""What check_dataset finds, prints and writes.

May import utils.base, data and data_loader, nima, score_utils.
"""
