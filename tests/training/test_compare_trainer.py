"""tools/compare_trainer.py: which settings it takes, and what it calls the same training."""
import sys

import numpy as np
import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / 'tools'))
import compare_trainer  # noqa: E402


def test_its_settings_are_those_of_the_recipes():
    found = {name: compare_trainer.settings(name) for name in compare_trainer.STAGES}
    assert [flags['trainable'] for flags in found.values()] == ['head', 'all', 'all', 'all']
    assert (found['idealo, all']['learning_rate'], found['idealo, all']['decay']) == (3e-5, 2.3e-5)
    assert [name for name, flags in found.items() if flags['optimizer'] == 'sgd'] == ['card']


@pytest.mark.parametrize('name, loss, weight, same', [
    ('card', 0, 0, 'yes'), ('card', 0, 5e-5, 'NO'), ('published', 0, 5e-5, 'yes'), ('published', 2e-5, 0, 'NO')])
def test_the_bounds_of_a_row(tmp_path, name, loss, weight, same):
    before = [np.zeros(4), np.ones(3)]
    after = compare_trainer.named([np.array([3., 0, 0, 4]), np.ones(3)])  # moved by 5, not at all
    mine = {'losses': np.array([0.2, 0.1 + loss]), **after, 'w000': after['w000'] + [0, 5 * weight, 0, 0]}
    np.savez(str(tmp_path / f'theirs {name}.npz'), losses=np.array([0.2, 0.1]), **after)
    cells = [cell.strip() for cell in compare_trainer.row(name, mine, before, tmp_path).split('|')]
    assert cells[2] == '0.200000 to 0.100000' and cells[6:8] == ['1 (1)', same]
    assert float(cells[5]) == pytest.approx(weight, rel=0.1)
