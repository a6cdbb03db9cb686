"""Kernels for accelerators; nothing here is imported before a tensor lies on one."""
