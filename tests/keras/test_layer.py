"""keras/layer.py: the layer in models of Keras, on both backends, each in a process of its own."""

import importlib.util
import os
import subprocess
import sys

import pytest

if not importlib.util.find_spec("keras"):
    pytest.skip("the extra keras is not installed", allow_module_level=True)

BEGIN = """
import keras, numba_ss, numpy as np
from numba_ss.keras import SampledSoftmax
keras.utils.set_random_seed(0)
x = np.arange(60)
y = (x + 1) % 60

def make():
    ids, labels = keras.Input((), dtype="int32"), keras.Input((), dtype="int32")
    hidden = keras.layers.Embedding(60, 16)(ids)
    losses = SampledSoftmax(60, 15, seed=2, name="out")(hidden, labels)
    model = keras.Model([ids, labels], losses)
    model.compile(keras.optimizers.Adam(0.1), loss=lambda _, losses: losses)
    return model
"""


def run(backend, script):
    if not importlib.util.find_spec(backend):
        pytest.skip(f"the extra {backend} is not installed")
    environment = os.environ | {"KERAS_BACKEND": backend}
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + script], env=environment, capture_output=True, text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_a_planted_answer_is_learned_saved_and_read(backend, tmp_path):
    run(backend, f"""
model = make()
model.fit([x, y], y, batch_size=60, epochs=50, verbose=0)
exact = model.evaluate([x, y], y, verbose=0)
layer = model.get_layer("out")
table = np.asarray(keras.ops.convert_to_numpy(model.layers[1].weights[0]))
kernel, bias = map(keras.ops.convert_to_numpy, layer.weights[:2])
logits = table[x] @ kernel.T + bias
assert (logits.argmax(axis=1) == y).all()
want = numba_ss.softmax_loss(kernel, bias, y[:, None], table[x])
np.testing.assert_allclose(exact, want.mean(), rtol=1e-4, atol=1e-6)
model.save_weights({str(tmp_path / "model.weights.h5")!r})
other = make()
other.load_weights({str(tmp_path / "model.weights.h5")!r})
np.testing.assert_allclose(other.evaluate([x, y], y, verbose=0), exact, rtol=1e-6)
again = SampledSoftmax.from_config(layer.get_config())
assert (again.num_classes, again.num_sampled, again.seed) == (60, 15, 2)
""")


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_losses_in_training_are_the_engine_s(backend):
    run(backend, """
layer = SampledSoftmax(60, 15, seed=2)
hidden = keras.random.normal((2, 5, 16), seed=1)
labels = keras.ops.reshape(keras.ops.arange(10), (2, 5))
layer.build(hidden.shape, labels.shape)
losses = layer(hidden, labels, training=True)
assert losses.shape == (2, 5)
seed = int(keras.random.randint((), 0, 2**31 - 1, seed=keras.random.SeedGenerator(2)))
kernel, bias, h = map(keras.ops.convert_to_numpy, (layer.kernel, layer.bias, hidden))
want = numba_ss.sampled_softmax_loss(
    kernel, bias, np.arange(10)[:, None], h.reshape(10, 16), 15, 60, seed=seed
)
losses = keras.ops.convert_to_numpy(losses).ravel()
np.testing.assert_allclose(losses, want, rtol=1e-5)
""")


def test_a_backend_without_the_loss_is_refused():
    run("torch", """
keras.backend.backend = lambda: "tensorflow"
try:
    SampledSoftmax(60, 15)
except numba_ss.ArgumentError as error:
    assert "Keras' backend: expected one of 'torch', 'jax', got 'tensorflow'" in str(error), error
else:
    raise AssertionError
""")
