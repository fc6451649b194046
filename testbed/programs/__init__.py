"""Programs of users in the hosts of a fabric: what they are told, how they are started, heard and ended."""
