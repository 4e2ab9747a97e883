"""Runs the commands whose output is shown in READMEs and docs, in a fresh clone without .venv, and pastes it.

    bash run.sh tools/update_readme.py

A block to paste into is a code fence under a line such as  <!-- output of: bash train_1p.sh --demo -->
or  <!-- last 2 lines of: bash train_1p.sh --demo -->
The time of each command is printed, and docs/demo.png drawn: scenes of the demo dataset with true votes and those that
the trained model predicts. The Python that runs this needs TensorFlow 1.15 and matplotlib: .venv/bin/python
tools/update_readme.py after bash tests/run.sh
"""
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import matplotlib
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*ROOT.glob('README*.md'), *ROOT.glob('docs/**/*.md')]
SHOWN = 6    # scenes, the best first
WORST = 0.85  # the share of scenes that are better than the last one
BLOCK = re.compile(r'(<!-- (?:output|last (?P<last>\d+) lines) of: (?P<command>.+?) -->\n```text\n)'
                   r'(?P<output>.*?)(```\n)', re.S)


def run(command, clone):
    """What `command` prints in `clone`, bars left out but for the last of an epoch, and how long it took."""
    environment = {name: value for name, value in os.environ.items() if name not in ('VIRTUAL_ENV', 'NIMA_PYTHON')}
    active = os.path.join(os.environ.get('VIRTUAL_ENV', os.devnull), 'bin')
    environment['PATH'] = os.pathsep.join(part for part in os.environ['PATH'].split(os.pathsep) if part != active)
    start = time.monotonic()
    done = subprocess.run(command, shell=True, cwd=str(clone), env=environment, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    seconds = time.monotonic() - start
    text = done.stdout.decode().replace(str(clone) + '/', '')
    lines = [line.split('\r')[-1].rstrip() for line in text.split('\n')]
    lines = [line for line in lines if line and not ('%|' in line and '100%|' not in line)]
    if done.returncode:
        sys.exit(f'{command} ended with {done.returncode}:\n' + '\n'.join(lines))
    return '\n'.join(lines) + '\n', seconds


def scenes_and_votes(checkout):
    """Paths, true [N, 10] and predicted [N, 10] votes of a few validation scenes, best first.

    None is broken into blocks, as nobody recognises those, and none is among the worst.
    """
    sys.path.insert(0, str(checkout))
    from utils import data_loader, nima
    from utils.base import defaults
    from utils.base.preprocessing import Preprocessing
    from utils.data.bad_images import BadImages
    from utils.data.image_set import ImageSet, Reading
    from utils.device import device
    from utils.model import build, model_file
    _, val = data_loader.read_split(defaults.DEMO['val_size'], labels=str(checkout / 'AVA_dataset/demo/AVA.txt'),
                                    images=str(checkout / 'AVA_dataset/demo/image/images'))
    drawn = json.loads((checkout / 'AVA_dataset/demo/demo.json').read_text())['scenes']
    clear = np.flatnonzero([drawn[Path(path).stem]['kind'] != 'blocks' for path in val.paths])
    order = clear[np.argsort(-(val.distributions[clear] @ np.arange(1, 11)))]
    few = val.take(order[np.linspace(0.02 * len(order), WORST * len(order), SHOWN).astype(int)])
    with device.open_run('cpu') as run:
        model = build.for_scoring(model_file.read(str(checkout / 'model/demo/model_007.h5')))
        run.initialise()
        images, _ = next(data_loader.val_batches(ImageSet(few, BadImages(few.count)), SHOWN, Reading(
            Preprocessing(model.input_shape[1]), session_config=run.host_config)))
        return few.paths, few.distributions, nima.predict(model, images, SHOWN)


def draw(paths, true, predicted, output):
    matplotlib.use('Agg')
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots(2, len(paths), figsize=(2.1 * len(paths), 3.9), gridspec_kw={'height_ratios': [3, 2]})
    scores = np.arange(1, 11)
    for column, path in enumerate(paths):
        image, votes = axes[:, column]
        image.imshow(plt.imread(path))
        image.axis('off')
        means = true[column] @ scores, predicted[column] @ scores
        image.set_title('true {:.1f}, predicted {:.1f}'.format(*means), fontsize=9)
        votes.bar(scores, true[column], color='#b8c4d6', label='true votes')
        votes.step(scores, predicted[column], where='mid', color='#c2410c', linewidth=1.8, label='predicted')
        votes.set(ylim=(0, 1.05 * max(true.max(), predicted.max())), xticks=(1, 5, 10), yticks=())
        votes.spines[['top', 'right', 'left']].set_visible(False)
    axes[1, 0].legend(fontsize=7, frameon=False)
    figure.tight_layout()
    figure.savefig(str(output), dpi=110, facecolor='white')


def pasted(block, output):
    """A block with the new output, or with as many of its last lines as it shows."""
    lines = output.splitlines(keepends=True)
    shown = lines[-int(block.group('last')):] if block.group('last') else lines
    return block.group(1) + ''.join(shown) + block.group(5)


def main():
    texts = {path: path.read_text(encoding='utf-8') for path in PAGES}
    commands = list(dict.fromkeys(match.group('command') for text in texts.values() for match in BLOCK.finditer(text)))
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / 'nima'
        subprocess.run(['git', 'clone', '-q', str(ROOT), str(clone)], check=True)
        outputs = {}
        for command in commands:
            print(command, flush=True)
            outputs[command], seconds = run(command, clone)
            print(f'{outputs[command]}({seconds:.0f} s)', flush=True)
        if not (clone / '.venv').is_dir():
            sys.exit('the clone used a Python with TensorFlow 1.15 from the PATH: take that off the PATH first')
        draw(*scenes_and_votes(clone), ROOT / 'docs' / 'demo.png')
    for path, text in texts.items():
        path.write_text(BLOCK.sub(lambda match: pasted(match, outputs[match.group('command')]), text), encoding='utf-8')


if __name__ == '__main__':
    main()
