"""numba_ss: softmax models over huge vocabularies, trained on CPUs by sampling.

Importing it compiles nothing. A name is imported when it is first used. The names by job:

Word vectors from text
    Word2Vec                          train word vectors on text, skip-gram or CBOW
    WordVectors                       words with their vectors: neighbours, analogies, files
    Vocabulary                        words with counts and ids
    open_corpus                       make a corpus of files, lists, tables or token ids
    Corpus                            what every corpus can do: be counted, and be encoded as ids
    PackedCorpus                      a corpus of token ids in one array
    sample_path                       the path of the bundled sample of text
    analogies                         score vectors on a file of analogies
    AnalogyScore                      what `analogies` returns for each section
    similarity                        score vectors on a file of word pairs
    SimilarityScore                   what `similarity` returns
    plot_loss                         draw the loss of each epoch
    plot_words                        draw a map of words
    UnknownWordError                  a word has no vector

`Word2Vec` and `YouTubeDNN` on many machines
    RayCluster                        the machines that `fit` trains on, by Ray
    ClusterError                      processes or machines failed too often

Items for users from event logs
    YouTubeDNN                        train user and item vectors on a log, and recommend items
    Recommendations                   what `YouTubeDNN.recommend` returns
    read_interactions                 read a log from files, tables or arrays
    Interactions                      a log of events, grouped by user
    Keys                              the map between a user's or an item's key and its number
    Feature                           the values of a categorical feature
    leave_one_out                     split a log: the last event of each user is the test
    split_by_time                     split a log at a time
    ranking_metrics                   hit rate, recall, NDCG and MRR of rankings
    Index                             what every index of item vectors can do: add and search
    ExactIndex                        compare a query with all items
    FaissIndex                        search with faiss, approximately
    save_vectors                      write vectors with their ids to a file
    load_vectors                      read them again

A layer in your own model
    SampledSoftmax                    class embeddings, sampler and optimizer; trained by `step`
    LinearDecay                       a learning rate that changes linearly, then stays
    update_rows                       subtract gradients from rows of a table, SGD or Adagrad

Losses over sampled classes, as TensorFlow's
    sampled_softmax_loss              softmax over the label and sampled classes
    nce_loss                          noise-contrastive estimation
    sampled_logistic_loss             logistic, without accidental hits
    negative_sampling_loss            logistic, without the log-Q correction; word2vec's
    sampled_softmax_loss_and_grad     `sampled_softmax_loss` with its gradients
    nce_loss_and_grad                 `nce_loss` with its gradients
    sampled_logistic_loss_and_grad    `sampled_logistic_loss` with its gradients
    negative_sampling_loss_and_grad   `negative_sampling_loss` with its gradients
    LossAndGradients                  what these return

Losses and ranking over all classes
    softmax_loss                      softmax cross entropy
    sigmoid_loss                      logistic loss, summed over the classes
    softmax_loss_and_grad             `softmax_loss` with its gradients
    sigmoid_loss_and_grad             `sigmoid_loss` with its gradients
    top_k                             the k best classes of each example, exactly
    TopK                              what `top_k` returns

Which classes are sampled
    LogUniformSampler                 by rank; TensorFlow's default
    UniformSampler                    all classes alike
    FixedUnigramSampler               by counts that you give
    LearnedUnigramSampler             by counts of the labels so far
    InBatchSampler                    the labels of the batch itself
    MixedSampler                      the labels of the batch, and uniform ones
    PartitionSampler                  a subset of the classes that stays for many batches
    AllSampler                        the first classes, without drawing
    SampledCandidates                 what a sampler returns
    log_uniform_candidate_sampler     one draw of `LogUniformSampler`, as TensorFlow's function
    uniform_candidate_sampler         one draw of `UniformSampler`
    fixed_unigram_candidate_sampler   one draw of `FixedUnigramSampler`
    learned_unigram_candidate_sampler one draw of `LearnedUnigramSampler`
    all_candidate_sampler             one draw of `AllSampler`
    compute_accidental_hits           find sampled classes that are labels
    AccidentalHits                    what that returns

Long runs, and what can go wrong
    CheckpointFolder                  the last checkpoints of a run
    Checkpoint                        one of them
    Progress                          a progress bar, or lines in a log
    TrainingEvent                     what callbacks of `fit` receive
    StopTraining                      what a callback raises to end the training
    TrainingDivergedError             the loss became NaN, infinite or absurdly large
    NotFittedError                    a model is used before `fit`
    ArgumentError                     an argument cannot be used
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numba_ss._checks import ArgumentError
    from numba_ss.distributed.cluster import ClusterError
    from numba_ss.distributed.ray_cluster import RayCluster
    from numba_ss.engine.batch_samplers import InBatchSampler, MixedSampler
    from numba_ss.engine.candidate_sampler import SampledCandidates
    from numba_ss.engine.candidate_sampling import (
        AccidentalHits,
        all_candidate_sampler,
        compute_accidental_hits,
        fixed_unigram_candidate_sampler,
        learned_unigram_candidate_sampler,
        log_uniform_candidate_sampler,
        uniform_candidate_sampler,
    )
    from numba_ss.engine.full_losses import (
        sigmoid_loss,
        sigmoid_loss_and_grad,
        softmax_loss,
        softmax_loss_and_grad,
    )
    from numba_ss.engine.layer import SampledSoftmax
    from numba_ss.engine.losses import (
        nce_loss,
        nce_loss_and_grad,
        negative_sampling_loss,
        negative_sampling_loss_and_grad,
        sampled_logistic_loss,
        sampled_logistic_loss_and_grad,
        sampled_softmax_loss,
        sampled_softmax_loss_and_grad,
    )
    from numba_ss.engine.partition_sampler import PartitionSampler
    from numba_ss.engine.results import LossAndGradients
    from numba_ss.engine.samplers import (
        AllSampler,
        FixedUnigramSampler,
        LearnedUnigramSampler,
        LogUniformSampler,
        UniformSampler,
    )
    from numba_ss.engine.schedules import LinearDecay
    from numba_ss.engine.sgd import update_rows
    from numba_ss.engine.top_k import TopK, top_k
    from numba_ss.io.checkpoint import Checkpoint, CheckpointFolder
    from numba_ss.io.progress import Progress
    from numba_ss.logs.event_log import Feature
    from numba_ss.logs.interactions import Interactions, read_interactions
    from numba_ss.logs.keys import Keys
    from numba_ss.logs.splits import leave_one_out, split_by_time
    from numba_ss.retrieval.estimator import YouTubeDNN
    from numba_ss.retrieval.id_vectors import load_vectors, save_vectors
    from numba_ss.retrieval.metrics import ranking_metrics
    from numba_ss.retrieval.nearest import ExactIndex, FaissIndex, Index
    from numba_ss.retrieval.queries import Recommendations
    from numba_ss.training.estimator import NotFittedError
    from numba_ss.training.events import StopTraining, TrainingDivergedError, TrainingEvent
    from numba_ss.word2vec.corpus import Corpus, PackedCorpus, open_corpus
    from numba_ss.word2vec.estimator import Word2Vec
    from numba_ss.word2vec.lookup import UnknownWordError
    from numba_ss.word2vec.plots import plot_loss, plot_words
    from numba_ss.word2vec.sample import sample_path
    from numba_ss.word2vec.tasks import AnalogyScore, SimilarityScore, analogies, similarity
    from numba_ss.word2vec.vectors import WordVectors
    from numba_ss.word2vec.vocabulary import Vocabulary

__version__ = "0.4.0"

_NAMES = {
    "_checks": "ArgumentError",
    "distributed.cluster": "ClusterError",
    "distributed.ray_cluster": "RayCluster",
    "engine.batch_samplers": "InBatchSampler MixedSampler",
    "engine.candidate_sampler": "SampledCandidates",
    "engine.candidate_sampling": "AccidentalHits all_candidate_sampler compute_accidental_hits "
    "fixed_unigram_candidate_sampler learned_unigram_candidate_sampler "
    "log_uniform_candidate_sampler uniform_candidate_sampler",
    "engine.full_losses": "sigmoid_loss sigmoid_loss_and_grad softmax_loss softmax_loss_and_grad",
    "engine.layer": "SampledSoftmax",
    "engine.losses": "nce_loss nce_loss_and_grad negative_sampling_loss "
    "negative_sampling_loss_and_grad sampled_logistic_loss sampled_logistic_loss_and_grad "
    "sampled_softmax_loss sampled_softmax_loss_and_grad",
    "engine.partition_sampler": "PartitionSampler",
    "engine.results": "LossAndGradients",
    "engine.samplers": "AllSampler FixedUnigramSampler LearnedUnigramSampler LogUniformSampler "
    "UniformSampler",
    "engine.schedules": "LinearDecay",
    "engine.sgd": "update_rows",
    "engine.top_k": "TopK top_k",
    "word2vec.corpus": "Corpus PackedCorpus open_corpus",
    "word2vec.estimator": "Word2Vec",
    "word2vec.plots": "plot_loss plot_words",
    "word2vec.sample": "sample_path",
    "word2vec.tasks": "AnalogyScore SimilarityScore analogies similarity",
    "word2vec.lookup": "UnknownWordError",
    "word2vec.vectors": "WordVectors",
    "word2vec.vocabulary": "Vocabulary",
    "retrieval.estimator": "YouTubeDNN",
    "retrieval.queries": "Recommendations",
    "retrieval.id_vectors": "load_vectors save_vectors",
    "retrieval.metrics": "ranking_metrics",
    "retrieval.nearest": "ExactIndex FaissIndex Index",
    "logs.event_log": "Feature",
    "logs.interactions": "Interactions read_interactions",
    "logs.keys": "Keys",
    "logs.splits": "leave_one_out split_by_time",
    "training.estimator": "NotFittedError",
    "training.events": "StopTraining TrainingDivergedError TrainingEvent",
    "io.checkpoint": "Checkpoint CheckpointFolder",
    "io.progress": "Progress",
}
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}

# Written out, because type checkers do not run code.
__all__ = [
    "AccidentalHits", "AllSampler", "AnalogyScore", "ArgumentError", "Checkpoint",
    "CheckpointFolder", "ClusterError", "Corpus", "ExactIndex", "FaissIndex", "Feature",
    "FixedUnigramSampler", "InBatchSampler", "Index", "Interactions", "Keys",
    "LearnedUnigramSampler", "LinearDecay", "LogUniformSampler", "LossAndGradients",
    "MixedSampler", "NotFittedError", "PackedCorpus", "PartitionSampler", "Progress",
    "RayCluster", "Recommendations", "SampledCandidates", "SampledSoftmax", "SimilarityScore",
    "StopTraining", "TopK", "TrainingDivergedError", "TrainingEvent", "UniformSampler",
    "UnknownWordError", "Vocabulary", "Word2Vec", "WordVectors", "YouTubeDNN",
    "all_candidate_sampler", "analogies", "compute_accidental_hits",
    "fixed_unigram_candidate_sampler", "learned_unigram_candidate_sampler", "leave_one_out",
    "load_vectors", "log_uniform_candidate_sampler", "nce_loss", "nce_loss_and_grad",
    "negative_sampling_loss", "negative_sampling_loss_and_grad", "open_corpus", "plot_loss",
    "plot_words", "ranking_metrics", "read_interactions", "sample_path", "sampled_logistic_loss",
    "sampled_logistic_loss_and_grad", "sampled_softmax_loss", "sampled_softmax_loss_and_grad",
    "save_vectors", "sigmoid_loss", "sigmoid_loss_and_grad", "similarity", "softmax_loss",
    "softmax_loss_and_grad", "split_by_time", "top_k", "uniform_candidate_sampler", "update_rows",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
