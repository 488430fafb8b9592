"""Learning rates as pure functions of the step: nothing to save, nothing to resume."""


def warmup_stable_decay(step: int, steps: int, *, peak: float, warmup_share: float, decay_share: float) -> float:
    """The learning rate of `step` (from 0) of `steps`: up, level, then down to almost nothing (Hu et al., 2024)."""
    warmup, decay = round(steps * warmup_share), round(steps * decay_share)
    if step < warmup:
        return peak * (step + 1) / warmup
    left = steps - step
    if left <= decay:
        return peak * max(left / (decay + 1), 1e-3)
    return peak
