//! How the allocator keeps what is freed: little, since the worker is idle most of its life.
//!
//! glibc gives each thread an arena of its own and holds on to freed memory. After a burst over
//! 10,000 sessions that came to 3 MiB of 25 (`scripts/bench idle`).

#![allow(
    unsafe_code,
    reason = "the allocator's settings have no safe interface"
)]

/// Settles the allocator for a process that is mostly idle. To be called before threads start.
pub fn settle() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// One for each thread of the runtime.
        const ARENAS: libc::c_int = 2;
        /// Free bytes at the heap's top beyond which they are given back.
        const TRIM_BYTES: libc::c_int = 64 << 10;
        // SAFETY: mallopt sets two numbers in the allocator, which locks for it. A refused value
        // leaves the default in force.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, ARENAS);
            libc::mallopt(libc::M_TRIM_THRESHOLD, TRIM_BYTES);
        }
    }
}
