# SPDX-License-Identifier: BSD-3-Clause
"""The eBPF virtual machine from Python: instructions, assembler, programs, engines."""
