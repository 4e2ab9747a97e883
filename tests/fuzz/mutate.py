"""Damage, seeded: bytes as disks and networks damage them, values of JSON as people and attackers do."""
import copy

NUMBERS = 0, -1, 1, 2, 10, 255, 2 ** 16, 2 ** 20, 2 ** 31, 2 ** 63, 10 ** 30, 0.5, -0.0, 1e308
TEXTS = '', 'a', '0', 'NaN', '../x', '\0', '\ud800', 'x' * 5000, '中', '=1+1', '"', ',', '\n', '1e999', '9' * 5000


def mutated_bytes(random, data, alphabet=None):
    """`data` with one to four places changed: bits, bytes, parts cut out, doubled, exchanged or filled."""
    data = bytearray(data)
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(data) + 1)
        length = min(len(data) - at, random.choice((1, 2, 4, 16, 256, len(data))))
        kind = random.randrange(7)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << random.randrange(8)
        elif kind == 1:
            data[at:at + 1] = bytes([random.choice(alphabet) if alphabet else random.randrange(256)])
        elif kind == 2:
            del data[at:at + length]
        elif kind == 3:
            data[at:at] = data[at:at + length]
        elif kind == 4:
            data[at:at + length] = bytes([random.choice((0, 255, random.randrange(256)))]) * length
        elif kind == 5:
            other = random.randrange(len(data) + 1)
            data[at:at + length] = data[other:other + length]
        else:
            del data[at:]
    return bytes(data)


def mutated_value(random, value, words=()):
    """A copy of a JSON value in which one to three parts are replaced, removed, doubled or exchanged.

    `words` are texts that mean something in it.
    """
    value = copy.deepcopy(value)
    for _ in range(random.randint(1, 3)):
        holder, key = random.choice(places([value]))
        kind = random.randrange(5)
        if kind == 0:
            other, other_key = random.choice(places([value]))
            holder[key] = copy.deepcopy(other[other_key])
        elif kind == 1 and isinstance(holder, list):
            holder.insert(random.randrange(len(holder) + 1), copy.deepcopy(holder[key]))
        elif kind == 2 and holder is not value and len(holder) > 1:
            del holder[key]
        elif kind == 3:
            holder[key] = random.choice([*NUMBERS, None, True, [], {}])
        else:
            holder[key] = random.choice([*TEXTS, *words, *words])
    return value


def places(value):
    """All (holder, key) of a JSON value, the value itself in a list."""
    found, waiting = [], [value]
    while waiting:
        holder = waiting.pop()
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        found += [(holder, key) for key in keys]
        waiting += [holder[key] for key in keys if isinstance(holder[key], (dict, list))]
    return found
