"""benchmarks/scaling.py: its projection is arithmetic; the measurement runs."""
import json
import subprocess
import sys

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / 'benchmarks'))
import scaling  # noqa: E402

sys.path.remove(str(ROOT / 'benchmarks'))


def test_a_ring_sends_each_part_around_twice():
    assert scaling.ring_seconds(800, 4, 100.0, hop=0.5) == pytest.approx(6 * (200 / 100 + 0.5))
    assert scaling.ring_seconds(800, 1, 100.0) == 0


@pytest.mark.parametrize('readme', ['README.md', 'README.zh-CN.md'])
def test_the_readme_has_the_projection_and_calls_it_one(readme):
    text = (ROOT / readme).read_text(encoding='utf-8')
    for row in scaling.projection(4 * 3217226):
        figures = f'{1000 * row["exchange_seconds"]:.1f} ms | {100 * row["efficiency"]:.1f} % |'
        assert f'| {row["devices"]} | ' in text and figures in text
    assert 'not a measurement' in text or '不是测量结果' in text
    assert 'Projection, not measured' in scaling.text([], 4 * 3217226)


@pytest.mark.slow
def test_every_way_is_measured(tmp_path):
    pytest.importorskip('horovod', reason='no Horovod in this environment: bash utils/horovod.sh builds it')
    subprocess.run([sys.executable, str(ROOT / 'benchmarks' / 'scaling.py'), '--batch', '2', '--image_size', '32',
                    '--rounds', '2', '--steps', '1', '--json', str(tmp_path / 'f.json')], check=True, timeout=280)
    (found,) = json.loads((tmp_path / 'f.json').read_text())
    assert set(found['images_per_second']) == {scaling.ALONE, scaling.APART, scaling.TOGETHER}
    assert found['together_of_apart'] > 0 and found['exchange_seconds'] > 0
