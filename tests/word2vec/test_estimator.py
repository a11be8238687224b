"""estimator.py: planted structure found again, the same bits from every side, bad input refused."""

import bz2
import gzip
import os
from itertools import product

import numpy as np
import pytest

from numba_ss import ArgumentError, PackedCorpus, Word2Vec
from numba_ss.kernels.core.threads import max_num_threads
from numba_ss.word2vec import corpus
from tests.conftest import JIT, needs_jit

ARCHITECTURES = ("skipgram", "cbow")
LOSSES = ("sampled_softmax", "negative_sampling", "sampled_logistic", "nce")
SAMPLERS = ("unigram", "log_uniform", "uniform")


def topic_text(num_topics, words_each, num_sentences, length, seed=0):
    """Return sentences, each of words of one topic alone; word "3_7" is the 7th of topic 3."""
    rng = np.random.default_rng(seed)
    return [
        [f"{i % num_topics}_{word}" for word in rng.integers(words_each, size=length)]
        for i in range(num_sentences)
    ]


TEXT = topic_text(2, 4, 60 if JIT else 8, 10)


def trained(text=TEXT, *, fit=None, **options):
    """Fit on one thread, for on a small text others cost time."""
    defaults = {
        "vector_size": 8, "min_count": 1, "subsample": 0, "epochs": 2, "batch_size": 16,
        "num_threads": 1,
    }
    return Word2Vec(**defaults | options).fit(text, progress=False, **(fit or {}))


def bits(model):
    """Return all that was learned."""
    return (
        model.vectors_.index_to_key, model.vectors_.vectors.tobytes(), model._outputs.tobytes(),
        model.vocabulary_.counts.tolist(), [entry["loss"] for entry in model.history_],
    )


def share_of_own_topic(vectors):
    """Return how many of the nearest words are of the word's own topic: 1 at best."""
    topics = [word.split("_")[0] for word in vectors.index_to_key]
    own = [
        near.split("_")[0] == topic
        for word, topic in zip(vectors.index_to_key, topics, strict=True)
        for near, _ in vectors.most_similar(word, topn=topics.count(topic) - 1)
    ]
    return np.mean(own)


def as_flags(options):
    """Return options as the command line takes them."""
    named = {f"--{name.replace('_', '-')}": str(value) for name, value in options.items()}
    return [part for item in named.items() for part in item]


def environment():
    """Return that of a process whose warnings, if its kernels are compiled, count."""
    return {**os.environ, "PYTHONWARNINGS": "default" if JIT else "ignore"}


OPTIONS = list(product(ARCHITECTURES, LOSSES, SAMPLERS, (True, False)))


# Uninterpreted, every architecture and loss once, with another sampler each time.
@pytest.mark.parametrize(
    ("architecture", "loss", "sampler", "subtract_log_q"), OPTIONS if JIT else OPTIONS[::5]
)
def test_words_of_a_topic_become_neighbours(architecture, loss, sampler, subtract_log_q):
    """By chance 23 in 100 would be of the word's own topic, or 43 of two topics."""
    text = topic_text(4, 8, 400, 10) if JIT else topic_text(2, 4, 20, 10)
    model = trained(
        text, vector_size=16, window=3, learning_rate=0.1, epochs=4, architecture=architecture,
        loss=loss, sampler=sampler, subtract_log_q=subtract_log_q,
    )
    assert share_of_own_topic(model.vectors_) > 0.9
    losses = [entry["loss"] for entry in model.history_]
    assert losses[-1] < 0.9 * losses[0]


@needs_jit
@pytest.mark.parametrize("window", [1, 2])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_window_reaches_so_far(architecture, window, rng):
    """Four classes of words take turns: words at distance 2 meet if the window is 2."""
    text = [[f"{i % 4}_{rng.integers(3)}" for i in range(40)] for _ in range(50)]
    model = trained(
        text, vector_size=16, window=window, learning_rate=0.1, architecture=architecture, epochs=4
    )
    scores = model.vectors_.vectors @ model._outputs.T
    place = np.array([int(word[0]) for word in model.vectors_.index_to_key])
    apart = (place - place[:, None]) % 4
    likely = [scores[apart == distance].mean() > 0 for distance in range(4)]
    assert likely == [False, True, window == 2, True]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sentences_end_contexts(architecture):
    """A word that always stands alone is in no context: its vector stays as it was."""
    text = [sentence for pair in TEXT[:12] for sentence in (pair, ["alone"])]
    before = trained(text, architecture=architecture, learning_rate=0, window=5)
    after = trained(text, architecture=architecture, window=5)
    changed = {
        word for word in after.vectors_.index_to_key
        if not np.array_equal(before.vectors_[word], after.vectors_[word])
    }
    assert changed == {word for sentence in TEXT[:12] for word in sentence}


