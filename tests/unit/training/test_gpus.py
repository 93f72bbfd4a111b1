import pytest

from charter.training.launch import warn_idle_gpus
from charter.training.worker import pin_first_gpu


@pytest.mark.parametrize(
    ("environment", "added"),
    [
        ({}, {"CUDA_VISIBLE_DEVICES": "0"}),
        ({"CUDA_VISIBLE_DEVICES": "3"}, {"CUDA_VISIBLE_DEVICES": "3"}),
        ({"CUDA_VISIBLE_DEVICES": "2, 0,1"}, {"CUDA_VISIBLE_DEVICES": "2"}),
        ({"CUDA_VISIBLE_DEVICES": "GPU-ab12,GPU-cd34"}, {"CUDA_VISIBLE_DEVICES": "GPU-ab12"}),
        ({"CUDA_VISIBLE_DEVICES": ""}, {"CUDA_VISIBLE_DEVICES": ""}),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, {"CUDA_VISIBLE_DEVICES": "-1"}),
        ({"RANK": "0"}, {}),
        ({"RANK": "1", "CUDA_VISIBLE_DEVICES": "0,1"}, {}),
    ],
    ids=["all", "one", "some", "by-name", "none", "none-either", "launched", "launched-some"],
)
def test_a_process_by_itself_sees_one_gpu(environment: dict[str, str], added: dict[str, str]) -> None:
    assert pin_first_gpu(environment) == added


def test_gpus_with_nothing_to_do_are_told_of_with_the_setting_that_uses_them() -> None:
    said = warn_idle_gpus(1, 8)
    assert said is not None
    assert said.startswith("7 of 8 GPUs are idle. To use them, set training.processes=8")
    assert warn_idle_gpus(1, 0) is warn_idle_gpus(1, 1) is warn_idle_gpus(32, 8) is None
