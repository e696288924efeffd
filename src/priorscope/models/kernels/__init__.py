"""Loops over activations on a CPU, compiled by numba, kept on disk, and run by the threads that torch computes with.

What torch does in five passes through memory, each a parallel section, is done in one: softmax with dropout, dropout, and
gating by GELU, each forward and backward, and GELU and LayerNorm backward; and a matrix is turned in blocks. Arrays hold
float32, or bfloat16 as its 16 bits; every loop computes in float32.

torch's own threads wait for work by spinning. Threads of another pool (numba's, Python's) would share the cores with them and
take twice as long, so a loop is handed to OpenMP as torch itself hands it a loop.
"""
