"""How long GPUs take to exchange bytes: NCCL's own model of its rings and trees, at bandwidths that people have measured.

Loads without torch.
"""

import math
from dataclasses import dataclass
from typing import Final, Literal

Collective = Literal["all-gather", "reduce-scatter", "all-reduce"]
_LAUNCH: Final = 8.4e-6  # seconds before the first byte; NCCL src/graph/tuning.cc, baseLat, Simple


@dataclass(frozen=True)
class Network:
    """Machines of `per_node` GPUs. Bandwidths in bytes a second and one direction, of one GPU; latencies in seconds, of one hop.

    nvlink: what rings reach within an H100 machine, where 900 GB/s both ways (450 each) are there. nic: of each GPU's own 400 Gb/s
    (50 GB/s). NVIDIA/nccl issue 1281 measured 350 GB/s for all-gather; NVIDIA/nccl-tests issue 290 expects 46 to 48 a card.
    """

    per_node: int = 8
    nvlink: float = 350e9
    nic: float = 47e9
    nvlink_hop: float = 3.4e-6  # NCCL src/graph/tuning.cc, hwLat, Ring Simple
    nic_hop: float = 14e-6

    def group(self, ranks: int, *, stride: int = 1) -> "Group":
        """Every `stride`-th GPU, `ranks` of them: 8 for one of each machine, 1 for neighbours."""
        within = min(ranks, max(1, self.per_node // stride))
        return Group(self, ranks, within)


H100_CLUSTER: Final = Network()
"""DGX or HGX H100 machines with a 400 Gb/s InfiniBand or RoCE card for each GPU."""


@dataclass(frozen=True)
class Group:
    """GPUs that exchange with each other, `within` of them in each machine."""

    network: Network
    ranks: int
    within: int

    @property
    def nodes(self) -> int:
        return -(-self.ranks // self.within)

    @property
    def bandwidth(self) -> float:
        """Bytes a second that each GPU can pass on. A ring crosses to the next machine once, over as many cards as it has GPUs."""
        net = self.network
        if self.nodes == 1:
            return net.nvlink
        return min(net.nvlink, self.within * net.nic) if self.within > 1 else net.nic

    def passed_on(self, kind: Collective, size: float) -> float:
        """Bytes that each GPU sends when `size` bytes are gathered, scattered or added up in all (Patarasuk & Yuan, 2009)."""
        return (2 if kind == "all-reduce" else 1) * size * (self.ranks - 1) / self.ranks

    def latency(self, kind: Collective) -> float:
        """Seconds for no bytes at all. Only sums may go along a tree; a ring passes every GPU."""
        if self.ranks == 1:
            return 0.0
        net, times = self.network, 2 if kind == "all-reduce" else 1
        across = self.nodes - 1
        ring = times * ((self.ranks - 1 - across) * net.nvlink_hop + across * net.nic_hop)
        tree = 2 * ((self.within - 1) * net.nvlink_hop + math.ceil(math.log2(self.nodes)) * net.nic_hop)
        return _LAUNCH + (min(ring, tree) if kind == "all-reduce" else ring)

    def seconds(self, kind: Collective, size: float) -> float:
        """size: bytes of the whole, gathered or summed up."""
        if self.ranks == 1:
            return 0.0
        return self.latency(kind) + self.passed_on(kind, size) / self.bandwidth
