"""What several probes look with: layers and their depth, readouts, CKA, and measurements that go on where they stopped."""
