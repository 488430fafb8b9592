"""Learning rates as pure functions of the step: nothing to save, nothing to resume."""

import math

from llm.training.config import ScheduleName

_FLOOR = 1e-3  # of the peak: a last step of nothing would be a step wasted


def learning_rate(schedule: ScheduleName, step: int, steps: int, *, peak: float, warmup_share: float, decay_share: float) -> float:
    """The learning rate of `step` (from 0) of `steps` under the named schedule; decay_share: warmup-stable-decay's alone."""
    if schedule == "cosine":
        return cosine(step, steps, peak=peak, warmup_share=warmup_share)
    if schedule == "constant":
        return constant(step, steps, peak=peak, warmup_share=warmup_share)
    return warmup_stable_decay(step, steps, peak=peak, warmup_share=warmup_share, decay_share=decay_share)


def warmup_stable_decay(step: int, steps: int, *, peak: float, warmup_share: float, decay_share: float) -> float:
    """Up, level, then down to almost nothing (Hu et al., 2024)."""
    decay = round(steps * decay_share)
    left = steps - step
    if step >= round(steps * warmup_share) and left <= decay:
        return peak * max(left / (decay + 1), _FLOOR)
    return constant(step, steps, peak=peak, warmup_share=warmup_share)


def cosine(step: int, steps: int, *, peak: float, warmup_share: float, floor: float = 0.0) -> float:
    """Up, then down along half a cosine to `floor` of the peak (Loshchilov & Hutter, 2017)."""
    warmup = round(steps * warmup_share)
    if step < warmup:
        return constant(step, steps, peak=peak, warmup_share=warmup_share)
    share = (step - warmup) / max(1, steps - warmup)  # 0 at the first step after warm-up, short of 1 at the last
    return peak * max(floor + (1 - floor) * (1 + math.cos(math.pi * share)) / 2, _FLOOR)


def constant(step: int, steps: int, *, peak: float, warmup_share: float) -> float:
    """Up, then level to the end."""
    warmup = round(steps * warmup_share)
    return peak * (step + 1) / warmup if step < warmup else peak
