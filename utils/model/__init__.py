"""Checkpoints: writing, finding and reading them, their metadata, safe loading of files of any origin.

May import utils.base.
"""
