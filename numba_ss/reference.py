"""The specification: what every kernel computes, in plain NumPy and float64.

Each function is the twin of the kernel of the same name, without buffers, blocks, chunks or
speed. Tests compare the two; nothing in the library imports this module. TensorFlow's random
numbers and expected counts, whose bits are a contract, are also tested against golden numbers.

Names: `own` (batch_size, C) are the classes of each example, its labels first, -1 where absent;
`sampled` (num_sampled,) are the classes that all examples are compared with. The `logits` of a
batch are those of its own classes, then those of the sampled ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

Array = Any

_MASK = 2**32 - 1


# Elementary functions and rows


def exp(x: Array) -> Array:
    """Return e**x."""
    return np.exp(np.asarray(x, float))


def log(x: Array) -> Array:
    """Return the natural logarithm."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(np.asarray(x, float))


def log1p(x: Array) -> Array:
    """Return log(1 + x)."""
    return np.log1p(np.asarray(x, float))


def exp_near(x: Array) -> Array:
    """Return e**x."""
    return np.exp(np.asarray(x, float))


def expm1(x: Array) -> Array:
    """Return e**x - 1."""
    return np.expm1(np.asarray(x, float))


def inverse_root(x: Array) -> Array:
    """Return 1 / sqrt(x), or 0 if x is not positive."""
    x = np.asarray(x, float)
    return np.where(x > 0, 1 / np.sqrt(np.where(x > 0, x, 1)), 0.0)


def dot(x: Array, y: Array) -> float:
    """Return the inner product."""
    return float(np.sum(np.asarray(x, float) * y))


def axpy(a: float, x: Array, y: Array) -> Array:
    """Return y + a x."""
    return np.asarray(y, float) + a * np.asarray(x, float)


def subtract_scaled(a: float, x: Array, y: Array) -> Array:
    """Return y - a x, in the type of the rows."""
    return y - a * x


def subtract_product(a: float, b: float, x: Array, y: Array) -> Array:
    """Return y - a (b x), in the type of the rows."""
    return y - a * (b * x)


def scale_row(factors: Array, y: Array) -> Array:
    """Return the elementwise product."""
    return factors * y


def gather_row(source: Array) -> float:
    """Return 0, or NaN for a row that is not finite."""
    return 0.0 if np.isfinite(source).all() else math.nan


def multiply(a: Array, b: Array) -> Array:
    """Return the matrix product."""
    return np.asarray(a, float) @ np.asarray(b, float)


def multiply_rows(a: Array, b: Array) -> Array:
    """Return the inner products of all rows of `b` with all rows of `a`."""
    return np.asarray(b, float) @ np.asarray(a, float).T


def add_products(c: Array, factors: Array, b: Array) -> Array:
    """Return C + G B."""
    return np.asarray(c, float) + np.asarray(factors, float) @ b


def transpose(source: Array) -> Array:
    """Return the transposed block."""
    return np.swapaxes(source, -1, -2)


def transpose_inputs(x: Array, block: int) -> Array:
    """Return blocks of rows, each transposed."""
    return transpose(x.reshape(-1, block, x.shape[1]))


# Random numbers


def philox(key: int, high: int, block: int) -> list[int]:
    """Return the four words of a counter."""
    k = [key & _MASK, key >> 32]
    c = [block & _MASK, block >> 32, high & _MASK, high >> 32]
    for _ in range(10):
        p, q = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(q >> 32) ^ c[1] ^ k[0], q & _MASK, (p >> 32) ^ c[3] ^ k[1], p & _MASK]
        k = [(k[0] + 0x9E3779B9) & _MASK, (k[1] + 0xBB67AE85) & _MASK]
    return c


def start_stream(key: int, high: int, block: int) -> Iterator[int]:
    """Yield the words of a block and of all later blocks."""
    while True:
        yield from philox(key, high, block)
        block += 1


def next_float(stream: Iterator[int]) -> float:
    """Return a number in [0, 1) with 23 random bits."""
    return (next(stream) & 0x7FFFFF) / 2**23


def next_doubles(stream: Iterator[int], count: int) -> list[float]:
    """Return numbers in [0, 1) with 52 random bits."""
    return [((next(stream) & 0xFFFFF) * 2**32 + next(stream)) / 2**52 for _ in range(count)]


def next_below(stream: Iterator[int], bound: int, bits: int) -> int:
    """Return an unbiased integer in [0, bound), by rejecting the lowest values of a word."""
    while True:
        value = next(stream) + (next(stream) << 32 if bits == 64 else 0)
        if bound & (bound - 1) == 0:
            return value & (bound - 1)
        if value >= (2**bits - 1) % bound + 1:
            return value % bound


def hash64(key: int, counter: int) -> int:
    """Return SplitMix64 of a counter."""
    full = 2**64 - 1
    z = (key + counter * 0x9E3779B97F4A7C15) & full
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & full
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & full
    return z ^ (z >> 31)


# Candidates


def contains(ordered: Array, value: int) -> bool:
    """Return whether an array holds a value."""
    return bool(np.any(np.asarray(ordered) == value))


def home(value: int, size: int) -> int:
    """Return the slot where the search for a value begins, by Fibonacci hashing."""
    return (int(value) * 0x9E3779B97F4A7C15 % 2**64 >> 20) % size


def find_key(keys: Array, key: int) -> int:
    """Return the first slot, from a key's home on, that holds the key or is empty (0)."""
    size = len(keys)
    places = [(home(key, size) + i) % size for i in range(size)]
    return next(place for place in places if keys[place] in (0, key))


def find_value(slots: Array, values: Array, value: int) -> int:
    """Return the first slot, from a value's home on, that holds its position or is empty (-1)."""
    held = [values[entry] if entry >= 0 else value for entry in slots]
    size = len(slots)
    places = [(home(value, size) + i) % size for i in range(size)]
    return next(place for place in places if held[place] == value)


def first_outside(rows: Array, stop: int) -> int:
    """Return the first position whose value is not in [0, stop), or -1."""
    bad = np.flatnonzero((np.asarray(rows) < 0) | (np.asarray(rows) >= stop))
    return int(bad[0]) if bad.size else -1


def probabilities(kind: str, range_max: int, weights: Array = None) -> Array:
    """Return the probability of each class in one draw."""
    c = np.arange(range_max, dtype=float)
    if kind == "log_uniform":
        return np.log1p(1 / (c + 1)) / math.log1p(range_max)
    p = np.ones(range_max) if weights is None else np.asarray(weights, float)
    return p / p.sum()


def expected_counts(p: Array, num_tries: int, num_sampled: int) -> Array:
    """Return the expected counts of classes of probability p among the candidates."""
    if num_tries == num_sampled:
        return np.asarray(p, float) * num_sampled
    return -np.expm1(num_tries * np.log1p(-np.asarray(p, float)))


