"""benchmarks/loader.py and benchmarks/loader_memory.py: that they run and what they print."""
import json
import subprocess
import sys

import pytest
from conftest import ROOT


def run(name, *argv):
    done = subprocess.run([sys.executable, str(ROOT / 'benchmarks' / f'{name}.py'), *map(str, argv)],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_every_way_is_timed_and_compared():
    result = run('loader', '--quick', '--cores', 1, '--json')
    ways = result['cores']['1']
    assert list(ways) == ['published', 'decode', 'decode + resize', 'loader, JPEG files', 'packed, raw', 'packed, jpeg']
    assert ways['published']['over published'] == ways['decode + resize']['over decode + resize'] == 1
    assert all(figure > 0 for figures in ways.values() for figure in figures.values())
    assert 3 * 256 * 256 < result['bytes']['packed, raw'] < 3 * 256 * 256 + 1000


@pytest.mark.slow
def test_memory_stays_and_the_first_batch_comes_soon():
    figures = run('loader_memory', '--lines', 3000, '--batches', 10, 20, '--json')
    assert figures['lines'] == 3000 and figures['seconds_to_first_batch'] > 0
    assert [each['batches'] for each in figures['resident']] == [10, 20]


@pytest.mark.slow
def test_what_packing_changes_is_the_readmes_table(shared):
    rows = run('pixels', '--json')
    raw = [row for row in rows if row['way'] == 'packed, raw']
    assert len(raw) == 2 and all(row['largest_score'] <= 0.05 and row['largest_pixel'] <= 0.5 for row in raw)
    readme = (ROOT / 'README.md').read_text(encoding='utf-8')
    for row in rows:
        assert (f'| {row["resize"]} | {row["way"]} | {row["largest_pixel"]:.1f} | {row["mean_pixel"]:.2f} | '
                f'{row["largest_score"]:.3f} | {row["mean_score"]:.3f} |') in readme
