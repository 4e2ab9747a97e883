"""What a checkpoint is: writing and reading it, its metadata, and what a file by strangers may hold.

May import utils.base.
"""
