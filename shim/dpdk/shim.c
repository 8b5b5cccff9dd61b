int dpcap_shim_placeholder(void); int dpcap_shim_placeholder(void){return 0;}
