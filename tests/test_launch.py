"""Where the tools work."""

import pytest

from mmlearngene.engine.launch import default_work_dir


@pytest.mark.parametrize(
    "config, expected",
    [
        ("configs/lets/aux_deit_b.py", "work_dirs/lets/aux_deit_b"),
        ("/home/me/configs/old/configs/seg/des.py", "work_dirs/seg/des"),
        ("my_config.py", "work_dirs/my_config"),
    ],
)
def test_the_work_dir_mirrors_the_configs(config, expected):
    assert str(default_work_dir(config)) == expected
