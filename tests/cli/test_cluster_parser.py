"""The arguments of training on a cluster."""

import argparse

import pytest

from numba_ss.cli.cluster_parser import add_cluster


def parsed(*words):
    parser = argparse.ArgumentParser()
    add_cluster(parser)
    return parser.parse_args(words)


def test_ray_is_asked_for_with_or_without_an_address():
    assert parsed().ray is None
    assert parsed("--ray").ray == ""
    assert parsed("--ray", "head:6379").ray == "head:6379"
    args = parsed("--ray", "--workers", "4", "--shards", "2", "--block-size", "10")
    assert (args.workers, args.shards, args.blocks_per_round, args.block_size) == (4, 2, None, 10)


def test_numbers_are_asked_for(capsys):
    with pytest.raises(SystemExit):
        parsed("--workers", "many")
    assert "--workers" in capsys.readouterr().err
