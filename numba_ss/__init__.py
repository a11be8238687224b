"""numba_ss: softmax models over huge vocabularies, trained on CPUs by sampling.

Functional losses and samplers with TensorFlow's names and numbers, a trainable layer,
and exact evaluation over all classes. Importing it compiles nothing.
"""

from numba_ss._checks import ArgumentError
from numba_ss.evaluation import TopK, top_k
from numba_ss.full_losses import (
    sigmoid_loss,
    sigmoid_loss_and_grad,
    softmax_loss,
    softmax_loss_and_grad,
)
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
from numba_ss.samplers import (
    AccidentalHits,
    AllSampler,
    FixedUnigramSampler,
    InBatchSampler,
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

__version__ = "0.1.0"

__all__ = [
    "AccidentalHits",
    "AllSampler",
    "ArgumentError",
    "FixedUnigramSampler",
    "InBatchSampler",
    "LearnedUnigramSampler",
    "LinearDecay",
    "LogUniformSampler",
    "LossAndGradients",
    "SampledCandidates",
    "SampledSoftmax",
    "TopK",
    "UniformSampler",
    "all_candidate_sampler",
    "compute_accidental_hits",
    "fixed_unigram_candidate_sampler",
    "learned_unigram_candidate_sampler",
    "log_uniform_candidate_sampler",
    "nce_loss",
    "nce_loss_and_grad",
    "negative_sampling_loss",
    "negative_sampling_loss_and_grad",
    "sampled_logistic_loss",
    "sampled_logistic_loss_and_grad",
    "sampled_softmax_loss",
    "sampled_softmax_loss_and_grad",
    "sigmoid_loss",
    "sigmoid_loss_and_grad",
    "softmax_loss",
    "softmax_loss_and_grad",
    "top_k",
    "uniform_candidate_sampler",
    "update_rows",
]
