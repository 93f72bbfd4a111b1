import pytest

from charter.training.devices import first_alone, see_idle


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
    assert first_alone(environment) == added


def test_gpus_with_nothing_to_do_are_told_of_with_the_setting_that_uses_them() -> None:
    said = see_idle(1, 8)
    assert said is not None
    assert said.startswith("7 of 8 GPUs lie idle. To use them, set training.processes=8")
    assert see_idle(1, 0) is see_idle(1, 1) is see_idle(32, 8) is None
