"""The requirement files: the vendor's versions pass, and the tested versions are within the ranges."""
from pathlib import Path

import pytest
from pkg_resources import Requirement

ROOT = Path(__file__).resolve().parents[1]

# Versions that images for Ascend with TensorFlow 1.15.0 on Python 3.7 carry, from the first to the last.
VENDOR = {
    'tensorflow': ['1.15.0'],
    'numpy': ['1.16.0', '1.16.6', '1.17.2', '1.18.5', '1.19.5', '1.21.6'],
    'scipy': ['1.3.0', '1.4.1', '1.5.4', '1.7.3'],
    'h5py': ['2.8.0', '2.10.0'],
    'protobuf': ['3.11.3', '3.13.0', '3.20.0', '3.20.3'],
}
TOO_NEW = {'tensorflow': ['1.14.0', '2.0.0'], 'h5py': ['3.0.0'], 'protobuf': ['3.21.0', '4.21.1']}


def read(name):
    """The requirements of a file, by name."""
    lines = [line.split('#')[0].strip() for line in (ROOT / name).read_text().splitlines()]
    return {requirement.key: requirement for requirement in map(Requirement.parse, filter(None, lines))}


@pytest.mark.parametrize('name, version', [(name, version) for name in VENDOR for version in VENDOR[name]])
def test_what_the_vendors_images_carry_stays(name, version):
    assert version in read('requirements.txt')[name]


@pytest.mark.parametrize('name, version', [(name, version) for name in TOO_NEW for version in TOO_NEW[name]])
def test_what_breaks_tensorflow_1_15_is_kept_out(name, version):
    assert version not in read('requirements.txt')[name]


def test_arm_installs_no_tensorflow_and_nobody_keras_or_npu_bridge():
    needs = read('requirements.txt')
    assert not needs['tensorflow'].marker.evaluate({'platform_machine': 'aarch64'})
    assert not {'keras', 'npu-bridge', 'npu_bridge'} & set(needs)


def test_constraints_are_exact_and_within_the_ranges():
    constraints = read('tests/constraints.txt')
    assert all([operator for operator, _ in exact.specs] == ['=='] for exact in constraints.values())
    for name, need in {**read('requirements.txt'), **read('tests/requirements.txt')}.items():
        assert constraints[name].specs[0][1] in need, name
