/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libFuzzer: load, verify, run, in all engines. Built by cmake -DDPCAP_FUZZ=ON with
 * clang; run it with a directory for the corpus: fuzz_verify DIR.
 */
#include "soundness.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct soundness s;

	soundness_check(&s, data, size);
	return 0;
}
