"""What to train with where nobody says: a pure function of how many training pictures there are.

Found by trial on 250 to 60,000 pictures: few pictures want many epochs and small batches; the rate of 0.01 (AdamW, one
cycle) suits every model here from 250 pictures to 60,000.
"""

import math
from typing import NamedTuple

LEARNING_RATE = 0.01


class Recipe(NamedTuple):
    epochs: int
    batch_size: int
    lr: float


def choose(count: int) -> Recipe:
    """The recipe for ``count`` training pictures: 60 epochs of 16 for 250, 30 of 64 for 1,400, 5 of 128 for 60,000."""
    epochs = min(60, max(3, round(30 * (1440 / count) ** 0.5)))
    batch_size = min(128, max(16, 2 ** round(math.log2(count / 24))))
    return Recipe(epochs, batch_size, LEARNING_RATE)
