//! Giving memory back to the system. What is kept in memory is everybody's own business.
#![allow(unsafe_code)] // No crate wraps these two functions of the C library.

/// Lets all threads share one heap, from here on: to be called before there are others. Those of its own that
/// the C library gives to each thread are never given back whole, and what many threads find is kept by one.
/// Does nothing with a C library other than GNU's.
pub fn share_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes two numbers and sets one of the allocator's own, under its lock.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives back what has been freed: the C library keeps it. After a scan of a hundred thousand images that is
/// as much as all of them take. Costs a few milliseconds; does nothing with a C library other than GNU's.
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes a number, touches nothing but the allocator's own lists under their locks, and may be
    // called from any thread at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}
