//! What needs faked time, or a subscriber that misbehaves.