def distort(unigrams: Array, distortion: float) -> Array:
    """Return unigrams to the power of `distortion`."""
    return np.asarray(unigrams, float) ** distortion


def fill_tree(weights: Array) -> Array:
    """Return the Fenwick tree: entry i is the sum of the i & -i weights before i."""
    total = np.concatenate([[0], np.cumsum(weights)])
    return np.array([0] + [total[i] - total[i - (i & -i)] for i in range(1, len(total))])


def learn_labels(labels: Array, weights: Array, budget: int) -> Array:
    """Return the weights plus the number of occurrences among the first `budget` labels."""
    return weights + np.bincount(np.asarray(labels)[:budget], minlength=len(weights))


def fill_alias(cut: Array, alias: Array) -> Array:
    """Return the probabilities that an alias table stands for."""
    p = np.asarray(cut, float)
    np.add.at(p := p.copy(), alias, 1 - np.asarray(cut, float))
    return p / len(p)


def draw_candidates(
    kind: str, stream: Iterator[int], range_max: int, num_sampled: int, unique: bool,
    weights: Array = None, exclude: Array = (), cut: Array = (), alias: Array = (),
) -> tuple[list[int], int]:
    """Return the candidates, and the number of draws of classes that are not excluded."""
    candidates: list[int] = []
    num_tries = 0
    while len(candidates) < num_sampled:
        if kind == "uniform":
            row = next_below(stream, range_max, 64)
        elif kind == "log_uniform":
            (u,) = next_doubles(stream, 1)
            row = (int(math.exp(u * math.log1p(range_max))) - 1) % range_max
        elif kind == "learned_unigram":
            value = next_below(stream, int(np.sum(weights)), 32)
            row = int(np.searchsorted(np.cumsum(weights), value, side="right"))
        else:
            part, row = next_float(stream), next_below(stream, range_max, 32)
            row = row if part < cut[row] else int(alias[row])
        if contains(exclude, row):
            continue
        num_tries += 1
        if not (unique and row in candidates):
            candidates.append(row)
    return candidates, num_tries


def draw_and_count(p: Array, labels: Array, **draw: Any) -> tuple[list[int], Array, Array]:
    """Return the candidates, and the expected counts of labels and of candidates."""
    candidates, num_tries = draw_candidates(**draw)
    rows = (np.asarray(labels, int), np.asarray(candidates, int))
    return candidates, *(expected_counts(p[ids], num_tries, len(candidates)) for ids in rows)


def find_hits(labels: Array, candidates: Array) -> Array:
    """Return each label's last position among the candidates, or -1."""
    last = {int(c): j for j, c in enumerate(candidates)}
    return np.vectorize(lambda y: last.get(int(y), -1), otypes=[int])(labels)


# Distinct inputs


