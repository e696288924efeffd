"""What weights in shares ask of a batch."""

from __future__ import annotations

import pytest
import torch

from priorscope.core.errors import RequestError
from priorscope.train.sharding import check_parts


@pytest.mark.parametrize("batch", [8, 9, 10, 33])
@pytest.mark.parametrize("parts", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("ranks", [2, 3])
def test_a_batch_goes_through_in_as_many_parts_on_every_rank_or_is_refused(batch, parts, ranks):
    """As torch cuts a rank's pictures: 5 in 4 parts are 2, 2 and 1."""
    pieces = {len(torch.arange(batch)[rank::ranks].chunk(parts)) for rank in range(ranks)}
    if len(pieces) == 1:
        check_parts(batch, parts, ranks)
    else:
        with pytest.raises(RequestError, match="as many parts on every rank"):
            check_parts(batch, parts, ranks)
