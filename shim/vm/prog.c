int dpcap_vm_placeholder(void); int dpcap_vm_placeholder(void){return 0;}
