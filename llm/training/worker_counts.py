"""How many workers a recipe allows, and among how many a batch divides. Loads without torch."""

Workers = int | tuple[int, int]  # so many, or the fewest and the most


def fewest(workers: Workers) -> int:
    """Without which nothing trains."""
    return workers if isinstance(workers, int) else workers[0]


def most(workers: Workers) -> int:
    """That are ever at work together."""
    return workers if isinstance(workers, int) else workers[1]


def worker_counts(workers: Workers, batch_size: int, tensor: int = 1, shard_size: int = 0) -> tuple[int, ...]:
    """Of those allowed the ones among which a batch divides.

    tensor: how many have the same part of it. shard_size: how many hold the state together, if that is given: a multiple of them.
    """
    counts = range(max(1, fewest(workers)), most(workers) + 1)
    return tuple(count for count in counts if count % (shard_size or tensor) == 0 and batch_size % (count // tensor) == 0)


def shown(workers: Workers) -> str:
    return str(workers) if isinstance(workers, int) else "{} to {}".format(*workers)