def planted(kind, seed=1):
    """Return a text that makes summed gradients overshoot, and the options for it."""
    rng = np.random.default_rng(seed)
    if kind == "bursts":
        # Look-alike articles: rare words that come hundreds of times one after the other.
        shares = 1 / np.arange(1, 1001)
        text = rng.choice(1000, (600, 20), p=shares / shares.sum()).astype(str).tolist()
        for i in range(0, 600, 150):
            a, b, c = (f"{i}{letter}" for letter in "abc")
            text[i:i] = [[a, "is", "a", "village", "in", b, "near", c, f"n{j % 7}"] for j in range(300)]
        return text, {"min_count": 5, "subsample": 1e-3, "vector_size": 50}
    if kind == "graph":
        # A wheel: two hubs and their rims, with node2vec's usual settings.
        near = [[1, *range(2, 18)], [0, *range(18, 34)], *([[i // 18, i - 1 if i not in (2, 18) else i + 1] for i in range(2, 34)])]
        text = []
        for start in range(34):
            walk = [start]
            while len(walk) < 80:
                walk.append(int(rng.choice(near[walk[-1]])))
            text += [[str(node) for node in walk]] * 3
        return text, {"window": 10, "vector_size": 64}
    if kind == "two words":
        return [["a", "b"]] * 2000, {}
    if kind == "one document":
        return [[str(i) for i in range(60)]] * 100, {"window": 40, "learning_rate": 0.1}
    assert kind == "one frequent word"
    shares = 1 / np.arange(1, 501) ** 2
    text = rng.choice(500, (400, 20), p=shares / shares.sum()).astype(str).tolist()
    return text, {"num_sampled": 30}


@needs_jit
@pytest.mark.parametrize("kind", ["bursts", "graph", "two words", "one document", "one frequent word"])
@pytest.mark.parametrize(("architecture", "loss"), list(product(ARCHITECTURES, LOSSES)))
def test_no_text_makes_vectors_grow(kind, architecture, loss):
    """Vectors stay as short as gensim's, whose length is at most 19 on such texts."""
    text, options = planted(kind)
    model = trained(
        text, architecture=architecture, loss=loss, epochs=4,
        **{"vector_size": 20, "batch_size": None, **options},
    )
    assert np.linalg.norm(model.vectors_.vectors, axis=1).max() < 20
    assert np.isfinite(model._outputs).all()
    zeros = trained(
        text, architecture=architecture, loss=loss, epochs=1,
        **{"vector_size": 20, "batch_size": None, **options, "learning_rate": 0},
    )
    assert model.history_[-1]["loss"] < 1.01 * zeros.history_[0]["loss"]


@needs_jit
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_frequencies_are_known_from_the_start(architecture):
    """With log Q subtracted, losses and lengths are as without: Zipf's law in 25 topics of 100 words."""
    rng, shares = np.random.default_rng(0), 1 / np.arange(1, 101)
    text = [
        [f"{i % 25}_{word}" for word in rng.choice(100, 20, p=shares / shares.sum())]
        for i in range(8000)
    ]
    models = {
        loss: Word2Vec(50, architecture=architecture, loss=loss, epochs=3, num_threads=1).fit(
            text, progress=False
        )
        for loss in ("negative_sampling", "sampled_logistic", "nce")
    }
    (plain, *corrected), (length, *lengths) = (
        [of(model) for model in models.values()]
        for of in (
            lambda model: model.history_[-1]["loss"],
            lambda model: np.linalg.norm(model.vectors_.vectors, axis=1).max(),
        )
    )
    assert max(corrected) < 1.1 * plain
    assert max(lengths) < 1.5 * length


MANY = topic_text(4, 80, 300 if JIT else 10, 10, seed=5)


@needs_jit
@pytest.mark.skipif(max_num_threads() < 2, reason="needs two threads")
@pytest.mark.parametrize(("architecture", "loss"), [("skipgram", "nce"), ("cbow", "sampled_softmax")])
def test_any_number_of_threads_gives_the_same_bits(architecture, loss):
    """With batches of one size, and of the size that the text asks for."""
    options = {"vector_size": 40, "architecture": architecture, "loss": loss, "subsample": 1e-3}
    one, *others = (
        bits(trained(MANY, num_threads=n, batch_size=size, **options))
        for size in (128, None) for n in (1, 2)
    )
    assert one == others[0]
    assert others[1] == others[2]


def test_the_seed_decides():
    assert bits(trained(seed=3)) == bits(trained(seed=3))
    three, four = trained(seed=3), trained(seed=2**63 - 1)
    assert bits(three)[0] == bits(four)[0]
    assert not np.isclose(three.vectors_.vectors, four.vectors_.vectors).all()


@pytest.mark.parametrize("subsample", [0, 1e-3])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_seams_between_blocks_do_not_show(monkeypatch, architecture, subsample):
    options = {"window": 4, "architecture": architecture, "subsample": subsample}
    whole = bits(trained(MANY, **options))
    for size in (64, 257):
        monkeypatch.setattr(corpus, "STREAM_SIZE", size)
        assert bits(trained(MANY, **options)) == whole


def packed(text):
    words = sorted({word for sentence in text for word in sentence}, reverse=True)
    ids = np.array([words.index(word) for sentence in text for word in sentence], np.uint16)
    return PackedCorpus(ids, np.cumsum([0, *map(len, text)]), words)


def write_parquet(path, column):
    arrow = pytest.importorskip("pyarrow")
    arrow.parquet = pytest.importorskip("pyarrow.parquet")
    arrow.parquet.write_table(arrow.table({"number": [0] * len(column), "text": column}), path)
    return path


class Sentences:
    """Start anew each time."""

    def __iter__(self):
        return (tuple(sentence) for sentence in TEXT)


@pytest.mark.parametrize(
    "form",
    ["file", "crlf", "gz", "bz2", "files", "folder", "iterable", "packed", "table", "lists", "lines"],
)
def test_every_form_of_a_text_gives_the_same_bits(form, tmp_path):
    lines = [" ".join(sentence) for sentence in TEXT]
    data = "\n".join(lines).encode()
    path = tmp_path / "text"
    if form in ("file", "crlf"):
        path.write_bytes(b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n") if form == "crlf" else data)
    elif form in ("gz", "bz2"):
        path = path.with_suffix(f".{form}")
        path.write_bytes({"gz": gzip, "bz2": bz2}[form].compress(data))
    elif form in ("files", "folder"):
        path.mkdir()
        for i in (0, 1):
            (path / f"{i}.txt").write_text("\n".join(lines[i * 5 : 5 if i == 0 else None]))
        path = path if form == "folder" else sorted(path.iterdir())
    elif form == "table":
        path = pytest.importorskip("pyarrow").table({"text": TEXT})
    elif form in ("lists", "lines"):
        path = write_parquet(tmp_path / "t.parquet", TEXT if form == "lists" else lines)
    else:
        path = {"iterable": Sentences, "packed": lambda: packed(TEXT)}[form]()
    fit = {"column": "text"} if form in ("table", "lists", "lines") else None
    assert bits(trained(path, fit=fit)) == bits(trained())


@pytest.mark.parametrize("num_sampled", [1, 6])
@pytest.mark.parametrize("loss", ["sampled_softmax", "negative_sampling", "nce"])
def test_the_first_loss_is_that_of_no_knowledge(loss, num_sampled, rng):
    """Fewer samples count, because repetitions and, except with NCE, the target itself do not."""
    text = [[str(word) for word in rng.permutation(400)] for _ in range(10 if JIT else 5)]
    options = {"loss": loss, "num_sampled": num_sampled, "sampler": "uniform", "learning_rate": 0}
    one, three = trained(text, epochs=1, **options), trained(text, epochs=3, **options)
    is_softmax, share = loss == "sampled_softmax", 1 / (1 + num_sampled)  # of the target
    known = -np.log(share) - (0 if is_softmax else num_sampled * np.log(1 - share))
    losses = [entry["loss"] for entry in three.history_]
    np.testing.assert_allclose(losses, known, rtol=0.05)
    if is_softmax:
        assert max(losses) < known
    # A rate of 0 leaves the start as it is: small numbers around 0, all different.
    start = one.vectors_.vectors.copy()
    np.testing.assert_array_equal(start, three.vectors_.vectors)
    start[:, 0] -= 0 if is_softmax else 0.5
    assert len(np.unique(start)) > 0.9 * start.size
    np.testing.assert_allclose([start.min(), start.mean(), start.max()], [-1 / 16, 0, 1 / 16], atol=0.01)


HELD_OUT = [*topic_text(2, 4, 6, 9, seed=8), ["unknown", "0_1", "unknown", "0_2"], ["1_1"]]


def full_loss(model, log_q):
    """Return the loss over all words, of all windows of HELD_OUT, in float64."""
    index = {word: i for i, word in enumerate(model.vectors_.index_to_key)}
    inputs, outputs = model.vectors_.vectors.astype(float), model._outputs.astype(float)
    losses = []
    for sentence in HELD_OUT:
        ids = [index[word] for word in sentence if word in index]
        for p, target in enumerate(ids):
            context = ids[max(p - model.window, 0) : p] + ids[p + 1 : p + 1 + model.window]
            rows = inputs[context]
            if context and model.architecture == "cbow":
                rows = rows.mean(axis=0, keepdims=True)
            scores = rows @ outputs.T + log_q
            losses += list(np.log(np.exp(scores).sum(axis=1)) - scores[:, target])
    return np.mean(losses)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(
    ("subtract_log_q", "sampler", "num_sampled"),
    [(True, "unigram", 6), (False, "uniform", 6), (False, "unigram", 1)],
)
def test_validation_loss(architecture, subtract_log_q, sampler, num_sampled):
    """With log Q added if scores are learned relative to it, for two cases of Q."""
    model = trained(
        architecture=architecture, subtract_log_q=subtract_log_q, sampler=sampler,
        num_sampled=num_sampled, window=3, learning_rate=0.1,
        fit={"validation": (sentence for sentence in HELD_OUT)},
    )
    counts = model.vocabulary_.counts
    log_q = 0.75 * np.log(counts) if (sampler, subtract_log_q) == ("unigram", False) else 0 * counts
    losses = [entry["validation_loss"] for entry in model.history_]
    assert losses[-1] == pytest.approx(full_loss(model, log_q), rel=1e-5)
    plain = trained(
        architecture=architecture, subtract_log_q=subtract_log_q, sampler=sampler,
        num_sampled=num_sampled, window=3, learning_rate=0.1,
    )
    assert bits(plain) == bits(model)
    assert "validation_loss" not in plain.history_[0]


def test_validation_loss_falls():
    """It falls from log 8 towards log 4, the loss of a model that knows the topic only."""
    model = trained(
        topic_text(2, 4, 20, 10), fit={"validation": HELD_OUT}, learning_rate=0.02,
        subtract_log_q=True, epochs=4, window=3,
    )
    losses = [entry["validation_loss"] for entry in model.history_]
    assert losses == sorted(losses, reverse=True)
    assert np.log(4) < losses[-1] < 0.98 * np.log(8)


def test_history():
    history = trained(epochs=3, learning_rate=0.5e-1, min_learning_rate=0.5e-2).history_
    assert [entry["epoch"] for entry in history] == [1, 2, 3]
    assert {entry["words"] for entry in history} == {sum(map(len, TEXT))}
    np.testing.assert_allclose([e["learning_rate"] for e in history], [0.035, 0.02, 0.005])
    assert all(entry["seconds"] >= 0 and entry["words_per_second"] > 0 for entry in history)


@pytest.mark.parametrize("schedule", ["linear", "constant"])
def test_schedule(schedule):
    seen = []
    trained(
        schedule=schedule, learning_rate=0.04, min_learning_rate=0.01, epochs=2,
        fit={"callbacks": lambda event: seen.append((event.kind, event.examples, event.learning_rate))},
    )
    total = 2 * sum(map(len, TEXT))
    for kind, words, rate in seen:
        # A step tells the rate it took, that of the words before it: up to 16 fewer.
        lag = 16 if kind in ("step", "checkpoint") else 0
        want = [0.04 - 0.03 * max(words - back, 0) / total for back in (0, lag)]
        assert rate == 0.04 if schedule == "constant" else want[0] <= rate + 1e-12
        assert schedule == "constant" or rate <= want[1] + 1e-12


@pytest.mark.parametrize("subsample", [0, 0.001, 0.05])
def test_subsample_leaves_out_frequent_words(subsample, rng):
    sizes = [1500, 400, 100] if JIT else [150, 80, 20]
    words = rng.permutation(np.repeat(["often", "some", "rare"], sizes)).tolist()
    seen = []
    trained([words], epochs=4 if JIT else 2, subsample=subsample, fit={"callbacks": seen.append})
    f = np.array(sizes) / sum(sizes)
    keep = np.minimum(1, np.sqrt(subsample / f) + subsample / f) if subsample else np.ones(3)
    end = seen[-1]
    mean = end.epoch * np.sum(sizes * keep)
    deviation = np.sqrt(end.epoch * np.sum(sizes * keep * (1 - keep)))
    assert abs(end.examples - mean) <= 4 * deviation
    per_epoch = np.diff([0, *[event.examples for event in seen if event.kind == "epoch"]])
    assert (len(set(per_epoch)) > 1) == (subsample > 0)


class Turns:
    """Another text at each pass; the last one again and again."""

    def __init__(self, *texts):
        self.texts = list(texts)

    def __iter__(self):
        return iter(self.texts.pop(0) if len(self.texts) > 1 else self.texts[0])


class Spent:
    """An iterable that returns the same iterator each time."""

    def __init__(self):
        self.iterator = iter(TEXT)

    def __iter__(self):
        return self.iterator


@pytest.mark.parametrize(
    ("message", "text", "epochs"),
    [
        ("corpus: .*got generator, which can be read once only", lambda: (s for s in TEXT), 1),
        ("corpus: .*got list_iterator, which can be read once", lambda: iter(TEXT), 1),
        ("corpus: expected words in every pass, got none in pass 2", Spent, 1),
        ("corpus: expected words in every pass, got none in pass 2", lambda: Turns(TEXT, []), 1),
        ("corpus: expected words in every pass, got none in pass 3", lambda: Turns(TEXT, TEXT, []), 2),
        ("expected words in every pass, got none", lambda: Turns(TEXT, [["new", "words"]] * 9), 1),
        (r"corpus\[0\]: .*lists of words, not strings", lambda: ["a text", "of strings"], 1),
        (r"corpus\[1\]: .*got the string 'letters'", lambda: [["a", "b"], "letters"], 1),
        (r"corpus\[1\]\[0\]: expected a string or an integer, got 1\.5", lambda: [["a", "b"], [1.5]], 1),
        ("corpus: .*got NoneType", lambda: None, 1),
        ("corpus: .*got 'absent.txt', which does not exist", lambda: "absent.txt", 1),
        ("corpus: expected at least one word, got none", lambda: [[], []], 1),
        ("corpus: expected two different words .* got 1", lambda: [["a"] * 9], 1),
        ("corpus: expected a sentence with two words .* got none", lambda: [["a"], ["b"]] * 9, 1),
    ],
)
def test_bad_text(message, text, epochs):
    model = Word2Vec(8, min_count=1, subsample=0, epochs=epochs)
    with pytest.raises(ArgumentError, match=message):
        model.fit(text(), progress=False)
    # In the third pass one epoch is finished.
    assert hasattr(model, "vectors_") == message.endswith("pass 3")


def test_passes_are_counted_anew_for_a_further_text():
    model = trained(epochs=3)
    with pytest.raises(ArgumentError, match="corpus: expected words in every pass, got none in pass 2"):
        model.partial_fit(Turns(TEXT, []), progress=False)


def test_a_text_that_is_left_out_altogether():
    with pytest.raises(ArgumentError, match="that subsample does not leave out, got none"):
        trained([["a", "b"]] * 3, subsample=1e-12)


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("checkpoint_words: ", {"checkpoint_words": 0}),
        ("column: .*got 'text'", {"column": "text"}),
        ("validation: .*got 'absent.txt', which", {"validation": "absent.txt"}),
        ("validation: .*got int", {"validation": 5}),
        ("validation: .*got none", {"validation": [["?", "!"]]}),
        ("validation: .*got none", {"validation": [["0_1"], ["0_2"]]}),
    ],
)
def test_bad_arguments_of_word2vec(message, arguments):
    test_bad_arguments_of_fit((message, arguments))


def test_bad_arguments_of_fit(bad_fit_arguments):
    message, arguments = bad_fit_arguments
    model = Word2Vec(8, min_count=1, subsample=0)
    with pytest.raises(ArgumentError, match=message):
        model.fit(TEXT, **{"progress": False, **arguments})
    assert not hasattr(model, "vectors_")


def test_unicode(tmp_path):
    sentence = ["Ähre", "日本", "🌍", "e\u0301", "نص"]
    path = tmp_path / "text.txt"
    path.write_text(f"{' '.join(sentence)}\r\n" * 5, encoding="utf-8", newline="")
    assert sorted(trained(path).vectors_.index_to_key) == sorted(sentence)


def test_a_saved_model_learns_on_as_if_it_had_stayed(tmp_path):
    text, more = [["a", "b", "c", "d"]] * 30, [["a", "b", "x", "y"]] * 30
    options = dict(vector_size=8, min_count=2, subsample=0, epochs=2)
    model = Word2Vec(**options).fit(text, progress=False)
    model.save(tmp_path / "model.npz")
    loaded = Word2Vec.load(tmp_path / "model.npz")
    assert loaded.get_params() == model.get_params()
    assert loaded.history_ == model.history_
    model.partial_fit(more, progress=False)
    loaded.partial_fit(more, progress=False)
    assert loaded.vocabulary_.words == model.vocabulary_.words
    np.testing.assert_array_equal(loaded.vectors_.vectors, model.vectors_.vectors)


def test_given_words_are_saved_though_the_text_lacked_them(tmp_path):
    model = trained(vocabulary=["0_1", "0_2", "unicorn"])
    model.save(tmp_path / "model.npz")
    model = Word2Vec.load(tmp_path / "model.npz")
    model.partial_fit([["unicorn", "0_1", "0_2"]] * 9, progress=False)
    assert "unicorn" in model.vectors_


def test_parameters_of_numpy_s_types_are_saved(tmp_path):
    numbers = {"vector_size": np.int64(4), "learning_rate": np.float32(0.05), "seed": np.uint8(3)}
    model = Word2Vec(**numbers, subtract_log_q=np.bool_(True), min_count=1, subsample=0, epochs=1)
    model.fit([["a", "b"]] * 9, progress=False).save(tmp_path / "model.npz")
    loaded = Word2Vec.load(tmp_path / "model.npz")
    assert loaded.get_params() == model.get_params()
    np.testing.assert_array_equal(loaded.vectors_.vectors, model.vectors_.vectors)


def test_save_and_load_refuse_what_is_no_model(tmp_path):
    with pytest.raises(ArgumentError, match="model: expected one that has learned"):
        Word2Vec().save(tmp_path / "model.npz")
    assert not list(tmp_path.iterdir())
    Word2Vec(4, min_count=1, subsample=0, epochs=1).fit([["a", "b"]] * 9, progress=False).save(
        tmp_path / "model.npz"
    )
    data = (tmp_path / "model.npz").read_bytes()
    for cut in (0, 10, len(data) // 2, len(data) - 3):
        (tmp_path / "cut.npz").write_bytes(data[:cut])
        with pytest.raises(ArgumentError, match=r"cut.npz: expected a model that"):
            Word2Vec.load(tmp_path / "cut.npz")


def test_documents_become_means_of_vectors():
    model = trained()
    words = model.vectors_.index_to_key
    got = model.transform([words[:3], ["unknown"], [words[1], "unknown"]])
    want = [model.vectors_[words[:3]].mean(axis=0), np.zeros(8), model.vectors_[words[1]]]
    np.testing.assert_allclose(got, want, rtol=1e-6)
    with pytest.raises(ArgumentError, match="one that has learned"):
        Word2Vec().transform([["a"]])
    np.testing.assert_array_equal(model.fit_transform(TEXT, progress=False), trained().transform(TEXT))


def test_a_step_of_a_pipeline_of_scikit_learn():
    """Documents of two topics are told apart by the means of their words' vectors."""
    pipeline = pytest.importorskip("sklearn.pipeline")
    linear = pytest.importorskip("sklearn.linear_model")
    text = topic_text(2, 4, 60, 10, seed=3) if JIT else TEXT
    topics = [sentence[0][0] for sentence in text]
    step = Word2Vec(8, min_count=1, subsample=0, epochs=3, num_threads=1, learning_rate=0.1, batch_size=16)
    model = pipeline.make_pipeline(step, linear.LogisticRegression(C=1e4))
    assert model.fit(text, topics).score(text, topics) == 1


def test_encoding_of_files(tmp_path):
    words = "Käse Öl"
    (tmp_path / "text.txt").write_bytes((f"{words}\n" * 9).encode("cp1252"))
    options = {"min_count": 1, "subsample": 0, "vector_size": 4, "epochs": 1}
    paths = {"corpus": tmp_path / "text.txt", "validation": tmp_path / "text.txt"}
    model = Word2Vec(**options).fit(**paths, progress=False, encoding="cp1252")
    assert set(model.vectors_.index_to_key) == set(words.split())
    model.partial_fit(**paths, progress=False, encoding="cp1252")
    assert model.vocabulary_.counts.tolist() == [18, 18]
    with pytest.raises(ArgumentError, match="encoding: expected"):
        Word2Vec(**options).fit(tmp_path / "text.txt", progress=False, encoding="nonsense")
