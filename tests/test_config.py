"""Configurations survive a trip through JSON and refuse what they do not know."""

import json

import pytest

from sstlib.config import ModelConfig, RunConfig


def test_json_round_trip_is_the_identity():
    config = RunConfig(model=ModelConfig(layers=("grid", "strided(stride=3)"), history=2))
    assert RunConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_unknown_key_names_the_nearest_known_one():
    with pytest.raises(ValueError, match="no key 'histroy'; did you mean 'history'"):
        RunConfig.from_dict({"model": {"histroy": 3}})


@pytest.mark.parametrize("field, value", [("encoding", "sinus"), ("method", "sam"), ("history", 0), ("heads", 7)])
def test_bad_values_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        ModelConfig(**{field: value})
