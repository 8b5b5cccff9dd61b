# SPDX-License-Identifier: BSD-3-Clause
"""Where captured packets go."""
