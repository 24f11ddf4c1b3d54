"""Backend "cupy": launches of the CUDA kernels in csrc/cuda, on arrays of CuPy."""
