//! TODO
pub fn act(_: &str, _: &[&str]) -> Option<()> {
    None
}
