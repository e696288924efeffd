"""Fused loops over activations on a CPU, compiled by numba, cached on disk, and run by the threads that torch computes with.

    lanes.py      numbers as one lane of a vector unit has them: reading, rounding, exp, random bits
    team.py       a loop over rows, shared by torch's threads
    softmax.py    attention weights and their dropout, both ways
    dropout.py    dropout of anything else
    gate.py       one half of a row times the GELU of the other, both ways

What torch does in five passes through memory, each a parallel section, is done in one.
"""
