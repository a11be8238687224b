"""numba_ss: softmax models over huge vocabularies, trained on CPUs by sampling.

Word vectors from text, item retrieval from logs, functional losses and samplers with
TensorFlow's names and numbers, a trainable layer, and exact evaluation over all classes.
Importing it compiles nothing, and imports what a name needs when the name is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numba_ss._checks import ArgumentError
    from numba_ss._estimator import NotFittedError
    from numba_ss._event_log import Feature
    from numba_ss._training import TrainingDivergedError, TrainingEvent
    from numba_ss.batch_samplers import InBatchSampler, MixedSampler
    from numba_ss.checkpoint import Checkpoint, CheckpointFolder
    from numba_ss.corpus import Corpus, PackedCorpus, open_corpus
    from numba_ss.evaluation import TopK, ranking_metrics, top_k
    from numba_ss.full_losses import (
        sigmoid_loss,
        sigmoid_loss_and_grad,
        softmax_loss,
        softmax_loss_and_grad,
    )
    from numba_ss.id_vectors import load_vectors, save_vectors
    from numba_ss.interactions import Interactions, read_interactions
    from numba_ss.keys import Keys
    from numba_ss.layer import SampledSoftmax
    from numba_ss.losses import (
        LossAndGradients,
        nce_loss,
        nce_loss_and_grad,
        negative_sampling_loss,
        negative_sampling_loss_and_grad,
        sampled_logistic_loss,
        sampled_logistic_loss_and_grad,
        sampled_softmax_loss,
        sampled_softmax_loss_and_grad,
    )
    from numba_ss.nearest import ExactIndex, FaissIndex, Index
    from numba_ss.plots import plot_loss, plot_words
    from numba_ss.progress import Progress
    from numba_ss.retrieval import Recommendations, YouTubeDNN
    from numba_ss.sample import sample_path
    from numba_ss.samplers import (
        AccidentalHits,
        AllSampler,
        FixedUnigramSampler,
        LearnedUnigramSampler,
        LogUniformSampler,
        SampledCandidates,
        UniformSampler,
        all_candidate_sampler,
        compute_accidental_hits,
        fixed_unigram_candidate_sampler,
        learned_unigram_candidate_sampler,
        log_uniform_candidate_sampler,
        uniform_candidate_sampler,
    )
    from numba_ss.sgd import LinearDecay, update_rows
    from numba_ss.splits import leave_one_out, split_by_time
    from numba_ss.vectors import UnknownWordError, WordVectors
    from numba_ss.vocabulary import Vocabulary
    from numba_ss.word2vec import Word2Vec
    from numba_ss.word_tasks import AnalogyScore, SimilarityScore, analogies, similarity

__version__ = "0.3.0"

_NAMES = {
    "_checks": "ArgumentError",
    "_estimator": "NotFittedError",
    "_event_log": "Feature",
    "_training": "TrainingDivergedError TrainingEvent",
    "batch_samplers": "InBatchSampler MixedSampler",
    "checkpoint": "Checkpoint CheckpointFolder",
    "corpus": "Corpus PackedCorpus open_corpus",
    "evaluation": "TopK ranking_metrics top_k",
    "full_losses": "sigmoid_loss sigmoid_loss_and_grad softmax_loss softmax_loss_and_grad",
    "id_vectors": "load_vectors save_vectors",
    "interactions": "Interactions read_interactions",
    "keys": "Keys",
    "layer": "SampledSoftmax",
    "losses": "LossAndGradients nce_loss nce_loss_and_grad negative_sampling_loss "
    "negative_sampling_loss_and_grad sampled_logistic_loss sampled_logistic_loss_and_grad "
    "sampled_softmax_loss sampled_softmax_loss_and_grad",
    "nearest": "ExactIndex FaissIndex Index",
    "plots": "plot_loss plot_words",
    "progress": "Progress",
    "retrieval": "Recommendations YouTubeDNN",
    "sample": "sample_path",
    "samplers": "AccidentalHits AllSampler FixedUnigramSampler "
    "LearnedUnigramSampler LogUniformSampler SampledCandidates UniformSampler "
    "all_candidate_sampler compute_accidental_hits fixed_unigram_candidate_sampler "
    "learned_unigram_candidate_sampler log_uniform_candidate_sampler uniform_candidate_sampler",
    "sgd": "LinearDecay update_rows",
    "splits": "leave_one_out split_by_time",
    "vectors": "UnknownWordError WordVectors",
    "vocabulary": "Vocabulary",
    "word2vec": "Word2Vec",
    "word_tasks": "AnalogyScore SimilarityScore analogies similarity",
}
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
