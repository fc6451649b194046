"""Reading GSE off the wire with scapy: for people and tests, never in the data path."""
