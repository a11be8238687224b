"""ray_cluster.py: what a user says is checked before anything starts."""

import pytest

from numba_ss import ArgumentError
from numba_ss.distributed.ray_cluster import RayCluster


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_workers": 0}, "num_workers: expected at least 1, got 0"),
        ({"num_shards": 1.5}, "num_shards: expected an integer"),
        ({"blocks_per_round": None}, "blocks_per_round: expected an integer"),
        ({"max_retries": -1}, "max_retries: expected at least 0"),
        ({"address": 6379}, "address: expected host:port, auto or None, got 6379"),
        ({"address": ""}, "address: expected host:port, auto or None, got ''"),
        ({"address": "text.txt"}, "address: expected host:port, auto or None, got 'text.txt'"),
        ({"resources_per_worker": 2}, "resources_per_worker: expected a dict of numbers, got 2"),
        ({"resources_per_worker": {1: 2}}, "resources_per_worker: expected names of resources, got 1"),
        ({"resources_per_worker": {"CPU": "one"}}, r"resources_per_worker\['CPU'\]: expected a finite"),
        ({"resources_per_worker": {"CPU": -1}}, r"resources_per_worker\['CPU'\]: expected a finite number >= 0"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        RayCluster(**options)


def test_a_folder_for_tables_is_made_before_ray_starts(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError), RayCluster(tables=tmp_path / "file").open():
        pass


def test_a_description_starts_nothing_and_does_not_change():
    cluster = RayCluster(num_workers=3, resources_per_worker={"CPU": 2})
    assert cluster == RayCluster(3, None, 8, None, None, {"CPU": 2})
    with pytest.raises(AttributeError):
        cluster.num_workers = 4
