"""Fused loops over pictures, compiled by numba and kept on disk.

All are serial and release the interpreter's lock: the loader's own threads each work on a part of the batch. (Numba's parallel
loops abort when two threads start one.) A picture's numbers never depend on which other pictures a call renders.
"""
