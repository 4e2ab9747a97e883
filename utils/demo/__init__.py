"""The demo dataset: drawn scenes and their votes.

May import utils.base.
"""
