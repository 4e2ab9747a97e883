"""The scores that people vote for, and that the network's ten outputs stand for."""
import numpy as np

SCORES = np.arange(1, 11, dtype=np.float64)
