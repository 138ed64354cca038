"""What is done regularly so that the host has room and the release that runs is not older than its security updates."""
