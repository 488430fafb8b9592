"""What can go wrong with a target."""

from infra.store.errors import RefusedError, SlipwayError


class TargetError(SlipwayError):
    """A target does not work as it should."""

    code = "target"


class RolloutError(TargetError):
    """The new version did not come up; what served before goes on serving."""

    code = "deploy-failed"


class GoldenError(RefusedError):
    """The new version does not answer as it did when it was evaluated; what served before goes on serving."""

    code = "golden-answers"
