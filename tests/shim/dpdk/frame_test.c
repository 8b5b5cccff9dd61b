/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames put together from segments and stripped tags. */
#include "mbufs.h"

#define SIZE 1000

static uint8_t frame[SIZE];

/* The frame with tags inserted behind the addresses. Returns its length. */
static uint32_t
with_tags(uint8_t *out, const uint8_t *tags, uint32_t tag_bytes, uint32_t len)
{
	memcpy(out, frame, 12);
	memcpy(out + 12, tags, tag_bytes);
	memcpy(out + 12 + tag_bytes, frame + 12, len - 12);
	return len + tag_bytes;
}

static void
check_frame(const struct rte_mbuf *m, uint64_t tag_flags, const uint8_t *expected, uint32_t len)
{
	static uint8_t scratch[2 * SIZE];
	struct frame f = frame_linearise(m, tag_flags, scratch, sizeof(scratch));

	CHECK_EQ(f.len, len);
	CHECK_EQ(f.wirelen, len);
	CHECK(memcmp(f.data, expected, len) == 0);
}

static void
test_segments(void)
{
	for (uint16_t seg_len = 1; seg_len <= SIZE; seg_len += seg_len < 40 ? 1 : 97) {
		struct rte_mbuf *m = new_chain(frame, SIZE, seg_len);

		CHECK_EQ(frame_is_plain(m, FRAME_RX_TAGS), 0);
		check_frame(m, FRAME_RX_TAGS, frame, SIZE);
		free_mbuf(m);
	}
}

static const struct tag_case {
	uint64_t flags;
	uint64_t side;
	uint8_t tags[8];
	uint32_t tag_bytes;
} tag_cases[] = {
	{ RTE_MBUF_F_RX_VLAN_STRIPPED | RTE_MBUF_F_RX_VLAN, FRAME_RX_TAGS, { 0x81, 0, 0x12, 0x34 }, 4 },
	{ RTE_MBUF_F_RX_QINQ_STRIPPED | RTE_MBUF_F_RX_QINQ | RTE_MBUF_F_RX_VLAN_STRIPPED | RTE_MBUF_F_RX_VLAN,
	  FRAME_RX_TAGS, { 0x88, 0xa8, 0xab, 0xcd, 0x81, 0, 0x12, 0x34 }, 8 },
	{ RTE_MBUF_F_RX_QINQ_STRIPPED | RTE_MBUF_F_RX_QINQ, FRAME_RX_TAGS, { 0x88, 0xa8, 0xab, 0xcd }, 4 },
	{ RTE_MBUF_F_TX_VLAN, FRAME_TX_TAGS, { 0x81, 0, 0x12, 0x34 }, 4 },
	{ RTE_MBUF_F_TX_QINQ, FRAME_TX_TAGS, { 0x88, 0xa8, 0xab, 0xcd, 0x81, 0, 0x12, 0x34 }, 8 },
	/* A forwarded packet still carries what was true when it was received. */
	{ RTE_MBUF_F_RX_VLAN_STRIPPED | RTE_MBUF_F_RX_VLAN, FRAME_TX_TAGS, { 0 }, 0 },
	/* Seen by the NIC, left in the bytes. */
	{ RTE_MBUF_F_RX_VLAN, FRAME_RX_TAGS, { 0 }, 0 },
};

static void
test_tags(void)
{
	uint8_t expected[SIZE + 8];

	for (size_t i = 0; i < sizeof(tag_cases) / sizeof(tag_cases[0]); i++) {
		const struct tag_case *c = &tag_cases[i];
		uint32_t len = with_tags(expected, c->tags, c->tag_bytes, SIZE);

		for (uint16_t seg_len = 1; seg_len <= SIZE; seg_len += seg_len < 20 ? 1 : 140) {
			struct rte_mbuf *m = new_chain(frame, SIZE, seg_len);

			m->ol_flags = c->flags;
			m->vlan_tci = 0x1234;
			m->vlan_tci_outer = 0xabcd;
			CHECK_EQ(frame_is_plain(m, c->side), c->tag_bytes == 0 && seg_len >= SIZE);
			check_frame(m, c->side, expected, len);
			free_mbuf(m);
		}
	}
}

