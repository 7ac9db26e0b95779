//! Giving memory back to the system. What is kept in memory is everybody's own business.
#![allow(unsafe_code)] // No crate wraps the one function of the C library that does it.

/// Gives back what has been freed. The C library keeps it, for each thread that ever ran: after a scan of a
/// hundred thousand images that is as much as all of them take. Costs a few milliseconds; does nothing with a
/// C library other than GNU's.
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes a number, touches nothing but the allocator's own lists under their locks, and may be
    // called from any thread at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}
