"""The names that columns of labels have in published sets and in people's own tables, in any case.

Blanks, '-' and '_' between words are one: `Image Name`, `image-name` and `image_name` are the same. Of a kind of column
the usual names are first: where a table has one of them, others of that kind are not read.
"""
import fnmatch
import re
from typing import NamedTuple, Optional, Sequence, Tuple

_SCALE = r'(?:_(\d+(?:\.\d+)?)(?:_to)?_(\d+(?:\.\d+)?))?'


def _any(*patterns: str) -> Sequence['re.Pattern[str]']:
    return tuple(re.compile(f'(?:{pattern})') for pattern in patterns)


FILE = _any(
    'file|file_?name|image|image_?name|photo|photograph|picture',
    r'file_?path|path|fname|img|im|images|image_?file|image_?path|img_?path|img_?file|img_?name|(?:photo|picture)_?name|'
    r'name_?(?:img|image)|dis_img(?:_path)?|dist(?:orted)?_(?:img|image|name)(?:_path)?|distorted|image_?pair|stimulus|'
    '文件|文件名|文件名称|文件路径|图片|图片名|图片名称|图像|图像名|图像名称|照片|照片名|路径',
    'id|name|(?:image|img|photo|picture)_?(?:id|num|number|no)|编号|图片编号|图像编号|图片id|名称')
MEAN = _any(
    '(?:mean|mean_score|score|mos|rating|average)' + _SCALE,
    r'(?:d?mos|avg|stars?|label|overall|quality|aesthetics?|opinion)(?:_?(?:mean|score|rating|value|mos))?' + _SCALE,
    r'mos_(?:quality|image|mean|overall|score|value)|(?:aesthetics?|quality)_?score_mean' + _SCALE,
    r'(?:mean|avg|average|overall|total|final|quality|aesthetics?|subjective|human|image|global)_?'
    r'(?:mos|score|rating|stars|opinion_score|vote|mean)' + _SCALE,
    '平均|平均分|平均得分|平均分数|平均值|均分|分数|得分|评分|质量分|美学分|美学评分|主观分|主观评分')
STD = _any(
    'std|std_score|sd|stddev|std_dev|standard_deviation',
    'std_quality|std_image',
    '(?:mos|score|rating|mean|dmos)_?(?:std|sd|stddev|std_?dev|stdev)|(?:std|sd|stdev)_?(?:mos|rating|of_score)|stdev|'
    'sigma|标准差')
NUMBER = _any(
    r'n|num|(?:num|number|count|n|no)_?(?:of_)?_?(?:votes?|ratings?|raters?|scores?|observers?)|'
    '(?:votes?|ratings?|raters?|scores?|observers?|total)_?(?:count|number|num|n)|c_total|raters|observers|count|'
    '评分人数|投票数|人数')
GROUP = _any('group|category|scene|theme|topic|source|dataset|database|content|session|album|分组|类别|场景|主题|来源')
RATER = _any(
    '(?:rater|worker|user|observer|subject|annotator|judge|expert|participant|voter|evaluator|reviewer|person)'
    '(?:_?(?:id|name|no|number))?|评分者|评分人|评委|评价者|观察者|用户')
VOTE_LIST = _any('labels?|votes|ratings|distribution', 'histogram|hist|vote_?(?:counts|distribution)|scores|'
                 '(?:score|rating)_?distribution')
KINDS = FILE, MEAN, STD, NUMBER, GROUP, RATER, VOTE_LIST

FOLDER = _any('(?:sub_?)?(?:folder|dir|directory)(?:_?name)?|(?:session|album)(?:_?(?:id|name))?|文件夹|目录')

_DIFFERENCE = re.compile(r'd(?:ifference_)?_?mos.*')
_NUMBER = r'(\d{1,2}(?:\.[05])?)'
_VOTE = re.compile(f'(?:v|votes?|score|rating|count)?_?{_NUMBER}')
_NUMBERED = re.compile(f'(.*?)_?{_NUMBER}_?(stars?|votes?|points?|分|星)?')
_VOTE_STEMS = {'', 'c', 'n', 'num', 'star', 'stars', 'scores', 'ratings', 'counts', 'bin', 'hist', 'distribution',
               'vote', 'votes', 'point', 'points', '分', '星'}
