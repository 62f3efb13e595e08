"""What several tests share: scans, networks, scenes, panels."""
