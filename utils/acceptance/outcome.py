"""The result of one check."""
from typing import Any, Dict, NamedTuple, Optional

PASS, FAIL, NOT_CHECKED = 'PASS', 'FAIL', 'NOT CHECKED'


class Outcome(NamedTuple):
    """One line of the kit's table."""

    check: str
    status: str                     # PASS, FAIL or NOT_CHECKED
    text: str = ''                  # what was found; for FAIL the likely cause, for NOT_CHECKED the reason
    deviation: Optional[float] = None  # the largest, as compared with its bound
    bound: Optional[float] = None
    where: Optional[str] = None     # the block, weight or step it is of

    def as_json(self) -> Dict[str, Any]:
        """The fields by name."""
        return dict(self._asdict())
