"""What both trainers share: scikit-learn's protocol, events, signals, one call of ``fit``.

Stands on `io`; knows no words, no items and no loss. A third trainer starts here: `estimator`
makes its parameters, `session` runs its ``fit``.
"""
