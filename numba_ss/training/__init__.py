"""What both trainers share: the estimator's protocol, the training loop, events and signals.

This room uses `io`, and knows no words, no items and no loss. A third trainer starts here. It
subclasses `estimator.Estimator`, which has the parameters and the file of a model. It also
subclasses `run.TrainingRun`, which has the loop; `TrainingRun.diverged` stops a run that diverges.
Each call of ``fit`` makes a `session.FitSession` and a run.
"""
