"""The cluster that the arguments of a command name."""

import argparse

import pytest

from numba_ss import ArgumentError, RayCluster
from numba_ss.cli.cluster import cluster_of
from numba_ss.cli.cluster_parser import add_cluster


def cluster(*words):
    parser = argparse.ArgumentParser()
    add_cluster(parser)
    return cluster_of(parser.parse_args(words))


def test_without_ray_there_is_none():
    assert cluster() is None
    with pytest.raises(ArgumentError, match=r"--ray: .*--num-threads.*num_workers"):
        cluster("--workers", "2")


def test_the_arguments_are_those_of_ray_cluster():
    assert cluster("--ray") == RayCluster()
    assert cluster("--ray", "auto", "--workers", "3", "--blocks-per-round", "4") == RayCluster(
        3, address="auto", blocks_per_round=4
    )
    with pytest.raises(ArgumentError, match=f"--ray: .* after the files, got the file {__file__}"):
        cluster("--ray", __file__)
    with pytest.raises(ArgumentError, match="num_shards"):
        cluster("--ray", "--shards", "0")
