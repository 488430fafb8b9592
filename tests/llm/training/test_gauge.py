"""MFU is claimed only where the peak is known, and it is that of all GPUs together."""

import pytest

from llm.training.gauge import Gauge
from llm.training.gpus import GPUS, of_device
from llm.training.numerics import Numerics


def test_mfu_is_the_models_flops_over_the_peak_of_all_gpus() -> None:
    gauge = Gauge(flops_per_token=8 * 10**9, peak=GPUS["h200"].flops, workers=8, cuda=True)
    assert gauge.mfu(tokens=494_700, seconds=1.0) == pytest.approx(0.5)


def test_nothing_is_claimed_on_a_processor_nor_where_flops_are_not_known() -> None:
    here = Gauge.of(10**9, Numerics.decide("fp32"), 1)
    if not here.cuda:
        assert here.mfu(512, 0.25) is None
        assert 10**7 < here.memory() < 10**12
    assert Gauge(0, 1e15, 1, cuda=True).mfu(512, 0.25) is None


def test_a_gpu_is_known_by_its_drivers_name_to_the_letter() -> None:
    assert of_device("NVIDIA H200") is GPUS["h200"]
    assert of_device("NVIDIA H100 PCIe") is None, "slower than the one on a board"
    assert of_device("NVIDIA H200 MIG 1g.18gb") is None, "a slice"
