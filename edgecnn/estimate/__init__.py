"""Foretell the latency of a file on a device that is not at hand, with an honest band."""

from edgecnn.estimate.latency import Estimate, NoCoefficientsError, estimate_latency

__all__ = ["Estimate", "NoCoefficientsError", "estimate_latency"]
