"""What every part stands on: scores and defaults, errors, files, flags, progress.

May import no other package of utils.
"""
