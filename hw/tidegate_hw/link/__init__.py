"""The link: bytes from and to a host, packets, and what each request does."""
