"""Kept settings read back by another release."""

import pytest

from ensemble_pipeline.errors import ReplayError, SettingsError
from ensemble_pipeline.replay.decisions import Alternative, _policy
from ensemble_pipeline.settings import Settings


def test_settings_kept_are_read_back_without_what_this_release_knows_no_more() -> None:
    kept = Settings().snapshot()
    kept["gates"] |= {"retired": 1}
    kept["members"] = [it | {"temperature": 0.7} for it in kept["members"]]
    assert _policy(kept | {"retired_section": {}}, Alternative()) == Settings().policy


def test_kept_setting_that_fits_no_more_ends_one_replay_and_a_given_one_the_command() -> None:
    kept = Settings().snapshot()
    kept["gates"]["min_confidence"] = 7
    with pytest.raises(ReplayError, match=r"gates\.min_confidence"):
        _policy(kept, Alternative())
    with pytest.raises(SettingsError, match=r"gates\.min_confidence"):
        _policy(Settings().snapshot(), Alternative(changes={"gates.min_confidence": 7}))
