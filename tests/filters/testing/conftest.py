# SPDX-License-Identifier: BSD-3-Clause
"""Runs of pytest inside of tests."""

pytest_plugins = ["pytester"]
