//! Connections of other hosts, which have the host's name before them as files of theirs have: `web:qemu:///system`. A
//! connection of this machine begins with its scheme, so that neither is ever taken for the other.

/// What a host calls a connection, a file or a process, with the host's name before it.
#[must_use]
pub fn place_on(host: &str, place: &str) -> String {
    format!("{host}:{place}")
}

/// The host's name and the connection there, of text that has both; none of a connection of this machine, and of what
/// is none.
#[must_use]
pub fn host_and_connection(text: &str) -> Option<(&str, &str)> {
    let scheme_ends = text.find(":/")?;
    let is_of_scheme = |sign: char| sign.is_ascii_alphanumeric() || matches!(sign, '+' | '-' | '.');
    let before = text.get(..scheme_ends)?.trim_end_matches(is_of_scheme);
    let host = before.strip_suffix(':').filter(|host| !host.is_empty())?;
    let connection = text.get(before.len()..)?;
    (!connection.starts_with(':')).then_some((host, connection))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_says_whose_it_is() {
        for host in ["web", "me@[::1]", "qemu", "a.b-c"] {
            for connection in ["qemu:///system", "qemu+unix:///session?socket=/a:/b"] {
                let text = place_on(host, connection);
                assert_eq!(host_and_connection(&text), Some((host, connection)));
            }
        }
        for here in [
            "qemu:///system",
            "qemu+unix:///session?socket=web:qemu:///x",
            "test:///default",
            "an-alias",
            "web:an-alias",
            ":qemu:///system",
            "web::///system",
            "/etc/libvirt/qemu/web.xml",
            "",
        ] {
            assert_eq!(host_and_connection(here), None, "{here}");
        }
    }
}
