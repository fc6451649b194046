"""GSP agents as processes: ``testbed.gse.dataplane`` between real sockets. A bump in the wire; see docs/gse2.md."""
