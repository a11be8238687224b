"""Words: text into ids, windows, skip-gram and CBOW, updates of rows that cannot overshoot.

Stands on `kernels.core`. A newcomer opens `train_windows`: a batch of windows, phase by phase.

How do many threads train and give the same bits? All windows of a batch are learned from at the
same vectors. First come the gradients of all windows, in 64 chunks; then the updates of the rows,
which belong to 64 owners. Threads take chunks and owners from a shared board, and no result
depends on who took which. Nothing is locked, so there is nothing that an update with races
("hogwild") would save.

Why a pool of noise words? A chunk draws its pool from the whole vocabulary, twice as many words as
it has windows, and each window chooses some of them. So the row of a noise word is fetched and
changed once for several windows.

Why do windows of CBOW share their noise words? A window of CBOW has one vector, so fetching the row
of a noise word costs more than all arithmetic with it. Eight windows together make a block product.

What if a word comes a thousand times in a batch? Gradients that are added up go on pushing where
single steps would have stopped. So the sum of each row is scaled by min(1, 1 / x), where x is the
learning rate times the curvature of the losses along that sum (`row_updates` has the mathematics).
Without this, every loss diverges on runs of look-alike articles.
"""
