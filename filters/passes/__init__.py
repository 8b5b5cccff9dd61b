# SPDX-License-Identifier: BSD-3-Clause
"""The passes over the intermediate representation, one idea a file."""
