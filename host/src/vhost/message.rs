//! Messages as vhost-user has them.

/// The head of a message to which no answer is wanted.
pub fn head(request: u32, body_bytes: u32) -> Vec<u8> {
    /// Of the protocol: its version.
    const FLAGS: u32 = 1;
    let head = [request, FLAGS, body_bytes];
    head.map(u32::to_ne_bytes).concat()
}
