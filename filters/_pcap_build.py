# SPDX-License-Identifier: BSD-3-Clause
"""cffi (API mode) binding of libpcap's filter compiler: dpcap.filters._pcap."""

from cffi import FFI

ffi = FFI()
ffi.cdef(
    """
    #define PCAP_NETMASK_UNKNOWN ...
    #define DLT_EN10MB ...
    #define PCAP_ERRBUF_SIZE ...

    struct bpf_insn { unsigned short code; unsigned char jt; unsigned char jf; unsigned int k; };
    struct bpf_program { unsigned int bf_len; struct bpf_insn *bf_insns; };
    typedef struct pcap pcap_t;

    const char *pcap_lib_version(void);
    pcap_t *pcap_open_dead(int linktype, int snaplen);
    pcap_t *pcap_open_offline(const char *path, char *error);
    int pcap_datalink(pcap_t *);
    int pcap_datalink_name_to_val(const char *);
    void pcap_close(pcap_t *);
    char *pcap_geterr(pcap_t *);
    const char *pcap_datalink_val_to_name(int dlt);
    const char *pcap_datalink_val_to_description(int dlt);
    int pcap_compile(pcap_t *, struct bpf_program *, const char *, int optimize, unsigned int netmask);
    void pcap_freecode(struct bpf_program *);
    unsigned int bpf_filter(const struct bpf_insn *, const unsigned char *, unsigned int wirelen,
                            unsigned int buflen);
    char *bpf_image(const struct bpf_insn *, int);
    """
)
ffi.set_source("dpcap.filters._pcap", "#include <pcap/pcap.h>", libraries=["pcap"])
