"""What every package uses: scores and defaults, errors, files, flags, progress.

May import no other package of utils.
"""
