"""The scores that people vote for, one for each of the network's ten outputs."""
import numpy as np

SCORES = np.arange(1, 11, dtype=np.float64)
