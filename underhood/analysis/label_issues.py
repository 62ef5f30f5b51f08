"""``check --labels``: which labels five models doubt, none of which has seen the picture.

After confident learning (Northcutt, Jiang and Chuang, 2021), at its simplest: a label is as suspect as another class is
more probable.
"""

from typing import Any

import numpy as np

from underhood.core.images import Dataset, Images, join
from underhood.data.read import Parts
from underhood.data.split import folds
from underhood.training.config import Request
from underhood.training.reporter import Listener
from underhood.training.setup import choose_recipe, make_learner

FOLDS = 5


def find_suspects(parts: Parts, listener: Listener) -> list[dict[str, Any]]:
    """The pictures of which another class is more probable than their label, the most suspect first.

    Each is judged by a model of effort ``fast`` that was trained on the other four fifths, copies on one side; classes
    with a single picture are not judged. Returns a dictionary a picture: path, label, predicted, probability (of what
    is predicted) and label_probability.
    """
    images = join(list(parts.images.values()))
    place = folds(images, FOLDS, seed=0)
    probabilities = np.zeros((len(images), len(images.classes)), np.float32)
    for number in range(FOLDS):
        held = place == number
        if held.any():
            listener.say(f"doubting labels: training on all but part {number + 1} of {FOLDS} …")
            probabilities[held] = _judge(parts, images.take(~held), images.take(held))
    every = np.arange(len(images))
    of_label = probabilities[every, images.labels]
    predicted = probabilities.argmax(axis=1)
    doubt = np.where(place >= 0, probabilities[every, predicted] - of_label, 0)
    worst_first = np.argsort(-doubt, kind="stable")
    return [
        {
            "path": images.names[i],
            "label": images.classes[images.labels[i]],
            "predicted": images.classes[predicted[i]],
            "probability": round(float(probabilities[i, predicted[i]]), 6),
            "label_probability": round(float(of_label[i]), 6),
        }
        for i in worst_first[: int((doubt > 0).sum())].tolist()
    ]


def _judge(parts: Parts, train: Images, held: Images) -> np.ndarray:
    """Probabilities of pictures by a model that was trained on others: float32 [held, classes]."""
    from underhood.core.schedule import one_cycle

    dataset = Dataset(parts.name, train, held, None, parts.preparation)
    request = Request(effort="fast")
    recipe = choose_recipe(dataset, request, None)
    learn = make_learner(dataset, recipe, request).learn
    for _ in learn.steps(recipe.epochs, recipe.lr, one_cycle):
        pass
    return learn.predict(held.pixels).numpy()
