"""The output layer of somebody's Keras model, trained by sampled softmax."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import keras
from keras import ops

from numba_ss import _checks


class SampledSoftmax(keras.layers.Layer):
    r"""A softmax over many classes, trained on the few that a batch draws.

    In training a call returns sampled losses, else the exact ones over all classes, which takes
    a matrix of batch x classes. Keras' backend must be PyTorch or JAX; TensorFlow has
    `tf.nn.sampled_softmax_loss`. Keras' optimizers update the whole table in each step, so the time
    of a step grows with the number of classes, though far less than with full softmax.
    `numba_ss.torch.SampledSoftmax` does without.

    Parameters
    ----------
    num_classes : int
        Number of classes, in the order of falling frequency.
    num_sampled : int
        Classes drawn for a batch, shared by its examples.
    remove_accidental_hits : bool, default=True
        Whether an example does not count the candidates that are labels of its own.
    seed : int, optional
        Of the candidates.
    kwargs
        As in every `keras.layers.Layer`.

    Examples
    --------
    A model returns the losses of a batch, so its own loss is what it returns::

        ids, labels = keras.Input((), dtype="int32"), keras.Input((), dtype="int32")
        hidden = keras.layers.Embedding(50_000, 64)(ids)
        losses = SampledSoftmax(50_000, num_sampled=1024)(hidden, labels)
        model = keras.Model([ids, labels], losses)
        model.compile("adam", loss=lambda _, losses: losses)
        model.fit([x, y], y)
    """

    def __init__(
        self, num_classes: int, num_sampled: int, *, remove_accidental_hits: bool = True,
        seed: int | None = None, **kwargs: Any,
    ) -> None:
        backend = _checks.choice("Keras' backend", keras.backend.backend(), ("torch", "jax"))
        super().__init__(**kwargs)
        self.num_classes = _checks.integer("num_classes", num_classes, 1)
        self.num_sampled = _checks.integer("num_sampled", num_sampled, 1, num_classes)
        self.remove_accidental_hits = _checks.flag("remove_accidental_hits", remove_accidental_hits)
        self.seed = _checks.optional_integer("seed", seed)
        self._seeds = keras.random.SeedGenerator(seed)
        # The whole gradient, for Keras' optimizers take no sparse ones.
        self._options: dict[str, Any] = {"sparse": False} if backend == "torch" else {}
        self._loss = import_module(f"numba_ss.{backend}").sampled_softmax_loss

    def build(self, inputs_shape: Any, labels_shape: Any) -> None:
        """Make class embeddings and biases."""
        dim = inputs_shape[-1]
        normal = keras.initializers.RandomNormal(stddev=dim**-0.5, seed=self.seed)
        self.kernel = self.add_weight((self.num_classes, dim), normal, name="kernel")
        self.bias = self.add_weight((self.num_classes,), "zeros", name="bias")

    def compute_output_spec(self, inputs: Any, labels: Any, training: Any = None) -> Any:
        """Return shape and type of the losses."""
        return keras.KerasTensor(labels.shape, dtype=self.compute_dtype)

    def call(self, inputs: Any, labels: Any, training: bool = False) -> Any:
        """Return the losses of the examples.

        Parameters
        ----------
        inputs : tensor, shape (..., dim)
            Hidden states.
        labels : tensor of integers, shape (...)
            Target classes.
        training : bool
            Whether the losses are sampled ones. Keras sets it.
        """
        h = ops.reshape(inputs, (-1, inputs.shape[-1]))
        y = ops.reshape(labels, (-1,))
        kernel, bias = ops.convert_to_tensor(self.kernel), ops.convert_to_tensor(self.bias)
        if training:
            seed = keras.random.randint((), 0, 2**31 - 1, seed=self._seeds)
            losses = self._loss(
                kernel, bias, y[:, None], h, self.num_sampled, self.num_classes,
                remove_accidental_hits=self.remove_accidental_hits,
                seed=int(seed) if self._options else seed, **self._options,
            )
        else:
            logits = ops.matmul(h, ops.transpose(kernel)) + bias
            losses = keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)
        return ops.reshape(losses, ops.shape(labels))

    def get_config(self) -> dict[str, Any]:
        """Return what the layer is made of again."""
        names = "num_classes", "num_sampled", "remove_accidental_hits", "seed"
        return super().get_config() | {name: getattr(self, name) for name in names}
