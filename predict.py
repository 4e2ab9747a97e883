"""Predict how people would score photographs: python3 predict.py PHOTOGRAPH_OR_FOLDER ..., or --help."""
import contextlib
import csv
import io
import json
import os
import sys

from eval import CHECKPOINT, TMP_MODEL_PATF
from utils import errors
from utils.defaults import edited_name, from_root
from utils.errors import InputError
from utils.flags import predict_flags
from utils.progress import progress

FILE, MEAN, STD = COLUMNS = ('file', 'mean_score_1_to_10', 'standard_deviation')
DECIMALS = 6


def main(argv=None):
    """Score as the flags say, print the results; returns them as a list of dicts with the keys COLUMNS."""
    flags = predict_flags(argv)
    with contextlib.redirect_stdout(sys.stderr):  # standard output is for the results alone
        results, bad = score(flags.photographs, flags.checkpoint or edited_name(CHECKPOINT),
                             flags.TMP_MODEL_PATF or from_root(TMP_MODEL_PATF), batchsize=flags.batchsize,
                             device_name=flags.device, threads=flags.threads, npu=flags.npu)
    print({'table': table, 'csv': comma_separated, 'json': json_array}[flags.format](results))
    if bad:
        raise InputError(f'found {bad} of {bad + len(results)} files without a score, named above, expected '
                         'photographs')
    return results


def score(paths, checkpoint_name, folder, *, batchsize, device_name, threads, npu):
    """The results for the photographs among `paths`, and the number of files that have none."""
    import numpy as np

    from utils import checkpoint, device, nima, photographs

    path = checkpoint.find(folder, checkpoint_name)
    files = list(photographs.find(paths))
    batchsize = min(batchsize, len(files))
    with device.open_run(device_name, threads=threads, npu=npu) as run:
        model = checkpoint.load_for_scoring(path)
        preprocessing = checkpoint.preprocessing_of(path, model, report=print)
        run.initialise()
        reader = photographs.PhotographReader(image_size=preprocessing['image_size'],
                                              resize=preprocessing['resize'], session_config=run.host_config)
        results, waiting = [], []
        with contextlib.closing(reader):
            for number, file in enumerate(progress(files, len(files), 'scoring'), 1):
                try:
                    waiting.append((file, reader.read(file)))
                except InputError as error:
                    print(error)
                if waiting and (len(waiting) == batchsize or number == len(files)):
                    names, images = zip(*waiting)
                    shares = nima.predict(model, np.stack(images), batchsize)
                    if not np.isfinite(shares).all():
                        raise InputError(f'{path}: found a model whose predictions are not numbers, expected shares '
                                         'of votes: its training went astray, type another --checkpoint')
                    results += map(as_result, names, shares)
                    waiting = []
    return results, len(files) - len(results)


def as_result(file, shares):
    """One photograph's predicted vote shares [10] as a dict with the keys COLUMNS."""
    from utils import score_utils
    printable = os.fsencode(file).decode('utf-8', 'backslashreplace')
    return {FILE: printable, MEAN: round(float(score_utils.mean_score(shares)), DECIMALS),
            STD: round(float(score_utils.std_score(shares)), DECIMALS)}


def table(results):
    """Aligned lines for people, the scale in the header."""
    lines = ['mean score (1 to 10)  standard deviation  file']
    lines += [f'{row[MEAN]:20.4f}  {row[STD]:18.4f}  {row[FILE]}' for row in results]
    return '\n'.join(lines)


def comma_separated(results):
    """CSV with COLUMNS as its header."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator='\n')
    writer.writeheader()
    writer.writerows(results)
    return stream.getvalue().rstrip('\n')


def json_array(results):
    """A JSON array with one object for each photograph."""
    return json.dumps(results, indent=1, allow_nan=False)


if __name__ == '__main__':
    errors.run(main, 'predict.py')