/* Too short for a tag to have a place: shown as it is, nothing is read beyond. */
static void
test_runts(void)
{
	for (uint16_t len = 0; len < 12; len++) {
		struct rte_mbuf *m = new_mbuf(frame, len);

		m->ol_flags = RTE_MBUF_F_RX_VLAN_STRIPPED;
		check_frame(m, FRAME_RX_TAGS, frame, len);
		free_mbuf(m);
	}
}

static void
test_longer_than_the_scratch(void)
{
	uint8_t *scratch = malloc(100);
	struct rte_mbuf *m = new_chain(frame, SIZE, 7);
	struct frame f;

	REQUIRE(scratch != NULL);
	f = frame_linearise(m, FRAME_RX_TAGS, scratch, 100);
	CHECK_EQ(f.len, 100);
	CHECK_EQ(f.wirelen, SIZE);
	CHECK(memcmp(f.data, frame, 100) == 0);
	free_mbuf(m);
	free(scratch);
}

/* nb_segs is what counts, as drivers do it. */
static void
test_a_chain_longer_than_nb_segs(void)
{
	struct rte_mbuf *m = new_chain(frame, 30, 10);
	uint8_t scratch[30];

	m->nb_segs = 2;
	CHECK_EQ(frame_linearise(m, FRAME_RX_TAGS, scratch, sizeof(scratch)).len, 20);
	m->nb_segs = 9; /* and a shorter one ends where it ends */
	CHECK_EQ(frame_linearise(m, FRAME_RX_TAGS, scratch, sizeof(scratch)).len, 30);
	m->nb_segs = 3;
	free_mbuf(m);
}

static void
test_all_plain(void)
{
	struct rte_mbuf *pkts[64];

	for (int i = 0; i < 64; i++)
		pkts[i] = new_mbuf(frame, 60);
	for (uint16_t n = 1; n <= 64; n++) {
		CHECK(frame_all_plain(pkts, n, FRAME_RX_TAGS));
		for (uint16_t odd = 0; odd < n; odd++) {
			pkts[odd]->ol_flags = RTE_MBUF_F_RX_VLAN_STRIPPED;
			CHECK(!frame_all_plain(pkts, n, FRAME_RX_TAGS));
			CHECK(frame_all_plain(pkts, n, FRAME_TX_TAGS));
			pkts[odd]->ol_flags = ~(uint64_t)FRAME_RX_TAGS;
			CHECK(frame_all_plain(pkts, n, FRAME_RX_TAGS));
			pkts[odd]->ol_flags = 0;
			pkts[odd]->nb_segs = 3;
			CHECK(!frame_all_plain(pkts, n, FRAME_RX_TAGS));
			pkts[odd]->nb_segs = 1;
			pkts[odd]->port = 0xffff; /* neighbours in the same word */
			pkts[odd]->refcnt = 0xffff;
			CHECK(frame_all_plain(pkts, n, FRAME_RX_TAGS));
		}
	}
	for (int i = 0; i < 64; i++)
		free_mbuf(pkts[i]);
}

/* Without librte_mbuf's help only the first segment is sure. */
static void
test_unknown_place_of_next(void)
{
	struct rte_mbuf *m = new_chain(frame, 30, 10);
	uint8_t scratch[30];

	dpdk.__rte_pktmbuf_read = NULL;
	CHECK(!frame_init());
	CHECK_EQ(frame_linearise(m, FRAME_RX_TAGS, scratch, sizeof(scratch)).len, 10);
	CHECK_EQ(frame_linearise(m, FRAME_RX_TAGS, scratch, sizeof(scratch)).wirelen, 30);
	free_mbuf(m);
}

int
main(void)
{
	const size_t places[] = { NEXT_CLASSIC, NEXT_NO_IOVA };

	for (int i = 0; i < SIZE; i++)
		frame[i] = (uint8_t)(i * 7 + i / 256);
	for (size_t i = 0; i < 2; i++) {
		use_next_place(places[i]);
		test_segments();
		test_tags();
		test_runts();
		test_longer_than_the_scratch();
		test_a_chain_longer_than_nb_segs();
		test_all_plain();
	}
	test_unknown_place_of_next();
	return CHECK_RESULT();
}
