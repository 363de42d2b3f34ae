"""Training settings of text classifiers; training itself is tested with the models and the defences."""

import pytest

from wardline.models.text_training import default_text_config


def test_default_settings_follow_from_the_number_of_texts():
    few, many = default_text_config(3500), default_text_config(60_000)
    assert (few.epochs, few.batch) == (8, 32)
    assert (many.epochs, many.batch) == (2, 256)
    assert default_text_config(1).epochs == 20
    with pytest.raises(ValueError, match="at least 1"):
        default_text_config(0)
