"""The emulated ARM64 board: its image, and the virtual machine that boots it."""
