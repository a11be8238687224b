"""held_out.py: what is asked for held-out events, against plain Python."""

import numpy as np

from numba_ss.retrieval.held_out import JUDGED, best_items, held_out_figures, held_out_queries
from numba_ss.retrieval.training_set import TrainingSet
from tests.retrieval.test_blocks import estimator, make_work


def make():
    """Return a training set, and a new model of it."""
    model = estimator(validation=0.5)
    log, _ = make_work(model, None, 1)
    options = model._checked()
    data = TrainingSet.of(log, options)
    return data, data.make_model(options, 0)


def test_the_figures_are_those_of_a_plain_search():
    data, model = make()
    asked = held_out_queries(data, model)
    items = model.item_vectors(data.events.item_rows)
    users = np.flatnonzero(data.held_out)
    assert 0 < len(users) == len(asked.vectors) < data.log.num_users
    hits = gains = 0
    for u, user in enumerate(users.tolist()):
        start, end = data.log.offsets[user : user + 2]
        *had, wanted = data.log.items[start:end].tolist()
        np.testing.assert_array_equal(asked.seen[asked.offsets[u] : asked.offsets[u + 1]], had)
        scores = items.astype(float) @ asked.vectors[u]
        scores[had] = -np.inf
        rank = int(np.sum(scores > scores[wanted]))
        hits += rank < JUDGED
        gains += (rank < JUDGED) / np.log2(rank + 2)
    found = held_out_figures(data, best_items(items, asked))
    np.testing.assert_allclose(found["validation_HR@50"], hits / len(users), rtol=1e-6)
    np.testing.assert_allclose(found["validation_NDCG@50"], gains / len(users), rtol=1e-3)


def test_parts_are_answered_as_the_whole():
    data, model = make()
    asked = held_out_queries(data, model)
    items = model.item_vectors(data.events.item_rows)
    count = len(asked.vectors)
    parts = [asked.part(a, b) for a, b in ((0, 1), (1, count), (count, count))]
    found = [best_items(items, part) for part in parts if len(part.vectors)]
    np.testing.assert_array_equal(np.concatenate(found), best_items(items, asked))
