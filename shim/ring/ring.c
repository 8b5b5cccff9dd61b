int dpcap_ring_placeholder(void); int dpcap_ring_placeholder(void){return 0;}