def row_keys(rows: Array) -> list[int]:
    """Return a key of 63 bits for each row of numbers of 32 bits."""
    keys = []
    for row in rows:
        mixed = [(int(b) + d * 0x803779B9) % 2**32 * 0xBF58476D1CE4E5B9 for d, b in enumerate(row)]
        keys.append(sum(m % 2**64 ^ m % 2**64 >> 32 for m in mixed) % 2**64 // 2)
    return keys


def join_hits(
    hits: Array, true_counts: Array, sampled_counts: Array, subtract_log_q: bool
) -> list[list[int]]:
    """Return, for each label, its position among the sampled classes, or -1.

    Where the logits differ, the position becomes the code of `left_out`.
    """
    kept = []
    for row, counts in zip(np.asarray(hits).tolist(), true_counts, strict=True):
        kept.append([
            -1 if hit < 0 or hit in row[:t]
            else -2 - hit if subtract_log_q and counts[t] != sampled_counts[hit]
            else hit
            for t, hit in enumerate(row)
        ])
    return kept


def left_out(hit: int) -> int:
    """Return the code of a hit that is left out; codes are below that of no hit, -1."""
    return -(hit + 2)


def packed_row(position: int) -> int:
    """Return what chooses the packed row at a position: -1 the first."""
    return -(position + 1)


def lone_key(example: int) -> int:
    """Return a key that no row has, and no other example."""
    return -(example + 1)


def group_inputs(
    inputs: list[Any], hits: list[list[int]]
) -> tuple[list[int], list[list[int]]]:
    """Return the number of each example's input, and the members of each.

    Inputs are ids or rows of bits. If keys of different rows are equal, each example has its
    input to itself. An example that leaves sampled classes out always has.
    """
    examples = range(len(inputs))
    alone = [min(row, default=-1) < -1 for row in hits]
    rows = {tuple(x) for x, lone in zip(inputs, alone, strict=True) if np.ndim(x) and not lone}
    if len(set(row_keys(rows))) < len(rows):
        alone = [True for _ in examples]
    first = [
        i if alone[i]
        else next(j for j in examples if not alone[j] and np.array_equal(inputs[j], inputs[i]))
        for i in examples
    ]
    inverse = factorize(first)[0].tolist()
    return inverse, [[i for i in examples if first[i] == u] for u in dict.fromkeys(first)]


def blocks_of(num_inputs: int, block: int) -> int:
    """Return how many blocks of at most so many inputs there are; of more than half, even."""
    count = math.ceil(num_inputs / block)
    return count if num_inputs <= block // 2 else 2 * math.ceil(count / 2)


def block_start(block: int, num_blocks: int, num_inputs: int, lanes: int) -> int:
    """Return the first input of a block; all blocks but the last are whole vectors."""
    vectors = math.ceil(num_inputs / lanes)
    return min(lanes * math.floor(vectors * block / num_blocks), num_inputs)


def first_row(
    chunk: int, num_chunks: int, num_rows: int, num_examples: int, cost: int
) -> int:
    """Return where a chunk begins: `cost` examples of the first are as much work as a row."""
    before = num_examples // cost
    return int(np.clip(math.floor((num_rows + before) * chunk / num_chunks) - before, 0, num_rows))


def prepare(
    ids: list[int], hits: list[list[int]], weights: Array, biases: Array, sampled: Array,
    log_q: Array,
) -> tuple[Any, ...]:
    """Return the groups of inputs, and the sampled rows with their adjusted biases."""
    return *group_inputs(ids, hits), *pack_sampled(weights, biases, sampled, log_q)


# Losses and gradients


def _targets(own: Array, num_true: int) -> Array:
    """Return 1/T for the labels that are present, 0 for all other own columns."""
    label = (np.arange(own.shape[1]) < num_true) & (own >= 0)
    return label / np.maximum(label.sum(axis=1, keepdims=True), 1)


def _pad(targets: Array, width: int) -> Array:
    return np.pad(targets, [(0, 0), (0, width - targets.shape[1])])


def _softmax_block(
    logits: Array, own: Array, num_true: int, grad_output: Array
) -> tuple[Array, Array]:
    """Return losses and gradients with respect to the logits; -inf is no column."""
    targets = _pad(_targets(own, num_true), logits.shape[1])
    running_max = logits.max(axis=1, keepdims=True)
    z = logits - running_max
    running_sum = np.exp(z).sum(axis=1, keepdims=True)
    loss = np.log(running_sum[:, 0]) - np.sum(np.where(targets > 0, z, 0) * targets, axis=1)
    return loss, (np.exp(z) / running_sum - targets) * grad_output[:, None]


def _logistic_block(
    logits: Array, own: Array, num_true: int, grad_output: Array
) -> tuple[Array, Array]:
    """Return losses summed over the columns and gradients; -inf is no column."""
    targets = _pad(_targets(own, num_true), logits.shape[1])
    loss = np.logaddexp(0, logits) - np.where(targets > 0, logits, 0) * targets
    sigmoid = np.exp(-np.logaddexp(0, -logits))
    return loss.sum(axis=1), (sigmoid - targets) * grad_output[:, None]


def nan_if_infinite(logit: float) -> float:
    """Return a logit, or NaN if it is not finite."""
    return logit if np.isfinite(logit) else np.nan


def softmax_strip(
    logits: Array, running_max: Array, running_sum: Array
) -> tuple[Array, Array, Array, Array]:
    """Return exp(logit - maximum), the new maximum and sum, and exp(old maximum - new maximum).

    Logits are (inputs, any); `running_max` is the largest logit so far, `running_sum` the sum of
    exp(logit - running_max).
    """
    new_max = np.maximum(running_max, logits.max(axis=1, initial=-np.inf))
    probabilities, rescale = np.exp(logits - new_max[:, None]), np.exp(running_max - new_max)
    return probabilities, new_max, rescale * running_sum + probabilities.sum(axis=1), rescale


def logistic_strip(logits: Array, running_sum: Array) -> tuple[Array, Array]:
    """Return sigmoids, and the running sum with the losses of the strip."""
    return np.exp(-np.logaddexp(0, -logits)), running_sum + np.logaddexp(0, logits).sum(axis=1)


def softmax_own(
    targets: Array, column_weights: Array, logits: Array, running_max: Array, running_sum: Array
) -> tuple[Array, Array, Array, Array]:
    """Return losses, unnormalised probabilities of own columns, sums of all, and the rescaling.

    Where `column_weights` is 0, the running sum has the own column already.
    """
    new_max = np.maximum(running_max, logits.max(axis=1))
    probabilities, rescale = np.exp(logits - new_max[:, None]), np.exp(running_max - new_max)
    running_sum = rescale * running_sum + np.sum(column_weights * probabilities, axis=1)
    goals = np.where(targets > 0, logits - new_max[:, None], 0) * targets
    return np.log(running_sum) - goals.sum(axis=1), probabilities, running_sum, rescale


def logistic_own(
    targets: Array, column_weights: Array, logits: Array, running_sum: Array
) -> tuple[Array, Array]:
    """Return losses and sigmoids; see `softmax_own`."""
    goals = np.where(targets > 0, logits, 0) * targets
    loss = running_sum + np.sum(column_weights * np.logaddexp(0, logits) - goals, axis=1)
    return loss, np.exp(-np.logaddexp(0, -logits))


def softmax_classes(logits: Array, normalizer: Array, grad_output: Array) -> Array:
    """Return softmax probabilities times the upstream gradient."""
    return np.exp(logits - normalizer[:, None]) * grad_output[:, None]


def logistic_classes(logits: Array, grad_output: Array) -> Array:
    """Return sigmoids times the upstream gradient."""
    return np.exp(-np.logaddexp(0, -logits)) * grad_output[:, None]


def subtract_logs(counts: Array, logits: Array) -> Array:
    """Return logits less the logarithm of the expected counts."""
    return np.asarray(logits, float) - log(counts)


def pack_sampled(
    weights: Array, biases: Array, sampled: Array, log_q: Array
) -> tuple[Array, Array]:
    """Return the rows of the sampled classes, and their biases less log Q."""
    return weights[sampled].astype(float), biases[sampled] - np.asarray(log_q, float)


def pack_classes(weights: Array, biases: Array, classes: Array) -> tuple[Array, Array]:
    """Return rows and biases of classes."""
    return pack_sampled(weights, biases, classes, np.zeros(len(classes)))


def forward_inputs(
    inputs: Array, rows: Array, adjusted_biases: Array, logistic: bool
) -> tuple[Array, Array, Array, Array]:
    """Return probabilities, their maxima and sums, and the sums of probability x row.

    The probabilities are exp(logit - maximum). For the logistic loss they are sigmoids, the sums
    are losses, and the maximum is 0.
    """
    logits = multiply(inputs, transpose(rows)) + adjusted_biases
    if logistic:
        probabilities, running_sum = logistic_strip(logits, np.zeros(len(logits)))
        running_max = np.zeros(len(logits))
    else:
        running_max = logits.max(axis=1)
        probabilities = np.exp(logits - running_max[:, None])
        running_sum = probabilities.sum(axis=1)
    return probabilities, running_max, running_sum, multiply(probabilities, rows)


class Forward(NamedTuple):
    """Losses and the gradients of their weighted sum."""

    loss: Array
    grad_own_logits: Array  # of the own logits
    probabilities: Array  # of the sampled logits
    grad_inputs: Array


def forward_examples(
    inputs: Array, weights: Array, biases: Array, own: Array, own_log_q: Array,
    num_true: int, sampled: Array, sampled_log_q: Array, hits: Array, grad_output: Array,
    logistic: bool,
) -> Forward:
    """Compute a batch; hits (batch_size, any) are positions in `sampled` to leave out."""
    inputs, weights, biases = (np.asarray(a, float) for a in (inputs, weights, biases))
    rows_of_own = np.maximum(own, 0)
    own_logits = np.einsum("bd,bcd->bc", inputs, weights[rows_of_own]) + biases[rows_of_own]
    own_logits = np.where(own >= 0, own_logits - own_log_q, -np.inf)
    rows, adjusted_biases = pack_sampled(weights, biases, sampled, sampled_log_q)
    sampled_logits = inputs @ rows.T + adjusted_biases
    for i, positions in enumerate(hits):
        sampled_logits[i, positions[positions >= 0]] = -np.inf
    logits = np.concatenate([own_logits, sampled_logits], axis=1)
    block = _logistic_block if logistic else _softmax_block
    loss, grad = block(logits, own, num_true, np.asarray(grad_output, float))
    grad_own_logits, probs = grad[:, : own.shape[1]], grad[:, own.shape[1] :]
    grad_own_logits = np.where(own >= 0, grad_own_logits, 0)
    grad_inputs = grad_examples(probs, rows, grad_own_logits, weights[rows_of_own])
    return Forward(loss, grad_own_logits, probs, grad_inputs)


def scale_examples(
    probabilities: Array, targets: Array, grad_output: Array
) -> Array:
    """Return the gradients of logits, (batch_size, any), by the upstream gradient."""
    return (probabilities - targets) * np.asarray(grad_output, float)[:, None]


def forward_classes(
    inputs: Array, weights: Array, biases: Array, grad_output: Array, logistic: bool
) -> tuple[Array, Array]:
    """Return, without the labels' part, the gradients of all logits and of the inputs."""
    logits = multiply(inputs, transpose(weights)) + biases
    if logistic:
        probs = logistic_classes(logits, grad_output)
    else:
        probs = softmax_classes(logits, normalize(logits, logistic=False), grad_output)
    return probs, multiply(probs, weights)


def grad_sampled(inputs: Array, probs: Array) -> tuple[Array, Array]:
    """Return the gradients of the rows of the sampled classes, and of their biases."""
    return multiply(transpose(probs), inputs), probs.sum(axis=0)


def grad_examples(probs: Array, rows: Array, grad_own_logits: Array, own_rows: Array) -> Array:
    """Return the gradients of the inputs, from the sampled classes and each example's own."""
    return multiply(probs, rows) + np.einsum("bc,bcd->bd", grad_own_logits, own_rows)


def write_members(common: Array, row_scales: Array, factors: Array, rows: Array) -> Array:
    """Return the gradients of members; `rows` (columns, members, dim) are their own."""
    own = np.einsum("cm,cmd->md", np.asarray(factors, float), np.asarray(rows, float))
    return np.outer(np.asarray(row_scales, float), np.asarray(common, float)) + own


def sum_others(hit: int, row_scales: Array, member_hits: Array) -> float:
    """Return the sum of the scales of the members that do not have a hit."""
    return math.fsum(row_scales[~(member_hits == hit).any(axis=0)])


def subtract_members(learning_rate: Any, grads: Array, row: Array) -> Array:
    """Return the row less learning_rate times each gradient, one by one, in their own type."""
    for grad in grads:
        row = subtract_scaled(learning_rate, grad, row)
    return row


def grad_logits(probs: Array, inverse: Array) -> Array:
    """Return the gradients of the inputs' logits: the sums of those of their examples."""
    out = np.zeros((inverse.max(initial=-1) + 1, probs.shape[1]))
    np.add.at(out, inverse, probs)
    return out


def backward_inputs(
    probs: Array, inverse: Array, rows: Array, grad_own_logits: Array, own_rows: Array
) -> tuple[Array, Array]:
    """Return the gradients of the inputs' logits, and of the examples' inputs."""
    return grad_logits(probs, inverse), grad_examples(probs, rows, grad_own_logits, own_rows)


def parts_of(num_chunks: int) -> int:
    """Return how many parts a phase has: two for each chunk."""
    return 2 * num_chunks


def take_task(taken: list[bool], chunk: int, num_chunks: int) -> int:
    """Return the first task that is not taken, from a chunk's own on and round; or -1."""
    first = len(taken) * chunk // num_chunks
    order = [*range(first, len(taken)), *range(first)]
    return next((task for task in order if not taken[task]), -1)


def next_task(done: int, taken: list[bool], chunk: int, num_chunks: int) -> tuple[int, int]:
    """Return how many tasks are done, one more than before, and which one comes next."""
    return done + 1, take_task(taken, chunk, num_chunks)


def wait_for(done: int, count: int) -> bool:
    """Return whether all are done; nobody will do more."""
    return done == count


def sampled_step(
    table: Array, ids: Array, weights: Array, biases: Array, labels: Array, log_q: Array,
    sampled: Array, sampled_log_q: Array, hits: Array, grad_output: Array, logistic: bool,
    learning_rate: float,
) -> tuple[float, Array, Array, Array]:
    """Return the sum of the losses, and weights, biases and table after a step of SGD.

    The inputs are the rows `ids` of the table.
    """
    num_true = labels.shape[1]
    batch = forward_examples(
        table[ids], weights, biases, labels, log_q, num_true, sampled, sampled_log_q, hits,
        grad_output, logistic,
    )
    inputs, inverse = np.asarray(table[ids], float), np.arange(len(ids))
    grad_rows, grad_biases = grad_sampled(inputs, batch.probabilities)
    new_weights = scatter_classes(
        np.asarray(weights, float), labels, batch.grad_own_logits, inputs, inverse, sampled,
        grad_rows, learning_rate,
    )
    new_biases = scatter_classes(
        np.asarray(biases, float)[:, None], labels, batch.grad_own_logits, np.ones((len(ids), 1)),
        inverse, sampled, grad_biases[:, None], learning_rate,
    )[:, 0]
    new_table = scatter_rows(np.asarray(table, float), ids, batch.grad_inputs, learning_rate)
    return float(batch.loss.sum()), new_weights, new_biases, new_table


def sum_losses(loss: Array) -> float:
    """Return the sum."""
    return math.fsum(loss)


def full_loss_and_grad(
    weights: Array, biases: Array, labels: Array, inputs: Array, grad_output: Array, logistic: bool
) -> tuple[Array, Array, Array, Array]:
    """Return losses over all classes, and gradients of inputs, weights and biases."""
    inputs, weights, biases = (np.asarray(a, float) for a in (inputs, weights, biases))
    logits = inputs @ weights.T + biases
    targets = _targets(labels, labels.shape[1])
    dense = np.zeros_like(logits)
    for j in range(labels.shape[1]):
        dense[np.arange(len(labels)), np.maximum(labels[:, j], 0)] += targets[:, j]
    loss = normalize(logits, logistic) - np.sum(dense * logits, axis=1)
    grad, _ = forward_classes(inputs, weights, biases, np.asarray(grad_output, float), logistic)
    grad = grad - dense * np.asarray(grad_output, float)[:, None]
    grad_weights, grad_biases = grad_sampled(inputs, grad)
    return loss, grad @ weights, grad_weights, grad_biases


def list_uses(
    own: Array, num_true: int, sampled: Array, inputs: Array, grad_own_logits: Array,
    grad_rows: Array, grad_biases: Array,
) -> tuple[Array, Array, Array]:
    """Return the class of each use, and the gradients of its row and its bias."""
    uses = [
        (own[i, c], grad_own_logits[i, c] * np.asarray(inputs[i], float), grad_own_logits[i, c])
        for columns in (range(num_true), range(num_true, own.shape[1]))
        for i in range(len(own)) for c in columns if own[i, c] >= 0
    ]
    uses += zip(sampled, grad_rows, grad_biases, strict=True)
    ids, rows, biases = zip(*uses, strict=True)
    return np.array(ids), np.array(rows), np.array(biases)


def all_finite(values: Array) -> bool:
    """Return whether no number is NaN or infinite."""
    return bool(np.isfinite(values).all())


def sum_of_squares(values: Array) -> float:
    """Return the sum of the squares."""
    return float((values.astype(float) ** 2).sum())


# All classes


def normalize(logits: Array, logistic: bool) -> Array:
    """Return log(sum exp) over the classes, or the sum of log(1 + exp)."""
    if logistic:
        return np.logaddexp(0, logits).sum(axis=1)
    return np.logaddexp.reduce(logits, axis=1)


def select(logits: Array, k: int, exclude: list[Any] | None = None) -> tuple[Array, Array]:
    """Return the best scores and classes; of equal scores the lower class first."""
    logits = np.array(logits, float)
    for i, row in enumerate(exclude or []):
        logits[i, row] = -np.inf
    classes = np.broadcast_to(np.arange(logits.shape[1]), logits.shape)
    order = np.lexsort((classes, -logits), axis=1)[:, :k]
    scores = np.take_along_axis(logits, order, 1)
    return scores, np.where(np.isneginf(scores), -1, order)


def merge_best(scores: Array, ids: Array) -> tuple[Array, Array]:
    """Return the best of several rankings of each example; missing ones are -inf and -1."""
    k = scores.shape[2]
    scores, ids = (array.transpose(1, 0, 2).reshape(scores.shape[1], -1) for array in (scores, ids))
    order = np.lexsort((ids, -scores), axis=1)[:, :k]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(ids, order, 1)


# Updates


def first_column(chunk: int, num_chunks: int, dim: int) -> int:
    """Return where a chunk of the columns begins: all are whole lines of 16 numbers."""
    lines = math.ceil(dim / 16)
    return min(16 * math.floor(lines * chunk / num_chunks), dim)


def scatter_rows(table: Array, rows: Array, grads: Array, learning_rate: Any) -> Array:
    """Return the table less the gradients, one by one and in the table's own type."""
    table = table.copy()
    for row, grad in zip(rows, grads, strict=True):
        table[row] -= learning_rate * grad
    return table


def scatter_own(
    table: Array, own: Array, grad_own_logits: Array, inputs: Array, inverse: Array,
    learning_rate: Any,
) -> Array:
    """Return the class rows less gradients of own rows; example i has inputs[inverse[i]]."""
    example, column = np.nonzero(own >= 0)
    grads = grad_own_logits[example, column][:, None] * inputs[inverse[example]]
    return scatter_rows(table, own[example, column], grads, learning_rate)


def scatter_sampled(
    table: Array, sampled: Array, grad_rows: Array, learning_rate: Any
) -> Array:
    """Return the class rows less the gradients of the sampled rows."""
    return scatter_rows(table, sampled, grad_rows, learning_rate)


def scatter_classes(
    table: Array, own: Array, grad_own_logits: Array, inputs: Array, inverse: Array,
    sampled: Array, grad_rows: Array, learning_rate: Any,
) -> Array:
    """Return the class rows less the gradients of own rows, then of sampled rows."""
    table = scatter_own(table, own, grad_own_logits, inputs, inverse, learning_rate)
    return scatter_sampled(table, sampled, grad_rows, learning_rate)


# Windows


def thin_words(ids: Array, keep: Array, key: int, position: int, separator: int) -> list[int]:
    """Return the words that are kept; a negative id becomes a separator."""
    return [
        separator if word < 0 else int(word)
        for i, word in enumerate(ids)
        if word < 0 or hash64(key, position + i) >> 32 < keep[word]
    ]


def draw_noise(cut: Array, alias: Array, key: int, position: int, count: int) -> list[int]:
    """Return noise words; `cut` holds the probabilities of the own words, times 2**31."""
    drawn = []
    for i in range(count):
        word = hash64(key, position + i)
        own = (word >> 32) * len(cut) >> 32
        drawn.append(int(own if word & 0x7FFFFFFF < cut[own] else alias[own]))
    return drawn


def find_windows(
    stream: Array, begin: int, end: int, first: int, last: int, window: int, by_distance: bool,
    separator: int, key: int, position: int,
) -> list[list[int]]:
    """Return the positions, minus `first`, of the context of each of stream[begin:end]."""
    found = []
    for p in range(begin, end):
        number = hash64(key, position + p) >> 32
        reach = min(window, 2**32 // (number + 1)) if by_distance else number * window // 2**32 + 1
        near = range(max(first, p - reach), min(last, p + reach + 1))
        found.append([
            q - first
            for q in near
            if q != p and separator not in stream[min(p, q) : max(p, q) + 1]
        ])
    return found


def drop_repeats(words: Array, absent: int) -> list[int]:
    """Return the words with repetitions replaced by `absent`."""
    words = list(words)
    return [absent if word in words[:i] else word for i, word in enumerate(words)]


def lanes_of(count: int, lanes: int) -> int:
    """Return a number of lanes, rounded up to whole vectors."""
    return -(-count // lanes) * lanes


def softmax_scores(
    scores: Array, num_sampled: int, hits: list[int], rate: float
) -> tuple[Array, float]:
    """Return -rate times the gradients of scores, (outputs, lanes), and the sum of losses.

    The first rows are those of noise words, the others those of targets. Noise word hits[k] does
    not count for target k, and a target with the score 1e30 has nothing to learn. What a noise word
    does to itself and to the targets is scaled so that its changes add up to 1 / 2 at most.
    """
    scores, total = np.asarray(scores, float), 0.0
    moved = np.zeros((len(hits), num_sampled, scores.shape[1]))  # from a noise word to a target
    for k, hit in enumerate(hits):
        rows = [*(j for j in range(num_sampled) if j != hit), num_sampled + k]
        p = _probabilities(scores[rows])
        moved[k, rows[:-1]] = rate * p[:-1]
        total -= np.log(p[-1]).sum()
    moved *= _kept_share(moved.sum(axis=(0, 2), keepdims=True))
    return np.concatenate([-moved.sum(axis=0), moved.sum(axis=1)]), float(total)


def _probabilities(scores: Array) -> Array:
    """Return the softmax of each column."""
    powers = np.exp(scores - scores.max(axis=0))
    return np.asarray(powers / powers.sum(axis=0))


def _kept_share(weights: Array) -> Array:
    """Return the share of their changes that noise words of some weights in a group keep."""
    return np.asarray(1 / np.maximum(2 * np.asarray(weights), 1))


def logistic_scores(
    scores: Array, num_sampled: int, hits: list[int], rate: float
) -> tuple[Array, float]:
    """Return the same for a logistic loss of each output."""
    scores, total = np.asarray(scores, float), 0.0
    changes = np.zeros_like(scores)
    for k, hit in enumerate(hits):
        rows = [*(j for j in range(num_sampled) if j != hit), num_sampled + k]
        learns = scores[rows[-1]] < 1e30
        signs = np.where(np.array(rows) < num_sampled, 1, -1)[:, None]
        losses = np.logaddexp(0, signs * scores[rows]) * learns
        changes[rows] -= rate * learns * signs * np.exp(-np.logaddexp(0, -signs * scores[rows]))
        total += losses.sum()
    return changes, float(total)


def change_scores(
    scores: Array, num_sampled: int, hits: list[int], rate: float, use_logistic: bool | None
) -> tuple[Array, float]:
    """Return what `softmax_scores` does, or `logistic_scores` unless `use_logistic` is None."""
    twin = softmax_scores if use_logistic is None else logistic_scores
    return twin(scores, num_sampled, hits, rate)


def weigh_scores(changes: Array) -> Array:
    """Return the sum of the absolute values of each lane."""
    return np.abs(changes).sum(axis=0)


def weigh_row(changes: Array, j: int) -> float:
    """Return the sum of the absolute values of row j."""
    return float(np.abs(changes[j]).sum())


def draw(
    stream: Array, begin: int, end: int, *, window: int, by_distance: bool, separator: int,
    keys: list[int], position: int, cut: Array, alias: Array, size: int, num_sampled: int,
    group: int,
) -> tuple[list[list[int]], list[list[int]]]:
    """Return a chunk's contexts, as positions in the stream, and the noise words of each group.

    A chunk has at most `size` windows, a group at most `group`.
    """
    low, high = max(begin - window, 0), min(end + window, len(stream))
    near = find_windows(
        stream, begin, end, low, high, window, by_distance, separator, keys[1], position
    )
    count = -(-size // group) * num_sampled
    words = draw_noise(cut, alias, keys[0], (position + begin) * -(-count // size), count)
    noise = [words[i : i + num_sampled] for i in range(0, count, num_sampled)]
    return [[low + p for p in row] for row in near], noise


class Occurrences:
    """The gradients of a batch, each of one occurrence of a word, and their weights."""

    def __init__(self, dim: int) -> None:
        self.words: list[int] = []
        self.grads: list[Array] = []
        self.weights: list[float] = []
        self._dim = dim

    def place(self, word: int) -> int:
        """Append an occurrence of a word; return its number."""
        self.words.append(int(word))
        self.grads.append(np.zeros(self._dim))
        self.weights.append(0.0)
        return len(self.words) - 1

    def add(self, i: int, grad: Array, weight: float) -> None:
        """Add to the gradient and the weight of an occurrence."""
        self.grads[i] = self.grads[i] + grad
        self.weights[i] += weight


def _learn_chunk(
    inputs: Array, outputs: Array, targets: list[int], contexts: list[list[tuple[int, int]]],
    noise: list[list[int]], rate: float, *, means: bool, logistic: bool,
    keep_hits: bool, corrections: Array, group: int = 32,
) -> tuple[Occurrences, Occurrences, float, int]:
    """Return the occurrences of inputs and of outputs, the sum of losses, and their number.

    `contexts` holds pairs (place, word); a place stands for one occurrence of an input. `group`
    windows share their noise words, whose weights with softmax are limited.
    """
    inputs, outputs = np.asarray(inputs, float), np.asarray(outputs, float)
    of_inputs, of_outputs = Occurrences(inputs.shape[1]), Occurrences(inputs.shape[1])
    met = sorted({pair for context in contexts for pair in context})
    at = {place: of_inputs.place(word) for place, word in met}
    noise_at = [[of_outputs.place(word) for word in words] for words in noise]
    total, pairs, learned = 0.0, 0, []
    heavy = np.zeros(np.shape(noise))  # weights
    for w, (target, context) in enumerate(zip(targets, contexts, strict=True)):
        if not context:
            continue
        words = noise[w // group]
        counts = [
            j for j, word in enumerate(words)
            if word not in words[:j] and (word != target or keep_hits)
        ]
        x = inputs[[word for _, word in context]]
        share = len(context) if means else 1
        x = x.mean(axis=0, keepdims=True) if means else x
        rows = [*(words[j] for j in counts), target]
        scores = outputs[rows] @ x.T
        if len(corrections):
            scores -= np.asarray(corrections, float)[rows][:, None]
        if logistic:
            changes, loss = logistic_scores(scores, len(counts), [-1], rate)
        else:
            p = _probabilities(scores)
            changes, loss = -rate * p, float(-np.log(p[-1]).sum())
            heavy[w // group, counts] += weigh_scores(changes[:-1].T)
        total, pairs = total + loss, pairs + len(x)
        learned.append((w, target, context, counts, rows, x, share, changes))
    for w, target, context, counts, rows, x, share, changes in learned:
        if not logistic:
            changes[:-1] *= _kept_share(heavy[w // group, counts])[:, None]
            changes[-1] = -changes[:-1].sum(axis=0)
        weights = weigh_scores(changes)
        for i, (place, _) in enumerate(context):
            lane = 0 if means else i
            weight = float(weights[lane]) / share
            of_inputs.add(at[place], changes[:, lane] @ outputs[rows] / share, weight)
        own = of_outputs.place(target)
        for k, i in enumerate([*(noise_at[w // group][j] for j in counts), own]):
            of_outputs.add(i, changes[k] @ x, weigh_row(changes, k))
    return of_inputs, of_outputs, total, pairs


def skipgram(*chunk: Any, **options: Any) -> tuple[Occurrences, Occurrences, float, int]:
    """Return the gradients of a chunk of skip-gram windows, see `_learn_chunk`."""
    return _learn_chunk(*chunk, means=False, **options)


def cbow(*chunk: Any, **options: Any) -> tuple[Occurrences, Occurrences, float, int]:
    """Return the gradients of a chunk of CBOW windows, see `_learn_chunk`."""
    return _learn_chunk(*chunk, means=True, **options)


def sort_owners(words: Array, weights: Array, absent: int, owners: int) -> list[list[int]]:
    """Return the positions of each owner's words; word w belongs to owner w % owners.

    A word that is absent, or has no weight, belongs to nobody.
    """
    words = np.asarray(words)
    here = np.where((words == absent) | (np.asarray(weights) == 0), -1, words % owners)
    return [np.flatnonzero(here == owner).tolist() for owner in range(owners)]


def list_occurrences(words: Array) -> dict[int, list[int]]:
    """Return the positions of each word, in the order of first occurrence."""
    places: dict[int, list[int]] = {}
    for i, word in enumerate(np.asarray(words).tolist()):
        places.setdefault(word, []).append(i)
    return places


def sample_rows(table: Array, words: Array, count: int) -> Array:
    """Return the rows of `count` of the words, spread evenly; -1 is no word."""
    table = np.asarray(table, float)
    chosen = [int(words[i * len(words) // count]) for i in range(count)]
    return np.array([table[word] if word >= 0 else np.zeros(table.shape[1]) for word in chosen])


def measure_samples(samples: Array) -> tuple[Array, float, float]:
    """Return the mean of those rows that are not zero, 1 / their number, and a bound.

    No mean of (u . d)**2 over these rows u is larger, whatever the unit vector d.
    """
    rows = np.asarray(samples, float)
    rows = rows[np.any(rows != 0, axis=1)]
    if not len(rows):
        return np.zeros(np.shape(samples)[1]), 1.0, 0.0
    return rows.mean(axis=0), 1 / len(rows), float(np.linalg.norm(rows.T @ rows)) / len(rows)


def update_rows(
    table: Array, words: Array, grads: Array, weights: Array, samples: Array
) -> Array:
    """Return the table with the gradients of each row added, scaled so that none overshoots.

    `samples` holds some rows of the other table; see `kernels.words.row_updates`.
    """
    table, grads = np.array(table, float), np.asarray(grads, float)
    samples, (mean, share, steepest) = np.asarray(samples, float), measure_samples(samples)
    for word, places in list_occurrences(words).items():
        total, weight = grads[places].sum(axis=0), sum(weights[i] for i in places)
        bound = sum(grads[i] @ grads[i] / weights[i] for i in places)
        if bound + weight * (steepest + 0.25) <= 1:
            table[word] += total
            continue
        along = total @ mean / max(mean @ mean, 1e-30)
        rest = total - along * mean
        square = rest @ rest
        bend = sum((grads[i] @ rest) ** 2 / weights[i] for i in places)
        bend += weight * (share * np.sum((samples @ rest) ** 2) + 0.25 * square)
        table[word] += along / max(weight * (mean @ mean + 0.25), 1.0) * mean
        table[word] += rest * square / max(bend, square, 1e-30)
    return table


def add_moment(rows: Array, center: Array, moment: Array) -> Array:
    """Return `moment` plus the sum of (r - center)(r - center)^T over the rows."""
    apart = np.asarray(rows, float) - center
    return np.asarray(moment, float) + apart.T @ apart


def iterate(moment: Array, vectors: Array) -> tuple[Array, Array]:
    """Return the vectors and values after a step of orthogonal iteration."""
    basis, values = np.array(vectors, float), np.zeros(len(vectors))
    for j in range(len(basis)):
        product = np.asarray(moment, float) @ basis[j]
        product -= basis[:j].T @ (basis[:j] @ product)
        values[j] = np.linalg.norm(product)
        basis[j] = product / values[j] if values[j] else 0
    return basis, values


def phi(x: float, num_blocks: int) -> float:
    """Return (1 - e**(-W x)) / (W (1 - e**-x)) for W blocks, and 1 for x = 0."""
    return math.expm1(-x * num_blocks) / (num_blocks * math.expm1(-x)) if x else 1.0


def damp_rows(
    weights: Array, vectors: Array, values: Array, rest: float, num_blocks: int, changes: Array
) -> Array:
    """Return changes damped along eigenvectors; see `kernels.words.damping`."""
    result, basis = np.array(changes, float), np.asarray(vectors, float)
    for i, weight in enumerate(np.asarray(weights, float)):
        if weight * values[0] * num_blocks >= 0.1:
            along = basis @ result[i]
            factors = [phi(weight * value, num_blocks) for value in np.asarray(values, float)]
            other = result[i] - basis.T @ along
            result[i] = phi(weight * rest, num_blocks) * other + basis.T @ (factors * along)
    return result


def train_windows(
    inputs: Array, outputs: Array, chunks: list[tuple[Occurrences, Occurrences, float, int]],
    samples: list[Array],
) -> tuple[Array, Array, float, int]:
    """Return the tables after a batch of chunks, the sum of losses, and their number.

    `samples` holds samples of the rows of inputs and of outputs, see `sample_rows`.
    """
    tables = []
    for table, side in ((inputs, 0), (outputs, 1)):
        parts: list[Any] = [chunk[side] for chunk in chunks]
        words, grads, weights = (
            [item for part in parts for item in getattr(part, name)]
            for name in ("words", "grads", "weights")
        )
        known = [i for i, weight in enumerate(weights) if weight > 0]
        tables.append(
            update_rows(
                table, [words[i] for i in known],
                np.array([grads[i] for i in known]).reshape(-1, np.shape(table)[1]),
                [weights[i] for i in known], samples[1 - side],
            )
        )
    return *tables, sum(chunk[2] for chunk in chunks), sum(chunk[3] for chunk in chunks)


# Retrieval. A network is a list of (weights, biases), one pair for each layer.


def fill_histories(
    events: Array, begins: Array, positions: Array, ends: Array, unordered: bool, key: int,
    length: int, absent: int,
) -> list[list[int]]:
    """Return the history of each example; an empty one is [absent]."""
    histories = []
    for begin, position, end in zip(begins, positions, ends, strict=True):
        history = list(events[begin:position])
        if unordered:
            history += list(events[position + 1 : end])
            place = (hash64(key, int(position)) >> 32) * len(history) >> 32
            history = (history[place:] + history[:place])[:length]
        histories.append([int(item) for item in history[-length:]] or [absent])
    return histories


def measure_histories(histories: list[list[int]]) -> tuple[Array, int]:
    """Return where each history starts if all are concatenated, and the longest length."""
    lengths = [len(history) for history in histories]
    return np.cumsum([0, *lengths]), max(lengths)


def copy_rows(rows: Array, source: Array, places: Array, target: Array) -> Array:
    """Return the target after some rows of the source were copied to its places.

    If rows of one of them are longer, their ends are left as they are.
    """
    target, dim = np.array(target), min(np.shape(source)[1], np.shape(target)[1])
    target[places, :dim] = np.asarray(source)[rows, :dim]
    return target


def merge_rows(rows: Array, new: Array, slots: Array, old: Array, table: Array) -> Array:
    """Return the table with learned rows: replaced where `slots` is negative, else moved."""
    table = np.array(table, float)
    for row, values, slot in zip(rows, np.asarray(new, float), slots, strict=True):
        table[row] = values if slot < 0 else table[row] + values - old[slot]
    return table


def factorize(ids: Array) -> tuple[Array, Array]:
    """Return each id's position among the distinct ids, and those in order of occurrence."""
    places: dict[int, int] = {}
    slots = [places.setdefault(int(row), len(places)) for row in ids]
    return np.array(slots, int), np.array(list(places), int)


def adagrad_rows(
    rows: Array, grads: Array, rate: float, decay: float, table: Array, squares: Array
) -> tuple[Array, Array]:
    """Return the updated table and sums of mean squares; without `squares`, plain SGD."""
    table, squares = np.array(table, float), np.array(squares, float)
    for row, grad in zip(rows, grads, strict=True):
        slope, step = grad + decay * table[row], rate
        if len(squares):
            squares[row] += np.mean(slope**2)
            step = rate * inverse_root(squares[row])
        table[row] -= step * slope
    return table, squares


def adam_rows(
    rows: Array, grads: Array, rate: float, share: float, share_squares: float, epsilon: float,
    table: Array, means: Array, squares: Array,
) -> tuple[Array, Array, Array]:
    """Return the changed table, means and mean squares of the gradients."""
    table, means, squares = (np.array(array, float) for array in (table, means, squares))
    for row, grad in zip(rows, grads, strict=True):
        means[row] = (1 - share) * means[row] + share * grad
        squares[row] = (1 - share_squares) * squares[row] + share_squares * grad**2
        table[row] -= rate * means[row] / (np.sqrt(squares[row]) + epsilon)
    return table, means, squares


def gather_items(
    items: Array, features: Array, codes: Array, rows: Array, num_scored: int, normalize: bool
) -> tuple[Array, Array, Array]:
    """Return the items' vectors and, of those that are scored, unit vectors and 1 / length."""
    out = np.array([items[row] + features[codes[row]].sum(axis=0) for row in rows], float)
    scored = out[:num_scored]
    inverse = inverse_root(np.sum(scored**2, axis=1)) if normalize else np.ones(num_scored)
    return out, inverse[:, None] * scored, inverse


def backward_items(
    unit: Array, inverse: Array, normalize: bool, histories: list[Any], mean_grads: Array,
    grads: Array,
) -> Array:
    """Return the gradients of vectors, given those of unit vectors and of histories' means."""
    grads = np.array(grads, float)
    if normalize:
        for r, u in enumerate(unit):
            grads[r] = inverse[r] * (np.eye(len(u)) - np.outer(u, u)) @ grads[r]
    for history, grad in zip(histories, mean_grads, strict=True):
        for slot in history:
            grads[slot] += grad / len(history)
    return grads


def feature_grads(
    user_slots: Array, part_grads: Array, item_slots: Array, item_grads: Array, num_rows: int
) -> Array:
    """Return the gradients of the features' rows; part_grads is (batch_size, features, dim)."""
    grads = np.zeros((num_rows, item_grads.shape[1]))
    np.add.at(grads, user_slots, part_grads)
    for slots, grad in zip(item_slots, item_grads, strict=True):
        np.add.at(grads, slots, grad)
    return grads


def forward_tower(
    vectors: Array, histories: list[Any], features: Array, user_rows: Array, network: list[Any],
    scale: float, normalize: bool,
) -> tuple[list[Array], Array, Array]:
    """Return [the inputs of all layers, the output], the users' vectors, and 1 / length."""
    parts = np.array([
        [np.mean(vectors[history], axis=0, dtype=float), *features[rows]]
        for history, rows in zip(histories, user_rows, strict=True)
    ])
    values = [parts.reshape(len(parts), -1) if network else parts.sum(axis=1)]
    for layer, (weights, biases) in enumerate(network, 1):
        z = values[-1] @ weights + biases
        values.append(np.maximum(z, 0) if layer < len(network) else z)
    squares = np.sum(values[-1] ** 2, axis=1)
    inverse = inverse_root(squares) if normalize else np.ones(len(parts))
    return values, scale * inverse[:, None] * values[-1], inverse


def backward_tower(
    x: Array, grad_x: Array, inverse: Array, scale: float, normalize: bool, network: list[Any],
    values: list[Array],
) -> list[Array]:
    """Return the gradients of the first result of `forward_tower`."""
    unit = x / scale
    along = np.sum(grad_x * unit, axis=1, keepdims=True) if normalize else 0.0
    grads = [scale * inverse[:, None] * (grad_x - along * unit)]
    for layer in reversed(range(len(network))):
        grad = grads[0] @ np.transpose(network[layer][0])
        grads.insert(0, grad * (values[layer] > 0) if layer else grad)
    return grads


def update_tower(
    values: list[Array], grads: list[Array], rate: float, network: list[Any], squares: list[Any]
) -> tuple[list[Any], list[Any]]:
    """Return the updated network and sums of squares; without `squares`, plain SGD."""
    changed, sums = [], []
    for layer, arrays in enumerate(network):
        slopes = values[layer].T @ grads[layer + 1], grads[layer + 1].sum(axis=0)
        steps = [rate, rate]
        if squares:
            sums.append([old + g**2 for old, g in zip(squares[layer], slopes, strict=True)])
            steps = [rate * inverse_root(total) for total in sums[layer]]
        changed.append([a - s * g for a, s, g in zip(arrays, steps, slopes, strict=True)])
    return changed, sums


# Text


def encode_words(text: bytes, index: dict[str, int], keep_unknown: bool) -> list[int]:
    """Return the ids of valid UTF-8: -1 for a newline, -2 - position for an unknown word.

    Newlines in a row count as one. A word that touches the end may continue, so it is left out.
    """
    ids: list[int] = []
    place = 0
    *whole, rest = text.decode().split("\n")
    lines = [(line.split(), True) for line in whole]
    lines.append((rest.split() if rest[-1:].isspace() else rest.split()[:-1], False))
    for words, ends in lines:
        for word in words:
            place = text.index(word.encode(), place)
            if word in index:
                ids.append(index[word])
            elif keep_unknown:
                ids.append(-2 - place)
            place += len(word.encode())
        if ends and ids[-1:] != [-1]:
            ids.append(-1)
    return ids


def count_words(ids: list[int], text: bytes, words: dict[str, int]) -> dict[str, int]:
    """Return the counts of `words`, in the order of their ids, from what `encode_words` gave."""
    counts = dict(words)
    known = list(words)
    for i in ids:
        if i != -1:
            word = known[i] if i >= 0 else text[-2 - i :].decode().split()[0]
            counts[word] = counts.get(word, 0) + 1
    return counts


def fill_slots(arena: bytes) -> dict[str, int]:
    """Return the id of each word, one word a line; an empty line takes an id, but is no word."""
    lines = arena.decode().split("\n")[:-1]
    return {word: i for i, word in enumerate(lines) if word}
