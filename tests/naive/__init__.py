"""Naive implementations of the network and of decoding, which tests compare with and benchmarks start from."""

from tests.naive.decoding import naive_decode
from tests.naive.network import Sees, naive_logits

__all__ = ["Sees", "naive_decode", "naive_logits"]
