//! Containers: namespaces and cgroups on the host's kernel, through libcontainer.
