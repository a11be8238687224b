"""The output layer of somebody's PyTorch model, trained by sampled softmax."""

from __future__ import annotations

import functools
import io
import operator
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from numba_ss import _checks
from numba_ss._guards import alone
from numba_ss._types import Floats, Integers
from numba_ss.engine.by_name import (
    LOSSES,
    SAMPLED_LOSSES,
    LayerSampler,
    SampledLoss,
    check_num_sampled,
    make_sampler,
    options_of,
)
from numba_ss.engine.candidate_sampler import CandidateSampler, SampledCandidates
from numba_ss.engine.columns import make_columns
from numba_ss.engine.full_losses import sigmoid_loss, softmax_loss
from numba_ss.engine.full_pass import label_logits, normalizers
from numba_ss.engine.results import spread
from numba_ss.engine.top_k import top_k
from numba_ss.torch import autograd
from numba_ss.torch.optimizers import RowOptimizer
from numba_ss.torch.tensors import hidden_states, label_ids, memory_of, on_cpu, uncompiled
from numba_ss.torch.threads import pytorch_threads
from numba_ss.torch.unit_rows import unit_rows
from numba_ss.torch.work import FullWork, LayerWork, Place, Some


class TopK(NamedTuple):
    """The best classes of each example, best first, as `torch.topk` names them.

    Attributes
    ----------
    values : Tensor, shape (..., k)
        Logits, falling; -inf if there are no more classes.
    indices : Tensor of int64, shape (..., k)
        Classes; -1 if there are no more.
    """

    values: Tensor
    indices: Tensor


