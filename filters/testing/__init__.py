# SPDX-License-Identifier: BSD-3-Clause
"""Unit tests of filters: the pytest plugin and what :mod:`dpcap.testing` offers."""