_COUNTS = re.compile(r'(?:v|votes?|counts?|bin|hist|distribution)_?\d.*|.*\d_?(?:votes?|stars?|星)')
_SCORES = re.compile(r'(?:scores?|ratings?)_?\d.*')
_FEATURES = re.compile('(?:features?|feats?|dims?|dimensions?|embeddings?|emb|pca?|components?|'
                       'attributes?|attrs?|特征)')
_PERSONS = re.compile('(?:rater|worker|user|observer|obs|subject|annotator|judge|expert|participant|person|评委|'
                      '评分者)s?')


class MeanName(NamedTuple):
    """What a name says of a column of means."""

    scale: Optional[Tuple[float, float]]  # the values that are worst and best, where the name has them
    is_difference: bool                   # a difference mean opinion score: a low one may be a good image


def key(name: str) -> str:
    """A column's name as it is compared."""
    return re.sub(r'[\s_-]+', '_', str(name).strip().lower())


def tier(patterns: Sequence['re.Pattern[str]'], name: str) -> Optional[int]:
    """How usual a name is, from 0, for a kind of column; None where it is none of that kind."""
    return next((number for number, pattern in enumerate(patterns) if pattern.fullmatch(key(name))), None)


def is_known(name: str) -> bool:
    """Whether a name is one of a column that is read."""
    return any(tier(kind, name) is not None for kind in KINDS)


def mean_name(name: str) -> MeanName:
    """What the name of a column of means says."""
    found = next((pattern.fullmatch(key(name)) for pattern in MEAN if pattern.fullmatch(key(name))), None)
    scale = found.groups() if found else ()
    return MeanName((float(scale[0]), float(scale[1])) if scale and scale[0] else None,
                    bool(_DIFFERENCE.fullmatch(key(name))))


def vote_number(name: str) -> Optional[float]:
    """The number of a column that is one of votes by the usual names, such as v7; None where it is none."""
    found = _VOTE.fullmatch(key(name))
    return float(found.group(1)) if found else None


def counts_votes(name: str) -> bool:
    """Whether a numbered column says that it counts votes, as v7 does and score_7, c7 or 7 do not."""
    return bool(_COUNTS.fullmatch(key(name)))


def says_scores(name: str) -> bool:
    """Whether a numbered column may have scores by its name, as score_3 and rating3 do."""
    return bool(_SCORES.fullmatch(key(name)))


def numbered(name: str) -> Optional[Tuple[str, float]]:
    """Stem and number of a numbered column, such as ('c', 7); None where it has no number."""
    found = _NUMBERED.fullmatch(key(name))
    return (found.group(1).strip('_') + (found.group(3) or ''), float(found.group(2))) if found else None


def is_std_of(mean: str, name: str) -> bool:
    """Whether a column has the stds of the means in the column `mean` by its name, as quality_std of quality_mean."""
    stem = re.sub(r'(?:^|_)(?:mean|average|avg|mos)(?=_|$)', '', key(mean)).strip('_')
    std = '(?:std|sd|stddev|std_dev|stdev)'
    return bool(stem) and bool(re.fullmatch(f'{std}_?{re.escape(stem)}|{re.escape(stem)}_?{std}', key(name)))


def matches(name: str, pattern: str) -> bool:
    """Whether a name is the one that was typed, or matches it where it has a star, as quality* does."""
    return key(name) == key(pattern) or fnmatch.fnmatchcase(key(name), key(pattern))


def is_vote_stem(stem: str) -> bool:
    """Whether numbered columns with this stem are votes by their name, and not only by what they hold."""
    return stem in _VOTE_STEMS


def is_feature(stem: str) -> bool:
    """Whether numbered columns with this stem are features of an image, and no votes whatever they hold."""
    return bool(_FEATURES.fullmatch(stem))


def is_person(stem: str) -> bool:
    """Whether numbered columns with this stem are raters, each with scores of their own."""
    return bool(_PERSONS.fullmatch(stem))
