"""Differential privacy: codecs and networks that hardly depend on any single row.

The guarantee is (epsilon, delta) for adding or removing one training row (one subject's row, where
a subject is named), over everything a saved model holds and all rows it makes. One `Budget` pays
for both parts: noisy histograms, from which the codecs are built (`columns`), and DP-SGD on the
network (`training`).

Taken as known to everybody: the dataset file, which rows are held out, the number of training rows
or subjects, and of each column its name, storage type, kind and date format, and a derived column's
decimal places. Kinds and formats are inferred from the data where the dataset file is silent: name
them there where even that says too much. Each training spends its budget anew: whoever sees several
models of the same rows can add up what they spent. Scores and reports compare with real rows and
are not covered; nor are the lake's own files, nor attacks on timing or on the last bits of floats.
"""
