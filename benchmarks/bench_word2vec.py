"""Word vectors: reading text, training, and what the vectors are worth."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numba
import numpy as np

import numba_ss

SENTENCE = 20  # words
READINGS = 5
EPOCHS = {"skipgram": 2, "cbow": 6}  # that leave planted topics neither lost nor all found


def zipf_ids(rng, num_ids, num_words):
    """Return ids whose frequency falls as that of words: by their rank."""
    shares = 1 / np.arange(1, num_words + 1)
    return rng.choice(num_words, num_ids, p=shares / shares.sum())


def packed(ids, sentence):
    """Return ids as a corpus of sentences of one length."""
    return numba_ss.PackedCorpus(ids, np.arange(0, len(ids) + 1, sentence))


class Epoch:
    """An epoch over 200,000 words of 5,000 different ones."""

    params = (["skipgram", "cbow"], [1, 2])
    param_names = ("architecture", "num_threads")
    timeout = 600

    def setup(self, architecture, num_threads):
        if num_threads > numba.config.NUMBA_NUM_THREADS:
            raise NotImplementedError
        ids = zipf_ids(np.random.default_rng(0), 200_000, 5_000)
        self.corpus = packed(ids, SENTENCE)
        self.model = numba_ss.Word2Vec(
            architecture=architecture, epochs=1, num_threads=num_threads
        )
        self.time_fit(architecture, num_threads)  # compile

    def time_fit(self, architecture, num_threads):
        self.model.fit(self.corpus, progress=False)

    def peakmem_fit(self, architecture, num_threads):
        self.time_fit(architecture, num_threads)

    def track_words_per_second(self, architecture, num_threads):
        """Return the speed of training alone: without counting, tables and result."""
        speeds = []
        for _ in range(READINGS):
            self.time_fit(architecture, num_threads)
            speeds.append(self.model.history_[0]["words_per_second"])
        return float(np.median(speeds))

    track_words_per_second.unit = "words/s"


class Reading:
    """A file of 500,000 words, read as it is counted and as it is encoded."""

    timeout = 600

    def setup(self):
        ids = zipf_ids(np.random.default_rng(0), 500_000, 50_000)
        words = np.array([f"word{i}" for i in range(50_000)])[ids].reshape(-1, SENTENCE)
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name, "text.txt")
        path.write_text("".join(f"{line}\n" for line in map(" ".join, words)))
        self.megabytes = path.stat().st_size / 1e6
        self.corpus = numba_ss.open_corpus(path, passes=10**6)
        self.vocabulary = numba_ss.Vocabulary.from_counts(*self.corpus.count())  # compile
        self.time_encode()  # compile

    def teardown(self):
        self.folder.cleanup()

    def time_count(self):
        self.corpus.count()

    def time_encode(self):
        for _ in self.corpus.encode(self.vocabulary):
            pass

    def peakmem_count(self):
        self.time_count()

    def _rate(self, read):
        times = []
        for _ in range(READINGS):
            start = time.perf_counter()
            read()
            times.append(time.perf_counter() - start)
        return float(self.megabytes / np.median(times))

    def track_counting_rate(self):
        return self._rate(self.time_count)

    def track_encoding_rate(self):
        return self._rate(self.time_encode)

    track_counting_rate.unit = track_encoding_rate.unit = "MB/s"


class PlantedTopics:
    """Speed beside quality: words of a topic stand together, among words of none.

    Three words of ten are of their sentence's topic, the rest are drawn from all words.
    The score is the share of words whose nearest word has their topic: 1 at best, and
    0.02 for random vectors.
    """

    params = (["skipgram", "cbow"], ["sampled_softmax", "negative_sampling"])
    param_names = ("architecture", "loss")
    timeout = 600
    num_words, num_topics, num_sentences = 2_000, 50, 10_000

    def setup(self, architecture, loss):
        rng = np.random.default_rng(0)
        shape = self.num_sentences, SENTENCE
        ids = rng.integers(0, self.num_words, shape)
        topics = rng.integers(0, self.num_topics, (self.num_sentences, 1))
        own = ids // self.num_topics * self.num_topics + topics
        ids = np.where(rng.random(shape) < 0.3, own, ids).ravel()
        self.corpus = packed(ids, SENTENCE)
        self.model = numba_ss.Word2Vec(
            32, architecture=architecture, loss=loss, epochs=EPOCHS[architecture],
            learning_rate=0.1, subsample=0,
        )
        self.time_fit(architecture, loss)  # compile

    def time_fit(self, architecture, loss):
        self.model.fit(self.corpus, progress=False)

    def track_same_topic(self, architecture, loss):
        self.time_fit(architecture, loss)
        vectors = self.model.vectors_
        near = vectors.most_similar_many(vectors.index_to_key, topn=1)
        pairs = zip(vectors.index_to_key, near, strict=True)
        same = [int(a) % self.num_topics == int(b[0][0]) % self.num_topics for a, b in pairs]
        return float(np.mean(same))

    track_same_topic.unit = "share"
