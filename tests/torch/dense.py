"""The sampled losses in plain PyTorch, by the book: all logits of a batch, dense gradients."""

import copy

import torch


def next_candidates(layer, labels):
    """Return what the layer's next call will draw for labels, (batch_size, num_true)."""
    sampled, _ = copy.deepcopy(layer.sampler).propose(labels.numpy(), layer.num_sampled, True)
    return tuple(map(torch.from_numpy, sampled))


def losses(weight, bias, inputs, labels, sampled, loss, remove_hits=True, subtract_log_q=True):
    """Return the losses of examples; of the labels, (batch_size, num_true), -1 is absent."""
    candidates, true_count, sampled_count = sampled
    present = labels >= 0
    rows = labels.clamp(min=0)
    true = torch.einsum("bd,btd->bt", inputs, weight[rows])
    others = inputs @ weight[candidates].T
    if bias is not None:
        true, others = true + bias[rows], others + bias[candidates]
    if subtract_log_q and loss != "negative_sampling":
        true = true - true_count.to(true.dtype).clamp(min=1e-30).log()
        others = others - sampled_count.to(true.dtype).log()
    hits = (labels[:, :, None] == candidates).any(dim=1)
    removed = {"sampled_logistic": True, "nce": False, "negative_sampling": False}
    gone = hits & removed.get(loss, remove_hits)
    logits = torch.cat([true, others], dim=1)
    kept = torch.cat([present, ~gone], dim=1)
    targets = present.to(true.dtype) / present.sum(dim=1, keepdim=True).clamp(min=1)
    targets = torch.cat([targets, torch.zeros_like(others)], dim=1)
    if loss == "sampled_softmax":
        total = logits.masked_fill(~kept, -torch.inf).logsumexp(dim=1, keepdim=True)
        each = targets * (total - logits)
    else:
        each = torch.nn.functional.softplus(logits) - targets * logits
    result = each.masked_fill(~kept, 0).sum(dim=1)
    return result * present.any(dim=1)


def reduced(values, labels, reduction, sample_weight=None):
    """Reduce losses as the layer does."""
    if sample_weight is not None:
        values = values * sample_weight
    if reduction == "none":
        return values
    count = (labels >= 0).any(dim=1).sum().clamp(min=1)
    return values.sum() / (count if reduction == "mean" else 1)
