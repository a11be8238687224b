"""Lightning and Hugging Face's Trainer train models with the layer as a loop by hand does."""

import contextlib

import pytest

torch = pytest.importorskip("torch", reason="the extra torch is not installed")

from numba_ss.torch import RowOptimizer, SampledSoftmax  # noqa: E402

NUM_CLASSES, DIM, BATCH_SIZE, STEPS = 200, 12, 8, 8
ACCUMULATED, CLIPPED, RATE, FALL = 2, 0.05, 0.05, 0.8

# Theirs, of deprecated functions, missing accelerators and few workers.
pytestmark = pytest.mark.filterwarnings("ignore")


class Model(torch.nn.Module):
    """Word after word; it keeps the batches that it was trained on."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words = torch.nn.Embedding(NUM_CLASSES, DIM, sparse=True)
        self.body = torch.nn.Linear(DIM, DIM)
        self.out = SampledSoftmax(DIM, NUM_CLASSES, num_sampled=20, seed=1)
        self.seen = []

    def forward(self, input_ids, labels):
        if self.training:
            self.seen.append((input_ids.clone(), labels.clone()))
        return {"loss": self.out(self.body(self.words(input_ids)), labels)}


def dataset():
    ids = torch.arange(ACCUMULATED * STEPS * BATCH_SIZE)[:, None] * torch.tensor([3, 5])
    return [
        {"input_ids": row % NUM_CLASSES, "labels": torch.where(row % 7 == 0, -100, row % 11)}
        for row in ids
    ]


def optimizer_of(model, name):
    """Return one optimizer of everything, for the loops take one."""
    if name == "rows":
        return RowOptimizer(model.parameters(), "adam", lr=RATE)
    return torch.optim.SGD(model.parameters(), lr=RATE)


def falling(optimizer):
    return torch.optim.lr_scheduler.ExponentialLR(optimizer, FALL)


def by_hand(batches, name, bf16=False):
    """Return a model that was trained on batches in plain PyTorch."""
    model = Model()
    optimizer = optimizer_of(model, name)
    scheduler = falling(optimizer)
    for i in range(0, len(batches), ACCUMULATED):
        for batch in batches[i : i + ACCUMULATED]:
            with torch.autocast("cpu", torch.bfloat16) if bf16 else contextlib.nullcontext():
                loss = model(*batch)["loss"]
            (loss / ACCUMULATED).backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), CLIPPED)
        assert norm > CLIPPED
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
    return model


def assert_same(one, other):
    for (name, a), b in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def lightning_run(name, epochs, bf16=False, resume=None):
    """Return a module that Lightning trained, and its trainer."""
    lightning = pytest.importorskip("lightning", reason="Lightning is not installed")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = Model()

        def training_step(self, batch, index):
            return self.model(**batch)["loss"]

        def validation_step(self, batch, index):
            self.log("exact", self.model(**batch)["loss"])

        def configure_optimizers(self):
            optimizer = optimizer_of(self.model, name)
            return [optimizer], [{"scheduler": falling(optimizer), "interval": "step"}]

    trainer = lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", accumulate_grad_batches=ACCUMULATED,
        gradient_clip_val=CLIPPED, precision="bf16-mixed" if bf16 else "32-true", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )
    data = torch.utils.data.DataLoader(dataset(), BATCH_SIZE)
    module = Module()
    trainer.fit(module, data, data, ckpt_path=resume)
    return module.model, trainer


@pytest.mark.parametrize("name", ["rows", "sgd"])
@pytest.mark.parametrize("bf16", [False, True])
def test_lightning_trains_as_a_loop_by_hand(name, bf16):
    model, trainer = lightning_run(name, 1, bf16)
    assert len(model.seen) == ACCUMULATED * STEPS
    assert_same(model, by_hand(model.seen, name, bf16))
    batch = next(iter(torch.utils.data.DataLoader(dataset(), len(dataset()))))
    h = model.body(model.words(batch["input_ids"]))
    exact = model.out.evaluate(h, batch["labels"])
    tolerance = 1e-2 if bf16 else 1e-5  # and batches have different numbers of labels
    assert trainer.callback_metrics["exact"].item() == pytest.approx(exact, rel=3e-2 + tolerance)


def test_lightning_resumes_with_the_same_bits(tmp_path):
    _, trainer = lightning_run("rows", 1)
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    resumed, _ = lightning_run("rows", 2, resume=tmp_path / "model.ckpt")
    whole, _ = lightning_run("rows", 2)
    assert len(resumed.seen) == ACCUMULATED * STEPS
    assert_same(resumed, whole)


def transformers_run(folder, name, bf16=False, resume=None):
    """Return a model that Hugging Face's Trainer trained, and the trainer."""
    transformers = pytest.importorskip("transformers", reason="Transformers is not installed")
    pytest.importorskip("accelerate", reason="Accelerate is not installed")
    model = Model()
    optimizer = optimizer_of(model, name)
    trainer = transformers.Trainer(
        model,
        transformers.TrainingArguments(
            folder, max_steps=STEPS, per_device_train_batch_size=BATCH_SIZE,
            gradient_accumulation_steps=ACCUMULATED, max_grad_norm=CLIPPED, bf16=bf16,
            use_cpu=True, save_steps=STEPS // 2, report_to=[], disable_tqdm=True,
        ),
        train_dataset=dataset(), eval_dataset=dataset(), optimizers=(optimizer, falling(optimizer)),
    )
    trainer.train(resume_from_checkpoint=resume)
    return model, trainer


@pytest.mark.parametrize("name", ["rows", "sgd"])
@pytest.mark.parametrize("bf16", [False, True])
def test_the_trainer_of_transformers_trains_as_a_loop_by_hand(tmp_path, name, bf16):
    model, trainer = transformers_run(tmp_path, name, bf16)
    assert len(model.seen) == ACCUMULATED * STEPS
    assert_same(model, by_hand(model.seen, name, bf16))
    assert trainer.evaluate()["eval_loss"] > 0


def test_the_trainer_of_transformers_resumes_with_the_same_bits(tmp_path):
    whole, _ = transformers_run(tmp_path, "rows")
    half = tmp_path / f"checkpoint-{STEPS // 2}"
    resumed, _ = transformers_run(tmp_path / "again", "rows", resume=str(half))
    assert len(resumed.seen) == ACCUMULATED * STEPS // 2
    assert_same(resumed, whole)
