/* SPDX-License-Identifier: BSD-3-Clause */
/* What a C unit test needs: CHECK says what failed and where, and goes on. */
#ifndef DPCAP_TEST_CHECK_H
#define DPCAP_TEST_CHECK_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static int check_failures;

#define CHECK(condition)                                                                       \
	do {                                                                                   \
		if (!(condition)) {                                                            \
			fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition); \
			check_failures++;                                                      \
		}                                                                              \
	} while (0)

/* Both are shown; integers up to 64 bits. */
#define CHECK_EQ(got, expected)                                                                          \
	do {                                                                                             \
		const int64_t got_ = (int64_t)(got), expected_ = (int64_t)(expected);                    \
		if (got_ != expected_) {                                                                 \
			fprintf(stderr, "%s:%d: %s is %" PRId64 ", not %" PRId64 "\n", __FILE__, __LINE__, \
				#got, got_, expected_);                                                  \
			check_failures++;                                                                \
		}                                                                                        \
	} while (0)

/* Without this there is no going on. */
#define REQUIRE(condition)                                                                     \
	do {                                                                                   \
		if (!(condition)) {                                                            \
			fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition); \
			exit(1);                                                               \
		}                                                                              \
	} while (0)

#define CHECK_RESULT() (check_failures == 0 ? 0 : 1)

#endif /* DPCAP_TEST_CHECK_H */
