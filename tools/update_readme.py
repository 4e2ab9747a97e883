"""Runs the commands whose output stands in the READMEs, in a fresh clone without .venv, and pastes what they print.

    python3 tools/update_readme.py

A block to paste into is a code fence under a line such as  <!-- output of: bash train_1p.sh --demo -->
The time of each command is pasted too, and docs/demo.png drawn from what was trained. The Python that runs this needs
TensorFlow 1.15 and, for the picture, matplotlib: .venv/bin/python tools/update_readme.py after bash tests/run.sh
"""
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
READMES = [ROOT / 'README.md', ROOT / 'README.zh-CN.md']
BLOCK = re.compile(r'(<!-- output of: (?P<command>.+?) -->\n```text\n)(?P<output>.*?)(```\n)', re.S)


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
    return '\n'.join(lines) + f'\n(all in all {seconds:.0f} s)\n'


def main():
    texts = {path: path.read_text(encoding='utf-8') for path in READMES if path.exists()}
    commands = list(dict.fromkeys(match.group('command') for text in texts.values() for match in BLOCK.finditer(text)))
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / 'nima'
        subprocess.run(['git', 'clone', '-q', str(ROOT), str(clone)], check=True)
        outputs = {}
        for command in commands:
            print(command, flush=True)
            outputs[command] = run(command, clone)
            print(outputs[command], flush=True)
        if not (clone / '.venv').is_dir():
            sys.exit('the clone used a Python with TensorFlow 1.15 from the PATH: take that off the PATH first')
        subprocess.run([sys.executable, str(ROOT / 'tools' / 'demo_picture.py'), str(clone)], check=True)
    for path, text in texts.items():
        text = BLOCK.sub(lambda match: match.group(1) + outputs[match.group('command')] + match.group(4), text)
        path.write_text(text, encoding='utf-8')


if __name__ == '__main__':
    main()
