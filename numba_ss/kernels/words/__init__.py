"""Words: text into ids, windows, skip-gram and CBOW, updates of rows that cannot overshoot.

Stands on `kernels.core`. A newcomer opens `train_windows`: a batch of windows, phase by phase.

How do many threads train and give the same bits? All windows of a batch are learned from at the
same vectors. First come the gradients of all windows, in 64 chunks; then the updates of the rows,
which belong to 64 owners. Threads take chunks and owners from a shared board, and no result
depends on who took which. Nothing is locked, so there is nothing that an update with races
("hogwild") would save.

Why do windows share their noise words? Fetching a row costs more than a few products with it, and
the contexts of consecutive windows overlap: a word of the text has one score with a noise word, not
one in each window. So a group of windows makes a few block products. Its noise words are new for
each group and come from the whole vocabulary. With more of them for more windows the vectors are
better than with few for each window, at the same cost.

What if a word comes a thousand times in a batch? Gradients that are added up go on pushing where
single steps would have stopped. So the sum of each row is scaled by min(1, 1 / x), where x is the
learning rate times the curvature of the losses along that sum (`row_updates` has the mathematics).
Without this, every loss diverges on runs of look-alike articles.
"""
