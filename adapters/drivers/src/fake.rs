//! A driver that runs nothing: machines are files, ports are loopback echoes, faults happen on request.
