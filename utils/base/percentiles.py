"""Percentiles of mean scores among those of real AVA images."""
import numpy as np

# Percentiles 0 to 100, to 4 decimals, of the mean scores of 43,533 AVA images, from lines of its label file
# (bash run.sh tools/percentile_table.py prints them). Predicted mean scores lie closer together than real ones.
AVA_MEANS = np.array([
    2.0000, 3.5775, 3.8209, 3.9676, 4.0789, 4.1726, 4.2372, 4.3000, 4.3567, 4.4044,
    4.4485, 4.4883, 4.5295, 4.5678, 4.6007, 4.6336, 4.6639, 4.6934, 4.7227, 4.7492,
    4.7778, 4.8023, 4.8271, 4.8514, 4.8742, 4.8958, 4.9194, 4.9406, 4.9605, 4.9809,
    5.0000, 5.0223, 5.0418, 5.0614, 5.0814, 5.0984, 5.1176, 5.1347, 5.1539, 5.1728,
    5.1913, 5.2090, 5.2265, 5.2446, 5.2614, 5.2798, 5.2978, 5.3158, 5.3333, 5.3526,
    5.3702, 5.3868, 5.4064, 5.4240, 5.4424, 5.4600, 5.4787, 5.4970, 5.5150, 5.5333,
    5.5513, 5.5695, 5.5882, 5.6069, 5.6258, 5.6435, 5.6623, 5.6818, 5.7019, 5.7219,
    5.7427, 5.7614, 5.7833, 5.8048, 5.8278, 5.8522, 5.8735, 5.8968, 5.9231, 5.9477,
    5.9739, 6.0029, 6.0303, 6.0596, 6.0880, 6.1199, 6.1511, 6.1849, 6.2203, 6.2578,
    6.3004, 6.3423, 6.3915, 6.4474, 6.5043, 6.5729, 6.6513, 6.7470, 6.8727, 7.0656,
    8.6000,
])


def percentile(mean: float) -> float:
    """The share in per cent, from 0 to 100, of AVA images whose mean score lies below `mean`.

    Linear between the numbers of AVA_MEANS, 0 below the first and 100 above the last.
    """
    return float(np.interp(mean, AVA_MEANS, np.arange(len(AVA_MEANS))))
