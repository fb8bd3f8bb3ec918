"""Differential privacy: codecs and networks that hardly depend on any single row.

The guarantee is (epsilon, delta) for adding or removing one training row (one subject's row, where
a subject is named), over everything a saved model holds. One `Budget` pays for both parts: noisy
histograms, from which the codecs are built (`columns`), and DP-SGD on the network (`training`).
"""
