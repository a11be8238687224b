"""Training on many machines: tables in shards, rounds of blocks, the driver on Ray.

It knows tables, rows and blocks, but neither words nor items: a trainer hands it a `Work` (`work`).
It uses `training`, `io` and `kernels.core`. A newcomer opens `work`, then `rounds`. The rest of
this page is for whoever runs a cluster.

What runs where
    The driver is the process that calls ``fit``. It passes references on and adds up figures. It
    reads no rows during training, but for the loss of a held-out text (all output vectors, after
    each epoch), and at the end only a result that fits into its memory. Workers are tasks of Ray:
    each reads its blocks, pulls the rows that they need, trains on one thread, and pushes these
    rows. Shards are actors of Ray, which hold the rows: row i of each table is in the shard
    i % num_shards.

What all machines need
    Python with the same version of numba_ss, which is checked at the start; the same paths of the
    input (a network file system, or ``s3://`` and the like); and the folder of the checkpoints
    under the same path, because each shard writes its own file there.

Ports
    They are Ray's: the head node's (6379, unless ``ray start --port`` sets another), and those of
    its daemons and workers, which ``ray start`` can set. All machines must reach each other there.
    Without an address Ray is started on this machine alone, but it may listen on the network;
    recent versions ask callers for a token. A network namespace with only the loopback device shuts
    everybody out; as root, ``unshare -n sh -c 'ip link set lo up; exec python train.py'``.

Memory, for tables of `num_rows` x `dim` numbers in all
    a shard     4 * num_rows * dim / num_shards bytes; while it reads a checkpoint, also the size
                of one file of the checkpoint
    a worker    up to 5 times the rows of a block, and once those of its blocks of a round; the
                rows of a block of words of the default size take at most 64 MB
    Ray's store the rows of two rounds in both directions, and the encoded text or log. The first
                access of a process to a page of the store takes much longer than to copy the page.
                So give ``ray start --object-store-memory`` what is needed, not all there is.

How many shards: enough that each fits into its machine's memory, but not more than there are
workers. Two tables of float32 have

    vocabulary      dim 64      dim 128     dim 300
    1 million       0.5 GB      1 GB        2.4 GB
    10 million      5.1 GB      10 GB       24 GB
    100 million     51 GB       102 GB      240 GB

Network: words/s times bytes a word. In a simulation on English text, with vectors of 100 numbers,
the traffic in both directions together was 340 bytes a word for blocks of 50,000 words, 186 for
blocks of 200,000, and 74 for blocks of a million. So a worker that learns a million words/s needs
2.7, 1.5 or 0.6 Gbit/s. The shards together need as much as all workers together. `rounds.Traffic`
counts what was moved.

What happens when something dies
    a worker    its blocks are trained again elsewhere, up to `max_retries` times
    a shard     all shards are made anew from the last checkpoint, or from the first rows if there
                is none, and the rounds since are trained again
    a machine   both
    the driver  everything ends; ``fit`` with ``resume=True`` goes on from the last checkpoint, with
                any number of workers and shards

The result has the same bits in all of these cases. If something fails too often, the run ends with
a `ClusterError` that says where.
"""
