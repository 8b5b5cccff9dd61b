# SPDX-License-Identifier: BSD-3-Clause
"""Seeing without capturing: what the shim counts, as text, numbers, a live screen and pictures."""