class SampledSoftmax(nn.Embedding):
    r"""A softmax over many classes, trained on the few that a batch draws.

    In training a call returns a sampled loss, and its backward pass leaves gradients of the
    rows that the batch touched. In evaluation (`model.eval()`) it returns the exact loss over
    all classes. A training step costs the same for any number of classes.

    With few classes, up to some ten thousand, `nn.Linear` and `nn.CrossEntropyLoss` are as
    fast, and exact. The layer computes on the CPU: a model on a GPU has no use for it.

    Parameters
    ----------
    dim, num_classes : int
        Length of a hidden state, and number of classes, as the arguments of `nn.Linear`.
    num_sampled : int or None
        Classes drawn for a batch, shared by its examples; None for the sampler "in_batch".
    loss : str, default="sampled_softmax"
        "sampled_softmax", "nce", "sampled_logistic" or "negative_sampling"; see
        `numba_ss.engine.losses`.
    sampler : str or CandidateSampler, default="log_uniform"
        As in `numba_ss.SampledSoftmax`. "log_uniform" is for ids in the order of falling
        frequency; "learned_unigram" counts the labels instead.
    num_true : int, default=1
        Labels of an example.
    bias : bool, default=True
        Whether classes have a bias.
    remove_accidental_hits, subtract_log_q : bool, default=True
        As in `numba_ss.SampledSoftmax`.
    temperature : float, default=1.0
        What hidden states are divided by.
    normalize : bool, default=False
        Whether hidden states and class embeddings are divided by their lengths, so that a logit
        is their cosine, over the temperature, and the bias. Evaluation and queries then copy the
        whole table.
    reduction : {"mean", "sum", "none"}, default="mean"
        As in `nn.CrossEntropyLoss`. The mean is that of the examples that have a label, and 0
        if none has.
    ignore_index : int, default=-100
        What marks an absent label. An example without any, such as padding, has the loss 0.
    sparse : bool, default=True
        Whether the gradients of `weight` and `bias` are sparse tensors, one row for each use of
        a class as those of `nn.Embedding`, which `torch.optim.SGD`, `torch.optim.SparseAdam`,
        `torch.optim.Adagrad` and `optimizer` take; or dense ones.
    seed : int, optional
        Of the sampler: with the same, the same candidates as TensorFlow's. By default a number
        from PyTorch's generator. In a process group each rank adds its own.
    device, dtype
        Of the parameters, as in `nn.Linear`.

    Attributes
    ----------
    weight : Parameter, shape (num_classes, dim)
        Class embeddings, at first normal with variance 1 / dim. To tie it, set it to the
        `weight` of an `nn.Embedding`.
    bias : Parameter, shape (num_classes,), or None
        Class biases, at first zeros.
    sampler : CandidateSampler
        The sampler in use. Where it stands is a part of the module's `state_dict`.

    Raises
    ------
    ArgumentError
        If an argument is not as described. A failed call draws nothing and changes nothing.

    See Also
    --------
    numba_ss.SampledSoftmax : The layer that updates its weights itself, without PyTorch.

    Notes
    -----
    The candidates are drawn in the forward pass, and only where gradients are asked for: under
    `torch.no_grad` a call in training mode returns the loss by the candidates that the next
    step will draw. For a batch in which no example has a label none are drawn.

    There are at most `torch.get_num_threads` threads, and the result does not depend on their
    number: the layer takes a single one where it measures that it is faster. Where other processes
    want the cores, import `numba_ss.torch` before `torch`, or start Python with
    ``GOMP_SPINCOUNT=30000``: else PyTorch's threads wait with a busy core, for milliseconds.

    Loops that have one optimizer for all parameters, such as those of Lightning and of Hugging
    Face, can take ``RowOptimizer(model.parameters(), "adam", lr)``. PyTorch's Adam and AdamW refuse
    sparse gradients; PyTorch clips these by norm, not by value.

    Examples
    --------
    >>> layer = SampledSoftmax(8, 1000, num_sampled=20, seed=0)
    >>> optimizer = layer.optimizer("sgd", lr=1.0)
    >>> hidden, labels = torch.ones(4, 8), torch.full((4,), 7)
    >>> before = layer.evaluate(hidden, labels)
    >>> for _ in range(10):
    ...     optimizer.zero_grad()
    ...     loss = layer(hidden, labels)
    ...     loss.backward()
    ...     optimizer.step()
    >>> layer.evaluate(hidden, labels) < before
    True
    >>> layer.topk(hidden, 3).indices.shape
    torch.Size([4, 3])
    """

    # It is an `nn.Embedding`, a table of which few rows have a gradient: from no other module
    # does `DistributedDataParallel` take sparse gradients.

    bias: nn.Parameter | None

    # A step draws, and another layer may have the same sampler: one guard is for both.
    _guarded_as = property(operator.attrgetter("sampler"))

    def __init__(
        self,
        dim: int,
        num_classes: int,
        num_sampled: int | None,
        *,
        loss: SampledLoss = "sampled_softmax",
        sampler: LayerSampler | CandidateSampler = "log_uniform",
        num_true: int = 1,
        bias: bool = True,
        remove_accidental_hits: bool = True,
        subtract_log_q: bool = True,
        temperature: float = 1.0,
        normalize: bool = False,
        reduction: Literal["mean", "sum", "none"] = "mean",
        ignore_index: int = -100,
        sparse: bool = True,
        seed: int | None = None,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        dim = _checks.integer("dim", dim, 1)
        num_classes = _checks.integer("num_classes", num_classes, 1)
        _checks.choice("loss", loss, SAMPLED_LOSSES)
        options = options_of(loss, remove_accidental_hits, subtract_log_q)
        seed, rank = _checks.optional_integer("seed", seed), _rank()
        if seed is None:
            seed = int(torch.randint(2**62, (), device="cpu"))
        made = make_sampler(sampler, num_classes, seed + rank)
        super().__init__(
            num_classes, dim, sparse=_checks.flag("sparse", sparse), device=device, dtype=dtype
        )
        zeros = torch.zeros(num_classes, device=device, dtype=dtype)
        self.register_parameter("bias", nn.Parameter(zeros) if _checks.flag("bias", bias) else None)
        self.dim, self.num_classes, self.loss = dim, num_classes, loss
        self.sampler, self.num_sampled = made, check_num_sampled(num_sampled, made)
        self.num_true = _checks.integer("num_true", num_true, 1)
        self.temperature = _checks.number("temperature", temperature, not_negative=True)
        if not self.temperature:
            _checks.fail("temperature", "a number > 0", temperature)
        self.normalize = _checks.flag("normalize", normalize)
        self.reduction = _checks.choice("reduction", reduction, ("mean", "sum", "none"))
        self.ignore_index = _checks.integer("ignore_index", ignore_index, -(2**63))
        self._logistic = LOSSES[loss].logistic
        self._remove_hits, self._subtract_log_q = options
        self._rank = rank
        self._spare: list[Place] = []

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, embeddings: Tensor, num_sampled: int | None, *, freeze: bool = True, **options: Any
    ) -> SampledSoftmax:
        """Return a layer whose class embeddings are a tensor, of which it shares the memory.

        Parameters
        ----------
        embeddings : Tensor of float32 or float64, shape (num_classes, dim)
            Class embeddings.
        num_sampled : int or None
            Classes drawn for a batch.
        freeze : bool, default=True
            Whether they stay as they are, as in `nn.Embedding`. Biases are trained.
        options
            Other arguments of the layer.
        """
        weights = memory_of("embeddings", embeddings)
        if weights.ndim != 2:
            _checks.fail("embeddings", "shape (num_classes, dim)", f"shape {weights.shape}")
        layer = cls(weights.shape[1], len(weights), num_sampled, device="meta", **options)
        trained = not _checks.flag("freeze", freeze)
        layer.weight = nn.Parameter(embeddings.detach(), requires_grad=trained)
        if layer.bias is not None:
            layer.bias = nn.Parameter(torch.zeros(len(weights), dtype=embeddings.dtype))
        return layer

    def reset_parameters(self) -> None:
        """Draw new weights from PyTorch's generator; set the biases to 0."""
        nn.init.normal_(self.weight, std=self.embedding_dim**-0.5)
        bias = getattr(self, "bias", None)  # not there yet when this is first called
        if bias is not None:
            nn.init.zeros_(bias)

    def extra_repr(self) -> str:
        """Return what ``print`` shows of the layer."""
        return (
            f"dim={self.dim}, num_classes={self.num_classes}, num_sampled={self.num_sampled}, "
            f"loss={self.loss!r}, sampler={type(self.sampler).__name__}, "
            f"bias={self.bias is not None}"
        )

    def forward(  # type: ignore[override]
        self, inputs: Tensor, labels: Tensor, sample_weight: Tensor | None = None
    ) -> Tensor:
        """Return the loss: a sampled one in training, else the exact one over all classes.

        Parameters
        ----------
        inputs : Tensor, shape (..., dim)
            Hidden states, of the type of `weight`; 16-bit floats are converted.
        labels : Tensor of integers, shape (...) or (..., num_true)
            Target classes; `ignore_index` marks an absent one.
        sample_weight : Tensor, shape (...), optional
            What the loss of each example is multiplied by. A mean is still one over the number
            of examples.

        Returns
        -------
        Tensor
            In nats: a number, or of the shape (...) without reduction.
        """
        return self._call(inputs, labels, sample_weight)

    @uncompiled
    def _call(self, inputs: Tensor, labels: Tensor, sample_weight: Tensor | None) -> Tensor:
        h = self._hidden_states(inputs)
        shape = inputs.shape[:-1]
        y, some = label_ids(labels, shape, self.num_true, self.ignore_index, self.num_classes)
        count = len(y) if some is None else int(np.count_nonzero(some))
        scale = 1 / max(count, 1) if self.reduction == "mean" else 1.0
        if self.reduction != "none" and sample_weight is None:
            return self._losses(h, y, some, scale)
        losses = self._losses(h, y, some, None).reshape(shape)
        if sample_weight is not None:
            if on_cpu("sample_weight", sample_weight).shape != shape:
                got = f"shape {tuple(sample_weight.shape)}"
                _checks.fail("sample_weight", f"shape {tuple(shape)}, as the labels", got)
            losses = losses * sample_weight
        return losses if self.reduction == "none" else losses.sum() * scale

    def _hidden_states(self, inputs: Tensor) -> Tensor:
        h = hidden_states(inputs, self.dim, self.weight.dtype)
        if self.normalize:
            h = nn.functional.normalize(h)
        return h if self.temperature == 1 else h / self.temperature

    def _tables(self) -> tuple[Floats, Floats]:
        """Return the memory of the parameters as they are now: it is never kept."""
        weights = memory_of("weight", self.weight)
        _checks.shaped("weight", weights, (self.num_classes, self.dim), "num_classes, dim")
        if self.bias is None:
            return weights, _zeros(self.num_classes, weights.dtype)
        biases = memory_of("bias", self.bias)
        _checks.shaped("bias", biases, (self.num_classes,), "num_classes,")
        return weights, _checks.cast("bias", biases, weights.dtype)

    def _all_classes(self) -> tuple[Floats, Floats]:
        """Return all classes as they are compared with hidden states, and their biases."""
        weights, biases = self._tables()
        return unit_rows(weights).rows if self.normalize else weights, biases

    def _losses(self, h: Tensor, labels: Integers, some: Some, scale: float | None) -> Tensor:
        """Return the losses of all examples, or their sum times `scale`."""
        weights, biases = self._tables()
        inputs = h.detach().numpy()
        with pytorch_threads():
            work = (
                self._sampled(weights, biases, inputs, labels, some)
                if self.training
                else FullWork(weights, biases, inputs, labels, self._logistic, self.normalize)
            )
        return autograd.apply(work, scale, self.sparse, h, self.weight, self.bias)

    @alone
    def _sampled(
        self, weights: Floats, biases: Floats, inputs: Floats, labels: Integers, some: Some
    ) -> LayerWork:
        if some is not None:
            labels = labels[some]
        if len(labels):
            sampled, accept = self.sampler.propose(labels, self.num_sampled, True)
        else:  # Adam would move the candidates, although their gradients are 0
            counts = np.empty(labels.shape, np.float32), np.empty(0, np.float32)
            sampled, accept = SampledCandidates(np.empty(0, np.int64), *counts), lambda: None
        columns = make_columns(
            labels, sampled, weights.dtype, self._remove_hits, self._subtract_log_q
        )
        work = LayerWork(
            self._spare, weights, biases, inputs, some, columns, self._logistic, self.normalize
        )
        if torch.is_grad_enabled():
            accept()
        return work

    def evaluate(self, inputs: Tensor, labels: Tensor) -> float:
        """Return the mean exact loss over all classes, in nats.

        Softmax, or logistic for such a loss. See `forward` for the parameters; the mean is that
        of the examples that have a label, and 0 if none has.
        """
        h = self._hidden_states(inputs).detach().numpy()
        y, some = label_ids(
            labels, inputs.shape[:-1], self.num_true, self.ignore_index, self.num_classes
        )
        loss = sigmoid_loss if self._logistic else softmax_loss
        with pytorch_threads():
            losses = loss(*self._all_classes(), y, h)
        count = len(y) if some is None else np.count_nonzero(some)
        return float(losses.sum(dtype=np.float64) / max(count, 1))

    def topk(self, inputs: Tensor, k: int) -> TopK:
        """Return the k classes of highest logit for each hidden state, exactly.

        Parameters
        ----------
        inputs : Tensor, shape (..., dim)
            Hidden states.
        k : int
            Number of classes.
        """
        h = self._hidden_states(inputs).detach().numpy()
        with pytorch_threads():
            best = top_k(*self._all_classes(), h, k)
        shape = (*inputs.shape[:-1], k)
        return TopK(*(torch.from_numpy(part).reshape(shape) for part in best))

    def log_prob(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Return the log of each label's probability in the softmax over all classes.

        See `forward` for the parameters. It has the shape of `labels`, and is 0 where one is
        absent. Memory is bounded, whatever the number of classes. No gradients flow back from it:
        for these, call the layer.
        """
        h = self._hidden_states(inputs).detach().numpy()
        y, some = label_ids(
            labels, inputs.shape[:-1], self.num_true, self.ignore_index, self.num_classes
        )
        ids = np.arange(len(y)) if some is None else np.flatnonzero(some)
        y, (weights, biases) = y[ids], self._all_classes()
        with pytorch_threads(), np.errstate(over="ignore", invalid="ignore"):  # the result shows it
            logits, _ = label_logits(weights, biases, h[ids], y)
            normalizer = normalizers(weights, biases, h[ids], logistic=False)
            result = np.where(y >= 0, logits - normalizer[:, None], 0).astype(weights.dtype)
        if not (np.isfinite(normalizer).all() and result.max(initial=0) < np.inf):
            parts = [("inputs", h, ids), ("weight", weights, None), ("biases", biases, None)]
            _checks.explain_loss(spread(normalizer - logits.sum(axis=1), some), parts)
        return torch.from_numpy(spread(result, some)).reshape(labels.shape)

    def optimizer(self, rule: str, lr: float, **options: Any) -> RowOptimizer:
        """Return an optimizer of the layer's parameters that updates touched rows only.

        Parameters
        ----------
        rule : {"sgd", "adagrad", "adam"}
            See `RowOptimizer`.
        lr : float
            Learning rate.
        options
            Other arguments of `RowOptimizer`.
        """
        return RowOptimizer(self.parameters(), rule, lr, **options)

    def get_extra_state(self) -> Tensor:
        """Return where the sampler stands: bytes, for a tensor is what any format can keep."""
        stream = io.BytesIO()
        np.savez(stream, rank=self._rank, **self.sampler.state_dict())
        return torch.frombuffer(stream.getbuffer(), dtype=torch.uint8).clone()

    def set_extra_state(self, state: Tensor) -> None:
        """Go on where the sampler stood whose state this is."""
        stream = io.BytesIO(state.cpu().numpy().tobytes())
        with np.load(stream, allow_pickle=False) as arrays:
            values = {name: array if array.ndim else array.item() for name, array in arrays.items()}
        if values.pop("rank") != self._rank and "key" in values:
            # Another rank saved it: this one goes on at the same place of a stream of its own.
            own = self.sampler.state_dict()
            values |= {"key": own["key"], "high": own["high"]}
        self.sampler.load_state_dict(values)


@functools.lru_cache(maxsize=4)
def _zeros(num_classes: int, dtype: np.dtype[Any]) -> Floats:
    """Return the biases of a layer that has none; nobody writes to them."""
    return np.zeros(num_classes, dtype)


def _rank() -> int:
    """Return this process's number in a process group, 0 without one."""
    group = torch.distributed
    return group.get_rank() if group.is_available() and group.is_initialized() else 0
