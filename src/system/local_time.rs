//! How far the person's clock is from UTC.
#![allow(unsafe_code)] // No crate of ours knows the system's time zones; the C library does.

/// Seconds that local time is ahead of UTC now; 0 where the system cannot tell.
#[must_use]
pub fn local_offset() -> i64 {
    // SAFETY: `time` takes a null pointer; `localtime_r` writes one `tm`, which lives here, and reads the time
    // that is given. Nothing in this program changes the environment it reads the time zone from.
    let (is_known, local) = unsafe {
        let now = libc::time(std::ptr::null_mut());
        let mut local: libc::tm = std::mem::zeroed();
        (!libc::localtime_r(&now, &mut local).is_null(), local)
    };
    if is_known { local.tm_gmtoff } else { 0 }
}
