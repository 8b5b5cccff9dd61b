/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random programs: what the verifier accepts is safe, ends, and does what it says.
 * DPCAP_TEST_ROUNDS multiplies their number, DPCAP_TEST_SEED chooses others.
 */
#include "soundness.h"

static uint64_t seed = 1;

static uint64_t next_random(void)
{
	/* splitmix64, Steele et al. 2014 */
	uint64_t z = seed += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

int main(void)
{
	static struct soundness s;
	const char *rounds = getenv("DPCAP_TEST_ROUNDS"), *chosen = getenv("DPCAP_TEST_SEED");
	uint64_t n = 1000 * (rounds ? strtoull(rounds, NULL, 0) : 1);
	uint8_t bytes[256];

	if (chosen)
		seed = strtoull(chosen, NULL, 0);
	for (uint64_t i = 0; i < n; i++) {
		size_t n_bytes = 1 + next_random() % sizeof(bytes);

		for (size_t j = 0; j < n_bytes; j++)
			bytes[j] = (uint8_t)next_random();
		soundness_check(&s, bytes, n_bytes);
	}
	printf("%" PRIu64 " programs accepted, %" PRIu64 " refused\n", s.accepted, s.refused);
	/* A generator of refused programs alone would test nothing. */
	return s.accepted < n / 20;
}
